//! OpenSSH's agent, `ssh-agent`, with the keys of a test.

use super::client::Client;
use super::gateway::SOON;
use super::{World, leash};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

/// An agent without keys, until some are added. It ends when it is dropped.
pub struct SshAgent {
    socket: PathBuf,
    _child: Child,
}

impl SshAgent {
    /// Starts one that listens at a name in a folder.
    pub async fn start(folder: &Path, name: &str) -> Self {
        let socket = folder.join(name);
        let mut child = leash::program("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("ssh-agent");
        // It says where it listens once it does.
        let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = timeout(SOON, said.next_line()).await.expect("in time").expect("a line");
        assert!(line.is_some_and(|line| line.contains("SSH_AUTH_SOCK")));
        Self { socket, _child: child }
    }

    /// Adds the private key in a file.
    pub async fn add(&self, key: &Path) {
        let added = leash::program("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).status().await;
        assert!(added.expect("ssh-add").success());
    }

    /// A client that has no keys but what the agent holds.
    pub fn client(&self, world: &World, user: &str, port: u16) -> Client {
        let mut command = leash::program("ssh");
        command.args(["-F", "/dev/null", "-p", &port.to_string()]).env_remove("DISPLAY");
        let known_hosts = format!("UserKnownHostsFile={}", world.known_hosts().display());
        let agent = format!("IdentityAgent={}", self.socket.display());
        let user = format!("User={user}");
        [&*known_hosts, &agent, &user, "IdentityFile=none", "GlobalKnownHostsFile=/dev/null", "BatchMode=yes"]
            .into_iter()
            .chain(["StrictHostKeyChecking=yes", "ConnectTimeout=20", "LogLevel=ERROR"])
            .fold(Client::of(command), Client::option)
    }
}
