//! What the model does not see: how long somebody waits, and an API that refuses.

use super::*;

const LASTS: Duration = Duration::from_secs(30);

fn namespace(name: &str) -> Namespace {
    Namespace::parse(name).unwrap()
}

fn keeper(now: Instant) -> Keeper {
    Keeper::new(Instance::numbered(1), namespace("home"), LASTS, now)
}

fn asked(keeper: &mut Keeper, now: Instant) -> Request {
    match keeper.next(BTreeSet::new, now) {
        Step::Ask(request) => request,
        Step::Wait(until) => panic!("nothing is asked for {:?}", until - now),
    }
}

/// The API writes the Lease that is asked for.
fn written(keeper: &mut Keeper, now: Instant) -> BTreeSet<Namespace> {
    let (Request::Create(says) | Request::Update(says, _)) = asked(keeper, now) else { panic!("{keeper:?}") };
    let namespaces = says.namespaces.clone();
    keeper.answered(Answer::Lease(LeaseSeen { says, version: Version("1".into()) }), now, now);
    namespaces
}

/// The rest of a cycle, which sees nobody.
fn looked_around(keeper: &mut Keeper, now: Instant) {
    assert_eq!(asked(keeper, now), Request::ListLeases);
    keeper.answered(Answer::Leases(Vec::new()), now, now);
    assert!(matches!(asked(keeper, now), Request::ListStrangers { .. }));
    keeper.answered(Answer::Pods(Vec::new()), now, now);
}

#[test]
fn namespace_is_named_at_once_even_where_a_renewal_is_under_way() {
    let now = Instant::now();
    let lab = namespace("lab");
    let mut keeper = keeper(now);
    assert!(matches!(asked(&mut keeper, now), Request::Create(says) if says.namespaces.is_empty()));
    assert_eq!(keeper.cover(&lab, now), Cover::Soon);
    let says = Draft { instance: keeper.own, holder: keeper.own, lasts: LASTS, namespaces: BTreeSet::new() };
    keeper.answered(Answer::Lease(LeaseSeen { says, version: Version("1".into()) }), now, now);
    assert_eq!(keeper.cover(&lab, now), Cover::Soon);
    looked_around(&mut keeper, now);
    assert_eq!(written(&mut keeper, now), BTreeSet::from([lab.clone()]));
    assert_eq!(keeper.cover(&lab, now), Cover::Leased(0));
    looked_around(&mut keeper, now);
    assert_eq!(keeper.next(BTreeSet::new, now), Step::Wait(now + LASTS / 3));
}

#[test]
fn namespace_that_a_renewal_takes_out_is_not_covered_from_its_beginning() {
    let now = Instant::now();
    let lab = namespace("lab");
    let mut keeper = keeper(now);
    keeper.cover(&lab, now);
    written(&mut keeper, now);
    looked_around(&mut keeper, now);
    let now = now + LASTS / 3;
    assert!(matches!(asked(&mut keeper, now), Request::Update(..)));
    assert_eq!(keeper.cover(&lab, now), Cover::Soon);
}

#[test]
fn refused_gateway_makes_pods_uncovered_and_asks_again_later() {
    let now = Instant::now();
    let mut keeper = keeper(now);
    asked(&mut keeper, now);
    keeper.answered(Answer::Refused("403".into()), now, now);
    assert_eq!(keeper.notices(), [Notice::Refused("403".into())]);
    assert_eq!(keeper.cover(&namespace("lab"), now), Cover::Never);
    assert_eq!(keeper.next(BTreeSet::new, now), Step::Wait(now + LASTS));
    written(&mut keeper, now + LASTS);
    assert_eq!(keeper.cover(&namespace("lab"), now + LASTS), Cover::Soon);
}

#[test]
fn unanswered_renewal_is_tried_again_soon() {
    let now = Instant::now();
    let mut keeper = keeper(now);
    asked(&mut keeper, now);
    keeper.answered(Answer::Failed("cut".into()), now, now);
    assert_eq!(keeper.cover(&namespace("lab"), now), Cover::Soon);
    let again = now + LASTS / 12;
    assert!(matches!(asked(&mut keeper, again), Request::Create(_)));
}
