//! From a key of `security` to a decision: every mode of every section with every membership of its lists, own or
//! inherited; and the holes that an SSH gateway's policy can have, each closed.

use super::*;
use crate::policy::*;
use crate::types::{Modes, Size};

/// For each mode, whether what is in no list, in `allow`, in `deny`, in both passes: `y` or `-`.
struct Row {
    section: &'static str,
    enable: &'static str,
    filter: &'static str,
    disable: &'static str,
}

const fn row(section: &'static str, enable: &'static str, filter: &'static str, disable: &'static str) -> Row {
    Row { section, enable, filter, disable }
}

/// Sections that inherit `defaultMode`.
const INHERITING: [Row; 6] = [
    row("env", "yy--", "-y-y", "----"),
    // No deny list.
    row("command", "yyyy", "-y-y", "----"),
    row("subsystem", "yy--", "-y-y", "----"),
    row("signal", "yy--", "-y-y", "----"),
    // No lists.
    row("shell", "yyyy", "----", "----"),
    row("tty", "yyyy", "----", "----"),
];

/// Modes that stand alone: unset is disable, whatever `defaultMode` says.
const FORWARDING: [Row; 6] = [
    row("forwardingMode", "y", "-", "-"),
    row("socketForwardingMode", "y", "-", "-"),
    row("reverseForwardingMode", "y", "-", "-"),
    row("socketListenMode", "y", "-", "-"),
    row("x11ForwardingMode", "y", "-", "-"),
    row("agentForwardingMode", "y", "-", "-"),
];

impl Row {
    fn modes(&self) -> [(&'static str, &'static str); 3] {
        [("enable", self.enable), ("filter", self.filter), ("disable", self.disable)]
    }
}

fn rules(security: Value) -> Rules {
    settings("security", security).rules
}

fn endpoints() -> ConnectionEndpoints {
    ConnectionEndpoints { client: ([192, 0, 2, 7], 1).into(), server: ([192, 0, 2, 1], 2).into() }
}

fn start(asked: ProgramRequest) -> StartProgram {
    StartProgram { request: asked, env: Vec::new(), terminal: None, endpoints: endpoints() }
}

fn env(name: &str) -> SetEnv {
    SetEnv { name: name.into(), value: "x".into(), held: 0, held_bytes: 0 }
}

fn terminal() -> OpenTerminal {
    OpenTerminal { terminal: Terminal { term: "xterm".into(), size: Size::default(), modes: Modes::default() } }
}

fn denial<R: PolicyRequest>(rules: &Rules, request: R) -> Option<Denied> {
    rules.decide(request).err()
}

/// What a section says to a name.
fn asked(rules: &Rules, section: &str, name: &str) -> Option<Denied> {
    match section {
        "env" => denial(rules, env(name)),
        "command" => denial(rules, start(ProgramRequest::Exec(name.into()))),
        "subsystem" => denial(rules, start(ProgramRequest::Subsystem(name.into()))),
        "signal" => denial(rules, SendSignal { name: name.into() }),
        "shell" => denial(rules, start(ProgramRequest::Shell)),
        "tty" => denial(rules, terminal()),
        "forwardingMode" => denial(rules, Dial::Tcp { host: "h".into(), port: 1 }),
        "socketForwardingMode" => denial(rules, Dial::Unix { path: "/s".into() }),
        "reverseForwardingMode" => denial(rules, Listen::Tcp { host: String::new(), port: 0 }),
        "socketListenMode" => denial(rules, Listen::Unix { path: "/s".into() }),
        "x11ForwardingMode" => denial(rules, Listen::X11(X11Forwarding::default())),
        "agentForwardingMode" => denial(rules, Listen::Agent),
        other => panic!("{other}"),
    }
}

/// Names that serve as variable, command, subsystem and signal: in no list, in `allow`, in `deny`, in both.
const NAMES: [&str; 4] = ["HUP", "TERM", "KILL", "INT"];

