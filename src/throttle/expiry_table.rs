//! A table of sources whose rows expire. The rows are also in the order of their ends, so that expired ones, and the one
//! that would expire next, are found without a search.

use super::client_network::ClientNetwork;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// Rows by source. The owner bounds their number by [`ExpiryTable::remove_next`].
#[derive(Debug)]
pub(super) struct ExpiryTable<V> {
    rows: HashMap<ClientNetwork, (Instant, V)>,
    order: BTreeSet<(Instant, ClientNetwork)>,
}

impl<V> Default for ExpiryTable<V> {
    fn default() -> Self {
        Self { rows: HashMap::new(), order: BTreeSet::new() }
    }
}

impl<V> ExpiryTable<V> {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The end and the value of a source's row.
    pub(super) fn get(&self, network: ClientNetwork) -> Option<&(Instant, V)> {
        self.rows.get(&network)
    }

    /// The value of a source's row.
    pub(super) fn get_mut(&mut self, network: ClientNetwork) -> Option<&mut V> {
        self.rows.get_mut(&network).map(|(_, value)| value)
    }

    /// Sets a source's row.
    pub(super) fn set(&mut self, network: ClientNetwork, end: Instant, value: V) {
        if let Some((before, _)) = self.rows.insert(network, (end, value)) {
            self.order.remove(&(before, network));
        }
        self.order.insert((end, network));
    }

    /// Removes the rows that have ended.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.order.first().is_some_and(|(end, _)| *end <= now) {
            self.remove_next();
        }
    }

    /// Removes the row that ends next.
    pub(super) fn remove_next(&mut self) {
        if let Some((_, network)) = self.order.pop_first() {
            self.rows.remove(&network);
        }
        if self.rows.is_empty() {
            // An attack that is over keeps no memory.
            self.rows.shrink_to_fit();
        }
    }
}
