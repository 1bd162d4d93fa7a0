//! A client that ignores flow control: the smallest part of SSH that opens a channel (RFC 4253, 4252, 4254), with one key
//! exchange (curve25519-sha256), one cipher (aes256-gcm@openssh.com) and a password. It does not verify the server.
//! [`raw_client`](super::raw_client) drives it through every state.

use super::World;
use super::world::PASSWORD;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use sha2::{Digest, Sha256};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const VERSION: &str = "SSH-2.0-minimal";
const DISCONNECT: u8 = 1;
const BANNER: u8 = 53;
const WINDOW_ADJUST: u8 = 93;
const EXTENDED_DATA: u8 = 95;

/// One direction's key and counter (RFC 5647 section 7.1).
struct PacketCipher {
    key: LessSafeKey,
    iv: [u8; 12],
}

impl PacketCipher {
    fn nonce(&mut self) -> Nonce {
        let now = self.iv;
        let counter = u64::from_be_bytes(now[4..].try_into().expect("8 bytes")).wrapping_add(1);
        self.iv[4..].copy_from_slice(&counter.to_be_bytes());
        Nonce::assume_unique_for_key(now)
    }
}

/// The sending direction.
pub struct PacketWriter {
    stream: OwnedWriteHalf,
    cipher: Option<PacketCipher>,
    channel: u32,
}

/// The receiving direction.
pub struct PacketReader {
    stream: OwnedReadHalf,
    cipher: Option<PacketCipher>,
}

/// Encodes a `string` (RFC 4251 section 5).
pub fn text(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("a length").to_be_bytes(), bytes].concat()
}

/// Encodes a positive `mpint` (RFC 4251 section 5).
fn mpint(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let zero: &[u8] = if bytes.get(start).is_some_and(|byte| *byte > 127) { &[0] } else { &[] };
    text(&[zero, &bytes[start..]].concat())
}

impl PacketWriter {
    /// Sends a packet.
    pub async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let outside = if self.cipher.is_some() { 1 } else { 5 };
        let padding = 4 + (16 - (outside + payload.len() + 4) % 16) % 16;
        let mut body = vec![u8::try_from(padding).expect("a byte")];
        body.extend_from_slice(payload);
        body.resize(body.len() + padding, 0);
        let length = u32::try_from(body.len()).expect("a length").to_be_bytes();
        if let Some(cipher) = &mut self.cipher {
            let nonce = cipher.nonce();
            cipher.key.seal_in_place_append_tag(nonce, Aad::from(length), &mut body).expect("a sealed packet");
        }
        self.stream.write_all(&[&length[..], &body].concat()).await
    }

    /// Opens the channel's window for so many bytes more.
    pub async fn adjust_window(&mut self, bytes: u32) -> io::Result<()> {
        self.send(&[&[WINDOW_ADJUST][..], &self.channel.to_be_bytes(), &bytes.to_be_bytes()].concat()).await
    }

    /// Sends data on the channel, and ignores its window.
    pub async fn data(&mut self, data: &[u8]) -> io::Result<()> {
        self.send(&[&[94][..], &self.channel.to_be_bytes(), &text(data)].concat()).await
    }
}

impl PacketReader {
    /// Receives the next packet.
    pub async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let length = self.stream.read_u32().await?;
        let tag = if self.cipher.is_some() { 16 } else { 0 };
        let mut body = vec![0; usize::try_from(length).expect("a length") + tag];
        self.stream.read_exact(&mut body).await?;
        if let Some(cipher) = &mut self.cipher {
            let nonce = cipher.nonce();
            let opened = cipher.key.open_in_place(nonce, Aad::from(length.to_be_bytes()), &mut body);
            let opened = opened.expect("a packet of the server's").len();
            body.truncate(opened);
        }
        let end = body.len() - usize::from(body[0]);
        Ok(body[1..end].to_vec())
    }

    /// Receives the next packet other than banners, window adjustments and what programs say on standard error, where a slow
    /// pod's progress is told at any time. It must have this number.
    pub async fn expect(&mut self, number: u8) -> Vec<u8> {
        loop {
            let packet = self.receive().await.expect("a packet");
            match packet[0] {
                found if found == number => return packet,
                BANNER | WINDOW_ADJUST | EXTENDED_DATA => {}
                other => panic!("packet {number} was awaited, not {other}: {}", String::from_utf8_lossy(&packet)),
            }
        }
    }

    /// Receives until the server closes the connection. Returns its reason, if it sent one.
    pub async fn until_closed(mut self) -> Option<String> {
        let mut reason = None;
        while let Ok(packet) = self.receive().await {
            if packet[0] == DISCONNECT {
                reason = Some(String::from_utf8_lossy(&packet[9..]).into_owned());
            }
        }
        reason
    }
}

/// The result of the first key exchange.
pub struct KeyExchange {
    /// The session's id.
    pub id: Vec<u8>,
    /// The server's public host key in wire format.
    pub host_key: Vec<u8>,
    server_version: String,
}

/// The messages before the key exchange, which its hash covers.
struct Negotiation {
    server_version: String,
    client: Vec<u8>,
    server: Vec<u8>,
    /// The session's id, from the second exchange on.
    session: Option<Vec<u8>>,
}

async fn read_version(stream: &mut OwnedReadHalf) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(stream.read_u8().await.expect("the identification line"));
    }
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

