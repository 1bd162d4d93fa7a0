//! The two pumps of a running program, one for each direction, so that neither can hold up the other.

use super::carried_bytes::CarriedBytes;
use super::client::{Client, ClientGone};
use super::inbox::{Inbox, InboxItem};
use super::wait::PendingLine;
use crate::audit::{DataStream, Event, Recorder, WireMessage};
use crate::guest::{Exit, InputClosed, OutputEvent, ProgramControl, ProgramInput, ProgramOutput, Refusal};
use crate::policy::{Permit, SendSignal};
use crate::types::Size;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::convert::Infallible;
use std::future::pending;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;

/// Pumps from the program to the client, up to the exit. By then everything that the program wrote has been handed to the
/// client's window. The pending line goes out before any output; an exit does not wait for it.
pub(super) async fn pump_output(
    mut output: Box<dyn ProgramOutput>,
    (client, audit, carried): (&dyn Client, &Recorder, &CarriedBytes),
    mut pending_line: PendingLine<'_>,
) -> Result<Exit, ClientGone> {
    // A client that reads has its line even if the program has ended already.
    let _written = pending_line.written().now_or_never();
    let mut owes_end = false;
    loop {
        let pending = pending_line.is_pending();
        if owes_end && !pending {
            owes_end = false;
            client.end_of_output().await?;
        }
        let event = tokio::select! {
            biased;
            event = output.next() => event,
            () = pending_line.written(), if pending => continue,
        };
        match event {
            OutputEvent::Exit(exit) => return Ok(exit),
            OutputEvent::Stdout(data) => {
                recorded(audit, DataStream::Stdout, &data).await;
                pending_line.written().await;
                let length = data.len() as u64;
                client.stdout(data).await?;
                carried.add_to_client(length);
            }
            OutputEvent::Stderr(data) => {
                recorded(audit, DataStream::Stderr, &data).await;
                pending_line.written().await;
                let length = data.len() as u64;
                client.stderr(data).await?;
                carried.add_to_client(length);
            }
            OutputEvent::End => {
                audit.note_wire(WireMessage::CloseWrite);
                owes_end = true;
            }
        }
    }
}

/// Records data before it goes on. What cannot be recorded never does: the connection is about to end.
async fn recorded(audit: &Recorder, stream: DataStream, data: &[u8]) {
    if audit.data(stream, data).await.is_err() {
        pending().await
    }
}

/// The pump from the client to the program.
pub(super) struct InputPump<'a> {
    pub(super) inbox: &'a Inbox,
    pub(super) terminal: bool,
    pub(super) carried: &'a CarriedBytes,
    pub(super) commands: Commands<'a>,
}

/// Sizes and signals for the program.
pub(super) struct Commands<'a> {
    pub(super) size: &'a mut watch::Receiver<Size>,
    pub(super) signals: &'a mut mpsc::Receiver<Permit<SendSignal>>,
    pub(super) audit: &'a Recorder,
}

impl InputPump<'_> {
    /// Pumps until it is dropped: the exit ends a program, the end of its input does not. Sizes and signals wait for no data
    /// where the program has a way of their own for them.
    pub(super) async fn run(self, mut input: Box<dyn ProgramInput>) -> Infallible {
        let Self { inbox, terminal, carried, mut commands } = self;
        let mut data = DataPump { inbox, audit: commands.audit, carried, terminal, ended: false };
        match input.control() {
            Some(mut control) => {
                // What a client typed behind a new size finds the size there.
                tokio::select! {
                    biased;
                    never = commands.run(control.as_mut()) => never,
                    never = data.run(input.as_mut()) => never,
                }
            }
            None => loop {
                let done = tokio::select! {
                    biased;
                    command = commands.next() => commands.deliver(command, &mut ThroughInput(input.as_mut())).await,
                    taken = data.take() => {
                        while let Some(command) = commands.next().now_or_never() {
                            // The data's own failure tells of a program that takes nothing.
                            let _ended = commands.deliver(command, &mut ThroughInput(input.as_mut())).await;
                        }
                        data.give(input.as_mut(), taken).await
                    }
                };
                if done.is_err() {
                    return data.refuse().await;
                }
            },
        }
    }
}

/// The pump of the client's data.
struct DataPump<'a> {
    inbox: &'a Inbox,
    audit: &'a Recorder,
    carried: &'a CarriedBytes,
    terminal: bool,
    ended: bool,
}

impl DataPump<'_> {
    async fn run(&mut self, input: &mut dyn ProgramInput) -> Infallible {
        loop {
            let taken = self.take().await;
            // What came before this data, and was not seen yet, has its turn first.
            yield_now().await;
            if self.give(input, taken).await.is_err() {
                return self.refuse().await;
            }
        }
    }

    /// Waits for the next data; for ever behind the end. Cancel-safe.
    async fn take(&self) -> InboxItem {
        if self.ended { pending().await } else { self.inbox.take().await }
    }

    async fn give(&mut self, input: &mut dyn ProgramInput, taken: InboxItem) -> Result<(), InputClosed> {
        match taken {
            InboxItem::Data(data) => {
                recorded(self.audit, DataStream::Stdin, &data).await;
                let length = data.len() as u64;
                input.write(data).await.inspect(|()| self.carried.add_to_guest(length))
            }
            InboxItem::End => {
                self.ended = true;
                // A terminal has no end of input: the user types Ctrl-D there. OpenSSH's sshd does the same.
                if self.terminal { Ok(()) } else { input.close().await }
            }
        }
    }

    async fn refuse(&self) -> Infallible {
        self.inbox.refuse();
        pending().await
    }
}

/// The next thing for a program beside its data.
enum Command {
    Resize(Size),
    Signal(Permit<SendSignal>),
}

impl Commands<'_> {
    async fn run(&mut self, control: &mut dyn ProgramControl) -> Infallible {
        loop {
            let command = self.next().await;
            // A program that takes none is about to end; its exit tells.
            let _ended = self.deliver(command, control).await;
        }
    }

    /// Waits for the next command. Cancel-safe.
    async fn next(&mut self) -> Command {
        tokio::select! {
            biased;
            Ok(()) = self.size.changed() => Command::Resize(*self.size.borrow_and_update()),
            Some(signal) = self.signals.recv() => Command::Signal(signal),
            else => pending().await,
        }
    }

    async fn deliver(&self, command: Command, control: &mut dyn ProgramControl) -> Result<(), InputClosed> {
        match command {
            Command::Resize(size) => match self.audit.record(Event::Resized { size }) {
                Ok(()) => control.resize(size).await,
                // The connection is about to end.
                Err(_unrecorded) => Ok(()),
            },
            Command::Signal(signal) => {
                self.signal(control, signal).await;
                Ok(())
            }
        }
    }

    async fn signal(&self, control: &mut dyn ProgramControl, signal: Permit<SendSignal>) {
        if self.audit.record_effect(Event::Signalled { name: &signal.request().name }).await.is_err() {
            return;
        }
        if let Err(refusal) = control.signal(signal).await {
            self.audit.note(Event::SignalRefused { refusal: &refusal });
        }
    }
}

/// The control of a program that has none beside its input.
struct ThroughInput<'a>(&'a mut dyn ProgramInput);

impl ProgramControl for ThroughInput<'_> {
    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.0.resize(size)
    }

    fn signal(&mut self, signal: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        self.0.signal(signal)
    }
}
