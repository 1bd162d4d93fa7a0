//! One run of one container: its first process, that process's streams, and the end of everything in it. When the first
//! process ends, every other process of the container is killed before the end is announced.

use crate::node::container_log::ContainerLog;
use crate::objects::time;
use crate::process::sweep::{self, ProcessMark};
use crate::process::{self, InputPipe, Io, ProgramLaunch, ProgramStreams, RunningProgram, SpawnError};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use pty_process::OwnedWritePty;
use rustix::process::{Pid, Signal};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

/// Bytes read from a container's output at a time.
const CHUNK: usize = 32 << 10;

/// End of a run, as in `state.terminated`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Termination {
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) started: String,
    pub(crate) finished: String,
}

/// The writing end of a program's input.
#[derive(Debug)]
pub(crate) enum Stdin {
    Closed,
    Pipe(InputPipe),
    Terminal(OwnedWritePty),
}

impl Stdin {
    /// Writes all of it, which never ends where the program has left too much unread.
    pub(crate) async fn write(&mut self, data: &[u8]) {
        let written = match self {
            Self::Closed => Ok(()),
            Self::Pipe(pipe) => pipe.write.write_all(data).await,
            Self::Terminal(terminal) => terminal.write_all(data).await,
        };
        if written.is_err() && matches!(self, Self::Pipe(_)) {
            *self = Self::Closed;
        }
    }

    /// End of file; a terminal has none.
    pub(crate) fn close(&mut self) {
        if matches!(self, Self::Pipe(_)) {
            *self = Self::Closed;
        }
    }

    /// Sets a terminal's size; anything else has none.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        if let Self::Terminal(terminal) = self {
            // The only failure is a terminal whose program has ended.
            let _ended = terminal.resize(pty_process::Size::new(rows, columns));
        }
    }
}

/// Output on its way to an attached client: the stream's channel number and the bytes.
pub(crate) type OutputChunk = (u8, Bytes);

/// A container that was started.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// The container's own launch, from which an exec is made; its argv is the container's.
    pub(crate) launch: ProgramLaunch,
    pub(crate) stdin_once: bool,
    pub(crate) stdin: tokio::sync::Mutex<Stdin>,
    pub(crate) log: ContainerLog,
    mark: ProcessMark,
    leader: Option<Pid>,
    /// None once the output has ended.
    listeners: Mutex<Option<Vec<mpsc::Sender<OutputChunk>>>>,
    doom: Mutex<Option<&'static str>>,
    /// True while programs may start. Held while one does, so that the sweep at the end finds every one.
    open: Mutex<bool>,
    ended: watch::Receiver<Option<Termination>>,
}

impl Container {
    /// Starts the first process and what looks after it.
    pub(crate) fn start(
        launch: ProgramLaunch,
        stdin_once: bool,
        mark: ProcessMark,
        tasks: &TaskTracker,
    ) -> Result<Arc<Self>, SpawnError> {
        let RunningProgram { child, pid, io } = process::spawn(&launch)?;
        let (stdin, outputs) = split(io);
        let (announce, ended) = watch::channel(None);
        let container = Arc::new(Self {
            id: new_id(),
            launch,
            stdin_once,
            stdin: tokio::sync::Mutex::new(stdin),
            log: ContainerLog::new(),
            mark,
            leader: pid,
            listeners: Mutex::new(Some(Vec::new())),
            doom: Mutex::new(None),
            open: Mutex::new(true),
            ended,
        });
        tasks.spawn(Arc::clone(&container).copy_outputs(outputs));
        tasks.spawn(Arc::clone(&container).supervise(child, announce));
        Ok(container)
    }

    async fn supervise(self: Arc<Self>, mut child: Child, announce: watch::Sender<Option<Termination>>) {
        let started = time::now();
        let status = child.wait().await;
        *self.open.lock() = false;
        let mark = self.mark.clone();
        // A failed join is a panic in the sweep; the end of the container is told all the same.
        let _swept = tokio::task::spawn_blocking(move || sweep::kill_all(&mark)).await;
        let exit_code = status.map_or(255, process::exit_code);
        let doom = *self.doom.lock();
        let reason = doom.unwrap_or(if exit_code == 0 { "Completed" } else { "Error" }).to_owned();
        let finished = time::now();
        announce.send_replace(Some(Termination { exit_code, reason, message: String::new(), started, finished }));
    }

