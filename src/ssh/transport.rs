//! russh's configuration, made from ours: host keys, algorithms and limits. Algorithms that are not named here are not
//! offered. There is one for clients of OpenSSH and one for all others, which differ in the ciphers alone.

use super::key_material::{KeyMaterialError, fingerprint, host_certificates, host_keys};
use super::key_offer::KeyRules;
use super::window::{FIRST_WINDOW, PACKET};
use crate::auth::AuthMethod;
use crate::config::{Cipher, Kex, Mac, SshConfig};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use russh::server::Config;
use russh::{Limits, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// OpenSSH's own limit for AES (RFC 4344 section 3.2), so that the client's rekeying comes first: russh ends a connection
/// with many uploads at a rekey that the server began (it bounds what may be in flight by two windows for the connection).
const REKEY_BYTES: usize = 1 << 36;
/// No rekeying by the clock, for the same reason.
const REKEY_TIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The time that every refusal takes, so that it reveals nothing.
const REFUSAL: Duration = Duration::from_millis(200);
/// Limit of refusals on a connection, counted by russh. It counts the first `none` too, so this is never less than what
/// [`super::login`] allows; it bounds the refusals that russh decides by itself, such as wrong signatures.
const REFUSALS: usize = MAX_AUTH_FAILURES + 1;
/// The failures that end a connection: the default of OpenSSH's `MaxAuthTries`.
pub(super) const MAX_AUTH_FAILURES: usize = 6;

/// russh's configurations by the client's software.
pub(super) struct Transport {
    openssh: Arc<Config>,
    other: Arc<Config>,
}

impl Transport {
    /// Builds the configurations, with the host keys read.
    pub(super) fn new(ssh: &SshConfig, methods: &MethodSet) -> Result<Self, KeyMaterialError> {
        let build = |ciphers| Ok(Arc::new(config(ssh, methods.clone(), ciphers)?));
        Ok(Self { openssh: build(&ssh.openssh_ciphers)?, other: build(&ssh.ciphers)? })
    }

    /// The same without the time that a refusal takes.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn refusing_at_once(self) -> Self {
        let at_once = |config: Arc<Config>| {
            Arc::try_unwrap(config).map_or_else(
                |shared| shared,
                |config| Arc::new(Config { auth_rejection_time: Duration::ZERO, ..config }),
            )
        };
        Self { openssh: at_once(self.openssh), other: at_once(self.other) }
    }

    /// The configuration for a client by its identification line, as sshd looks at it (compat.c).
    pub(super) fn for_client(&self, identification: &str) -> Arc<Config> {
        let is_openssh = identification.starts_with("SSH-2.0-OpenSSH_");
        if is_openssh { self.openssh.clone() } else { self.other.clone() }
    }

    /// Formats the fingerprint and kind of each host key as `ssh-keygen -l` does: `SHA256:… (ED25519)`.
    pub(super) fn fingerprints(&self) -> Vec<String> {
        self.other.keys.iter().map(fingerprint).collect()
    }
}

fn config(ssh: &SshConfig, methods: MethodSet, ciphers: &[Cipher]) -> Result<Config, KeyMaterialError> {
    let keys = host_keys(ssh)?;
    Ok(Config {
        preferred: preferred(ssh, ciphers, &keys),
        server_id: SshId::Standard(Cow::Owned(ssh.server_version.clone())),
        methods,
        auth_rejection_time: REFUSAL,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys,
        certificates: host_certificates(ssh)?,
        limits: Limits { rekey_write_limit: REKEY_BYTES, rekey_read_limit: REKEY_BYTES, rekey_time_limit: REKEY_TIME },
        window_size: FIRST_WINDOW,
        maximum_packet_size: PACKET,
        // Each is a piece of output at the most. What is here goes to the buffer for the socket at once, up to 64 pieces in a
        // batch, since they are refilled meanwhile.
        event_buffer_size: 16,
        max_auth_attempts: REFUSALS,
        // A quiet client is a client: dead ones are found by keep-alives.
        inactivity_timeout: None,
        keepalive_interval: ssh.client_alive_interval,
        keepalive_max: usize::try_from(ssh.client_alive_count_max).unwrap_or(usize::MAX),
        ..Config::default()
    })
}

/// Converts the methods that are offered.
pub(super) fn methods(offered: &[AuthMethod]) -> MethodSet {
    let mut methods = MethodSet::empty();
    for method in offered {
        methods.push(match method {
            AuthMethod::Password => MethodKind::Password,
            AuthMethod::PublicKey => MethodKind::PublicKey,
        });
    }
    methods
}

fn preferred(ssh: &SshConfig, ciphers: &[Cipher], keys: &[PrivateKey]) -> Preferred {
    let markers = [
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    Preferred {
        kex: ssh.kex.iter().map(|&name| kex_name(name)).chain(markers).collect(),
        key: Cow::Owned(announced_algorithms(&KeyRules::of(ssh), keys)),
        cipher: ciphers.iter().map(|&name| cipher_name(name)).collect(),
        mac: ssh.macs.iter().map(|&name| mac_name(name)).collect(),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::DEFAULT
    }
}

/// The algorithms that the client is told of. russh has one list of them: for our host keys, and for users' keys
/// (`server-sig-algs`), so an algorithm of ours may be one that no user's key is accepted with.
fn announced_algorithms(rules: &KeyRules, keys: &[PrivateKey]) -> Vec<Algorithm> {
    let is_ours = |algorithm: &Algorithm| {
        let is_rsa = matches!(algorithm, Algorithm::Rsa { .. });
        keys.iter().map(PrivateKey::algorithm).any(|key| key == *algorithm || is_rsa && key.is_rsa())
    };
    let wanted = |algorithm: &Algorithm| rules.accepted.contains(algorithm) || is_ours(algorithm);
    key_algorithms().into_iter().filter(wanted).collect()
}

/// The algorithms of host keys and users' keys: no SHA-1, no DSA.
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
