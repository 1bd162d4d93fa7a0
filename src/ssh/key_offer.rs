//! The check of a user's key when it is offered: its algorithm must fit the key and not be broken. A key that fails is refused
//! before any webhook is asked about it (RFC 4252 section 7, and as sshd does).

use crate::config::{PubkeyAlgorithm, SshConfig};
use russh::keys::ssh_key::Mpint;
use russh::keys::ssh_key::public::{EcdsaPublicKey, KeyData};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

/// The fault of an offer, which is refused whoever owns the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyOfferError {
    /// The signature would use SHA-1 or DSA.
    #[error(
        "the client would sign by ssh-rsa (SHA-1) or ssh-dss, which are broken: it needs a version that knows rsa-sha2-256, or \
         an ed25519 or ECDSA key"
    )]
    Broken,
    /// The algorithm is unknown.
    #[error("the algorithm {0} is not accepted")]
    Unknown(String),
    /// The operator does not want the algorithm.
    #[error("the algorithm {0} is not in ssh.pubkeyAcceptedAlgorithms")]
    NotAccepted(String),
    /// The algorithm belongs to another kind of key.
    #[error("the algorithm {algorithm} does not fit a key of type {key}")]
    WrongKeyType { algorithm: String, key: String },
    /// The key has less bits than `ssh.requiredRSASize`.
    #[error("the RSA key has {bits} bits, and ssh.requiredRSASize is {required}")]
    ShortRsaKey { bits: usize, required: usize },
    /// The point of an ECDSA key is compressed (RFC 5656 section 3.1 permits it, OpenSSH does not).
    #[error("the point of the ECDSA key is not in the uncompressed form, which is the only accepted one")]
    PointForm,
    /// A certificate has the name of a plain key.
    #[error("the client offers a certificate as if it were a plain key")]
    Certificate,
}

/// First byte of a point in the uncompressed form (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// The operator's rules for users' keys.
#[derive(Debug, Clone)]
pub(super) struct KeyRules {
    /// The least length of an RSA key in bits.
    pub required_rsa_size: usize,
    /// The accepted algorithms, the best first.
    pub accepted: Vec<Algorithm>,
}

impl KeyRules {
    pub(super) fn of(ssh: &SshConfig) -> Self {
        let accepted = ssh.accepted_algorithms.iter().map(|&name| algorithm(name)).collect();
        Self { required_rsa_size: ssh.required_rsa_size, accepted }
    }
}

fn algorithm(name: PubkeyAlgorithm) -> Algorithm {
    let ecdsa = |curve| Algorithm::Ecdsa { curve };
    match name {
        PubkeyAlgorithm::Ed25519 => Algorithm::Ed25519,
        PubkeyAlgorithm::NistP256 => ecdsa(EcdsaCurve::NistP256),
        PubkeyAlgorithm::NistP384 => ecdsa(EcdsaCurve::NistP384),
        PubkeyAlgorithm::NistP521 => ecdsa(EcdsaCurve::NistP521),
        PubkeyAlgorithm::RsaSha512 => Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        PubkeyAlgorithm::RsaSha256 => Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
        PubkeyAlgorithm::SkEd25519 => Algorithm::SkEd25519,
        PubkeyAlgorithm::SkNistP256 => Algorithm::SkEcdsaSha2NistP256,
    }
}

/// Checks a key with the algorithm that the request names.
///
/// A certificate arrives as the plain key in it and the algorithm that signs for it (russh 0.65.1): its offer cannot be
/// told from the plain key's. The certificate itself is refused with its signature.
pub(super) fn check(key: &PublicKey, algorithm: &Algorithm, rules: &KeyRules) -> Result<(), KeyOfferError> {
    check_form(key.key_data())?;
    let fits = match algorithm {
        Algorithm::Dsa | Algorithm::Rsa { hash: None } => return Err(KeyOfferError::Broken),
        Algorithm::Other(_) => return Err(KeyOfferError::Unknown(algorithm.to_string())),
        Algorithm::Rsa { hash: Some(_) } => key.algorithm().is_rsa(),
        other => key.algorithm() == *other,
    };
    if !fits {
        return Err(KeyOfferError::WrongKeyType { algorithm: algorithm.to_string(), key: key.algorithm().to_string() });
    }
    if !rules.accepted.contains(algorithm) {
        return Err(KeyOfferError::NotAccepted(algorithm.to_string()));
    }
    let required = rules.required_rsa_size;
    match key.key_data().rsa().map(|rsa| bits(rsa.n())) {
        Some(bits) if bits < required => Err(KeyOfferError::ShortRsaKey { bits, required }),
        _ => Ok(()),
    }
}

/// Checks that a key is a plain one in the only encoding that it has for everybody: whoever compares keys, here or behind a
/// webhook, compares their bytes.
pub(super) fn check_form(key: &KeyData) -> Result<(), KeyOfferError> {
    let point = match key {
        KeyData::Certificate(_) => return Err(KeyOfferError::Certificate),
        KeyData::Ecdsa(key) => EcdsaPublicKey::as_sec1_bytes(key),
        KeyData::SkEcdsaSha2NistP256(key) => key.ec_point().as_bytes(),
        KeyData::Dsa(_) | KeyData::Rsa(_) | KeyData::Ed25519(_) | KeyData::SkEd25519(_) => return Ok(()),
        unknown => return Err(KeyOfferError::Unknown(unknown.algorithm().to_string())),
    };
    if point.first() == Some(&UNCOMPRESSED) { Ok(()) } else { Err(KeyOfferError::PointForm) }
}

/// Reads the text of a public key's file as the key that a client would offer: an `authorized_keys` line without options and
/// comment, or one line with the reason for which the gateway refuses it by itself. `None` if the text is not a public key.
pub(crate) fn offered_key(text: &str, ssh: &SshConfig) -> Option<Result<String, String>> {
    offered(text, &KeyRules::of(ssh))
}

/// True if the text is that of a public key's file.
pub(crate) fn is_public_key(text: &str) -> bool {
    PublicKey::from_openssh(text.trim()).is_ok()
}

fn offered(text: &str, rules: &KeyRules) -> Option<Result<String, String>> {
    let key = PublicKey::from_openssh(text.trim()).ok()?;
    let algorithm = match key.algorithm() {
        Algorithm::Rsa { .. } => {
            let accepted = rules.accepted.iter().find(|algorithm| matches!(algorithm, Algorithm::Rsa { .. })).cloned();
            accepted.unwrap_or(Algorithm::Rsa { hash: Some(HashAlg::Sha512) })
        }
        other => other,
    };
    let line = key_line(&key)?;
    Some(check(&key, &algorithm, rules).map(|()| line).map_err(|bad| bad.to_string()))
}

/// Formats the key as one `authorized_keys` line without options and comment.
pub(super) fn key_line(key: &PublicKey) -> Option<String> {
    let bare = PublicKey::new(key.key_data().clone(), "");
    bare.to_openssh().ok().map(|line| line.trim().to_owned())
}

/// The length of a positive number in bits; a key's own `key_size` counts whole bytes.
pub(super) fn bits(number: &Mpint) -> usize {
    let bytes = number.as_positive_bytes().unwrap_or_default();
    let unused = bytes.first().map_or(0, |first| first.leading_zeros());
    (bytes.len() * 8).saturating_sub(usize::try_from(unused).unwrap_or_default())
}

#[cfg(test)]
pub(super) mod tests;
