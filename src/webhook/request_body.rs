//! A request's body that records whether a connection took it, which proves that a question did not arrive.
//!
//! Invariant: after [`Delivery::withdraw`] returned true no connection gets the body, so no server gets the whole
//! request. The body cannot be cloned, so no layer of the HTTP client repeats a request behind our back once it was taken.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// A body that is handed to a connection once.
#[derive(Debug)]
pub(super) struct SingleUseBody {
    bytes: Option<Bytes>,
    state: Arc<AtomicU8>,
}

/// The sender's handle of a [`SingleUseBody`].
#[derive(Debug)]
pub(super) struct Delivery(Arc<AtomicU8>);

/// The body was withdrawn before the connection asked for it.
#[derive(Debug, thiserror::Error)]
#[error("the request was withdrawn")]
pub(super) struct Withdrawn;

/// Creates a body of `bytes`, which must not be empty: a connection never takes an empty body, so that it would count as not
/// sent.
pub(super) fn once(bytes: Bytes) -> (SingleUseBody, Delivery) {
    let state = Arc::new(AtomicU8::new(WAITING));
    (SingleUseBody { bytes: Some(bytes), state: state.clone() }, Delivery(state))
}

impl Delivery {
    /// Takes the body back. False if a connection took it before, so that the request may have arrived.
    pub(super) fn withdraw(&self) -> bool {
        self.0.compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire) != Err(TAKEN)
    }
}

impl Body for SingleUseBody {
    type Data = Bytes;
    type Error = Withdrawn;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Withdrawn>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        let taken = self.state.compare_exchange(WAITING, TAKEN, Ordering::AcqRel, Ordering::Acquire);
        Poll::Ready(Some(if taken.is_ok() { Ok(Frame::data(bytes)) } else { Err(Withdrawn) }))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn withdrawn_body_is_never_handed_over() {
        let (body, delivery) = once(Bytes::from_static(b"s3cret"));
        assert!(delivery.withdraw());
        assert!(body.collect().await.is_err());
        assert!(delivery.withdraw(), "still not handed over");
    }

    #[tokio::test]
    async fn body_that_was_taken_cannot_be_withdrawn() {
        let (mut body, delivery) = once(Bytes::from_static(b"s3cret"));
        assert_eq!(body.size_hint().exact(), Some(6));
        let frame = body.frame().await.expect("a frame").expect("not withdrawn");
        assert_eq!(frame.into_data().expect("data"), "s3cret");
        assert!(body.is_end_stream() && !delivery.withdraw());
    }
}
