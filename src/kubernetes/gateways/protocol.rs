//! The requests that gateways of one cluster send to its API about each other, and the answers: Leases, and the pods that
//! were made under one. Every change names the version that it applies to, so that of two gateways that want the same
//! change only one gets it.

use crate::kubernetes::pod::manifest::Instance;
use crate::types::Namespace;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// An object's resourceVersion. It can be compared for equality only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ObjectVersion(pub(super) Arc<str>);

/// The content of a gateway's Lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LeaseRecord {
    /// The gateway that the Lease is about; gives the object its name.
    pub(super) instance: Instance,
    /// The gateway that wrote it: the instance itself, or another that takes it for dead.
    pub(super) holder: Instance,
    /// Time after which an unchanged Lease has expired.
    pub(super) lease_duration: Duration,
    /// The namespaces in which the instance has pods.
    pub(super) namespaces: BTreeSet<Namespace>,
}

/// A Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ObservedLease {
    pub(super) record: LeaseRecord,
    pub(super) version: ObjectVersion,
}

/// A pod that was made under a Lease, is not persistent and is not being deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ObservedPod {
    pub(super) namespace: Namespace,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) version: ObjectVersion,
    pub(super) owner: Instance,
    /// The owner's term when it last labelled the pod: how often it had lost its Lease by then.
    pub(super) term: u32,
}

/// A request for one API call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ClusterRequest {
    CreateLease(LeaseRecord),
    /// Replaces the Lease if it still has that version.
    UpdateLease(LeaseRecord, ObjectVersion),
    ReadLease(Instance),
    /// Deletes the Lease if it still has that version.
    DeleteLease(Instance, ObjectVersion),
    /// Lists the Leases of all gateways.
    ListLeases,
    /// Lists the pods of one owner in a namespace.
    ListPods {
        namespace: Namespace,
        owner: Instance,
    },
    /// Lists the pods in a namespace whose owners are not among the known ones.
    ListUnknownOwners {
        namespace: Namespace,
        known: BTreeSet<Instance>,
    },
    /// Deletes the pod if it has not changed since it was read.
    DeletePod(ObservedPod),
    /// Labels the pod with another term.
    RelabelPod(ObservedPod, u32),
}

/// The result of one API call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ClusterAnswer {
    /// The Lease as it was read or written.
    Lease(ObservedLease),
    Leases(Vec<ObservedLease>),
    Pods(Vec<ObservedPod>),
    Done,
    /// The object does not exist (404).
    NotFound,
    /// The object is another one, or has another version, than the request named (409).
    Conflict,
    /// The API refuses the call, for this reason, and will go on to do so.
    Refused(String),
    /// The call failed, for this reason; whether the API carried it out is unknown.
    Failed(String),
}
