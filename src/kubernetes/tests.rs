//! The backend against a development cluster: real TLS, real exec, real processes.

mod deaths;
mod programs;
mod refusals;
mod starts;

use super::*;
use crate::auth::Identity;
use crate::guest::{Backend as _, Exit, OutputBudget, OutputEvent, Program, Progress, Refusal};
use crate::policy::{ConnectionEndpoints, Permit, ProgramRequest, ProgramSpec, Rules, StartProgram};
use crate::settings::KubernetesSettings;
use crate::telemetry::LogFormat;
use crate::telemetry::capture::{self, CapturedLog};
use crate::types::{ConnectionId, Secret};
use podgate_devcluster::{DevCluster, Options};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// How long anything here may take.
const SOON: Duration = Duration::from_secs(30);

/// A cluster and a backend on it.
struct Stand {
    cluster: DevCluster,
    backend: Backend,
    settings: KubernetesSettings,
    tasks: Tasks,
    log: Log,
    captured: CapturedLog,
}

impl Stand {
    fn new() -> Self {
        crate::tls::install();
        let options = Options { crash_back_off: Duration::from_millis(200), ..Options::default() };
        let cluster = DevCluster::start(options).unwrap();
        let (log, captured) = capture::log(LogFormat::Ljson);
        let tasks = Tasks::new();
        let backend = Backend::new(log.clone(), tasks.clone(), Clients::new(), Arc::new(|_| true));
        let mut settings = fixtures::settings();
        Arc::make_mut(&mut settings.cluster).host = format!("https://{}", cluster.host()).parse().unwrap();
        Arc::make_mut(&mut settings.cluster).ca = Some(settings::InlineOrFile::Inline(Secret::new(cluster.ca_pem())));
        Arc::make_mut(&mut settings.cluster).bearer_token =
            Some(settings::InlineOrFile::Inline(Secret::new(cluster.token())));
        Self { cluster, backend, settings, tasks, log, captured }
    }

    fn guest(&self) -> Arc<dyn Guest> {
        self.guest_of(&fixtures::identity("alice"))
    }

    fn guest_of(&self, identity: &Identity) -> Arc<dyn Guest> {
        let (id, remote) = (ConnectionId::random(), SocketAddr::from(([127, 0, 0, 1], 5)));
        let settings = BackendSettings::Kubernetes(self.settings.clone());
        let log = self.log.connection(id, remote);
        self.backend.guest(Arrival {
            id,
            remote,
            identity: identity.clone(),
            settings,
            log,
            output: OutputBudget::unlimited(),
        })
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

fn launch(asked: ProgramRequest) -> Permit<ProgramSpec> {
    launch_under(&Rules::default(), asked)
}

fn launch_under(rules: &Rules, asked: ProgramRequest) -> Permit<ProgramSpec> {
    let ends = SocketAddr::from(([127, 0, 0, 1], 22));
    let endpoints = ConnectionEndpoints { client: ends, server: ends };
    rules.decide(StartProgram { request: asked, env: Vec::new(), terminal: None, endpoints }).unwrap()
}

async fn start(guest: &Arc<dyn Guest>, command: &str) -> Result<Program, Refusal> {
    begin(guest, launch(ProgramRequest::Exec(command.into()))).await
}

async fn begin(guest: &Arc<dyn Guest>, launch: Permit<ProgramSpec>) -> Result<Program, Refusal> {
    timeout(SOON, guest.start(launch, Progress::default())).await.unwrap()
}

/// ConsoleCommand a command to its end: what it said on both streams, and how it ended.
async fn run(guest: &Arc<dyn Guest>, command: &str) -> (String, String, Exit) {
    to_its_end(start(guest, command).await.unwrap()).await
}

async fn to_its_end(mut program: Program) -> (String, String, Exit) {
    // A program that has ended already takes no end of its input.
    let _closed = program.input.close().await;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match timeout(SOON, program.output.next()).await.unwrap() {
            OutputEvent::Stdout(piece) => out.extend_from_slice(&piece),
            OutputEvent::Stderr(piece) => err.extend_from_slice(&piece),
            OutputEvent::End => {}
            OutputEvent::Exit(exit) => return (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), exit),
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
    timeout(SOON, guest.ready(Progress::default())).await.unwrap().unwrap();
}

/// Waits for the end of a guest and gives its reason.
async fn gone(guest: &Arc<dyn Guest>) -> String {
    timeout(SOON, guest.gone()).await.unwrap().reason
}

/// Waits for a report of progress that contains `text`.
async fn reported(guest: &Arc<dyn Guest>, text: &str) {
    let progress = Progress::default();
    let mut reports = progress.reports();
    let reported = tokio::select! {
        reported = reports.wait_for(|report| report.as_ref().is_some_and(|report| report.contains(text))) => reported.is_ok(),
        settled = guest.ready(progress.clone()) => panic!("{text} was not reported: {settled:?}"),
        () = tokio::time::sleep(SOON) => false,
    };
    assert!(reported, "{text}");
}
