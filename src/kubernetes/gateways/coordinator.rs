//! The decisions of one gateway among those of its cluster, without I/O: one request at a time goes out, and its answer
//! comes in.
//!
//! - The gateway's own Lease is renewed every third of its duration, and lists every namespace before the first pod is
//!   created there.
//! - Each successful renewal is followed by a list of all Leases (see [`PeerTable`]) and a list of one namespace's pods, the
//!   namespaces taking turns, for owners without a Lease.
//! - An instance that was silent for a whole duration, or that has no Lease, gets a [`Takeover`].
//! - Renewal comes before all other work, so that no amount of it lets the own Lease expire.

mod relabelling;
#[cfg(test)]
mod tests;

use super::peers::{PeerTable, Suspect};
use super::protocol::{ClusterAnswer, ClusterRequest, LeaseRecord, ObjectVersion, ObservedLease};
use super::takeover::{Takeover, TakeoverEnd, TakeoverNotice};
use crate::kubernetes::pod::manifest::Instance;
use crate::types::Namespace;
use relabelling::{Relabelling, RelabellingState};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Limit of the namespaces that take turns.
const MAX_ROTATION: usize = 256;

/// The state of one gateway among the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Coordinator {
    own: Instance,
    home: Namespace,
    lease_duration: Duration,
    own_lease: OwnLease,
    /// The last renewal was refused, not merely unanswered.
    refused: bool,
    /// Counts how often the Lease was lost.
    term: u32,
    /// The namespaces that the Lease lists.
    listed: BTreeSet<Namespace>,
    /// The namespaces that the next renewal must list.
    requested: BTreeSet<Namespace>,
    peers: PeerTable,
    /// The namespaces that are searched in turn for pods of unknown owners.
    rotation: VecDeque<Namespace>,
    renew_at: Instant,
    pending: Option<PendingRequest>,
    phase: CyclePhase,
    relabelling: Option<Relabelling>,
    takeovers: VecDeque<Takeover>,
    notices: Vec<CoordinatorNotice>,
}

/// The state of the own Lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum OwnLease {
    Absent,
    Held(ObjectVersion),
    /// The API has another version than this process wrote last.
    Uncertain,
}

/// The next part of a renewal cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum CyclePhase {
    Renew,
    ListLeases,
    ListUnknownOwners,
    /// Relabelling and takeovers, between two cycles.
    Work,
}

/// The request that awaits its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum PendingRequest {
    /// A renewal that lists these namespaces.
    Renewal(BTreeSet<Namespace>),
    OwnLease,
    Leases,
    UnknownOwners(Namespace),
    Relabelling,
    Takeover,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CoordinatorStep {
    /// Send this request, then call [`Coordinator::handle_answer`].
    Send(ClusterRequest),
    /// Do nothing until then, or until a namespace is requested.
    Wait(Instant),
}

/// The answer to a request for a namespace in the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum NamespaceListing {
    /// The Lease lists the namespace; pods must carry this term.
    Listed(u32),
    /// The next renewal lists it.
    Pending,
    /// The API refuses the Lease: no other gateway will remove the pods of this one.
    Unavailable,
}

/// An event for the operator's log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum CoordinatorNotice {
    /// The API refuses the own Lease, for this reason.
    Refused(String),
    /// The API refuses the list of all Leases, for this reason.
    CannotListPeers(String),
    /// The own Lease was not renewed, for this reason; another try follows.
    Failing(String),
    /// Own pods did not get the new term, for this reason.
    CannotRelabel(String),
    /// The own Lease is renewed.
    Held,
    /// Another gateway took the own Lease, or somebody deleted it.
    Lost,
    Takeover(TakeoverNotice),
}

impl Coordinator {
    pub(super) fn new(own: Instance, home: Namespace, lease_duration: Duration, now: Instant) -> Self {
        Self {
            own,
            rotation: VecDeque::from([home.clone()]),
            home,
            lease_duration,
            own_lease: OwnLease::Absent,
            refused: false,
            term: 0,
            listed: BTreeSet::new(),
            requested: BTreeSet::new(),
            peers: PeerTable::new(own, lease_duration),
            renew_at: now,
            pending: None,
            phase: CyclePhase::Work,
            relabelling: None,
            takeovers: VecDeque::new(),
            notices: Vec::new(),
        }
    }

