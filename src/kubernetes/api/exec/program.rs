//! A program made of an exec's stream. Large pieces of output are handed on as they are; small ones that are there already
//! are joined, because each costs the next reader something. Nothing waits for more to join.

use super::{CLOSE, ChannelPiece, ChannelReceiver, ExecStream, RESIZE, STATUS, STDERR, STDIN, STDOUT, resize, status};
use crate::guest::{Exit, InputClosed, OutputEvent, Program, ProgramInput, ProgramOutput, Refusal};
use crate::kubernetes::api::websocket::Sender;
use crate::policy::{Permit, SendSignal};
use crate::program::lost;
use crate::types::Size;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// Limit of a Status, in bytes: it is a small JSON object.
const STATUS_MAX: usize = 64 * 1024;
/// The least length of a piece that is never copied, in bytes.
const PASSED_ON: usize = 8 * 1024;
/// The length at which joining ends, in bytes: an SSH packet's worth.
const JOINED_MAX: usize = 32 * 1024;

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ExecStream<S> {
    /// Makes a program of the stream.
    pub(crate) fn into_program(self) -> Program {
        let Self { sender, channels, terminal, program } = self;
        let input = ExecInput { sender, terminal, closed: false };
        let output = ExecOutput { channels, program, status: BytesMut::new(), held: None, exit: None };
        Program { input: Box::new(input), output: Box::new(output) }
    }

    /// Makes a stream on which the server has sent `early`.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn for_test(io: S, early: &[u8]) -> Self {
        let (sender, receiver) = crate::kubernetes::api::websocket::split(io, early);
        let channels = ChannelReceiver { receiver, channel: None };
        Self { sender, channels, terminal: false, program: "program".to_owned() }
    }
}

/// The input of a program, on channels 0, 4 and 255.
struct ExecInput<S: AsyncRead + AsyncWrite + Unpin> {
    sender: Sender<S>,
    terminal: bool,
    closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ExecInput<S> {
    async fn send(&mut self, channel: u8, data: BytesMut) -> Result<(), InputClosed> {
        self.sender.send(channel, data).await.map_err(|_gone| {
            self.closed = true;
            InputClosed
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ProgramInput for ExecInput<S> {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move {
            if self.closed {
                return Err(InputClosed);
            }
            if data.is_empty() {
                return Ok(());
            }
            self.send(STDIN, data).await
        })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move {
            if std::mem::replace(&mut self.closed, true) {
                return Ok(());
            }
            self.send(CLOSE, BytesMut::from(&[STDIN][..])).await
        })
    }

    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move {
            if !self.terminal {
                return Ok(());
            }
            self.send(RESIZE, resize(size)).await
        })
    }

    fn signal(&mut self, _signal: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Err(Refusal::new("signals need the agent in the container")) })
    }
}

/// The output of a program, on channels 1 to 3.
struct ExecOutput<S: AsyncRead + AsyncWrite + Unpin> {
    channels: ChannelReceiver<S>,
    /// The printable name of what runs, for the refusal when it does not start.
    program: String,
    status: BytesMut,
    /// The event that ended the last joining.
    held: Option<OutputEvent>,
    exit: Option<Exit>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ProgramOutput for ExecOutput<S> {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async move {
            let event = match self.held.take() {
                Some(event) => event,
                None => self.next_event().await,
            };
            match event {
                OutputEvent::Stdout(data) => OutputEvent::Stdout(self.gather(data, only_stdout)),
                OutputEvent::Stderr(data) => OutputEvent::Stderr(self.gather(data, only_stderr)),
                last @ (OutputEvent::End | OutputEvent::Exit(_)) => last,
            }
        })
    }
}

fn only_stdout(event: OutputEvent) -> Result<Bytes, OutputEvent> {
    if let OutputEvent::Stdout(data) = event { Ok(data) } else { Err(event) }
}

fn only_stderr(event: OutputEvent) -> Result<Bytes, OutputEvent> {
    if let OutputEvent::Stderr(data) = event { Ok(data) } else { Err(event) }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ExecOutput<S> {
    /// Joins a small piece with those of its kind that can be had without waiting.
    fn gather(&mut self, first: Bytes, same: fn(OutputEvent) -> Result<Bytes, OutputEvent>) -> Bytes {
        if first.len() >= PASSED_ON {
            return first;
        }
        let mut whole = BytesMut::new();
        while whole.len() < JOINED_MAX {
            match self.next_event().now_or_never().map(same) {
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

    async fn next_event(&mut self) -> OutputEvent {
        loop {
            if let Some(exit) = &self.exit {
                return OutputEvent::Exit(exit.clone());
            }
            let event = match self.channels.next().await {
                Ok(piece) => self.take(piece),
                Err(error) => Some(OutputEvent::Exit(lost(error.to_string()))),
            };
            match event {
                Some(OutputEvent::Exit(exit)) => self.exit = Some(exit),
                Some(event) => return event,
                None => {}
            }
        }
    }

    fn take(&mut self, piece: ChannelPiece) -> Option<OutputEvent> {
        let ChannelPiece { channel, data, end } = piece;
        match channel {
            STATUS => self.take_status(&data, end),
            _ if data.is_empty() => None,
            STDOUT => Some(OutputEvent::Stdout(data)),
            STDERR => Some(OutputEvent::Stderr(data)),
            unknown => Some(OutputEvent::Exit(lost(format!("data came on the unknown channel {unknown}")))),
        }
    }

    fn take_status(&mut self, data: &[u8], end: bool) -> Option<OutputEvent> {
        if self.status.len() + data.len() > STATUS_MAX {
            return Some(OutputEvent::Exit(lost("the Status is too long".to_owned())));
        }
        self.status.extend_from_slice(data);
        if !end || self.status.is_empty() {
            return None;
        }
        Some(OutputEvent::Exit(status::exit(&self.status, &self.program)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::api::fake_server::{SUCCESS, frame};

    fn message(channel: u8, data: &[u8]) -> Vec<u8> {
        frame(0x82, &[&[channel], data].concat())
    }

    async fn pieces(messages: &[Vec<u8>]) -> Vec<OutputEvent> {
        let (near, _far) = tokio::io::duplex(64);
        let mut output = ExecStream::for_test(near, &messages.concat()).into_program().output;
        let mut pieces = Vec::new();
        loop {
            let event = output.next().await;
            let over = matches!(event, OutputEvent::Exit(_));
            pieces.push(event);
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
        let expected = [
            OutputEvent::Stdout(text("ab")),
            OutputEvent::Stderr(text("xy")),
            OutputEvent::Stdout(text("c")),
            OutputEvent::Exit(Exit::Status(0)),
        ];
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
            .filter_map(|event| if let OutputEvent::Stdout(data) = event { Some(data.len()) } else { None })
            .collect();
        assert_eq!(sizes, [33_000, 33_000, 33_000, 21_000]);
        let large = [message(1, &[8; 20_000]), message(1, b"tail"), message(3, SUCCESS)];
        let large = pieces(&large).await;
        assert!(
            matches!(&large[..], [OutputEvent::Stdout(a), OutputEvent::Stdout(b), OutputEvent::Exit(_)] if (a.len(), b.len()) == (20_000, 4))
        );
    }
}
