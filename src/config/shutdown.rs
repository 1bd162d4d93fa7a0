//! `shutdown`: the drain, from the order to end the process until what is left ends.

use crate::schema::Section;
use std::time::Duration;

/// `shutdown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// `acceptDelay`: the time for which connections are still accepted, so that load balancers notice.
    pub accept_delay: Duration,
    /// `drainTimeout`: the time after it in which open connections may end by themselves.
    pub drain_timeout: Duration,
}

/// Reads the section; `None` was reported.
pub(super) fn read(section: &Section<'_>) -> Option<ShutdownConfig> {
    let (accept_delay, drain_timeout) = (section.duration("acceptDelay"), section.duration("drainTimeout"));
    Some(ShutdownConfig { accept_delay: accept_delay?, drain_timeout: drain_timeout? })
}
