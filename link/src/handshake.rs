//! The handshake of a carrier (PROTOCOL.md, "Handshake"): both ends agree on version, features and limits, prove that they
//! know the link's secret, and say how far they have received. No I/O and no randomness of its own.
//!
//! Invariants: neither end reads more than a handshake's fixed size before it decides; the secret is sent over the first
//! carrier alone, which is trusted; over later ones both prove it by an HMAC of the whole exchange.

use super::{Limits, RECEIVE_BUDGET};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// First bytes of either end.
const MAGIC: &[u8; 12] = b"PODGATE-LINK";
/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;
/// Bytes before the agent's greeting that are passed over: a shell that started it may have said something.
const MAX_NOISE: usize = 64 * 1024;
/// Longest reason of a refusal, in bytes.
const MAX_REASON: usize = 1024;
const HELLO: usize = 12 + 3 + 8 + 16 + 32 + 32 + 8 + 8 + 8;
const WELCOME: usize = 12 + 2 + 8 + 32 + 32 + 8 + 8 + 8 + 2;
const MAC: usize = 32;

/// A link's secret, made by the gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkSecret(pub [u8; 32]);

impl std::fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkSecret(…)")
    }
}

/// The reason for which a carrier is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A new link begins.
    New,
    /// A link goes on.
    Attach,
}

/// The gateway's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The purpose of the carrier: a new link, or one that goes on.
    pub purpose: Purpose,
    /// Oldest and newest version that the gateway speaks.
    pub versions: (u8, u8),
    /// Features that the gateway knows, a bit each (PROTOCOL.md, "Features").
    pub features: u64,
    /// The id of the link.
    pub link: [u8; 16],
    /// Random bytes of this handshake.
    pub nonce: [u8; 32],
    /// Number of the carrier: each is greater than the last.
    pub epoch: u64,
    /// Position up to which the gateway has received.
    pub received: u64,
    /// The gateway's least window for each stream, in bytes.
    pub window: u32,
    /// Streams of the agent's that may be open at once.
    pub streams: u32,
}

impl Hello {
    /// The message; the secret is in it only for a new link.
    fn encode(&self, secret: &LinkSecret) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(HELLO);
        bytes.put_slice(MAGIC);
        bytes.put_u8(self.versions.0);
        bytes.put_u8(self.versions.1);
        bytes.put_u8(u8::from(self.purpose == Purpose::Attach));
        bytes.put_u64(self.features);
        bytes.put_slice(&self.link);
        bytes.put_slice(&self.nonce);
        bytes.put_slice(if self.purpose == Purpose::New { &secret.0 } else { &[0; 32] });
        bytes.put_u64(self.epoch);
        bytes.put_u64(self.received);
        bytes.put_u32(self.window);
        bytes.put_u32(self.streams);
        bytes
    }

    fn decode(mut bytes: Bytes) -> Result<(Self, LinkSecret), HandshakeError> {
        bytes.advance(MAGIC.len());
        let versions = (bytes.get_u8(), bytes.get_u8());
        let purpose = match bytes.get_u8() {
            0 => Purpose::New,
            1 => Purpose::Attach,
            other => return Err(HandshakeError::UnknownPurpose(other)),
        };
        let features = bytes.get_u64();
        let (link, nonce, secret) = (array(&mut bytes), array(&mut bytes), LinkSecret(array(&mut bytes)));
        let (epoch, received) = (bytes.get_u64(), bytes.get_u64());
        let (window, streams) = (bytes.get_u32(), bytes.get_u32());
        Ok((Self { purpose, versions, features, link, nonce, epoch, received, window, streams }, secret))
    }
}

/// The agent's answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The version that both speak.
    pub version: u8,
    /// Features that both know.
    pub features: u64,
    /// Random bytes of this handshake.
    pub nonce: [u8; 32],
    /// The epoch of the carrier.
    pub epoch: u64,
    /// Position up to which the agent has received.
    pub received: u64,
    /// The agent's least window for each stream, in bytes.
    pub window: u32,
    /// Streams of the gateway's that may be open at once.
    pub streams: u32,
}

/// Terms that both ends know after a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// The version that both speak.
    pub version: u8,
    /// Features that both know.
    pub features: u64,
    /// The epoch of the carrier.
    pub epoch: u64,
    /// Position up to which the peer has received: for [`super::Link::attach`].
    pub peer_received: u64,
    /// The bounds of the link.
    pub limits: Limits,
}

/// A handshake that failed. The carrier is of no use; the link can wait for another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The first bytes are not a link's.
    #[error("the peer does not speak the link's protocol")]
    NoLink,
    /// A purpose that this version does not have.
    #[error("unknown purpose {0}")]
    UnknownPurpose(u8),
    /// The two ends have no common version.
    #[error("the peer speaks the versions {oldest} to {newest}, and this end {VERSION}")]
    Version {
        /// The peer's oldest version.
        oldest: u8,
        /// The peer's newest version.
        newest: u8,
    },
    /// The peer does not know the link's secret.
    #[error("the peer could not prove that it belongs to the link")]
    Proof,
    /// A carrier that is older than the one that the link has.
    #[error("the carrier's number {epoch} is not above {current}")]
    Epoch {
        /// The number that came.
        epoch: u64,
        /// The number of the last carrier.
        current: u64,
    },
    /// The agent refused the carrier.
    #[error("refused: {reason}")]
    Refused {
        /// A code of PROTOCOL.md, "Codes".
        code: u8,
        /// The agent's words for it.
        reason: String,
    },
}

