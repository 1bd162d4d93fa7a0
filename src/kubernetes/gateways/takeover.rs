//! The takeover of an instance that was silent for a whole Lease duration, or that has no Lease. Pure: one request at a
//! time goes out, and its answer comes in.
//!
//! 1. The instance's pods are listed.
//! 2. Its Lease is taken, on the condition that it still has the version that stayed unchanged.
//! 3. Only then are the pods removed that were listed *before*.
//!
//! So of two gateways that want to act one does, and an instance that was only frozen never loses a pod that it created
//! after it woke. Such an instance learns of the loss when it renews its Lease, and labels the pods that it still has with
//! a higher term: a removal that was decided before then no longer finds the pod's version. If no pods are found, the Lease
//! is deleted.
//!
//! For an instance that has pods and no Lease (somebody deleted it), a Lease is written in our name, and nothing else
//! happens. If the instance lives, it takes that Lease back as one that was lost. If not, the Lease expires before the
//! eyes of every gateway, also of those that start later, so that the namespaces of its pods are never forgotten.

use super::peers::Suspect;
use super::protocol::{ClusterAnswer, ClusterRequest, LeaseRecord, ObservedPod};
use crate::kubernetes::pod::manifest::Instance;
use crate::types::Namespace;
use std::collections::BTreeSet;

/// Passes over the pods. Another one is for pods that changed since they were listed, for example by a kubelet's status.
const MAX_PASSES: u32 = 3;

/// The takeover of one suspect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Takeover {
    by: Instance,
    suspect: Suspect,
    /// Its pods as listed before the Lease was taken.
    pods: Vec<ObservedPod>,
    /// Counts the namespaces whose pods may not be listed.
    unreadable: u32,
    stage: TakeoverStage,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum TakeoverStage {
    ListingPods { left: BTreeSet<Namespace> },
    TakingLease,
    RestoringLease,
    DeletingLease,
    RemovingPods { left: Vec<ObservedPod>, changed: BTreeSet<Namespace>, pass: u32 },
    RelistingPods { left: BTreeSet<Namespace>, pods: Vec<ObservedPod>, pass: u32 },
    Ended(TakeoverEnd),
}

/// The end of a takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TakeoverEnd {
    /// The instance has neither a Lease nor pods.
    NothingLeft,
    /// Nothing more can be done before the Leases are listed again.
    Later,
    /// Some of the instance's namespaces cannot be listed, and the others have no pods of it.
    Unreadable,
    /// The Lease was taken, and so has changed.
    Taken,
}

/// An event of a takeover for the operator's log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum TakeoverNotice {
    /// The instance is dead, and this number of pods will be removed.
    GatewayDead(Instance, usize),
    /// The instance has this number of pods and had no Lease; now it has one.
    LeaseRestored(Instance, usize),
    PodRemoved(ObservedPod),
    /// The pod was not removed, for this reason.
    PodNotRemoved(ObservedPod, String),
    /// The namespace's pods cannot be listed, for this reason.
    NamespaceUnreadable(Namespace, String),
}

impl Takeover {
    /// Begins a takeover by the gateway `by`.
    pub(super) fn new(by: Instance, suspect: Suspect) -> Self {
        let stage = TakeoverStage::ListingPods { left: suspect.namespaces.clone() };
        let mut takeover = Self { by, suspect, pods: Vec::new(), unreadable: 0, stage };
        takeover.advance();
        takeover
    }

    /// The instance that is taken over.
    pub(super) fn instance(&self) -> Instance {
        self.suspect.instance
    }

    /// The version of the Lease that stayed unchanged.
    #[cfg(test)]
    pub(super) fn lease(&self) -> Option<&super::protocol::ObjectVersion> {
        self.suspect.lease.as_ref()
    }

    /// The next request, or the end.
    pub(super) fn request(&self) -> Result<ClusterRequest, TakeoverEnd> {
        let owner = self.suspect.instance;
        let list = |namespace: Option<&Namespace>| match namespace {
            Some(namespace) => Ok(ClusterRequest::ListPods { namespace: namespace.clone(), owner }),
            None => Err(TakeoverEnd::Later),
        };
        match &self.stage {
            TakeoverStage::ListingPods { left } | TakeoverStage::RelistingPods { left, .. } => list(left.first()),
            TakeoverStage::TakingLease => match &self.suspect.lease {
                Some(version) => Ok(ClusterRequest::UpdateLease(self.lease_record(), version.clone())),
                None => Err(TakeoverEnd::Later),
            },
            TakeoverStage::RestoringLease => Ok(ClusterRequest::CreateLease(self.lease_record())),
            TakeoverStage::DeletingLease => match &self.suspect.lease {
                Some(version) => Ok(ClusterRequest::DeleteLease(owner, version.clone())),
                None => Err(TakeoverEnd::NothingLeft),
            },
            TakeoverStage::RemovingPods { left, .. } => {
                left.last().cloned().map(ClusterRequest::DeletePod).ok_or(TakeoverEnd::Taken)
            }
            TakeoverStage::Ended(end) => Err(*end),
        }
    }

