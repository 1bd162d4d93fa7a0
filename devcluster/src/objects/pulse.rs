//! One wake-up for everything that a test may want to await: objects, requests and streams all bump it.

use tokio::sync::watch;

/// A counter that moves with every change of the cluster; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(watch::Sender<u64>);

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Says that something changed.
    pub(crate) fn beat(&self) {
        self.0.send_modify(|beats| *beats = beats.wrapping_add(1));
    }

    /// A receiver that is told of every later beat.
    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
