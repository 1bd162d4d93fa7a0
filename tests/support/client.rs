//! Real OpenSSH clients, set up for a world.

use super::World;
use super::gateway::Gateway;
use super::leash;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The time limit for a client.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The beginning of the lines that say what a client waits for.
pub const WAITING: &str = "podgate: waiting: ";

/// The result of a client that has ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit status.
    pub status: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, as text, without the lines of `waited`.
    pub stderr: String,
    /// The lines that said what it waited for: a slow machine has them where a fast one has none.
    pub waited: Vec<String>,
}

impl Done {
    /// Reads the result of a client that has ended.
    pub fn of(output: Output) -> Self {
        Self::new(output.status, output.stdout, &String::from_utf8_lossy(&output.stderr))
    }

    fn new(status: ExitStatus, stdout: Vec<u8>, stderr: &str) -> Self {
        let lines = stderr.split_inclusive('\n').map(str::to_owned);
        let (waited, stderr): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with(WAITING));
        Self { status: status.code().unwrap_or(-1), stdout, stderr: stderr.concat(), waited }
    }

    /// The standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Asserts the exit status, and shows everything where it is another.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }
}

/// A client's command line, not started yet.
pub struct Client {
    command: Command,
    stdin: Option<Vec<u8>>,
}

/// The options that make every OpenSSH client of a world alike, for `-o`.
fn options(world: &World, key: &Path) -> Vec<String> {
    vec![
        "IdentitiesOnly=yes".into(),
        format!("IdentityFile={}", key.display()),
        "IdentityAgent=none".into(),
        "StrictHostKeyChecking=yes".into(),
        format!("UserKnownHostsFile={}", world.known_hosts().display()),
        "GlobalKnownHostsFile=/dev/null".into(),
        "LogLevel=ERROR".into(),
        "ConnectTimeout=60".into(),
    ]
}

impl World {
    /// `program` (ssh, scp, sftp) with the world's options and port; nothing is said about whom to reach.
    pub fn client(&self, program: &str, port_flag: &str) -> Client {
        self.client_of(&self.gateway, program, port_flag)
    }

    /// `ssh` as a user of another gateway of the world's.
    pub fn ssh_to(&self, gateway: &Gateway, user: &str) -> Client {
        self.client_of(gateway, "ssh", "-p").option(&format!("User={user}"))
    }

    fn client_of(&self, gateway: &Gateway, program: &str, port_flag: &str) -> Client {
        self.client_without_port(program).arg(port_flag).arg(gateway.address.port().to_string())
    }

    /// The same without a port.
    pub fn client_without_port(&self, program: &str) -> Client {
        let mut command = leash::program(program);
        command.arg("-F").arg("/dev/null");
        for option in options(self, &self.key.file) {
            command.arg("-o").arg(option);
        }
        command.env_remove("SSH_AUTH_SOCK").env_remove("DISPLAY");
        Client { command, stdin: None }.option("BatchMode=yes")
    }

    /// `ssh` as a user by the world's key. Arguments follow: options, then (as the last) the command.
    pub fn ssh_as(&self, user: &str) -> Client {
        self.client("ssh", "-p").option(&format!("User={user}"))
    }

    /// `ssh` as alice.
    pub fn ssh(&self) -> Client {
        self.ssh_as("alice")
    }

    /// `ssh` as a person at a terminal uses it: every method in the client's own order, who answers what is asked with
    /// [`PASSWORD`](super::world::PASSWORD), as often as the client asks.
    pub fn ssh_as_person(&self, user: &str) -> Client {
        self.asked(user, super::world::PASSWORD)
    }

    /// `ssh` as a user by a password alone, which is typed once.
    pub fn ssh_with_password(&self, user: &str, password: &str) -> Client {
        self.asked(user, password).option("PreferredAuthentications=password").option("NumberOfPasswordPrompts=1")
    }

    fn asked(&self, user: &str, password: &str) -> Client {
        let askpass = self.folder().join("askpass");
        std::fs::write(&askpass, "#!/bin/sh\nprintf '%s\\n' \"$PODGATE_TEST_PASSWORD\"\n").expect("askpass");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&askpass, mode).expect("askpass");
        let mut client = Client { command: leash::program("ssh"), stdin: None };
        client.command.arg("-F").arg("/dev/null").arg("-p").arg(self.port().to_string());
        for option in options(self, &self.key.file) {
            client.command.arg("-o").arg(option);
        }
        client
            .env("SSH_ASKPASS", &askpass.to_string_lossy())
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("PODGATE_TEST_PASSWORD", password)
            .option(&format!("User={user}"))
    }

    /// The command line for programs that start `ssh` themselves (rsync, git).
    pub fn ssh_command_line(&self, user: &str) -> String {
        let mut line = format!("ssh -F /dev/null -p {} -o BatchMode=yes -o User={user}", self.port());
        for option in options(self, &self.key.file) {
            line.push_str(&format!(" -o {option}"));
        }
        line
    }
}

