//! The entrance of all connections: the limits of clients that have not logged in, shared by the accept loop and the
//! connections. The decisions are [`Throttle`]'s and [`CallQueue`]'s; here are the clock, the die, and the guards.

use super::source_tally::SourceTally;
use crate::config::LoginLimits;
use crate::descriptors::DescriptorShares;
use crate::telemetry::{Log, codes};
use crate::throttle::{CallQueue, ClientNetwork, ConnectionRefusal, PenaltyCause, Throttle, ThrottleConfig};
use parking_lot::Mutex;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The limits and their state; clones share it.
#[derive(Clone)]
pub(super) struct Entrance(Arc<EntranceState>);

struct EntranceState {
    throttle: Mutex<Throttle>,
    calls: Mutex<CallQueue<oneshot::Sender<WebhookPlace>>>,
    /// Places of connections that have logged in, and of their sessions.
    served: Arc<Semaphore>,
    /// Penalties, for the log.
    penalties: Mutex<SourceTally>,
    /// The secret of the hashes of identities.
    hasher: RandomState,
    shares: DescriptorShares,
    /// Descriptors of a connection: its socket, and the files of its recording.
    each: AtomicU32,
    log: Log,
}

/// Files of a recording: itself and its chain.
const RECORDING_FILES: u32 = 2;

/// Lines about penalties in a minute, beside the one about all others.
const PENALTY_LINES: usize = 10;

impl Entrance {
    /// The configured limits, within what the process may open.
    pub(super) fn new(limits: &LoginLimits, shares: DescriptorShares, log: Log) -> Self {
        Self(Arc::new(EntranceState {
            throttle: Mutex::new(Throttle::new(within(limits, shares, 1))),
            calls: Mutex::new(CallQueue::new(limits.webhook_calls.min(shares.calls))),
            served: Arc::new(Semaphore::new(shares.served)),
            penalties: Mutex::new(SourceTally::new(PENALTY_LINES)),
            hasher: RandomState::new(),
            shares,
            each: AtomicU32::new(1),
            log,
        }))
    }

    /// Sets other limits at once; connections are recorded or not. Penalties and counts stay.
    pub(super) fn reconfigure(&self, limits: &LoginLimits, is_recorded: bool) {
        let shares = self.0.shares;
        let each = if is_recorded { 1 + RECORDING_FILES } else { 1 };
        self.0.each.store(each, Ordering::Relaxed);
        self.0.throttle.lock().reconfigure(within(limits, shares, each));
        let begun = self.0.calls.lock().set_limit(limits.webhook_calls.min(shares.calls));
        for (network, waiting) in begun {
            // One that was given up in this moment passes its place on when it is dropped.
            drop(waiting.send(WebhookPlace { entrance: self.clone(), network: Some(network) }));
        }
    }

    /// Takes a place among the connections that log in.
    ///
    /// # Errors
    /// The limit that the connection exceeds.
    pub(super) fn admit(&self, client: IpAddr) -> Result<Startup, ConnectionRefusal> {
        let die = rand::random_range(0..100);
        self.0.throttle.lock().admit(client, Instant::now(), die)?;
        Ok(Startup { entrance: self.clone(), client: Some(client) })
    }

    /// Takes a place for a connection of a trusted proxy, which counts for no source until its client is known.
    ///
    /// # Errors
    /// The limit that the connection exceeds.
    pub(super) fn admit_proxied(&self) -> Result<Startup, ConnectionRefusal> {
        let die = rand::random_range(0..100);
        self.0.throttle.lock().admit_proxied(die)?;
        Ok(Startup { entrance: self.clone(), client: None })
    }

