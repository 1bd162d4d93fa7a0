//! The rate of new connections by source, as a token bucket: a source may connect `burst` times at once, and then so many
//! times a second. A row holds the moment at which the source's bucket is full again. A site has the buckets of some sources.

use super::client_network::{ClientNetwork, SITE_SOURCES, SourceAndSite};
use super::expiry_table::ExpiryTable;
use std::time::{Duration, Instant};

/// Limit of the sources whose rate is known. Beyond it, the source that would be forgotten next is forgotten.
const SOURCES: usize = 65_536;

/// `perSourceConnectionRate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionRate {
    /// Connections a second, at least 1.
    pub per_second: u32,
    /// Connections at once, at least 1.
    pub burst: u32,
}

/// The rates of the sources that connected lately, and of their sites.
#[derive(Debug, Default)]
pub(super) struct RateTable {
    sources: ExpiryTable<()>,
    sites: ExpiryTable<()>,
}

impl RateTable {
    /// Counts a connection. False if it is one too many, which does not count.
    pub(super) fn take(&mut self, source: SourceAndSite, rate: ConnectionRate, now: Instant) -> bool {
        let site_rate = ConnectionRate {
            per_second: rate.per_second.saturating_mul(SITE_SOURCES),
            burst: rate.burst.saturating_mul(SITE_SOURCES),
        };
        let Some(full) = next(&mut self.sources, source.network, rate, now) else { return false };
        if let Some(site) = source.site {
            let Some(full) = next(&mut self.sites, site, site_rate, now) else { return false };
            set(&mut self.sites, site, full);
        }
        set(&mut self.sources, source.network, full);
        true
    }
}

/// The moment at which a network's bucket is full again after one more connection; `None` if that is one too many.
fn next(table: &mut ExpiryTable<()>, network: ClientNetwork, rate: ConnectionRate, now: Instant) -> Option<Instant> {
    table.expire(now);
    let one = Duration::from_secs(1) / rate.per_second.max(1);
    let full = table.get(network).map_or(now, |(full, ())| *full);
    (full - now <= one.saturating_mul(rate.burst.saturating_sub(1))).then(|| full + one)
}

fn set(table: &mut ExpiryTable<()>, network: ClientNetwork, full: Instant) {
    table.set(network, full, ());
    if table.len() > SOURCES {
        table.remove_next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::NetBlockSize;
    use std::net::Ipv4Addr;

    fn source(number: u32) -> SourceAndSite {
        let network = ClientNetwork::of(Ipv4Addr::from_bits(number).into(), NetBlockSize { v4: 32, v6: 64 });
        SourceAndSite { network, site: None }
    }

    #[test]
    fn source_gets_its_burst_and_then_its_rate_and_others_are_not_concerned() {
        let (mut table, start) = (RateTable::default(), Instant::now());
        let rate = ConnectionRate { per_second: 2, burst: 3 };
        // The time in milliseconds, the source, and the decision.
        for (at, from, taken) in [
            (0, 1, true),
            (0, 1, true),
            (0, 1, true),
            (0, 1, false),
            (0, 2, true),
            (499, 1, false),
            (500, 1, true),
            (501, 1, false),
            (1000, 1, true),
            (60_000, 1, true),
            (60_000, 1, true),
            (60_000, 1, true),
            (60_000, 1, false),
        ] {
            let now = start + Duration::from_millis(at);
            assert_eq!(table.take(source(from), rate, now), taken, "source {from} at {at} ms");
        }
    }

    #[test]
    fn table_is_bounded_and_forgets_who_is_quiet() {
        let (mut table, now) = (RateTable::default(), Instant::now());
        let rate = ConnectionRate { per_second: 1, burst: 2 };
        for number in 0..100_000 {
            assert!(table.take(source(number), rate, now));
        }
        assert_eq!(table.sources.len(), SOURCES);
        assert!(table.take(source(1), rate, now + Duration::from_secs(2)));
        assert_eq!(table.sources.len(), 1);
    }
}