fn block(section: &str) -> Value {
    match section {
        "shell" | "tty" => json!({}),
        "command" => json!({"allow": ["TERM", "INT"]}),
        _ => json!({"allow": ["TERM", "INT"], "deny": ["KILL", "INT"]}),
    }
}

/// The security section in which a section's own mode and `defaultMode` are these; `""` is unset.
fn security(section: &str, own: &str, default: &str) -> Value {
    let mut security = json!({"defaultMode": default, section: block(section)});
    security[section]["mode"] = json!(own);
    if section == "env" {
        // What a variable may be where commands or shells are restricted is a rule of its own, below.
        security["command"] = json!({"mode": "enable"});
        security["shell"] = json!({"mode": "enable"});
    }
    security
}

#[track_caller]
fn holds(section: &str, security: &Value, expected: &str) {
    let rules = rules(security.clone());
    for (name, pass) in NAMES.iter().zip(expected.chars()) {
        let denied = asked(&rules, section, name);
        assert_eq!(denied.is_none(), pass == 'y', "{security}: {section} {name}: {denied:?}");
    }
}

#[test]
fn every_mode_with_every_list_decides_as_documented() {
    for row in INHERITING {
        for (mode, expected) in row.modes() {
            for default in ["", "enable", "filter", "disable"] {
                holds(row.section, &security(row.section, mode, default), expected);
            }
            holds(row.section, &security(row.section, "", mode), expected);
        }
        holds(row.section, &security(row.section, "", ""), row.enable);
        holds(row.section, &json!({row.section: block(row.section)}), row.enable);
    }
}

#[test]
fn every_forwarding_mode_decides_for_itself_alone() {
    for row in FORWARDING {
        for default in ["", "enable", "filter", "disable"] {
            for (mode, expected) in row.modes().into_iter().chain([("", "-")]) {
                let security = json!({"defaultMode": default, "forwarding": {row.section: mode}});
                holds(row.section, &security, expected);
                for other in FORWARDING.iter().filter(|other| other.section != row.section) {
                    holds(other.section, &security, "-");
                }
            }
            holds(row.section, &json!({"defaultMode": default}), "-");
        }
    }
}

#[test]
fn misspelt_mode_of_forwarding_opens_nothing() {
    // An unknown word as "allow" would be a hole.
    for row in FORWARDING {
        for word in ["disabled", "Enable", "true", "off", "deny"] {
            let path = format!("security.forwarding.{}", row.section);
            let errors = with(&path, json!(word)).expect_err("an unknown mode");
            assert!(has(&errors, &path, "is not one of"), "{errors}");
        }
    }
}

#[test]
fn signals_follow_their_own_mode_and_not_the_shell_s() {
    let no_shell = rules(json!({"shell": {"mode": "disable"}}));
    assert_eq!(asked(&no_shell, "signal", "TERM"), None);
    let no_signals = rules(json!({"shell": {"mode": "enable"}, "signal": {"mode": "disable"}}));
    assert_eq!(asked(&no_signals, "signal", "TERM"), Some(Denied::Signal));
    let with_prefix = rules(json!({"signal": {"mode": "filter", "allow": ["SIGTERM"]}}));
    assert_eq!(asked(&with_prefix, "signal", "TERM"), None);
    assert_eq!(asked(&with_prefix, "signal", "SIGTERM"), Some(Denied::Signal));
    let denied = rules(json!({"signal": {"deny": ["SIGKILL"]}}));
    assert_eq!(asked(&denied, "signal", "KILL"), Some(Denied::Signal));
}

#[test]
fn max_sessions_counts_what_is_open_and_zero_is_none() {
    for (max, open, denied) in [(0, 0, true), (2, 2, true), (2, 1, false), (-1, 1000, false)] {
        let rules = rules(json!({"maxSessions": max}));
        assert_eq!(denial(&rules, OpenSession { open }).is_some(), denied, "{max} {open}");
    }
}