    /// Tells whether pods may be created in a namespace, and requests it for the Lease if it is not listed. The caller must
    /// have made sure that `in_use` of [`Coordinator::next_step`] contains the namespace from now on.
    pub(super) fn ensure_listed(&mut self, namespace: &Namespace, now: Instant) -> NamespaceListing {
        if self.listed.contains(namespace) {
            return NamespaceListing::Listed(self.term);
        }
        if self.refused {
            return NamespaceListing::Unavailable;
        }
        if self.requested.insert(namespace.clone()) {
            self.renew_at = self.renew_at.min(now);
        }
        NamespaceListing::Pending
    }

    /// Removes and returns the notices since the last call.
    pub(super) fn take_notices(&mut self) -> Vec<CoordinatorNotice> {
        std::mem::take(&mut self.notices)
    }

    /// The version of the own Lease, and the namespaces that it lists; `None` if it is not known to be held.
    pub(super) fn held_lease(&self) -> Option<(&ObjectVersion, &BTreeSet<Namespace>)> {
        match &self.own_lease {
            OwnLease::Held(version) => Some((version, &self.listed)),
            OwnLease::Absent | OwnLease::Uncertain => None,
        }
    }

    /// Decides the next step; `in_use` gives the namespaces where this process has pods or is about to create some.
    pub(super) fn next_step(&mut self, in_use: impl FnOnce() -> BTreeSet<Namespace>, now: Instant) -> CoordinatorStep {
        if self.phase == CyclePhase::Work && now >= self.renew_at {
            self.phase = CyclePhase::Renew;
        }
        match self.phase {
            CyclePhase::Renew => self.renew(&in_use()),
            CyclePhase::ListLeases => self.send(PendingRequest::Leases, ClusterRequest::ListLeases),
            CyclePhase::ListUnknownOwners => self.list_unknown_owners(),
            CyclePhase::Work => self.next_work(now),
        }
    }

    /// Takes in the answer to the pending request, which was sent at `begun`.
    pub(super) fn handle_answer(&mut self, answer: ClusterAnswer, begun: Instant, now: Instant) {
        match self.pending.take() {
            Some(PendingRequest::Renewal(namespaces)) => self.lease_written(answer, namespaces, now),
            Some(PendingRequest::OwnLease) => self.own_lease_read(answer, now),
            Some(PendingRequest::Leases) => self.leases_listed(answer, begun, now),
            Some(PendingRequest::UnknownOwners(namespace)) => self.unknown_owners_listed(answer, namespace, now),
            Some(PendingRequest::Relabelling) => self.pods_relabelled(answer),
            Some(PendingRequest::Takeover) => self.takeover_answered(answer, now),
            None => {}
        }
    }

    fn send(&mut self, pending: PendingRequest, request: ClusterRequest) -> CoordinatorStep {
        self.pending = Some(pending);
        CoordinatorStep::Send(request)
    }

    fn renew(&mut self, in_use: &BTreeSet<Namespace>) -> CoordinatorStep {
        if self.own_lease == OwnLease::Uncertain {
            return self.send(PendingRequest::OwnLease, ClusterRequest::ReadLease(self.own));
        }
        let namespaces: BTreeSet<_> = in_use.union(&self.requested).cloned().collect();
        // From here on no pod is created in a namespace that this renewal drops from the list.
        self.listed.retain(|namespace| namespaces.contains(namespace));
        let record = LeaseRecord {
            instance: self.own,
            holder: self.own,
            lease_duration: self.lease_duration,
            namespaces: namespaces.clone(),
        };
        let request = match &self.own_lease {
            OwnLease::Held(version) => ClusterRequest::UpdateLease(record, version.clone()),
            OwnLease::Absent | OwnLease::Uncertain => ClusterRequest::CreateLease(record),
        };
        self.send(PendingRequest::Renewal(namespaces), request)
    }

