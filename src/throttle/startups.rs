//! The connections that log in at present, and OpenSSH's random early drop of new ones.

use super::client_network::ClientNetwork;
use std::collections::HashMap;

/// `maxStartups`, `start:rate:full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaxStartups {
    /// The number from which on new connections are dropped at random.
    pub start: u32,
    /// The chance of a drop at `start`, in percent; it grows to 100 at `full`.
    pub rate: u32,
    /// The number from which on every new connection is dropped.
    pub full: u32,
}

impl MaxStartups {
    /// The same limits, but at most `most` connections.
    pub(crate) fn within(self, most: u32) -> Self {
        Self { start: self.start.min(most), full: self.full.min(most), ..self }
    }

    /// Decides about one more beside `count` connections, as `should_drop_connection` of OpenSSH's sshd.c does. `die` is a
    /// random number below 100.
    pub(super) fn drops(self, count: u32, die: u32) -> bool {
        if count < self.start {
            return false;
        }
        if count >= self.full || self.rate >= 100 {
            return true;
        }
        let (above, span) = (u64::from(count - self.start), u64::from(self.full - self.start));
        let chance = u64::from(100 - self.rate) * above / span.max(1) + u64::from(self.rate);
        u64::from(die) < chance
    }
}

/// The count of connections that log in, by source and in all. Bounded by `maxStartups`.
#[derive(Debug, Default)]
pub(super) struct Startups {
    by_source: HashMap<ClientNetwork, u32>,
    all: u32,
}

impl Startups {
    pub(super) fn all(&self) -> u32 {
        self.all
    }

    pub(super) fn of(&self, network: ClientNetwork) -> u32 {
        self.by_source.get(&network).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, network: ClientNetwork) {
        *self.by_source.entry(network).or_default() += 1;
        self.all += 1;
    }

    pub(super) fn remove(&mut self, network: ClientNetwork) {
        let Some(count) = self.by_source.get_mut(&network) else { return };
        *count -= 1;
        if *count == 0 {
            self.by_source.remove(&network);
        }
        self.all -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_dropped_as_sshd_drops_them() {
        let limits = |start, rate, full| MaxStartups { start, rate, full };
        // The limits, the connections that log in, the least die at which the next one is kept (100: none).
        for (max, count, kept_from) in [
            (limits(10, 30, 100), 9, 0),
            (limits(10, 30, 100), 10, 30),
            (limits(10, 30, 100), 55, 65),
            (limits(10, 30, 100), 99, 99),
            (limits(10, 30, 100), 100, 100),
            (limits(10, 30, 100), 4_000_000_000, 100),
            (limits(10, 100, 100), 10, 100),
            (limits(10, 1, 1_000_000_000), 10, 1),
            (limits(64, 100, 64), 63, 0),
            (limits(64, 100, 64), 64, 100),
        ] {
            for die in 0..100 {
                assert_eq!(max.drops(count, die), die < kept_from, "{max:?} with {count}, die {die}");
            }
        }
    }
}
