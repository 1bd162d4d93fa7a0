//! The guest's agent in one container: the ways to have it there, and the link to it, which the whole connection shares.
//!
//! The ways are tried in a fixed order; the one that worked for an image is remembered, tried alone for its next container,
//! and anew with all others if it fails. A link that is lost is replaced at the next call. Nobody gets another link than the
//! last one, and [`GuestAgent::close`] ends it.

mod carrier;
pub(crate) mod containerssh;
pub(crate) mod file;
mod push;

use super::backend_parts::BackendParts;
use super::container::{AgentWay, ReadyContainer};
use super::manifest::copied_agent;
use crate::guest::{Exit, OutputBudget, Program, Refusal, RefusalKind};
use crate::kubernetes::api::exec::ExecError;
use crate::link::{self, AgentLink, ConnectError};
use crate::settings::PodSettings;
use crate::telemetry::{ConnectionLog, codes};
use crate::types::{printable, time_text};
use bytes::Bytes;
use carrier::carrier;
use containerssh::ContainerSshAgent;
use parking_lot::Mutex;
use push::PushError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// A word in the usage that ContainerSSH's agent prints to standard output, before it ends with 1, for a mode that it does not
/// know.
const USAGE: &[u8] = b"console";

impl AgentWay {
    /// The word for the log.
    fn word(self) -> &'static str {
        match self {
            Self::Image => "agentPath",
            Self::Copied => "agentImage",
            Self::Pushed => "agentPush",
            Self::ContainerSsh => "containerssh",
            Self::None => "none",
        }
    }
}

/// The agents that the settings of a pod allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedAgents {
    /// `agentPath`, in the image.
    pub(crate) path: String,
    /// The path of the agent that an init container copied.
    pub(crate) copied: Option<String>,
    /// `agentPush`: ours may be brought.
    pub(crate) push: bool,
}

impl AllowedAgents {
    /// `None` with `disableAgent`.
    pub(crate) fn of(pod: &PodSettings) -> Option<Self> {
        (!pod.disable_agent).then(|| {
            let copied = copied_agent(pod).map(str::to_owned);
            Self { path: pod.agent_path.clone(), copied, push: pod.agent_push }
        })
    }
}

/// The agent that a container's programs have.
#[derive(Clone)]
pub(crate) enum AgentAccess {
    /// Ours, over a link.
    Link(AgentLink),
    /// ContainerSSH's, by its command line.
    ContainerSsh(ContainerSshAgent),
    /// None: the exec API alone.
    None,
}

impl AgentAccess {
    /// Writes a file, readable by its owner alone; `within` bounds the start and then the writing.
    pub(crate) async fn write_file(
        &self,
        container: &ReadyContainer,
        path: &str,
        content: Bytes,
        within: Duration,
    ) -> Result<(), Refusal> {
        let link = match self {
            Self::Link(link) => link,
            Self::ContainerSsh(agent) => return agent.write_file(path, content, within).await,
            Self::None => return container.write_file(path, content, within).await,
        };
        let late = Refusal::new(format!("no end within {}", time_text(within)));
        let written = timeout(within, link.write_file(path, content)).await.unwrap_or(Err(late));
        written.map_err(|refusal| {
            let detail = format!("{} {}", refusal.reason, refusal.detail.unwrap_or_default());
            Refusal::new(format!("the file {} cannot be written", printable(path, 200))).detail(detail)
        })
    }
}

/// The container of an agent, and what the agent's delivery needs.
pub(crate) struct AgentDelivery {
    pub(crate) container: Arc<ReadyContainer>,
    /// The image as the pod names it, for the log.
    pub(crate) image: String,
    /// `None` with `disableAgent`.
    pub(crate) allowed: Option<AllowedAgents>,
    /// The key under which the image's way is remembered; `None` if it is not.
    pub(crate) agent_key: Option<String>,
    /// The same for the image's tools.
    pub(crate) tools_key: Option<String>,
    /// Set if the gateway made the pod, whose image may then be remembered as one without an agent.
    pub(crate) is_own: bool,
    pub(crate) backend: Arc<BackendParts>,
    pub(crate) log: ConnectionLog,
    /// The budget of the link's windows.
    pub(crate) output: OutputBudget,
    /// The limit of each way, from the start of its exec to the end of the handshake.
    pub(crate) within: Duration,
}

