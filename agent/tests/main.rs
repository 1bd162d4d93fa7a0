//! The agent's program from outside: its command line, its link, and the protocols that it speaks on its standard streams.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod containerssh;
mod gateway;
mod holder;
mod main_process;
mod scp;
mod sftp;
mod static_file;

use rustix::net::{AddressFamily, SocketType};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The agent's program.
const AGENT: &str = env!("CARGO_BIN_EXE_podgate-agent");

/// A program that is killed, with everything that it starts, when this test run has ended.
fn leashed(mut command: Command) -> Command {
    podgate_devcluster::leash(&mut command).unwrap();
    command
}

/// Waits for something that happens.
fn until(mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(Instant::now() < deadline, "it did not happen");
        std::thread::yield_now();
    }
}

/// A port of this machine on which nobody listens: connections to it are refused, and nobody else is given it. A program
/// that names it can listen on it.
fn reserved_port() -> (OwnedFd, u16) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    (socket, address.port())
}

/// Tells whether this machine lets a test make namespaces. Where everything is to be tested, it has to.
fn has_namespaces() -> bool {
    let made = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null()).status();
    let made = made.is_ok_and(|status| status.success());
    assert!(made || std::env::var_os("PODGATE_TEST_ALL").is_none(), "unshare is missing, or this user may not use it");
    made
}

/// The agent in one of its modes, with pipes.
fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(AGENT);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    leashed(command)
}
