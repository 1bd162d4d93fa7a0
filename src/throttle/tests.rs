//! The order of the limits, and the exempt list.

use super::*;

fn throttle() -> Throttle {
    Throttle::new(config())
}

/// Clients that may connect as often as they like.
fn without_rate() -> Throttle {
    Throttle::new(ThrottleConfig { rate: None, ..config() })
}

fn config() -> ThrottleConfig {
    ThrottleConfig {
        max_startups: MaxStartups { start: 6, rate: 50, full: 8 },
        per_source: Some(SourceShare::Connections(3)),
        block: NetBlockSize { v4: 32, v6: 64 },
        rate: Some(ConnectionRate { per_second: 1, burst: 4 }),
        penalties: Some(DEFAULT_PENALTIES),
        nat64: vec![Nat64Prefix::parse("2001:db9:64::/96").unwrap()],
        exempt: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
    }
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
    throttle.leave(Some(from("192.0.2.1")));
    assert_eq!(throttle.admit(from("192.0.2.1"), now, 0), Ok(()));
    throttle.leave(Some(from("192.0.2.1")));
    assert_eq!(throttle.admit(from("192.0.2.1"), now, 0), Err(ConnectionRefusal::Rate));
}

#[test]
fn penalised_source_hears_its_cause_and_the_rest_of_the_world_is_served() {
    let (mut throttle, now) = (throttle(), Instant::now());
    for cause in [PenaltyCause::GraceExceeded, PenaltyCause::InvalidUser] {
        assert_eq!(throttle.admit(from("2001:db9::1"), now, 0), Ok(()));
        throttle.leave(Some(from("2001:db9::1")));
        let refused_for = throttle.penalise(from("2001:db9::1"), (cause, Duration::ZERO), now);
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
    assert_eq!(throttle.penalise(from("::ffff:10.1.2.3"), (PenaltyCause::Crash, Duration::ZERO), now), None);
    let admitted: Vec<_> = (0..9).map(|_| throttle.admit(from("10.1.2.3"), now, 80)).collect();
    let full = Err(ConnectionRefusal::MaxStartups);
    assert_eq!(admitted, [Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), full]);
    assert_eq!(throttle.admit(from("192.0.2.1"), now, 99), full);
    throttle.leave(Some(from("10.1.2.3")));
    assert_eq!(throttle.admit(from("192.0.2.1"), now, 74), full, "three in four are dropped");
    assert_eq!(throttle.admit(from("192.0.2.1"), now, 75), Ok(()));
}

#[test]
fn many_small_networks_of_one_site_have_the_share_of_one() {
    let now = Instant::now();
    let full = |per_source, full| {
        let max_startups = MaxStartups { start: full, rate: 100, full };
        Throttle::new(ThrottleConfig { max_startups, per_source, rate: None, exempt: Vec::new(), ..throttle().config })
    };
    let address = |site: u16, subnet: u16| IpAddr::from([0x2001, 0xdb8, site, subnet, 0, 0, 0, 1]);
    // The share of a source, the whole, and what one site has of it.
    for (share, whole, of_site) in [
        (Some(SourceShare::Percent(25)), 100, 25),
        (Some(SourceShare::Connections(1)), 100, 25),
        (Some(SourceShare::Connections(40)), 100, 40),
        (Some(SourceShare::Percent(25)), 2, 1),
        (None, 100, 100),
    ] {
        let mut throttle = full(share, whole);
        let admitted = (0..200).filter(|subnet| throttle.admit(address(0, *subnet), now, 0).is_ok()).count();
        assert_eq!(admitted, of_site, "{share:?} of {whole}");
        if share.is_some() {
            assert_eq!(
                throttle.admit(address(0, 999), now, 0),
                Err(ConnectionRefusal::PerSite),
                "{share:?} of {whole}"
            );
            assert_eq!(throttle.admit(address(1, 0), now, 0), Ok(()), "another site, {share:?} of {whole}");
            throttle.leave(Some(address(0, 0)));
            assert_eq!(throttle.admit(address(0, 999), now, 0), Ok(()), "after one has left, {share:?} of {whole}");
        }
    }
}

/// Addresses of sources of their own in one /48.
fn of_site(site: u16, subnet: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb9, site, subnet, 0, 0, 0, 1])
}