    /// Adds a penalty to the source of a client whose connection took a place for `held`.
    pub(super) fn penalise(&self, client: IpAddr, cause: PenaltyCause, held: Duration) {
        let now = Instant::now();
        let refused = self.0.throttle.lock().penalise(client, (cause, held), now);
        if refused.is_some() {
            self.0.log.metrics().count_penalty(cause.word());
        }
        if let Some(time) = refused
            && self.0.penalties.lock().note(client, now)
        {
            let (client, seconds) = (client.to_string(), time.as_secs().to_string());
            let details = [("remoteAddr", client.as_str()), ("reason", cause.text()), ("seconds", &seconds)];
            self.0.log.write(codes::SSH_PENALTY, "connections of an address are refused for a while", &details);
        }
        self.report_shared(client, now);
    }

    /// Notes a login, which may lessen the penalty of its source.
    pub(super) fn note_login(&self, client: IpAddr, identity: &str) {
        let (now, identity) = (Instant::now(), self.0.hasher.hash_one(identity));
        self.0.throttle.lock().logged_in(client, identity, now);
        self.report_shared(client, now);
    }

    /// Warns if many people share an address that is refused now.
    fn report_shared(&self, client: IpAddr, now: Instant) {
        let shared = self.0.throttle.lock().report_shared(client, now);
        if let Some(people) = shared {
            let (client, people) = (client.to_string(), people.to_string());
            let details = [
                ("remoteAddr", client.as_str()),
                ("identities", &people),
                (
                    "remedy",
                    "ssh.perSourcePenaltyExemptList; behind a load balancer, its PROXY protocol (ssh.listeners)",
                ),
            ];
            let text = "an address is refused for a while from which many users log in";
            self.0.log.write(codes::SSH_SHARED_ADDRESS, text, &details);
        }
    }

    /// Writes the line about the penalties that had none in a minute that is over, or in any if `now` is none.
    pub(super) fn report_penalties(&self, now: Option<Instant>) {
        let summary = self.0.penalties.lock().close(now);
        if let Some(summary) = summary {
            let count = summary.count.to_string();
            let details = [("count", count.as_str()), ("addresses", &summary.addresses)];
            self.0.log.write(codes::SSH_PENALTY, "connections of more addresses are refused for a while", &details);
        }
    }

    /// Takes the places of a connection that has logged in; `None` if the process may not open more.
    pub(super) fn serve_connection(&self) -> Option<OwnedSemaphorePermit> {
        self.0.served.clone().try_acquire_many_owned(self.0.each.load(Ordering::Relaxed)).ok()
    }

    /// Takes a place for a session; `None` if the process may not open more.
    pub(super) fn serve_session(&self) -> Option<OwnedSemaphorePermit> {
        self.0.served.clone().try_acquire_owned().ok()
    }

