//! The open exec and attach streams: counted, and each can be cut, on command or after a number of bytes.

use crate::pulse::Pulse;
use crate::socket::Cut;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Open {
    next: u64,
    cuts: BTreeMap<u64, Cut>,
}

/// All open streams; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    open: Arc<Mutex<Open>>,
    pulse: Pulse,
}

/// One open stream; dropping it takes it off the list.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) cut: Cut,
    id: u64,
    all: Streams,
    limit: Option<u64>,
    passed: AtomicU64,
}

impl Streams {
    pub(crate) fn new(pulse: Pulse) -> Self {
        Self { open: Arc::default(), pulse }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a stream over a connection; it is cut after `limit` bytes.
    pub(crate) fn enter(&self, cut: Cut, limit: Option<u64>) -> Stream {
        let mut open = self.lock();
        open.next += 1;
        let id = open.next;
        open.cuts.insert(id, cut.clone());
        drop(open);
        self.pulse.beat();
        Stream { cut, id, all: self.clone(), limit, passed: AtomicU64::new(0) }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().cuts.len()
    }

    pub(crate) fn cut_all(&self) {
        self.lock().cuts.values().for_each(Cut::reset);
    }
}

impl Stream {
    /// How many of these bytes may still pass; counts them. When it is not all, the stream is cut.
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

impl Drop for Stream {
    fn drop(&mut self) {
        self.all.lock().cuts.remove(&self.id);
        self.all.pulse.beat();
    }
}