/// Runs a key exchange. The first one's hash is the session id.
async fn exchange(writer: &mut PacketWriter, reader: &mut PacketReader, negotiation: Negotiation) -> KeyExchange {
    let secret = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).expect("a key");
    let public = secret.compute_public_key().expect("a public key");
    writer.send(&[&[30][..], &text(public.as_ref())].concat()).await.expect("a packet");
    let reply = reader.expect(31).await;
    let (host_key, rest) = field(&reply[1..]);
    let (theirs, _signature) = field(rest);
    let shared = agree_ephemeral(secret, UnparsedPublicKey::new(&X25519, theirs), "no key", |key| Ok(mpint(key)));
    let shared = shared.expect("a shared key");
    let parts =
        [VERSION.as_bytes(), negotiation.server_version.as_bytes(), &negotiation.client, &negotiation.server, host_key];
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(text(part)));
    hash.update(text(public.as_ref()));
    hash.update(text(theirs));
    hash.update(&shared);
    let hash = hash.finalize();
    let id = negotiation.session.unwrap_or_else(|| hash.to_vec());
    let derive = |letter: u8| Sha256::digest([&shared[..], &hash[..], &[letter], &id[..]].concat());
    let cipher = |iv: u8, key: u8| PacketCipher {
        key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &derive(key)).expect("a key")),
        iv: derive(iv)[..12].try_into().expect("12 bytes"),
    };
    writer.send(&[21]).await.expect("a packet");
    reader.expect(21).await;
    writer.cipher = Some(cipher(b'A', b'C'));
    reader.cipher = Some(cipher(b'B', b'D'));
    KeyExchange { id, host_key: host_key.to_vec(), server_version: negotiation.server_version }
}

/// Splits off the first `string` in wire format.
pub fn field(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = u32::from_be_bytes(bytes[..4].try_into().expect("4 bytes"));
    bytes[4..].split_at(usize::try_from(length).expect("a length"))
}

/// `SSH_MSG_KEXINIT`.
pub fn proposal() -> Vec<u8> {
    let cipher = "aes256-gcm@openssh.com";
    let mac = "hmac-sha2-256";
    let lists = ["curve25519-sha256", "ssh-ed25519", cipher, cipher, mac, mac, "none", "none", "", ""];
    let mut payload = vec![20; 17];
    lists.iter().for_each(|list| payload.extend(text(list.as_bytes())));
    payload.extend([0; 5]);
    payload
}

/// Connects and runs the key exchange.
pub async fn connect(address: SocketAddr) -> (PacketWriter, PacketReader, KeyExchange) {
    let (read, write) = TcpStream::connect(address).await.expect("a connection").into_split();
    let (mut writer, mut reader) =
        (PacketWriter { stream: write, cipher: None, channel: 0 }, PacketReader { stream: read, cipher: None });
    writer.stream.write_all(format!("{VERSION}\r\n").as_bytes()).await.expect("the identification line");
    let server_version = read_version(&mut reader.stream).await;
    let client = proposal();
    writer.send(&client).await.expect("a packet");
    let server = reader.expect(20).await;
    let negotiation = Negotiation { server_version, client, server, session: None };
    let session = exchange(&mut writer, &mut reader, negotiation).await;
    (writer, reader, session)
}

/// Runs another key exchange (RFC 4253 section 9), and returns the packets that the server sent before it took part. From
/// then on the server may send nothing else until the new keys are used (section 7.1).
pub async fn exchange_again(
    writer: &mut PacketWriter,
    reader: &mut PacketReader,
    first: &KeyExchange,
) -> io::Result<Vec<Vec<u8>>> {
    let client = proposal();
    writer.send(&client).await?;
    let mut before = Vec::new();
    let server = loop {
        match reader.receive().await? {
            packet if packet[0] == 20 => break packet,
            packet => before.push(packet),
        }
    };
    let (server_version, session) = (first.server_version.clone(), Some(first.id.clone()));
    let again = exchange(writer, reader, Negotiation { server_version, client, server, session }).await;
    assert_eq!(again.host_key, first.host_key, "the server has another host key");
    Ok(before)
}

impl World {
    /// Logs a user in by password and starts a command.
    pub async fn minimal_client(&self, user: &str, command: &str) -> (PacketWriter, PacketReader) {
        let (mut writer, mut reader, _session) = connect(self.gateway.address).await;
        writer.send(&[&[5][..], &text(b"ssh-userauth")].concat()).await.expect("a packet");
        reader.expect(6).await;
        let login = [&[50][..], &text(user.as_bytes()), &text(b"ssh-connection"), &text(b"password"), &[0]];
        writer.send(&[&login.concat(), &text(PASSWORD.as_bytes())[..]].concat()).await.expect("a packet");
        reader.expect(52).await;
        let sizes = [0_u32, 2 << 20, 32 << 10].map(u32::to_be_bytes).concat();
        writer.send(&[&[90][..], &text(b"session"), &sizes].concat()).await.expect("a packet");
        let opened = reader.expect(91).await;
        writer.channel = u32::from_be_bytes(opened[5..9].try_into().expect("4 bytes"));
        let exec = [&[98][..], &writer.channel.to_be_bytes(), &text(b"exec"), &[1], &text(command.as_bytes())];
        writer.send(&exec.concat()).await.expect("a packet");
        reader.expect(99).await;
        (writer, reader)
    }
}
