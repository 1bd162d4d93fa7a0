//! A server under measurement, and OpenSSH's client against it: the same program, the same options, the same cipher.

use crate::support::leash;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// The cipher of every measurement: what a client of OpenSSH 10 and a gateway agree on if nobody configures any. (Kubernetes
/// and its clients use the same one in TLS.)
const CIPHER: &str = "aes128-gcm@openssh.com";
/// The time limit for a client.
const PATIENCE: Duration = Duration::from_secs(300);

/// A measured server, and how clients reach it.
pub(crate) struct Server {
    /// The server's name in the table.
    pub(crate) name: &'static str,
    /// The login name.
    pub(crate) user: String,
    /// Its port on loopback.
    pub(crate) port: u16,
    /// The client's private key.
    pub(crate) key: PathBuf,
}

impl Server {
    /// `ssh` with what every measurement has in common. Host keys are not what is measured.
    fn client(&self) -> Command {
        let mut command = leash::program("ssh");
        command.args(["-F", "/dev/null", "-T", "-p", &self.port.to_string(), "-c", CIPHER]).arg("-i").arg(&self.key);
        let user = format!("User={}", self.user);
        for option in [
            user.as_str(),
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            command.args(["-o", option]);
        }
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command
    }

    /// A login with one command that does nothing.
    pub(crate) async fn login(&self) -> Duration {
        timed(self.client().args(["127.0.0.1", "true"])).await
    }

    /// Opens a connection that others can use.
    pub(crate) async fn connect(&self, folder: &Path) -> Connection<'_> {
        let socket = folder.join(format!("{}.sock", self.name));
        let mut command = self.client();
        command.args(["-M", "-N", "-S"]).arg(&socket).arg("127.0.0.1");
        let master = command.spawn().expect("ssh");
        let begun = Instant::now();
        while !socket.exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "no connection to {}", self.name);
            sleep(Duration::from_millis(10)).await;
        }
        Connection { server: self, socket, _master: master }
    }
}

/// An open connection.
pub(crate) struct Connection<'a> {
    server: &'a Server,
    socket: PathBuf,
    _master: Child,
}

impl Connection<'_> {
    fn session(&self, command: &str) -> Command {
        let mut client = self.server.client();
        client.arg("-S").arg(&self.socket).args(["127.0.0.1", command]);
        client
    }

    /// A session that does nothing.
    pub(crate) async fn nothing(&self) -> Duration {
        timed(&mut self.session("true")).await
    }

    /// Measures the time in which a program's output is read and discarded.
    pub(crate) async fn out(&self, program: &str) -> Duration {
        timed(&mut self.session(program)).await
    }

    /// The words that run a program with a terminal.
    pub(crate) fn terminal(&self, program: &str) -> String {
        let client = format!("ssh -F /dev/null -tt -o LogLevel=ERROR -S '{}'", self.socket.display());
        format!("{client} 127.0.0.1 '{program}'")
    }

    /// A file to the server.
    pub(crate) async fn upload(&self, file: &Path) -> Duration {
        timed(self.session("cat >/dev/null").stdin(File::open(file).expect("the file"))).await
    }

    /// A batch of OpenSSH's `sftp`, which has as many requests under way as it has by itself.
    pub(crate) async fn sftp(&self, batch: &str) -> Duration {
        let mut client = leash::program("sftp");
        client
            .args(["-q", "-F", "/dev/null", "-b", "-"])
            .arg("-o")
            .arg(format!("ControlPath={}", self.socket.display()));
        client.arg("127.0.0.1").stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        let begun = Instant::now();
        let mut child = client.spawn().expect("sftp");
        let mut input = child.stdin.take().expect("its input");
        input.write_all(batch.as_bytes()).await.expect("sftp reads its batch");
        drop(input);
        let status = timeout(PATIENCE, child.wait()).await.expect("sftp ends").expect("its status");
        assert!(status.success(), "sftp ended with {status}: {batch}");
        begun.elapsed()
    }

    /// A program that never reads, and a client that would send for ever.
    pub(crate) fn stalled(&self) -> Child {
        let endless = File::open("/dev/zero").expect("/dev/zero");
        self.session("sleep 600").stdin(endless).spawn().expect("ssh")
    }
}

/// Runs a client to its end.
pub(crate) async fn timed(client: &mut Command) -> Duration {
    let begun = Instant::now();
    let mut child = client.spawn().expect("the client");
    let status: ExitStatus = timeout(PATIENCE, child.wait()).await.expect("the client ends").expect("its status");
    assert!(status.success(), "the client ended with {status}: {client:?}");
    begun.elapsed()
}
