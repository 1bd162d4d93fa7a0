//! SSH keys, made fresh for each world.

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{Algorithm, PrivateKey};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A key pair, its private half in a file.
pub struct Key {
    /// The private key's file.
    pub file: PathBuf,
    /// The public key as one `authorized_keys` line.
    pub public: String,
}

impl Key {
    /// Makes a key in `folder`.
    pub fn make(folder: &Path, name: &str) -> Self {
        let seed: [u8; 32] = rand::random();
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        assert_eq!(key.algorithm(), Algorithm::Ed25519);
        let file = folder.join(name);
        fs::write(&file, key.to_openssh(LineEnding::LF).expect("a key").as_bytes()).expect("a key's file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("the key's mode");
        Self { file, public: key.public_key().to_openssh().expect("a public key").trim().to_owned() }
    }
}