    /// Takes in the answer to the last request.
    pub(super) fn handle_answer(&mut self, answer: ClusterAnswer) -> Option<TakeoverNotice> {
        let stage = std::mem::replace(&mut self.stage, TakeoverStage::Ended(TakeoverEnd::Later));
        let (stage, notice) = match stage {
            TakeoverStage::ListingPods { left } => self.pods_listed(left, answer),
            TakeoverStage::TakingLease => self.lease_taken(&answer),
            TakeoverStage::RestoringLease => (TakeoverStage::Ended(TakeoverEnd::Later), self.lease_restored(&answer)),
            TakeoverStage::DeletingLease => match answer {
                ClusterAnswer::Done | ClusterAnswer::NotFound => (TakeoverStage::Ended(TakeoverEnd::NothingLeft), None),
                _ => (TakeoverStage::Ended(TakeoverEnd::Later), None),
            },
            TakeoverStage::RemovingPods { left, changed, pass } => pod_removed(left, changed, pass, answer),
            TakeoverStage::RelistingPods { left, pods, pass } => (self.pods_relisted(left, pods, pass, answer), None),
            ended @ TakeoverStage::Ended(_) => (ended, None),
        };
        self.stage = stage;
        self.advance();
        notice
    }

    /// The Lease of the suspect, in our name.
    fn lease_record(&self) -> LeaseRecord {
        let Suspect { instance, lease_duration, ref namespaces, .. } = self.suspect;
        LeaseRecord { instance, holder: self.by, lease_duration, namespaces: namespaces.clone() }
    }

    fn pods_listed(
        &mut self,
        mut left: BTreeSet<Namespace>,
        answer: ClusterAnswer,
    ) -> (TakeoverStage, Option<TakeoverNotice>) {
        let namespace = left.pop_first();
        match (answer, namespace) {
            (ClusterAnswer::Pods(pods), _) => {
                self.pods.extend(pods.into_iter().filter(|pod| pod.owner == self.suspect.instance));
                (TakeoverStage::ListingPods { left }, None)
            }
            (ClusterAnswer::Refused(reason), Some(namespace)) => {
                self.unreadable += 1;
                let notice = TakeoverNotice::NamespaceUnreadable(namespace, reason);
                (TakeoverStage::ListingPods { left }, Some(notice))
            }
            (ClusterAnswer::Failed(reason), Some(namespace)) => {
                let notice = TakeoverNotice::NamespaceUnreadable(namespace, reason);
                (TakeoverStage::Ended(TakeoverEnd::Later), Some(notice))
            }
            _ => (TakeoverStage::Ended(TakeoverEnd::Later), None),
        }
    }

    fn lease_taken(&mut self, answer: &ClusterAnswer) -> (TakeoverStage, Option<TakeoverNotice>) {
        if !matches!(answer, ClusterAnswer::Lease(_)) {
            return (TakeoverStage::Ended(TakeoverEnd::Later), None);
        }
        let notice = TakeoverNotice::GatewayDead(self.suspect.instance, self.pods.len());
        let stage = TakeoverStage::RemovingPods { left: self.pods.clone(), changed: BTreeSet::new(), pass: 1 };
        (stage, Some(notice))
    }

    fn lease_restored(&self, answer: &ClusterAnswer) -> Option<TakeoverNotice> {
        let written = matches!(answer, ClusterAnswer::Lease(_));
        written.then_some(TakeoverNotice::LeaseRestored(self.suspect.instance, self.pods.len()))
    }

