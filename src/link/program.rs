//! A program that the agent runs: a stream whose main lane is its input and output and whose error lane is its standard error.
//!
//! The exit is what the agent says. A stream that ends without it is [`Exit::Lost`].

use super::stream::{LinkStream, Piece, Reader, StreamEnd};
use crate::guest::{Exit, InputClosed, OutputEvent, Program, ProgramControl, ProgramInput, ProgramOutput, Refusal};
use crate::policy::{Permit, SendSignal, Terminal};
use crate::program::lost;
use crate::types::{EnvVar, Size};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use podgate_link::Lane;
use podgate_link::request::{ProgramMessage, ProgramRequest, SftpRequest, Size as LinkSize, TerminalRequest};
use std::sync::Arc;
use std::time::Duration;

/// Limit of a signal's name, in bytes.
const SIGNAL_NAME_MAX: usize = 32;

/// Makes the request for a program. `grace` is the time between HUP, TERM and KILL once its session is over.
pub(crate) fn program_request<'a>(
    argv: Vec<Vec<u8>>,
    env: impl Iterator<Item = &'a EnvVar>,
    terminal: Option<&Terminal>,
    grace: Duration,
) -> ProgramRequest {
    let terminal = terminal.map(|terminal| TerminalRequest {
        term: terminal.term.clone().into_bytes(),
        size: link_size(terminal.size),
        modes: terminal.modes.iter().collect(),
    });
    ProgramRequest {
        argv,
        env: env.map(variable).collect(),
        terminal,
        grace_millis: millis(grace),
        ..ProgramRequest::default()
    }
}

/// Makes the request for the agent's SFTP server.
pub(crate) fn sftp_request<'a>(env: impl Iterator<Item = &'a EnvVar>, grace: Duration) -> SftpRequest {
    SftpRequest { env: env.map(variable).collect(), grace_millis: millis(grace) }
}

fn variable(var: &EnvVar) -> (Vec<u8>, Vec<u8>) {
    (var.name().as_str().as_bytes().to_vec(), var.value().as_bytes().to_vec())
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// Makes the program of a stream that the agent has accepted. A terminal is the program's only output.
pub(super) fn program(stream: LinkStream, terminal: bool) -> Program {
    let stream = Arc::new(stream);
    let open = if terminal { 1 } else { 2 };
    let output = LinkOutput { stream: Arc::clone(&stream), reader: Reader::default(), open, exit: None };
    Program { input: Box::new(LinkInput(stream)), output: Box::new(output) }
}

/// Pixels are not passed on: no client of ours has them.
fn link_size(size: Size) -> LinkSize {
    LinkSize { columns: size.columns.into(), rows: size.rows.into(), width: 0, height: 0 }
}

struct LinkInput(Arc<LinkStream>);

impl ProgramInput for LinkInput {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move { if self.0.write(&data.freeze()).await { Ok(()) } else { Err(InputClosed) } })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.0.finish();
        Box::pin(std::future::ready(Ok(())))
    }

    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(resize(&self.0, size))
    }

    fn signal(&mut self, sent: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(signal(&self.0, sent))
    }

    fn control(&mut self) -> Option<Box<dyn ProgramControl>> {
        Some(Box::new(LinkControl(Arc::clone(&self.0))))
    }
}

/// Messages of a program, which wait for none of its data.
struct LinkControl(Arc<LinkStream>);

impl ProgramControl for LinkControl {
    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(resize(&self.0, size))
    }

    fn signal(&mut self, sent: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(signal(&self.0, sent))
    }
}

async fn resize(stream: &LinkStream, size: Size) -> Result<(), InputClosed> {
    let message = ProgramMessage::Resize(link_size(size)).encode();
    if stream.send_message(&message).await { Ok(()) } else { Err(InputClosed) }
}

async fn signal(stream: &LinkStream, signal: Permit<SendSignal>) -> Result<(), Refusal> {
    let message = ProgramMessage::Signal(signal.spend().name.into_bytes()).encode();
    let refused = || Refusal::new("the signal was not sent: the program has ended, or its name is too long");
    if stream.send_message(&message).await { Ok(()) } else { Err(refused()) }
}

struct LinkOutput {
    stream: Arc<LinkStream>,
    reader: Reader,
    /// The number of lanes that have not ended.
    open: usize,
    exit: Option<Exit>,
}

impl LinkOutput {
    fn event(&mut self, piece: Piece) -> Option<OutputEvent> {
        match piece {
            Piece::Data(Lane::Main, data) => Some(OutputEvent::Stdout(data)),
            Piece::Data(Lane::Error, data) => Some(OutputEvent::Stderr(data)),
            Piece::Message(message) => {
                self.exit = exit(message).or(self.exit.take());
                None
            }
            Piece::Finished(_) => {
                self.open = self.open.saturating_sub(1);
                // Behind the exit nobody needs to be told.
                (self.open == 0 && self.exit.is_none()).then_some(OutputEvent::End)
            }
            Piece::End(StreamEnd::Closed(close)) => {
                let unknown = || lost(format!("the agent closed the program without its exit: {}", close.reason));
                Some(OutputEvent::Exit(self.exit.take().unwrap_or_else(unknown)))
            }
            // The exit may have come before output that is missing.
            Piece::End(StreamEnd::LinkOver(reason)) => Some(OutputEvent::Exit(lost(reason.to_string()))),
        }
    }
}

impl ProgramOutput for LinkOutput {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async move {
            loop {
                let piece = self.stream.next(&mut self.reader).await;
                if let Some(event) = self.event(piece) {
                    return event;
                }
            }
        })
    }
}

/// Reads the exit in a message of the agent's; `None` for anything else.
fn exit(message: Bytes) -> Option<Exit> {
    match ProgramMessage::decode(message).ok()? {
        ProgramMessage::ExitStatus(status) => u8::try_from(status).ok().map(Exit::Status),
        ProgramMessage::ExitSignal(name, core) => {
            let name = String::from_utf8(name).ok()?;
            // Names that RFC 4254 does not have are of the form NAME@DOMAIN (section 6.10).
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"@.-_".contains(&byte);
            let word = (1..=SIGNAL_NAME_MAX).contains(&name.len()) && name.bytes().all(is_part);
            word.then_some(Exit::Signal { name, core })
        }
        ProgramMessage::Resize(_) | ProgramMessage::Signal(_) => None,
    }
}
