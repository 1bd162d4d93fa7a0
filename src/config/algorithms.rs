//! The algorithms of SSH: what is offered, what a list of ContainerSSH's means, and why the rest is not there.
//!
//! A list that equals ContainerSSH's default stands in every file that ContainerSSH wrote back, whose operator chose
//! nothing. It becomes our default, which begins with the post-quantum exchange, followed by what it has and ours lacks, so
//! that no client is lost. Any other list is obeyed as written, in its order, without what is broken.

use crate::schema::{Section, keys, nearest};
use crate::types::{printable, quoted};
use serde_json::Value;

/// A cipher that we offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// `aes256-gcm@openssh.com`
    Aes256Gcm,
    /// `aes128-gcm@openssh.com`
    Aes128Gcm,
    /// `chacha20-poly1305@openssh.com`
    ChaCha20Poly1305,
    /// `aes256-ctr`
    Aes256Ctr,
    /// `aes192-ctr`
    Aes192Ctr,
    /// `aes128-ctr`
    Aes128Ctr,
}

/// A key exchange that we offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kex {
    /// `mlkem768x25519-sha256`
    MlKem768X25519,
    /// `curve25519-sha256`
    Curve25519,
    /// `curve25519-sha256@libssh.org`
    Curve25519Libssh,
    /// `ecdh-sha2-nistp256`
    NistP256,
    /// `ecdh-sha2-nistp384`
    NistP384,
    /// `ecdh-sha2-nistp521`
    NistP521,
}

/// A MAC that we offer for the counter-mode ciphers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mac {
    /// `hmac-sha2-256-etm@openssh.com`
    Sha256Etm,
    /// `hmac-sha2-512-etm@openssh.com`
    Sha512Etm,
    /// `hmac-sha2-256`
    Sha256,
    /// `hmac-sha2-512`
    Sha512,
}

