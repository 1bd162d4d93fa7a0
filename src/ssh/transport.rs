//! From the typed configuration to russh's: host keys and algorithms. What is not named here is not offered.

use super::login::MOST_FAILURES;
use super::window::{PACKET, WINDOW};
use crate::auth::Method;
use crate::config::{Cipher, HostKey, Kex, Mac, Ssh};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, decode_secret_key};
use russh::server::Config;
use russh::{Limits, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use std::borrow::Cow;
use std::time::Duration;

/// OpenSSH's own limit for AES (RFC 4344 section 3.2), so that the client's rekeying comes first: russh ends a connection
/// with many uploads at a rekey that the server began (it bounds what may be in flight by two windows for the connection).
const REKEY_BYTES: usize = 1 << 36;
/// Likewise: no rekeying by the clock.
const REKEY_TIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long every refusal takes, so that its time tells nothing.
const REFUSAL: Duration = Duration::from_millis(200);
/// Refusals on a connection, counted by russh. It counts the first `none` too, so this is never less than what
/// [`super::login`] allows; it bounds the refusals that russh decides by itself, such as wrong signatures.
const REFUSALS: usize = MOST_FAILURES + 1;

/// A host key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: not a usable private key (PEM, without a passphrase): {source}")]
pub struct HostKeyError {
    /// Where the file names it.
    origin: String,
    #[source]
    source: russh::keys::Error,
}

/// Builds russh's configuration.
pub(super) fn config(ssh: &Ssh, methods: MethodSet) -> Result<Config, HostKeyError> {
    let keys = ssh.host_keys.iter().map(host_key);
    Ok(Config {
        server_id: SshId::Standard(Cow::Owned(ssh.server_version.clone())),
        methods,
        auth_rejection_time: REFUSAL,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: keys.collect::<Result<Vec<PrivateKey>, _>>()?,
        limits: Limits { rekey_write_limit: REKEY_BYTES, rekey_read_limit: REKEY_BYTES, rekey_time_limit: REKEY_TIME },
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        event_buffer_size: 64,
        preferred: preferred(ssh),
        max_auth_attempts: REFUSALS,
        // A quiet client is a client: dead ones are found by keep-alives.
        inactivity_timeout: None,
        keepalive_interval: ssh.client_alive_interval,
        keepalive_max: usize::try_from(ssh.client_alive_count_max).unwrap_or(usize::MAX),
        ..Config::default()
    })
}

/// Every host key of a file that cannot be used, which only reading it tells.
#[must_use]
pub fn unusable_host_keys(ssh: &Ssh) -> Vec<HostKeyError> {
    ssh.host_keys.iter().filter_map(|key| host_key(key).err()).collect()
}

fn host_key(key: &HostKey) -> Result<PrivateKey, HostKeyError> {
    decode_secret_key(key.pem.expose(), None).map_err(|source| HostKeyError { origin: key.origin.clone(), source })
}

/// The fingerprint and kind of each host key, as `ssh-keygen -l` writes them: `SHA256:… (ED25519)`.
pub(super) fn fingerprints(config: &Config) -> Vec<String> {
    let kind = |algorithm: &Algorithm| match algorithm {
        Algorithm::Ed25519 => "ED25519".to_owned(),
        Algorithm::Ecdsa { .. } => "ECDSA".to_owned(),
        Algorithm::Rsa { .. } => "RSA".to_owned(),
        other => other.as_str().to_owned(),
    };
    let line = |key: &PrivateKey| format!("{} ({})", key.fingerprint(HashAlg::Sha256), kind(&key.algorithm()));
    config.keys.iter().map(line).collect()
}

/// The methods that are offered: these alone.
pub(super) fn methods(offered: &[Method]) -> MethodSet {
    let mut methods = MethodSet::empty();
    for method in offered {
        methods.push(match method {
            Method::Password => MethodKind::Password,
            Method::PublicKey => MethodKind::PublicKey,
        });
    }
    methods
}

fn preferred(ssh: &Ssh) -> Preferred {
    let markers = [
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    Preferred {
        kex: ssh.kex.iter().map(|&name| kex_name(name)).chain(markers).collect(),
        key: Cow::Owned(key_algorithms()),
        cipher: ssh.ciphers.iter().map(|&name| cipher_name(name)).collect(),
        mac: ssh.macs.iter().map(|&name| mac_name(name)).collect(),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::DEFAULT
    }
}

/// Host keys and users' keys: no SHA-1, no DSA.
fn key_algorithms() -> Vec<Algorithm> {
    let ecdsa = |curve| Algorithm::Ecdsa { curve };
    vec![
        Algorithm::Ed25519,
        ecdsa(EcdsaCurve::NistP256),
        ecdsa(EcdsaCurve::NistP384),
        ecdsa(EcdsaCurve::NistP521),
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
        Algorithm::SkEd25519,
        Algorithm::SkEcdsaSha2NistP256,
    ]
}

fn kex_name(name: Kex) -> kex::Name {
    match name {
        Kex::MlKem768X25519 => kex::MLKEM768X25519_SHA256,
        Kex::Curve25519 => kex::CURVE25519,
        Kex::Curve25519Libssh => kex::CURVE25519_PRE_RFC_8731,
        Kex::NistP256 => kex::ECDH_SHA2_NISTP256,
        Kex::NistP384 => kex::ECDH_SHA2_NISTP384,
        Kex::NistP521 => kex::ECDH_SHA2_NISTP521,
    }
}

fn cipher_name(name: Cipher) -> cipher::Name {
    match name {
        Cipher::Aes256Gcm => cipher::AES_256_GCM,
        Cipher::Aes128Gcm => cipher::AES_128_GCM,
        Cipher::ChaCha20Poly1305 => cipher::CHACHA20_POLY1305,
        Cipher::Aes256Ctr => cipher::AES_256_CTR,
        Cipher::Aes192Ctr => cipher::AES_192_CTR,
        Cipher::Aes128Ctr => cipher::AES_128_CTR,
    }
}

fn mac_name(name: Mac) -> mac::Name {
    match name {
        Mac::Sha256Etm => mac::HMAC_SHA256_ETM,
        Mac::Sha512Etm => mac::HMAC_SHA512_ETM,
        Mac::Sha256 => mac::HMAC_SHA256,
        Mac::Sha512 => mac::HMAC_SHA512,
    }
}
