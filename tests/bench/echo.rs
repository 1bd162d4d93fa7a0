//! How long a key takes until its echo is there: the time that a person feels, by way of a real terminal on both ends.

use crate::support::leash;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

/// The program at the far end. Its terminal echoes each key immediately, and nothing reads lines.
pub(crate) const PROGRAM: &str = "stty -icanon; echo ready; exec cat >/dev/null";
const PATIENCE: Duration = Duration::from_secs(30);

/// A client at a terminal of its own, with [`PROGRAM`] at the other end.
pub(crate) struct Typist {
    keys: ChildStdin,
    screen: BufReader<ChildStdout>,
    _child: Child,
}

impl Typist {
    /// Starts a client by a line for the shell. `script` gives it the terminal that `kubectl exec -t` insists on.
    pub(crate) async fn start(line: &str) -> Self {
        let mut command = leash::program("script");
        command.args(["--quiet", "--return", "--flush", "--command", line, "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("script");
        let keys = child.stdin.take().expect("its stdin");
        let mut screen = BufReader::new(child.stdout.take().expect("its stdout"));
        let mut said = String::new();
        while !said.ends_with("ready\r\n") {
            let read = timeout(PATIENCE, screen.read_line(&mut said)).await.expect("a line in time").expect("a line");
            assert!(read > 0, "the client ended: {said}");
        }
        Self { keys, screen, _child: child }
    }

    /// A key and its echo.
    pub(crate) async fn key(&mut self) -> Duration {
        let begun = Instant::now();
        self.keys.write_all(b"x").await.expect("the key is taken");
        let echo = timeout(PATIENCE, self.screen.read_u8()).await.expect("an echo in time").expect("an echo");
        assert_eq!(echo, b'x');
        begun.elapsed()
    }
}
