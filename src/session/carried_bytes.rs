//! The count of the bytes that a program or a forwarded connection has taken and given.

use std::sync::atomic::{AtomicU64, Ordering};

/// The count, to which both pumps add.
#[derive(Debug, Default)]
pub(crate) struct CarriedBytes {
    to_guest: AtomicU64,
    to_client: AtomicU64,
}

impl CarriedBytes {
    /// Bytes from the client that the guest has taken.
    pub(crate) fn to_guest(&self) -> u64 {
        self.to_guest.load(Ordering::Relaxed)
    }

    /// Bytes from the guest that were sent to the client.
    pub(crate) fn to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }

    pub(super) fn add_to_guest(&self, bytes: u64) {
        self.to_guest.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_to_client(&self, bytes: u64) {
        self.to_client.fetch_add(bytes, Ordering::Relaxed);
    }
}
