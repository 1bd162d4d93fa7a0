//! The gateway as a process of its own, its log read line by line.

use super::leash::program;
use parking_lot::Mutex;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The time limit for what happens immediately, on a machine that has much else to do.
pub const SOON: Duration = Duration::from_secs(60);
/// The number of the gateway's own log lines that a failed test prints.
const LAST_LINES: usize = 300;

/// A running gateway.
pub struct Gateway {
    child: Child,
    reader: JoinHandle<()>,
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
    /// The listening address.
    pub address: SocketAddr,
}

impl Gateway {
    /// Starts the binary with a configuration file and waits until it listens.
    pub async fn start(config: &Path) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_podgate")), config).await
    }

    /// The same with a copy of the binary.
    pub async fn start_program(podgate: &Path, config: &Path) -> Self {
        Self::launch(podgate, config, ([127, 0, 0, 1], 0).into()).listening().await
    }

    /// Starts a command that becomes the gateway, and waits until it listens.
    pub async fn start_command(command: Command) -> Self {
        Self::spawn(command, ([127, 0, 0, 1], 0).into()).listening().await
    }

    async fn listening(self) -> Self {
        let mut gateway = self;
        let line = gateway.wait_for_line("SSH_AVAILABLE").await;
        gateway.address = line["details"]["address"].as_str().expect("an address").parse().expect("an address");
        gateway
    }

    /// Starts the binary, which is to listen there; waits for nothing.
    pub fn start_at(config: &Path, address: SocketAddr) -> Self {
        Self::launch(Path::new(env!("CARGO_BIN_EXE_podgate")), config, address)
    }

    fn launch(podgate: &Path, config: &Path, address: SocketAddr) -> Self {
        let mut command = program(podgate);
        command.arg("--config").arg(config).stdin(Stdio::null());
        Self::spawn(command, address)
    }

    fn spawn(mut command: Command, address: SocketAddr) -> Self {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the gateway's binary");
        let stdout = child.stdout.take().expect("a pipe");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, count) = watch::channel(0);
        let sink = lines.clone();
        let reader = tokio::spawn(async move {
            let mut reader = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                sink.lock().push(line);
                sender.send_modify(|count| *count += 1);
            }
        });
        Self { child, reader, lines, count, address }
    }

    /// Every log line so far.
    pub fn log(&self) -> String {
        self.lines.lock().join("\n")
    }

    /// Every log line with a code so far.
    pub fn lines(&self, code: &str) -> Vec<Value> {
        let lines = self.lines.lock().clone();
        let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["code"] == code).collect()
    }

    /// Waits for the first line with a code.
    pub async fn wait_for_line(&self, code: &str) -> Value {
        self.wait_for(|line| line["code"] == code).await
    }

    /// Waits for the first line for which `wanted` holds.
    pub async fn wait_for(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_within(super::cluster::soon(), wanted).await
    }

    /// Waits for so many lines for which `wanted` holds.
    pub async fn wait_for_lines(&self, wanted_count: usize, wanted: impl Fn(&Value) -> bool) {
        let mut count = self.count.clone();
        let found = async {
            loop {
                count.borrow_and_update();
                let lines = self.lines.lock().clone();
                let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                if lines.filter(|line| wanted(line)).count() >= wanted_count {
                    return;
                }
                assert!(count.changed().await.is_ok(), "the gateway ended:\n{}", self.log());
            }
        };
        let late = timeout(super::cluster::soon(), found).await.is_err();
        assert!(!late, "the awaited lines did not come:\n{}", self.log());
    }

    /// The same for a line that may take its time.
    pub async fn wait_within(&self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut count = self.count.clone();
        let found = async {
            loop {
                count.borrow_and_update();
                let lines = self.lines.lock().clone();
                if let Some(line) =
                    lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|line| wanted(line))
                {
                    return line;
                }
                assert!(count.changed().await.is_ok(), "the gateway ended:\n{}", self.log());
            }
        };
        match timeout(limit, found).await {
            Ok(line) => line,
            Err(_) => panic!("the awaited line did not come:\n{}", self.log()),
        }
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a running gateway")
    }

    /// The most memory that it ever had, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process's status");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }

    /// Sends a signal by its number's name.
    pub fn signal(&self, name: &str) {
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(SOON, self.child.wait()).await.expect("the gateway ends");
        // Its last lines may still be in the pipe.
        (&mut self.reader).await.expect("the log's reader");
        ended.expect("its status")
    }
}

/// A failed test prints the log.
impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.lines.lock();
            let own: Vec<&str> =
                lines.iter().map(String::as_str).filter(|line| !line.contains(r#""code":"LIBRARY""#)).collect();
            let last = own.get(own.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
            eprintln!("the log of the gateway at {}:\n{}\nits end", self.address, last.join("\n"));
        }
    }
}
