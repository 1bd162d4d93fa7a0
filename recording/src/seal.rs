//! The key that signs recordings: Ed25519, in OpenSSH's form or as PKCS#8.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use data_encoding::{BASE64, BASE64_NOPAD};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

const KIND: &[u8] = b"ssh-ed25519";
/// The purpose of a signature, so that the key's other signatures are none of a recording.
const PURPOSE: &[u8] = b"podgate-audit-chain\0";

/// The error of a text that is not the key that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("not a private Ed25519 key in OpenSSH's form or PKCS#8 PEM")]
    NotPrivate,
    #[error("the private key has a passphrase")]
    Encrypted,
    #[error("not one line with a public Ed25519 key in OpenSSH's form (ssh-ed25519 …)")]
    NotPublic,
}

/// A private key.
pub struct SealKey(Ed25519KeyPair);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", self.public().fingerprint())
    }
}

impl SealKey {
    /// Reads a private key.
    ///
    /// # Errors
    /// The text is not such a key, or has a passphrase.
    pub fn parse(pem: &str) -> Result<Self, KeyError> {
        if let Some(der) = pem_content(pem, "PRIVATE KEY") {
            return Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Self).map_err(|_| KeyError::NotPrivate);
        }
        if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            return Err(KeyError::Encrypted);
        }
        let blob = pem_content(pem, "OPENSSH PRIVATE KEY").ok_or(KeyError::NotPrivate)?;
        let (seed, public) = openssh_seed(&blob)?;
        // A damaged seed is the seed of another key.
        Ed25519KeyPair::from_seed_and_public_key(seed, public).map(Self).map_err(|_| KeyError::NotPrivate)
    }

    /// The public part.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().to_vec())
    }

    pub(crate) fn sign(&self, hash: &[u8]) -> String {
        BASE64.encode(self.0.sign(&[PURPOSE, hash].concat()).as_ref())
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads the line of a `.pub` file.
    ///
    /// # Errors
    /// The text is not such a line.
    pub fn parse(line: &str) -> Result<Self, KeyError> {
        let mut words = line.trim().split([' ', '\t']).filter(|word| !word.is_empty());
        let (kind, blob) = (words.next(), words.next().ok_or(KeyError::NotPublic)?);
        if kind != Some("ssh-ed25519") || line.trim().contains(['\n', '\r']) {
            return Err(KeyError::NotPublic);
        }
        let blob = BASE64.decode(blob.as_bytes()).map_err(|_| KeyError::NotPublic)?;
        let mut blob = &blob[..];
        match (string(&mut blob), string(&mut blob)) {
            (Some(kind), Some(key)) if kind == KIND && key.len() == 32 && blob.is_empty() => Ok(Self(key.to_vec())),
            _ => Err(KeyError::NotPublic),
        }
    }

    /// As `ssh-keygen -l` writes it.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for part in [KIND, &self.0] {
            hash.update(u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
            hash.update(part);
        }
        format!("SHA256:{}", BASE64_NOPAD.encode(&hash.finalize()))
    }

    pub(crate) fn verifies(&self, hash: &[u8], signature: &str) -> bool {
        let Ok(signature) = BASE64.decode(signature.as_bytes()) else {
            return false;
        };
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&[PURPOSE, hash].concat(), &signature).is_ok()
    }
}

/// The bytes between the lines of a PEM block with that label, wiped when they are dropped.
fn pem_content(pem: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let inner = pem.split_once(&format!("-----BEGIN {label}-----"))?.1;
    let inner = inner.split_once(&format!("-----END {label}-----"))?.0;
    let inner: Zeroizing<String> = Zeroizing::new(inner.split_whitespace().collect());
    BASE64.decode(inner.as_bytes()).ok().map(Zeroizing::new)
}

