//! A client that sends any message in any state to any server, and records the responses in a notation that is the same
//! for every server.

use super::World;
use super::client::{PATIENCE, WAITING};
use super::minimal_client::{KeyExchange, PacketReader, PacketWriter, connect, exchange_again, field, text};
use aws_lc_rs::signature::Ed25519KeyPair;
use russh::keys::load_secret_key;
use std::io;
use std::net::SocketAddr;
use tokio::time::timeout;

/// The client's number for its session channel.
pub const OURS: u32 = 7;
/// The client's number for a channel that no server opens. The refusal follows all earlier responses.
const FENCE: u32 = 0x00fe_11ce;
const WINDOW: u32 = 2 << 20;
const PACKET: u32 = 32 << 10;

/// The state of a connection when the messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// After the key exchange.
    Keys,
    /// Ready for authentication.
    Login,
    /// Authenticated.
    LoggedIn,
    /// With an open session channel.
    Channel,
    /// With `cat` running in that channel.
    Running,
}

/// Makes the messages that a client sends on a connection.
pub type Messages = fn(&ConnectionInfo) -> Vec<Vec<u8>>;

/// The end of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// All messages are answered.
    Answered,
    /// The server closes the channel.
    Closed,
    /// The server refuses a request of the channel.
    Refused,
}

/// A server and the user who logs in to it.
pub struct Server {
    /// The listening address.
    pub address: SocketAddr,
    /// The login name.
    pub user: String,
    seed: Vec<u8>,
}

impl Server {
    /// A server that knows the world's key.
    pub fn new(world: &World, address: SocketAddr, user: &str) -> Self {
        let key = load_secret_key(&world.key.file, None).expect("the key");
        let seed = key.key_data().ed25519().expect("an Ed25519 key").private.to_bytes().to_vec();
        Self { address, user: user.to_owned(), seed }
    }
}

/// The facts about a connection that messages contain.
pub struct ConnectionInfo {
    /// The login name.
    pub user: String,
    /// The server's number for the session channel. Before the channel is open, a number that does not exist.
    pub channel: u32,
    exchange: KeyExchange,
    key: Ed25519KeyPair,
}

impl ConnectionInfo {
    /// Runs another key exchange, as [`exchange_again`] does.
    pub async fn exchange_again(&self, link: (&mut PacketWriter, &mut PacketReader)) -> io::Result<Vec<Vec<u8>>> {
        exchange_again(link.0, link.1, &self.exchange).await
    }

    /// The world's public key in wire format.
    pub fn key(&self) -> Vec<u8> {
        use aws_lc_rs::signature::KeyPair;
        [text(b"ssh-ed25519"), text(self.key.public_key().as_ref())].concat()
    }

    /// The server's host key in wire format.
    pub fn host_key(&self) -> &[u8] {
        &self.exchange.host_key
    }

    /// `SSH_MSG_USERAUTH_REQUEST` of the user.
    pub fn login(&self, method: &str, rest: &[u8]) -> Vec<u8> {
        userauth(&self.user, "ssh-connection", method, rest)
    }

    /// The offer of a key (RFC 4252 section 7).
    pub fn offer(&self, algorithm: &str, key: &[u8]) -> Vec<u8> {
        self.login("publickey", &[&[0][..], &text(algorithm.as_bytes()), &text(key)].concat())
    }

    /// A signed request with the world's key: the request names `algorithm`, the signature `signed`.
    pub fn proof(&self, algorithm: &str, key: &[u8], signed: &str) -> Vec<u8> {
        self.sign(self.login("publickey", &[&[1][..], &text(algorithm.as_bytes()), &text(key)].concat()), signed)
    }

    /// A signed request that names the server's host key as well (OpenSSH's PROTOCOL, section 1.10).
    pub fn bound_proof(&self) -> Vec<u8> {
        let fields = [&b"ssh-ed25519"[..], &self.key(), self.host_key()].map(text).concat();
        self.sign(self.login("publickey-hostbound-v00@openssh.com", &[&[1][..], &fields].concat()), "ssh-ed25519")
    }

