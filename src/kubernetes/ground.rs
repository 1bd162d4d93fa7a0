//! A container that is ready, and what runs in it by itself: the writing of a file, and the question which programs of
//! the image can help us, asked once an image.

use super::api::{ApiError, LogStream, PodApi};
use super::argv;
use super::client::ClusterClient;
use super::end;
use super::exec::{AttachRequest, ExecError, ExecRequest};
use super::opening::Opening;
use super::witness::Witness;
use crate::guest::{Exit, Program, Refusal, Said};
use crate::policy::Terminal;
use crate::types::{ContainerName, PodName, Size, printable, time_text};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// How many images' answers are remembered.
const REMEMBERED: usize = 1024;

/// How much of what a helper prints is kept for the log, in bytes.
const KEPT_OUTPUT: usize = 512;

/// The container.
pub(super) struct Ground {
    client: Arc<ClusterClient>,
    api: Arc<PodApi>,
    pod: PodName,
    container: ContainerName,
    tools: OnceLock<Tools>,
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ground({}/{}/{})", self.api.namespace(), self.pod, self.container)
    }
}

/// What an image has that we make use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tools {
    /// `env`, which sets a program's variables.
    pub(super) env: bool,
    /// `/bin/sh`, which can be a program's [witness](super::witness).
    sh: bool,
}

/// The tools of images. An image's id names its content, and what else decides whether a program is found is part of the
/// key.
#[derive(Debug, Default)]
pub(super) struct Images {
    known: Mutex<HashMap<String, Tools>>,
}

impl Images {
    fn get(&self, key: &str) -> Option<Tools> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn remember(&self, key: String, tools: Tools) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, tools);
    }
}

/// How a helper ended.
struct Helped {
    exit: Exit,
    output: String,
}

impl Ground {
    pub(super) fn new(client: Arc<ClusterClient>, api: Arc<PodApi>, pod: PodName, container: ContainerName) -> Self {
        Self { client, api, pod, container, tools: OnceLock::new() }
    }

    pub(super) fn pod(&self) -> &PodName {
        &self.pod
    }

    /// What the image has; where that could not be found out, everything.
    pub(super) fn tools(&self) -> Tools {
        self.tools.get().copied().unwrap_or(Tools { env: true, sh: true })
    }

    /// Starts a user's program in the container, on a terminal where it gets one, within `start`. Where the image has a
    /// shell, it runs under a [witness](super::witness), the terminal has its modes, and the command line may be a long one.
    pub(super) async fn run(
        self: &Arc<Self>,
        line: &argv::Line,
        terminal: Option<&Terminal>,
        start: Duration,
    ) -> Result<Program, Refusal> {
        let size = terminal.map(|terminal| terminal.size);
        let sh = self.tools().sh;
        let program = if sh {
            let witness = Witness::new();
            let opening = Opening::new(line, terminal.map(|terminal| &terminal.modes), &witness)?;
            let starting = async {
                let program = self.exec(&opening.argv, size, start).await?;
                opening.lead(program).await
            };
            let late = || Err(ExecError::Timeout(start).into());
            let program = timeout(start, starting).await.unwrap_or_else(|_elapsed| late())?;
            witness.heard(program, size.is_some())
        } else {
            self.exec(&line.argv, size, start).await?
        };
        Ok(end::certain(program, Arc::clone(self), sh))
    }

    /// Tells if the container runs: a program starts in it within that time.
    pub(super) async fn lives(&self, within: Duration) -> bool {
        if self.tools().sh {
            self.ask(&argv::life_probe(), within).await == Some(argv::ALIVE)
        } else {
            self.ask(&argv::nothing(), within).await == Some(127)
        }
    }

    /// Starts a program. Its end is the API server's word, which is a success too where the stream was cut.
    async fn exec(&self, argv: &[String], size: Option<Size>, start: Duration) -> Result<Program, Refusal> {
        let request = ExecRequest {
            namespace: self.api.namespace(),
            pod: &self.pod,
            container: &self.container,
            argv,
            tty: size,
            stdin: true,
        };
        self.client.exec(request, start).await.map_err(Refusal::from)
    }

    /// Attaches to the container's main process; `size` says that it has a terminal.
    pub(super) async fn attach(&self, size: Option<Size>, start: Duration) -> Result<Program, ExecError> {
        let request = AttachRequest {
            namespace: self.api.namespace(),
            pod: &self.pod,
            container: &self.container,
            tty: size,
            stdin: true,
        };
        self.client.attach(request, start).await
    }

