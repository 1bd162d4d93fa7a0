//! The algorithms of SSH: what is offered, what a list of ContainerSSH's means, and why the rest is not there. A list
//! that equals ContainerSSH's default counts as unset: it stands in every file that ContainerSSH wrote back, and would
//! switch the post-quantum exchange off.

use super::reader::{Section, nearest};
use super::{Cipher, Kex, Mac};
use crate::types::printable;

/// One kind of algorithm.
pub(super) struct Kind<T: 'static> {
    key: &'static str,
    /// What an unset key means, in our order.
    ours: &'static [T],
    offered: &'static [(&'static str, T)],
    /// The defaults that ContainerSSH wrote into files.
    containerssh: &'static [&'static [&'static str]],
}

pub(super) const CIPHERS: Kind<Cipher> = Kind {
    key: "ciphers",
    ours: &[Cipher::Aes256Gcm, Cipher::Aes128Gcm, Cipher::Aes256Ctr],
    offered: &[
        ("aes256-gcm@openssh.com", Cipher::Aes256Gcm),
        ("aes128-gcm@openssh.com", Cipher::Aes128Gcm),
        ("chacha20-poly1305@openssh.com", Cipher::ChaCha20Poly1305),
        ("aes256-ctr", Cipher::Aes256Ctr),
        ("aes192-ctr", Cipher::Aes192Ctr),
        ("aes128-ctr", Cipher::Aes128Ctr),
    ],
    containerssh: &[&[
        "chacha20-poly1305@openssh.com",
        "aes256-gcm@openssh.com",
        "aes128-gcm@openssh.com",
        "aes256-ctr",
        "aes192-ctr",
        "aes128-ctr",
    ]],
};

pub(super) const KEX: Kind<Kex> = Kind {
    key: "kex",
    ours: &[Kex::MlKem768X25519, Kex::Curve25519, Kex::Curve25519Libssh],
    offered: &[
        ("mlkem768x25519-sha256", Kex::MlKem768X25519),
        ("curve25519-sha256", Kex::Curve25519),
        ("curve25519-sha256@libssh.org", Kex::Curve25519Libssh),
        ("ecdh-sha2-nistp256", Kex::NistP256),
        ("ecdh-sha2-nistp384", Kex::NistP384),
        ("ecdh-sha2-nistp521", Kex::NistP521),
    ],
    containerssh: &[&[
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp521",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp256",
    ]],
};

pub(super) const MACS: Kind<Mac> = Kind {
    key: "macs",
    ours: &[Mac::Sha256Etm, Mac::Sha512Etm, Mac::Sha256, Mac::Sha512],
    offered: &[
        ("hmac-sha2-256-etm@openssh.com", Mac::Sha256Etm),
        ("hmac-sha2-512-etm@openssh.com", Mac::Sha512Etm),
        ("hmac-sha2-256", Mac::Sha256),
        ("hmac-sha2-512", Mac::Sha512),
    ],
    containerssh: &[
        &["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256"],
        // Until 0.4.
        &["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256", "hmac-sha1", "hmac-sha1-96"],
    ],
};

impl<T: Copy + PartialEq> Kind<T> {
    /// The algorithms to offer, in order; every name that is not offered was reported.
    pub(super) fn read(&self, section: &Section<'_>) -> Vec<T> {
        let names = section.texts(self.key).unwrap_or_default();
        if names.is_empty() || self.containerssh.iter().any(|default| names == *default) {
            return self.ours.to_vec();
        }
        let mut chosen = Vec::new();
        for name in names {
            match self.offered.iter().find(|(offered, _)| *offered == name) {
                Some((_, algorithm)) if chosen.contains(algorithm) => {}
                Some((_, algorithm)) => chosen.push(*algorithm),
                None => section.error(self.key, self.refusal(name)),
            }
        }
        chosen
    }

    fn refusal(&self, name: &str) -> String {
        let shown = printable(name, 64);
        if let Some(why) = broken(name) {
            let instead = self.offered.first().map_or("", |(name, _)| *name);
            return format!("{shown:?} is not offered ({why}); use {instead}");
        }
        let names = || self.offered.iter().map(|(name, _)| *name);
        match names().find(|offered| offered.starts_with(name)).or_else(|| nearest(name, names())) {
            Some(near) => format!("{shown:?} is not offered; did you mean {near:?}?"),
            None => format!("{shown:?} is not offered; there are {}", names().collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Why a well-known name is left out.
fn broken(name: &str) -> Option<&'static str> {
    let has = |part| name.contains(part);
    if has("sha1") || has("md5") {
        Some("SHA-1 and MD5 are broken")
    } else if has("cbc") || has("3des") {
        Some("CBC mode is broken in SSH")
    } else if has("arcfour") {
        Some("RC4 is broken")
    } else if has("diffie-hellman") {
        Some("a finite-field exchange costs the server most of a second before anyone has logged in")
    } else if name == "none" {
        Some("it protects nothing")
    } else {
        None
    }
}

/// Whether a value at a path is a list that counts as unset.
pub(super) fn is_unset(path: &str, value: &serde_json::Value) -> bool {
    let defaults: &[&[&str]] = match path {
        "ssh.ciphers" => CIPHERS.containerssh,
        "ssh.kex" => KEX.containerssh,
        "ssh.macs" => MACS.containerssh,
        _ => return false,
    };
    let Some(names) = value.as_array() else { return false };
    let same = |default: &&[&str]| names.iter().map(serde_json::Value::as_str).eq(default.iter().copied().map(Some));
    names.is_empty() || defaults.iter().any(same)
}
