//! A container that is ready for programs, and the helper programs that the gateway starts in it: one that writes a file,
//! and the probes for the tools of its image, run once an image.

use crate::guest::{Exit, OutputEvent, Program, Refusal};
use crate::kubernetes::api::client::ClusterClient;
use crate::kubernetes::api::exec::{ExecError, ExecRequest, ExecVerb};
use crate::kubernetes::api::pods::{ApiError, LogStream, PodApi};
use crate::kubernetes::pod::wait;
use crate::program::command_line::{ExecCommand, ImageTools};
use crate::program::confirmed_end::{ExitWitness, confirm_end};
use crate::program::probes;
use crate::program::shell_start::prove_by_runtime;
use crate::types::{ContainerName, PodName, Size, printable, time_text};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;

/// Limit of the images that are remembered.
const REMEMBERED: usize = 1024;

/// Limit of a helper's output that is kept for the log, in bytes.
const KEPT_OUTPUT: usize = 512;

/// A container that programs can start in.
pub(crate) struct ReadyContainer {
    client: Arc<ClusterClient>,
    api: Arc<PodApi>,
    pod: PodName,
    container: ContainerName,
    /// The container's restart count when it became ready.
    restarts: i32,
    tools: OnceLock<ImageTools>,
}

impl std::fmt::Debug for ReadyContainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadyContainer({}/{}/{})", self.api.namespace(), self.pod, self.container)
    }
}

/// Knowledge of images, by the image's id, which names its content, and by all else that it depends on.
#[derive(Debug, Default)]
pub(crate) struct Images {
    tools: Mutex<HashMap<String, ImageTools>>,
    agents: Mutex<HashMap<String, AgentWay>>,
}

impl Images {
    fn tools(&self, key: &str) -> Option<ImageTools> {
        self.tools.lock().get(key).copied()
    }

    fn remember_tools(&self, key: String, tools: ImageTools) {
        remember(&mut self.tools.lock(), key, tools);
    }

    /// The way by which the agent comes into an image's containers, if it is known.
    pub(crate) fn agent(&self, key: &str) -> Option<AgentWay> {
        self.agents.lock().get(key).copied()
    }

    /// Remembers the way of an image's agent; returns false if it was known.
    pub(crate) fn remember_agent(&self, key: String, way: AgentWay) -> bool {
        remember(&mut self.agents.lock(), key, way) != Some(way)
    }
}

/// Remembers a value, and returns what was in its place.
fn remember<T>(known: &mut HashMap<String, T>, key: String, value: T) -> Option<T> {
    if known.len() >= REMEMBERED && !known.contains_key(&key) {
        known.clear();
    }
    known.insert(key, value)
}

/// The way that an agent came into the containers of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgentWay {
    /// It is at `agentPath` in the image.
    Image,
    /// An init container copied it (`agentImage`).
    Copied,
    /// The gateway brings it (`agentPush`).
    Pushed,
    /// ContainerSSH's agent is at `agentPath`.
    ContainerSsh,
    /// There is none.
    None,
}

/// The end of a helper program.
pub(crate) struct HelperResult {
    pub(crate) exit: Exit,
    /// The beginning of its output, printable.
    pub(crate) output: String,
}

impl ReadyContainer {
    pub(crate) fn new(
        client: Arc<ClusterClient>,
        api: Arc<PodApi>,
        pod: PodName,
        container: ContainerName,
        restarts: i32,
    ) -> Self {
        Self { client, api, pod, container, restarts, tools: OnceLock::new() }
    }

    pub(crate) fn pod(&self) -> &PodName {
        &self.pod
    }

    /// The tools of the image; all of them if the probes failed.
    pub(crate) fn tools(&self) -> ImageTools {
        self.tools.get().copied().unwrap_or(ImageTools { env: true, sh: true })
    }

