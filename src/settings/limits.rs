//! `limits`: the times after which a connection ends, and the number of connections of a user.

use crate::schema::Section;
use std::time::Duration;

/// The least time that a limit of time can have.
const LEAST: Duration = Duration::from_secs(1);

/// The limits of one connection that has logged in. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ConnectionLimits {
    /// `maxConnections`: connections of the same `authenticatedUsername` that are open at the same time.
    pub max_connections: Option<u32>,
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
    ConnectionLimits {
        max_connections: max_connections.and_then(|connections| u32::try_from(connections).ok()),
        idle: limit(section, "idleTimeout"),
        idle_traffic: section
            .choice("idleTraffic", &[("any", IdleTraffic::Any), ("client", IdleTraffic::Client)])
            .unwrap_or_default(),
        unused: limit(section, "unusedConnectionTimeout"),
        duration: limit(section, "maxDuration"),
        warning: section.duration("warning").unwrap_or_default(),
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
