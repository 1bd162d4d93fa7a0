//! Forwards of real OpenSSH clients into a guest that is this machine: denied and refused ones first.

mod local_guest;
mod panics;

use crate::auth::{AuthConfig, AuthWebhook, Authenticator};
use crate::config::Config;
use crate::config::fixture::{MemoryFiles, minimal, set};
use crate::heartbeat::Heartbeats;
use crate::registry::Registry;
use crate::schema::Format;
use crate::shutdown::Tasks;
use crate::ssh::{Listener, Server, Snapshot};
use crate::telemetry::capture::{self, CapturedLog};
use crate::telemetry::{Log, LogFormat};
use crate::webhook::fake::{FakeWebhook, yes};
use local_guest::{LocalGuests, NO_FORWARDS};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs, UnixListener, UnixStream};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The time for what happens, however loaded the machine is.
const SOON: Duration = Duration::from_secs(60);
const KINDS: [&str; 6] = [
    "reverseForwardingMode",
    "forwardingMode",
    "socketForwardingMode",
    "socketListenMode",
    "x11ForwardingMode",
    "agentForwardingMode",
];

/// A gateway with a guest on this machine.
struct Gateway {
    address: SocketAddr,
    folder: TempDir,
    registry: Registry,
    tasks: Tasks,
    serving: JoinHandle<()>,
    log: Log,
    lines: CapturedLog,
    _webhook: FakeWebhook,
}

impl Gateway {
    /// A gateway where the rules allow every kind of forward, or none.
    async fn start(mode: &str, guests: LocalGuests) -> Self {
        crate::tls::install();
        let folder = tempfile::tempdir().unwrap();
        for name in ["host", "user"] {
            make_key(&folder.path().join(name));
        }
        let host_key = std::fs::read_to_string(folder.path().join("host")).unwrap();
        let files = MemoryFiles::new().with("/etc/podgate/hostkey", &host_key);
        let tree = KINDS.iter().fold(set(minimal(), "log.level", "debug".into()), |tree, kind| {
            set(tree, &format!("security.forwarding.{kind}"), mode.into())
        });
        let config = Config::parse(&tree.to_string(), Format::Json, &files).unwrap();
        let webhook = FakeWebhook::start(|_, _| yes()).await;
        let public_key = Some(AuthWebhook { client: webhook.block(), auth_timeout: SOON });
        let auth = Authenticator::new(&AuthConfig { password: None, public_key, authz: None }).unwrap();
        let snapshot = Snapshot::build(&config, auth, None, Arc::new(guests), None).unwrap();
        let (log, lines) = capture::log(LogFormat::Text);
        let (registry, tasks) = (Registry::default(), Tasks::new());
        let server = Server::new(
            vec![Listener::on_loopback().await],
            snapshot,
            registry.clone(),
            Heartbeats::default(),
            log.clone(),
        );
        let address = server.local_addrs()[0];
        let serving = tokio::spawn(server.run(tasks.clone()));
        Self { address, folder, registry, tasks, serving, log, lines, _webhook: webhook }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client's command line; options and the command follow.
    fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-v", "-p"]).arg(self.address.port().to_string()).arg("-i");
        command.arg(self.path("user"));
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "User=alice",
        ] {
            command.arg("-o").arg(option);
        }
        podgate_devcluster::leash(&mut command).unwrap();
        command.env_remove("SSH_AUTH_SOCK").env_remove("DISPLAY");
        command
    }

    /// A client that runs `cat` in the guest behind a line, which has come when this returns.
    async fn session(&self, options: &[&str], line: &str) -> Session {
        let mut command = self.ssh();
        command.args(options).arg("127.0.0.1").arg(format!("echo \"{line}\"; cat"));
        Session::begin(command).await
    }

    fn text(&self) -> String {
        self.lines.text(&self.log)
    }

    /// Ends every connection, and waits until nothing of them is left.
    async fn end(self) {
        for (_, connection) in self.registry.all() {
            connection.disconnect("the test ends");
        }
        timeout(SOON, self.tasks.finish()).await.unwrap();
        self.serving.await.unwrap();
    }
}

fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(made.success());
}