    fn lease_written(&mut self, answer: ClusterAnswer, namespaces: BTreeSet<Namespace>, now: Instant) {
        match answer {
            ClusterAnswer::Lease(lease) => {
                if self.refused || self.own_lease == OwnLease::Absent {
                    self.notices.push(CoordinatorNotice::Held);
                }
                self.refused = false;
                self.own_lease = OwnLease::Held(lease.version);
                self.requested.retain(|namespace| !namespaces.contains(namespace));
                self.listed = namespaces;
                if let Some(relabelling) = &mut self.relabelling {
                    relabelling.begin(&self.listed);
                }
                // A namespace that was requested meanwhile does not wait for the next third of the duration.
                self.renew_at = if self.requested.is_empty() { now + self.lease_duration / 3 } else { now };
                self.phase = CyclePhase::ListLeases;
            }
            ClusterAnswer::Conflict => self.own_lease = OwnLease::Uncertain,
            ClusterAnswer::NotFound if self.own_lease != OwnLease::Absent => self.lease_lost(OwnLease::Absent),
            other => self.renewal_failed(other, now),
        }
    }

    /// Finds out why the Lease has another version: the answer to a renewal was lost, or another gateway has taken it.
    fn own_lease_read(&mut self, answer: ClusterAnswer, now: Instant) {
        match answer {
            ClusterAnswer::Lease(ObservedLease { record, version }) if record.holder == self.own => {
                self.own_lease = OwnLease::Held(version);
            }
            ClusterAnswer::Lease(ObservedLease { version, .. }) => self.lease_lost(OwnLease::Held(version)),
            ClusterAnswer::NotFound => self.lease_lost(OwnLease::Absent),
            other => self.renewal_failed(other, now),
        }
    }

    /// Begins a new term. Another gateway may have decided to remove our pods: they get the new term once the Lease is ours
    /// again.
    fn lease_lost(&mut self, own_lease: OwnLease) {
        self.own_lease = own_lease;
        self.term += 1;
        self.relabelling = Some(Relabelling::default());
        self.notices.push(CoordinatorNotice::Lost);
    }

    fn renewal_failed(&mut self, answer: ClusterAnswer, now: Instant) {
        self.phase = CyclePhase::Work;
        self.renew_at = now + self.lease_duration / 12;
        match answer {
            ClusterAnswer::Refused(reason) => {
                self.refused = true;
                self.renew_at = now + self.lease_duration;
                self.notices.push(CoordinatorNotice::Refused(reason));
            }
            ClusterAnswer::Failed(reason) => self.notices.push(CoordinatorNotice::Failing(reason)),
            ClusterAnswer::Done
            | ClusterAnswer::NotFound
            | ClusterAnswer::Conflict
            | ClusterAnswer::Lease(_)
            | ClusterAnswer::Leases(_)
            | ClusterAnswer::Pods(_) => {
                self.notices.push(CoordinatorNotice::Failing("the answer is not valid".to_owned()));
            }
        }
    }

    fn leases_listed(&mut self, answer: ClusterAnswer, begun: Instant, now: Instant) {
        self.phase = CyclePhase::ListUnknownOwners;
        match answer {
            ClusterAnswer::Leases(leases) => {
                let suspects = self.peers.observe(leases, begun, now);
                self.start_takeovers(suspects);
                self.extend_rotation();
                // Observe again as soon as somebody can become a suspect, but not more often than every twelfth.
                let soonest = now + self.lease_duration / 12;
                let suspicion = self.peers.next_suspicion().map_or(self.renew_at, |at| at.max(soonest));
                self.renew_at = self.renew_at.min(suspicion);
            }
            ClusterAnswer::Refused(reason) => self.notices.push(CoordinatorNotice::CannotListPeers(reason)),
            _ => self.renew_at = self.renew_at.min(now + self.lease_duration / 12),
        }
    }

    fn start_takeovers(&mut self, suspects: Vec<Suspect>) {
        for suspect in suspects {
            if self.takeovers.iter().all(|takeover| takeover.instance() != suspect.instance) {
                self.takeovers.push_back(Takeover::new(self.own, suspect));
            }
        }
    }