    fn sign(&self, request: Vec<u8>, signed: &str) -> Vec<u8> {
        let signature = self.key.sign(&[&text(&self.exchange.id)[..], &request].concat());
        let signature = [text(signed.as_bytes()), text(signature.as_ref())].concat();
        [request, text(&signature)].concat()
    }

    /// `SSH_MSG_CHANNEL_REQUEST` on the session channel.
    pub fn request(&self, name: &str, want_reply: bool, rest: &[u8]) -> Vec<u8> {
        let reply = [u8::from(want_reply)];
        [&[98][..], &self.channel.to_be_bytes(), &text(name.as_bytes()), &reply, rest].concat()
    }

    /// A request for a command.
    pub fn exec(&self, command: &str) -> Vec<u8> {
        self.request("exec", true, &text(command.as_bytes()))
    }

    /// A message about the session channel.
    pub fn about(&self, number: u8, rest: &[u8]) -> Vec<u8> {
        [&[number][..], &self.channel.to_be_bytes(), rest].concat()
    }
}

/// `SSH_MSG_USERAUTH_REQUEST`.
pub fn userauth(user: &str, service: &str, method: &str, rest: &[u8]) -> Vec<u8> {
    let names = [user, service, method].map(|name| text(name.as_bytes())).concat();
    [&[50][..], &names, rest].concat()
}

/// `SSH_MSG_SERVICE_REQUEST`.
pub fn service(name: &str) -> Vec<u8> {
    [&[5][..], &text(name.as_bytes())].concat()
}

/// `SSH_MSG_GLOBAL_REQUEST`.
pub fn global(name: &str, want_reply: bool, rest: &[u8]) -> Vec<u8> {
    [&[80][..], &text(name.as_bytes()), &[u8::from(want_reply)], rest].concat()
}

/// `SSH_MSG_CHANNEL_OPEN` with the client's channel number.
pub fn open(kind: &str, number: u32, rest: &[u8]) -> Vec<u8> {
    let sizes = [number, WINDOW, PACKET].map(u32::to_be_bytes).concat();
    [&[90][..], &text(kind.as_bytes()), &sizes, rest].concat()
}

/// Sends messages to a server in a state, and returns all its responses.
pub async fn transcript(server: &Server, state: State, messages: Messages, until: Until) -> String {
    let recorded = async {
        let (mut writer, mut reader, connection) = connect_to(server, state).await;
        for message in messages(&connection) {
            if writer.send(&message).await.is_err() {
                break;
            }
        }
        let fence = match (until, state) {
            (Until::Closed | Until::Refused, _) => Vec::new(),
            (_, State::Keys) => vec![service("ssh-userauth"), connection.offer("ssh-ed25519", &connection.key())],
            (_, State::Login) => vec![connection.offer("ssh-ed25519", &connection.key())],
            (_, State::LoggedIn | State::Channel | State::Running) => vec![open("fence@podgate.example", FENCE, &[])],
        };
        for message in fence {
            if writer.send(&message).await.is_err() {
                break;
            }
        }
        record(&mut reader, &connection, until).await
    };
    timeout(PATIENCE, recorded).await.unwrap_or_else(|_| "nothing in time".to_owned())
}