#[test]
fn failures_from_many_sources_of_one_home_penalise_the_home_and_those_of_many_homes_the_site() {
    let (mut throttle, now) = (without_rate(), Instant::now());
    let admit = |throttle: &mut Throttle, client, at| {
        let admitted = throttle.admit(client, at, 0);
        if admitted.is_ok() {
            throttle.leave(Some(client));
        }
        admitted
    };
    // A /56 has 256 sources.
    let of_home = |home: u16, subnet: u16| of_site(0, (home << 8) + subnet);
    for home in 0..16 {
        // Two failures are less than a source's minimum of 15 s, and ten seconds of 24 sources a home's.
        for subnet in 0..24 {
            assert_eq!(admit(&mut throttle, of_home(home, 100 + subnet), now), Ok(()), "before {subnet} of {home}");
            for _ in 0..2 {
                throttle.penalise(of_home(home, subnet), (PenaltyCause::AuthFail, Duration::ZERO), now);
            }
        }
        let refused = Err(ConnectionRefusal::SitePenalty);
        assert_eq!(admit(&mut throttle, of_home(home, 200), now), refused, "a neighbor in {home}");
        // Another customer of the provider.
        let stranger = if home < 15 { Ok(()) } else { refused };
        assert_eq!(admit(&mut throttle, of_home(99, 0), now), stranger, "after {home}");
    }
    assert_eq!(admit(&mut throttle, of_site(1, 0), now), Ok(()), "another /48");
    assert_eq!(admit(&mut throttle, from("192.0.2.1"), now), Ok(()));
    let later = now + Duration::from_secs(60);
    assert_eq!(admit(&mut throttle, of_home(0, 200), later), Ok(()), "it ends as all penalties do");
    assert_eq!(admit(&mut throttle, of_home(99, 0), later), Ok(()));
}

#[test]
fn one_home_never_penalises_its_site() {
    let (mut throttle, start) = (without_rate(), Instant::now());
    for second in 0..600 {
        let now = start + Duration::from_secs(second);
        // All sources of a /56 fail whenever they are not refused.
        for subnet in 0..=255 {
            if throttle.admit(of_site(0, subnet), now, 0).is_ok() {
                throttle.leave(Some(of_site(0, subnet)));
                throttle.penalise(of_site(0, subnet), (PenaltyCause::InvalidUser, Duration::ZERO), now);
            }
        }
        let neighbor = of_site(0, 256 + second as u16);
        assert_eq!(throttle.admit(neighbor, now, 0), Ok(()), "after {second} s");
        throttle.leave(Some(neighbor));
    }
}

#[test]
fn one_source_never_penalises_its_home() {
    let (mut throttle, start) = (throttle(), Instant::now());
    for second in 0..250 {
        let now = start + Duration::from_secs(second);
        // It fails whenever it is not refused, with many connections at once.
        if throttle.admit(of_site(0, 0), now, 0).is_ok() {
            throttle.leave(Some(of_site(0, 0)));
            for _ in 0..256 {
                throttle.penalise(of_site(0, 0), (PenaltyCause::InvalidUser, Duration::ZERO), now);
            }
        }
        let neighbor = throttle.admit(of_site(0, 1 + second as u16), now, 0);
        assert_eq!(neighbor, Ok(()), "after {second} s");
        throttle.leave(Some(of_site(0, 1 + second as u16)));
    }
}

#[test]
fn logins_of_a_site_s_people_lessen_its_penalty() {
    let (mut throttle, now) = (throttle(), Instant::now());
    for subnet in 0..24 {
        for _ in 0..2 {
            throttle.penalise(of_site(0, subnet), (PenaltyCause::AuthFail, Duration::ZERO), now);
        }
    }
    let before = throttle.admit(of_site(0, 99), now, 0);
    for person in 0..8 {
        throttle.logged_in(of_site(0, person), u64::from(person), now);
    }
    let later = now + Duration::from_secs(13);
    assert_eq!((before, throttle.admit(of_site(0, 99), later, 0)), (Err(ConnectionRefusal::SitePenalty), Ok(())));
}

#[test]
fn site_connects_as_often_as_some_of_its_sources_and_not_as_all() {
    let (mut throttle, now) = (throttle(), Instant::now());
    throttle.config.per_source = None;
    throttle.config.max_startups = MaxStartups { start: 10_000, rate: 100, full: 10_000 };
    let admitted = (0..1000).filter(|subnet| throttle.admit(of_site(0, *subnet), now, 0).is_ok()).count();
    assert_eq!(admitted, 16 * 4, "sixteen times the burst of a source");
    assert_eq!(throttle.admit(of_site(0, 2000), now, 0), Err(ConnectionRefusal::Rate));
    assert_eq!(throttle.admit(of_site(1, 0), now, 0), Ok(()), "another /48");
    let later = now + Duration::from_millis(63);
    assert_eq!(throttle.admit(of_site(0, 2000), later, 0), Ok(()), "sixteen times the rate of a source");
    assert_eq!(throttle.admit(of_site(0, 2001), later, 0), Err(ConnectionRefusal::Rate));
}