    /// Starts a user's program in the container, on a terminal of that size if it has one, within `limit`.
    pub(crate) async fn exec(
        self: &Arc<Self>,
        command: ExecCommand,
        terminal: Option<Size>,
        limit: Duration,
    ) -> Result<Program, Refusal> {
        let witness = if command.shell.is_some() { ExitWitness::Wrapper } else { ExitWitness::Runtime };
        let starting = async {
            let program = self.open(ExecVerb::Exec, &command.argv, terminal, limit).await?;
            match command.shell {
                Some(shell) => shell.finish(program).await,
                None if command.proven => prove_by_runtime(program).await,
                None => Ok(program),
            }
        };
        let late = || Err(ExecError::Timeout(limit).into());
        let program = timeout(limit, starting).await.unwrap_or_else(|_elapsed| late())?;
        Ok(self.confirm_end(program, witness))
    }

    /// Holds back an end of the program that may be the container's until it is known whether the container lives.
    pub(crate) fn confirm_end(self: &Arc<Self>, program: Program, witness: ExitWitness) -> Program {
        let container = Arc::clone(self);
        confirm_end(program, witness, move |within| {
            let container = Arc::clone(&container);
            async move { container.lives(within).await }
        })
    }

    /// Reports if the container runs: a program starts in it within that time, and the container is still the one that
    /// became ready. A kubelet starts the next one of a pod that restarts in less time.
    pub(crate) async fn lives(&self, within: Duration) -> bool {
        self.starts_programs(within).await && self.is_same_run().await
    }

    async fn is_same_run(&self) -> bool {
        let pod = self.api.get(&self.pod).await;
        pod.is_ok_and(|pod| pod.is_some_and(|pod| wait::is_same_run(&pod, &self.container, self.restarts)))
    }

    async fn starts_programs(&self, within: Duration) -> bool {
        match self.tools.get() {
            Some(ImageTools { sh: false, .. }) => self.probe(&probes::missing_program(), within).await == Some(127),
            Some(_) => self.probe(&probes::life_probe(), within).await == Some(probes::ALIVE),
            // Nobody has looked whether it has a shell.
            None => matches!(self.probe(&probes::life_probe(), within).await, Some(probes::ALIVE | 126 | 127)),
        }
    }

    /// Starts a program of ours, without a terminal.
    pub(crate) async fn helper(&self, argv: &[String], within: Duration) -> Result<Program, ExecError> {
        self.open(ExecVerb::Exec, argv, None, within).await
    }

    /// Attaches to the container's main process, on a terminal of that size if it has one.
    pub(crate) async fn attach(&self, size: Option<Size>, start: Duration) -> Result<Program, ExecError> {
        self.open(ExecVerb::Attach, &[], size, start).await
    }

    async fn open(
        &self,
        verb: ExecVerb,
        argv: &[String],
        tty: Option<Size>,
        start: Duration,
    ) -> Result<Program, ExecError> {
        let (namespace, pod, container) = (self.api.namespace(), &self.pod, &self.container);
        let request = ExecRequest { verb, namespace, pod, container, argv, tty };
        Ok(self.client.exec(&request, start).await?.into_program())
    }

    /// The container's output, to its end.
    pub(crate) async fn log(&self) -> Result<LogStream, ApiError> {
        self.api.log(&self.pod, &self.container).await
    }

    /// Writes a file, readable by its owner alone; `within` bounds the start and then the writing.
    pub(crate) async fn write_file(&self, path: &str, content: Bytes, within: Duration) -> Result<(), Refusal> {
        let shown = printable(path, 200);
        let failed = |detail: String| Refusal::new(format!("the file {shown} cannot be written")).detail(detail);
        if path.is_empty() || path.contains('\0') {
            return Err(failed("the path is empty or has a NUL".to_owned()));
        }
        let result = self.run_helper(&probes::write_file(path), content, within).await.map_err(|refusal| {
            let detail = refusal.detail.unwrap_or_default();
            failed(format!("{} {detail}", refusal.reason))
        })?;
        match result.exit {
            Exit::Status(probes::WRITTEN) => Ok(()),
            Exit::Status(126 | 127) => Err(failed("the image has no sh or no cat".to_owned())),
            Exit::Status(status) => Err(failed(format!("sh ended with status {status}: {}", result.output))),
            Exit::Signal { name, .. } => Err(failed(format!("sh was ended by SIG{name}: {}", result.output))),
            Exit::Lost(refusal) => Err(failed(format!("{} {}", refusal.reason, refusal.detail.unwrap_or_default()))),
        }
    }

