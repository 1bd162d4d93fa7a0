//! The way of a connection's output to the SSH library: in pieces that are as long as the bandwidth and the output that waits
//! already let them be.

use super::bandwidth::Bandwidth;
use crate::session::OutputQueue;
use bytes::Bytes;

/// The output of all channels of one connection.
#[derive(Debug)]
pub(super) struct ClientOutput {
    bandwidth: Bandwidth,
    queue: OutputQueue,
}

impl ClientOutput {
    /// The output of a connection that sends `rate` bytes a second.
    pub(super) fn new(rate: Option<u64>, queue: OutputQueue) -> Self {
        Self { bandwidth: Bandwidth::new(rate), queue }
    }

    /// Waits until something may pass, and takes it from `data`. It counts until nobody has it any more.
    pub(super) async fn next_piece(&self, data: &mut Bytes) -> Bytes {
        self.queue.count(self.bandwidth.next_piece(data, self.queue.piece_limit()).await)
    }
}
