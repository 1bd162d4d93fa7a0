//! What is done about an instance that was silent for a whole duration, or that has no Lease. Pure: a request at a time
//! out, its answer in.
//!
//! First its pods are listed; then its Lease is taken, on the condition that it is still the version that stayed
//! unchanged; and only then are the pods removed that were listed *before*. So of two who want to act one does, and an
//! instance that was only frozen never loses a pod that it made after it woke. It learns of the loss when it renews, and
//! writes a higher term on the pods that it still has: a removal that was decided before then finds another pod than it
//! means. Without any pods the Lease is deleted.
//!
//! One that has pods and no Lease (somebody deleted it) gets one in our name, and nothing else happens: if it lives, it takes
//! that Lease back as one that was lost, and if not, the Lease grows old before everybody's eyes, also before those who
//! begin later. So where it had pods is forgotten by nobody.

use super::ledger::Suspect;
use super::protocol::{Answer, Draft, PodSeen, Request};
use crate::kubernetes::pod::Instance;
use crate::types::Namespace;
use std::collections::BTreeSet;

/// How often what changed in between (a kubelet wrote its status) is looked at again.
const PASSES: u32 = 3;

/// One inquest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Inquest {
    by: Instance,
    suspect: Suspect,
    /// Its pods as listed before the Lease was taken.
    found: Vec<PodSeen>,
    /// Namespaces into which we may not look.
    closed: u32,
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Stage {
    Listing { left: BTreeSet<Namespace> },
    Taking,
    Restoring,
    Forgetting,
    Removing { left: Vec<PodSeen>, again: BTreeSet<Namespace>, pass: u32 },
    Recounting { left: BTreeSet<Namespace>, pods: Vec<PodSeen>, pass: u32 },
    Over(End),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// There is neither Lease nor pods.
    Nothing,
    /// Nothing more is to be done for now: what is next shows when Leases are seen next.
    Later,
    /// Not all of its namespaces can be looked into, and the others have no pods.
    Closed,
    /// We acted: the Lease has changed by it.
    Taken,
}

/// Something that the log should say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Finding {
    /// The instance is dead, and its pods go.
    Dead(Instance, usize),
    /// The instance has so many pods and had no Lease; now it has one.
    Restored(Instance, usize),
    /// One is gone.
    Removed(PodSeen),
    /// One cannot be removed.
    NotRemoved(PodSeen, String),
    /// That namespace's pods cannot be listed.
    NoLook(Namespace, String),
}

impl Inquest {
    /// Begins one, led by `by`.
    pub(super) fn new(by: Instance, suspect: Suspect) -> Self {
        let left = suspect.namespaces.clone();
        let mut inquest = Self { by, suspect, found: Vec::new(), closed: 0, stage: Stage::Listing { left } };
        inquest.settle();
        inquest
    }

    pub(super) fn about(&self) -> Instance {
        self.suspect.instance
    }

    /// The version of the Lease that stayed unchanged.
    #[cfg(test)]
    pub(super) fn lease(&self) -> Option<&super::protocol::Version> {
        self.suspect.lease.as_ref()
    }

    /// What is to be asked now; or that it is over.
    pub(super) fn request(&self) -> Result<Request, End> {
        let owner = self.suspect.instance;
        let list = |namespace: Option<&Namespace>| match namespace {
            Some(namespace) => Ok(Request::ListPods { namespace: namespace.clone(), owner }),
            None => Err(End::Later),
        };
        match &self.stage {
            Stage::Listing { left } | Stage::Recounting { left, .. } => list(left.first()),
            Stage::Taking => match &self.suspect.lease {
                Some(version) => Ok(Request::Update(self.draft(), version.clone())),
                None => Err(End::Later),
            },
            Stage::Restoring => Ok(Request::Create(self.draft())),
            Stage::Forgetting => match &self.suspect.lease {
                Some(version) => Ok(Request::Forget(owner, version.clone())),
                None => Err(End::Nothing),
            },
            Stage::Removing { left, .. } => left.last().cloned().map(Request::DeletePod).ok_or(End::Taken),
            Stage::Over(end) => Err(*end),
        }
    }

    /// Takes in what came of the request.
    pub(super) fn answered(&mut self, answer: Answer) -> Option<Finding> {
        let stage = std::mem::replace(&mut self.stage, Stage::Over(End::Later));
        let (stage, finding) = match stage {
            Stage::Listing { left } => self.listed(left, answer),
            Stage::Taking => self.took(&answer),
            Stage::Restoring => (Stage::Over(End::Later), self.restored(&answer)),
            Stage::Forgetting => match answer {
                Answer::Done | Answer::Gone => (Stage::Over(End::Nothing), None),
                _ => (Stage::Over(End::Later), None),
            },
            Stage::Removing { left, again, pass } => removed(left, again, pass, answer),
            Stage::Recounting { left, pods, pass } => (self.recounted(left, pods, pass, answer), None),
            over @ Stage::Over(_) => (over, None),
        };
        self.stage = stage;
        self.settle();
        finding
    }