/// The seed and the public key in a private key of OpenSSH's form (PROTOCOL.key), which has the public key three times.
fn openssh_seed(blob: &[u8]) -> Result<(&[u8], &[u8]), KeyError> {
    let mut rest = blob.strip_prefix(b"openssh-key-v1\0").ok_or(KeyError::NotPrivate)?;
    let cipher = string(&mut rest).ok_or(KeyError::NotPrivate)?;
    if cipher != b"none" {
        return Err(KeyError::Encrypted);
    }
    let mut key = || -> Option<(&[u8], &[u8])> {
        let (_kdf, _options) = (string(&mut rest)?, string(&mut rest)?);
        let (number, mut rest) = rest.split_at_checked(4)?;
        let mut public = string(&mut rest)?;
        let (checks, mut inner) = string(&mut rest)?.split_at_checked(8)?;
        if number != [0, 0, 0, 1] || checks.get(..4) != checks.get(4..) || string(&mut inner)? != KIND {
            return None;
        }
        let copy = string(&mut inner)?;
        let (seed, last) = string(&mut inner)?.split_at_checked(32)?;
        let is_one = string(&mut public)? == KIND && string(&mut public)? == copy && last == copy;
        is_one.then_some((seed, copy))
    };
    key().ok_or(KeyError::NotPrivate)
}

/// Takes a string with its length before it (RFC 4251 section 5).
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let (string, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = behind;
    Some(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `ssh-keygen -t ed25519 -N '' -C ''`, for these tests alone.
    const OPENSSH: &str = include_str!("../tests/data/seal");
    const OPENSSH_PUBLIC: &str = include_str!("../tests/data/seal.pub");
    /// Made with `openssl genpkey -algorithm ed25519`, for these tests alone.
    const PKCS8: &str = include_str!("../tests/data/seal.pkcs8");

    #[test]
    fn keys_of_openssh_and_openssl_are_read() {
        let key = SealKey::parse(OPENSSH).unwrap();
        assert_eq!(key.public(), PublicKey::parse(OPENSSH_PUBLIC).unwrap());
        let other = SealKey::parse(PKCS8).unwrap();
        assert_ne!(other.public(), key.public());
        let signature = key.sign(b"hash");
        assert!(key.public().verifies(b"hash", &signature));
        assert!(!key.public().verifies(b"hush", &signature));
        assert!(!other.public().verifies(b"hash", &signature));
        assert!(!key.public().verifies(b"hash", "no base64"));
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    #[test]
    fn other_texts_are_refused() {
        let encrypted = include_str!("../tests/data/encrypted");
        assert_eq!(SealKey::parse(encrypted).unwrap_err(), KeyError::Encrypted);
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", OPENSSH_PUBLIC] {
            assert_eq!(SealKey::parse(text).unwrap_err(), KeyError::NotPrivate, "{text}");
        }
        for text in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQ==", OPENSSH] {
            assert_eq!(PublicKey::parse(text).unwrap_err(), KeyError::NotPublic, "{text}");
        }
        let pkcs8 = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
        assert_eq!(SealKey::parse(pkcs8).unwrap_err(), KeyError::Encrypted);
        // A key file that is cut anywhere.
        let blob = pem_content(OPENSSH, "OPENSSH PRIVATE KEY").unwrap();
        for end in 0..blob.len() {
            let _ = openssh_seed(&blob[..end]);
        }
    }

    #[test]
    fn damaged_private_key_does_not_become_another_key() {
        let public = PublicKey::parse(OPENSSH_PUBLIC).unwrap();
        let blob = pem_content(OPENSSH, "OPENSSH PRIVATE KEY").unwrap();
        for byte in 0..blob.len() {
            let mut damaged = blob.to_vec();
            damaged[byte] ^= 1;
            let text = BASE64.encode(&damaged);
            let pem = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{text}\n-----END OPENSSH PRIVATE KEY-----\n");
            assert!(SealKey::parse(&pem).map_or(true, |key| key.public() == public), "byte {byte}");
        }
    }

    #[test]
    fn public_key_is_one_line_that_begins_with_its_kind() {
        let key = PublicKey::parse(OPENSSH_PUBLIC).unwrap();
        assert_eq!(PublicKey::parse(&format!("\n{}  \n\n", OPENSSH_PUBLIC.trim())), Ok(key));
        let line = OPENSSH_PUBLIC.trim();
        for text in
            [format!("# {line}"), format!("no-pty {line}"), format!("{line}\n{line}\n"), format!("ssh-rsa A\n{line}")]
        {
            assert_eq!(PublicKey::parse(&text), Err(KeyError::NotPublic), "{text}");
        }
    }
}