#[test]
fn clients_behind_a_nat64_are_sources_of_their_own_and_a_network_of_ipv6_is_one() {
    let now = Instant::now();
    let refused = Err(ConnectionRefusal::Penalty(PenaltyCause::Crash));
    for (guilty, other, shared) in [
        ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", false),
        ("64:ff9b::192.0.2.1", "192.0.2.1", true),
        ("2001:db9:64::192.0.2.1", "2001:db9:64::192.0.2.2", false),
        ("2001:db9:64::192.0.2.1", "64:ff9b::192.0.2.1", true),
        ("2001:db9:65::192.0.2.1", "2001:db9:65::192.0.2.2", true),
        ("64:ff9b::10.9.9.1", "64:ff9b::10.9.9.2", true),
    ] {
        let mut throttle = throttle();
        throttle.penalise(from(guilty), (PenaltyCause::Crash, Duration::ZERO), now);
        assert_eq!(throttle.admit(from(guilty), now, 0), refused, "{guilty}");
        let wanted = if shared { refused } else { Ok(()) };
        assert_eq!(throttle.admit(from(other), now, 0), wanted, "{other} after {guilty}");
    }
    let mut throttle = throttle();
    assert_eq!(
        throttle.penalise(from("2001:db9:64::10.1.2.3"), (PenaltyCause::Crash, Duration::ZERO), now),
        None,
        "exempt as IPv4"
    );
    assert!(
        throttle.penalise(from("64:ff9b::10.1.2.3"), (PenaltyCause::Crash, Duration::ZERO), now).is_some(),
        "nobody can be that"
    );
}

#[test]
fn people_who_share_an_address_are_served_although_some_mistype_and_one_who_guesses_is_not() {
    let start = Instant::now();
    let open = || {
        let max_startups = MaxStartups { start: 512, rate: 30, full: 1024 };
        Throttle::new(ThrottleConfig { max_startups, rate: None, ..throttle().config })
    };
    let source = from("192.0.2.1");
    let mut shared = open();
    let served = (0..200_u64).all(|person| {
        let now = start + Duration::from_millis(100 * person);
        let admitted = shared.admit(source, now, 0).is_ok();
        shared.leave(Some(source));
        // Every fourth fails thrice first, on a connection of its own.
        if person % 4 == 0 {
            shared.penalise(source, (PenaltyCause::AuthFail, Duration::ZERO), now);
        }
        shared.logged_in(source, person, now);
        admitted
    });
    assert!(served);
    // One account does not undo more than one guess.
    let mut guessed = open();
    let refused = (0..200_u64).position(|_| {
        let admitted = guessed.admit(source, start, 0).is_ok();
        guessed.leave(Some(source));
        guessed.penalise(source, (PenaltyCause::AuthFail, Duration::ZERO), start);
        guessed.logged_in(source, 7, start);
        !admitted
    });
    assert_eq!(refused, Some(4));
}

#[test]
fn penalised_source_of_many_people_is_reported_once_and_others_are_not() {
    let (mut throttle, now) = (throttle(), Instant::now());
    let (school, office) = (from("192.0.2.1"), from("192.0.2.2"));
    for person in 0..20 {
        throttle.logged_in(school, person, now);
        assert_eq!(throttle.report_shared(school, now), None, "no penalty");
    }
    throttle.logged_in(office, 0, now);
    for source in [school, office] {
        throttle.penalise(source, (PenaltyCause::Crash, Duration::ZERO), now);
    }
    assert_eq!(throttle.report_shared(school, now), Some(20));
    assert_eq!(throttle.report_shared(school, now), None, "again");
    assert_eq!(throttle.report_shared(office, now), None);
}

#[test]
fn proxied_connection_counts_in_all_at_once_and_for_its_client_when_it_is_known() {
    let (mut throttle, now) = (throttle(), Instant::now());
    let proxied: Vec<_> = (0..9).map(|_| throttle.admit_proxied(80)).collect();
    let full = Err(ConnectionRefusal::MaxStartups);
    assert_eq!(proxied, [Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), full]);
    let known: Vec<_> = (0..4).map(|_| throttle.identify(from("192.0.2.1"), now)).collect();
    assert_eq!(known, [Ok(()), Ok(()), Ok(()), Err(ConnectionRefusal::PerSource)]);
    assert_eq!(throttle.admit(from("192.0.2.2"), now, 80), full);
    // The one that was refused, and one of a proxy that spoke for itself.
    throttle.leave(None);
    throttle.leave(None);
    assert_eq!(throttle.identify(from("192.0.2.1"), now), Err(ConnectionRefusal::PerSource));
    throttle.leave(Some(from("192.0.2.1")));
    assert_eq!(throttle.identify(from("192.0.2.1"), now), Ok(()));
    throttle.penalise(from("192.0.2.2"), (PenaltyCause::Crash, Duration::ZERO), now);
    assert_eq!(
        throttle.identify(from("192.0.2.2"), now),
        Err(ConnectionRefusal::Penalty(PenaltyCause::Crash)),
        "the penalty is the client's"
    );
    assert_eq!(throttle.identify(from("10.0.0.1"), now), Ok(()));
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
        ConnectionRefusal::PerSite,
        ConnectionRefusal::MaxStartups,
    ];
    let all: Vec<_> = penalties.map(ConnectionRefusal::Penalty).into_iter().chain(others).collect();
    let texts: std::collections::HashSet<&str> = all.iter().map(|refusal| refusal.text()).collect();
    assert_eq!(texts.len(), all.len());
    assert!(texts.iter().all(|text| text.len() < 200 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
}