    /// Selects the pods for another pass: those that are the same as before but for their status.
    fn pods_relisted(
        &self,
        mut left: BTreeSet<Namespace>,
        mut pods: Vec<ObservedPod>,
        pass: u32,
        answer: ClusterAnswer,
    ) -> TakeoverStage {
        let ClusterAnswer::Pods(listed) = answer else { return TakeoverStage::Ended(TakeoverEnd::Taken) };
        let is_same = |pod: &ObservedPod| {
            self.pods.iter().any(|known| (&known.uid, known.term, known.owner) == (&pod.uid, pod.term, pod.owner))
        };
        pods.extend(listed.into_iter().filter(is_same));
        left.pop_first();
        TakeoverStage::RelistingPods { left, pods, pass }
    }

    /// Leaves a stage that has nothing left to do.
    fn advance(&mut self) {
        let next = match &mut self.stage {
            TakeoverStage::ListingPods { left } if left.is_empty() => {
                match (self.suspect.lease.is_some(), self.pods.is_empty(), self.unreadable) {
                    (true, false, _) => TakeoverStage::TakingLease,
                    (true, true, 0) => TakeoverStage::DeletingLease,
                    (true, true, _) => TakeoverStage::Ended(TakeoverEnd::Unreadable),
                    (false, false, _) => TakeoverStage::RestoringLease,
                    // A Lease for every instance that ever left a namespace which we cannot list would stay for ever.
                    (false, true, _) => TakeoverStage::Ended(TakeoverEnd::NothingLeft),
                }
            }
            TakeoverStage::RemovingPods { left, changed, pass }
                if left.is_empty() && !changed.is_empty() && *pass < MAX_PASSES =>
            {
                TakeoverStage::RelistingPods { left: std::mem::take(changed), pods: Vec::new(), pass: *pass }
            }
            TakeoverStage::RelistingPods { left, pods, pass } if left.is_empty() => {
                let left = std::mem::take(pods);
                TakeoverStage::RemovingPods { left, changed: BTreeSet::new(), pass: *pass + 1 }
            }
            _ => return,
        };
        self.stage = next;
    }
}

