//! A client that runs one honest key exchange (curve25519-sha256, aes256-gcm@openssh.com), and sends what it is told to. It
//! does not verify the server. A server that has hung up is no error.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use sha2::{Digest, Sha256};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

const VERSION: &str = "SSH-2.0-fuzz";
const LISTS: [&str; 10] = [
    "curve25519-sha256",
    "ssh-ed25519",
    "aes256-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-256",
    "none",
    "none",
    "",
    "",
];

/// The keys of the direction to the server (RFC 5647 section 7.1).
struct Sealing {
    key: LessSafeKey,
    iv: [u8; 12],
}

pub(super) struct Client {
    stream: TcpStream,
    sealing: Option<Sealing>,
}

/// Encodes a `string` (RFC 4251 section 5).
fn text(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes(), bytes].concat()
}

/// Encodes a positive `mpint` (RFC 4251 section 5).
fn mpint(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = bytes.get(start..).unwrap_or_default();
    let zero: &[u8] = if digits.first().is_some_and(|byte| *byte > 127) { &[0] } else { &[] };
    text(&[zero, digits].concat())
}

/// Splits off the first `string` in wire format.
fn field(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else { unreachable!("the server's packet is too short") };
    rest.split_at((u32::from_be_bytes(*length) as usize).min(rest.len()))
}

impl Client {
    pub(super) fn connect(server: SocketAddr) -> Self {
        match TcpStream::connect(server) {
            Ok(stream) => {
                // An error says that the server has hung up.
                let _ = stream.set_nodelay(true);
                Self { stream, sealing: None }
            }
            Err(error) => unreachable!("no connection: {error}"),
        }
    }

    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        // The server may have hung up.
        let _ = self.stream.write_all(bytes);
    }

    pub(super) fn send(&mut self, payload: &[u8]) {
        let outside = if self.sealing.is_some() { 1 } else { 5 };
        let padding = 4 + (16 - (outside + payload.len() + 4) % 16) % 16;
        let mut body = vec![padding as u8];
        body.extend_from_slice(payload);
        body.resize(body.len() + padding, 0);
        let length = (body.len() as u32).to_be_bytes();
        if let Some(Sealing { key, iv }) = &mut self.sealing {
            let nonce = Nonce::assume_unique_for_key(*iv);
            let (_, counter) = iv.split_at_mut(4);
            let next = counter.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte)).wrapping_add(1);
            counter.copy_from_slice(&next.to_be_bytes());
            if key.seal_in_place_append_tag(nonce, Aad::from(length), &mut body).is_err() {
                unreachable!("a packet is not sealed");
            }
        }
        self.send_raw(&[&length[..], &body].concat());
    }

    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => bytes,
            Err(error) => unreachable!("the server does not exchange keys: {error}"),
        }
    }

    /// Receives a packet before the first keys.
    fn receive(&mut self) -> Vec<u8> {
        let length = u32::from_be_bytes(self.read()) as usize;
        let [padding] = self.read();
        let mut payload = vec![0; length - 1];
        if let Err(error) = self.stream.read_exact(&mut payload) {
            unreachable!("the server does not exchange keys: {error}");
        }
        payload.truncate(length - 1 - usize::from(padding));
        payload
    }

    /// Runs the key exchange, up to the first packet under keys.
    pub(super) fn exchange_keys(&mut self) {
        self.send_raw(format!("{VERSION}\r\n").as_bytes());
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let [byte] = self.read();
            line.push(byte);
        }
        let server_version = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut ours = vec![20; 17];
        LISTS.iter().for_each(|list| ours.extend(text(list.as_bytes())));
        ours.extend([0; 5]);
        self.send(&ours);
        let theirs = self.receive();
        let Ok(secret) = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()) else { unreachable!("no key") };
        let Ok(public) = secret.compute_public_key() else { unreachable!("no key") };
        self.send(&[&[30][..], &text(public.as_ref())].concat());
        let reply = self.receive();
        let (host_key, rest) = field(reply.get(1..).unwrap_or_default());
        let (point, _signature) = field(rest);
        let shared = agree_ephemeral(secret, UnparsedPublicKey::new(&X25519, point), (), |key| Ok(mpint(key)));
        let Ok(shared) = shared else { unreachable!("no shared key") };
        let mut hash = Sha256::new();
        for part in [VERSION.as_bytes(), server_version.as_bytes(), &ours, &theirs, host_key, public.as_ref(), point] {
            hash.update(text(part));
        }
        hash.update(&shared);
        let hash = hash.finalize();
        let derive = |letter: u8| Sha256::digest([&shared[..], &hash[..], &[letter], &hash[..]].concat());
        self.send(&[21]);
        let Ok(key) = UnboundKey::new(&AES_256_GCM, &derive(b'C')) else { unreachable!("no key") };
        let mut iv = [0; 12];
        iv.iter_mut().zip(derive(b'A')).for_each(|(to, from)| *to = from);
        self.sealing = Some(Sealing { key: LessSafeKey::new(key), iv });
    }

    /// Tells the server that nothing more comes.
    pub(super) fn send_no_more(&mut self) {
        // The server may have hung up.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads until the server hangs up.
    pub(super) fn read_to_the_end(mut self, within: Duration) {
        let _ = self.stream.set_read_timeout(Some(within));
        let mut rest = [0; 4096];
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    unreachable!("the server does not hang up")
                }
                Err(_reset) => return,
            }
        }
    }
}
