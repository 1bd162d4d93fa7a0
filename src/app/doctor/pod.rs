//! The checks of a pod that is created for them (`--pod`), by the gateway's own way from a login to a program. Only programs
//! of ours run in it.
//!
//! Invariant: the pod is removed at the end, whatever happens; of a process that is killed, another gateway removes it.

use super::Caller;
use crate::auth::Identity;
use crate::guest::{Arrival, Backend as _, Exit, Guest, OutputBudget, OutputEvent, Program, Progress, Refusal};
use crate::kubernetes::{Backend, Clients};
use crate::policy::{ConnectionEndpoints, ProgramRequest, Rules, StartProgram};
use crate::settings::{BackendSettings, GatewayHome, KubernetesSettings, PodMode};
use crate::shutdown::Tasks;
use crate::types::{Diagnosis, DoctorCheck, RunningCheck, printable, time_text};
use bytes::BytesMut;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Length of the text that the program copies, in lines.
const LINES: usize = 512;
/// Copies its input with what a shell has itself, and ends with what no program ends with by chance.
const SCRIPT: &str =
    "while IFS= read -r line; do printf '%s\\n' \"$line\"; done; printf '%s\\n' podgate-doctor-stderr >&2; exit 42";
const STDERR: &[u8] = b"podgate-doctor-stderr\n";
const STATUS: u8 = 42;
/// `SSH_FXP_INIT` of version 3 (draft-ietf-secsh-filexfer-02 section 4).
const SFTP_INIT: [u8; 9] = [0, 0, 0, 5, 1, 0, 0, 0, 3];
/// The type of the answer.
const SFTP_VERSION: u8 = 2;
/// Limit of a program's output that is kept, in bytes.
const KEPT: usize = 256 * 1024;
/// The time that is kept for the programs and the removal when the pod starts.
const REST: Duration = Duration::from_secs(6);
/// Limit of the removal.
const REMOVAL: Duration = Duration::from_secs(6);

/// The pod that is tried.
pub(super) struct PodTarget {
    pub(super) identity: Identity,
    pub(super) settings: KubernetesSettings,
    /// Place of the Lease which says that this process lives.
    pub(super) home: Option<GatewayHome>,
    pub(super) caller: Caller,
}

/// A pod that cannot be tried.
pub(super) fn skipped(detail: &str, fix: &str) -> Diagnosis {
    RunningCheck::begin(DoctorCheck::PodStart, "kubernetes.pod").skipped(detail, fix)
}

/// Creates the pod, runs programs in it until `deadline` at most, and removes it.
pub(super) async fn examine(
    mut target: PodTarget,
    deadline: Instant,
    stopped: impl Future<Output = ()>,
) -> Vec<Diagnosis> {
    if matches!(target.settings.pod.mode, PodMode::Persistent { .. }) {
        let fix = "podgate test-login tries such a pod without changing it";
        return vec![skipped("in mode persistent a pod belongs to its user, and would stay", fix)];
    }
    let start = deadline.saturating_duration_since(Instant::now()).saturating_sub(REST);
    if start < REST {
        return vec![skipped("there is no time left in this run", "mend what does not answer first")];
    }
    target.settings.timeouts.pod_start = target.settings.timeouts.pod_start.min(start);
    let (namespace, mode) = (target.settings.pod.namespace.to_string(), target.settings.pod.mode.clone());
    let (cluster, http) = (target.settings.cluster.clone(), target.settings.timeouts.http);
    let (id, caller) = (target.caller.facts.connection, target.caller);
    let tasks = Tasks::new();
    let backend = Backend::new(caller.all.clone(), tasks.clone(), Clients::new(), Arc::new(move |lives| lives == id));
    if let Some(home) = target.home {
        backend.join(home, caller.all.clone());
    }
    let guest = backend.guest(Arrival {
        id,
        remote: caller.facts.remote,
        identity: target.identity,
        settings: BackendSettings::Kubernetes(target.settings),
        log: caller.log.clone(),
        output: OutputBudget::unlimited(),
    });
    let mut checks = Vec::new();
    let trial = Trial { guest: guest.as_ref(), caller: &caller, namespace: &namespace, mode };
    tokio::select! {
        _ = timeout_at(deadline, trial.run(&mut checks)) => {}
        () = stopped => {}
    }
    let running = RunningCheck::begin(DoctorCheck::PodRemoval, namespace.as_str());
    let removed = timeout(REMOVAL, async {
        guest.end().await;
        drop(guest);
        tasks.finish().await;
    });
    let removed = removed.await.is_ok();
    let failure = if removed { caller.failed_removal().await } else { Some("no answer in time".to_owned()) };
    backend.leave().await;
    checks.push(match failure {
        None => running.ok("the pod is removed"),
        Some(reason) => running.failed(reason, "let the account delete pods, and remove the pod by hand"),
    });
    backend.hide_credentials(&cluster, http, &mut checks);
    checks
}

