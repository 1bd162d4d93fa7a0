//! The host keys that the gateway makes for itself, in files that survive its restarts (`ssh.hostkeyDirectory`).
//!
//! A key that was made stays. No file is ever half written, and gateways that start at once on one directory end with the same
//! keys. A file that others than the gateway's user can read, or that somebody else owns, is not used.

use crate::types::{printable, quoted};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use data_encoding::BASE64;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, decode_secret_key};
use rustix::fs::{Access, OFlags, access};
use secrecy::zeroize::Zeroizing;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The names of the files, which are OpenSSH's, and what is made where one is not there. No ECDSA key is made: ssh-audit fails
/// a server for it, and every client that knows our key exchanges by default knows Ed25519, too.
const FILES: [(&str, Option<KeyType>); 3] = [
    ("ssh_host_ed25519_key", Some(KeyType::Ed25519)),
    ("ssh_host_ecdsa_key", None),
    ("ssh_host_rsa_key", Some(KeyType::Rsa3072)),
];

/// The age from which a draft is that of a gateway which did not come to its end; others need seconds.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Limit of a file's length in bytes.
const LONGEST: u64 = 64 * 1024;

/// A type and size of key that clients of every age take.
#[derive(Debug, Clone, Copy)]
enum KeyType {
    Ed25519,
    Rsa3072,
}