/// The agent of one container.
pub(crate) struct GuestAgent {
    delivery: AgentDelivery,
    /// Held while an agent is looked for or brought.
    looking: tokio::sync::Mutex<()>,
    state: Mutex<AgentState>,
    /// Set once programs of the user may have run: what is found then may be the user's doing, and says nothing of the image.
    is_used: AtomicBool,
}

enum AgentState {
    /// Nobody has looked yet, or a failure may have been a passing one.
    Unknown,
    Known(AgentAccess),
    Closed,
}

impl std::fmt::Debug for GuestAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GuestAgent")
    }
}

/// A way that did not lead to a link.
enum NoLink {
    /// It cannot in this image. The text is for the log.
    Never(String),
    /// ContainerSSH's agent is there.
    ContainerSsh,
    /// It may another time. The text is for the log.
    Now(String),
}

impl From<ExecError> for NoLink {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::NotStarted(refusal) => refusal.into(),
            error => Self::Now(error.to_string()),
        }
    }
}

impl From<Refusal> for NoLink {
    fn from(refusal: Refusal) -> Self {
        match refusal.kind {
            RefusalKind::NotFound | RefusalKind::NotExecutable => Self::Never(refusal.reason),
            RefusalKind::ContainerStopped | RefusalKind::Unanswered | RefusalKind::Other => Self::Now(refusal.reason),
        }
    }
}

impl From<PushError> for NoLink {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Ended(Exit::Lost(refusal)) => refusal.into(),
            PushError::Ended(Exit::Status(126 | 127)) => Self::Never("the image has no /bin/sh".to_owned()),
            error @ (PushError::Nowhere | PushError::Unusable | PushError::OtherMachine { .. }) => {
                Self::Never(error.to_string())
            }
            // A disk that is full, or a system that gives no process, says nothing of the image.
            error @ (PushError::Unwritten | PushError::Strange | PushError::Ended(_)) => Self::Now(error.to_string()),
        }
    }
}

impl GuestAgent {
    pub(crate) fn new(delivery: AgentDelivery) -> Self {
        Self {
            delivery,
            looking: tokio::sync::Mutex::default(),
            state: Mutex::new(AgentState::Unknown),
            is_used: AtomicBool::new(false),
        }
    }

    /// The container's agent, which the first call looks for or brings. A link that is lost is replaced. Dropping the future
    /// gives the attempt up.
    pub(crate) async fn access(&self) -> AgentAccess {
        if let Some(known) = self.known() {
            return known;
        }
        let _alone = self.looking.lock().await;
        if let Some(known) = self.known() {
            return known;
        }
        // Boxed, so that the memory of the attempt is free while the link stands.
        let (found, stays) = Box::pin(self.look()).await;
        let mut state = self.state.lock();
        match *state {
            AgentState::Closed => AgentAccess::None,
            AgentState::Unknown | AgentState::Known(_) => {
                *state = if stays { AgentState::Known(found.clone()) } else { AgentState::Unknown };
                found
            }
        }
    }

    /// Notes that programs of the user may run from now on.
    pub(crate) fn set_used(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }

    /// Set if what is found in the container says something of its image.
    fn is_fresh(&self) -> bool {
        self.delivery.is_own && !self.is_used.load(Ordering::Relaxed)
    }

    /// Looks for the tools that programs need which are started without a link, unless they are known.
    pub(crate) async fn prepare_without(&self) {
        let AgentDelivery { container, backend, tools_key, within, .. } = &self.delivery;
        let key = tools_key.clone().filter(|_| self.is_fresh());
        container.look_for_tools(&backend.images, key, *within).await;
    }

