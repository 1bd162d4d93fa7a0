//! `security`: the rules, parsed. What they mean is decided in [`crate::policy`]; here is told what they do not do.

use crate::config::reader::Section;
use crate::policy::{Forwarding, ListRule, Mode, Rules, is_signal};

const MODES: [(&str, Mode); 3] = [("enable", Mode::Enable), ("filter", Mode::Filter), ("disable", Mode::Disable)];

/// Reads the section.
pub(super) fn read(section: &Section<'_>) -> Rules {
    let forwarding = section.section("forwarding");
    // -1 is no limit.
    let max_sessions = section.integer("maxSessions", -1..=i64::from(u32::MAX));
    let rules = Rules {
        default_mode: mode(section, "defaultMode"),
        force_command: section.text("forceCommand").map(str::to_owned),
        env: list_rule(&section.section("env"), true),
        command: list_rule(&section.section("command"), false),
        shell: mode(&section.section("shell"), "mode"),
        subsystem: list_rule(&section.section("subsystem"), true),
        tty: mode(&section.section("tty"), "mode"),
        signal: signal_rule(&section.section("signal")),
        forwarding: Forwarding {
            reverse: mode(&forwarding, "reverseForwardingMode"),
            direct: mode(&forwarding, "forwardingMode"),
            socket: mode(&forwarding, "socketForwardingMode"),
            socket_listen: mode(&forwarding, "socketListenMode"),
            x11: mode(&forwarding, "x11ForwardingMode"),
        },
        max_sessions: max_sessions.and_then(|sessions| u32::try_from(sessions).ok()),
    };
    tell_lists(section, &rules);
    tell_filters(section, &rules);
    tell_what_waits(section, &rules);
    rules
}

/// Lists that do not do what they look like. One that lets everything pass is a warning: somebody relies on it.
fn tell_lists(section: &Section<'_>, rules: &Rules) {
    let lists = [
        ("env", &rules.env, rules.restricted()),
        ("command", &rules.command, false),
        ("subsystem", &rules.subsystem, false),
        ("signal", &rules.signal, false),
    ];
    for (key, rule, allow_matters) in lists {
        match rules.effective(rule.mode) {
            Mode::Enable if !rule.allow.is_empty() && !allow_matters => {
                section.warning(&format!("{key}.allow"), "restricts nothing: the mode is not filter");
            }
            Mode::Filter if !rule.deny.is_empty() => {
                section
                    .notice(&format!("{key}.deny"), "has no effect with mode: filter, which uses only the allow list");
            }
            Mode::Enable | Mode::Filter | Mode::Disable | Mode::Unset => {}
        }
    }
    if rules.signal.deny.iter().any(|name| !is_signal(name)) {
        section
            .warning("signal.deny", "names a signal that SSH does not know (RFC 4254 section 6.10): it denies nothing");
    }
}

/// Each mode of forwarding by its key.
fn forwarding_modes(rules: &Rules) -> [(&'static str, Mode); 5] {
    let forwarding = &rules.forwarding;
    [
        ("forwarding.reverseForwardingMode", forwarding.reverse),
        ("forwarding.forwardingMode", forwarding.direct),
        ("forwarding.socketForwardingMode", forwarding.socket),
        ("forwarding.socketListenMode", forwarding.socket_listen),
        ("forwarding.x11ForwardingMode", forwarding.x11),
    ]
}

/// Modes that have no list to filter by.
fn tell_filters(section: &Section<'_>, rules: &Rules) {
    let others = [("shell.mode", rules.shell), ("tty.mode", rules.tty)];
    for (key, mode) in others.into_iter().chain(forwarding_modes(rules)) {
        if mode == Mode::Filter {
            section.notice(key, "is the same as disable: there is no list to filter by");
        }
    }
}

/// What may be done, and is not done yet. Users of a file that opened it miss it: a warning.
fn tell_what_waits(section: &Section<'_>, rules: &Rules) {
    for (key, mode) in forwarding_modes(rules) {
        if mode == Mode::Enable {
            section.warning(key, "is not built yet: requests that it allows are refused with this reason");
        }
    }
    if matches!(rules.signal.mode, Mode::Enable | Mode::Filter) {
        section.notice("signal.mode", "is checked, but a signal that it allows is not delivered yet");
    }
}

fn mode(section: &Section<'_>, key: &'static str) -> Mode {
    section.choice(key, &MODES).unwrap_or_default()
}

fn list_rule(section: &Section<'_>, has_deny: bool) -> ListRule {
    ListRule {
        mode: mode(section, "mode"),
        allow: list(section, "allow"),
        deny: if has_deny { list(section, "deny") } else { Vec::new() },
    }
}

fn list(section: &Section<'_>, key: &'static str) -> Vec<String> {
    section.texts(key).unwrap_or_default().into_iter().map(str::to_owned).collect()
}

/// RFC 4254 section 6.9 names signals without SIG; with it, an entry would silently match nothing.
fn signal_rule(section: &Section<'_>) -> ListRule {
    let plain = |names: Vec<String>| -> Vec<String> {
        names.into_iter().map(|name| name.strip_prefix("SIG").unwrap_or(&name).to_owned()).collect()
    };
    let rule = list_rule(section, true);
    ListRule { mode: rule.mode, allow: plain(rule.allow), deny: plain(rule.deny) }
}