/// The gateway's end of a handshake.
#[derive(Debug)]
pub struct GatewayHandshake {
    hello: Hello,
    secret: LinkSecret,
    gathered: BytesMut,
    passed_over: usize,
}

impl GatewayHandshake {
    /// Begins; the bytes are the first for the carrier.
    pub fn new(hello: Hello, secret: LinkSecret) -> (Self, Bytes) {
        let first = hello.encode(&secret).freeze();
        (Self { hello, secret, gathered: BytesMut::new(), passed_over: 0 }, first)
    }

    /// Takes bytes of the agent's. After the agreement, the returned proof is to be sent before any frame, and what is left
    /// of `input` are frames.
    ///
    /// # Errors
    /// The agent is none, has no common version, refused, or did not prove that it has the secret.
    pub fn receive(&mut self, input: &mut Bytes) -> Result<Option<(Agreement, Bytes)>, HandshakeError> {
        loop {
            let needed = self.needed();
            if self.gathered.len() >= needed {
                break;
            }
            if input.is_empty() {
                return Ok(None);
            }
            let taken = input.split_to((needed - self.gathered.len()).min(input.len()));
            self.gathered.extend_from_slice(&taken);
            self.pass_over_noise()?;
        }
        self.decide().map(Some)
    }

    /// Bytes of the answer that are needed next.
    fn needed(&self) -> usize {
        if self.gathered.len() < WELCOME {
            return WELCOME;
        }
        let reason = u16::from_be_bytes([self.gathered[WELCOME - 2], self.gathered[WELCOME - 1]]);
        WELCOME + usize::from(reason).min(MAX_REASON)
    }

    /// Drops what came before the magic.
    fn pass_over_noise(&mut self) -> Result<(), HandshakeError> {
        while !self.gathered.is_empty() {
            let compared = self.gathered.len().min(MAGIC.len());
            if self.gathered[..compared] == MAGIC[..compared] {
                break;
            }
            self.gathered.advance(1);
            self.passed_over += 1;
        }
        if self.passed_over > MAX_NOISE { Err(HandshakeError::NoLink) } else { Ok(()) }
    }

    fn decide(&mut self) -> Result<(Agreement, Bytes), HandshakeError> {
        let whole = self.gathered.split().freeze();
        let mut bytes = whole.clone();
        bytes.advance(MAGIC.len());
        let code = bytes.get_u8();
        let version = bytes.get_u8();
        let features = bytes.get_u64();
        let nonce = array(&mut bytes);
        let mac: [u8; MAC] = array(&mut bytes);
        let (epoch, received) = (bytes.get_u64(), bytes.get_u64());
        let (window, streams) = (bytes.get_u32(), bytes.get_u32());
        bytes.advance(2);
        if code != 0 {
            return Err(HandshakeError::Refused { code, reason: String::from_utf8_lossy(&bytes).into_owned() });
        }
        let welcome = Welcome { version, features, nonce, epoch, received, window, streams };
        check(&self.secret, AGENT, &self.hello, &welcome, &mac)?;
        let (oldest, newest) = self.hello.versions;
        if !(oldest..=newest).contains(&version) {
            return Err(HandshakeError::Version { oldest: version, newest: version });
        }
        if epoch != self.hello.epoch {
            return Err(HandshakeError::Epoch { epoch, current: self.hello.epoch });
        }
        let limits =
            Limits { peer_window: window, peer_streams: self.hello.streams, streams, ..own_limits(self.hello.window) };
        let features = features & self.hello.features;
        let agreement = Agreement { version, features, epoch, peer_received: received, limits };
        Ok((agreement, proof(&self.secret, GATEWAY, &self.hello, &welcome)))
    }
}

/// The agent's end of a handshake.
#[derive(Debug, Default)]
pub struct AgentHandshake {
    gathered: BytesMut,
}

/// A handshake in which the gateway's proof is awaited.
#[derive(Debug)]
pub struct AwaitedProof {
    hello: Hello,
    welcome: Welcome,
    secret: LinkSecret,
    gathered: BytesMut,
}

impl AgentHandshake {
    /// Takes bytes of the gateway's; the secret means something for a new link only.
    ///
    /// # Errors
    /// The gateway is none, or has no common version.
    pub fn receive(&mut self, input: &mut Bytes) -> Result<Option<(Hello, LinkSecret)>, HandshakeError> {
        let taken = input.split_to((HELLO - self.gathered.len()).min(input.len()));
        self.gathered.extend_from_slice(&taken);
        let compared = self.gathered.len().min(MAGIC.len());
        if self.gathered[..compared] != MAGIC[..compared] {
            return Err(HandshakeError::NoLink);
        }
        if self.gathered.len() < HELLO {
            return Ok(None);
        }
        let (hello, secret) = Hello::decode(self.gathered.split().freeze())?;
        let (oldest, newest) = hello.versions;
        if !(oldest..=newest).contains(&VERSION) {
            return Err(HandshakeError::Version { oldest, newest });
        }
        Ok(Some((hello, secret)))
    }