struct Trial<'a> {
    guest: &'a dyn Guest,
    caller: &'a Caller,
    namespace: &'a str,
    mode: PodMode,
}

/// Output and end of a program.
#[derive(Debug, Default)]
struct Ran {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    exit: Option<Exit>,
}

impl Trial<'_> {
    async fn run(&self, checks: &mut Vec<Diagnosis>) {
        // In mode session each program has its own pod.
        if self.mode == PodMode::Connection {
            let running = self.begin(DoctorCheck::PodStart);
            let began = Instant::now();
            match self.guest.ready(Progress::default()).await {
                Ok(()) => checks.push(running.ok(format!("a pod is ready within {}", time_text(began.elapsed())))),
                Err(refusal) => {
                    let more = refusal.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
                    let fix = format!("see docs/kubernetes.md, The commonest mistakes, and the pod's events{more}");
                    return checks.push(running.failed(refusal.reason, fix));
                }
            }
            checks.push(self.agent().await);
        }
        checks.push(self.program().await);
        checks.push(self.sftp().await);
    }

    fn begin(&self, check: DoctorCheck) -> RunningCheck {
        RunningCheck::begin(check, self.namespace)
    }

    /// Tells what the gateway's log says of the agent.
    async fn agent(&self) -> Diagnosis {
        let running = self.begin(DoctorCheck::PodAgent);
        let lines = self.caller.lines().await;
        let text = |line: &Value, key: &str| {
            printable(line.pointer(&format!("/details/{key}")).and_then(Value::as_str).unwrap_or_default(), 500)
        };
        let of = |code: &str| lines.iter().find(|line| line["code"] == code);
        let fix = "put the agent in the image, set kubernetes.pod.agentImage, or see docs/agent.md; without it forwards and \
                   signals are refused";
        match (of("AGENT_WAY"), of("AGENT_UNREACHABLE")) {
            (Some(line), _) if text(line, "way") == "none" => {
                running.warning(format!("the guest has no agent: {}", text(line, "others")), fix)
            }
            (Some(line), _) => running.ok(format!("the agent came by {}", text(line, "way"))),
            (None, Some(line)) => {
                running.warning(format!("the agent cannot be reached: {}", text(line, "reason")), fix)
            }
            (None, None) => running.skipped("no agent is looked for (kubernetes.pod.disableAgent)", fix),
        }
    }

    async fn start(&self, request: ProgramRequest) -> Result<Program, Refusal> {
        let endpoints = ConnectionEndpoints { client: self.caller.facts.remote, server: self.caller.facts.remote };
        let start = StartProgram { request, env: Vec::new(), terminal: None, endpoints };
        let permit = Rules::default().decide(start).map_err(|denied| Refusal::new(denied.to_string()))?;
        self.guest.start(permit, Progress::default()).await
    }

    /// Runs a program, and compares each of its streams and its status.
    async fn program(&self) -> Diagnosis {
        let running = self.begin(DoctorCheck::PodProgram);
        let fix = "look at the container runtime and at proxies before the API server: exec does not work as it must; \
                   kubectl exec shows the same";
        let program = match self.start(ProgramRequest::Exec(SCRIPT.to_owned())).await {
            Ok(program) => program,
            Err(refusal) => return running.failed(told(&refusal), fix),
        };
        let input: Vec<u8> = (0..LINES).flat_map(|line| format!("{line:063}\n").into_bytes()).collect();
        let ran = run(program, &input, true, |_| false).await;
        match faults(&ran, &input) {
            faults if faults.is_empty() => {
                running.ok("stdin, stdout, stderr and the exit status of a command arrive whole")
            }
            faults => running.failed(faults.join("; "), fix),
        }
    }

    async fn sftp(&self) -> Diagnosis {
        let running = self.begin(DoctorCheck::PodSftp);
        let fix = "see docs/kubernetes.md, What a guest image needs, if users shall have sftp and scp";
        let program = match self.start(ProgramRequest::Subsystem("sftp".to_owned())).await {
            Ok(program) => program,
            Err(refusal) => return running.warning(refusal.reason, fix),
        };
        let is_answer = |ran: &Ran| ran.stdout.get(4).is_some_and(|kind| *kind == SFTP_VERSION);
        let ran = run(program, &SFTP_INIT, false, is_answer).await;
        if is_answer(&ran) {
            return running.ok("the server of sftp answers");
        }
        let said = String::from_utf8_lossy(&ran.stderr).lines().next().map(str::to_owned);
        running.warning(said.unwrap_or_else(|| "the server of sftp gives no answer".to_owned()), fix)
    }
}

