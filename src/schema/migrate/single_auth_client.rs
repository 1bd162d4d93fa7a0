//! ContainerSSH 0.4 had one HTTP client for passwords and keys, directly below `auth`. Since 0.5 each method has its own.

use super::migration::Migration;
use crate::schema::keys::{self, ConfigKey};
use crate::schema::section::truth;
use crate::schema::tree::{Tree, get, put};
use serde_json::Value;

/// The names of the client's keys, which both methods get.
pub(crate) fn client_keys() -> impl Iterator<Item = &'static str> {
    keys::of_section("auth.password.webhook").map(ConfigKey::name)
}

/// Gives each method a client of its own, where there is the one of 0.4.
pub(super) fn translate(migration: &mut Migration) {
    let has_url = matches!(get(&migration.document, "auth.url"), Some(Value::String(url)) if !url.is_empty());
    let Some(Value::Object(auth)) = migration.document.get("auth").filter(|_| has_url) else { return };
    let mut auth = auth.clone();
    let asked = |auth: &Tree, key: &str| auth.get(key).map(truth);
    let new = ["password", "publicKey"].into_iter().filter(|step| has_method(&auth, step));
    let beside: Vec<_> = new.collect();
    if !beside.is_empty() {
        for step in beside {
            migration.refuse("auth.url", format!("cannot be combined with auth.{step}.webhook; move it there"));
        }
        client_keys().for_each(|key| drop(auth.remove(key)));
        migration.document.insert("auth".into(), Value::Object(auth));
        return;
    }
    // What is no truth value stays, for the reader to judge.
    let password = asked(&auth, "password").flatten().unwrap_or(true);
    let public_key = asked(&auth, "pubkey").flatten().unwrap_or(true);
    if !password && !public_key {
        migration.refuse("auth.url", "has no effect: auth.password and auth.pubkey are both false");
    }
    if public_key && !auth.contains_key("pubkey") {
        let text = "logins with keys are enabled, as in ContainerSSH 0.4 to 0.6; 0.3 enabled them only with pubkey: \
                    true. Remove the block if your server does not support them";
        migration.decide("auth.publicKey", text);
    }
    let steps: Vec<&str> =
        [(password, "password"), (public_key, "publicKey")].into_iter().filter(|(on, _)| *on).map(|(_, s)| s).collect();
    let client: Vec<(&str, Value)> = client_keys().filter_map(|key| Some((key, auth.remove(key)?))).collect();
    for key in ["password", "pubkey"] {
        if asked(&auth, key).flatten().is_some() {
            auth.remove(key);
            migration.says(format!("auth.{key}"), steps_said(key, &steps));
        }
    }
    migration.document.insert("auth".into(), Value::Object(auth));
    for step in &steps {
        put(&mut migration.document, &format!("auth.{step}.method"), "webhook".into());
    }
    for (key, value) in client {
        let paths: Vec<String> = steps.iter().map(|step| format!("auth.{step}.webhook.{key}")).collect();
        migration.moved(format!("auth.{key}"), &paths.iter().map(String::as_str).collect::<Vec<_>>());
        paths.iter().for_each(|path| put(&mut migration.document, path, value.clone()));
    }
}

fn steps_said(key: &str, steps: &[&str]) -> String {
    let step = if key == "pubkey" { "publicKey" } else { key };
    if steps.contains(&step) { format!("auth.{step}.method: webhook") } else { format!("a missing auth.{step}") }
}

fn has_method(auth: &Tree, step: &str) -> bool {
    let method = auth.get(step).and_then(|step| step.get("method"));
    method.and_then(Value::as_str).is_some_and(|method| !method.is_empty())
}
