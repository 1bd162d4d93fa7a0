//! `podgate doctor`: examines the configuration, this machine, the webhooks and the cluster, and tells of each check how it
//! stands and what to do.
//!
//! Invariants: every wait has an end, the whole run less than a minute; no credential is shown; nothing is written to the
//! operator's log.

mod cluster;
mod listeners;
mod machine;
mod pod;
mod webhooks;

use super::test_login::step_log::StepLog;
use crate::auth::{AwaitedServer, ClientFacts, LoginAttempt, LoginDeadline};
use crate::config::Config;
use crate::telemetry::{ConnectionLog, Log};
use crate::types::{CheckResult, ConnectionId, Diagnosis, DoctorCheck, RunningCheck, Username};
use cluster::ClusterExamined;
use pod::PodTarget;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Identification string by which webhooks can tell an examination from a client.
const CLIENT_VERSION: &str = concat!("SSH-2.0-podgate_", env!("CARGO_PKG_VERSION"), " doctor");
/// Limit of the file system, which may hang.
const FILES: Duration = Duration::from_secs(8);
/// Limit of all tries of one question to a webhook.
const QUESTION: Duration = Duration::from_secs(10);
/// The time after which nothing is begun any more but the removal of a pod.
const DEADLINE: Duration = Duration::from_secs(45);
/// Seconds by which clocks may differ.
const CLOCK: i64 = 5;

/// The examination that is wanted.
#[derive(Debug, Clone, Default)]
pub struct DoctorOptions {
    /// The user whose settings are examined; `None` for those of the file.
    pub user: Option<String>,
    /// Set if a pod is created for it, and removed.
    pub pod: bool,
}

/// The result of all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoctorVerdict {
    /// Nothing failed.
    Healthy,
    /// Something failed.
    Sick,
    /// The configuration is not valid, whatever else failed.
    Invalid,
    /// `stop` was cancelled.
    Interrupted,
}

impl Diagnosis {
    /// Formats one line for people.
    pub fn line(&self) -> String {
        let (took, result, check) = (format!("{} ms", self.took.as_millis()), self.result.name(), self.check.name());
        let fix = if self.fix.is_empty() { String::new() } else { format!(". Fix: {}", self.fix) };
        let detail = self.detail.trim_end_matches('.');
        // Many texts begin with the key that they are about.
        let subject = if detail.starts_with(&self.subject) { String::new() } else { format!("{}: ", self.subject) };
        format!("{result:7}  {check:16} {took:>8}  {subject}{detail}{fix}\n")
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "check": self.check.name(),
            "subject": self.subject,
            "result": self.result.name(),
            "durationMs": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "detail": self.detail,
            "fix": self.fix,
        })
    }
}

/// Examines the gateway of a configuration file. Calls `on_check` after each check. Cancel `stop` to end it early.
pub async fn doctor(
    file: &Path,
    options: DoctorOptions,
    on_check: impl FnMut(&Diagnosis) + Send,
    stop: CancellationToken,
) -> DoctorVerdict {
    crate::tls::install();
    let deadline = Instant::now() + DEADLINE;
    let mut doctor = Doctor { on_check, verdict: DoctorVerdict::Healthy };
    let target = tokio::select! {
        target = doctor.examine(file, &options) => target,
        () = stop.cancelled() => return DoctorVerdict::Interrupted,
    };
    if options.pod {
        let checks = match target {
            Some(target) => pod::examine(target, deadline, stop.cancelled()).await,
            None => vec![pod::skipped("the cluster cannot be used", "mend what failed above first")],
        };
        doctor.tell(checks);
    }
    if stop.is_cancelled() { DoctorVerdict::Interrupted } else { doctor.verdict }
}

struct Doctor<F> {
    on_check: F,
    verdict: DoctorVerdict,
}

