//! Which pod a program runs in: one of its own, or one that stays. (One a connection is what every other theme uses.)

mod known;
mod persistent;
mod single;
mod steps;

use crate::support::cluster::container;
use crate::support::{Setup, World};
use serde_json::{Value, json};

/// The configuration of mode session, with something merged into `kubernetes.pod`.
pub fn session(mut pod: Value) -> Value {
    pod["mode"] = json!("session");
    json!({"kubernetes": {"pod": pod}})
}

/// A world in mode session, with something merged into `kubernetes.pod`.
async fn session_world(pod: Value) -> World {
    Setup::config(session(pod)).start().await
}

/// The `spec` whose container runs a script by itself: as far as anybody can tell, the image's own program.
pub fn own_program(script: &str) -> Value {
    let mut container = container("shell");
    container["command"] = json!(["/bin/sh", "-c"]);
    container["args"] = json!([script]);
    json!({"shellCommand": [], "spec": {"containers": [container]}})
}

/// The configuration of mode persistent for the pod `den`, with something merged into `kubernetes.pod`.
pub fn persistent(mut pod: Value) -> Value {
    pod["mode"] = json!("persistent");
    pod["metadata"]["name"] = json!("den");
    json!({"kubernetes": {"pod": pod}})
}

/// A pod `den` that waits, as an operator would make it.
fn den(metadata: Value) -> Value {
    let mut container = container("shell");
    container["command"] = json!(["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]);
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}});
    pod["metadata"]["name"] = json!("den");
    pod
}
