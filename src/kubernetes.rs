//! The Kubernetes backend: a pod of its own for every connection, or for every program, or one that stays.
//!
//! [`Backend::guest`] returns at once; a task of its own creates the pod, waits for it, writes the identity's files, and
//! stays until the pod is removed again, whatever happens in between. The [`Guest`] that a connection holds only waits
//! for that task and runs programs; when its last holder lets go of it, the pod goes. In mode session there is such a
//! task for every program.

pub mod client;
pub mod exec;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod inspect;
pub mod rehearsal;

mod api;
mod argv;
mod claim;
mod end;
mod events;
mod gate;
mod ground;
mod instance;
mod lease;
mod life;
mod opening;
mod pod;
mod reaper;
mod retry;
mod single;
mod stage;
mod stty;
mod timed;
mod wait;
mod watch;
mod websocket;
mod witness;

#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use life::{Failed, Plan};
pub use reaper::Live;

use crate::auth::Identity;
use crate::config::Level;
use crate::guest::{self, Arrival, Guest, Listener, Program, Refusal, State, Stream};
use crate::policy::{Dial, Launch, Listen, Permit};
use crate::settings::{self, Mode};
use crate::shutdown::Tasks;
use crate::telemetry::metrics::{Outcome, Step};
use crate::telemetry::{ConnectionLog, Log};
use crate::types::{ConnectionId, EnvVar};
use bytes::Bytes;
use claim::Claimant;
use client::Clients;
use futures_util::future::BoxFuture;
use ground::Images;
use instance::Presence;
use pod::Instance;
use retry::Throttle;
use single::SingleGuests;
use stage::Stage;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use watch::Watches;

/// What a guest needs to know about its connection.
#[derive(Debug, Clone)]
pub struct ConnectionFacts {
    /// Its id; the pod carries it as a label.
    pub id: ConnectionId,
    /// The client's address; the pod carries it as an annotation.
    pub remote: SocketAddr,
    /// Its log.
    pub log: ConnectionLog,
}

/// The backend; cheap to clone. It has an id, new for each process, which all of its pods carry.
#[derive(Clone)]
pub struct Backend {
    shared: Arc<Shared>,
}

struct Shared {
    tasks: Tasks,
    clients: Clients,
    instance: Instance,
    watches: Watches,
    images: Images,
    presence: OnceLock<Presence>,
}

impl Backend {
    /// A backend whose tasks the end of the process waits for. `live` tells whether a connection is open: a pod whose
    /// connection is not is removed after 30 s, so a connection must be among the living before its guest is made.
    #[must_use]
    pub fn new(log: Log, tasks: Tasks, clients: Clients, live: Live) -> Self {
        let instance = Instance::random();
        let watches = Watches::new(log, tasks.clone(), instance, live);
        let (images, presence) = (Images::default(), OnceLock::new());
        Self { shared: Arc::new(Shared { tasks, clients, instance, watches, images, presence }) }
    }

    /// Joins the gateways that look after each other at `home`, before the first guest is made; nobody sweeps up after one
    /// that has not. Call it within the runtime.
    pub fn join(&self, home: settings::Home, log: Log) {
        let Shared { clients, instance, watches, presence, .. } = &*self.shared;
        match clients.get(&home.cluster, home.http.min(home.lease / 3)) {
            Ok(client) => {
                presence.get_or_init(|| Presence::start(*instance, home, &client, watches.clone(), log));
            }
            Err(error) => {
                let text = "The gateway cannot keep a Lease: when it is killed, its pods stay";
                log.write(Level::Warning, "KUBERNETES_LEASE_REFUSED", text, &[("reason", &error.to_string())]);
            }
        }
    }

    /// The last thing that a process does here, when every task has ended: the other gateways need not look after it.
    pub async fn leave(&self) {
        if let Some(presence) = self.shared.presence.get() {
            presence.leave().await;
        }
    }

    /// A guest for that identity; where its pod is the connection's, that begins to be made. Call it within the runtime.
    #[must_use]
    pub fn guest(
        &self,
        identity: &Identity,
        settings: Arc<settings::Kubernetes>,
        connection: ConnectionFacts,
    ) -> Arc<dyn Guest> {
        let throttle = Arc::new(Throttle::new(settings.cluster.qps_milli, settings.cluster.burst));
        let mut ask = Ask { identity: identity.clone(), settings, connection, throttle };
        if ask.settings.pod.mode == Mode::Session {
            return Arc::new(SingleGuests::new(Arc::clone(&self.shared), ask));
        }
        let stage = Arc::new(Stage::new());
        let variables = match ask.settings.pod.mode {
            Mode::Persistent { .. } => pod::variables(identity, &ask.settings.pod.expose),
            // They are in its spec.
            Mode::Connection | Mode::Session => Ok((Vec::new(), Vec::new())),
        };
        let made = variables.and_then(|(variables, _)| Ok((variables, ask.manifest(&self.shared, pod::Runs::Idle)?)));
        let (variables, manifest) = match made {
            Ok((variables, manifest)) => (variables, Ok(manifest)),
            Err(error) => (Vec::new(), Err(error)),
        };
        // The manifest has them.
        let pod = &mut Arc::make_mut(&mut ask.settings).pod;
        (pod.metadata, pod.spec) = Default::default();
        let life = ask.life(&self.shared, &stage);
        self.shared.tasks.spawn(life.lead(manifest));
        Arc::new(PodGuest { stage, variables, settings: ask.settings, log: ask.connection.log })
    }
}