    /// What the container has written, to its end.
    pub(super) async fn log(&self) -> Result<LogStream, ApiError> {
        self.api.log(&self.pod, &self.container).await
    }

    /// Writes a file, readable by its owner alone; `within` bounds the start and then the writing.
    pub(super) async fn write_file(&self, path: &str, content: Bytes, within: Duration) -> Result<(), Refusal> {
        let shown = printable(path, 200);
        let failed = |detail: String| Refusal::new(format!("the file {shown} cannot be written")).detail(detail);
        if path.is_empty() || path.contains('\0') {
            return Err(failed("the path is empty or has a NUL".to_owned()));
        }
        let helped = self.help(&argv::write_file(path), content, within).await.map_err(|refusal| {
            let detail = refusal.detail.unwrap_or_default();
            failed(format!("{} {detail}", refusal.reason))
        })?;
        match helped.exit {
            Exit::Status(argv::WRITTEN) => Ok(()),
            Exit::Status(126 | 127) => Err(failed("the image has no sh or no cat".to_owned())),
            Exit::Status(status) => Err(failed(format!("sh ended with status {status}: {}", helped.output))),
            Exit::Signal { name, .. } => Err(failed(format!("sh was ended by SIG{name}: {}", helped.output))),
            Exit::Lost(refusal) => Err(failed(format!("{} {}", refusal.reason, refusal.detail.unwrap_or_default()))),
        }
    }

    /// Finds out what the image has.
    pub(super) async fn look_for_tools(&self, images: &Images, key: Option<String>, within: Duration) {
        let known = key.as_deref().and_then(|key| images.get(key));
        let Some(tools) = (match known {
            Some(tools) => Some(tools),
            None => self.find_tools(within).await,
        }) else {
            return;
        };
        let _already_known = self.tools.set(tools);
        if let (Some(key), None) = (key, known) {
            images.remember(key, tools);
        }
    }

    async fn find_tools(&self, within: Duration) -> Option<Tools> {
        match self.ask(&argv::tools_probe(), within).await? {
            argv::SH_AND_ENV => Some(Tools { env: true, sh: true }),
            argv::SH_ALONE => Some(Tools { env: false, sh: true }),
            126 | 127 => match self.ask(&argv::env_probe(), within).await? {
                0 => Some(Tools { env: true, sh: false }),
                126 | 127 => Some(Tools { env: false, sh: false }),
                _strange => None,
            },
            _strange => None,
        }
    }

    /// The status that a program of ours ends with, or that says why it does not start.
    async fn ask(&self, argv: &[String], within: Duration) -> Option<u8> {
        match self.help(argv, Bytes::new(), within).await {
            Ok(Helped { exit: Exit::Status(status), .. }) => Some(status),
            Ok(Helped { exit: Exit::Signal { .. }, .. }) => None,
            Ok(Helped { exit: Exit::Lost(refusal), .. }) | Err(refusal) => Some(refusal.status),
        }
    }

    /// Runs a program of ours to its end, with that on its standard input.
    async fn help(&self, argv: &[String], input: Bytes, within: Duration) -> Result<Helped, Refusal> {
        let program = self.exec(argv, None, within).await?;
        let late = Refusal::new(format!("no end within {}", time_text(within)));
        timeout(within, to_its_end(program, input)).await.map_err(|_| late)
    }
}

/// Feeds a program and collects what it says at the same time, so that neither side waits for the other.
async fn to_its_end(program: Program, content: Bytes) -> Helped {
    let Program { mut input, mut output } = program;
    let feed = async move {
        let written = if content.is_empty() { Ok(()) } else { input.write(content.into()).await };
        if written.is_ok() {
            // Whatever is wrong with the input, the exit tells what came of it.
            let _closed = input.close().await;
        }
        input
    };
    let listen = async move {
        let mut said = Vec::new();
        loop {
            match output.next().await {
                Said::Stdout(piece) | Said::Stderr(piece) => {
                    let room = KEPT_OUTPUT.saturating_sub(said.len());
                    said.extend_from_slice(&piece[..piece.len().min(room)]);
                }
                Said::Exit(exit) => return Helped { exit, output: printable(&String::from_utf8_lossy(&said), 200) },
            }
        }
    };
    // The exit ends it, even where the program never took all of its input.
    let mut feed = std::pin::pin!(feed);
    let mut listen = std::pin::pin!(listen);
    tokio::select! {
        helped = &mut listen => helped,
        _input = &mut feed => listen.await,
    }
}
