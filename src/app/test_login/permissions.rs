//! Permissions of a user, one line for each request that a client can send. Every decision is made by
//! [`Rules::decide`](crate::policy::Rules::decide). Pure.

use super::StepResult;
use crate::audit::denied_code;
use crate::kubernetes::dry_run::program;
use crate::policy::{
    ConnectionEndpoints, Denied, Dial, Listen, OpenTerminal, Permit, ProgramRequest, ProgramSpec, RuleMode, Rules,
    SetEnv, StartProgram, Terminal, X11Forwarding,
};
use crate::settings::{BackendSettings, PodSettings, Settings};
use crate::types::{Modes, Size, printable, quoted};

/// Stands for any command; exists in nearly every image.
const COMMAND: &str = "true";
/// Subsystem that scp and sftp request.
const SFTP: &str = "sftp";
/// Variables that stand for those of no list, and for those that nearly every client sends.
const ANY: &str = "PODGATE_TEST_LOGIN";
const USUAL: &str = "LANG";
/// Detail of a forward that the rules allow. No pod is asked whether it has the agent.
const BY_THE_AGENT: &str = "where the guest has the agent";

/// Decision about one kind of request.
pub(super) struct Permission {
    pub(super) name: &'static str,
    pub(super) result: StepResult,
    pub(super) detail: String,
}

/// Decisions about every kind of request.
pub(super) fn all(settings: &Settings, endpoints: ConnectionEndpoints) -> Vec<Permission> {
    let BackendSettings::Kubernetes(kubernetes) = &settings.backend;
    let (rules, pod) = (&settings.rules, &kubernetes.pod);
    let start = |requested| decide(rules, requested, endpoints);
    vec![
        permission("shell", start(ProgramRequest::Shell).map(|launch| started_program(&launch, pod))),
        permission("command", command(rules, pod, endpoints)),
        permission(
            "subsystem sftp",
            start(ProgramRequest::Subsystem(SFTP.to_owned())).map(|launch| started_program(&launch, pod)),
        ),
        permission("terminal", rules.decide(OpenTerminal { terminal: terminal() }).map(|_| String::new())),
        permission("environment", environment(rules)),
        forwarding("forwarding -L", rules.decide(tcp()).map(drop)),
        forwarding("forwarding -L socket", rules.decide(Dial::Unix { path: "/run/x".to_owned() }).map(drop)),
        forwarding("forwarding -R", rules.decide(Listen::Tcp { host: String::new(), port: 0 }).map(drop)),
        forwarding("forwarding -R socket", rules.decide(Listen::Unix { path: "/run/x".to_owned() }).map(drop)),
        forwarding("forwarding -A", rules.decide(Listen::Agent).map(drop)),
        forwarding("forwarding -X", rules.decide(Listen::X11(X11Forwarding::default())).map(drop)),
    ]
}

/// Permit for the requested program, or else for the first permitted one of shell, commands and sftp; with its description.
pub(super) fn launch(
    settings: &Settings,
    requested: Option<ProgramRequest>,
    endpoints: ConnectionEndpoints,
) -> Result<(Permit<ProgramSpec>, String), Denied> {
    let rules = &settings.rules;
    let BackendSettings::Kubernetes(kubernetes) = &settings.backend;
    let any = || {
        let commands = commands(rules).into_iter().map(ProgramRequest::Exec);
        let all =
            std::iter::once(ProgramRequest::Shell).chain(commands).chain([ProgramRequest::Subsystem(SFTP.to_owned())]);
        all.collect()
    };
    let mut first = None;
    for requested in requested.map_or_else(any, |requested| vec![requested]) {
        match decide(rules, requested.clone(), endpoints) {
            Ok(permit) => {
                let detail = format!("{}: {}", program_name(&requested), started_program(&permit, &kubernetes.pod));
                return Ok((permit, detail));
            }
            Err(denied) => {
                first.get_or_insert(denied);
            }
        }
    }
    Err(first.unwrap_or(Denied::Shell))
}