impl<F: FnMut(&Diagnosis) + Send> Doctor<F> {
    /// Makes every check that changes nothing; returns the pod that can be tried then.
    async fn examine(&mut self, file: &Path, options: &DoctorOptions) -> Option<PodTarget> {
        let config = self.load(file).await?;
        self.tell(listeners::examine(&config).await);
        self.tell([machine::descriptors(&config.ssh.login)]);
        let examined = async { cluster::examine(&config, options.user.as_deref()).await };
        let (webhooks, examined) = (webhooks::examine(&config), examined);
        tokio::pin!(webhooks, examined);
        // Both at once; told in this order.
        let mut of_cluster = None;
        let of_webhooks = loop {
            tokio::select! {
                done = &mut webhooks => break done,
                done = &mut examined, if of_cluster.is_none() => of_cluster = Some(done),
            }
        };
        let (checks, mut clocks) = of_webhooks;
        self.tell(checks);
        let ClusterExamined { checks, clock, target } = match of_cluster {
            Some(done) => done,
            None => examined.await,
        };
        self.tell(checks);
        clocks.extend(clock);
        self.tell(clocks.into_iter().map(|(server, ahead)| clock_check(&server, ahead)));
        target
    }

    fn tell(&mut self, checks: impl IntoIterator<Item = Diagnosis>) {
        for check in checks {
            if check.result == CheckResult::Failed && self.verdict == DoctorVerdict::Healthy {
                self.verdict = DoctorVerdict::Sick;
            }
            (self.on_check)(&check);
        }
    }

    /// Loads the configuration and examines it, with its files; `None` if nothing can be done with it.
    async fn load(&mut self, file: &Path) -> Option<Arc<Config>> {
        let running = RunningCheck::begin(DoctorCheck::Configuration, file.display().to_string());
        let path: PathBuf = file.to_owned();
        let examined = timeout(FILES, spawn_blocking(move || machine::configuration(&path))).await;
        let (config, checks, is_valid) = match examined {
            Ok(Ok(examined)) => examined,
            Ok(Err(_)) | Err(_) => {
                let text = format!("the file or one that it names cannot be read within {} s", FILES.as_secs());
                let check =
                    running.failed(text, "look at the file system: a file is a pipe, or its disk does not answer");
                (None, vec![check], false)
            }
        };
        self.tell(checks);
        if !is_valid {
            self.verdict = DoctorVerdict::Invalid;
        }
        config.map(Arc::new)
    }
}

fn clock_check(server: &str, ahead: i64) -> Diagnosis {
    let running = RunningCheck::begin(DoctorCheck::Clock, server);
    if ahead.abs() <= CLOCK {
        return running.ok("its clock and ours agree");
    }
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let text = format!("its clock is {} s {side} ours", ahead.abs());
    running.warning(text, "set both clocks by NTP: certificates, tokens and logs depend on them")
}

/// A login that exists only for questions to webhooks, with a log that is read by nobody but us.
struct Caller {
    step_log: StepLog,
    /// The whole log.
    all: Log,
    log: ConnectionLog,
    facts: ClientFacts,
    deadline: LoginDeadline,
    awaited: AwaitedServer,
}

impl Caller {
    /// `None` if the system gives no thread for the log.
    fn new() -> Option<Self> {
        let (all, step_log) = StepLog::log(|_| {}).ok()?;
        let connection = ConnectionId::random();
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let log = all.connection(connection, remote);
        let facts = ClientFacts { connection, remote, client_version: CLIENT_VERSION.to_owned() };
        let (deadline, awaited) = (LoginDeadline::new(QUESTION), AwaitedServer::default());
        Some(Self { step_log, all, log, facts, deadline, awaited })
    }

    fn attempt<'a>(&'a self, username: &'a Username) -> LoginAttempt<'a> {
        LoginAttempt {
            facts: &self.facts,
            username,
            certificate: None,
            log: &self.log,
            deadline: &self.deadline,
            awaited: &self.awaited,
        }
    }

    /// The lines of the log since the last call.
    async fn lines(&self) -> Vec<Value> {
        self.step_log.take().await
    }

    /// The last reason that was logged.
    async fn reason(&self) -> Option<String> {
        let lines = self.lines().await;
        let reason = |line: &Value| line.pointer("/details/reason").and_then(Value::as_str).map(str::to_owned);
        lines.iter().rev().find_map(reason)
    }

    /// The log's line of a pod that stays.
    async fn failed_removal(&self) -> Option<String> {
        let lines = self.lines().await;
        let failed = lines.iter().find(|line| line["code"] == "KUBERNETES_POD_REMOVE_FAILED")?;
        failed["message"].as_str().map(str::to_owned)
    }
}
