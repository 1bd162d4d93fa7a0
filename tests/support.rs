//! A world for a test: a development cluster, a webhook server and the gateway's binary, all on loopback with ports
//! that the system chooses, and real OpenSSH clients. A world ends with its test, and leaves no process and no file.
//!
//! If `PODGATE_TEST_KUBECONFIG` names a kubeconfig, a world uses that cluster, in namespaces of its own.

pub mod agent;
pub mod client;
pub mod cluster;
pub mod cluster_lock;
pub mod flow;
pub mod gateway;
pub mod helm;
pub mod idle_proxy;
pub mod keys;
pub mod leash;
pub mod master;
pub mod minimal_client;
pub mod muting_proxy;
pub mod peer;
pub mod processes;
pub mod raw_client;
pub mod real;
pub mod role;
pub mod scripted_webhook;
pub mod ssh_agent;
pub mod sshd;
pub mod world;

pub use world::{Setup, World};

use std::process::Command;
use tokio::net::TcpSocket;

/// Returns a port of 127.0.0.1 that no other test is given while the socket is held: it refuses connections until a program
/// that names it listens on it.
pub fn held_port() -> (TcpSocket, u16) {
    let held = TcpSocket::new_v4().expect("a socket");
    held.set_reuseaddr(true).expect("a shared address");
    held.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let port = held.local_addr().expect("an address").port();
    (held, port)
}

/// Returns whether a program is installed. If not, prints the missing package, so that the test can be skipped,
/// or fails if `PODGATE_TEST_ALL` is set.
pub fn available(program: &str, package: &str) -> bool {
    let found = program.starts_with('/') && std::path::Path::new(program).exists()
        || Command::new("sh").args(["-c", &format!("command -v {program}")]).output().is_ok_and(|o| o.status.success());
    if !found {
        assert!(std::env::var_os("PODGATE_TEST_ALL").is_none(), "{program} is missing: install {package}");
        eprintln!("skipped: {program} is missing; install {package}");
    }
    found
}
