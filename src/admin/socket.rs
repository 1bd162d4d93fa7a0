//! The operators' Unix socket: HTTP for processes of the gateway's own user and of root. The file's mode keeps others out; a
//! request of one that came in before the mode was set is refused by the kernel's word about its process.

use super::operations::{self, Operations, Peer};
use super::{AdminError, LIMITS};
use axum::Router;
use axum::extract::Request;
use hyper_util::service::TowerToHyperService;
use podgate_http_server::{LimitedServer, Listener, Place};
use rustix::fs::{Access, access};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The socket, bound and not yet served. Its file is removed when it is dropped, and no other that has taken its place.
pub(crate) struct AdminSocket {
    listener: Peers,
    path: PathBuf,
    /// The file's number; `None` if it was gone at once.
    file: Option<(u64, u64)>,
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
        let socket = Self { listener: Peers(listener), path: path.to_owned(), file: number(path), operations };
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(socket)
    }

    /// Finds the fault for which the socket could not be bound. Makes and removes nothing.
    pub(crate) fn fault(path: &Path) -> Option<io::Error> {
        if let Err(error) = is_abandoned(path) {
            return Some(error);
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        access(folder, Access::WRITE_OK | Access::EXEC_OK).err().map(io::Error::from)
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
        if self.file.is_some() && number(&self.path) == self.file {
            // A file that somebody has removed already is no loss.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The number of the file at a path, by which it is told from another one at the same path.
fn number(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Removes the socket of a process that is gone; anything else stays, and the bind fails.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    if is_abandoned(path)? { fs::remove_file(path) } else { Ok(()) }
}

/// True if the socket of a process that is gone is at a path, false if nothing is there.
fn is_abandoned(path: &Path) -> io::Result<bool> {
    let owner = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        Ok(socket) => socket.uid(),
    };
    match BlockingStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(others(owner)),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        Err(error) => Err(error),
        Ok(_stream) => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there")),
    }
}

/// The error of a socket that this process may not even ask whether somebody listens there.
fn others(owner: u32) -> io::Error {
    let text = format!("a socket of the user with the uid {owner} is there: remove it if no gateway uses it any more");
    io::Error::new(ErrorKind::PermissionDenied, text)
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
    use crate::registry::Registry;
    use crate::reload::ReloadOrders;
    use crate::shutdown::StopOrders;
    use crate::telemetry::{Level, Log, LogFormat};

    fn operations() -> Operations {
        let log = Log::to_sink(Level::Info, LogFormat::Text, io::sink()).unwrap();
        Operations::new(Registry::default(), StopOrders::default(), ReloadOrders::new().0, log)
    }

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

    #[tokio::test]
    async fn fault_of_a_path_is_that_of_the_bind_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let kind = |path: &Path| AdminSocket::fault(path).map(|error| error.kind());
        assert_eq!(kind(&path), None);
        assert_eq!(kind(&folder.path().join("missing/admin.sock")), Some(ErrorKind::NotFound));
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(kind(&path), Some(ErrorKind::AddrInUse));
        drop(listener);
        assert_eq!(kind(&path), None);
        assert!(path.exists(), "an abandoned socket stays until a gateway starts");
        assert_eq!(kind(&path.join("admin.sock")), Some(ErrorKind::NotADirectory));
    }

    #[tokio::test]
    async fn end_of_a_gateway_removes_its_own_socket_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let bind = || AdminSocket::bind(&path, operations()).unwrap();
        drop(bind());
        assert!(!path.exists());
        let first = bind();
        // Kept, so that the next file gets no number that is free again.
        fs::rename(&path, folder.path().join("moved")).unwrap();
        let second = bind();
        drop(first);
        assert!(path.exists(), "the socket of another gateway");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn socket_of_another_user_is_told_with_its_owner() {
        let error = others(65532);
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("the uid 65532"), "{error}");
    }
}
