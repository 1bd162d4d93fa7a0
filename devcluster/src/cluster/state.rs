//! The view of a running cluster that tests check.

use crate::api::journal::RequestRecord;
use crate::cluster::parts::ClusterParts;
use crate::objects::kinds::ObjectKind;
use crate::process::sweep;
use serde_json::Value;
use std::sync::Arc;

/// A view of the cluster. Each answer is of the moment of the question.
#[derive(Debug, Clone)]
pub struct ClusterState {
    parts: Arc<ClusterParts>,
}

impl ClusterState {
    pub(super) fn new(parts: Arc<ClusterParts>) -> Self {
        Self { parts }
    }

    /// The pods of a namespace, as the API gives them.
    #[must_use]
    pub fn pods(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.parts.store.list(ObjectKind::Pod, Some(namespace)).0
    }

    /// The pods of all namespaces.
    #[must_use]
    pub fn all_pods(&self) -> Vec<Arc<Value>> {
        self.parts.store.list(ObjectKind::Pod, None).0
    }

    /// A pod by namespace and name.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.parts.store.get(ObjectKind::Pod, namespace, name)
    }

    /// The leases of a namespace.
    #[must_use]
    pub fn leases(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.parts.store.list(ObjectKind::Lease, Some(namespace)).0
    }

    /// The events of a namespace.
    #[must_use]
    pub fn events(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.parts.store.list(ObjectKind::Event, Some(namespace)).0
    }

    /// Number of open exec and attach streams.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.parts.streams.count()
    }

    /// Number of requests of a verb on a resource (`get` on `pods/exec` is a WebSocket exec). Dry runs are not
    /// counted.
    #[must_use]
    pub fn requests(&self, verb: &str, resource: &str) -> u64 {
        self.parts.journal.count(verb, resource)
    }

    /// The last requests, oldest first.
    #[must_use]
    pub fn request_log(&self) -> Vec<RequestRecord> {
        self.parts.journal.last()
    }

    /// The process ids of everything that runs in containers.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        sweep::find(&self.parts.kubelet.mark())
    }
}