    async fn copy_outputs(self: Arc<Self>, outputs: Outputs) {
        match outputs {
            Outputs::Pipes(stdout, stderr) => drop(tokio::join!(self.copy(stdout, 1), self.copy(stderr, 2))),
            Outputs::Terminal(terminal) => self.copy(terminal, 1).await,
        }
        self.log.finish();
        self.listeners.lock().take();
    }

    /// Every attached client gets every chunk before the next is read: a slow one holds the program back.
    async fn copy(&self, mut output: impl AsyncRead + Unpin, channel: u8) {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            // A terminal whose programs have all ended reads as an error.
            if !matches!(output.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
            let chunk = buffer.split().freeze();
            self.log.append(chunk.clone());
            let listeners = self.listeners.lock().clone().unwrap_or_default();
            for listener in listeners {
                // A client that has left is forgotten at the next attach.
                let _gone = listener.send((channel, chunk.clone())).await;
            }
        }
    }

    /// Everything written from now on; ends with the container's output.
    pub(crate) fn listen(&self) -> mpsc::Receiver<OutputChunk> {
        let (sender, receiver) = mpsc::channel(1);
        if let Some(listeners) = self.listeners.lock().as_mut() {
            listeners.retain(|listener| !listener.is_closed());
            listeners.push(sender);
        }
        receiver
    }

    /// Starts one more program in it; not where the first process has ended, even if that is not announced yet.
    pub(crate) fn exec(&self, launch: &ProgramLaunch) -> Result<RunningProgram, SpawnError> {
        let open = self.open.lock();
        if *open { process::spawn(launch) } else { Err(SpawnError::Ended) }
    }

    /// Asks the first process and its group to end.
    pub(crate) fn terminate(&self) {
        if let (Some(leader), None) = (self.leader, self.termination()) {
            process::signal_group(leader, Signal::TERM);
        }
    }

    /// Kills the first process, and with it the container; `doom` replaces the reason of its end.
    pub(crate) fn kill(&self, doom: Option<&'static str>) {
        if let (Some(leader), None) = (self.leader, self.termination()) {
            if doom.is_some() {
                *self.doom.lock() = doom;
            }
            process::signal_group(leader, Signal::KILL);
        }
    }

    /// The end of the run; none while it runs.
    pub(crate) fn termination(&self) -> Option<Termination> {
        self.ended.borrow().clone()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Termination {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await.map(|found| found.clone()) {
            Ok(Some(termination)) => termination,
            // The supervisor went away unheard: the cluster is stopping, and nobody will be told.
            _ => std::future::pending().await,
        }
    }

    pub(crate) fn has_terminal(&self) -> bool {
        self.launch.streams == ProgramStreams::Terminal
    }
}

enum Outputs {
    Pipes(Box<dyn AsyncRead + Unpin + Send>, Box<dyn AsyncRead + Unpin + Send>),
    Terminal(pty_process::OwnedReadPty),
}

fn split(io: Io) -> (Stdin, Outputs) {
    fn boxed(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> Box<dyn AsyncRead + Unpin + Send> {
        pipe.map_or_else(|| Box::new(tokio::io::empty()) as Box<dyn AsyncRead + Unpin + Send>, |pipe| Box::new(pipe))
    }
    match io {
        Io::Pipes { stdin, stdout, stderr } => {
            (stdin.map_or(Stdin::Closed, Stdin::Pipe), Outputs::Pipes(boxed(stdout), boxed(stderr)))
        }
        Io::Terminal { output, input } => (Stdin::Terminal(input), Outputs::Terminal(output)),
    }
}

/// 64 hexadecimal digits, as container runtimes name containers.
pub(crate) fn new_id() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}
