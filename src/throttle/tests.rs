//! The order of the limits, and the exempt list.

use super::*;

fn rules() -> PenaltyRules {
    PenaltyRules {
        crash: Duration::from_secs(90),
        authfail: Duration::from_secs(5),
        noauth: Duration::from_secs(1),
        refuseconnection: Duration::from_secs(10),
        grace_exceeded: Duration::from_secs(10),
        invaliduser: Duration::from_secs(5),
        max: Duration::from_secs(600),
        min: Duration::from_secs(15),
        max_sources4: 100,
        max_sources6: 100,
        overflow4: Overflow::Permissive,
        overflow6: Overflow::Permissive,
    }
}

fn throttle() -> Throttle {
    Throttle::new(ThrottleConfig {
        max_startups: MaxStartups { start: 6, rate: 50, full: 8 },
        per_source: Some(3),
        block: NetBlockSize { v4: 32, v6: 64 },
        rate: Some(ConnectionRate { per_second: 1, burst: 4 }),
        penalties: Some(rules()),
        exempt: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
    })
}

fn from(address: &str) -> IpAddr {
    address.parse().unwrap()
}

#[test]
fn source_with_its_share_of_logins_is_refused_until_one_is_over() {
    let (mut throttle, now) = (throttle(), Instant::now());
    let admitted: Vec<_> = (0..4).map(|_| throttle.admit(from("192.0.2.1"), now, 0)).collect();
    assert_eq!(admitted, [Ok(()), Ok(()), Ok(()), Err(ConnectionRefusal::PerSource)]);
    assert_eq!(throttle.admit(from("192.0.2.2"), now, 0), Ok(()));
    throttle.leave(from("192.0.2.1"));
    assert_eq!(throttle.admit(from("192.0.2.1"), now, 0), Ok(()));
    throttle.leave(from("192.0.2.1"));
    assert_eq!(throttle.admit(from("192.0.2.1"), now, 0), Err(ConnectionRefusal::Rate));
}

#[test]
fn penalised_source_hears_its_cause_and_the_rest_of_the_world_is_served() {
    let (mut throttle, now) = (throttle(), Instant::now());
    for cause in [PenaltyCause::GraceExceeded, PenaltyCause::InvalidUser] {
        assert_eq!(throttle.admit(from("2001:db9::1"), now, 0), Ok(()));
        throttle.leave(from("2001:db9::1"));
        let refused_for = throttle.penalise(from("2001:db9::1"), cause, now);
        let last = cause == PenaltyCause::InvalidUser;
        assert_eq!(refused_for, last.then_some(Duration::from_secs(15)), "{cause:?}");
    }
    let refused = Err(ConnectionRefusal::Penalty(PenaltyCause::InvalidUser));
    assert_eq!(throttle.admit(from("2001:db9::2"), now, 0), refused, "the same /64");
    assert_eq!(throttle.admit(from("2001:db9:0:1::1"), now, 0), Ok(()));
    assert_eq!(throttle.admit(from("2001:db9::2"), now + Duration::from_secs(15), 0), Ok(()));
}

#[test]
fn exempt_source_is_bound_by_the_limit_of_all_alone() {
    let (mut throttle, now) = (throttle(), Instant::now());
    assert_eq!(throttle.penalise(from("::ffff:10.1.2.3"), PenaltyCause::Crash, now), None);
    let admitted: Vec<_> = (0..9).map(|_| throttle.admit(from("10.1.2.3"), now, 80)).collect();
    let full = Err(ConnectionRefusal::MaxStartups);
    assert_eq!(admitted, [Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), full]);
    assert_eq!(throttle.admit(from("192.0.2.1"), now, 99), full);
    throttle.leave(from("10.1.2.3"));
    assert_eq!(throttle.admit(from("192.0.2.1"), now, 74), full, "three in four are dropped");
    assert_eq!(throttle.admit(from("192.0.2.1"), now, 75), Ok(()));
}

#[test]
fn every_refusal_has_one_line_of_its_own() {
    let penalties = [
        PenaltyCause::Crash,
        PenaltyCause::AuthFail,
        PenaltyCause::NoAuth,
        PenaltyCause::RefuseConnection,
        PenaltyCause::GraceExceeded,
        PenaltyCause::InvalidUser,
    ];
    let others = [
        ConnectionRefusal::TooManyPenalties,
        ConnectionRefusal::Rate,
        ConnectionRefusal::PerSource,
        ConnectionRefusal::MaxStartups,
    ];
    let all: Vec<_> = penalties.map(ConnectionRefusal::Penalty).into_iter().chain(others).collect();
    let texts: std::collections::HashSet<&str> = all.iter().map(|refusal| refusal.text()).collect();
    assert_eq!(texts.len(), all.len());
    assert!(texts.iter().all(|text| text.len() < 200 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
}
