//! The moment at which a key that was changed in the file takes effect, if the gateway reads the file again.

/// The moment at which a changed key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakesEffect {
    /// With the reload, for what is open, too.
    AtOnce,
    /// For connections that are accepted after the reload. Those that are open go on with what they began with.
    NewConnections,
    /// When the gateway starts again.
    NextStart,
}

/// Keys, and sections with all of their keys, that act on the whole process.
const AT_ONCE: &[&str] = &[
    "ssh.listen",
    "ssh.listeners",
    "ssh.maxQueued",
    "ssh.maxStartups",
    "ssh.perSourceMaxStartups",
    "ssh.perSourceConnectionRate",
    "ssh.perSourcePenalties",
    "ssh.perSourcePenaltyExemptList",
    "ssh.maxWebhookCalls",
    "log",
    "events",
    "health",
    "metrics",
    "reload",
    "shutdown",
];

/// The same of what holds until the process ends.
const NEXT_START: &[&str] = &[
    // What protects is counted by these networks, and nobody is to be pardoned.
    "ssh.perSourceNetBlockSize",
    "ssh.nat64Prefixes",
    // Landlock lets the process make sockets in the first folder alone; and locks stay.
    "admin",
    // Other gateways know the duration from the Lease.
    "kubernetes.leaseDuration",
];

/// The moment for a key that works.
pub(super) fn of(path: &str) -> TakesEffect {
    let below =
        |section: &&str| path.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if AT_ONCE.iter().any(below) {
        TakesEffect::AtOnce
    } else if NEXT_START.iter().any(below) {
        TakesEffect::NextStart
    } else {
        TakesEffect::NewConnections
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::keys;

    #[test]
    fn every_row_is_a_key_or_a_section() {
        for row in AT_ONCE.iter().chain(NEXT_START) {
            let known = keys::all().iter().any(|key| key.path == *row || key.path.starts_with(&format!("{row}.")));
            assert!(known, "{row}");
        }
    }
}