    /// The Lease in our name.
    fn draft(&self) -> Draft {
        let Suspect { instance, lasts, ref namespaces, .. } = self.suspect;
        Draft { instance, holder: self.by, lasts, namespaces: namespaces.clone() }
    }

    fn listed(&mut self, mut left: BTreeSet<Namespace>, answer: Answer) -> (Stage, Option<Finding>) {
        let namespace = left.pop_first();
        match (answer, namespace) {
            (Answer::Pods(pods), _) => {
                self.found.extend(pods.into_iter().filter(|pod| pod.owner == self.suspect.instance));
                (Stage::Listing { left }, None)
            }
            (Answer::Refused(why), Some(namespace)) => {
                self.closed += 1;
                (Stage::Listing { left }, Some(Finding::NoLook(namespace, why)))
            }
            (Answer::Failed(why), Some(namespace)) => (Stage::Over(End::Later), Some(Finding::NoLook(namespace, why))),
            _ => (Stage::Over(End::Later), None),
        }
    }

    fn took(&mut self, answer: &Answer) -> (Stage, Option<Finding>) {
        if !matches!(answer, Answer::Lease(_)) {
            return (Stage::Over(End::Later), None);
        }
        let finding = Finding::Dead(self.suspect.instance, self.found.len());
        (Stage::Removing { left: self.found.clone(), again: BTreeSet::new(), pass: 1 }, Some(finding))
    }

    fn restored(&self, answer: &Answer) -> Option<Finding> {
        let written = matches!(answer, Answer::Lease(_));
        written.then_some(Finding::Restored(self.suspect.instance, self.found.len()))
    }

    /// A pod that is still the one that was found, but for its status, is tried once more.
    fn recounted(&self, mut left: BTreeSet<Namespace>, mut pods: Vec<PodSeen>, pass: u32, answer: Answer) -> Stage {
        let Answer::Pods(now) = answer else { return Stage::Over(End::Taken) };
        let same =
            |pod: &PodSeen| self.found.iter().any(|f| (&f.uid, f.term, f.owner) == (&pod.uid, pod.term, pod.owner));
        pods.extend(now.into_iter().filter(same));
        left.pop_first();
        Stage::Recounting { left, pods, pass }
    }

    /// Goes on to the next stage where one is through.
    fn settle(&mut self) {
        let next = match &mut self.stage {
            Stage::Listing { left } if left.is_empty() => {
                match (self.suspect.lease.is_some(), self.found.is_empty(), self.closed) {
                    (true, false, _) => Stage::Taking,
                    (true, true, 0) => Stage::Forgetting,
                    (true, true, _) => Stage::Over(End::Closed),
                    (false, false, _) => Stage::Restoring,
                    // A Lease for each that ever left a namespace into which we cannot look would stay for ever.
                    (false, true, _) => Stage::Over(End::Nothing),
                }
            }
            Stage::Removing { left, again, pass } if left.is_empty() && !again.is_empty() && *pass < PASSES => {
                Stage::Recounting { left: std::mem::take(again), pods: Vec::new(), pass: *pass }
            }
            Stage::Recounting { left, pods, pass } if left.is_empty() => {
                Stage::Removing { left: std::mem::take(pods), again: BTreeSet::new(), pass: *pass + 1 }
            }
            _ => return,
        };
        self.stage = next;
    }
}

