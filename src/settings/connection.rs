//! A config webhook's say about `kubernetes.connection`: nothing, unless the file allows it, and then with values of its
//! own alone. Files of the gateway are never named from outside, and the file's credentials are never sent to a cluster
//! that an answer chose.

use super::overlay::at;
use crate::config::reader::Report;
use serde_json::{Map, Value, json};

type Tree = Map<String, Value>;

/// What is sent to prove who the gateway is.
const CREDENTIALS: [&str; 8] =
    ["cert", "certFile", "key", "keyFile", "bearerToken", "bearerTokenFile", "username", "password"];
/// Where credentials go and what is trusted there.
const TARGET: [&str; 3] = ["host", "serverName", "cacert"];
/// Names of files.
const FILES: [&str; 5] = ["kubeconfig", "cacertFile", "certFile", "keyFile", "bearerTokenFile"];
const OTHER: [&str; 3] = ["path", "qps", "burst"];

/// Takes the answer's connection out of `over` and lays it over the file's, where that is allowed. Whether it changed
/// anything. Keys that nobody knows stay, for the reader to report.
pub(super) fn lay_over(merged: &mut Tree, over: &mut Tree, allowed: bool, report: &Report) -> bool {
    let Some(Value::Object(kubernetes)) = over.get_mut("kubernetes") else { return false };
    let Some(Value::Object(answer)) = kubernetes.get_mut("connection") else { return false };
    let Some(base) = at(merged, &["kubernetes", "connection"]) else { return false };
    answer.retain(|key, value| effective(base, key).as_ref() != Some(value) && !same_number(base, key, value));
    let changes: Vec<String> = answer.keys().filter(|key| is_known(key)).cloned().collect();
    for key in &changes {
        let path = format!("kubernetes.connection.{key}");
        if !allowed {
            let text = "a config server may not change the connection, unless the file says configserver.allowConnection: true";
            report.error(path, text);
        } else if FILES.contains(&key.as_str()) {
            report.error(path, "a config server may not name files of the gateway; send the value itself");
        }
    }
    let touches = |keys: &[&str]| changes.iter().any(|key| keys.contains(&key.as_str()));
    if touches(&TARGET) && !touches(&CREDENTIALS) && allowed {
        let text = "a config server that changes it must also send the credentials for it; those in the file are not \
                    sent there";
        let key = TARGET.iter().find(|key| changes.iter().any(|change| change == *key)).unwrap_or(&"host");
        report.error(format!("kubernetes.connection.{key}"), text);
    }
    if touches(&TARGET) || touches(&CREDENTIALS) {
        CREDENTIALS.iter().for_each(|key| drop(base.remove(*key)));
    }
    if touches(&["cacert"]) {
        base.remove("cacertFile");
    }
    !changes.is_empty()
}

fn is_known(key: &str) -> bool {
    [&CREDENTIALS[..], &TARGET, &FILES, &OTHER].iter().any(|keys| keys.contains(&key))
}

/// What the file says, or what holds where it says nothing.
fn effective(base: &Tree, key: &str) -> Option<Value> {
    let default = || match key {
        "host" => Some(json!("kubernetes.default.svc")),
        "path" => Some(json!("/api")),
        "qps" => Some(json!(5)),
        "burst" => Some(json!(10)),
        _ if is_known(key) => Some(json!("")),
        _ => None,
    };
    base.get(key).filter(|value| **value != json!("")).cloned().or_else(default)
}

/// 5 and 5.0 are two values of JSON and one number.
fn same_number(base: &Tree, key: &str, value: &Value) -> bool {
    let base = effective(base, key).and_then(|value| value.as_f64());
    base.is_some() && base == value.as_f64()
}
