//! The bytes that a connection carried.

/// The bytes that were carried for a client: by TCP for all of its connection, or for one forwarded connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
}
