//! The identities that logged in from a source lately. Many of them behind one address that has a penalty are people who
//! share it, and not one who guesses.
//!
//! Invariants: the table is bounded; an identity counts once in a source's window, so that nobody undoes a penalty by many
//! logins of their own.

use super::client_network::ClientNetwork;
use super::expiry_table::ExpiryTable;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// The time from a source's first login in which its identities are remembered.
const WINDOW: Duration = Duration::from_secs(600);
/// Limit of the sources. Beyond it, the one whose window ends next is forgotten.
const SOURCES: usize = 4096;
/// Limit of the identities of a source. Others count for nothing.
const IDENTITIES: usize = 256;
/// The identities from which on a source is shared by people.
const MANY: usize = 8;

/// The logins by source.
#[derive(Debug, Default)]
pub(super) struct RecentLogins(ExpiryTable<SourceLogins>);

#[derive(Debug, Default)]
struct SourceLogins {
    /// Hashes of identities.
    identities: HashSet<u64>,
    reported: bool,
}

impl RecentLogins {
    /// Notes a login. True for an identity's first one in the source's window.
    pub(super) fn note(&mut self, network: ClientNetwork, identity: u64, now: Instant) -> bool {
        self.0.expire(now);
        if self.0.get(network).is_none() {
            self.0.set(network, now + WINDOW, SourceLogins::default());
            if self.0.len() > SOURCES {
                self.0.remove_next();
            }
        }
        let Some(logins) = self.0.get_mut(network) else { return false };
        logins.identities.len() < IDENTITIES && logins.identities.insert(identity)
    }

    /// The number of a source's identities if they are many; once in its window.
    pub(super) fn report_many(&mut self, network: ClientNetwork, now: Instant) -> Option<usize> {
        self.0.expire(now);
        let logins = self.0.get_mut(network)?;
        let due = logins.identities.len() >= MANY && !logins.reported;
        logins.reported |= due;
        due.then_some(logins.identities.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::NetBlockSize;
    use std::net::Ipv4Addr;

    fn source(number: u32) -> ClientNetwork {
        ClientNetwork::of(Ipv4Addr::from_bits(number).into(), NetBlockSize { v4: 32, v6: 64 })
    }

    #[test]
    fn identity_counts_once_and_many_are_reported_once_in_a_window() {
        let (mut logins, start) = (RecentLogins::default(), Instant::now());
        assert!(logins.note(source(1), 0, start));
        assert!(!logins.note(source(1), 0, start), "again");
        assert!(logins.note(source(2), 0, start), "elsewhere");
        for identity in 1..7 {
            assert!(logins.note(source(1), identity, start));
        }
        assert_eq!(logins.report_many(source(1), start), None, "seven");
        assert!(logins.note(source(1), 7, start));
        assert_eq!(logins.report_many(source(1), start), Some(8));
        assert_eq!(logins.report_many(source(1), start), None);
        assert_eq!(logins.report_many(source(2), start), None);
        for identity in 0..8 {
            assert!(logins.note(source(1), identity, start + WINDOW), "a new window");
        }
        assert_eq!(logins.report_many(source(1), start + WINDOW), Some(8));
    }

    #[test]
    fn table_is_bounded_by_sources_and_identities() {
        let (mut logins, now) = (RecentLogins::default(), Instant::now());
        let counted = (0..1000).filter(|identity| logins.note(source(1), *identity, now)).count();
        assert_eq!(counted, IDENTITIES);
        for number in 0..10_000 {
            logins.note(source(number), 1, now);
        }
        assert_eq!(logins.0.len(), SOURCES);
    }
}
