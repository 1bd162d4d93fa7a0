//! `security`: parses the rules, which [`crate::policy`] applies, and reports rules without effect.

use crate::policy::{
    DestinationEntry, DestinationKind, Destinations, Forwarding, ListRule, RuleMode, Rules, is_signal,
};
use crate::schema::Section;
use crate::types::{printable, quoted};

const MODES: [(&str, RuleMode); 3] =
    [("enable", RuleMode::Enable), ("filter", RuleMode::Filter), ("disable", RuleMode::Disable)];

/// Reads the section and reports mistakes.
pub(super) fn read(section: &Section<'_>) -> Rules {
    let forwarding = section.section("forwarding");
    // -1 means no limit.
    let max_sessions = section.integer("maxSessions");
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
            agent: mode(&forwarding, "agentForwardingMode"),
            destinations: Destinations::new(destinations(&forwarding, "allow"), destinations(&forwarding, "deny")),
        },
        max_sessions: max_sessions.and_then(|sessions| u32::try_from(sessions).ok()),
        ..Rules::default()
    };
    report_lists(section, &rules);
    report_filters(section, &rules);
    rules
}

/// Reports lists without effect. A list that lets everything pass is a warning, because somebody relies on it.
fn report_lists(section: &Section<'_>, rules: &Rules) {
    let lists = [
        ("env", &rules.env, rules.restricted()),
        ("command", &rules.command, false),
        ("subsystem", &rules.subsystem, false),
        ("signal", &rules.signal, false),
    ];
    for (key, rule, allow_matters) in lists {
        match rules.effective(rule.mode) {
            RuleMode::Enable if !rule.allow.is_empty() && !allow_matters => {
                section.warning(&format!("{key}.allow"), "restricts nothing: the mode is not filter");
            }
            RuleMode::Filter if !rule.deny.is_empty() => {
                section
                    .notice(&format!("{key}.deny"), "has no effect with mode: filter, which uses only the allow list");
            }
            RuleMode::Enable | RuleMode::Filter | RuleMode::Disable | RuleMode::Unset => {}
        }
    }
    if rules.signal.deny.iter().any(|name| !is_signal(name)) {
        section
            .warning("signal.deny", "names a signal that SSH does not know (RFC 4254 section 6.10): it denies nothing");
    }
}

/// The modes of forwarding by their keys; the lists have entries for some.
fn forwarding_modes(rules: &Rules) -> [(&'static str, RuleMode, Option<DestinationKind>); 6] {
    let forwarding = &rules.forwarding;
    [
        ("forwarding.reverseForwardingMode", forwarding.reverse, Some(DestinationKind::Listener)),
        ("forwarding.forwardingMode", forwarding.direct, Some(DestinationKind::Dial)),
        ("forwarding.socketForwardingMode", forwarding.socket, Some(DestinationKind::Socket)),
        ("forwarding.socketListenMode", forwarding.socket_listen, Some(DestinationKind::SocketListener)),
        ("forwarding.x11ForwardingMode", forwarding.x11, None),
        ("forwarding.agentForwardingMode", forwarding.agent, None),
    ]
}

/// Reports modes `filter` without a list, and modes that let nothing pass because the list has nothing for them.
fn report_filters(section: &Section<'_>, rules: &Rules) {
    let destinations = &rules.forwarding.destinations;
    for (key, mode) in [("shell.mode", rules.shell), ("tty.mode", rules.tty)] {
        if mode == RuleMode::Filter {
            section.notice(key, "is the same as disable: there is no list to filter by");
        }
    }
    for (key, mode, kind) in forwarding_modes(rules) {
        let has_list = kind.is_some() && destinations.has_allow();
        let is_on = mode == RuleMode::Enable || (mode == RuleMode::Filter && has_list);
        if mode == RuleMode::Filter && !has_list {
            section.notice(key, "is the same as disable: there is no list to filter by");
        } else if is_on && kind.is_some_and(|kind| destinations.shown(kind).is_none()) {
            section.notice(key, "lets nothing pass: security.forwarding.allow has no entry of its kind");
        }
    }
    let is_used = |(_, mode, kind): &(&str, RuleMode, Option<DestinationKind>)| {
        kind.is_some() && matches!(mode, RuleMode::Enable | RuleMode::Filter)
    };
    if !destinations.is_empty() && !forwarding_modes(rules).iter().any(is_used) {
        let key = if destinations.has_allow() { "forwarding.allow" } else { "forwarding.deny" };
        section.notice(key, "has no effect: no mode of forwarding is enable or filter");
    }
}

fn mode(section: &Section<'_>, key: &'static str) -> RuleMode {
    let written = section.written(key).is_some_and(|mode| mode.as_str() != Some(""));
    if written { section.choice(key, &MODES).unwrap_or_default() } else { RuleMode::default() }
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

/// Reads the entries of `forwarding.allow` or `deny`; one that cannot be understood is a mistake.
fn destinations(section: &Section<'_>, key: &'static str) -> Vec<DestinationEntry> {
    let texts = section.texts(key).unwrap_or_default();
    let entry = |(index, text): (usize, &str)| match text.parse() {
        Ok(entry) => Some(entry),
        Err(mistake) => {
            section.error(&format!("{key}[{index}]"), format!("{} {mistake}", quoted(&printable(text, 80))));
            None
        }
    };
    texts.into_iter().enumerate().filter_map(entry).collect()
}

/// Reads the rule for signals without the prefix SIG: RFC 4254 section 6.10 names signals without it, so that an entry with
/// it would silently match nothing.
fn signal_rule(section: &Section<'_>) -> ListRule {
    let plain = |names: Vec<String>| -> Vec<String> {
        names.into_iter().map(|name| name.strip_prefix("SIG").unwrap_or(&name).to_owned()).collect()
    };
    let rule = list_rule(section, true);
    ListRule { mode: rule.mode, allow: plain(rule.allow), deny: plain(rule.deny) }
}
