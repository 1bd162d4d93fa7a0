//! Public keys as `authorized_keys` has them (sshd(8), AUTHORIZED_KEYS FILE FORMAT): type, blob, comment. The blob says
//! its type too (RFC 4253 section 6.6), and both must agree.

use crate::toolkit::same;
use data_encoding::BASE64;

/// A public key: its blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AuthorizedKey(Vec<u8>);

/// Error of parsing an authorized key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing.
    #[error("is empty; if it comes from a file, is the file there? ssh-keygen -t ed25519 makes a key")]
    Empty,
    /// Not `TYPE BLOB [COMMENT]`.
    #[error("is not a line of TYPE BASE64 [COMMENT]; options before the type are refused, they would not be obeyed")]
    Form,
    /// Certificates have an end, principals and conditions that nothing here checks.
    #[error("is a certificate; only plain keys are supported")]
    Certificate,
}

impl AuthorizedKey {
    /// Parses a line of an `authorized_keys` file.
    pub(super) fn parse(line: &str) -> Result<Self, KeyError> {
        if line.trim_ascii().is_empty() {
            return Err(KeyError::Empty);
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(algorithm), Some(blob)) = (words.next(), words.next()) else { return Err(KeyError::Form) };
        let blob = BASE64.decode(blob.as_bytes()).map_err(|_| KeyError::Form)?;
        if type_of(&blob) != Some(algorithm.as_bytes()) {
            return Err(KeyError::Form);
        }
        if algorithm.contains("-cert-v") {
            return Err(KeyError::Certificate);
        }
        Ok(Self(blob))
    }

    /// True where the key is one of `keys`. Compares all of them to the last byte, wherever the first one differs.
    pub(super) fn is_in(&self, keys: &[Self]) -> bool {
        keys.iter().fold(false, |found, key| found | same(&self.0, &key.0))
    }
}

/// The string that a key's blob begins with (RFC 4251 section 5).
fn type_of(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn what_is_no_plain_key_is_refused() {
        let certificate = BASE64.encode(b"\0\0\0\x20ssh-ed25519-cert-v01@openssh.com...");
        for (line, error) in [
            (String::new(), KeyError::Empty),
            (" \n".into(), KeyError::Empty),
            ("ssh-ed25519".into(), KeyError::Form),
            ("ssh-ed25519 AAAA".into(), KeyError::Form),
            (format!("ssh-rsa {ED25519}"), KeyError::Form),
            (format!("ssh-ed25519 {ED25519}x"), KeyError::Form),
            (format!("restrict ssh-ed25519 {ED25519}"), KeyError::Form),
            (format!("command=\"a b\" ssh-ed25519 {ED25519}"), KeyError::Form),
            (format!("# ssh-ed25519 {ED25519}"), KeyError::Form),
            ("ssh-ed25519 /////w==".into(), KeyError::Form),
            (format!("ssh-ed25519-cert-v01@openssh.com {certificate}"), KeyError::Certificate),
        ] {
            assert_eq!(AuthorizedKey::parse(&line), Err(error), "{line}");
        }
    }

    #[test]
    fn keys_are_the_same_whatever_their_comment() {
        let key = |line: String| AuthorizedKey::parse(&line).expect("a key");
        let plain = key(format!("ssh-ed25519 {ED25519}"));
        let other = key(format!("ssh-ed25519 {}", ED25519.replace("HR4f", "HR4g")));
        assert!(!plain.is_in(&[]));
        assert!(!plain.is_in(std::slice::from_ref(&other)));
        assert!(plain.is_in(&[other, key(format!("  ssh-ed25519\t{ED25519} someone@somewhere, at work\n"))]));
    }
}