fn pod_removed(
    mut left: Vec<ObservedPod>,
    mut changed: BTreeSet<Namespace>,
    pass: u32,
    answer: ClusterAnswer,
) -> (TakeoverStage, Option<TakeoverNotice>) {
    let notice = left.pop().and_then(|pod| match answer {
        ClusterAnswer::Done => Some(TakeoverNotice::PodRemoved(pod)),
        ClusterAnswer::Conflict => {
            changed.insert(pod.namespace);
            None
        }
        ClusterAnswer::Failed(reason) | ClusterAnswer::Refused(reason) => {
            changed.insert(pod.namespace.clone());
            Some(TakeoverNotice::PodNotRemoved(pod, reason))
        }
        ClusterAnswer::NotFound | ClusterAnswer::Lease(_) | ClusterAnswer::Leases(_) | ClusterAnswer::Pods(_) => None,
    });
    (TakeoverStage::RemovingPods { left, changed, pass }, notice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::gateways::protocol::{ObjectVersion, ObservedLease};
    use std::time::Duration;

    fn version(text: &str) -> ObjectVersion {
        ObjectVersion(text.into())
    }

    fn pod(uid: &str, at: &str, term: u32) -> ObservedPod {
        let namespace = Namespace::parse("lab").unwrap();
        let owner = Instance::numbered(2);
        ObservedPod { namespace, name: uid.into(), uid: uid.into(), version: version(at), owner, term }
    }

    /// A takeover of instance 2, which has these pods, up to the moment when its Lease is taken.
    fn taken(pods: Vec<ObservedPod>) -> Takeover {
        let instance = Instance::numbered(2);
        let namespaces = BTreeSet::from([Namespace::parse("lab").unwrap()]);
        let lease_duration = Duration::from_secs(30);
        let lease = Some(version("7"));
        let mut takeover =
            Takeover::new(Instance::numbered(1), Suspect { instance, lease, lease_duration, namespaces });
        assert!(matches!(takeover.request(), Ok(ClusterRequest::ListPods { .. })));
        assert_eq!(takeover.handle_answer(ClusterAnswer::Pods(pods)), None);
        let Ok(ClusterRequest::UpdateLease(record, seen)) = takeover.request() else { panic!("{takeover:?}") };
        assert_eq!((record.holder, seen), (Instance::numbered(1), version("7")));
        takeover.handle_answer(ClusterAnswer::Lease(ObservedLease { record, version: version("8") }));
        takeover
    }

    #[test]
    fn pod_whose_status_changed_is_removed_and_one_that_its_owner_marked_is_not() {
        let mut takeover = taken(vec![pod("marked", "1", 0), pod("busy", "1", 0)]);
        assert_eq!(takeover.request(), Ok(ClusterRequest::DeletePod(pod("busy", "1", 0))));
        assert_eq!(takeover.handle_answer(ClusterAnswer::Conflict), None);
        assert_eq!(takeover.request(), Ok(ClusterRequest::DeletePod(pod("marked", "1", 0))));
        assert_eq!(takeover.handle_answer(ClusterAnswer::Conflict), None);
        assert!(matches!(takeover.request(), Ok(ClusterRequest::ListPods { .. })));
        let now = vec![pod("busy", "2", 0), pod("marked", "2", 1), pod("later", "1", 0)];
        takeover.handle_answer(ClusterAnswer::Pods(now));
        assert_eq!(takeover.request(), Ok(ClusterRequest::DeletePod(pod("busy", "2", 0))));
        assert_eq!(takeover.handle_answer(ClusterAnswer::Done), Some(TakeoverNotice::PodRemoved(pod("busy", "2", 0))));
        assert_eq!(takeover.request(), Err(TakeoverEnd::Taken));
    }

    #[test]
    fn pod_that_cannot_be_removed_is_tried_a_few_times() {
        let mut takeover = taken(vec![pod("p", "1", 0)]);
        for _ in 1..MAX_PASSES {
            assert!(matches!(
                takeover.handle_answer(ClusterAnswer::Failed("500".into())),
                Some(TakeoverNotice::PodNotRemoved(..))
            ));
            takeover.handle_answer(ClusterAnswer::Pods(vec![pod("p", "1", 0)]));
        }
        takeover.handle_answer(ClusterAnswer::Failed("500".into()));
        assert_eq!(takeover.request(), Err(TakeoverEnd::Taken));
    }

    #[test]
    fn instance_without_a_lease_gets_one_if_it_has_pods_and_loses_none() {
        let suspect = |names: &[&str]| Suspect {
            instance: Instance::numbered(2),
            lease: None,
            lease_duration: Duration::from_secs(30),
            namespaces: names.iter().map(|name| Namespace::parse(name).unwrap()).collect(),
        };
        let mut takeover = Takeover::new(Instance::numbered(1), suspect(&["lab"]));
        takeover.handle_answer(ClusterAnswer::Pods(vec![pod("p", "1", 0)]));
        let Ok(ClusterRequest::CreateLease(record)) = takeover.request() else { panic!("{takeover:?}") };
        assert_eq!((record.instance, record.holder), (Instance::numbered(2), Instance::numbered(1)));
        let mut another = takeover.clone();
        let finding = takeover.handle_answer(ClusterAnswer::Lease(ObservedLease { record, version: version("1") }));
        assert_eq!(
            (finding, takeover.request()),
            (Some(TakeoverNotice::LeaseRestored(Instance::numbered(2), 1)), Err(TakeoverEnd::Later))
        );
        assert_eq!(
            (another.handle_answer(ClusterAnswer::Conflict), another.request()),
            (None, Err(TakeoverEnd::Later))
        );

        let mut gone = Takeover::new(Instance::numbered(1), suspect(&["lab", "closed"]));
        gone.handle_answer(ClusterAnswer::Refused("403".into()));
        gone.handle_answer(ClusterAnswer::Pods(Vec::new()));
        assert_eq!(gone.request(), Err(TakeoverEnd::NothingLeft));
    }

    #[test]
    fn nothing_is_removed_and_no_lease_deleted_where_one_cannot_look() {
        let namespaces = ["a", "b"].map(|name| Namespace::parse(name).unwrap()).into();
        let lease_duration = Duration::from_secs(30);
        let suspect =
            Suspect { instance: Instance::numbered(2), lease: Some(version("7")), lease_duration, namespaces };
        let mut takeover = Takeover::new(Instance::numbered(1), suspect.clone());
        assert!(matches!(
            takeover.handle_answer(ClusterAnswer::Refused("403".into())),
            Some(TakeoverNotice::NamespaceUnreadable(..))
        ));
        takeover.handle_answer(ClusterAnswer::Pods(Vec::new()));
        assert_eq!(takeover.request(), Err(TakeoverEnd::Unreadable));
        let mut takeover = Takeover::new(Instance::numbered(1), suspect);
        takeover.handle_answer(ClusterAnswer::Failed("500".into()));
        assert_eq!(takeover.request(), Err(TakeoverEnd::Later));
    }
}
