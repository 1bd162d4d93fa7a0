//! Mode session: a pod for every program, which is the main process of its console container. The program's streams are
//! attached to; its status is the container's exit code, because an attach's own end says nothing of it.
//!
//! A program that we name is held by a [gate] until we are attached. The image's own program cannot be held:
//! where it wrote before, and nothing since, the container's log is given.

mod output;

use super::exec::ExecError;
use super::stage::{Stage, connection_ended};
use super::{Ask, Shared, argv, gate, pod, timed};
use crate::config::Level;
use crate::guest::{Exit, Guest, Input, InputClosed, Listener, Program, Refusal, State, Stream};
use crate::policy::{Dial, Launch, Listen, Permit};
use crate::telemetry::metrics::{Outcome, Step};
use crate::types::Size;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use output::{MainOutput, Pod};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// One connection's programs, each in a pod of its own.
pub(super) struct SingleGuests {
    shared: Arc<Shared>,
    ask: Ask,
    state: watch::Sender<State>,
    /// Cancelled when the connection is over.
    ended: CancellationToken,
    /// The tasks of the pods.
    pods: TaskTracker,
}

/// The hold of a program's two halves on its pod, which goes with the last of them.
pub(super) struct Hold(Arc<Stage>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

impl SingleGuests {
    pub(super) fn new(shared: Arc<Shared>, ask: Ask) -> Self {
        let state = watch::Sender::new(State::Ready);
        Self { shared, ask, state, ended: CancellationToken::new(), pods: TaskTracker::new() }
    }

    async fn start_program(
        &self,
        launch: Permit<Launch>,
        news: watch::Sender<Option<String>>,
    ) -> Result<Program, Refusal> {
        let launch = launch.spend();
        let main = argv::main(&launch, &self.ask.settings.pod)?;
        let stage = Arc::new(Stage::below(&self.ended));
        let hold = Hold(Arc::clone(&stage));
        let manifest = self.ask.manifest(&self.shared, pod::Runs::Program(&main));
        let life = self.ask.life(&self.shared, &stage).lead(manifest);
        self.shared.tasks.spawn(self.pods.track_future(life));
        tell(&stage, &news).await;
        let size = launch.terminal.map(|terminal| terminal.size);
        let program = self.attach(hold, main.command.is_some(), size).await?;
        Ok(timed::program(program, &self.ask.settings.timeouts, &self.ask.connection.log))
    }

    /// Attaches to the program of a pod that is there, within `commandStart`.
    async fn attach(&self, hold: Hold, held: bool, size: Option<Size>) -> Result<Program, Refusal> {
        let ground = hold.0.ready().await?;
        let timeouts = &self.ask.settings.timeouts;
        let log = &self.ask.connection.log;
        log.write(
            Level::Debug,
            "KUBERNETES_POD_ATTACH",
            "Attaching to the program",
            &[("podName", ground.pod().as_str())],
        );
        let starting = async {
            let program = ground.attach(size, timeouts.command_start).await;
            match program {
                Ok(program) if held => gate::open(program).await.map_err(Stop::Gate),
                program => program.map_err(Stop::Attach),
            }
        };
        let timer = log.metrics().step(Step::Exec);
        let started = timeout(timeouts.command_start, starting).await;
        let started = started.unwrap_or(Err(Stop::Attach(ExecError::Timeout(timeouts.command_start))));
        timer.end(if started.is_ok() { Outcome::Success } else { Outcome::Failed });
        let pod = Pod { ground, over: hold.0.over(), stop: timeouts.pod_stop };
        let hold = Arc::new(hold);
        match started {
            Ok(program) => {
                let input = MainInput { inner: program.input, _hold: Arc::clone(&hold) };
                let output = MainOutput::new(program.output, pod, hold, !held);
                Ok(Program { input: Box::new(input), output: Box::new(output) })
            }
            Err(stop) => {
                let refusal = stop.into();
                // The image's own program may have ended before.
                let output = match held {
                    true => return Err(output::why(pod, refusal).await),
                    false => MainOutput::after(refusal, pod, Arc::clone(&hold)).await?,
                };
                Ok(Program { input: Box::new(NoInput { _hold: hold }), output: Box::new(output) })
            }
        }
    }
}

/// Passes on what there is to know until the pod is there or never will be.
async fn tell(stage: &Stage, news: &watch::Sender<Option<String>>) {
    let mut state = stage.state();
    loop {
        match &*state.borrow_and_update() {
            State::Starting(text) => drop(news.send_replace(text.clone())),
            State::Ready | State::Gone(_) => return,
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Why there is no attached program.
enum Stop {
    Attach(ExecError),
    Gate(gate::Closed),
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Attach(error) => error.into(),
            Stop::Gate(gate::Closed::Ended(Exit::Lost(refusal)) | gate::Closed::Strange(refusal)) => refusal,
            Stop::Gate(gate::Closed::Ended(Exit::Status(_) | Exit::Signal { .. })) => {
                Self::new("the container ended before the program could start")
            }
        }
    }
}

impl Guest for SingleGuests {
    fn start(
        &self,
        launch: Permit<Launch>,
        news: watch::Sender<Option<String>>,
    ) -> BoxFuture<'_, Result<Program, Refusal>> {
        Box::pin(self.start_program(launch, news))
    }

    fn dial(&self, _dial: Permit<Dial>) -> BoxFuture<'_, Result<Box<dyn Stream>, Refusal>> {
        Box::pin(async { Err(no_pod("forwarding")) })
    }

    fn listen(&self, _listen: Permit<Listen>) -> BoxFuture<'_, Result<Box<dyn Listener>, Refusal>> {
        Box::pin(async { Err(no_pod("forwarding")) })
    }

    fn write_file(&self, _path: String, _content: Bytes) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Err(no_pod("writing a file")) })
    }

    fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.ended.cancel();
            self.state.send_replace(State::Gone(connection_ended()));
            self.pods.close();
            self.pods.wait().await;
        })
    }
}

impl Drop for SingleGuests {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

fn no_pod(what: &str) -> Refusal {
    Refusal::new(format!("{what} needs a pod beside the programs, which mode: session does not have"))
}

/// The way to the program.
struct MainInput {
    inner: Box<dyn Input>,
    _hold: Arc<Hold>,
}

impl Input for MainInput {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.inner.write(data)
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.inner.close()
    }

    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.inner.resize(size)
    }

    fn signal(&mut self, name: String) -> BoxFuture<'_, Result<(), Refusal>> {
        self.inner.signal(name)
    }
}

/// The way to a program that has ended.
struct NoInput {
    _hold: Arc<Hold>,
}

impl Input for NoInput {
    fn write(&mut self, _data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Err(InputClosed) })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Err(InputClosed) })
    }

    fn resize(&mut self, _size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Err(InputClosed) })
    }

    fn signal(&mut self, _name: String) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Err(Refusal::new("the program has ended")) })
    }
}
