//! A client that says anything in any state, to any server, and writes down what it hears in words that are the same for
//! every server.

use super::World;
use super::client::PATIENCE;
use super::rude::{Ear, Mouth, Session, arrive, field, text};
use aws_lc_rs::signature::Ed25519KeyPair;
use russh::keys::load_secret_key;
use std::net::SocketAddr;
use tokio::time::timeout;

/// The client's number of its session channel.
pub const OURS: u32 = 7;
/// The client's number of a channel that no server opens: its refusal comes behind every answer before it.
const FENCE: u32 = 0x00fe_11ce;
const WINDOW: u32 = 2 << 20;
const PACKET: u32 = 32 << 10;

/// Up to where a connection is brought before it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The keys are exchanged.
    Keys,
    /// The client may log in.
    Login,
    /// It is logged in.
    In,
    /// It has a session channel.
    Channel,
    /// `cat` runs in it.
    Running,
}

/// What a client says, knowing its connection.
pub type Say = fn(&Place) -> Vec<Vec<u8>>;

/// What ends the listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Everything was answered.
    Answered,
    /// The server closed the channel.
    Closed,
}

/// A server, and who logs in there.
pub struct Server {
    /// Where it listens.
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

/// What a message may need to know of its connection.
pub struct Place {
    /// The login name.
    pub user: String,
    /// The server's number of the session channel; one that does not exist before there is one.
    pub channel: u32,
    session: Session,
    key: Ed25519KeyPair,
}

impl Place {
    /// The world's public key as it travels.
    pub fn key(&self) -> Vec<u8> {
        use aws_lc_rs::signature::KeyPair;
        [text(b"ssh-ed25519"), text(self.key.public_key().as_ref())].concat()
    }

    /// The server's host key as it travelled.
    pub fn host_key(&self) -> &[u8] {
        &self.session.host_key
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
        let signature = self.key.sign(&[&text(&self.session.id)[..], &request].concat());
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

/// `SSH_MSG_CHANNEL_OPEN` with a number of the client's.
pub fn open(kind: &str, number: u32, rest: &[u8]) -> Vec<u8> {
    let sizes = [number, WINDOW, PACKET].map(u32::to_be_bytes).concat();
    [&[90][..], &text(kind.as_bytes()), &sizes, rest].concat()
}

/// Says messages to a server in a state, and tells everything that it answers.
pub async fn converse(server: &Server, state: State, say: Say, until: Until) -> String {
    let conversation = async {
        let (mut mouth, mut ear, place) = come(server, state).await;
        for message in say(&place) {
            if mouth.say(&message).await.is_err() {
                break;
            }
        }
        let fence = match (until, state) {
            (Until::Closed, _) => Vec::new(),
            (_, State::Keys) => vec![service("ssh-userauth"), place.offer("ssh-ed25519", &place.key())],
            (_, State::Login) => vec![place.offer("ssh-ed25519", &place.key())],
            (_, State::In | State::Channel | State::Running) => vec![open("fence@podgate.example", FENCE, &[])],
        };
        for message in fence {
            if mouth.say(&message).await.is_err() {
                break;
            }
        }
        listen(&mut ear, &place, until).await
    };
    timeout(PATIENCE, conversation).await.unwrap_or_else(|_| "nothing in time".to_owned())
}

/// Logs in, and names the global requests that the server makes by itself.
pub async fn requests_of(server: &Server) -> Vec<String> {
    let (mut mouth, mut ear, _place) = come(server, State::In).await;
    mouth.say(&open("fence@podgate.example", FENCE, &[])).await.expect("a packet");
    let mut names = Vec::new();
    let hearing = async {
        loop {
            let packet = ear.hear().await.expect("a packet");
            match packet[0] {
                80 => names.push(String::from_utf8_lossy(field(&packet[1..]).0).into_owned()),
                92 => break,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, hearing).await.expect("an answer in time");
    names
}

/// Connects, and brings the connection into a state.
async fn come(server: &Server, state: State) -> (Mouth, Ear, Place) {
    let (mut mouth, mut ear, session) = arrive(server.address).await;
    let key = Ed25519KeyPair::from_seed_unchecked(&server.seed).expect("a key");
    let mut place = Place { user: server.user.clone(), channel: 99, session, key };
    bring(&mut mouth, &mut ear, &mut place, state).await;
    (mouth, ear, place)
}

async fn bring(mouth: &mut Mouth, ear: &mut Ear, place: &mut Place, state: State) {
    if state >= State::Login {
        mouth.say(&service("ssh-userauth")).await.expect("a packet");
        ear.expect(6).await;
    }
    if state >= State::In {
        mouth.say(&place.proof("ssh-ed25519", &place.key(), "ssh-ed25519")).await.expect("a packet");
        ear.expect(52).await;
    }
    if state >= State::Channel {
        mouth.say(&open("session", OURS, &[])).await.expect("a packet");
        place.channel = loop {
            let packet = ear.hear().await.expect("a packet");
            if packet[0] == 91 {
                break number(&packet[5..]);
            }
        };
    }
    if state >= State::Running {
        mouth.say(&place.exec("cat")).await.expect("a packet");
        ear.expect(99).await;
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("4 bytes"))
}

/// Hears until the end, and tells what came in a line. Ends of streams are left out: a server may tell them before or
/// behind an exit status.
async fn listen(ear: &mut Ear, place: &Place, until: Until) -> String {
    let mut told: Vec<String> = Vec::new();
    loop {
        let Ok(packet) = ear.hear().await else {
            if !told.last().is_some_and(|last| last.starts_with("disconnect")) {
                told.push("hung up".to_owned());
            }
            break;
        };
        let own_key =
            packet[0] == 60 && packet.ends_with(&text(&place.key())) && field(&packet[1..]).0 == b"ssh-ed25519";
        let fence = own_key || packet[0] == 92 && number(&packet[1..]) == FENCE;
        if until == Until::Answered && fence {
            break;
        }
        let closed = packet[0] == 97;
        match (word(&packet), told.last_mut()) {
            (Some(data), Some(before)) if packet[0] == 94 && before.starts_with("data ") => {
                before.push_str(&data["data ".len()..]);
            }
            (Some(word), _) => told.push(word),
            (None, _) => {}
        }
        if until == Until::Closed && closed {
            break;
        }
    }
    told.join(", ")
}

/// A message in words; none where servers may send it at any time.
fn word(packet: &[u8]) -> Option<String> {
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
