//! Real clients and what they do all day, with guests that have the agent: copies, forwards, editors, and the SSH libraries
//! of other languages. Nothing of OpenSSH's is needed in the guest.

mod copies;
mod dropbear;
mod editors;
mod forwards;
mod mounts;
mod putty;
mod remote;
mod scripts;

use crate::support::{Setup, World, agent, cluster};
use serde_json::{Value, json};

/// The `kubernetes.pod` of a guest with the agent, on any cluster, without a program for SFTP.
fn pod() -> Value {
    let mut pod = if cluster::is_development() { agent::in_image() } else { json!({"disableAgent": false}) };
    pod["subsystems"] = Value::Null;
    pod
}

/// A world whose guests have the agent, and whose users may forward everything.
async fn world() -> World {
    let forwarding = json!({
        "reverseForwardingMode": "enable", "forwardingMode": "enable",
        "socketForwardingMode": "enable", "socketListenMode": "enable", "x11ForwardingMode": "enable",
        "agentForwardingMode": "enable",
    });
    Setup::config(json!({"kubernetes": {"pod": pod()}, "security": {"forwarding": forwarding}})).start().await
}