#[test]
fn forced_command_opens_nothing_and_believes_no_client() {
    // Each request has to pass its own rule before the forced command takes its place.
    for (section, request) in [
        ("shell", ProgramRequest::Shell),
        ("command", ProgramRequest::Exec("ls".into())),
        ("subsystem", ProgramRequest::Subsystem("sftp".into())),
    ] {
        for mode in ["disable", "filter"] {
            let rules = rules(json!({"forceCommand": "menu", section: {"mode": mode}}));
            assert!(denial(&rules, start(request.clone())).is_some(), "{section} {mode}");
        }
    }
    let rules =
        rules(json!({"forceCommand": "menu", "env": {"mode": "filter", "allow": ["SSH_ORIGINAL_COMMAND", "A"]}}));
    assert_eq!(denial(&rules, env("SSH_ORIGINAL_COMMAND")), Some(Denied::EnvProtected));
    assert_eq!(denial(&rules, env("A")), None);
    let launch = rules.decide(start(ProgramRequest::Shell)).expect("allowed").spend();
    assert!(launch.env.iter().all(|variable| variable.name().as_str() != "SSH_ORIGINAL_COMMAND"));
}

#[test]
fn variables_are_no_way_around_a_restriction() {
    for restriction in [
        json!({"forceCommand": "menu"}),
        json!({"command": {"mode": "filter", "allow": ["ls"]}}),
        json!({"command": {"mode": "disable"}}),
        json!({"shell": {"mode": "disable"}}),
        json!({"defaultMode": "filter", "env": {"mode": "enable"}}),
        json!({"defaultMode": "disable", "env": {"mode": "enable"}}),
    ] {
        let rules = rules(restriction.clone());
        for name in ["LD_PRELOAD", "BASH_ENV", "ENV", "SSH_CONNECTION", "PATH", "IFS", "PYTHONSTARTUP"] {
            assert!(denial(&rules, env(name)).is_some(), "{restriction} {name}");
        }
        assert_eq!(denial(&rules, env("LC_ALL")), None, "{restriction}");
    }
    // The loader's are never the client's, restricted or not.
    assert_eq!(
        denial(&rules(json!({"env": {"allow": ["LD_PRELOAD"]}})), env("LD_PRELOAD")),
        Some(Denied::EnvProtected)
    );
}

/// The warnings and notices of a file with these rules, by path.
fn told(security: Value) -> Vec<(String, bool)> {
    let config = with("security", security).unwrap_or_else(|errors| panic!("{errors}"));
    config.notices.into_iter().map(|notice| (notice.path, notice.warn)).collect()
}

#[test]
fn list_that_lets_everything_pass_is_a_warning() {
    for (rules, path) in [
        (json!({"command": {"allow": ["ls"]}}), "security.command.allow"),
        (json!({"subsystem": {"mode": "enable", "allow": ["sftp"]}}), "security.subsystem.allow"),
        (json!({"defaultMode": "enable", "signal": {"allow": ["TERM"]}}), "security.signal.allow"),
        (json!({"env": {"allow": ["A"]}}), "security.env.allow"),
        (json!({"signal": {"deny": ["TREM"]}}), "security.signal.deny"),
    ] {
        assert_eq!(told(rules.clone()), [(path.to_owned(), true)], "{rules}");
    }
    for rules in [
        json!({"command": {"mode": "filter", "allow": ["ls"]}}),
        json!({"defaultMode": "filter", "subsystem": {"allow": ["sftp"]}}),
        json!({"subsystem": {"deny": ["sftp"]}, "signal": {"deny": ["SIGKILL"]}}),
        // Beside a restriction, the list of an enabled env names what may pass it.
        json!({"forceCommand": "menu", "env": {"allow": ["A"]}}),
        json!({"command": {"mode": "disable", "allow": ["ls"]}}),
        json!({"signal": {"mode": "enable"}, "forwarding": {"forwardingMode": "enable", "deny": ["a:1"]}}),
        json!({"forwarding": {"forwardingMode": "filter", "allow": ["a:1"]}}),
    ] {
        assert_eq!(told(rules.clone()), [], "{rules}");
    }
}

