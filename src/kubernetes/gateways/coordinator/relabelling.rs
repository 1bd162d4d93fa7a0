//! The own pods that get the label of the new term, after the Lease was lost and taken back. Decides without I/O.

use crate::kubernetes::gateways::protocol::{ClusterAnswer, ClusterRequest, ObservedPod};
use crate::kubernetes::pod::manifest::Instance;
use crate::types::Namespace;
use std::collections::BTreeSet;

/// The pods that are left, which are none until the first renewal of the new term.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Relabelling {
    /// Namespaces whose pods are not listed yet.
    unlisted: BTreeSet<Namespace>,
    pods: Vec<ObservedPod>,
}

/// The state after an answer.
pub(super) enum RelabellingState {
    Unfinished,
    Finished,
    /// Stopped until the next renewal, which begins it again; the reason is for the log.
    Suspended(Option<String>),
}

impl Relabelling {
    /// Begins with the namespaces that the Lease lists.
    pub(super) fn begin(&mut self, listed: &BTreeSet<Namespace>) {
        self.unlisted.extend(listed.iter().cloned());
    }

    pub(super) fn request(&self, owner: Instance, term: u32) -> Option<ClusterRequest> {
        if let Some(pod) = self.pods.last() {
            return Some(ClusterRequest::RelabelPod(pod.clone(), term));
        }
        let namespace = self.unlisted.first()?.clone();
        Some(ClusterRequest::ListPods { namespace, owner })
    }

    /// Takes in the answer to the last request.
    pub(super) fn handle_answer(&mut self, answer: ClusterAnswer, owner: Instance, term: u32) -> RelabellingState {
        match answer {
            ClusterAnswer::Pods(pods) => {
                self.unlisted.pop_first();
                self.pods.extend(pods.into_iter().filter(|pod| pod.owner == owner && pod.term < term));
            }
            // A relabelled pod has another version than those who decided to remove it have seen.
            ClusterAnswer::Done | ClusterAnswer::NotFound => drop(self.pods.pop()),
            ClusterAnswer::Refused(reason) | ClusterAnswer::Failed(reason) => return self.suspend(Some(reason)),
            ClusterAnswer::Conflict | ClusterAnswer::Lease(_) | ClusterAnswer::Leases(_) => return self.suspend(None),
        }
        if self.unlisted.is_empty() && self.pods.is_empty() {
            RelabellingState::Finished
        } else {
            RelabellingState::Unfinished
        }
    }

    fn suspend(&mut self, reason: Option<String>) -> RelabellingState {
        *self = Self::default();
        RelabellingState::Suspended(reason)
    }
}