/// A client whose command runs.
struct Session {
    client: Child,
    line: String,
}

impl Session {
    async fn begin(command: Command) -> Self {
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut client = command.spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(client.stdout.as_mut().unwrap());
        timeout(SOON, output.read_line(&mut line)).await.unwrap().unwrap();
        Self { client, line: line.trim_end().to_owned() }
    }

    /// Ends the command, and returns what the client said.
    async fn end(mut self) -> String {
        drop(self.client.stdin.take());
        let done = timeout(SOON, self.client.wait_with_output()).await.unwrap().unwrap();
        String::from_utf8_lossy(&done.stderr).into_owned()
    }
}

/// Sends all of `sent`, ends that direction, and reads the other one to its end.
async fn exchange<S: AsyncRead + AsyncWrite>(stream: S, sent: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut received = Vec::new();
    let sending = async {
        write.write_all(sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (read, ()) = timeout(SOON, async { tokio::join!(read.read_to_end(&mut received), sending) }).await.unwrap();
    read.unwrap();
    received
}

/// Answers each connection with what it sent, and `bye`, once its client has ended its direction.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    received.extend_from_slice(b"bye");
    stream.write_all(&received).await.unwrap();
    stream.shutdown().await.unwrap();
}

/// A TCP server that answers.
async fn tcp_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

/// The same on a Unix socket.
fn unix_server(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
}

/// An address that nobody listens on.
async fn free() -> SocketAddr {
    // Not 127.0.0.1: there, another test may be given the port as soon as it is free again.
    TcpListener::bind("127.0.0.9:0").await.unwrap().local_addr().unwrap()
}

/// Waits until nothing listens at an address, whose listener is closed: a program that another test starts has a copy of it
/// until its exec.
async fn is_refused(address: impl ToSocketAddrs) {
    let refused = async { while TcpStream::connect(&address).await.is_ok() {} };
    timeout(SOON, refused).await.expect("nothing listens there any more");
}

fn big() -> (Vec<u8>, Vec<u8>) {
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let answered = [&sent[..], b"bye"].concat();
    (sent, answered)
}

#[podgate_test::multi_thread]
async fn what_the_rules_deny_reaches_no_guest_and_the_client_is_told() {
    let gateway = Gateway::start("disable", LocalGuests::new()).await;
    let (target, at) = (tcp_server().await, free().await);
    let forward = format!("{at}:{target}");
    let session = gateway.session(&["-L", &forward, "-R", "0:127.0.0.1:1"], "up").await;
    assert_eq!(session.line, "up");
    assert!(exchange(TcpStream::connect(at).await.unwrap(), b"").await.is_empty());
    let told = session.end().await;
    for part in [
        "open failed: administratively prohibited: port forwarding is disabled",
        "podgate: reverse port forwarding is disabled",
        "remote port forwarding failed",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    let log = gateway.text();
    assert!(log.contains("SECURITY_FORWARDING_REJECTED") && log.contains("SECURITY_REVERSE_FORWARDING_REJECTED"));
    assert!(!log.contains("SSH_LISTENER"), "{log}");
    gateway.end().await;
}

#[podgate_test::multi_thread]
async fn what_the_guest_refuses_is_told_with_its_reason_and_the_session_goes_on() {
    let gateway = Gateway::start("enable", LocalGuests::without_forwards()).await;
    let at = free().await;
    let forward = format!("{at}:127.0.0.1:1");
    let session = gateway.session(&["-L", &forward, "-R", "0:127.0.0.1:1"], "up").await;
    assert_eq!(session.line, "up");
    assert!(exchange(TcpStream::connect(at).await.unwrap(), b"").await.is_empty());
    let told = session.end().await;
    assert!(told.contains(&format!("open failed: connect failed: {NO_FORWARDS}")), "{told}");
    assert!(told.contains(&format!("podgate: {NO_FORWARDS}")), "{told}");
    let log = gateway.text();
    assert!(log.contains("SSH_FORWARD_FAILED") && log.contains("SSH_LISTENER_FAILED"), "{log}");
    gateway.end().await;

    let gateway = Gateway::start("enable", LocalGuests::new()).await;
    let mut command = gateway.ssh();
    command.arg("-W").arg(free().await.to_string()).arg("127.0.0.1");
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && told.contains("Connection refused"), "{told}");
    gateway.end().await;
}

#[podgate_test::multi_thread]
async fn connections_into_the_guest_carry_everything_and_end_by_halves() {
    let gateway = Gateway::start("enable", LocalGuests::new()).await;
    let (tcp, socket, local) = (tcp_server().await, gateway.path("guest"), gateway.path("local"));
    unix_server(&socket);
    let (at, unix) = (free().await, format!("{}:{}", local.display(), socket.display()));
    let session = gateway.session(&["-L", &format!("{at}:{tcp}"), "-L", &unix], "up").await;
    let (sent, answered) = big();
    // One that stalls stops nobody.
    let mut stalled = TcpStream::connect(at).await.unwrap();
    stalled.write_all(b"not all").await.unwrap();
    let tcp = exchange(TcpStream::connect(at).await.unwrap(), &sent);
    let unix = exchange(UnixStream::connect(&local).await.unwrap(), &sent);
    let (tcp, unix) = tokio::join!(tcp, unix);
    assert!(tcp == answered && unix == answered);
    assert_eq!(exchange(stalled, b"").await, b"not allbye");
    session.end().await;
    let log = gateway.text();
    assert!(log.contains("bytesReceived=3000000 ") || log.contains("bytesReceived=3000000\n"), "{log}");
    gateway.end().await;
}

#[podgate_test::multi_thread]
async fn standard_streams_are_carried_into_the_guest() {
    let gateway = Gateway::start("enable", LocalGuests::new()).await;
    let mut command = tokio::process::Command::from(gateway.ssh());
    command.arg("-W").arg(tcp_server().await.to_string()).arg("127.0.0.1");
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    client.stdin.take().unwrap().write_all(b"hello ").await.unwrap();
    let done = timeout(SOON, client.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((done.status.code(), done.stdout.as_slice()), (Some(0), &b"hello bye"[..]));
    gateway.end().await;
}

#[podgate_test::multi_thread]
async fn connections_out_of_the_guest_come_to_the_client_that_listens_there() {
    let gateway = Gateway::start("enable", LocalGuests::new()).await;
    let (client, fixed) = (tcp_server().await, free().await);
    let (socket, local) = (gateway.path("guest"), gateway.path("local"));
    unix_server(&local);
    let (any, chosen) = (format!("localhost:0:{client}"), format!("{fixed}:{client}"));
    let unix = format!("{}:{}", socket.display(), local.display());
    let refused = format!("127.0.0.1:0:{}", free().await);
    let options = ["-R", &any, "-R", &chosen, "-R", &unix, "-R", &refused, "-o", "ExitOnForwardFailure=yes"];
    let session = gateway.session(&options, "up").await;
    let ports = gateway.opened_ports();
    assert_eq!(ports.len(), 3, "{}", gateway.text());
    let (sent, answered) = big();
    for at in [SocketAddr::from(([127, 0, 0, 1], ports[0])), fixed] {
        let stream = TcpStream::connect(at).await.unwrap();
        assert!(exchange(stream, &sent).await == answered, "{at}");
    }
    assert!(exchange(UnixStream::connect(&socket).await.unwrap(), &sent).await == answered);
    let stream = TcpStream::connect(("127.0.0.1", ports[2])).await.unwrap();
    // Closed or reset: the client's own target refuses.
    assert_eq!(timeout(SOON, async { BufReader::new(stream).read_u8().await.ok() }).await.unwrap(), None);
    let stream = TcpStream::connect(fixed).await.unwrap();
    assert_eq!(exchange(stream, b"again ").await, b"again bye", "one that was refused ends no listener");
    let told = session.end().await;
    assert!(told.contains("Allocated port"), "{told}");
    // The pod of a connection goes with it; here the guest stays, and the listeners are gone all the same.
    gateway.closed(4).await;
    is_refused(fixed).await;
    assert!(UnixStream::connect(&socket).await.is_err());
    gateway.end().await;
}

#[podgate_test::multi_thread]
async fn listener_is_added_and_cancelled_while_the_connection_goes_on() {
    let gateway = Gateway::start("enable", LocalGuests::new()).await;
    let (client, fixed, control) = (tcp_server().await, free().await, gateway.path("control"));
    let path = format!("ControlPath={}", control.display());
    let session = gateway.session(&["-M", "-o", &path], "up").await;
    let forward = format!("{fixed}:{client}");
    let ask = |what: &str| {
        let mut command = gateway.ssh();
        command.args(["-o", &path, "-O", what, "-R", &forward, "127.0.0.1"]);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    for round in 1..=2 {
        assert!(ask("forward").await.unwrap().status.success(), "{}", gateway.text());
        assert_eq!(exchange(TcpStream::connect(fixed).await.unwrap(), b"one ").await, b"one bye");
        let mut open = TcpStream::connect(fixed).await.unwrap();
        open.write_all(b"stays ").await.unwrap();
        // OpenSSH's client wants no answer to its cancellation.
        assert!(ask("cancel").await.unwrap().status.success());
        gateway.closed(round).await;
        is_refused(fixed).await;
        assert_eq!(exchange(open, b"open ").await, b"stays open bye");
    }
    let told = String::from_utf8_lossy(&ask("cancel").await.unwrap().stderr).into_owned();
    assert!(told.contains("forward request failed"), "{told}");
    session.end().await;
    gateway.end().await;
}

/// The request for an agent's identities, and the answer of one that has none (RFC 9987 section 5).
const IDENTITIES: (&[u8], &[u8]) = (&[0, 0, 0, 1, 11], &[0, 0, 0, 5, 12, 0, 0, 0, 0]);

/// An agent without identities on a Unix socket.
fn agent_server(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The client tells the agent of the connection first (OpenSSH's session-bind), which it need not know.
                while let Ok(length) = stream.read_u32().await {
                    let mut request = vec![0; length as usize];
                    stream.read_exact(&mut request).await.unwrap();
                    let answer = if request == IDENTITIES.0[4..] { IDENTITIES.1 } else { &[0, 0, 0, 1, 5] };
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
}

/// Asks an agent, and stays until it has answered: OpenSSH's client closes an agent's channel at the end of the questions.
async fn ask_agent(socket: &str) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(IDENTITIES.0).await.unwrap();
    let mut answer = vec![0; IDENTITIES.1.len()];
    timeout(SOON, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    answer
}

#[podgate_test::multi_thread]
async fn agent_that_the_rules_deny_or_the_guest_refuses_is_none_and_the_program_runs() {
    for (mode, guests, code) in [
        ("disable", LocalGuests::new(), "SECURITY_AGENT_FORWARDING_REJECTED"),
        ("enable", LocalGuests::without_forwards(), "SSH_LISTENER_FAILED"),
    ] {
        let gateway = Gateway::start(mode, guests).await;
        let agent = gateway.agent();
        let session = gateway.session(&["-A", "-o", &agent], "up$SSH_AUTH_SOCK").await;
        assert_eq!(session.line, "up");
        session.end().await;
        assert!(gateway.text().contains(code), "{}", gateway.text());
        gateway.end().await;
    }
}

#[podgate_test::multi_thread]
async fn agent_s_socket_is_one_for_all_sessions_that_ask_and_reaches_the_client_s_agent() {
    let gateway = Gateway::start("enable", LocalGuests::new()).await;
    let (agent, control) = (gateway.agent(), gateway.path("control"));
    let path = format!("ControlPath={}", control.display());
    let session = gateway.session(&["-M", "-A", "-o", &agent, "-o", &path], "$SSH_AUTH_SOCK").await;
    let socket = session.line.clone();
    assert_eq!(ask_agent(&socket).await, IDENTITIES.1);
    let second = gateway.session(&["-A", "-o", &agent, "-o", &path], "$SSH_AUTH_SOCK").await;
    assert_eq!(second.line, socket);
    second.end().await;
    let other = gateway.session(&["-a", "-o", &path], "none$SSH_AUTH_SOCK").await;
    assert_eq!(other.line, "none", "this one did not ask");
    other.end().await;
    assert_eq!(ask_agent(&socket).await, IDENTITIES.1);
    session.end().await;
    gateway.closed(1).await;
    assert!(UnixStream::connect(&socket).await.is_err());
    gateway.end().await;
}

#[podgate_test::multi_thread]
async fn x11_display_is_the_session_s_own_and_ends_with_it() {
    let gateway = Gateway::start("enable", LocalGuests::new()).await;
    let display = x11_server().await;
    let mut command = gateway.ssh();
    command.args(["-Y", "127.0.0.1", "echo \"$DISPLAY $XAUTHORITY\"; cat"]);
    command.env("DISPLAY", format!("127.0.0.1:{display}"));
    let session = Session::begin(command).await;
    let (address, cookie) = session.line.split_once(' ').unwrap_or_else(|| panic!("{}", gateway.text()));
    let address: SocketAddr = address.parse().unwrap_or_else(|_| panic!("{address:?}\n{}", gateway.text()));
    let cookie: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&cookie[2 * at..2 * at + 2], 16).unwrap()).collect();
    // The client looks for its cookie in the setup request, and closes what has another.
    let setup = |cookie: &[u8]| [&b"l\0\x0b\0\0\0\x12\0\x10\0\0\0"[..], b"MIT-MAGIC-COOKIE-1\0\0", cookie].concat();
    let wrong = exchange(TcpStream::connect(address).await.unwrap(), &setup(&[0; 16])).await;
    assert!(wrong.is_empty(), "{wrong:?}");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&setup(&cookie)).await.unwrap();
    let mut answer = [0; 2];
    let read = timeout(SOON, stream.read_exact(&mut answer)).await.unwrap();
    // The client stays as long as a window is open.
    drop(stream);
    let told = session.end().await;
    assert!(read.is_ok() && answer == *b"ok", "{answer:?}\n{told}");
    assert!(told.contains("X11 connection rejected because of wrong authentication"), "{told}");
    gateway.closed(1).await;
    is_refused(address).await;
    gateway.end().await;
}

/// An X server that takes any cookie of its kind, and the number of its display.
async fn x11_server() -> u16 {
    for display in 100..400 {
        let Ok(listener) = TcpListener::bind(("127.0.0.1", 6000 + display)).await else { continue };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Nothing comes of a client that has another cookie.
                    if stream.read_exact(&mut [0; 48]).await.is_ok() {
                        stream.write_all(b"ok").await.unwrap();
                    }
                });
            }
        });
        return display;
    }
    panic!("no display is free")
}