/// Logs in, and returns the names of the global requests that the server sends.
pub async fn requests_of(server: &Server) -> Vec<String> {
    let (mut writer, mut reader, _connection) = connect_to(server, State::LoggedIn).await;
    writer.send(&open("fence@podgate.example", FENCE, &[])).await.expect("a packet");
    let mut names = Vec::new();
    let receiving = async {
        loop {
            let packet = reader.receive().await.expect("a packet");
            match packet[0] {
                80 => names.push(String::from_utf8_lossy(field(&packet[1..]).0).into_owned()),
                92 => break,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, receiving).await.expect("an answer in time");
    names
}

/// Connects, and advances the connection to a state.
pub async fn connect_to(server: &Server, state: State) -> (PacketWriter, PacketReader, ConnectionInfo) {
    let (mut writer, mut reader, exchange) = connect(server.address).await;
    let key = Ed25519KeyPair::from_seed_unchecked(&server.seed).expect("a key");
    let mut connection = ConnectionInfo { user: server.user.clone(), channel: 99, exchange, key };
    advance(&mut writer, &mut reader, &mut connection, state).await;
    (writer, reader, connection)
}

async fn advance(writer: &mut PacketWriter, reader: &mut PacketReader, connection: &mut ConnectionInfo, state: State) {
    if state >= State::Login {
        writer.send(&service("ssh-userauth")).await.expect("a packet");
        reader.expect(6).await;
    }
    if state >= State::LoggedIn {
        writer.send(&connection.proof("ssh-ed25519", &connection.key(), "ssh-ed25519")).await.expect("a packet");
        reader.expect(52).await;
    }
    if state >= State::Channel {
        writer.send(&open("session", OURS, &[])).await.expect("a packet");
        connection.channel = loop {
            let packet = reader.receive().await.expect("a packet");
            if packet[0] == 91 {
                break number(&packet[5..]);
            }
        };
    }
    if state >= State::Running {
        writer.send(&connection.exec("cat")).await.expect("a packet");
        reader.expect(99).await;
    }
}

/// Reads a `uint32` (RFC 4251 section 5).
pub fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("4 bytes"))
}

/// Receives until the end, and returns the responses in one line. EOF is left out: a server may send it before or after
/// the exit status.
async fn record(reader: &mut PacketReader, connection: &ConnectionInfo, until: Until) -> String {
    let mut lines: Vec<String> = Vec::new();
    loop {
        let Ok(packet) = reader.receive().await else {
            if !lines.last().is_some_and(|last| last.starts_with("disconnect")) {
                lines.push("hung up".to_owned());
            }
            break;
        };
        let own_key =
            packet[0] == 60 && packet.ends_with(&text(&connection.key())) && field(&packet[1..]).0 == b"ssh-ed25519";
        let fence = own_key || packet[0] == 92 && number(&packet[1..]) == FENCE;
        if until == Until::Answered && fence {
            break;
        }
        let closed = packet[0] == 97;
        match (describe(&packet), lines.last_mut()) {
            (Some(data), Some(before)) if packet[0] == 94 && before.starts_with("data ") => {
                before.push_str(&data["data ".len()..]);
            }
            (Some(text), _) => lines.push(text),
            (None, _) => {}
        }
        if until == Until::Closed && closed || until == Until::Refused && packet[0] == 100 {
            break;
        }
    }
    lines.join(", ")
}

/// Describes a message. `None` for one that a server may send at any time.
pub fn describe(packet: &[u8]) -> Option<String> {
    Some(match packet[0] {
        1 => format!("disconnect {}", number(&packet[1..])),
        3 => "unimplemented".to_owned(),
        6 => "service".to_owned(),
        51 => "refused".to_owned(),
        52 => "in".to_owned(),
        60 => "key is fine".to_owned(),
        81 => "done".to_owned(),
        82 => "not done".to_owned(),
        91 => "opened".to_owned(),
        92 => format!("not opened {}", number(&packet[5..])),
        94 => format!("data {}", String::from_utf8_lossy(field(&packet[5..]).0)),
        // A pod that is slow to start is told of, on a slow machine.
        95 if field(&packet[9..]).0.starts_with(WAITING.as_bytes()) => return None,
        95 => "stderr".to_owned(),
        97 => "close".to_owned(),
        98 => match field(&packet[5..]) {
            (b"exit-status", rest) => format!("exit {}", number(&rest[1..])),
            (name, _) => String::from_utf8_lossy(name).into_owned(),
        },
        99 => "success".to_owned(),
        100 => "failure".to_owned(),
        193 => "pong".to_owned(),
        // Ignored and debugging messages, extensions, banners, the server's own requests, windows, ends of streams.
        2 | 4 | 7 | 53 | 80 | 93 | 96 => return None,
        other => format!("message {other}"),
    })
}