    /// Probes the image for its tools, unless they are known.
    pub(crate) async fn look_for_tools(&self, images: &Images, key: Option<String>, within: Duration) {
        if self.tools.get().is_some() {
            return;
        }
        let known = key.as_deref().and_then(|key| images.tools(key));
        let Some(tools) = (match known {
            Some(tools) => Some(tools),
            None => self.find_tools(within).await,
        }) else {
            return;
        };
        let _already_known = self.tools.set(tools);
        if let (Some(key), None) = (key, known) {
            images.remember_tools(key, tools);
        }
    }

    async fn find_tools(&self, within: Duration) -> Option<ImageTools> {
        match self.probe(&probes::tools_probe(), within).await? {
            probes::SH_AND_ENV => Some(ImageTools { env: true, sh: true }),
            probes::SH_ALONE => Some(ImageTools { env: false, sh: true }),
            126 | 127 => match self.probe(&probes::env_probe(), within).await? {
                0 => Some(ImageTools { env: true, sh: false }),
                126 | 127 => Some(ImageTools { env: false, sh: false }),
                _strange => None,
            },
            _strange => None,
        }
    }

    /// Runs a helper program; the result is its exit status, or that of its refusal.
    async fn probe(&self, argv: &[String], within: Duration) -> Option<u8> {
        match self.run_helper(argv, Bytes::new(), within).await {
            Ok(HelperResult { exit: Exit::Status(status), .. }) => Some(status),
            Ok(HelperResult { exit: Exit::Signal { .. }, .. }) => None,
            Ok(HelperResult { exit: Exit::Lost(refusal), .. }) | Err(refusal) => Some(refusal.status()),
        }
    }

    /// Runs a helper program to its end, with `input` on its standard input.
    pub(crate) async fn run_helper(
        &self,
        argv: &[String],
        input: Bytes,
        within: Duration,
    ) -> Result<HelperResult, Refusal> {
        let program = self.helper(argv, within).await?;
        let late = Refusal::new(format!("no end within {}", time_text(within)));
        timeout(within, to_its_end(program, input)).await.map_err(|_| late)
    }
}

/// Writes a program's input and collects its output at the same time, so that neither side waits for the other.
async fn to_its_end(program: Program, content: Bytes) -> HelperResult {
    let Program { mut input, mut output } = program;
    let feed = async move {
        let written = if content.is_empty() { Ok(()) } else { input.write(content.into()).await };
        if written.is_ok() {
            // The exit tells the result of an input that failed.
            let _closed = input.close().await;
        }
        input
    };
    let listen = async move {
        let mut collected = Vec::new();
        loop {
            match output.next().await {
                OutputEvent::Stdout(piece) | OutputEvent::Stderr(piece) => {
                    let room = KEPT_OUTPUT.saturating_sub(collected.len());
                    collected.extend_from_slice(&piece[..piece.len().min(room)]);
                }
                OutputEvent::End => {}
                OutputEvent::Exit(exit) => {
                    return HelperResult { exit, output: printable(&String::from_utf8_lossy(&collected), 200) };
                }
            }
        }
    };
    // The exit ends it, even where the program never took all of its input.
    let mut feed = std::pin::pin!(feed);
    let mut listen = std::pin::pin!(listen);
    tokio::select! {
        result = &mut listen => result,
        _input = &mut feed => listen.await,
    }
}
