//! The operators' Unix socket: HTTP for processes of the gateway's own user and of root. The file's mode keeps others out; a
//! request of one that came in before the mode was set is refused by the kernel's word about its process.

use super::operations::{self, Operations, Peer};
use super::{AdminError, LIMITS};
use axum::Router;
use axum::extract::Request;
use hyper_util::service::TowerToHyperService;
use podgate_http_server::{LimitedServer, Listener, Place};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The socket, bound and not yet served. Its file is removed when it is dropped.
pub(crate) struct AdminSocket {
    listener: Peers,
    path: PathBuf,
    operations: Operations,
}

impl AdminSocket {
    /// Binds the socket; a file that a gateway left which was killed is replaced.
    ///
    /// # Errors
    /// A path that cannot be had.
    pub(crate) fn bind(path: &Path, operations: Operations) -> Result<Self, AdminError> {
        let failed =
            |source| AdminError::Listen { section: "admin", key: "socket", listen: path.display().to_string(), source };
        remove_abandoned(path).map_err(failed)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        let socket = Self { listener: Peers(listener), path: path.to_owned(), operations };
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(socket)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Answers until `stop` is cancelled, then lets what is under way finish, for a second at most.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let server = LimitedServer::new(None, LIMITS);
        let mut connections = JoinSet::new();
        let serve = |stream: UnixStream, place: Place| {
            let (server, stop, operations) = (server.clone(), stop.clone(), self.operations.clone());
            async move {
                // An error says that the peer has left already.
                let Ok(peer) = Peer::of(&stream) else { return };
                let answer = move |request: Request| operations::answer(operations.clone(), peer, request);
                let service = TowerToHyperService::new(Router::new().fallback(answer));
                server.serve((stream, place), service, &stop).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = server.accept(&self.listener, &mut connections, serve) => {}
        }
        while connections.join_next().await.is_some() {}
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // A file that somebody has removed already is no loss.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the socket of a process that is gone; anything else stays, and the bind fails.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        Ok(_socket) => {}
    }
    match BlockingStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_stream) => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there")),
    }
}

/// The listener, as the server takes it.
struct Peers(UnixListener);

impl Listener for Peers {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.0.accept().await?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn abandoned_socket_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        remove_abandoned(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(remove_abandoned(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(listener);
        remove_abandoned(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert_eq!(remove_abandoned(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