fn removed(
    mut left: Vec<PodSeen>,
    mut again: BTreeSet<Namespace>,
    pass: u32,
    answer: Answer,
) -> (Stage, Option<Finding>) {
    let finding = left.pop().and_then(|pod| match answer {
        Answer::Done => Some(Finding::Removed(pod)),
        Answer::Conflict => {
            again.insert(pod.namespace);
            None
        }
        Answer::Failed(why) | Answer::Refused(why) => {
            again.insert(pod.namespace.clone());
            Some(Finding::NotRemoved(pod, why))
        }
        Answer::Gone | Answer::Lease(_) | Answer::Leases(_) | Answer::Pods(_) => None,
    });
    (Stage::Removing { left, again, pass }, finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::instance::protocol::{LeaseSeen, Version};
    use std::time::Duration;

    fn version(text: &str) -> Version {
        Version(text.into())
    }

    fn pod(uid: &str, at: &str, term: u32) -> PodSeen {
        let namespace = Namespace::parse("lab").unwrap();
        let owner = Instance::numbered(2);
        PodSeen { namespace, name: uid.into(), uid: uid.into(), version: version(at), owner, term }
    }

    /// An inquest about number 2, whose pods these are, up to the moment when its Lease is taken.
    fn taken(pods: Vec<PodSeen>) -> Inquest {
        let instance = Instance::numbered(2);
        let namespaces = BTreeSet::from([Namespace::parse("lab").unwrap()]);
        let lasts = Duration::from_secs(30);
        let lease = Some(version("7"));
        let mut inquest = Inquest::new(Instance::numbered(1), Suspect { instance, lease, lasts, namespaces });
        assert!(matches!(inquest.request(), Ok(Request::ListPods { .. })));
        assert_eq!(inquest.answered(Answer::Pods(pods)), None);
        let Ok(Request::Update(says, seen)) = inquest.request() else { panic!("{inquest:?}") };
        assert_eq!((says.holder, seen), (Instance::numbered(1), version("7")));
        inquest.answered(Answer::Lease(LeaseSeen { says, version: version("8") }));
        inquest
    }

    #[test]
    fn pod_whose_status_changed_is_removed_and_one_that_its_owner_marked_is_not() {
        let mut inquest = taken(vec![pod("marked", "1", 0), pod("busy", "1", 0)]);
        assert_eq!(inquest.request(), Ok(Request::DeletePod(pod("busy", "1", 0))));
        assert_eq!(inquest.answered(Answer::Conflict), None);
        assert_eq!(inquest.request(), Ok(Request::DeletePod(pod("marked", "1", 0))));
        assert_eq!(inquest.answered(Answer::Conflict), None);
        assert!(matches!(inquest.request(), Ok(Request::ListPods { .. })));
        let now = vec![pod("busy", "2", 0), pod("marked", "2", 1), pod("later", "1", 0)];
        inquest.answered(Answer::Pods(now));
        assert_eq!(inquest.request(), Ok(Request::DeletePod(pod("busy", "2", 0))));
        assert_eq!(inquest.answered(Answer::Done), Some(Finding::Removed(pod("busy", "2", 0))));
        assert_eq!(inquest.request(), Err(End::Taken));
    }

    #[test]
    fn pod_that_cannot_be_removed_is_tried_a_few_times() {
        let mut inquest = taken(vec![pod("p", "1", 0)]);
        for _ in 1..PASSES {
            assert!(matches!(inquest.answered(Answer::Failed("500".into())), Some(Finding::NotRemoved(..))));
            inquest.answered(Answer::Pods(vec![pod("p", "1", 0)]));
        }
        inquest.answered(Answer::Failed("500".into()));
        assert_eq!(inquest.request(), Err(End::Taken));
    }

    #[test]
    fn instance_without_a_lease_gets_one_if_it_has_pods_and_loses_none() {
        let suspect = |names: &[&str]| Suspect {
            instance: Instance::numbered(2),
            lease: None,
            lasts: Duration::from_secs(30),
            namespaces: names.iter().map(|name| Namespace::parse(name).unwrap()).collect(),
        };
        let mut inquest = Inquest::new(Instance::numbered(1), suspect(&["lab"]));
        inquest.answered(Answer::Pods(vec![pod("p", "1", 0)]));
        let Ok(Request::Create(says)) = inquest.request() else { panic!("{inquest:?}") };
        assert_eq!((says.instance, says.holder), (Instance::numbered(2), Instance::numbered(1)));
        let mut another = inquest.clone();
        let finding = inquest.answered(Answer::Lease(LeaseSeen { says, version: version("1") }));
        assert_eq!((finding, inquest.request()), (Some(Finding::Restored(Instance::numbered(2), 1)), Err(End::Later)));
        assert_eq!((another.answered(Answer::Conflict), another.request()), (None, Err(End::Later)));

        let mut gone = Inquest::new(Instance::numbered(1), suspect(&["lab", "closed"]));
        gone.answered(Answer::Refused("403".into()));
        gone.answered(Answer::Pods(Vec::new()));
        assert_eq!(gone.request(), Err(End::Nothing));
    }

    #[test]
    fn nothing_is_removed_and_no_lease_deleted_where_one_cannot_look() {
        let namespaces = ["a", "b"].map(|name| Namespace::parse(name).unwrap()).into();
        let lasts = Duration::from_secs(30);
        let suspect = Suspect { instance: Instance::numbered(2), lease: Some(version("7")), lasts, namespaces };
        let mut inquest = Inquest::new(Instance::numbered(1), suspect.clone());
        assert!(matches!(inquest.answered(Answer::Refused("403".into())), Some(Finding::NoLook(..))));
        inquest.answered(Answer::Pods(Vec::new()));
        assert_eq!(inquest.request(), Err(End::Closed));
        let mut inquest = Inquest::new(Instance::numbered(1), suspect);
        inquest.answered(Answer::Failed("500".into()));
        assert_eq!(inquest.request(), Err(End::Later));
    }
}
