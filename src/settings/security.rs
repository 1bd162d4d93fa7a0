//! `security`: the rules, parsed. What they mean is decided in [`crate::policy`].

use crate::config::reader::Section;
use crate::policy::{Forwarding, ListRule, Mode, Rules};

const MODES: [(&str, Mode); 3] = [("enable", Mode::Enable), ("filter", Mode::Filter), ("disable", Mode::Disable)];

/// Reads the section.
pub(super) fn read(section: &Section<'_>) -> Rules {
    let forwarding = section.section("forwarding");
    // -1 is no limit.
    let max_sessions = section.integer("maxSessions", -1..=i64::from(u32::MAX));
    Rules {
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