    /// Answers yes; the bytes are the agent's first for the carrier.
    pub fn welcome(hello: Hello, secret: LinkSecret, welcome: Welcome) -> (AwaitedProof, Bytes) {
        let mac = proof(&secret, AGENT, &hello, &welcome);
        let bytes = encode_welcome(0, &welcome, &mac, "");
        (AwaitedProof { hello, welcome, secret, gathered: BytesMut::new() }, bytes)
    }

    /// The bytes of a refusal.
    pub fn refusal(code: u8, reason: &str) -> Bytes {
        let nothing =
            Welcome { version: VERSION, features: 0, nonce: [0; 32], epoch: 0, received: 0, window: 0, streams: 0 };
        let cut = reason.floor_char_boundary(MAX_REASON);
        encode_welcome(code.max(1), &nothing, &[0; MAC], &reason[..cut])
    }
}

impl AwaitedProof {
    /// Takes bytes of the gateway's; what is left of `input` after the agreement are frames.
    ///
    /// # Errors
    /// The gateway did not prove that it has the secret.
    pub fn receive(&mut self, input: &mut Bytes) -> Result<Option<Agreement>, HandshakeError> {
        let taken = input.split_to((MAC - self.gathered.len()).min(input.len()));
        self.gathered.extend_from_slice(&taken);
        if self.gathered.len() < MAC {
            return Ok(None);
        }
        check(&self.secret, GATEWAY, &self.hello, &self.welcome, &self.gathered)?;
        let (hello, welcome) = (&self.hello, &self.welcome);
        Ok(Some(Agreement {
            version: welcome.version,
            features: welcome.features & hello.features,
            epoch: hello.epoch,
            peer_received: hello.received,
            limits: Limits {
                peer_window: hello.window,
                peer_streams: welcome.streams,
                streams: hello.streams,
                ..own_limits(welcome.window)
            },
        }))
    }
}

const AGENT: &[u8] = b"podgate link: agent";
const GATEWAY: &[u8] = b"podgate link: gateway";

fn encode_welcome(code: u8, welcome: &Welcome, mac: &[u8], reason: &str) -> Bytes {
    let mut bytes = BytesMut::with_capacity(WELCOME + reason.len());
    bytes.put_slice(MAGIC);
    bytes.put_u8(code);
    put_welcome(&mut bytes, welcome, mac);
    bytes.put_u16(u16::try_from(reason.len()).unwrap_or(0));
    bytes.put_slice(reason.as_bytes());
    bytes.freeze()
}

fn put_welcome(bytes: &mut BytesMut, welcome: &Welcome, mac: &[u8]) {
    bytes.put_u8(welcome.version);
    bytes.put_u64(welcome.features);
    bytes.put_slice(&welcome.nonce);
    bytes.put_slice(mac);
    bytes.put_u64(welcome.epoch);
    bytes.put_u64(welcome.received);
    bytes.put_u32(welcome.window);
    bytes.put_u32(welcome.streams);
}

/// The HMAC-SHA256 over both first messages, without the secret in the first.
fn mac_of(secret: &LinkSecret, label: &[u8], hello: &Hello, welcome: &Welcome) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).ok()?;
    let mut exchange = hello.encode(&LinkSecret([0; 32]));
    put_welcome(&mut exchange, welcome, &[]);
    mac.update(label);
    mac.update(&exchange);
    Some(mac)
}

fn proof(secret: &LinkSecret, label: &[u8], hello: &Hello, welcome: &Welcome) -> Bytes {
    // HMAC takes keys of any length, so there always is one.
    let mac = mac_of(secret, label, hello, welcome).map(|mac| mac.finalize().into_bytes());
    mac.map_or_else(Bytes::new, |mac| Bytes::copy_from_slice(&mac))
}

fn check(
    secret: &LinkSecret,
    label: &[u8],
    hello: &Hello,
    welcome: &Welcome,
    proof: &[u8],
) -> Result<(), HandshakeError> {
    let mac = mac_of(secret, label, hello, welcome).ok_or(HandshakeError::Proof)?;
    mac.verify_slice(proof).map_err(|_| HandshakeError::Proof)
}

/// The bounds of which the peer is told no more than `window`.
fn own_limits(window: u32) -> Limits {
    Limits { window, budget: RECEIVE_BUDGET, peer_window: 0, peer_streams: 0, streams: 0 }
}

fn array<const N: usize>(bytes: &mut Bytes) -> [u8; N] {
    let mut array = [0; N];
    bytes.copy_to_slice(&mut array);
    array
}

#[cfg(test)]
mod tests;