#[test]
fn mode_and_list_without_an_effect_are_noticed() {
    for (rules, path) in [
        (json!({"shell": {"mode": "filter"}}), "security.shell.mode"),
        (json!({"tty": {"mode": "filter"}}), "security.tty.mode"),
        (json!({"forwarding": {"x11ForwardingMode": "filter"}}), "security.forwarding.x11ForwardingMode"),
        (json!({"forwarding": {"agentForwardingMode": "enable", "allow": ["a:1"]}}), "security.forwarding.allow"),
        (json!({"forwarding": {"deny": ["a:1"]}}), "security.forwarding.deny"),
        (
            json!({"forwarding": {"forwardingMode": "enable", "reverseForwardingMode": "filter", "allow": ["a:1"]}}),
            "security.forwarding.reverseForwardingMode",
        ),
        (json!({"env": {"mode": "filter", "allow": ["A"], "deny": ["B"]}}), "security.env.deny"),
    ] {
        assert_eq!(told(rules.clone()), [(path.to_owned(), false)], "{rules}");
    }
}

#[test]
fn destination_that_is_none_is_a_mistake_by_its_place_in_file_and_answer() {
    for (key, text, part) in [
        ("allow", "db", "has no port"),
        ("deny", "10.0.0.1/8:22", "is not the beginning of its network; write 10.0.0.0/8"),
        ("allow", "::1:22", "has an IPv6 address without brackets"),
        ("deny", "unix:x", "has no valid path"),
        ("allow", "listen:db:80", "has no valid address to listen on"),
    ] {
        let lists = json!({key: ["*:1", text]});
        let errors = with("security.forwarding", lists.clone()).expect_err("a mistake");
        assert!(has(&errors, &format!("security.forwarding.{key}[1]"), part), "{errors}");
        let config = with("security", json!({})).unwrap_or_else(|errors| panic!("{errors}"));
        let answer = given(&json!({"security": {"forwarding": lists}}), false);
        assert!(Settings::resolve(&config.base, Some(&answer)).is_err(), "{text}");
    }
}

#[test]
fn destinations_decide_beside_the_modes() {
    let modes = |mode: &str| {
        json!({"forwarding": {
            "forwardingMode": mode, "socketForwardingMode": mode, "reverseForwardingMode": mode, "socketListenMode": mode,
            "x11ForwardingMode": mode, "agentForwardingMode": mode,
            "allow": ["h:1", "unix:/s", "listen:*:*", "listen:unix:/s"],
        }})
    };
    for row in FORWARDING {
        for (mode, listless) in [("disable", false), ("", false), ("filter", false), ("enable", true)] {
            let has_list = !matches!(row.section, "x11ForwardingMode" | "agentForwardingMode");
            let passes = listless || (mode == "filter" && has_list);
            let denied = asked(&rules(modes(mode)), row.section, "");
            assert_eq!(denied.is_none(), passes, "{} {mode}: {denied:?}", row.section);
        }
    }
    let rules = rules(json!({"forwarding": {
        "forwardingMode": "enable", "socketForwardingMode": "filter", "reverseForwardingMode": "enable",
        "socketListenMode": "enable", "allow": ["g:1"],
    }}));
    assert_eq!(asked(&rules, "forwardingMode", ""), Some(Denied::Destination));
    assert_eq!(asked(&rules, "socketForwardingMode", ""), Some(Denied::Destination));
    assert_eq!(asked(&rules, "reverseForwardingMode", ""), Some(Denied::ListenDestination));
    assert_eq!(asked(&rules, "socketListenMode", ""), Some(Denied::ListenDestination));
}
