//! Bodies of the API's answers, bounded in bytes: a whole answer by its length, a watch by the length of a line, which is
//! one object. A followed log is taken piece by piece, and has no limit.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The limit of a whole answer in bytes. kube asks for 500 objects at a time, and a pod is some ten kilobytes long.
pub(super) const ANSWER_MAX: usize = 64 << 20;
/// The limit of a watched object in bytes: etcd takes objects of at most 1.5 MiB, which a proxy may indent.
pub(super) const LINE_MAX: usize = 8 << 20;

/// The error of a body that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Kubernetes API's answer is longer than {} MiB", .limit >> 20)]
pub(super) struct TooLong {
    limit: usize,
}

/// Reads a body to its end.
///
/// # Errors
/// [`TooLong`], or the body's own error.
pub(super) async fn whole<B>(body: B) -> Result<Bytes, Box<dyn Error + Send + Sync>>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    match Limited::new(body, ANSWER_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(TooLong { limit: ANSWER_MAX }.into()),
        Err(error) => Err(error),
    }
}

/// A body without an end of its own.
#[derive(Debug)]
pub(super) struct StreamedBody<B = Incoming> {
    inner: B,
    lines: Option<LineLength>,
}

impl<B> StreamedBody<B> {
    /// The body of a watch, an object a line.
    pub(super) fn lines(inner: B) -> Self {
        Self { inner, lines: Some(LineLength(0)) }
    }

    /// The body of a log.
    pub(super) fn pieces(inner: B) -> Self {
        Self { inner, lines: None }
    }
}

impl<B> Body for StreamedBody<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        if let (Some(lines), Some(data)) = (&mut self.lines, frame.data_ref()) {
            lines.pass(data)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The length of the line that is not ended yet, in bytes.
#[derive(Debug, Clone, Copy)]
struct LineLength(usize);

impl LineLength {
    fn pass(&mut self, data: &[u8]) -> Result<(), TooLong> {
        let mut lines = data.split(|byte| *byte == b'\n');
        let first = lines.next().map_or(0, <[u8]>::len);
        let mut longest = self.0.saturating_add(first);
        self.0 = longest;
        for line in lines {
            self.0 = line.len();
            longest = longest.max(self.0);
        }
        if longest > LINE_MAX { Err(TooLong { limit: LINE_MAX }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use std::convert::Infallible;

    fn body(pieces: Vec<Vec<u8>>) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        StreamBody::new(futures_util::stream::iter(pieces.into_iter().map(|piece| Ok(Frame::data(Bytes::from(piece))))))
    }

    fn is_too_long(error: &(dyn Error + Send + Sync + 'static), limit: usize) -> bool {
        error.downcast_ref() == Some(&TooLong { limit })
    }

    #[tokio::test]
    async fn whole_answer_is_bounded() {
        let piece = vec![b'x'; 1 << 20];
        let whole_length = ANSWER_MAX >> 20;
        assert_eq!(whole(body(vec![piece.clone(); whole_length])).await.unwrap().len(), ANSWER_MAX);
        let error = whole(body(vec![piece; whole_length + 1])).await.unwrap_err();
        assert!(is_too_long(&*error, ANSWER_MAX), "{error}");
    }

    #[tokio::test]
    async fn line_of_a_watch_is_bounded_and_their_number_is_not() {
        let line = |length: usize| [vec![b'x'; length], b"\n".to_vec()].concat();
        let half = vec![b'x'; LINE_MAX / 2];
        for (pieces, is_taken) in [
            (vec![line(LINE_MAX); 3], true),
            (vec![line(LINE_MAX + 1)], false),
            (vec![half.clone(), half.clone(), b"\n".to_vec(), half.clone(), half.clone()], true),
            (vec![half.clone(), half.clone(), b"x".to_vec()], false),
            (vec![[b"\n".to_vec(), half.clone()].concat(), half.clone(), b"x\n".to_vec()], false),
        ] {
            let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
            let taken = StreamedBody::lines(body(pieces)).collect().await;
            assert_eq!(taken.is_ok(), is_taken, "{lengths:?}");
            assert!(taken.err().is_none_or(|error| is_too_long(&*error, LINE_MAX)), "{lengths:?}");
        }
        assert!(StreamedBody::pieces(body(vec![half; 4])).collect().await.is_ok(), "a log has no limit");
    }
}
