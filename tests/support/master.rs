//! A connection that many sessions share: OpenSSH's `ControlMaster`.

use super::World;
use super::client::{Client, PATIENCE};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tokio::time::timeout;

/// A master in the background; it ends when it is dropped.
pub struct Master<'a> {
    world: &'a World,
    socket: PathBuf,
}

impl World {
    /// Logs alice in and leaves the connection open for sessions. `options` are the connection's own.
    pub async fn master(&self, options: &[&str]) -> Master<'_> {
        self.master_with(options, &[]).await
    }

    /// The same with arguments, too.
    pub async fn master_with(&self, options: &[&str], arguments: &[&str]) -> Master<'_> {
        let socket = self.folder().join(format!("master-{:08x}", rand::random::<u32>()));
        let mut client = self.ssh().arg("-M").arg("-N").arg("-f").option(&format!("ControlPath={}", socket.display()));
        for option in options {
            client = client.option(option);
        }
        for argument in arguments {
            client = client.arg(argument);
        }
        let started = timeout(PATIENCE, client.arg("127.0.0.1").quietly()).await.expect("a login in time");
        assert!(started.success(), "the master did not start\n{}", self.gateway.log());
        Master { world: self, socket }
    }
}

impl Master<'_> {
    /// A session's client on the master's connection.
    pub fn ssh(&self) -> Client {
        self.client("ssh", "-p")
    }

    /// Another client of OpenSSH's on the master's connection.
    pub fn client(&self, program: &str, port_flag: &str) -> Client {
        self.options().iter().fold(self.world.client(program, port_flag), |client, option| client.option(option))
    }

    /// The command line for programs that start `ssh` themselves.
    pub fn command_line(&self) -> String {
        let mut line = self.world.ssh_command_line("alice");
        for option in self.options() {
            line.push_str(&format!(" -o {option}"));
        }
        line
    }

    fn options(&self) -> [String; 3] {
        // Without the master a session fails, where it would else log in by itself.
        ["User=alice".into(), format!("ControlPath={}", self.socket.display()), "ProxyCommand=false".into()]
    }
}

impl Drop for Master<'_> {
    fn drop(&mut self) {
        let path = format!("ControlPath={}", self.socket.display());
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-o", &path, "-O", "exit", "127.0.0.1"]);
        // A master whose connection has ended is gone already.
        let _gone = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
