//! What stands in a file as before and means something else today, because ContainerSSH did not do what it said.

use super::migration::Migration;
use crate::schema::duration;
use crate::schema::keys::{self, KeyKind};
use crate::schema::tree::{get, is_zero, take_out};
use serde_json::{Value, json};
use std::time::Duration;

const PASSWORD_TIMEOUT: &str = "auth.password.webhook.timeout";
/// The time that a slow directory should have; ContainerSSH's default of 2 s, which it writes into files, is less.
const SLOW: Duration = Duration::from_secs(10);

/// Notes what a person should look at, and takes out what ContainerSSH read as unset.
pub(super) fn look(migration: &mut Migration) {
    let at = |path: &str| get(&migration.document, path);
    let mut decisions = Vec::new();
    if let Some(Value::Number(sessions)) = at("security.maxSessions") {
        match sessions.as_i64() {
            Some(0) => decisions.push((
                "security.maxSessions",
                "0 is no session at all; ContainerSSH read it as no limit, which is -1",
            )),
            Some(1..) => decisions.push((
                "security.maxSessions",
                "counts the sessions that are open at once; ContainerSSH counted all of a connection's life",
            )),
            _ => {}
        }
    }
    if matches!(at("log.level"), Some(level) if *level == json!("emerg") || *level == json!(0)) {
        decisions.push(("log.level", "emerg is used as written; ContainerSSH read it as notice"));
    }
    if at("security.signal.mode").is_some_and(|mode| mode.as_str().is_some_and(|mode| !mode.is_empty())) {
        decisions.push(("security.signal.mode", "has an effect now; ContainerSSH used security.shell.mode"));
    }
    if at(PASSWORD_TIMEOUT).is_some_and(is_short) {
        decisions.push((
            PASSWORD_TIMEOUT,
            "a password is sent only once now: if your directory needs longer than this, the login fails; without this \
             key, the limit is authTimeout",
        ));
    }
    if at("audit.enable") == Some(&json!(true)) {
        decisions.extend(recordings(&at));
    }
    for (path, text) in decisions {
        migration.decide(path, text);
    }
    zero_durations(migration);
    if get(&migration.document, "ssh.clientAliveCountMax") == Some(&json!(0)) {
        take_out(&mut migration.document, "ssh.clientAliveCountMax");
        migration.gone("ssh.clientAliveCountMax", "ContainerSSH read 0 as 3, which is the default");
    }
}

/// Differences of recordings that are made.
fn recordings<'a>(at: &impl Fn(&str) -> Option<&'a Value>) -> Vec<(&'static str, &'static str)> {
    let format = at("audit.format").and_then(Value::as_str).unwrap_or("none");
    if format == "none" {
        return Vec::new();
    }
    let mut decisions = Vec::new();
    if at("audit.intercept.passwords").is_none_or(is_zero) {
        decisions.push((
            "audit.intercept.passwords",
            "passwords and X11 cookies are recorded only if this is true; ContainerSSH recorded them always",
        ));
    }
    if at("audit.onFailure").is_none() {
        decisions.push(("audit.onFailure", "a connection that cannot be recorded ends; bestEffort lets it go on"));
    }
    if format == "asciinema" {
        decisions.push((
            "audit.format",
            "each program has a file of its own, ID-CHANNEL.cast; ContainerSSH wrote those of a connection into one",
        ));
    }
    decisions
}

/// True for a duration that is set and leaves a slow directory no time.
fn is_short(value: &Value) -> bool {
    !is_zero(value) && duration::read(value).is_ok_and(|time| time < SLOW)
}

/// Takes out the durations of 0 that ContainerSSH read as its default, which is ours. A duration that can be 0 stays: there it
/// means off, for ContainerSSH too.
fn zero_durations(migration: &mut Migration) {
    for key in keys::all().iter().filter(|key| matches!(key.kind, KeyKind::Duration(1..))) {
        let Some(default) = key.default.as_ref().filter(|default| !is_zero(default)) else { continue };
        let zero = get(&migration.document, &key.path).is_some_and(|value| !value.is_null() && is_zero(value));
        if zero {
            take_out(&mut migration.document, &key.path);
            let shown = default.as_str().unwrap_or_default();
            migration.gone(key.path.clone(), format!("ContainerSSH read 0 as its default, which is {shown} here"));
        }
    }
}
