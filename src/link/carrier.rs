//! The byte stream that a link rides on, as its driver uses it. An exec's standard streams are the first carrier; the driver
//! does not know which it has.

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;

/// The end of a carrier. The text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CarrierLost(pub(crate) String);

/// The half of a carrier that sends to the guest. Dropping it closes the carrier.
pub(crate) trait CarrierSender: Send {
    /// Sends bytes; waits until the carrier has taken them.
    fn send(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), CarrierLost>>;
}

/// The half of a carrier that receives from the guest.
pub(crate) trait CarrierReceiver: Send {
    /// Waits for the next bytes, at least one. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Result<Bytes, CarrierLost>>;
}
