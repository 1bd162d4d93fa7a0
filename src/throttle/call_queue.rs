//! The queue for the webhooks' calls: so many are in flight at once, and a free place goes to the source that has the
//! fewest, of these to the one that waits longest. A source with many calls so delays its own, not those of others; and so
//! does a site, whose sources count together as some of them.

use super::client_network::{ClientNetwork, SITE_SOURCES, SourceAndSite};
use std::collections::{HashMap, VecDeque};

/// Calls in flight, and those that wait, by source. `T` is the waiting call. The number of connections that log in bounds
/// both, as a call that is given up is taken out.
#[derive(Debug)]
pub(crate) struct CallQueue<T> {
    limit: usize,
    in_flight: usize,
    sources: HashMap<ClientNetwork, SourceCalls<T>>,
    /// Calls in flight by site.
    sites: HashMap<ClientNetwork, usize>,
    /// The next waiting call's number.
    next: u64,
}

#[derive(Debug)]
struct SourceCalls<T> {
    site: Option<ClientNetwork>,
    in_flight: usize,
    waiting: VecDeque<(u64, T)>,
}

impl<T> CallQueue<T> {
    /// A queue for `limit` calls at once, at least 1.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), in_flight: 0, sources: HashMap::new(), sites: HashMap::new(), next: 0 }
    }

    /// Sets another limit, at least 1, and begins the calls that have a place now, which are returned. With more calls than
    /// the limit, none begins until enough have ended.
    pub(crate) fn set_limit(&mut self, limit: usize) -> Vec<(ClientNetwork, T)> {
        self.limit = limit.max(1);
        std::iter::from_fn(|| self.begin_next()).collect()
    }

    /// Begins a call if a place is free. Otherwise it waits, as what `waiting` makes, and has the number that is returned.
    pub(crate) fn begin(&mut self, from: SourceAndSite, waiting: impl FnOnce() -> T) -> Option<u64> {
        let SourceAndSite { network, site } = from;
        let new = || SourceCalls { site, in_flight: 0, waiting: VecDeque::new() };
        let source = self.sources.entry(network).or_insert_with(new);
        if self.in_flight < self.limit {
            self.in_flight += 1;
            source.in_flight += 1;
            if let Some(site) = site {
                *self.sites.entry(site).or_default() += 1;
            }
            return None;
        }
        let number = self.next;
        source.waiting.push_back((number, waiting()));
        self.next += 1;
        Some(number)
    }

    /// Takes a call out that waits no longer. One that has begun is not there any more.
    pub(crate) fn give_up(&mut self, network: ClientNetwork, number: u64) {
        let Some(source) = self.sources.get_mut(&network) else { return };
        source.waiting.retain(|(waiting, _)| *waiting != number);
        if source.in_flight == 0 && source.waiting.is_empty() {
            self.sources.remove(&network);
        }
    }

    /// Ends a call of a source, and begins the next one that waits, which is returned. If that one is no longer wanted, end
    /// it with its own source.
    pub(crate) fn end(&mut self, network: ClientNetwork) -> Option<(ClientNetwork, T)> {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(source) = self.sources.get_mut(&network) {
            source.in_flight = source.in_flight.saturating_sub(1);
            let site = source.site;
            if source.in_flight == 0 && source.waiting.is_empty() {
                self.sources.remove(&network);
            }
            self.end_of_site(site);
        }
        self.begin_next()
    }

    /// Begins the waiting call whose turn it is, if a place is free.
    fn begin_next(&mut self) -> Option<(ClientNetwork, T)> {
        if self.in_flight >= self.limit {
            return None;
        }
        let waiting = self.sources.iter().filter_map(|(network, source)| {
            let (number, _) = source.waiting.front()?;
            let of_site = source.site.and_then(|site| self.sites.get(&site)).copied().unwrap_or_default();
            Some((source.in_flight.max(of_site / SITE_SOURCES as usize), *number, *network))
        });
        let (_, _, chosen) = waiting.min_by_key(|(in_flight, number, _)| (*in_flight, *number))?;
        let source = self.sources.get_mut(&chosen)?;
        let (_, call) = source.waiting.pop_front()?;
        source.in_flight += 1;
        self.in_flight += 1;
        if let Some(site) = source.site {
            *self.sites.entry(site).or_default() += 1;
        }
        Some((chosen, call))
    }

    fn end_of_site(&mut self, site: Option<ClientNetwork>) {
        let Some(site) = site else { return };
        if let Some(in_flight) = self.sites.get_mut(&site) {
            *in_flight -= 1;
            if *in_flight == 0 {
                self.sites.remove(&site);
            }
        }
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

    fn from(number: u32) -> SourceAndSite {
        SourceAndSite { network: source(number), site: None }
    }

    #[test]
    fn many_sources_of_one_site_wait_behind_the_source_of_another() {
        let site = ClientNetwork::of("2001:db8::".parse().unwrap(), NetBlockSize { v4: 32, v6: 48 });
        let in_site = |number| SourceAndSite { network: source(number), site: Some(site) };
        let most = SITE_SOURCES as usize;
        let mut queue = CallQueue::new(2 * most);
        for number in 0..2 * most as u32 {
            assert!(queue.begin(in_site(number), || 0).is_none(), "each is a source of its own");
        }
        assert!(queue.begin(in_site(1000), || 1000).is_some());
        assert!(queue.begin(from(2000), || 2000).is_some());
        assert_eq!(queue.end(source(0)).map(|(_, call)| call), Some(2000), "it came later, and its site has fewer");
        assert_eq!(queue.end(source(2000)).map(|(_, call)| call), Some(1000));
        for number in (1..2 * most as u32).chain([1000]) {
            assert_eq!(queue.end(source(number)), None);
        }
        assert!(queue.sites.is_empty() && queue.sources.is_empty() && queue.in_flight == 0);
    }

    #[test]
    fn free_place_goes_to_the_source_with_the_fewest_calls() {
        let mut queue = CallQueue::new(3);
        let begun: Vec<bool> = (0..6).map(|call| queue.begin(from(1), || (1, call)).is_none()).collect();
        assert_eq!(begun, [true, true, true, false, false, false]);
        assert!(queue.begin(from(2), || (2, 0)).is_some());
        assert!(queue.begin(from(2), || (2, 1)).is_some());
        assert!(queue.begin(from(3), || (3, 0)).is_some());
        let mut order = Vec::new();
        // Who ends is the first source each time, which has the most calls.
        for _ in 0..3 {
            let (network, call) = queue.end(source(1)).expect("a call waits");
            assert_eq!(network, source(call.0));
            order.push(call);
        }
        assert_eq!(order, [(2, 0), (3, 0), (1, 3)], "three are in flight: 2, 3 and 1 have one each");
        assert_eq!(queue.end(source(2)).map(|(_, call)| call), Some((2, 1)));
        assert_eq!(queue.end(source(2)).map(|(_, call)| call), Some((1, 4)));
        assert_eq!(queue.end(source(3)).map(|(_, call)| call), Some((1, 5)));
        for _ in 0..3 {
            assert_eq!(queue.end(source(1)), None);
        }
        assert!(queue.sources.is_empty() && queue.in_flight == 0);
    }

    #[test]
    fn other_limit_begins_what_has_a_place_now_and_never_more() {
        let mut queue = CallQueue::new(1);
        assert_eq!(queue.begin(from(1), || 0), None);
        for call in 2..8 {
            assert!(queue.begin(from(call), || call).is_some());
        }
        let begun: Vec<_> = queue.set_limit(3).into_iter().map(|(_, call)| call).collect();
        assert_eq!(begun, [2, 3]);
        assert!(queue.set_limit(0).is_empty(), "at least one, and three are in flight");
        assert_eq!((queue.end(source(1)), queue.end(source(2))), (None, None), "too many are in flight");
        assert_eq!(queue.end(source(3)).map(|(_, call)| call), Some(4));
    }

    #[test]
    fn call_that_is_given_up_leaves_nothing() {
        let mut queue = CallQueue::new(1);
        assert_eq!(queue.begin(from(1), || 0), None);
        let waiting: Vec<u64> = (2..1000).filter_map(|call| queue.begin(from(call), || call)).collect();
        for (number, call) in waiting.into_iter().zip(2..) {
            queue.give_up(source(call), number);
        }
        assert_eq!(queue.sources.len(), 1);
        assert_eq!(queue.end(source(1)), None);
        assert!(queue.sources.is_empty() && queue.in_flight == 0);
    }
}
