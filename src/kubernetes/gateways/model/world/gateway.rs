//! A modelled gateway: the real coordinator, the call that it has sent, and facts for the checks that the coordinator does
//! not know.

use super::super::super::coordinator::{Coordinator, CoordinatorStep, NamespaceListing};
use super::super::super::protocol::{ClusterAnswer, ClusterRequest, ObjectVersion};
use super::{LEASE_TICKS, NAMESPACES, NOW, ProcessState, TICK};
use crate::kubernetes::pod::manifest::Instance;
use std::collections::BTreeSet;
use tokio::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ModelGateway {
    pub(super) id: Instance,
    pub(super) process: ProcessState,
    pub(super) coordinator: Coordinator,
    pub(super) sent: Option<(ClusterRequest, Instant)>,
    /// An answer that waits for the thaw.
    pub(super) undelivered: Option<ClusterAnswer>,
    /// Ticks since it renewed its Lease.
    pub(super) ticks_since_renewal: u8,
    /// Set if it was frozen since it renewed its Lease.
    pub(super) was_frozen: bool,
    /// Set if its Lease was deleted by hand since it wrote it.
    pub(super) lease_deleted: bool,
    /// The namespaces that it uses, or that a Lease lists which it has read.
    pub(super) known_namespaces: BTreeSet<usize>,
    /// The namespaces of logins that wait for the Lease to list them.
    pub(super) waiting_logins: Vec<usize>,
    /// Creates of pods that were sent: namespace and term.
    pub(super) creating: Vec<(usize, u32)>,
}

impl ModelGateway {
    pub(super) fn new(number: usize) -> Self {
        let id = Instance::numbered(number as u128);
        let mut gateway = Self {
            id,
            process: ProcessState::Runs,
            coordinator: Coordinator::new(id, NAMESPACES[0].clone(), TICK * LEASE_TICKS.into(), *NOW),
            sent: None,
            undelivered: None,
            ticks_since_renewal: 0,
            was_frozen: false,
            lease_deleted: false,
            known_namespaces: BTreeSet::from([0]),
            waiting_logins: Vec::new(),
            creating: Vec::new(),
        };
        gateway.run(&BTreeSet::new());
        gateway
    }

    /// Does all that the process does without an answer or a tick.
    pub(super) fn run(&mut self, with_pods: &BTreeSet<usize>) {
        let covered = |namespace: &usize| match self.coordinator.ensure_listed(&NAMESPACES[*namespace], *NOW) {
            NamespaceListing::Listed(term) => {
                self.creating.push((*namespace, term));
                false
            }
            NamespaceListing::Pending => true,
            NamespaceListing::Unavailable => panic!("nothing is refused here"),
        };
        self.waiting_logins.retain(covered);
        if self.sent.is_some() {
            return;
        }
        let used =
            self.waiting_logins.iter().chain(self.creating.iter().map(|(namespace, _)| namespace)).chain(with_pods);
        let in_use = used.map(|namespace| NAMESPACES[*namespace].clone()).collect();
        match self.coordinator.next_step(|| in_use, *NOW) {
            CoordinatorStep::Send(request) => self.sent = Some((request, *NOW)),
            CoordinatorStep::Wait(until) => assert!(until > *NOW, "busy without an end"),
        }
        // Notices are no part of the state.
        drop(self.coordinator.take_notices());
    }

    /// Remembers the namespaces that the Leases of an answer list.
    pub(super) fn learn_namespaces(&mut self, answer: &ClusterAnswer) {
        if let ClusterAnswer::Leases(leases) = answer {
            let named =
                |namespace: &usize| leases.iter().any(|l| l.record.namespaces.contains(&NAMESPACES[*namespace]));
            self.known_namespaces.extend((0..NAMESPACES.len()).filter(named));
        }
    }

    pub(super) fn versions_of(&self, instance: Instance) -> Vec<&ObjectVersion> {
        let sent = self.sent.iter().filter_map(|(request, _)| match request {
            ClusterRequest::UpdateLease(record, version) if record.instance == instance => Some(version),
            ClusterRequest::DeleteLease(about, version) if *about == instance => Some(version),
            _ => None,
        });
        let undelivered = self.undelivered.iter().flat_map(|answer| match answer {
            ClusterAnswer::Lease(lease) => vec![lease],
            ClusterAnswer::Leases(leases) => leases.iter().collect(),
            _ => Vec::new(),
        });
        let undelivered = undelivered.filter(|lease| lease.record.instance == instance).map(|lease| &lease.version);
        self.coordinator.versions_of(instance).chain(sent).chain(undelivered).collect()
    }
}
