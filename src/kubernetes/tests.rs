//! The backend against a development cluster: real TLS, real exec, real processes.

mod deaths;
mod programs;
mod refusals;
mod starts;

use super::*;
use crate::config::LogFormat;
use crate::guest::{Exit, Said};
use crate::policy::{Asked, Endpoints, Rules, Start};
use crate::settings::Kubernetes;
use crate::telemetry::capture::{self, Captured};
use crate::types::Secret;
use podgate_devcluster::{DevCluster, Options};
use std::time::Duration;
use tokio::time::timeout;

/// How long anything here may take.
const SOON: Duration = Duration::from_secs(30);

/// A cluster and a backend on it.
struct Stand {
    cluster: DevCluster,
    backend: Backend,
    settings: Kubernetes,
    tasks: Tasks,
    log: Log,
    captured: Captured,
}

impl Stand {
    fn new() -> Self {
        crate::tls::install();
        let options = Options { crash_back_off: Duration::from_millis(200), ..Options::default() };
        let cluster = DevCluster::start(options).unwrap();
        let (log, captured) = capture::log(LogFormat::Ljson);
        let tasks = Tasks::new();
        let backend = Backend::new(log.clone(), tasks.clone(), Clients::new(), Arc::new(|_| true));
        let mut settings = samples::settings();
        Arc::make_mut(&mut settings.cluster).host = format!("https://{}", cluster.host()).parse().unwrap();
        Arc::make_mut(&mut settings.cluster).ca = Some(settings::Source::Inline(Secret::new(cluster.ca_pem())));
        Arc::make_mut(&mut settings.cluster).bearer_token =
            Some(settings::Source::Inline(Secret::new(cluster.token())));
        Self { cluster, backend, settings, tasks, log, captured }
    }

    fn guest(&self) -> Arc<dyn Guest> {
        self.guest_of(&samples::identity("alice"))
    }

    fn guest_of(&self, identity: &Identity) -> Arc<dyn Guest> {
        let (id, remote) = (ConnectionId::random(), SocketAddr::from(([127, 0, 0, 1], 5)));
        let facts = ConnectionFacts { id, remote, log: self.log.connection(id, remote) };
        self.backend.guest(identity, Arc::new(self.settings.clone()), facts)
    }

    fn logged(&self) -> String {
        self.captured.text(&self.log)
    }

    async fn pods(&self, count: usize) {
        let wanted = self.cluster.wait_until(|state| state.pods("default").len() == count, SOON);
        assert!(wanted.await.is_ok(), "{count} pods wanted: {:?}\n{}", self.cluster.pods("default"), self.logged());
    }

    /// Ends the process as far as this backend is concerned: every pod gone, every task over.
    async fn finish(self, guests: Vec<Arc<dyn Guest>>) {
        for guest in guests {
            timeout(SOON, guest.end()).await.unwrap();
        }
        self.pods(0).await;
        timeout(SOON, self.tasks.finish()).await.unwrap();
        self.cluster.stop().await;
    }
}

fn launch(asked: Asked) -> Permit<Launch> {
    launch_under(&Rules::default(), asked)
}

fn launch_under(rules: &Rules, asked: Asked) -> Permit<Launch> {
    let ends = SocketAddr::from(([127, 0, 0, 1], 22));
    let endpoints = Endpoints { client: ends, server: ends };
    rules.decide(Start { asked, env: Vec::new(), terminal: None, endpoints }).unwrap()
}

async fn start(guest: &Arc<dyn Guest>, command: &str) -> Result<Program, Refusal> {
    begin(guest, launch(Asked::Command(command.into()))).await
}

async fn begin(guest: &Arc<dyn Guest>, launch: Permit<Launch>) -> Result<Program, Refusal> {
    let (news, _told) = tokio::sync::watch::channel(None);
    timeout(SOON, guest.start(launch, news)).await.unwrap()
}

/// Runs a command to its end: what it said on both streams, and how it ended.
async fn run(guest: &Arc<dyn Guest>, command: &str) -> (String, String, Exit) {
    to_its_end(start(guest, command).await.unwrap()).await
}

async fn to_its_end(mut program: Program) -> (String, String, Exit) {
    // A program that has ended already takes no end of its input.
    let _closed = program.input.close().await;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match timeout(SOON, program.output.next()).await.unwrap() {
            Said::Stdout(piece) => out.extend_from_slice(&piece),
            Said::Stderr(piece) => err.extend_from_slice(&piece),
            Said::Exit(exit) => return (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), exit),
        }
    }
}

/// The reason that the first request gets.
async fn refusal(guest: &Arc<dyn Guest>) -> Refusal {
    match start(guest, "true").await {
        Err(refusal) => refusal,
        Ok(_) => panic!("the program started"),
    }
}

async fn ready(guest: &Arc<dyn Guest>) {
    let mut state = guest.state();
    let settled = timeout(SOON, state.wait_for(|state| !matches!(state, State::Starting(_)))).await.unwrap();
    assert_eq!(*settled.unwrap(), State::Ready);
}

/// Waits for the end of a guest and gives its reason.
async fn gone(guest: &Arc<dyn Guest>) -> String {
    let mut state = guest.state();
    let settled = timeout(SOON, state.wait_for(|state| matches!(state, State::Gone(_)))).await.unwrap();
    match &*settled.unwrap() {
        State::Gone(refusal) => refusal.reason.clone(),
        other => panic!("{other:?}"),
    }
}

/// Waits for news that contain `text`.
async fn news(guest: &Arc<dyn Guest>, text: &str) {
    let mut state = guest.state();
    let told = |state: &State| matches!(state, State::Starting(Some(news)) if news.contains(text));
    assert!(timeout(SOON, state.wait_for(told)).await.is_ok_and(|state| state.is_ok()), "{text}");
}