fn decide(
    rules: &Rules,
    requested: ProgramRequest,
    endpoints: ConnectionEndpoints,
) -> Result<Permit<ProgramSpec>, Denied> {
    rules.decide(StartProgram { request: requested, env: Vec::new(), terminal: None, endpoints })
}

fn permission(name: &'static str, decided: Result<String, Denied>) -> Permission {
    match decided {
        Ok(detail) => Permission { name, result: StepResult::Allowed, detail },
        Err(denied) => {
            Permission { name, result: StepResult::Denied, detail: format!("{denied} ({})", denied_code(denied)) }
        }
    }
}

fn forwarding(name: &'static str, decided: Result<(), Denied>) -> Permission {
    permission(name, decided.map(|()| BY_THE_AGENT.to_owned()))
}

/// Describes the program that a permitted request starts, or the reason for which this pod has none.
fn started_program(launch: &Permit<ProgramSpec>, pod: &PodSettings) -> String {
    let launch = launch.request();
    match program(&launch.request, pod) {
        Ok(Some(words)) => {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("runs {}", words.join(" "))
        }
        Ok(None) => "runs the image's own program".to_owned(),
        Err(refusal) => refusal.reason,
    }
}

fn command(rules: &Rules, pod: &PodSettings, endpoints: ConnectionEndpoints) -> Result<String, Denied> {
    let all = commands(rules);
    let permits: Result<Vec<_>, Denied> =
        all.iter().map(|command| decide(rules, ProgramRequest::Exec(command.clone()), endpoints)).collect();
    let permits = permits?;
    let which = match rules.effective(rules.command.mode) {
        RuleMode::Filter => {
            let all: Vec<String> = all.iter().map(|command| quoted(&printable(command, 80))).collect();
            format!("only {}", all.join(", "))
        }
        _ => "any".to_owned(),
    };
    // A forced command replaces all of them.
    let forced = permits.first().filter(|_| rules.force_command.is_some()).map(|permit| started_program(permit, pod));
    Ok(forced.map_or_else(|| which.clone(), |runs| format!("{which}; {runs}")))
}

/// Commands that the rules list, or one that stands for any.
fn commands(rules: &Rules) -> Vec<String> {
    match rules.effective(rules.command.mode) {
        RuleMode::Filter if !rules.command.allow.is_empty() => rules.command.allow.clone(),
        _ => vec![COMMAND.to_owned()],
    }
}

fn environment(rules: &Rules) -> Result<String, Denied> {
    let set = |name: &str| {
        rules.decide(SetEnv { name: name.to_owned(), value: String::new(), held: 0, held_bytes: 0 }).map(drop)
    };
    if set(ANY).is_ok() {
        let held_back: String = rules.env.deny.iter().map(|name| format!(", {name}")).collect();
        return Ok(format!("any but SSH_*, LD_*, BASH_ENV, ENV{held_back}"));
    }
    let named = rules.env.allow.iter().map(String::as_str).filter(|name| set(name).is_ok());
    let usual = set(USUAL).is_ok().then_some("LANG, LC_*");
    let some: Vec<&str> = named.filter(|name| usual.is_none() || *name != USUAL).chain(usual).collect();
    if some.is_empty() { set(ANY).map(|()| String::new()) } else { Ok(format!("only {}", some.join(", "))) }
}

fn terminal() -> Terminal {
    Terminal { term: "xterm".to_owned(), size: Size::default(), modes: Modes::default() }
}

fn tcp() -> Dial {
    Dial::Tcp { host: "localhost".to_owned(), port: 80 }
}

fn program_name(requested: &ProgramRequest) -> String {
    match requested {
        ProgramRequest::Shell => "shell".to_owned(),
        ProgramRequest::Exec(_) | ProgramRequest::ExecBytes(_) => {
            format!("command {}", quoted(&printable(&requested.command().unwrap_or_default(), 200)))
        }
        ProgramRequest::Subsystem(name) => format!("subsystem {}", quoted(&printable(name, 64))),
    }
}
