//! The entrance of all connections: the limits of clients that have not logged in, shared by the accept loop and the
//! connections. The decisions are [`Throttle`]'s and [`CallQueue`]'s; here are the clock, the die, and the guards.

use crate::config::LoginLimits;
use crate::descriptors::DescriptorShares;
use crate::telemetry::{Log, codes};
use crate::throttle::{CallQueue, ClientNetwork, ConnectionRefusal, PenaltyCause, Throttle};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The limits and their state; clones share it.
#[derive(Clone)]
pub(super) struct Entrance(Arc<EntranceState>);

struct EntranceState {
    throttle: Mutex<Throttle>,
    calls: Mutex<CallQueue<oneshot::Sender<WebhookPlace>>>,
    /// Places of connections that have logged in, and of their sessions.
    served: Arc<Semaphore>,
    log: Log,
}

impl Entrance {
    /// The configured limits, within what the process may open.
    pub(super) fn new(limits: &LoginLimits, shares: DescriptorShares, log: Log) -> Self {
        let mut throttle = limits.throttle.clone();
        throttle.max_startups = throttle.max_startups.within(shares.startups);
        Self(Arc::new(EntranceState {
            throttle: Mutex::new(Throttle::new(throttle)),
            calls: Mutex::new(CallQueue::new(limits.webhook_calls.min(shares.calls))),
            served: Arc::new(Semaphore::new(shares.served)),
            log,
        }))
    }

    /// Takes a place among the connections that log in.
    ///
    /// # Errors
    /// The limit that the connection exceeds.
    pub(super) fn admit(&self, client: IpAddr) -> Result<Startup, ConnectionRefusal> {
        let die = rand::random_range(0..100);
        self.0.throttle.lock().admit(client, Instant::now(), die)?;
        Ok(Startup { entrance: self.clone(), client })
    }

    /// Adds a penalty to the source of a client.
    pub(super) fn penalise(&self, client: IpAddr, cause: PenaltyCause) {
        let refused = self.0.throttle.lock().penalise(client, cause, Instant::now());
        if let Some(time) = refused {
            let (client, seconds) = (client.to_string(), time.as_secs().to_string());
            let details = [("remoteAddr", client.as_str()), ("reason", cause.text()), ("seconds", &seconds)];
            self.0.log.write(codes::SSH_PENALTY, "connections of an address are refused for a while", &details);
        }
    }

    /// Takes a place for a connection that has logged in, or for a session; `None` if the process may not open more.
    pub(super) fn serve_one(&self) -> Option<OwnedSemaphorePermit> {
        self.0.served.clone().try_acquire_owned().ok()
    }

    /// Waits for a place among the calls of webhooks. Cancel-safe.
    pub(super) async fn webhook_place(&self, client: IpAddr) -> WebhookPlace {
        let network = self.0.throttle.lock().network(client);
        let (sender, place) = oneshot::channel();
        let Some(number) = self.0.calls.lock().begin(network, || sender) else {
            return WebhookPlace { entrance: self.clone(), network: Some(network) };
        };
        let _waiting = WaitingCall { entrance: self, network, number };
        match place.await {
            Ok(place) => place,
            // The queue drops no sender that waits.
            Err(_dropped) => std::future::pending().await,
        }
    }
}

/// A place among the connections that log in, until it is dropped.
pub(super) struct Startup {
    entrance: Entrance,
    client: IpAddr,
}

impl Drop for Startup {
    fn drop(&mut self) {
        self.entrance.0.throttle.lock().leave(self.client);
        if std::thread::panicking() {
            self.entrance.penalise(self.client, PenaltyCause::Crash);
        }
    }
}

/// A call that waits for its place, until it is dropped.
struct WaitingCall<'a> {
    entrance: &'a Entrance,
    network: ClientNetwork,
    number: u64,
}

impl Drop for WaitingCall<'_> {
    fn drop(&mut self) {
        self.entrance.0.calls.lock().give_up(self.network, self.number);
    }
}

/// A place among the calls of webhooks. When dropped, it goes to the next call that waits.
pub(super) struct WebhookPlace {
    entrance: Entrance,
    /// The source that it counts for; `None` once it was passed on.
    network: Option<ClientNetwork>,
}

impl Drop for WebhookPlace {
    fn drop(&mut self) {
        while let Some(network) = self.network.take() {
            let Some((next, waiting)) = self.entrance.0.calls.lock().end(network) else { return };
            if let Err(mut place) = waiting.send(Self { entrance: self.entrance.clone(), network: Some(next) }) {
                // Given up in this moment. Its place is passed on here: one drop within another would grow the stack.
                self.network = place.network.take();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture;
    use crate::telemetry::{LogFormat, capture};
    use futures_util::FutureExt;

    #[tokio::test]
    async fn place_of_a_call_that_is_given_up_goes_to_the_next() {
        let mut limits = fixture::load(&fixture::minimal()).unwrap().ssh.login;
        limits.webhook_calls = 1;
        let (log, _lines) = capture::log(LogFormat::Text);
        let entrance = Entrance::new(&limits, DescriptorShares::of(1024), log);
        let client = |number: u8| IpAddr::from([192, 0, 2, number]);
        let held = entrance.webhook_place(client(1)).await;
        let mut given_up = Box::pin(entrance.webhook_place(client(2)));
        assert!((&mut given_up).now_or_never().is_none());
        let mut waiting = Box::pin(entrance.webhook_place(client(3)));
        assert!((&mut waiting).now_or_never().is_none());
        drop(given_up);
        drop(held);
        let place = waiting.now_or_never().expect("the place");
        assert!(entrance.webhook_place(client(1)).now_or_never().is_none(), "one call at once");
        drop(place);
        assert!(entrance.webhook_place(client(1)).now_or_never().is_some());
    }
}