/// A signature algorithm of users' keys that we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PubkeyAlgorithm {
    /// `ssh-ed25519`
    Ed25519,
    /// `ecdsa-sha2-nistp256`
    NistP256,
    /// `ecdsa-sha2-nistp384`
    NistP384,
    /// `ecdsa-sha2-nistp521`
    NistP521,
    /// `rsa-sha2-512`
    RsaSha512,
    /// `rsa-sha2-256`
    RsaSha256,
    /// `sk-ssh-ed25519@openssh.com`
    SkEd25519,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`
    SkNistP256,
}

/// One kind of algorithm.
pub(super) struct AlgorithmKind<T: 'static> {
    key: &'static str,
    offered: &'static [(&'static str, T)],
    /// The defaults that ContainerSSH wrote into files.
    containerssh: &'static [&'static [&'static str]],
}

pub(super) const CIPHERS: AlgorithmKind<Cipher> = AlgorithmKind {
    key: "ciphers",
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

pub(super) const KEX: AlgorithmKind<Kex> = AlgorithmKind {
    key: "kex",
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

pub(super) const MACS: AlgorithmKind<Mac> = AlgorithmKind {
    key: "macs",
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

pub(super) const PUBKEYS: AlgorithmKind<PubkeyAlgorithm> = AlgorithmKind {
    key: "pubkeyAcceptedAlgorithms",
    offered: &[
        ("ssh-ed25519", PubkeyAlgorithm::Ed25519),
        ("ecdsa-sha2-nistp256", PubkeyAlgorithm::NistP256),
        ("ecdsa-sha2-nistp384", PubkeyAlgorithm::NistP384),
        ("ecdsa-sha2-nistp521", PubkeyAlgorithm::NistP521),
        ("rsa-sha2-512", PubkeyAlgorithm::RsaSha512),
        ("rsa-sha2-256", PubkeyAlgorithm::RsaSha256),
        ("sk-ssh-ed25519@openssh.com", PubkeyAlgorithm::SkEd25519),
        ("sk-ecdsa-sha2-nistp256@openssh.com", PubkeyAlgorithm::SkNistP256),
    ],
    containerssh: &[],
};

/// The ciphers for a client of OpenSSH's. Of our default these are AES-GCM alone: versions before 10 name the others first
/// (RFC 4253 section 7.1 has the client's order decide), and every version that knows our key exchanges knows AES-GCM. Any
/// other list is obeyed as written.
pub(super) fn openssh_ciphers(ciphers: &[Cipher]) -> Vec<Cipher> {
    let is_default = ciphers == CIPHERS.ours();
    let is_gcm = |cipher: &Cipher| matches!(cipher, Cipher::Aes256Gcm | Cipher::Aes128Gcm);
    ciphers.iter().copied().filter(|cipher| !is_default || is_gcm(cipher)).collect()
}

/// Result of reading a list.
struct AlgorithmSelection<'a, T> {
    /// Algorithms to offer, in order.
    chosen: Vec<T>,
    /// Names that are left out because they are broken, with the reason.
    broken: Vec<(&'a str, &'static str)>,
    /// Names that nobody here knows.
    unknown: Vec<&'a str>,
}

impl<T: Copy + PartialEq> AlgorithmKind<T> {
    /// The algorithms to offer, in order. What is left out because it is broken is a warning, or an error where nothing
    /// else is named; a name that is not known was reported.
    pub(super) fn read(&self, section: &Section<'_>) -> Vec<T> {
        let names = section.texts(self.key).unwrap_or_default();
        let AlgorithmSelection { chosen, broken, unknown } = self.choose(&names);
        for name in &unknown {
            section.error(self.key, self.unknown(name));
        }
        for (name, why) in broken {
            let shown = quoted(&printable(name, 64));
            if chosen.is_empty() && unknown.is_empty() {
                let instead = self.offered.first().map_or("", |(name, _)| *name);
                section.error(
                    self.key,
                    format!("{shown} is not offered ({why}), and nothing else is named; use {instead}"),
                );
            } else {
                section.warning(self.key, &format!("{shown} is left out: {why}"));
            }
        }
        chosen
    }

    fn choose<'a>(&self, names: &[&'a str]) -> AlgorithmSelection<'a, T> {
        let defaults = names.is_empty() || self.containerssh.contains(&names);
        let chosen = if defaults { self.ours() } else { Vec::new() };
        let mut read = AlgorithmSelection { chosen, broken: Vec::new(), unknown: Vec::new() };
        for &name in names {
            match (self.named(name), broken(name)) {
                (Some(algorithm), _) if read.chosen.contains(&algorithm) => {}
                (Some(algorithm), _) => read.chosen.push(algorithm),
                (None, Some(why)) => read.broken.push((name, why)),
                (None, None) => read.unknown.push(name),
            }
        }
        read
    }

    /// The algorithms of the default, in its order.
    fn ours(&self) -> Vec<T> {
        let names = keys::default(&format!("ssh.{}", self.key)).and_then(Value::as_array);
        names.into_iter().flatten().filter_map(|name| self.named(name.as_str()?)).collect()
    }

    fn named(&self, name: &str) -> Option<T> {
        self.offered.iter().find(|(offered, _)| *offered == name).map(|(_, algorithm)| *algorithm)
    }

    /// The names of what a list comes to; `None` where it is an error.
    fn effective(&self, names: &[&str]) -> Option<Vec<&'static str>> {
        let AlgorithmSelection { chosen, unknown, .. } = self.choose(names);
        let name = |algorithm| self.offered.iter().find(|(_, offered)| *offered == algorithm).map(|(name, _)| *name);
        (unknown.is_empty() && !chosen.is_empty()).then(|| chosen.into_iter().filter_map(name).collect())
    }

    fn unknown(&self, name: &str) -> String {
        let shown = quoted(&printable(name, 64));
        let names = || self.offered.iter().map(|(name, _)| *name);
        match names().find(|offered| !name.is_empty() && offered.starts_with(name)).or_else(|| nearest(name, names())) {
            Some(near) => format!("{shown} is not offered; did you mean \"{near}\"?"),
            None => format!("{shown} is not offered; available are {}", names().collect::<Vec<_>>().join(", ")),
        }
    }

    /// Names of a client's list that this one may hold, each once.
    fn admissible<'a>(&self, theirs: &'a [String]) -> Vec<&'a str> {
        let mut names = Vec::new();
        for name in theirs.iter().map(String::as_str).filter(|name| self.named(name).is_some()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// The reason why a well-known name is left out.
fn broken(name: &str) -> Option<&'static str> {
    let has = |part| name.contains(part);
    // Whole names: others have them within.
    match name {
        "ssh-rsa" => return Some("it signs by SHA-1, which is broken; rsa-sha2-512 is for the same keys"),
        "ssh-dss" => return Some("DSA is broken"),
        _ => {}
    }
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

/// The value that holds where a list of algorithms is written; `None` where the path is no such list's, or the value is
/// an error.
pub(super) fn effective(path: &str, value: &Value) -> Option<Value> {
    let names = value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<&str>>>()?;
    let held = match path {
        "ssh.ciphers" => CIPHERS.effective(&names),
        "ssh.kex" => KEX.effective(&names),
        "ssh.macs" => MACS.effective(&names),
        "ssh.pubkeyAcceptedAlgorithms" => PUBKEYS.effective(&names),
        _ => None,
    };
    held.map(Value::from)
}

/// A list of algorithms in the section `ssh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AlgorithmList {
    /// `ssh.kex`, key exchange methods.
    Kex,
    /// `ssh.ciphers`, the same in both directions.
    Ciphers,
    /// `ssh.macs`, for ciphers in counter mode.
    Macs,
}

impl AlgorithmList {
    /// The path of its key.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Kex => "ssh.kex",
            Self::Ciphers => "ssh.ciphers",
            Self::Macs => "ssh.macs",
        }
    }

    /// True for the list that holds where none is written.
    pub(crate) fn is_default(self, names: &[&str]) -> bool {
        let default = keys::default(self.path()).and_then(Value::as_array);
        default.is_some_and(|default| default.iter().map(Value::as_str).eq(names.iter().copied().map(Some)))
    }

    /// Those of the names that the list may hold, each once.
    pub(crate) fn admissible(self, names: &[String]) -> Vec<&str> {
        match self {
            Self::Kex => KEX.admissible(names),
            Self::Ciphers => CIPHERS.admissible(names),
            Self::Macs => MACS.admissible(names),
        }
    }
}

#[cfg(test)]
mod tests;
