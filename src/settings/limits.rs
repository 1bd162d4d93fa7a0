//! `limits`: the times after which a connection ends, the number of a user's connections, and of what one connection may have.

use crate::policy::EnvLimit;
use crate::schema::Section;
use std::time::Duration;

/// The least time that a limit of time can have.
const LEAST: Duration = Duration::from_secs(1);

/// The least limit of bandwidth, in bytes a second.
const LEAST_RATE: u64 = 1024;
/// The least limit of bytes that programs have not taken.
const LEAST_QUEUED: u64 = 1 << 20;
/// The limit of these bytes where the section says nothing.
const USUAL_QUEUED: usize = 64 << 20;

/// The limits of one connection that has logged in. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// `maxConnections`: connections of the same `authenticatedUsername` that are open at the same time.
    pub max_connections: Option<u32>,
    /// `maxQueued`: bytes of the clients of the same `authenticatedUsername` that programs have not taken.
    pub max_queued: usize,
    /// `bandwidth.in`: bytes a second from the client.
    pub bandwidth_in: Option<u64>,
    /// `bandwidth.out`: bytes a second to the client.
    pub bandwidth_out: Option<u64>,
    /// `idleTimeout`: the time without traffic.
    pub idle: Option<Duration>,
    /// `idleTraffic`: the traffic that counts for it.
    pub idle_traffic: IdleTraffic,
    /// `unusedConnectionTimeout`: the time without an open channel.
    pub unused: Option<Duration>,
    /// `maxDuration`: the time since the login.
    pub duration: Option<Duration>,
    /// `warning`: the time before the end at which terminals are told.
    pub warning: Duration,
    /// The limits of the connection's parts.
    pub counts: CountLimits,
    /// `maxEnv` and `maxEnvSize`.
    pub env: EnvLimit,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_queued: USUAL_QUEUED,
            bandwidth_in: None,
            bandwidth_out: None,
            idle: None,
            idle_traffic: IdleTraffic::default(),
            unused: None,
            duration: None,
            warning: Duration::ZERO,
            counts: CountLimits::default(),
            env: EnvLimit::default(),
        }
    }
}

/// Limits of what one connection may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CountLimits {
    /// `maxSessions`: session channels that are open at once, whatever the rules say.
    pub sessions: usize,
    /// `maxForwards`: forwarded connections that are open at once, those included that the client or the guest has not answered.
    pub forwards: usize,
    /// `maxListeners`: listeners that are open at once beside those of sessions.
    pub listeners: usize,
    /// `maxChannels`: channels that the gateway closes in the connection's life. russh keeps about 3.5 kB of each until the
    /// connection ends, and nothing of one that the client closes first.
    pub channels: usize,
}

impl Default for CountLimits {
    fn default() -> Self {
        Self { sessions: 64, forwards: 256, listeners: 64, channels: 10_000 }
    }
}

/// The traffic that keeps a connection from being idle. Keep-alive messages never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum IdleTraffic {
    /// Data of the client's and of the guest's.
    #[default]
    Any,
    /// Data of the client's alone: what is typed, uploaded or sent through a forward.
    Client,
}

/// Reads the section and reports mistakes.
pub(super) fn read(section: &Section<'_>) -> ConnectionLimits {
    // -1 means no limit.
    let max_connections = section.integer("maxConnections");
    let bandwidth = section.section("bandwidth");
    ConnectionLimits {
        max_connections: max_connections.and_then(|connections| u32::try_from(connections).ok()),
        max_queued: max_queued(section),
        bandwidth_in: rate(&bandwidth, "in"),
        bandwidth_out: rate(&bandwidth, "out"),
        idle: limit(section, "idleTimeout"),
        idle_traffic: section
            .choice("idleTraffic", &[("any", IdleTraffic::Any), ("client", IdleTraffic::Client)])
            .unwrap_or_default(),
        unused: limit(section, "unusedConnectionTimeout"),
        duration: limit(section, "maxDuration"),
        warning: section.duration("warning").unwrap_or_default(),
        counts: counts(section),
        env: env(section),
    }
}

/// Reads a limit of bytes a second; 0 is none.
fn rate(section: &Section<'_>, key: &'static str) -> Option<u64> {
    let bytes = section.byte_size(key)?;
    if bytes > 0 && bytes < LEAST_RATE {
        section.error(key, "must be 0 (no limit) or at least 1KiB");
    }
    (bytes >= LEAST_RATE).then_some(bytes)
}

/// Reads the limit of bytes; 0 is none, and what was reported is not used.
fn max_queued(section: &Section<'_>) -> usize {
    let Some(bytes) = section.byte_size("maxQueued") else { return USUAL_QUEUED };
    if bytes > 0 && bytes < LEAST_QUEUED {
        section.error("maxQueued", "must be 0 (no limit) or at least 1MiB");
    }
    if bytes == 0 { usize::MAX } else { usize::try_from(bytes).unwrap_or(usize::MAX) }
}

/// Reads the limits of counts; what was reported is not used.
fn counts(section: &Section<'_>) -> CountLimits {
    let count = |key, usual| section.integer(key).and_then(|count| usize::try_from(count).ok()).unwrap_or(usual);
    let CountLimits { sessions, forwards, listeners, channels } = CountLimits::default();
    CountLimits {
        sessions: count("maxSessions", sessions),
        forwards: count("maxForwards", forwards),
        listeners: count("maxListeners", listeners),
        channels: count("maxChannels", channels),
    }
}

/// Reads the limit of variables; what was reported is not used.
fn env(section: &Section<'_>) -> EnvLimit {
    let (count, bytes) = (section.integer("maxEnv"), section.byte_size("maxEnvSize"));
    let usual = EnvLimit::default();
    EnvLimit {
        count: count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usual.count),
        bytes: bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usual.bytes),
    }
}

/// Reads a limit of time; 0 is none.
fn limit(section: &Section<'_>, key: &'static str) -> Option<Duration> {
    let time = section.duration(key)?;
    if time > Duration::ZERO && time < LEAST {
        section.error(key, "must be 0 (no limit) or at least 1s");
    }
    (time >= LEAST).then_some(time)
}