#[podgate_test::multi_thread]
async fn everything_ends_with_a_client_that_is_killed() {
    let gateway = Gateway::start("enable", LocalGuests::new()).await;
    let (client, fixed, at) = (tcp_server().await, free().await, free().await);
    let (reverse, forward) = (format!("{fixed}:{client}"), format!("{at}:{client}"));
    let mut session = gateway.session(&["-R", &reverse, "-L", &forward], "up").await;
    let mut open = TcpStream::connect(fixed).await.unwrap();
    open.write_all(b"never answered").await.unwrap();
    let _dialed = TcpStream::connect(at).await.unwrap();
    session.client.kill().await.unwrap();
    assert_eq!(timeout(SOON, open.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    gateway.closed(1).await;
    is_refused(fixed).await;
    gateway.end().await;
}

impl Gateway {
    /// The option that names an agent.
    fn agent(&self) -> String {
        let path = self.path("client-agent");
        agent_server(&path);
        format!("IdentityAgent={}", path.display())
    }

    /// The ports that the log says the guest listens on, in their order.
    fn opened_ports(&self) -> Vec<u16> {
        let log = self.text();
        let opened = log.lines().filter(|line| line.contains("SSH_LISTENER") && line.contains("address="));
        let port = |line: &str| line.split("address=").nth(1)?.trim_end_matches(')').parse().ok();
        opened.filter_map(port).collect()
    }

    /// Waits until so many listeners are closed.
    async fn closed(&self, count: usize) {
        let all = async {
            while self.text().matches("listens no more").count() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, all).await.unwrap_or_else(|_| panic!("{}", self.text()));
    }
}