/// The error of a directory whose keys cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyFileError {
    #[error("the file {} cannot be read: {source}", shown(.file))]
    Read {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is no regular file of at most 64 kB", shown(.0))]
    NoFile(PathBuf),
    #[error(
        "the file {} belongs to another user ({owner}, and the gateway runs as {user}); a host key is its own user's alone",
        shown(.file)
    )]
    Owner { file: PathBuf, owner: u32, user: u32 },
    #[error("the file {} can be used by others (mode {mode:04o}); let only the gateway's user use it (chmod 600)", shown(.file))]
    Exposed { file: PathBuf, mode: u32 },
    #[error("the file {} is not a usable private key (PEM, without a passphrase): {source}", shown(.file))]
    Content {
        file: PathBuf,
        #[source]
        source: russh::keys::Error,
    },
    #[error("others can write to the directory {} (mode {mode:04o}), and so replace the keys (chmod o-w)", shown(.directory))]
    OpenDirectory { directory: PathBuf, mode: u32 },
    #[error("the directory {} cannot be used: {source}", shown(.directory))]
    Directory {
        directory: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the directory {} cannot be made: the directory {} is not there; make it (mkdir -p), or name another directory",
        shown(.directory),
        shown(.parent)
    )]
    NoParent { directory: PathBuf, parent: PathBuf },
    #[error(
        "the directory {} cannot be made: {source}; let the gateway's user write to {}, or name another directory",
        shown(.directory),
        shown(.parent)
    )]
    NotMade {
        directory: PathBuf,
        parent: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no host key is in the directory {}", shown(.0))]
    Empty(PathBuf),
    #[error("the host key {} cannot be made: {source}", shown(.file))]
    Make {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
}

fn shown(path: &Path) -> String {
    quoted(&printable(&path.to_string_lossy(), 255))
}

/// The files of the keys, whether they are there or not.
pub(super) fn files(directory: &Path) -> impl Iterator<Item = PathBuf> {
    FILES.iter().map(|(name, _)| directory.join(name))
}

/// Reads the keys that are there; those that are not are left out.
pub(super) fn existing(directory: &Path) -> Vec<Result<PrivateKey, HostKeyFileError>> {
    FILES.iter().filter_map(|(name, _)| read(&directory.join(name)).transpose()).collect()
}

/// Makes the directory and the keys that are not there, and returns those with their files.
///
/// # Errors
/// A directory that others can write to, or that cannot be written.
pub(super) fn make_missing(directory: &Path) -> Result<Vec<(PathBuf, PrivateKey)>, HostKeyFileError> {
    let failed = |source| HostKeyFileError::Directory { directory: directory.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(not_made(directory, error)),
        _ => {}
    }
    let mode = fs::metadata(directory).map_err(failed)?.mode() & 0o7777;
    if mode & 0o002 != 0 {
        return Err(HostKeyFileError::OpenDirectory { directory: directory.to_owned(), mode });
    }
    remove_abandoned(directory);
    let mut made = Vec::new();
    for (name, kind) in FILES {
        let file = directory.join(name);
        // One that is there and cannot be used is an error, even if none would be made.
        let (None, Some(kind)) = (read(&file)?, kind) else { continue };
        let key = make(&file, kind).map_err(|source| HostKeyFileError::Make { file: file.clone(), source })?;
        made.extend(key.map(|key| (file, key)));
    }
    Ok(made)
}

/// Removes the drafts of gateways that crashed. One that cannot be removed does no harm.
fn remove_abandoned(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_draft)) {
        let written = entry.metadata().ok().filter(Metadata::is_file).and_then(|found| found.modified().ok());
        if written.and_then(|written| written.elapsed().ok()).is_some_and(|age| age >= ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Finds the fault for which [`make_missing`] would fail, as far as that can be told without making anything.
pub(super) fn fault(directory: &Path) -> Option<HostKeyFileError> {
    let writable = |path: &Path| access(path, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from);
    match fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match writable(parent(directory)) {
            Ok(()) => None,
            Err(source) => Some(not_made(directory, source)),
        },
        Err(source) => Some(HostKeyFileError::Directory { directory: directory.to_owned(), source }),
        Ok(found) if !found.is_dir() => {
            let source = io::ErrorKind::NotADirectory.into();
            Some(HostKeyFileError::Directory { directory: directory.to_owned(), source })
        }
        Ok(found) if found.mode() & 0o002 != 0 => {
            let mode = found.mode() & 0o7777;
            Some(HostKeyFileError::OpenDirectory { directory: directory.to_owned(), mode })
        }
        Ok(_) => {
            let absent = FILES.iter().filter(|(_, kind)| kind.is_some()).map(|(name, _)| directory.join(name));
            let file = absent.into_iter().find(|file| !file.exists())?;
            writable(directory).err().map(|source| HostKeyFileError::Make { file, source })
        }
    }
}

/// Tells whether a file's name is one that [`draft`] gives.
fn is_draft(name: &str) -> bool {
    let hex = FILES.iter().find_map(|(key, _)| name.strip_prefix(key)?.strip_prefix('.'));
    hex.is_some_and(|hex| hex.len() == 16 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

fn not_made(directory: &Path, source: io::Error) -> HostKeyFileError {
    let (directory, parent) = (directory.to_owned(), parent(directory).to_owned());
    match source.kind() {
        io::ErrorKind::NotFound => HostKeyFileError::NoParent { directory, parent },
        _ => HostKeyFileError::NotMade { directory, parent, source },
    }
}

/// The directory that another is in; the current one for a plain name.
fn parent(directory: &Path) -> &Path {
    directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads one key; `None` if the file is not there. What is checked is the file that is read, even if its name is given to
/// another meanwhile.
fn read(path: &Path) -> Result<Option<PrivateKey>, HostKeyFileError> {
    let file = || path.to_owned();
    let failed = |source| HostKeyFileError::Read { file: file(), source };
    // Without waiting for the writer of a pipe.
    let mut options = OpenOptions::new();
    let opened = match options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let found = opened.metadata().map_err(failed)?;
    let (mode, user) = (found.mode() & 0o7777, rustix::process::geteuid().as_raw());
    if !found.is_file() || found.len() > LONGEST {
        return Err(HostKeyFileError::NoFile(file()));
    }
    if found.uid() != user {
        return Err(HostKeyFileError::Owner { file: file(), owner: found.uid(), user });
    }
    if mode & 0o077 != 0 {
        return Err(HostKeyFileError::Exposed { file: file(), mode });
    }
    let mut text = String::new();
    opened.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    decode_secret_key(&text, None).map(Some).map_err(|source| HostKeyFileError::Content { file: file(), source })
}

/// Makes a key's file and its public part's beside it; `None` if another gateway was faster, whose key stays.
fn make(path: &Path, kind: KeyType) -> io::Result<Option<PrivateKey>> {
    let key = new_key(kind)?;
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    let draft = draft(path, text.as_bytes(), 0o600)?;
    // Unlike a rename, a link never replaces what is there.
    let linked = match fs::hard_link(draft.path(), path) {
        Ok(()) => Some(key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
        Err(error) => return Err(error),
    };
    if let Some(key) = &linked {
        let mut public = path.as_os_str().to_owned();
        public.push(".pub");
        let text = key.public_key().to_openssh().map_err(io::Error::other)? + "\n";
        let draft = self::draft(path, text.as_bytes(), 0o644)?;
        fs::rename(draft.path(), public)?;
    }
    drop(draft);
    // The names have to survive, too.
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        File::open(directory)?.sync_all()?;
    }
    Ok(linked)
}

fn new_key(kind: KeyType) -> io::Result<PrivateKey> {
    match kind {
        KeyType::Ed25519 => Ok(Ed25519Keypair::random(&mut rand::rng()).into()),
        KeyType::Rsa3072 => {
            let pair = KeyPair::generate(KeySize::Rsa3072).map_err(io::Error::other)?;
            let der = pair.as_der().map_err(io::Error::other)?;
            let pem = Zeroizing::new(BASE64.encode(der.as_ref()));
            let pem = Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *pem));
            decode_secret_key(&pem, None).map_err(io::Error::other)
        }
    }
}

/// A file of a name that nobody else uses, which is removed at the end unless it was renamed.
struct Draft(PathBuf);

impl Draft {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there any more if it was renamed.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a draft beside the file that it will be, down to the disk.
fn draft(path: &Path, content: &[u8], mode: u32) -> io::Result<Draft> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}", rand::random::<u64>()));
    let draft = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    let draft = Draft(draft);
    file.write_all(content)?;
    file.sync_all()?;
    Ok(draft)
}

#[cfg(test)]
mod tests;