    /// Waits for a place among the calls of webhooks. Cancel-safe.
    pub(super) async fn webhook_place(&self, client: IpAddr) -> WebhookPlace {
        let source = self.0.throttle.lock().source(client);
        let network = source.network;
        let (sender, place) = oneshot::channel();
        let Some(number) = self.0.calls.lock().begin(source, || sender) else {
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

/// The configured limits, as far as the process may open enough for connections that have `each` descriptors.
fn within(limits: &LoginLimits, shares: DescriptorShares, each: u32) -> ThrottleConfig {
    let mut throttle = limits.throttle.clone();
    throttle.max_startups = throttle.max_startups.within((shares.startups / each).max(1));
    throttle
}

/// A place among the connections that log in, until it is dropped.
pub(super) struct Startup {
    entrance: Entrance,
    /// `None` for a proxy that has not told its client, or has none.
    client: Option<IpAddr>,
}

impl Startup {
    /// The address whose source the connection counts for.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Lets a proxy's connection count for the source of its client.
    ///
    /// # Errors
    /// The limit that the client exceeds.
    pub(super) fn identify(&mut self, client: IpAddr) -> Result<(), ConnectionRefusal> {
        self.entrance.0.throttle.lock().identify(client, Instant::now())?;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Startup {
    fn drop(&mut self) {
        self.entrance.0.throttle.lock().leave(self.client);
        if let Some(client) = self.client.filter(|_| std::thread::panicking()) {
            self.entrance.penalise(client, PenaltyCause::Crash, Duration::ZERO);
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

    #[test]
    fn log_of_penalties_is_bounded_and_names_the_addresses_of_most() {
        let limits = fixture::load(&fixture::minimal()).unwrap().ssh.login;
        let (log, lines) = capture::log(LogFormat::Text);
        let entrance = Entrance::new(&limits, DescriptorShares::of(1024), log.clone());
        for number in 0..100 {
            entrance.penalise(IpAddr::from([192, 0, 2, number]), PenaltyCause::Crash, Duration::ZERO);
        }
        let counted = entrance.0.log.metrics().text().unwrap();
        assert!(counted.contains(r#"podgate_penalties_total{reason="penalty_crash"} "#), "{counted}");
        assert!(!counted.contains(r#"podgate_penalties_total{reason="penalty_crash"} 0"#), "{counted}");
        entrance.report_penalties(None);
        let text = lines.text(&log);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("SSH_PENALTY")).collect();
        assert_eq!(lines.len(), PENALTY_LINES + 1, "{text}");
        let last = lines.last().unwrap();
        assert!(last.contains("90") && last.contains("192.0.2.99 (1)") && last.contains("and 85 more"), "{last}");
    }

    #[test]
    fn other_limits_pardon_nobody_and_count_who_is_there() {
        let mut limits = fixture::load(&fixture::minimal()).unwrap().ssh.login;
        let (log, _lines) = capture::log(LogFormat::Text);
        let entrance = Entrance::new(&limits, DescriptorShares::of(1 << 20), log);
        let (attacker, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        entrance.penalise(attacker, PenaltyCause::Crash, Duration::ZERO);
        let held = entrance.admit(other).unwrap();
        let mut rules = limits.throttle.penalties.unwrap();
        (rules.crash, rules.max, rules.min) = (Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(1));
        limits.throttle.penalties = Some(rules);
        limits.throttle.per_source = Some(crate::throttle::SourceShare::Connections(1));
        limits.throttle.block.v4 = 8;
        entrance.reconfigure(&limits, false);
        entrance.penalise(attacker, PenaltyCause::Crash, Duration::ZERO);
        assert_eq!(entrance.admit(attacker).err(), Some(ConnectionRefusal::Penalty(PenaltyCause::Crash)));
        assert_eq!(entrance.admit(other).err(), Some(ConnectionRefusal::PerSource));
        assert!(entrance.admit(IpAddr::from([192, 0, 2, 3])).is_ok(), "the sources are still counted one by one");
        drop(held);
        assert!(entrance.admit(other).is_ok(), "who has left is not counted any more");
        limits.throttle.penalties = None;
        entrance.reconfigure(&limits, false);
        assert!(entrance.admit(attacker).is_ok(), "penalties are switched off");
        limits.throttle.penalties = Some(rules);
        entrance.reconfigure(&limits, false);
        assert!(entrance.admit(attacker).is_err(), "and on again");
    }

    #[test]
    fn login_of_the_eighth_user_behind_a_refused_address_is_the_one_warning() {
        let limits = fixture::load(&fixture::minimal()).unwrap().ssh.login;
        let (log, lines) = capture::log(LogFormat::Text);
        let entrance = Entrance::new(&limits, DescriptorShares::of(1024), log.clone());
        let client = IpAddr::from([192, 0, 2, 1]);
        entrance.penalise(client, PenaltyCause::Crash, Duration::ZERO);
        for person in 0..20 {
            entrance.note_login(client, &format!("person-{}", person % 7));
        }
        assert!(!lines.text(&log).contains("SSH_SHARED_ADDRESS"));
        for person in 7..20 {
            entrance.note_login(client, &format!("person-{person}"));
        }
        assert_eq!(lines.text(&log).matches("SSH_SHARED_ADDRESS").count(), 1);
    }

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