    fn extend_rotation(&mut self) {
        let known: BTreeSet<_> = self.peers.namespaces().chain(&self.listed).cloned().collect();
        let new = known.iter().filter(|namespace| !self.rotation.contains(namespace)).cloned().collect::<Vec<_>>();
        self.rotation.extend(new);
        while self.rotation.len() > MAX_ROTATION {
            let oldest = self.rotation.iter().position(|n| !known.contains(n) && *n != self.home);
            self.rotation.remove(oldest.unwrap_or_default());
        }
    }

    fn list_unknown_owners(&mut self) -> CoordinatorStep {
        let namespace = self.rotation.pop_front().unwrap_or_else(|| self.home.clone());
        self.rotation.push_back(namespace.clone());
        let known = self.peers.known();
        self.send(
            PendingRequest::UnknownOwners(namespace.clone()),
            ClusterRequest::ListUnknownOwners { namespace, known },
        )
    }

    fn unknown_owners_listed(&mut self, answer: ClusterAnswer, namespace: Namespace, now: Instant) {
        self.phase = CyclePhase::Work;
        match answer {
            ClusterAnswer::Pods(pods) => {
                for pod in pods {
                    self.peers.add_unknown_owner(pod.owner, &namespace, self.rotation.iter().cloned(), now);
                }
                self.start_takeovers(self.peers.without_lease());
            }
            ClusterAnswer::Refused(reason) => {
                let notice = TakeoverNotice::NamespaceUnreadable(namespace, reason);
                self.notices.push(CoordinatorNotice::Takeover(notice));
            }
            _ => {}
        }
    }

    fn next_work(&mut self, now: Instant) -> CoordinatorStep {
        if let Some(request) = self.relabelling.as_ref().and_then(|pods| pods.request(self.own, self.term)) {
            return self.send(PendingRequest::Relabelling, request);
        }
        while let Some(takeover) = self.takeovers.front() {
            match takeover.request() {
                Ok(request) => return self.send(PendingRequest::Takeover, request),
                Err(end) => self.end_takeover(end, now),
            }
        }
        CoordinatorStep::Wait(self.renew_at)
    }

    fn pods_relabelled(&mut self, answer: ClusterAnswer) {
        let Some(relabelling) = &mut self.relabelling else { return };
        match relabelling.handle_answer(answer, self.own, self.term) {
            RelabellingState::Unfinished | RelabellingState::Suspended(None) => {}
            RelabellingState::Suspended(Some(reason)) => self.notices.push(CoordinatorNotice::CannotRelabel(reason)),
            RelabellingState::Finished => self.relabelling = None,
        }
    }

    fn takeover_answered(&mut self, answer: ClusterAnswer, now: Instant) {
        let Some(takeover) = self.takeovers.front_mut() else { return };
        self.notices.extend(takeover.handle_answer(answer).map(CoordinatorNotice::Takeover));
        if let Err(end) = takeover.request() {
            self.end_takeover(end, now);
        }
    }

    /// Removes the first takeover, which has ended.
    fn end_takeover(&mut self, end: TakeoverEnd, now: Instant) {
        let Some(takeover) = self.takeovers.pop_front() else { return };
        match end {
            TakeoverEnd::NothingLeft => self.peers.forget(takeover.instance()),
            TakeoverEnd::Unreadable => self.peers.restart(takeover.instance(), now),
            TakeoverEnd::Later | TakeoverEnd::Taken => {}
        }
    }
}

/// Access for the model, in which time stands still and states grow older instead.
#[cfg(test)]
impl Coordinator {
    pub(super) fn grow_older(&mut self, by: Duration, now: Instant, oldest: Instant) {
        self.renew_at = (self.renew_at - by).max(now);
        self.peers.grow_older(by, oldest);
    }

    pub(super) fn versions_of(&self, instance: Instance) -> impl Iterator<Item = &ObjectVersion> {
        let own = self.held_lease().map(|(version, _)| version).filter(|_| instance == self.own);
        let takeovers = self.takeovers.iter().filter(move |takeover| takeover.instance() == instance);
        own.into_iter().chain(self.peers.version_of(instance)).chain(takeovers.filter_map(Takeover::lease))
    }
}