    /// Ends the link, and with it all that the agent does for it. Later calls of [`GuestAgent::access`] find nothing.
    pub(crate) fn close(&self) {
        *self.state.lock() = AgentState::Closed;
    }

    /// The reason for which forwards and signals cannot be had, as a user reads it.
    pub(crate) fn needed(&self, what: &str) -> Refusal {
        let reason = match self.delivery.allowed {
            None => "kubernetes.pod.disableAgent switches off",
            Some(_) => {
                "the container does not have: put podgate-agent at kubernetes.pod.agentPath in the image, or set \
                 kubernetes.pod.agentImage, or leave kubernetes.pod.agentPush on and take an image with a shell and a \
                 directory that can be written and executed"
            }
        };
        Refusal::new(format!("{what} needs the guest agent, which {reason}"))
    }

    fn known(&self) -> Option<AgentAccess> {
        match &*self.state.lock() {
            AgentState::Unknown => None,
            AgentState::Known(AgentAccess::Link(link)) if link.is_over() => None,
            AgentState::Known(known) => Some(known.clone()),
            AgentState::Closed => Some(AgentAccess::None),
        }
    }

    /// Looks for the agent; the second value is false if another look may find more.
    async fn look(&self) -> (AgentAccess, bool) {
        let (access, way, is_final) = self.find().await;
        if is_final {
            self.delivery.log.metrics().count_agent_delivery(way.word());
        }
        (access, is_final)
    }

    async fn find(&self) -> (AgentAccess, AgentWay, bool) {
        let Some(allowed) = &self.delivery.allowed else { return (AgentAccess::None, AgentWay::None, true) };
        match self.delivery.agent_key.as_deref().and_then(|key| self.delivery.backend.images.agent(key)) {
            Some(AgentWay::None) => return (AgentAccess::None, AgentWay::None, true),
            Some(AgentWay::ContainerSsh) => return (self.containerssh(allowed), AgentWay::ContainerSsh, true),
            Some(way) => {
                if let Ok(link) = self.link_by(way, allowed).await {
                    return (AgentAccess::Link(link), way, true);
                }
            }
            None => {}
        }
        self.look_everywhere(allowed).await
    }

    async fn look_everywhere(&self, allowed: &AllowedAgents) -> (AgentAccess, AgentWay, bool) {
        let (mut reasons, mut passing, mut other) = (Vec::new(), false, false);
        for way in [AgentWay::Image, AgentWay::Copied, AgentWay::Pushed] {
            match self.link_by(way, allowed).await {
                Ok(link) => {
                    self.remember(way, &reasons);
                    return (AgentAccess::Link(link), way, true);
                }
                Err(NoLink::Never(reason)) => reasons.push(reason),
                Err(NoLink::ContainerSsh) => {
                    reasons.push(format!("{} is ContainerSSH's agent", allowed.path));
                    other = true;
                }
                Err(NoLink::Now(reason)) => {
                    reasons.push(reason);
                    passing = true;
                }
            }
        }
        if passing {
            let text = "the guest's agent cannot be reached now; programs run without it";
            self.delivery.log.write(codes::AGENT_UNREACHABLE, text, &[("reason", &reasons.join("; "))]);
        }
        match (other, passing) {
            (true, _) => {
                self.remember(AgentWay::ContainerSsh, &reasons);
                (self.containerssh(allowed), AgentWay::ContainerSsh, true)
            }
            (false, true) => (AgentAccess::None, AgentWay::None, false),
            (false, false) => {
                self.remember(AgentWay::None, &reasons);
                (AgentAccess::None, AgentWay::None, true)
            }
        }
    }

