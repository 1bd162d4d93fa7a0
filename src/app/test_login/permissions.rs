//! What a user may do, asked of the rules as a client would ask: one permission a line, decided by
//! [`Rules::decide`](crate::policy::Rules::decide) alone. Pure.

use super::StepResult;
use crate::kubernetes::rehearsal::program;
use crate::policy::{
    Asked, Denied, Dial, Endpoints, Launch, Listen, Mode, OpenTerminal, Permit, Rules, SetEnv, Start, Terminal,
};
use crate::settings::{Pod, Settings};
use crate::types::{Modes, Size, printable, quoted};

/// A command that every guest has.
const COMMAND: &str = "true";
/// The subsystem of scp and sftp.
const SFTP: &str = "sftp";
/// A variable that no list names, and one that nearly every client sends.
const ANY: &str = "PODGATE_TEST_LOGIN";
const USUAL: &str = "LANG";
/// Words for a request that the rules allow and this version does not carry out.
const UNSUPPORTED: &str = "allowed by the rules; this version of Podgate cannot forward connections";

/// One thing that a user may do or not.
pub(super) struct Permission {
    pub(super) name: &'static str,
    pub(super) result: StepResult,
    pub(super) detail: String,
}

/// Everything that a client can ask for.
pub(super) fn all(settings: &Settings, endpoints: Endpoints) -> Vec<Permission> {
    let (rules, pod) = (&settings.rules, &settings.kubernetes.pod);
    let start = |asked| decide(rules, asked, endpoints);
    vec![
        permission("shell", start(Asked::Shell).map(|launch| runs(&launch, pod))),
        permission("command", command(rules, pod, endpoints)),
        permission("subsystem sftp", start(Asked::Subsystem(SFTP.to_owned())).map(|launch| runs(&launch, pod))),
        permission("terminal", rules.decide(OpenTerminal { terminal: terminal() }).map(|_| String::new())),
        permission("environment", environment(rules)),
        forwarding("forwarding -L", rules.decide(tcp()).map(drop)),
        forwarding("forwarding -L socket", rules.decide(Dial::Unix { path: "/run/x".to_owned() }).map(drop)),
        forwarding("forwarding -R", rules.decide(Listen::Tcp { host: String::new(), port: 0 }).map(drop)),
        forwarding("forwarding -R socket", rules.decide(Listen::Unix { path: "/run/x".to_owned() }).map(drop)),
        forwarding("forwarding -X", rules.decide(Listen::X11).map(drop)),
    ]
}

/// The permit for the program that was asked for, or for the first of shell, command and sftp that may start; and what it
/// is, in words.
pub(super) fn launch(
    settings: &Settings,
    asked: Option<Asked>,
    endpoints: Endpoints,
) -> Result<(Permit<Launch>, String), Denied> {
    let rules = &settings.rules;
    let any = || {
        let commands = commands(rules).into_iter().map(Asked::Command);
        let all = std::iter::once(Asked::Shell).chain(commands).chain([Asked::Subsystem(SFTP.to_owned())]);
        all.collect()
    };
    let mut first = None;
    for asked in asked.map_or_else(any, |asked| vec![asked]) {
        match decide(rules, asked.clone(), endpoints) {
            Ok(permit) => {
                let detail = format!("{}: {}", in_words(&asked), runs(&permit, &settings.kubernetes.pod));
                return Ok((permit, detail));
            }
            Err(denied) => {
                first.get_or_insert(denied);
            }
        }
    }
    Err(first.unwrap_or(Denied::Shell))
}

fn decide(rules: &Rules, asked: Asked, endpoints: Endpoints) -> Result<Permit<Launch>, Denied> {
    rules.decide(Start { asked, env: Vec::new(), terminal: None, endpoints })
}

fn permission(name: &'static str, decided: Result<String, Denied>) -> Permission {
    match decided {
        Ok(detail) => Permission { name, result: StepResult::Allowed, detail },
        Err(denied) => Permission { name, result: StepResult::Denied, detail: format!("{denied} ({})", denied.code()) },
    }
}

fn forwarding(name: &'static str, decided: Result<(), Denied>) -> Permission {
    match permission(name, decided.map(|()| UNSUPPORTED.to_owned())) {
        permission if permission.result == StepResult::Allowed => {
            Permission { result: StepResult::Denied, ..permission }
        }
        permission => permission,
    }
}

/// The program that a permitted request starts, or the reason why this pod has none.
fn runs(launch: &Permit<Launch>, pod: &Pod) -> String {
    let launch = launch.request();
    match program(&launch.what, pod) {
        Ok(Some(words)) => {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("runs {}", words.join(" "))
        }
        Ok(None) => "runs the image's own program".to_owned(),
        Err(refusal) => refusal.reason,
    }
}

fn command(rules: &Rules, pod: &Pod, endpoints: Endpoints) -> Result<String, Denied> {
    let all = commands(rules);
    let permits: Result<Vec<_>, Denied> =
        all.iter().map(|command| decide(rules, Asked::Command(command.clone()), endpoints)).collect();
    let permits = permits?;
    let which = match rules.effective(rules.command.mode) {
        Mode::Filter => {
            let all: Vec<String> = all.iter().map(|command| quoted(&printable(command, 80))).collect();
            format!("only {}", all.join(", "))
        }
        _ => "any".to_owned(),
    };
    // Each of them runs the same where one is forced.
    let forced = permits.first().filter(|_| rules.force_command.is_some()).map(|permit| runs(permit, pod));
    Ok(forced.map_or_else(|| which.clone(), |runs| format!("{which}; {runs}")))
}

/// The commands that the rules name, or one that stands for all.
fn commands(rules: &Rules) -> Vec<String> {
    match rules.effective(rules.command.mode) {
        Mode::Filter if !rules.command.allow.is_empty() => rules.command.allow.clone(),
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

fn in_words(asked: &Asked) -> String {
    match asked {
        Asked::Shell => "shell".to_owned(),
        Asked::Command(command) => format!("command {}", quoted(&printable(command, 200))),
        Asked::Subsystem(name) => format!("subsystem {}", quoted(&printable(name, 64))),
    }
}
