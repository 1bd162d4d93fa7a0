//! Waiting times and refusals of the API, which the model does not have.

use super::*;

const LEASE_DURATION: Duration = Duration::from_secs(30);

fn namespace(name: &str) -> Namespace {
    Namespace::parse(name).unwrap()
}

fn coordinator(now: Instant) -> Coordinator {
    Coordinator::new(Instance::numbered(1), namespace("home"), LEASE_DURATION, now)
}

fn sent(coordinator: &mut Coordinator, now: Instant) -> ClusterRequest {
    match coordinator.next_step(BTreeSet::new, now) {
        CoordinatorStep::Send(request) => request,
        CoordinatorStep::Wait(until) => panic!("nothing is sent for {:?}", until - now),
    }
}

/// Answers the pending renewal, and returns the namespaces that it lists.
fn renewed(coordinator: &mut Coordinator, now: Instant) -> BTreeSet<Namespace> {
    let (ClusterRequest::CreateLease(record) | ClusterRequest::UpdateLease(record, _)) = sent(coordinator, now) else {
        panic!("{coordinator:?}")
    };
    let namespaces = record.namespaces.clone();
    coordinator.handle_answer(
        ClusterAnswer::Lease(ObservedLease { record, version: ObjectVersion("1".into()) }),
        now,
        now,
    );
    namespaces
}

/// Answers the rest of a cycle, in which there is no other gateway.
fn saw_nobody(coordinator: &mut Coordinator, now: Instant) {
    assert_eq!(sent(coordinator, now), ClusterRequest::ListLeases);
    coordinator.handle_answer(ClusterAnswer::Leases(Vec::new()), now, now);
    assert!(matches!(sent(coordinator, now), ClusterRequest::ListUnknownOwners { .. }));
    coordinator.handle_answer(ClusterAnswer::Pods(Vec::new()), now, now);
}

#[test]
fn namespace_is_named_at_once_even_where_a_renewal_is_under_way() {
    let now = Instant::now();
    let lab = namespace("lab");
    let mut coordinator = coordinator(now);
    assert!(matches!(sent(&mut coordinator, now), ClusterRequest::CreateLease(record) if record.namespaces.is_empty()));
    assert_eq!(coordinator.ensure_listed(&lab, now), NamespaceListing::Pending);
    let record = LeaseRecord {
        instance: coordinator.own,
        holder: coordinator.own,
        lease_duration: LEASE_DURATION,
        namespaces: BTreeSet::new(),
    };
    coordinator.handle_answer(
        ClusterAnswer::Lease(ObservedLease { record, version: ObjectVersion("1".into()) }),
        now,
        now,
    );
    assert_eq!(coordinator.ensure_listed(&lab, now), NamespaceListing::Pending);
    saw_nobody(&mut coordinator, now);
    assert_eq!(renewed(&mut coordinator, now), BTreeSet::from([lab.clone()]));
    assert_eq!(coordinator.ensure_listed(&lab, now), NamespaceListing::Listed(0));
    saw_nobody(&mut coordinator, now);
    assert_eq!(coordinator.next_step(BTreeSet::new, now), CoordinatorStep::Wait(now + LEASE_DURATION / 3));
}

#[test]
fn namespace_that_a_renewal_takes_out_is_not_covered_from_its_beginning() {
    let now = Instant::now();
    let lab = namespace("lab");
    let mut coordinator = coordinator(now);
    coordinator.ensure_listed(&lab, now);
    renewed(&mut coordinator, now);
    saw_nobody(&mut coordinator, now);
    let now = now + LEASE_DURATION / 3;
    assert!(matches!(sent(&mut coordinator, now), ClusterRequest::UpdateLease(..)));
    assert_eq!(coordinator.ensure_listed(&lab, now), NamespaceListing::Pending);
}

#[test]
fn refused_gateway_makes_pods_uncovered_and_asks_again_later() {
    let now = Instant::now();
    let mut coordinator = coordinator(now);
    sent(&mut coordinator, now);
    coordinator.handle_answer(ClusterAnswer::Refused("403".into()), now, now);
    assert_eq!(coordinator.take_notices(), [CoordinatorNotice::Refused("403".into())]);
    assert_eq!(coordinator.ensure_listed(&namespace("lab"), now), NamespaceListing::Unavailable);
    assert_eq!(coordinator.next_step(BTreeSet::new, now), CoordinatorStep::Wait(now + LEASE_DURATION));
    renewed(&mut coordinator, now + LEASE_DURATION);
    assert_eq!(coordinator.ensure_listed(&namespace("lab"), now + LEASE_DURATION), NamespaceListing::Pending);
}

#[test]
fn unanswered_renewal_is_tried_again_soon() {
    let now = Instant::now();
    let mut coordinator = coordinator(now);
    sent(&mut coordinator, now);
    coordinator.handle_answer(ClusterAnswer::Failed("cut".into()), now, now);
    assert_eq!(coordinator.ensure_listed(&namespace("lab"), now), NamespaceListing::Pending);
    let again = now + LEASE_DURATION / 12;
    assert!(matches!(sent(&mut coordinator, again), ClusterRequest::CreateLease(_)));
}