/// Who wants a pod, and what it is to be like.
struct Ask {
    identity: Identity,
    settings: Arc<settings::Kubernetes>,
    connection: ConnectionFacts,
    throttle: Arc<Throttle>,
}

impl Ask {
    fn manifest(&self, shared: &Shared, runs: pod::Runs<'_>) -> Result<pod::Manifest, pod::ManifestError> {
        pod::manifest(&pod::Order {
            identity: &self.identity,
            settings: &self.settings,
            connection: self.connection.id,
            remote: self.connection.remote.ip(),
            instance: &shared.instance,
            runs,
        })
    }

    fn life(&self, shared: &Arc<Shared>, stage: &Arc<Stage>) -> life::Life {
        life::Life {
            backend: Arc::clone(shared),
            settings: Arc::clone(&self.settings),
            files: self.identity.known().files.clone(),
            claimant: Claimant::new(self.identity.authenticated()),
            throttle: Arc::clone(&self.throttle),
            connection: self.connection.clone(),
            stage: Arc::clone(stage),
        }
    }
}

impl guest::Backend for Backend {
    fn guest(&self, arrival: Arrival) -> Arc<dyn Guest> {
        let facts = ConnectionFacts { id: arrival.id, remote: arrival.remote, log: arrival.log };
        let mut settings = arrival.settings.kubernetes.clone();
        settings.cluster = self.shared.clients.known(settings.cluster);
        Self::guest(self, &arrival.identity, Arc::new(settings), facts)
    }
}

/// A connection's pod, as its connection sees it.
struct PodGuest {
    stage: Arc<Stage>,
    /// What every program gets of the user's own variables beside the pod's.
    variables: Vec<EnvVar>,
    settings: Arc<settings::Kubernetes>,
    log: ConnectionLog,
}

impl PodGuest {
    async fn start_program(&self, launch: Permit<Launch>) -> Result<Program, Refusal> {
        let ground = self.stage.ready().await?;
        let launch = launch.spend();
        let line = argv::line(&launch, &self.variables, &self.settings.pod, ground.tools().env)?;
        if line.left_out > 0 {
            let details = [("podName", ground.pod().as_str()), ("variables", &*line.left_out.to_string())];
            self.log.write(
                Level::Warning,
                "KUBERNETES_ENV_LEFT_OUT",
                "The image has no env program, a program runs without the environment that was sent for it",
                &details,
            );
        }
        self.log.write(Level::Debug, "KUBERNETES_EXEC", "Starting a program", &[("podName", ground.pod().as_str())]);
        let timer = self.log.metrics().step(Step::Exec);
        let started = ground.run(&line, launch.terminal.as_ref(), self.settings.timeouts.command_start).await;
        timer.end(if started.is_ok() { Outcome::Success } else { Outcome::Failed });
        started.map(|program| timed::program(program, &self.settings.timeouts, &self.log))
    }
}

impl Guest for PodGuest {
    /// What there is to know before the pod is ready is told by [`PodGuest::state`].
    fn start(
        &self,
        launch: Permit<Launch>,
        _news: tokio::sync::watch::Sender<Option<String>>,
    ) -> BoxFuture<'_, Result<Program, Refusal>> {
        Box::pin(self.start_program(launch))
    }

    fn dial(&self, _dial: Permit<Dial>) -> BoxFuture<'_, Result<Box<dyn Stream>, Refusal>> {
        Box::pin(async { Err(no_agent()) })
    }

    fn listen(&self, _listen: Permit<Listen>) -> BoxFuture<'_, Result<Box<dyn Listener>, Refusal>> {
        Box::pin(async { Err(no_agent()) })
    }

    fn write_file(&self, path: String, content: Bytes) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let ground = self.stage.ready().await?;
            ground.write_file(&path, content, self.settings.timeouts.command_start).await
        })
    }

    fn state(&self) -> tokio::sync::watch::Receiver<State> {
        self.stage.state()
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.stage.end())
    }
}

impl Drop for PodGuest {
    fn drop(&mut self) {
        self.stage.let_go();
    }
}

fn no_agent() -> Refusal {
    Refusal::new("this version of Podgate cannot forward connections")
}
