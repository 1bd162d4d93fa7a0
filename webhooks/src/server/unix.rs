//! A Unix socket's file: never more open than its mode, never taken from a server that lives, gone when its listener is.

use super::errors::BindError;
use podgate_http_server::Listener;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio::net::{UnixListener, UnixStream};

/// File mode of the socket. The owner may connect, the group only with 0660, others never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(u32);

/// Not a mode that a webhook's socket may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the mode of the socket is 0600 (its owner) or 0660 (its group too)")]
pub struct SocketModeError;

impl Default for SocketMode {
    fn default() -> Self {
        Self(0o600)
    }
}

impl FromStr for SocketMode {
    type Err = SocketModeError;

    fn from_str(text: &str) -> Result<Self, SocketModeError> {
        match text.strip_prefix('0').unwrap_or(text) {
            "600" => Ok(Self(0o600)),
            "660" => Ok(Self(0o660)),
            _ => Err(SocketModeError),
        }
    }
}

/// A bound socket; its file is removed when it is dropped, unless the file has been replaced meanwhile.
#[derive(Debug)]
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    identity: (u64, u64),
}

impl UnixSocket {
    /// Binds a socket at `path`. A socket there that no server answers on is replaced.
    pub(super) async fn bind(path: PathBuf, mode: SocketMode) -> Result<Self, BindError> {
        refuse_taken(&path).await?;
        let failed = |source| BindError::Bind { address: format!("unix:{}", path.display()), source };
        let (listener, identity) = bind_privately(&path, mode).map_err(failed)?;
        Ok(Self { listener, path, identity })
    }
}

impl Listener for UnixSocket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            // A file that is left behind is replaced at the next start.
            drop(fs::remove_file(&self.path));
        }
    }
}

async fn refuse_taken(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Bind { address: format!("unix:{}", path.display()), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_socket) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_answered) => Err(BindError::Live(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Binds in a directory that only we can enter, sets the mode, then renames: at `path` the socket never has another mode.
fn bind_privately(path: &Path, mode: SocketMode) -> io::Result<(UnixListener, (u64, u64))> {
    let directory = private_directory(path.parent().unwrap_or(Path::new("/")))?;
    let bound = bind_in(&directory, path, mode);
    // Empty by now unless the bind failed half way; the error that counts is the bind's.
    drop(fs::remove_dir_all(&directory));
    bound
}

/// The name is short, because a socket's path may have little more than 100 characters.
fn private_directory(parent: &Path) -> io::Result<PathBuf> {
    let mut taken = 0_u32;
    loop {
        let directory = parent.join(format!(".podgate{}-{taken}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken += 1,
            made => return made.map(|()| directory),
        }
    }
}

fn bind_in(directory: &Path, path: &Path, mode: SocketMode) -> io::Result<(UnixListener, (u64, u64))> {
    let private = directory.join("s");
    let listener = UnixListener::bind(&private)?;
    fs::set_permissions(&private, Permissions::from_mode(mode.0))?;
    let found = fs::symlink_metadata(&private)?;
    fs::rename(&private, path)?;
    Ok((listener, (found.dev(), found.ino())))
}
