//! What gateways that share a cluster ask of its API about each other, and what it answers: Leases, and the pods that
//! were made under one. Every change names the version that it is about, so that two who want it never both get it.

use crate::kubernetes::pod::Instance;
use crate::types::Namespace;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// An object's resourceVersion: only good for comparing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Version(pub(super) Arc<str>);

/// A Lease as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Draft {
    /// Whose pods it is about; its name.
    pub(super) instance: Instance,
    /// Who keeps it: the instance itself, or who takes it for dead.
    pub(super) holder: Instance,
    /// How long it may stay unchanged.
    pub(super) lasts: Duration,
    /// Where the instance has pods.
    pub(super) namespaces: BTreeSet<Namespace>,
}

/// A Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LeaseSeen {
    /// What it says.
    pub(super) says: Draft,
    /// Which version says so.
    pub(super) version: Version,
}

/// A pod that was made under a Lease, is not persistent and is not going already.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PodSeen {
    pub(super) namespace: Namespace,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) version: Version,
    /// Whose it is.
    pub(super) owner: Instance,
    /// How often its owner had lost its Lease when it last said that the pod is its own.
    pub(super) term: u32,
}

/// One call of the API.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Request {
    /// Creates a Lease.
    Create(Draft),
    /// Replaces that version of a Lease.
    Update(Draft, Version),
    /// Reads a Lease.
    Read(Instance),
    /// Deletes that version of a Lease.
    Forget(Instance, Version),
    /// Every Lease there is.
    ListLeases,
    /// The pods of one owner in a namespace.
    ListPods { namespace: Namespace, owner: Instance },
    /// The pods in a namespace of anybody who is not among these.
    ListStrangers { namespace: Namespace, known: BTreeSet<Instance> },
    /// Deletes the pod if it is still as it was seen.
    DeletePod(PodSeen),
    /// Writes another term on a pod.
    TouchPod(PodSeen, u32),
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    /// The Lease as it is now.
    Lease(LeaseSeen),
    Leases(Vec<LeaseSeen>),
    Pods(Vec<PodSeen>),
    Done,
    /// There is no such object (404).
    Gone,
    /// It is not, or no longer, the object that was meant (409).
    Conflict,
    /// The API does not do that for us, and will not soon.
    Refused(String),
    /// Nobody knows what came of it.
    Failed(String),
}
