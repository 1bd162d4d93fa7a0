//! A conversation on one session channel: the client's steps, and the transcript in a notation that is the same for every
//! server.

use crate::support::peer::Peer;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Pty, Sig};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// The time limit for a conversation. A server that waits for ever is told by it.
const LIMIT: Duration = Duration::from_secs(60);
/// The longest output that is written out, in bytes.
const SHOWN: usize = 4000;
/// The folder of the test, in a command.
const FOLDER: &[u8] = b"@FOLDER";

/// One step of the client.
#[derive(Clone)]
pub enum Step {
    /// Sets a variable.
    Env(&'static str, &'static str),
    /// Asks for a terminal: columns, rows, modes.
    Terminal(u32, u32, &'static [(Pty, u32)]),
    /// Asks for the forwarding of an agent.
    Agent,
    /// Starts a command.
    Exec(Vec<u8>),
    /// Starts a shell.
    Shell,
    /// Starts a subsystem.
    Subsystem(&'static str),
    /// Sends input.
    Send(Vec<u8>),
    /// Ends the input.
    End,
    /// Sends a signal.
    Signal(&'static str),
    /// Sets the terminal's size: columns, rows.
    Resize(u32, u32),
    /// Waits until the standard output holds a text.
    Until(&'static str),
    /// Waits for the end of the output. A server that sends none before the exit is heard to its end.
    UntilEnd,
    /// Waits for the exit status.
    UntilExit,
    /// Closes the channel.
    Close,
}

/// A command as a step.
pub fn exec(command: impl Into<Vec<u8>>) -> Step {
    Step::Exec(command.into())
}

/// Input as a step.
pub fn send(input: impl Into<Vec<u8>>) -> Step {
    Step::Send(input.into())
}

/// The place of a conversation: what is not the same for every server.
pub struct Place {
    /// A folder of the test, `@FOLDER` in commands.
    pub folder: PathBuf,
    /// The server's port.
    pub port: u16,
}

/// Everything heard on a channel.
#[derive(Default)]
pub struct Transcript {
    /// The answers to requests, the exit and the close, in their order.
    events: Vec<String>,
    /// The number of answers among them.
    answers: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Set at the end of the output.
    ended: bool,
    /// Set at the exit status or signal.
    exited: bool,
    closed: bool,
    /// The server's port, which is the same in every transcript.
    port: u16,
}

impl Transcript {
    /// The transcript in one line. An end of the output stands right before the close: a server may send it before or after
    /// the exit status.
    pub fn shown(&self, numbers: bool) -> String {
        let mut shown = self.events.join(", ");
        for (name, bytes) in [("out", &self.stdout), ("err", &self.stderr)] {
            if !bytes.is_empty() {
                shown.push_str(&format!("; {name} {}", self.text(bytes, numbers)));
            }
        }
        shown
    }

    fn text(&self, bytes: &[u8], numbers: bool) -> String {
        if bytes.len() > SHOWN {
            return format!("{} bytes {:x?}", bytes.len(), &Sha256::digest(bytes)[..8]);
        }
        let text = bytes.escape_ascii().to_string().replace(&self.port.to_string(), "PORT");
        if numbers { alike(&text) } else { text }
    }

    fn answer(&mut self, answer: &str) {
        self.answers += 1;
        self.events.push(answer.to_owned());
    }

    fn note(&mut self, message: ChannelMsg) {
        match message {
            ChannelMsg::Data { data } => self.stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, .. } => self.stderr.extend_from_slice(&data),
            ChannelMsg::Success => self.answer("success"),
            ChannelMsg::Failure => self.answer("failure"),
            ChannelMsg::ExitStatus { exit_status } => {
                self.exited = true;
                self.events.push(format!("exit {exit_status}"));
            }
            ChannelMsg::ExitSignal { signal_name, core_dumped, .. } => {
                self.exited = true;
                let core = if core_dumped { " core" } else { "" };
                let name = match signal_name {
                    Sig::Custom(name) => name,
                    named => format!("{named:?}"),
                };
                self.events.push(format!("signal {name}{core}"));
            }
            ChannelMsg::Eof => self.ended = true,
            ChannelMsg::Close => {
                self.closed = true;
                self.events.push(if self.ended { "end, close" } else { "close" }.to_owned());
            }
            _ => {}
        }
    }
}

/// A text with one mark for every number.
fn alike(text: &str) -> String {
    let mut alike = String::new();
    for letter in text.chars() {
        if !letter.is_ascii_digit() {
            alike.push(letter);
        } else if !alike.ends_with('#') {
            alike.push('#');
        }
    }
    alike
}

/// Has a conversation until the channel is closed.
pub async fn converse(peer: &Peer, steps: &[Step], place: &Place) -> Transcript {
    let mut transcript = Transcript { port: place.port, ..Transcript::default() };
    let talking = async {
        let (reader, writer) = peer.session().await.split();
        let mut session = Session { reader, writer, transcript: &mut transcript };
        for step in steps {
            session.take(step, place).await;
        }
        session.hear(|heard| heard.closed).await;
    };
    if timeout(LIMIT, talking).await.is_err() {
        transcript.events.push("nothing more in time".to_owned());
    }
    if steps.iter().any(|step| matches!(step, Step::Shell)) {
        // The start-up files of this machine's user may complain of anything.
        transcript.stderr.clear();
    }
    transcript
}

/// A session channel with its transcript.
struct Session<'a> {
    reader: ChannelReadHalf,
    writer: ChannelWriteHalf<Msg>,
    transcript: &'a mut Transcript,
}

impl Session<'_> {
    /// Hears messages until something holds or the channel is closed.
    async fn hear(&mut self, until: impl Fn(&Transcript) -> bool) {
        while !until(self.transcript) && !self.transcript.closed {
            match self.reader.wait().await {
                Some(message) => self.transcript.note(message),
                None => break,
            }
        }
    }

    async fn take(&mut self, step: &Step, place: &Place) {
        let writer = &self.writer;
        let asked = match step {
            Step::Env(name, value) => writer.set_env(true, *name, *value).await,
            Step::Terminal(columns, rows, modes) => {
                writer.request_pty(true, "xterm-256color", *columns, *rows, 0, 0, modes).await
            }
            Step::Agent => writer.agent_forward(true).await,
            Step::Exec(command) => writer.exec(true, located(command, place)).await,
            Step::Shell => writer.request_shell(true).await,
            Step::Subsystem(name) => writer.request_subsystem(true, *name).await,
            _ => return self.act(step).await,
        };
        if asked.is_ok() {
            let answers = self.transcript.answers + 1;
            self.hear(|heard| heard.answers == answers).await;
        }
    }

    /// Takes a step that has no answer. That a server is gone already is told by what is heard.
    async fn act(&mut self, step: &Step) {
        let _ = match step {
            Step::Send(input) => {
                self.send(input).await;
                Ok(())
            }
            Step::End => self.writer.eof().await,
            Step::Signal(signal) => self.writer.signal(Sig::Custom((*signal).to_owned())).await,
            Step::Resize(columns, rows) => self.writer.window_change(*columns, *rows, 0, 0).await,
            Step::Close => {
                let closed = self.writer.close().await;
                // The library hears nothing of a channel that it closed itself.
                self.transcript.closed = true;
                closed
            }
            Step::Until(text) => {
                let found = |heard: &Transcript| heard.stdout.windows(text.len()).any(|part| part == text.as_bytes());
                self.hear(found).await;
                Ok(())
            }
            Step::UntilEnd => {
                self.hear(|heard| heard.ended).await;
                if !self.transcript.exited {
                    self.transcript.events.push("end before the exit".to_owned());
                }
                Ok(())
            }
            _ => {
                self.hear(|heard| heard.exited).await;
                Ok(())
            }
        };
    }

    /// Sends input, and hears what comes meanwhile: neither side waits for the other.
    async fn send(&mut self, input: &[u8]) {
        let Self { reader, writer, transcript } = self;
        let sending = writer.data_bytes(input.to_vec());
        tokio::pin!(sending);
        while !transcript.closed {
            tokio::select! {
                _ = &mut sending => break,
                message = reader.wait() => match message {
                    Some(message) => transcript.note(message),
                    None => break,
                },
            }
        }
    }
}

/// A command with the test's folder in it.
fn located(command: &[u8], place: &Place) -> Vec<u8> {
    let folder = place.folder.display().to_string();
    let mut rest = command;
    let mut located = Vec::new();
    while let Some(at) = rest.windows(FOLDER.len()).position(|part| part == FOLDER) {
        located.extend_from_slice(&rest[..at]);
        located.extend_from_slice(folder.as_bytes());
        rest = &rest[at + FOLDER.len()..];
    }
    located.extend_from_slice(rest);
    located
}
