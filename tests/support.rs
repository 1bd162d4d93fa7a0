//! A world for a test: a development cluster, a webhook server, and the gateway's own binary in front of them, all on
//! loopback and on ports that the system picked; and real OpenSSH clients to use it with. A world ends with its test: no
//! process and no file stays.
//!
//! Where `PODGATE_TEST_KUBECONFIG` names a kubeconfig, a world is on that cluster, in namespaces of its own.

pub mod client;
pub mod cluster;
pub mod flow;
pub mod gateway;
pub mod keys;
pub mod leash;
pub mod master;
pub mod path;
pub mod peer;
pub mod processes;
pub mod raw;
pub mod real;
pub mod role;
pub mod rude;
pub mod script;
pub mod sshd;
pub mod turn;
pub mod wire;
pub mod world;

pub use world::{Setup, World};

use std::process::Command;

/// Whether a program is there. Where it is not, the test passes by with a word about the package, or fails where
/// `PODGATE_TEST_ALL` says that everything must run.
pub fn available(program: &str, package: &str) -> bool {
    let found = program.starts_with('/') && std::path::Path::new(program).exists()
        || Command::new("sh").args(["-c", &format!("command -v {program}")]).output().is_ok_and(|o| o.status.success());
    if !found {
        assert!(std::env::var_os("PODGATE_TEST_ALL").is_none(), "{program} is missing: install {package}");
        eprintln!("passed by: {program} is missing; install {package}");
    }
    found
}