/// Gives a program its input, and reads until its exit or until `enough` is there.
async fn run(program: Program, input: &[u8], ends: bool, enough: impl Fn(&Ran) -> bool) -> Ran {
    let Program { input: mut stdin, mut output } = program;
    let mut ran = Ran::default();
    let writing = async {
        // What a program does not take shows in its output.
        if stdin.write(BytesMut::from(input)).await.is_ok() && ends {
            let _ = stdin.close().await;
        }
        // The input stays open until the end.
        std::future::pending::<()>().await;
    };
    let reading = async {
        while ran.exit.is_none() && !enough(&ran) {
            match output.next().await {
                OutputEvent::Stdout(bytes) if ran.stdout.len() < KEPT => ran.stdout.extend_from_slice(&bytes),
                OutputEvent::Stderr(bytes) if ran.stderr.len() < KEPT => ran.stderr.extend_from_slice(&bytes),
                OutputEvent::Stdout(_) | OutputEvent::Stderr(_) | OutputEvent::End => {}
                OutputEvent::Exit(exit) => ran.exit = Some(exit),
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
    ran
}

/// Each difference between what a program did and what it was to do.
fn faults(ran: &Ran, input: &[u8]) -> Vec<String> {
    let said = |bytes: &[u8]| printable(&String::from_utf8_lossy(bytes), 200);
    let mut faults = Vec::new();
    if ran.stdout != input {
        let (is, wanted) = (ran.stdout.len(), input.len());
        faults.push(format!("of {wanted} bytes from stdin to stdout {is} arrived, or others did"));
    }
    if ran.stderr != STDERR {
        faults.push(format!("stderr is \"{}\" instead of \"{}\"", said(&ran.stderr), said(STDERR)));
    }
    match &ran.exit {
        Some(Exit::Status(STATUS)) => {}
        Some(Exit::Status(other)) => faults.push(format!("the exit status is {other} instead of {STATUS}")),
        Some(Exit::Signal { name, .. }) => {
            faults.push(format!("the signal {name} ended it instead of the status {STATUS}"))
        }
        Some(Exit::Lost(refusal)) => faults.push(format!("no exit status came: {}", told(refusal))),
        None => faults.push("no exit status came".to_owned()),
    }
    faults
}

/// The reason for the user, with that for the log.
fn told(refusal: &Refusal) -> String {
    match &refusal.detail {
        Some(detail) if !detail.starts_with(&refusal.reason) => format!("{} ({detail})", refusal.reason),
        Some(_) | None => refusal.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_that_is_not_whole_is_a_fault() {
        let ran = |stdout: &[u8], stderr: &[u8], exit| Ran { stdout: stdout.to_vec(), stderr: stderr.to_vec(), exit };
        let good = Some(Exit::Status(STATUS));
        for (ran, count) in [
            (ran(b"abc", STDERR, good.clone()), 0),
            (ran(b"ab", STDERR, good.clone()), 1),
            (ran(b"abd", STDERR, good.clone()), 1),
            (ran(b"abc", b"", good), 1),
            (ran(b"abc", STDERR, Some(Exit::Status(0))), 1),
            (ran(b"abc", STDERR, Some(Exit::Lost(Refusal::new("cut")))), 1),
            (ran(b"", b"sh: not found", None), 3),
        ] {
            assert_eq!(faults(&ran, b"abc").len(), count, "{ran:?}");
        }
    }
}
