//! The open exec and attach streams: counted, and each can be cut, on command or after a number of bytes.

use crate::api::socket::Cut;
use crate::objects::pulse::Pulse;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
struct StreamCuts {
    next: u64,
    cuts: BTreeMap<u64, Cut>,
}

/// All open streams; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct OpenStreams {
    open: Arc<Mutex<StreamCuts>>,
    pulse: Pulse,
}

/// One open stream; dropping it takes it off the list.
#[derive(Debug)]
pub(crate) struct OpenStream {
    pub(crate) cut: Cut,
    id: u64,
    all: OpenStreams,
    limit: Option<u64>,
    passed: AtomicU64,
}

impl OpenStreams {
    pub(crate) fn new(pulse: Pulse) -> Self {
        Self { open: Arc::default(), pulse }
    }

    /// Enters a stream over a connection; it is cut after `limit` bytes.
    pub(crate) fn enter(&self, cut: Cut, limit: Option<u64>) -> OpenStream {
        let mut open = self.open.lock();
        open.next += 1;
        let id = open.next;
        open.cuts.insert(id, cut.clone());
        drop(open);
        self.pulse.beat();
        OpenStream { cut, id, all: self.clone(), limit, passed: AtomicU64::new(0) }
    }

    pub(crate) fn count(&self) -> usize {
        self.open.lock().cuts.len()
    }

    pub(crate) fn cut_all(&self) {
        self.open.lock().cuts.values().for_each(Cut::reset);
    }
}

impl OpenStream {
    /// Counts bytes and returns how many of them may still pass. When it is not all, the stream is cut.
    pub(crate) fn pass(&self, bytes: usize) -> usize {
        let Some(limit) = self.limit else { return bytes };
        let before = self.passed.fetch_add(bytes as u64, Ordering::Relaxed);
        let left = usize::try_from(limit.saturating_sub(before)).unwrap_or(usize::MAX);
        if left < bytes {
            self.cut.reset();
        }
        left.min(bytes)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.all.open.lock().cuts.remove(&self.id);
        self.all.pulse.beat();
    }
}
