//! A request's body as services read it. Its connection counts as being answered only from its end on, and it has to end in
//! time.

use crate::places::Place;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// The body of a request.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    /// The connection's place until the body has ended.
    receiving: Option<Arc<Place>>,
    deadline: Pin<Box<Sleep>>,
}

/// The error of a body that cannot be read to its end.
#[derive(Debug)]
pub enum RequestBodyError {
    /// The client left, or broke the protocol.
    Broken(hyper::Error),
    /// It did not end in time.
    Late,
}

impl std::fmt::Display for RequestBodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(error) => error.fmt(f),
            Self::Late => f.write_str("the request's body did not end in time"),
        }
    }
}

impl std::error::Error for RequestBodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::Late => None,
        }
    }
}

impl RequestBody {
    /// A body that has `limit` to end, counted from now.
    pub(crate) fn new(body: Incoming, place: Arc<Place>, limit: Duration) -> Self {
        let mut body = Self { body, receiving: Some(place), deadline: Box::pin(sleep(limit)) };
        body.note_end();
        body
    }

    fn note_end(&mut self) {
        if self.body.is_end_stream() {
            self.ended();
        }
    }

    fn ended(&mut self) {
        if let Some(place) = self.receiving.take() {
            // A connection that has lost its place is ended by its server.
            place.answering();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.note_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(RequestBodyError::Broken(error)))),
            Poll::Ready(None) => {
                this.ended();
                Poll::Ready(None)
            }
            Poll::Pending => this.deadline.as_mut().poll(cx).map(|()| Some(Err(RequestBodyError::Late))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    /// A service that wants no more of it answers.
    fn drop(&mut self) {
        self.ended();
    }
}
