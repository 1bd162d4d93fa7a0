//! Who of the other gateways lives. Pure: what was seen, with the times of this process's own forward-only clock, in; who
//! has been silent for a whole duration, out.
//!
//! No clocks are compared: an instance is silent while *we* see its Lease unchanged. One that may have pods and has no Lease
//! is told at once: a Lease is written for it before anybody judges it. An observation counts only if we could write our
//! own Lease just before it, and silence only as long as observations follow each other closely: when the API was away (or
//! we were), everybody gets a whole duration anew to be heard.

use super::protocol::{LeaseSeen, Version};
use crate::kubernetes::pod::Instance;
use crate::types::Namespace;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// What is known of the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Ledger {
    own: Instance,
    lasts: Duration,
    others: BTreeMap<Instance, Other>,
    /// When the last observation began.
    last: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Other {
    /// The version of its Lease; `None` while it has pods, or had a Lease, and has none now.
    lease: Option<Version>,
    since: Instant,
    lasts: Duration,
    namespaces: BTreeSet<Namespace>,
}

/// One that was silent for a whole duration, or that has no Lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Suspect {
    pub(super) instance: Instance,
    /// Its Lease, which stayed unchanged; `None` where it has none.
    pub(super) lease: Option<Version>,
    pub(super) lasts: Duration,
    /// Where it may have pods.
    pub(super) namespaces: BTreeSet<Namespace>,
}

impl Ledger {
    pub(super) fn new(own: Instance, lasts: Duration) -> Self {
        Self { own, lasts, others: BTreeMap::new(), last: None }
    }

    /// Takes in every Lease there is, as read between `begun` and `ended`; who is silent for long enough, or has none.
    pub(super) fn observe(&mut self, leases: Vec<LeaseSeen>, begun: Instant, ended: Instant) -> Vec<Suspect> {
        let close = self.last.is_some_and(|last| ended.duration_since(last) <= self.lasts / 2);
        self.last = Some(begun);
        let mut silent = std::mem::take(&mut self.others);
        for LeaseSeen { says, version } in leases {
            let before = silent.remove(&says.instance);
            if says.instance == self.own {
                continue;
            }
            let lasts = self.lasts.max(says.lasts);
            let heard = Other { lease: Some(version), since: ended, lasts, namespaces: says.namespaces };
            let other = before.filter(|before| before.lease == heard.lease).unwrap_or(heard);
            self.others.insert(says.instance, other);
        }
        for (instance, mut other) in silent {
            if other.lease.take().is_some() {
                other.since = ended;
            }
            self.others.insert(instance, other);
        }
        if !close {
            self.others.values_mut().for_each(|other| other.since = ended);
        }
        let silent = |other: &Other| other.lease.is_none() || begun >= other.since + other.lasts;
        self.suspects(silent)
    }

    /// Who may have pods and has no Lease.
    pub(super) fn unleased(&self) -> Vec<Suspect> {
        self.suspects(|other| other.lease.is_none())
    }

    /// A pod was seen in that namespace whose owner is not in [`known`](Self::known). Where else one may have pods that was
    /// never heard of, nobody says: in any of the `others`.
    pub(super) fn stranger(
        &mut self,
        instance: Instance,
        namespace: &Namespace,
        others: impl Iterator<Item = Namespace>,
        now: Instant,
    ) {
        if instance == self.own {
            return;
        }
        let lasts = self.lasts;
        let nothing = || Other { lease: None, since: now, lasts, namespaces: others.collect() };
        let other = self.others.entry(instance).or_insert_with(nothing);
        if other.lease.is_none() {
            other.namespaces.insert(namespace.clone());
        }
    }

    /// This process, and who has a Lease.
    pub(super) fn known(&self) -> BTreeSet<Instance> {
        let leased = self.others.iter().filter(|(_, other)| other.lease.is_some()).map(|(instance, _)| *instance);
        leased.chain([self.own]).collect()
    }

    /// Where others may have pods.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.others.values().flat_map(|other| &other.namespaces)
    }

    /// It has neither Lease nor pods.
    pub(super) fn forget(&mut self, instance: Instance) {
        self.others.remove(&instance);
    }

    /// It was looked into without an end: another duration passes before that is done again.
    pub(super) fn restart(&mut self, instance: Instance, now: Instant) {
        if let Some(other) = self.others.get_mut(&instance) {
            other.since = now;
        }
    }

    /// When somebody will have been silent for long enough, if nothing is heard until then.
    pub(super) fn next_suspicion(&self) -> Option<Instant> {
        self.others.values().filter(|other| other.lease.is_some()).map(|other| other.since + other.lasts).min()
    }

    fn suspects(&self, which: impl Fn(&Other) -> bool) -> Vec<Suspect> {
        let which = self.others.iter().filter(|(_, other)| which(other));
        let suspect = |(instance, other): (&Instance, &Other)| Suspect {
            instance: *instance,
            lease: other.lease.clone(),
            lasts: other.lasts,
            namespaces: other.namespaces.clone(),
        };
        which.map(suspect).collect()
    }
}

/// What the model of all interleavings needs: time stands still there, and states grow older.
#[cfg(test)]
impl Ledger {
    pub(super) fn grow_older(&mut self, by: Duration, oldest: Instant) {
        self.last = self.last.map(|last| (last - by).max(oldest));
        self.others.values_mut().for_each(|other| other.since = (other.since - by).max(oldest));
    }

    pub(super) fn version_of(&self, instance: Instance) -> Option<&Version> {
        self.others.get(&instance)?.lease.as_ref()
    }
}
