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

/// `perSourceMaxStartups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceShare {
    /// So many connections.
    Connections(u32),
    /// So many percent of `maxStartups`' full number.
    Percent(u32),
}

impl SourceShare {
    /// The share in connections, at least 1, where all have `full`.
    pub(super) fn of(self, full: u32) -> u32 {
        match self {
            Self::Connections(count) => count,
            Self::Percent(percent) => {
                let share = u64::from(full) * u64::from(percent) / 100;
                u32::try_from(share).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

/// The count of connections that log in, by source, by site and in all. Bounded by `maxStartups`.
#[derive(Debug, Default)]
pub(super) struct Startups {
    by_source: NetworkCounts,
    by_site: NetworkCounts,
    all: u32,
}

impl Startups {
    pub(super) fn all(&self) -> u32 {
        self.all
    }

    pub(super) fn of_source(&self, network: ClientNetwork) -> u32 {
        self.by_source.get(network)
    }

    pub(super) fn of_site(&self, site: ClientNetwork) -> u32 {
        self.by_site.get(site)
    }

    /// Counts a connection in all.
    pub(super) fn add(&mut self) {
        self.all += 1;
    }

    /// Counts a connection, which is counted in all, for its source and its site.
    pub(super) fn identify(&mut self, network: ClientNetwork, site: Option<ClientNetwork>) {
        self.by_source.add(network);
        if let Some(site) = site {
            self.by_site.add(site);
        }
    }

    /// Counts a connection no longer for its source and its site. False if its source had none.
    pub(super) fn forget(&mut self, network: ClientNetwork, site: Option<ClientNetwork>) -> bool {
        if !self.by_source.remove(network) {
            return false;
        }
        if let Some(site) = site {
            self.by_site.remove(site);
        }
        true
    }

    /// Counts a connection no longer in all.
    pub(super) fn remove(&mut self) {
        self.all -= 1;
    }
}

/// Connections by network; one without any has no row.
#[derive(Debug, Default)]
struct NetworkCounts(HashMap<ClientNetwork, u32>);

impl NetworkCounts {
    fn get(&self, network: ClientNetwork) -> u32 {
        self.0.get(&network).copied().unwrap_or_default()
    }

    fn add(&mut self, network: ClientNetwork) {
        *self.0.entry(network).or_default() += 1;
    }

    /// False if there was none.
    fn remove(&mut self, network: ClientNetwork) -> bool {
        let Some(count) = self.0.get_mut(&network) else { return false };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&network);
        }
        true
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

    #[test]
    fn share_is_a_number_or_a_part_of_the_whole_and_never_nothing() {
        for (share, full, connections) in [
            (SourceShare::Connections(7), 1024, 7),
            (SourceShare::Percent(25), 1024, 256),
            (SourceShare::Percent(25), 10, 2),
            (SourceShare::Percent(25), 1, 1),
            (SourceShare::Percent(100), u32::MAX, u32::MAX),
        ] {
            assert_eq!(share.of(full), connections, "{share:?} of {full}");
        }
    }
}
