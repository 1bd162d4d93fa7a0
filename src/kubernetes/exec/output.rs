//! What comes from a program: the messages of channels 1 to 3. Large ones are handed on as they are; small ones that are
//! there already are joined, because whoever sends them on pays for each. Nothing waits for more to join.

use super::status;
use crate::guest::{Exit, Output, Said};
use crate::kubernetes::websocket::{Part, Receiver};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;

/// A Status is a small JSON object; what is longer is none.
const LONGEST_STATUS: usize = 64 * 1024;
/// What is at least as long is not copied.
const LARGE: usize = 8 * 1024;
/// Joining ends here: an SSH packet's worth.
const ENOUGH: usize = 32 * 1024;

/// The output half of a program.
pub(super) struct ExecOutput<S: AsyncRead + AsyncWrite + Unpin> {
    receiver: Receiver<S>,
    program: String,
    /// The channel of the message that is being received.
    channel: Option<u8>,
    status: BytesMut,
    /// What came behind the piece that was handed out last.
    held: Option<Said>,
    exit: Option<Exit>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Output for ExecOutput<S> {
    fn next(&mut self) -> BoxFuture<'_, Said> {
        Box::pin(async move {
            let said = match self.held.take() {
                Some(said) => said,
                None => self.one().await,
            };
            match said {
                Said::Stdout(data) => Said::Stdout(self.gather(data, only_stdout)),
                Said::Stderr(data) => Said::Stderr(self.gather(data, only_stderr)),
                exit @ Said::Exit(_) => exit,
            }
        })
    }
}

fn only_stdout(said: Said) -> Result<Bytes, Said> {
    if let Said::Stdout(data) = said { Ok(data) } else { Err(said) }
}

fn only_stderr(said: Said) -> Result<Bytes, Said> {
    if let Said::Stderr(data) = said { Ok(data) } else { Err(said) }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ExecOutput<S> {
    /// `program` is the printable name of what runs, for the line when it does not start.
    pub(super) fn new(receiver: Receiver<S>, program: String) -> Self {
        Self { receiver, program, channel: None, status: BytesMut::new(), held: None, exit: None }
    }

    /// Joins a small piece with those of its kind that can be had without waiting.
    fn gather(&mut self, first: Bytes, same: fn(Said) -> Result<Bytes, Said>) -> Bytes {
        if first.len() >= LARGE {
            return first;
        }
        let mut whole = BytesMut::new();
        while whole.len() < ENOUGH {
            match self.one().now_or_never().map(same) {
                Some(Ok(more)) => {
                    if whole.is_empty() {
                        whole.extend_from_slice(&first);
                    }
                    whole.extend_from_slice(&more);
                }
                Some(Err(other)) => {
                    self.held = Some(other);
                    break;
                }
                None => break,
            }
        }
        if whole.is_empty() { first } else { whole.freeze() }
    }

    async fn one(&mut self) -> Said {
        loop {
            if let Some(exit) = &self.exit {
                return Said::Exit(exit.clone());
            }
            let said = match self.receiver.next().await {
                Ok(part) => self.take(part),
                Err(error) => Some(Said::Exit(status::lost(error.to_string()))),
            };
            match said {
                Some(Said::Exit(exit)) => self.exit = Some(exit),
                Some(said) => return said,
                None => {}
            }
        }
    }

    /// A message's first byte is its channel. An empty message says nothing (the first of a stream: connected).
    fn take(&mut self, part: Part) -> Option<Said> {
        let Part { start, end, mut data } = part;
        if start {
            self.channel = None;
        }
        if self.channel.is_none() && data.has_remaining() {
            self.channel = Some(data.get_u8());
        }
        let more = data.has_remaining();
        match self.channel {
            Some(STDOUT) if more => Some(Said::Stdout(data)),
            Some(STDERR) if more => Some(Said::Stderr(data)),
            Some(STATUS) => self.take_status(&data, end),
            Some(unknown) if more => {
                Some(Said::Exit(status::lost(format!("data came on the unknown channel {unknown}"))))
            }
            _nothing => None,
        }
    }

    fn take_status(&mut self, data: &[u8], end: bool) -> Option<Said> {
        if self.status.len() + data.len() > LONGEST_STATUS {
            return Some(Said::Exit(status::lost("the Status is too long".to_owned())));
        }
        self.status.extend_from_slice(data);
        if !end || self.status.is_empty() {
            return None;
        }
        Some(Said::Exit(status::exit(&self.status, &self.program)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::endpoint::{SUCCESS, frame};
    use crate::kubernetes::websocket::halves;

    fn message(channel: u8, data: &[u8]) -> Vec<u8> {
        frame(0x82, &[&[channel], data].concat())
    }

    async fn pieces(messages: &[Vec<u8>]) -> Vec<Said> {
        let (near, _far) = tokio::io::duplex(64);
        let (_sender, receiver) = halves(near, &messages.concat());
        let mut output = ExecOutput::new(receiver, "prog".to_owned());
        let mut pieces = Vec::new();
        loop {
            let said = output.next().await;
            let over = matches!(said, Said::Exit(_));
            pieces.push(said);
            if over {
                assert_eq!(Some(&output.next().await), pieces.last(), "an exit stays");
                return pieces;
            }
        }
    }

    #[tokio::test]
    async fn small_messages_are_joined_in_order_and_never_across_streams() {
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        let messages = [
            message(1, b""),
            message(1, b"a"),
            message(1, b"b"),
            message(2, b"x"),
            message(2, b"y"),
            message(1, b"c"),
            message(3, SUCCESS),
        ];
        let expected =
            [Said::Stdout(text("ab")), Said::Stderr(text("xy")), Said::Stdout(text("c")), Said::Exit(Exit::Status(0))];
        assert_eq!(pieces(&messages).await, expected);
    }

    #[tokio::test]
    async fn joined_output_is_bounded_and_large_output_is_handed_on_as_it_is() {
        let mut messages: Vec<_> = (0..100).map(|_| message(1, &[7; 1000])).collect();
        messages.push(message(1, &[8; 20_000]));
        messages.push(message(3, SUCCESS));
        let sizes: Vec<usize> = pieces(&messages)
            .await
            .iter()
            .filter_map(|said| if let Said::Stdout(data) = said { Some(data.len()) } else { None })
            .collect();
        assert_eq!(sizes, [33_000, 33_000, 33_000, 21_000]);
        let large = [message(1, &[8; 20_000]), message(1, b"tail"), message(3, SUCCESS)];
        let large = pieces(&large).await;
        assert!(
            matches!(&large[..], [Said::Stdout(a), Said::Stdout(b), Said::Exit(_)] if (a.len(), b.len()) == (20_000, 4))
        );
    }
}
