//! ContainerSSH's agent in an image, used by its command line: it writes files, tells a program's process id
//! (`console --pid`), to which signals are then sent, and forwards connections (`forward-server`).
//!
//! The process id comes as four bytes, little endian, before the program's first byte of output, perhaps in parts, and on a
//! terminal with each newline among them behind a carriage return. It may never come. Four bytes that are no process id are
//! the program's.

mod exchange;
mod forward_server;
mod forwards;
mod packet;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use exchange::fuzz;

use super::AgentDelivery;
use super::carrier::exit_text;
use crate::guest::{Exit, InputClosed, OutputEvent, Program, ProgramInput, ProgramOutput, Refusal};
use crate::kubernetes::pod::container::ReadyContainer;
use crate::policy::{Permit, SendSignal};
use crate::shutdown::Tasks;
use crate::telemetry::ConnectionLog;
use crate::types::{Size, printable};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The greatest process id of Linux (`PID_MAX_LIMIT`).
const PID_MAX: u32 = 4 * 1024 * 1024;
/// Bytes of a process id.
const PID: usize = 4;

/// ContainerSSH's agent in one container.
#[derive(Clone)]
pub(crate) struct ContainerSshAgent {
    container: Arc<ReadyContainer>,
    path: Arc<str>,
    /// The tasks of its forwards.
    tasks: Tasks,
    log: ConnectionLog,
    /// The limit of a start, and of the answer that follows.
    within: Duration,
}

impl ContainerSshAgent {
    pub(super) fn new(delivery: &AgentDelivery, path: &str) -> Self {
        let AgentDelivery { container, backend, log, within, .. } = delivery;
        Self {
            container: Arc::clone(container),
            path: path.into(),
            tasks: backend.tasks.clone(),
            log: log.clone(),
            within: *within,
        }
    }

    /// Its path in the container.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Writes a file, readable by its owner alone; `within` bounds the start and then the writing.
    pub(crate) async fn write_file(&self, path: &str, content: Bytes, within: Duration) -> Result<(), Refusal> {
        let argv = [&*self.path, "write-file", path].map(str::to_owned);
        let failed = |detail: String| {
            Refusal::new(format!("the file {} cannot be written", printable(path, 200))).detail(detail)
        };
        match self.container.run_helper(&argv, content, within).await {
            Ok(result) if result.exit == Exit::Status(0) => Ok(()),
            Ok(result) => Err(failed(format!("{}: {}", exit_text(&result.exit), result.output))),
            Err(refusal) => Err(failed(refusal.reason)),
        }
    }

    /// Makes signals reach a program that was started by `console --pid`; each has `within` for its exec.
    pub(crate) fn with_signals(&self, program: Program, terminal: bool, within: Duration) -> Program {
        let (told, pid) = watch::channel(None);
        let input = SignalledInput { inner: program.input, agent: self.clone(), pid, within };
        let output = PidOutput::new(program.output, told, terminal);
        Program { input: Box::new(input), output: Box::new(output) }
    }

    async fn signal(&self, pid: u32, name: &str, within: Duration) -> Result<(), Refusal> {
        let argv = [&*self.path, "signal", "--pid", &pid.to_string(), "--signal", name].map(str::to_owned);
        let result = self.container.run_helper(&argv, Bytes::new(), within).await?;
        if result.exit == Exit::Status(0) {
            return Ok(());
        }
        let detail = format!("{}: {}", exit_text(&result.exit), result.output);
        Err(Refusal::new("the agent did not send the signal").detail(detail))
    }
}

struct SignalledInput {
    inner: Box<dyn ProgramInput>,
    agent: ContainerSshAgent,
    pid: watch::Receiver<Option<u32>>,
    within: Duration,
}

impl ProgramInput for SignalledInput {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.inner.write(data)
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.inner.close()
    }

    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.inner.resize(size)
    }

    fn signal(&mut self, signal: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let pid = self.pid.wait_for(Option::is_some).await.ok().and_then(|pid| *pid);
            let pid = pid.ok_or_else(|| Refusal::new("the agent did not tell the program's process id"))?;
            self.agent.signal(pid, &signal.spend().name, self.within).await
        })
    }
}

