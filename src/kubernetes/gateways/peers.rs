//! The liveness of the other gateways. Pure: it takes in what was observed, with times of this process's own monotonic
//! clock, and returns the gateways that have been silent for a whole Lease duration.
//!
//! No clocks are compared: an instance is silent while *this* process observes its Lease unchanged. An instance that may
//! have pods and has no Lease is suspected at once, because a Lease is written for it before anybody judges it. An
//! observation counts only if this process could write its own Lease just before it. Silence counts only as long as
//! observations follow each other closely: after an outage of the API (or a pause of this process) every instance gets a
//! whole duration again in which it can be heard.

use super::protocol::{ObjectVersion, ObservedLease};
use crate::kubernetes::pod::manifest::Instance;
use crate::types::Namespace;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// The other gateways, as observed so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PeerTable {
    own: Instance,
    lease_duration: Duration,
    peers: BTreeMap<Instance, Peer>,
    /// Start of the last observation.
    last_observation: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Peer {
    /// Version of its Lease; `None` while it has pods, or had a Lease, and has none now.
    lease: Option<ObjectVersion>,
    unchanged_since: Instant,
    lease_duration: Duration,
    namespaces: BTreeSet<Namespace>,
}

/// An instance that was silent for a whole Lease duration, or that has no Lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Suspect {
    pub(super) instance: Instance,
    /// Its Lease, which stayed unchanged; `None` if it has none.
    pub(super) lease: Option<ObjectVersion>,
    pub(super) lease_duration: Duration,
    /// The namespaces in which it may have pods.
    pub(super) namespaces: BTreeSet<Namespace>,
}

impl PeerTable {
    pub(super) fn new(own: Instance, lease_duration: Duration) -> Self {
        Self { own, lease_duration, peers: BTreeMap::new(), last_observation: None }
    }

    /// Takes in the list of all Leases, read between `begun` and `ended`, and returns the suspects.
    pub(super) fn observe(&mut self, leases: Vec<ObservedLease>, begun: Instant, ended: Instant) -> Vec<Suspect> {
        let follows_closely =
            self.last_observation.is_some_and(|last| ended.duration_since(last) <= self.lease_duration / 2);
        self.last_observation = Some(begun);
        let mut unlisted = std::mem::take(&mut self.peers);
        for ObservedLease { record, version } in leases {
            let before = unlisted.remove(&record.instance);
            if record.instance == self.own {
                continue;
            }
            let changed = Peer {
                lease: Some(version),
                unchanged_since: ended,
                lease_duration: self.lease_duration.max(record.lease_duration),
                namespaces: record.namespaces,
            };
            let peer = before.filter(|before| before.lease == changed.lease).unwrap_or(changed);
            self.peers.insert(record.instance, peer);
        }
        for (instance, mut peer) in unlisted {
            if peer.lease.take().is_some() {
                peer.unchanged_since = ended;
            }
            self.peers.insert(instance, peer);
        }
        if !follows_closely {
            self.peers.values_mut().for_each(|peer| peer.unchanged_since = ended);
        }
        self.suspects(|peer| peer.lease.is_none() || begun >= peer.unchanged_since + peer.lease_duration)
    }

    /// The instances that may have pods and have no Lease.
    pub(super) fn without_lease(&self) -> Vec<Suspect> {
        self.suspects(|peer| peer.lease.is_none())
    }

    /// Takes in a pod in `namespace` whose owner is not [`known`](Self::known). An owner that was never observed before may
    /// have pods in any of the `others`, too.
    pub(super) fn add_unknown_owner(
        &mut self,
        instance: Instance,
        namespace: &Namespace,
        others: impl Iterator<Item = Namespace>,
        now: Instant,
    ) {
        if instance == self.own {
            return;
        }
        let lease_duration = self.lease_duration;
        let peer = self.peers.entry(instance).or_insert_with(|| Peer {
            lease: None,
            unchanged_since: now,
            lease_duration,
            namespaces: others.collect(),
        });
        if peer.lease.is_none() {
            peer.namespaces.insert(namespace.clone());
        }
    }

    /// This process and the instances that have a Lease.
    pub(super) fn known(&self) -> BTreeSet<Instance> {
        let leased = self.peers.iter().filter(|(_, peer)| peer.lease.is_some()).map(|(instance, _)| *instance);
        leased.chain([self.own]).collect()
    }

    /// The namespaces in which other gateways may have pods.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.peers.values().flat_map(|peer| &peer.namespaces)
    }

    /// Forgets an instance that has neither a Lease nor pods.
    pub(super) fn forget(&mut self, instance: Instance) {
        self.peers.remove(&instance);
    }

    /// Gives an instance whose takeover came to no end another whole duration.
    pub(super) fn restart(&mut self, instance: Instance, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&instance) {
            peer.unchanged_since = now;
        }
    }

    /// The earliest time at which an instance becomes a suspect if no Lease changes until then.
    pub(super) fn next_suspicion(&self) -> Option<Instant> {
        let leased = self.peers.values().filter(|peer| peer.lease.is_some());
        leased.map(|peer| peer.unchanged_since + peer.lease_duration).min()
    }

    fn suspects(&self, is_suspect: impl Fn(&Peer) -> bool) -> Vec<Suspect> {
        let suspects = self.peers.iter().filter(|(_, peer)| is_suspect(peer));
        suspects
            .map(|(instance, peer)| Suspect {
                instance: *instance,
                lease: peer.lease.clone(),
                lease_duration: peer.lease_duration,
                namespaces: peer.namespaces.clone(),
            })
            .collect()
    }
}

/// Access for the model, in which time stands still and states grow older instead.
#[cfg(test)]
impl PeerTable {
    pub(super) fn grow_older(&mut self, by: Duration, oldest: Instant) {
        self.last_observation = self.last_observation.map(|last| (last - by).max(oldest));
        self.peers.values_mut().for_each(|peer| peer.unchanged_since = (peer.unchanged_since - by).max(oldest));
    }

    pub(super) fn version_of(&self, instance: Instance) -> Option<&ObjectVersion> {
        self.peers.get(&instance)?.lease.as_ref()
    }
}
