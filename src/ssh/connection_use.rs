//! The use of one connection after its login: when data last passed, and since when no channel is open.
//!
//! Invariants: a line of the gateway's and a keep-alive message are no use; a channel counts as open until its guard is
//! dropped.

use crate::settings::IdleTraffic;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The record of a connection's use. Its times count from the accept.
#[derive(Debug)]
pub(super) struct ConnectionUse {
    accepted: Instant,
    /// Milliseconds at which the client last sent data on a channel.
    from_client: AtomicU64,
    /// Milliseconds at which the guest's data was last handed to the client.
    from_guest: AtomicU64,
    channels: Mutex<OpenChannels>,
    /// Notified when the last channel closes.
    unused: Notify,
}

#[derive(Debug)]
struct OpenChannels {
    open: usize,
    /// The time at which the last one closed.
    since: Duration,
}

/// Counts its channel as closed when dropped.
#[derive(Debug)]
pub(super) struct UsedChannel(Arc<ConnectionUse>);

impl ConnectionUse {
    /// Starts the record of a connection that is accepted now.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            accepted: Instant::now(),
            from_client: AtomicU64::new(0),
            from_guest: AtomicU64::new(0),
            channels: Mutex::new(OpenChannels { open: 0, since: Duration::ZERO }),
            unused: Notify::new(),
        })
    }

    /// The time since the accept.
    pub(super) fn now(&self) -> Duration {
        self.accepted.elapsed()
    }

    /// Notes data of the client's.
    pub(super) fn client_sent(&self) {
        self.from_client.store(self.milliseconds(), Ordering::Relaxed);
    }

    /// Notes data of the guest's.
    pub(super) fn guest_sent(&self) {
        self.from_guest.store(self.milliseconds(), Ordering::Relaxed);
    }

    /// Counts a channel as open until the guard is dropped.
    pub(super) fn open_channel(self: &Arc<Self>) -> UsedChannel {
        self.channels.lock().open += 1;
        UsedChannel(self.clone())
    }

    /// The time of the last traffic that counts.
    pub(super) fn last_traffic(&self, counted: IdleTraffic) -> Duration {
        let client = self.from_client.load(Ordering::Relaxed);
        Duration::from_millis(match counted {
            IdleTraffic::Client => client,
            IdleTraffic::Any => client.max(self.from_guest.load(Ordering::Relaxed)),
        })
    }

    /// The time since which no channel is open; `None` while one is.
    pub(super) fn unused_since(&self) -> Option<Duration> {
        let channels = self.channels.lock();
        (channels.open == 0).then_some(channels.since)
    }

    /// Waits until the last channel closes. A close that nobody has waited for yet counts.
    pub(super) async fn became_unused(&self) {
        self.unused.notified().await;
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for UsedChannel {
    fn drop(&mut self) {
        let mut channels = self.0.channels.lock();
        channels.open -= 1;
        if channels.open == 0 {
            channels.since = self.0.now();
            self.0.unused.notify_one();
        }
    }
}