/// The output of a program behind its process id.
struct PidOutput {
    inner: Box<dyn ProgramOutput>,
    /// The first bytes, until they are a process id or not.
    first: Option<BytesMut>,
    /// The event behind the first bytes.
    held: Option<OutputEvent>,
    /// Dropped once nobody will tell a process id any more.
    told: watch::Sender<Option<u32>>,
    terminal: bool,
}

/// The state of the first bytes.
#[derive(Debug, PartialEq, Eq)]
enum FirstBytes {
    /// Too few to tell.
    Incomplete,
    /// A process id in so many bytes.
    Pid(u32, usize),
    /// No process id.
    Other,
}

/// Reads a process id.
fn read_pid(bytes: &[u8], terminal: bool) -> FirstBytes {
    let (mut pid, mut found, mut at) = ([0; PID], 0, 0);
    while found < PID {
        let Some(&byte) = bytes.get(at) else { return FirstBytes::Incomplete };
        // The terminal wrote a carriage return before a newline.
        let pair = terminal && byte == b'\r';
        let newline = match bytes.get(at + 1) {
            None if pair => return FirstBytes::Incomplete,
            next => pair && next == Some(&b'\n'),
        };
        pid[found] = if newline { b'\n' } else { byte };
        (found, at) = (found + 1, at + if newline { 2 } else { 1 });
    }
    match u32::from_le_bytes(pid) {
        pid @ 1..=PID_MAX => FirstBytes::Pid(pid, at),
        _ => FirstBytes::Other,
    }
}

impl PidOutput {
    fn new(inner: Box<dyn ProgramOutput>, told: watch::Sender<Option<u32>>, terminal: bool) -> Self {
        Self { inner, first: Some(BytesMut::new()), held: None, told, terminal }
    }

    fn take(&mut self, event: OutputEvent) -> Option<OutputEvent> {
        let Some(first) = &mut self.first else { return Some(event) };
        match event {
            OutputEvent::Stdout(data) => {
                first.extend_from_slice(&data);
                let taken = match read_pid(first, self.terminal) {
                    FirstBytes::Incomplete => return None,
                    FirstBytes::Pid(pid, length) => {
                        self.told.send_replace(Some(pid));
                        length
                    }
                    FirstBytes::Other => 0,
                };
                first.advance(taken);
                let rest = self.first.take().unwrap_or_default().freeze();
                (!rest.is_empty()).then_some(OutputEvent::Stdout(rest))
            }
            OutputEvent::End | OutputEvent::Exit(_) => {
                let rest = self.first.take().unwrap_or_default().freeze();
                if rest.is_empty() {
                    return Some(event);
                }
                self.held = Some(event);
                Some(OutputEvent::Stdout(rest))
            }
            event @ OutputEvent::Stderr(_) => Some(event),
        }
    }
}

impl ProgramOutput for PidOutput {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async move {
            loop {
                let event = match self.held.take() {
                    Some(event) => event,
                    None => self.inner.next().await,
                };
                if let Some(event) = self.take(event) {
                    return event;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_id_is_read_in_parts_and_through_a_terminal_and_nothing_else_is_one() {
        for (bytes, terminal, expected) in [
            (&[7, 0, 0][..], false, FirstBytes::Incomplete),
            (&[7, 0, 0, 0], false, FirstBytes::Pid(7, 4)),
            (&[13, 10, 0, 0, 0], true, FirstBytes::Pid(10, 5)),
            (&[13, 13, 10, 0, 0], true, FirstBytes::Pid(0x0A0D, 5)),
            (&[13], true, FirstBytes::Incomplete),
            (&[13, 1, 0, 0], true, FirstBytes::Pid(0x010D, 4)),
            (&[13, 10, 0, 0], false, FirstBytes::Pid(0x0A0D, 4)),
            (&[0, 0, 64, 0], false, FirstBytes::Pid(PID_MAX, 4)),
            (&[0, 0, 0, 0], false, FirstBytes::Other),
            (&[1, 0, 64, 0], false, FirstBytes::Other),
            (b"podgate: sh: not found", true, FirstBytes::Other),
        ] {
            assert_eq!(read_pid(bytes, terminal), expected, "{bytes:?}");
        }
    }
}
