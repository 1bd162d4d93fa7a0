//! Forwards: dials and listeners, refused and cancelled. A row is what a client asks for one after the other, and what it
//! is told.

use super::Servers;
use crate::support::held_port;
use crate::support::peer::{ForwardedChannel, Peer};
use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The time limit for one step.
const LIMIT: Duration = Duration::from_secs(60);
/// The size of a large transfer, in bytes.
const LARGE: usize = 3_000_000;

/// The port of a step.
#[derive(Debug, Clone, Copy)]
enum Port {
    /// That of a server that sends everything back.
    Echo,
    /// One where nobody listens.
    Closed,
    /// One where nobody listens, and where only this server's client asks for a listener.
    Free,
    /// One that is taken.
    Taken,
    /// The row's listener's.
    Own,
    /// As it is.
    Number(u32),
}

/// The socket of a step.
#[derive(Debug, Clone, Copy)]
enum Socket {
    /// That of a server that sends everything back.
    Echo,
    /// A file that is no socket.
    File,
    /// A path in a folder that is not there.
    Nowhere,
    /// A name in the test's folder, for one server.
    Name(&'static str),
}

/// One step of the client.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Dials, and has something sent back.
    Dial(&'static str, Port),
    /// The same with a large transfer.
    DialLarge,
    /// Dials a socket, and has something sent back.
    DialSocket(Socket),
    /// Asks for a listener.
    Listen(&'static str, Port),
    /// Connects to the listener from there, and talks to the client.
    Knock(&'static str),
    /// Connects there, where nobody listens any more.
    Gone(&'static str),
    /// Cancels a listener.
    Cancel(&'static str, Port),
    /// Asks for a listener on a socket.
    ListenSocket(Socket),
    /// Connects to that socket, and talks to the client.
    KnockSocket(Socket),
    /// Cancels a socket's listener.
    CancelSocket(Socket),
}

/// The requests of a row, and the answers of sshd and of Podgate.
struct Row(&'static str, &'static [Step], &'static str, Option<(&'static str, &'static str)>);

use Port::{Closed, Echo, Free, Number, Own, Taken};
use Socket::Name;
use Step::{Cancel, CancelSocket, Dial, DialLarge, DialSocket, Gone, Knock, KnockSocket, Listen, ListenSocket};

const LOOPBACK: &str = "127.0.0.1";

const ROWS: &[Row] = &[
    Row("dial", &[Dial(LOOPBACK, Echo)], "echo", None),
    Row("dial by name", &[Dial("localhost", Echo)], "echo", None),
    Row("dial with much", &[DialLarge], "all of it", None),
    Row("dial twice", &[Dial(LOOPBACK, Echo), Dial(LOOPBACK, Echo)], "echo, echo", None),
    Row("dial to a closed port", &[Dial(LOOPBACK, Closed)], "not opened ConnectFailed", None),
    Row("dial to a closed port by name", &[Dial("localhost", Closed)], "not opened ConnectFailed", None),
    Row("dial to port 0", &[Dial(LOOPBACK, Number(0))], "not opened ConnectFailed", None),
    Row(
        "dial to a name that is unknown",
        &[Dial("no-such-host.invalid", Number(80))],
        "not opened ConnectFailed",
        None,
    ),
    Row("dial to a name that is none", &[Dial("a b", Number(80))], "not opened ConnectFailed", None),
    Row("dial to nothing", &[Dial("", Echo)], "not opened ConnectFailed", None),
    Row("dial to an address in brackets", &[Dial("[127.0.0.1]", Echo)], "not opened ConnectFailed", None),
    Row(
        "dial behind a refusal",
        &[Dial(LOOPBACK, Closed), Dial(LOOPBACK, Echo)],
        "not opened ConnectFailed, echo",
        None,
    ),
    Row("dial to a socket", &[DialSocket(Socket::Echo)], "echo", None),
    Row("dial to a socket that is missing", &[DialSocket(Name("missing"))], "not opened ConnectFailed", None),
    Row("dial to what is no socket", &[DialSocket(Socket::File)], "not opened ConnectFailed", None),
    Row(
        "listener on a port of its choice",
        &[Listen(LOOPBACK, Number(0)), Knock(LOOPBACK)],
        "port, from 127.0.0.1 and its port, talked",
        None,
    ),
    Row("listener by name", &[Listen("localhost", Number(0))], "port", None),
    Row("listener anywhere", &[Listen("", Number(0)), Knock(LOOPBACK)], "port, from  and its port, talked", None),
    Row(
        "listener on all addresses",
        &[Listen("0.0.0.0", Number(0)), Knock(LOOPBACK)],
        "port, from 0.0.0.0 and its port, talked",
        None,
    ),
    Row("listener on a star", &[Listen("*", Number(0)), Knock(LOOPBACK)], "port, from * and its port, talked", None),
    Row(
        "two connections to a listener",
        &[Listen(LOOPBACK, Number(0)), Knock(LOOPBACK), Knock(LOOPBACK)],
        "talked, from",
        None,
    ),
    Row("listener on a free port", &[Listen(LOOPBACK, Free)], "listens", None),
    Row("listener on a taken port", &[Listen(LOOPBACK, Taken)], "refused", None),
    Row(
        "listener behind a refusal",
        &[Listen(LOOPBACK, Taken), Listen(LOOPBACK, Number(0)), Knock(LOOPBACK)],
        "refused, port",
        None,
    ),
    Row("listener on its own port again", &[Listen(LOOPBACK, Number(0)), Listen(LOOPBACK, Own)], "port, refused", None),
    Row(
        "listener that is cancelled",
        &[Listen(LOOPBACK, Number(0)), Cancel(LOOPBACK, Own), Gone(LOOPBACK)],
        "port, cancelled, refused there",
        None,
    ),
    Row(
        "listener that is cancelled twice",
        &[Listen(LOOPBACK, Number(0)), Cancel(LOOPBACK, Own), Cancel(LOOPBACK, Own)],
        "port, cancelled, refused",
        None,
    ),
    Row(
        "listener that is cancelled and asked for again",
        &[Listen(LOOPBACK, Number(0)), Cancel(LOOPBACK, Own), Listen(LOOPBACK, Own), Knock(LOOPBACK)],
        "port, cancelled, listens",
        None,
    ),
    Row(
        "listener that is cancelled by another address",
        &[Listen("127.0.0.1", Number(0)), Cancel("localhost", Own)],
        "port, refused",
        None,
    ),
    Row("listener that never was, cancelled", &[Cancel(LOOPBACK, Number(9))], "refused", None),
    Row(
        "listener on a socket",
        &[ListenSocket(Name("listener")), KnockSocket(Name("listener"))],
        "listens, from its path, talked",
        None,
    ),
    Row("listener on a socket that is there", &[ListenSocket(Socket::Echo)], "refused", None),
    Row("listener on a file", &[ListenSocket(Socket::File)], "refused", None),
    Row("listener in a folder that is missing", &[ListenSocket(Socket::Nowhere)], "refused", None),
    Row(
        "listener on a socket that is cancelled",
        &[ListenSocket(Name("cancelled")), CancelSocket(Name("cancelled")), KnockSocket(Name("cancelled"))],
        "listens, cancelled, refused there",
        None,
    ),
    Row("listener on a socket that never was, cancelled", &[CancelSocket(Name("never"))], "refused", None),
];

/// The servers that the forwards reach.
struct Targets {
    echo: SocketAddr,
    taken: TcpListener,
    /// Bound and not listening: it refuses, and no other test is given its port.
    closed: TcpSocket,
    folder: PathBuf,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Targets {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn send_back(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        if stream.write_all(&piece[..count]).await.is_err() {
            break;
        }
    }
}

impl Targets {
    async fn start(folder: &Path) -> Self {
        let echo = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let taken = TcpListener::bind("127.0.0.1:0").await;
        let (closed, _) = held_port();
        let socket = UnixListener::bind(folder.join("echo")).expect("a socket");
        let address = echo.local_addr().expect("an address");
        let tcp = async move {
            while let Ok((stream, _)) = echo.accept().await {
                tokio::spawn(send_back(stream));
            }
        };
        let unix = async move {
            while let Ok((stream, _)) = socket.accept().await {
                tokio::spawn(send_back(stream));
            }
        };
        let tasks = vec![tokio::spawn(tcp), tokio::spawn(unix)];
        Self { echo: address, taken: taken.expect("a port"), closed, folder: folder.to_owned(), tasks }
    }
}

/// A client that works through a row.
struct Walk<'a> {
    peer: &'a mut Peer,
    targets: &'a Targets,
    /// The server's name, a part of the names of its sockets.
    server: &'static str,
    /// A port that no other server has.
    free: u16,
    listener: u32,
}

impl Walk<'_> {
    fn port(&self, port: Port) -> u32 {
        match port {
            Echo => self.targets.echo.port().into(),
            Closed => self.targets.closed.local_addr().expect("an address").port().into(),
            Free => self.free.into(),
            Taken => self.targets.taken.local_addr().expect("an address").port().into(),
            Own => self.listener,
            Number(number) => number,
        }
    }

    fn path(&self, socket: Socket) -> String {
        let name = match socket {
            Socket::Echo => "echo".to_owned(),
            Socket::File => "authorized_keys".to_owned(),
            Socket::Nowhere => "no/such/folder".to_owned(),
            Name(name) => format!("{name}-{}", self.server),
        };
        self.targets.folder.join(name).display().to_string()
    }

    async fn take(&mut self, step: Step) -> String {
        let handle = &self.peer.handle;
        match step {
            Dial(host, port) => {
                spoken_to(handle.channel_open_direct_tcpip(host, self.port(port), LOOPBACK, 1).await, b"echo").await
            }
            DialLarge => {
                let data = vec![b'x'; LARGE];
                let told =
                    spoken_to(handle.channel_open_direct_tcpip(LOOPBACK, self.port(Echo), LOOPBACK, 1).await, &data)
                        .await;
                if told.len() == LARGE { "all of it".to_owned() } else { format!("{} bytes", told.len()) }
            }
            DialSocket(socket) => {
                spoken_to(handle.channel_open_direct_streamlocal(self.path(socket)).await, b"echo").await
            }
            Listen(host, port) => {
                let asked = self.port(port);
                match handle.tcpip_forward(host, asked).await {
                    Ok(0) => {
                        self.listener = asked;
                        "listens".to_owned()
                    }
                    Ok(chosen) => {
                        self.listener = chosen;
                        "port".to_owned()
                    }
                    Err(_) => "refused".to_owned(),
                }
            }
            Cancel(host, port) => cancelled(handle.cancel_tcpip_forward(host, self.port(port)).await),
            ListenSocket(socket) => match handle.streamlocal_forward(self.path(socket)).await {
                Ok(()) => "listens".to_owned(),
                Err(_) => "refused".to_owned(),
            },
            CancelSocket(socket) => cancelled(handle.cancel_streamlocal_forward(self.path(socket)).await),
            Knock(host) => {
                let to = (host, u16::try_from(self.listener).expect("a port"));
                self.knock(TcpStream::connect(to).await).await
            }
            Gone(host) => {
                // The answer may overtake the end of the guest's socket.
                while TcpStream::connect((host, u16::try_from(self.listener).expect("a port"))).await.is_ok() {
                    sleep(Duration::from_millis(20)).await;
                }
                "refused there".to_owned()
            }
            KnockSocket(socket) => {
                let path = self.path(socket);
                self.knock(UnixStream::connect(path).await).await
            }
        }
    }

    /// Talks over a connection to a listener: one word each way.
    async fn knock(&mut self, connected: std::io::Result<impl AsyncRead + AsyncWrite + Unpin>) -> String {
        let Ok(mut stream) = connected else { return "refused there".to_owned() };
        let Some(ForwardedChannel { mut channel, address, port }) = self.peer.forwarded.recv().await else {
            return "nothing came".to_owned();
        };
        let from = match port {
            None if self.targets.folder.join("x").parent() == Path::new(&address).parent() => "its path".to_owned(),
            None => address,
            Some(port) if port == self.listener => format!("{address} and its port"),
            Some(_) => format!("{address} and another port"),
        };
        stream.write_all(b"ping").await.expect("a connection");
        let mut heard = Vec::new();
        while heard.len() < 4 {
            match channel.wait().await {
                Some(ChannelMsg::Data { data }) => heard.extend_from_slice(&data),
                Some(_) => {}
                None => break,
            }
        }
        let answered = channel.data(&b"pong"[..]).await.is_ok() && channel.eof().await.is_ok();
        let mut back = String::new();
        let read = stream.read_to_string(&mut back).await;
        let talked = heard == b"ping" && answered && read.is_ok() && back == "pong";
        format!("from {from}, {}", if talked { "talked" } else { "lost" })
    }
}

fn cancelled(answer: Result<(), russh::Error>) -> String {
    if answer.is_ok() { "cancelled" } else { "refused" }.to_owned()
}

/// Sends something over a dialled connection, ends it, and returns what comes back, or why there is none.
async fn spoken_to(opened: Result<Channel<Msg>, russh::Error>, data: &[u8]) -> String {
    let (mut reader, writer) = match opened {
        Ok(channel) => channel.split(),
        Err(russh::Error::ChannelOpenFailure(reason)) => return format!("not opened {reason:?}"),
        Err(error) => return format!("{error:?}"),
    };
    let data = data.to_vec();
    let sending = async {
        let _ = writer.data_bytes(data).await;
        let _ = writer.eof().await;
    };
    let mut back = Vec::new();
    let hearing = async {
        while let Some(message) = reader.wait().await {
            if let ChannelMsg::Data { data } = message {
                back.extend_from_slice(&data);
            }
        }
    };
    tokio::join!(sending, hearing);
    String::from_utf8_lossy(&back).into_owned()
}

async fn walk(peer: &mut Peer, targets: &Targets, server: &'static str, steps: &[Step]) -> String {
    let (_held, free) = held_port();
    let mut walk = Walk { peer, targets, server, free, listener: 0 };
    let mut told = Vec::new();
    for step in steps {
        match timeout(LIMIT, walk.take(*step)).await {
            Ok(answer) => told.push(answer),
            Err(_) => {
                told.push("nothing in time".to_owned());
                break;
            }
        }
    }
    told.join(", ")
}

/// Walks every row on both servers, one after the other.
pub async fn compare(servers: &mut Servers) {
    let targets = Targets::start(servers.world.folder()).await;
    let mut wrong = Vec::new();
    for Row(name, steps, shows, differs) in ROWS {
        let sshd = walk(&mut servers.theirs, &targets, "sshd", steps).await;
        let podgate = walk(&mut servers.ours, &targets, "podgate", steps).await;
        let right = sshd.contains(shows)
            && match differs {
                None => sshd == podgate,
                Some((part, _)) => podgate.contains(part) && sshd != podgate,
            };
        if !right {
            let why = differs.map(|(_, why)| why).unwrap_or_default();
            wrong.push(format!("{name}\n  sshd    {sshd}\n  podgate {podgate}\n  wanted {shows:?} {why}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}
