//! The requests that the API received: counts by verb and resource for ever (without dry runs), and the last requests one by one.

use crate::objects::pulse::Pulse;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// Requests remembered one by one.
const KEPT: usize = 4096;

/// One request, as authorization saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// `create`, `get`, `list`, `watch`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// The resource with its subresource (`pods/exec`), or the path where it is no resource.
    pub resource: String,
    /// The namespace; empty for none.
    pub namespace: String,
    /// The object's name; empty for none.
    pub name: String,
    /// What stands after `?` in the URL, as it was sent.
    pub query: String,
    /// True for a request that changes nothing (`dryRun=All`).
    pub dry_run: bool,
}

#[derive(Debug, Default)]
struct RecordedRequests {
    counts: BTreeMap<(String, String), u64>,
    last: VecDeque<RequestRecord>,
}

/// All requests so far.
#[derive(Debug)]
pub(crate) struct RequestJournal {
    inner: Mutex<RecordedRequests>,
    pulse: Pulse,
}

impl RequestJournal {
    pub(crate) fn new(pulse: Pulse) -> Self {
        Self { inner: Mutex::default(), pulse }
    }

    pub(crate) fn record(&self, request: RequestRecord) {
        let mut inner = self.inner.lock();
        if !request.dry_run {
            *inner.counts.entry((request.verb.clone(), request.resource.clone())).or_default() += 1;
        }
        if inner.last.len() == KEPT {
            inner.last.pop_front();
        }
        inner.last.push_back(request);
        drop(inner);
        self.pulse.beat();
    }

    /// Number of requests of a verb on a resource, without dry runs.
    pub(crate) fn count(&self, verb: &str, resource: &str) -> u64 {
        self.inner.lock().counts.get(&(verb.to_owned(), resource.to_owned())).copied().unwrap_or(0)
    }

    /// The last requests, oldest first.
    pub(crate) fn last(&self) -> Vec<RequestRecord> {
        self.inner.lock().last.iter().cloned().collect()
    }
}