    /// Remembers the way for the image. If it is news, the log says it.
    fn remember(&self, way: AgentWay, reasons: &[String]) {
        let news = match &self.delivery.agent_key {
            Some(key) if self.is_fresh() || !matches!(way, AgentWay::None | AgentWay::ContainerSsh) => {
                self.delivery.backend.images.remember_agent(key.clone(), way)
            }
            Some(_) | None => true,
        };
        if news {
            let text = match way {
                AgentWay::None => "the containers of this image have no agent",
                AgentWay::ContainerSsh => "the containers of this image have ContainerSSH's agent",
                AgentWay::Image | AgentWay::Copied | AgentWay::Pushed => "the containers of this image have the agent",
            };
            let (image, reasons) = (self.delivery.image.as_str(), reasons.join("; "));
            let mut details = vec![("image", image), ("way", way.word())];
            details.extend((!reasons.is_empty()).then_some(("others", &*reasons)));
            self.delivery.log.write(codes::AGENT_WAY, text, &details);
        }
    }

    async fn link_by(&self, way: AgentWay, allowed: &AllowedAgents) -> Result<AgentLink, NoLink> {
        let attempt = async {
            match way {
                AgentWay::Image => self.link_at(&allowed.path).await,
                AgentWay::Copied => match &allowed.copied {
                    Some(path) => self.link_at(path).await,
                    None => Err(NoLink::Never("kubernetes.pod.agentImage is not set".to_owned())),
                },
                AgentWay::Pushed if allowed.push => self.push().await,
                AgentWay::Pushed => Err(NoLink::Never("kubernetes.pod.agentPush is off".to_owned())),
                AgentWay::ContainerSsh | AgentWay::None => Err(NoLink::Never(String::new())),
            }
        };
        timeout(self.delivery.within, attempt)
            .await
            .unwrap_or_else(|_elapsed| Err(NoLink::Now("it does not answer".to_owned())))
    }

    /// Starts the program at a path as our agent.
    async fn link_at(&self, path: &str) -> Result<AgentLink, NoLink> {
        let argv = [path, "link"].map(str::to_owned);
        let program = self.delivery.container.helper(&argv, self.delivery.within).await?;
        self.connect(program, Bytes::new()).await
    }

    /// Brings the agent by the exec that then carries the link.
    async fn push(&self) -> Result<AgentLink, NoLink> {
        let Some(file) = self.delivery.backend.agent_files.get(&self.delivery.log).await else {
            return Err(NoLink::Never("the gateway has no podgate-agent beside it".to_owned()));
        };
        let command = push::command(&push::folder_name(), &file);
        let program = self.delivery.container.helper(&command, self.delivery.within).await?;
        let (program, first) = push::push(program, &file).await?;
        self.connect(program, first).await
    }

    async fn connect(&self, program: Program, first: Bytes) -> Result<AgentLink, NoLink> {
        let carrier = carrier(program, first, self.delivery.log.clone());
        let tasks = &self.delivery.backend.tasks;
        let ends = (carrier.sender, carrier.receiver);
        let link = link::connect(ends, tasks, self.delivery.output.clone(), self.delivery.log.clone()).await;
        let said_usage = carrier.report.has_said(USAGE);
        carrier.report.forget();
        link.map_err(|error| match carrier.report.exit() {
            Some(Exit::Lost(refusal)) => refusal.into(),
            Some(Exit::Status(126 | 127)) => NoLink::Never("it cannot run in the container".to_owned()),
            Some(Exit::Status(1)) if said_usage => NoLink::ContainerSsh,
            Some(Exit::Status(status @ ..128)) => NoLink::Never(format!("it ended with the status {status}")),
            // As by a limit of memory, which says nothing of the image.
            Some(Exit::Status(status)) => NoLink::Now(format!("it ended with the status {status}")),
            Some(Exit::Signal { name, .. }) => NoLink::Now(format!("it was ended by SIG{name}")),
            None => match error {
                ConnectError::NotAnAgent | ConnectError::Handshake(_) => NoLink::Never(error.to_string()),
                ConnectError::Carrier(_) | ConnectError::Protocol(_) => NoLink::Now(error.to_string()),
            },
        })
    }

    fn containerssh(&self, allowed: &AllowedAgents) -> AgentAccess {
        AgentAccess::ContainerSsh(ContainerSshAgent::new(&self.delivery, &allowed.path))
    }
}