impl Client {
    /// A client of one's own making, for another place than the world's gateway.
    pub fn of(command: Command) -> Self {
        Self { command, stdin: None }
    }

    /// An `-o` option.
    pub fn option(mut self, option: &str) -> Self {
        self.command.arg("-o").arg(option);
        self
    }

    /// An argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// An environment variable of the client's.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the standard input. By default it is empty.
    pub fn stdin(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(data.into());
        self
    }

    /// The host to reach (`ssh` only), then a command.
    pub async fn run(self, command: &str) -> Done {
        self.arg("127.0.0.1").arg(command).finish().await
    }

    /// Runs it to its end.
    pub async fn finish(self) -> Done {
        self.finish_within(PATIENCE).await
    }

    /// Runs it to its end, which must come within this time.
    pub async fn finish_within(mut self, limit: Duration) -> Done {
        let stdin = self.stdin.take();
        let mut child = self.spawn();
        let mut pipe = child.stdin.take();
        let write = async move {
            if let (Some(pipe), Some(data)) = (pipe.as_mut(), stdin) {
                // A client that wants no more closes its end.
                let _ = pipe.write_all(&data).await;
            }
            drop(pipe);
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut output, mut errors) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let all = async {
            tokio::join!(output.read_to_end(&mut stdout), errors.read_to_end(&mut stderr), write)
                .0
                .expect("the output");
            child.wait().await.expect("the client's end")
        };
        let Ok(status) = timeout(limit, all).await else {
            // The message names the state in which it stopped.
            panic!("it goes on after {limit:?}, {} bytes, {:?}", stdout.len(), String::from_utf8_lossy(&stderr));
        };
        Done::of(Output { status, stdout, stderr })
    }

    /// Starts a command on the host, to be talked to while it runs.
    pub fn start(self, command: &str) -> Running {
        self.arg("127.0.0.1").arg(command).launch()
    }

    /// Starts it as it is, to be talked to while it runs.
    pub fn launch(self) -> Running {
        let mut child = self.spawn();
        let stdin = child.stdin.take();
        let stdout = Said::listen(child.stdout.take().expect("a pipe"));
        let stderr = Said::listen(child.stderr.take().expect("a pipe"));
        Running { child, stdin, stdout, stderr }
    }

    /// Runs it to its end with nothing to read and nobody to hear it; what it leaves in the background is not waited for.
    pub async fn quietly(mut self) -> ExitStatus {
        let command = self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().await.expect("the client's program")
    }

    /// Starts it with pipes; it is killed when it is dropped.
    pub fn spawn(mut self) -> Child {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the client's program")
    }
}

/// A client that runs, to be talked to. It is killed when it is dropped.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Said,
    stderr: Said,
}

/// The output of a client so far, on one of its streams.
struct Said {
    text: watch::Receiver<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Said {
    fn listen(mut from: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, text) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            let mut piece = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut piece).await {
                sender.send_modify(|text| text.extend_from_slice(&piece[..count]));
            }
        });
        Self { text, task }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.borrow()).into_owned()
    }

    async fn until(&self, wanted: &str) {
        let mut text = self.text.clone();
        let found = text.wait_for(|text| String::from_utf8_lossy(text).contains(wanted));
        let found = timeout(PATIENCE, found).await.map(|found| found.is_ok());
        assert_eq!(found, Ok(true), "{wanted:?} did not come, but {:?}", self.text());
    }
}

impl Running {
    /// Waits until its standard output holds a text.
    pub async fn until_stdout(&self, wanted: &str) {
        self.stdout.until(wanted).await;
    }

    /// Waits until its standard error holds a text.
    pub async fn until_stderr(&self, wanted: &str) {
        self.stderr.until(wanted).await;
    }

    /// Its standard output so far.
    pub fn said(&self) -> String {
        self.stdout.text()
    }

    /// Its standard error so far.
    pub fn complained(&self) -> String {
        self.stderr.text()
    }

    /// Types something; nothing is said if the client wants no more.
    pub async fn write(&mut self, text: &str) {
        if let Some(stdin) = &mut self.stdin {
            // A client that has ended is found out by what is awaited of it.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
    }

    /// Ends what it reads.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Kills it as a machine that loses its power would, as far as a process can.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("a kill");
    }

    /// Waits for its end, its standard input open until then.
    pub async fn ended(mut self) -> Done {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("the client ends in time").expect("its status");
        for said in [&mut self.stdout, &mut self.stderr] {
            // A program that inherited its pipes (a master in the background) may hold them on.
            let _ = timeout(Duration::from_secs(20), &mut said.task).await;
        }
        let stdout = self.stdout.text.borrow().clone();
        Done::new(status, stdout, &self.stderr.text())
    }
}

/// A file of random bytes.
pub fn random_file(folder: &Path, name: &str, bytes: usize) -> (PathBuf, Vec<u8>) {
    let mut data = vec![0; bytes];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut data);
    let path = folder.join(name);
    std::fs::write(&path, &data).expect("a file");
    (path, data)
}
