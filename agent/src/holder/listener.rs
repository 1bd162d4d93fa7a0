//! A listener inside the guest, for connections that go to the client: a TCP address, a Unix socket, an agent socket, or an
//! X11 display. Each connection that comes is a stream of its own.
//!
//! Invariants: a socket file that this listener made goes with it, and no other file; agent sockets are in a directory that
//! only the user can enter.

use super::wait::{Descriptors, Owner};
use super::{code, reason};
use crate::private_directory::{AGENT, AUTHORITY, PrivateDirectory};
use crate::write_file;
use crate::x11;
use bytes::{BufMut, Bytes, BytesMut};
use podgate_link::Close;
use podgate_link::request::{Incoming, Listen, X11};
use rustix::fs::Mode;
use rustix::process::umask;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Connections that are taken before others have their turn.
const TURN: usize = 16;
/// Pause after a connection that could not be taken.
const PAUSE: Duration = Duration::from_secs(1);

/// A listener and what it made.
pub(crate) struct Listener {
    sockets: Sockets,
    /// Removed with the listener.
    _made: Option<Made>,
    /// Ends the listener with its first connection.
    single: bool,
    over: bool,
    /// Time of the next attempt, after a connection could not be taken.
    paused: Option<Instant>,
}

enum Sockets {
    Tcp(Vec<TcpListener>),
    Unix(UnixListener),
}

/// A socket file, and the directory that was made for it.
struct Made {
    path: PathBuf,
    /// Goes behind the file.
    _directory: Option<PrivateDirectory>,
    inode: u64,
}

impl Drop for Made {
    fn drop(&mut self) {
        // Somebody may have put another file there.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A connection that came.
pub(crate) struct Accepted {
    pub(crate) socket: OwnedFd,
    pub(crate) incoming: Incoming,
}

impl Listener {
    /// Binds. The reply says where: the port (u16) of a TCP listener, the path of an agent socket, `DISPLAY` for X11.
    pub(crate) fn bind(listen: &Listen) -> Result<(Self, Bytes), Close> {
        let bound = match listen {
            Listen::Tcp(host, port) => Self::tcp(&String::from_utf8_lossy(host), *port),
            Listen::Unix(path) => {
                Self::unix(Path::new(OsStr::from_bytes(path)), None).map(|listener| (listener, Bytes::new()))
            }
            Listen::Agent => Self::agent(),
            Listen::X11(request) => Self::x11(request),
        };
        bound.map_err(|error| {
            let denied = error.kind() == ErrorKind::PermissionDenied;
            Close { code: if denied { code::PERMISSION } else { code::NOT_BOUND }, reason: reason::text(&error) }
        })
    }

    /// Takes sockets that are bound, and do not block.
    pub(crate) fn of_tcp(listeners: Vec<TcpListener>, single: bool) -> Self {
        Self { sockets: Sockets::Tcp(listeners), _made: None, single, over: false, paused: None }
    }

    /// RFC 4254 section 7.1: an empty host is every address, `localhost` is loopback of both families.
    fn tcp(host: &str, port: u16) -> io::Result<(Self, Bytes)> {
        let addresses: Vec<IpAddr> = match host {
            "" | "*" => vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()],
            "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            other => vec![
                other.parse().map_err(|_| io::Error::new(ErrorKind::InvalidInput, "not an address of this host"))?,
            ],
        };
        let (mut listeners, mut port, mut last) = (Vec::new(), port, None);
        for address in addresses {
            match TcpListener::bind((address, port)) {
                Ok(listener) => {
                    listener.set_nonblocking(true)?;
                    // The second family gets the port that the first was given.
                    port = listener.local_addr()?.port();
                    listeners.push(listener);
                }
                // An address family may be missing; an IPv6 wildcard takes IPv4 with it on most systems.
                Err(error) => last = Some(error),
            }
        }
        if listeners.is_empty() {
            return Err(last.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into()));
        }
        let listener = Self { sockets: Sockets::Tcp(listeners), _made: None, single: false, over: false, paused: None };
        let mut reply = BytesMut::new();
        reply.put_u16(port);
        Ok((listener, reply.freeze()))
    }

    fn unix(path: &Path, directory: Option<PrivateDirectory>) -> io::Result<Self> {
        // As sshd's StreamLocalBindMask: nobody but the user, from the first moment on. No other thread makes files.
        let before = umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        umask(before);
        let listener = listener?;
        let inode = fs::symlink_metadata(path)?.ino();
        let made = Some(Made { path: path.to_owned(), _directory: directory, inode });
        listener.set_nonblocking(true)?;
        Ok(Self { sockets: Sockets::Unix(listener), _made: made, single: false, over: false, paused: None })
    }

    /// An agent socket; the reply is its path.
    fn agent() -> io::Result<(Self, Bytes)> {
        let directory = PrivateDirectory::make()?;
        let path = directory.path().join(AGENT);
        let reply = path.clone().into_os_string().into_vec();
        Ok((Self::unix(&path, Some(directory))?, reply.into()))
    }

    /// A display; the reply is `DISPLAY`, NUL, and `XAUTHORITY`.
    fn x11(request: &X11) -> io::Result<(Self, Bytes)> {
        let (listeners, display) = x11::bind()?;
        let directory = PrivateDirectory::make()?;
        let path = directory.path().join(AUTHORITY);
        let mut file = write_file::create(&path)?;
        let made = Some(Made { path: path.clone(), _directory: Some(directory), inode: file.metadata()?.ino() });
        file.write_all(&x11::authority(request, display)?)?;
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let variables = format!("localhost:{display}.{}\0{}", request.screen, path.display());
        let sockets = Sockets::Tcp(listeners);
        Ok((Self { sockets, _made: made, single: request.single, over: false, paused: None }, variables.into()))
    }

    /// Adds what the listener waits for.
    pub(super) fn wait_for<'a>(&'a self, number: u32, descriptors: &mut Descriptors<'a>) {
        if self.over || self.paused.is_some() {
            return;
        }
        match &self.sockets {
            Sockets::Tcp(listeners) => {
                for listener in listeners {
                    descriptors.add(Owner::Stream(number), listener.as_fd(), true, false);
                }
            }
            Sockets::Unix(listener) => descriptors.add(Owner::Stream(number), listener.as_fd(), true, false),
        }
    }

    /// The time at which [`Listener::accept`] is to be called, whatever else happens.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.paused
    }

    /// The connections that have come.
    pub(super) fn accept(&mut self, number: u32, now: Instant) -> Vec<Accepted> {
        let mut accepted = Vec::new();
        self.paused = self.paused.filter(|until| *until > now);
        while accepted.len() < TURN && !self.over && self.paused.is_none() {
            match self.next() {
                Ok((socket, origin)) => {
                    accepted.push(Accepted { socket, incoming: Incoming { listener: number, origin } });
                    self.over = self.single;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Too few descriptors or memory: they come back with time.
                Err(_) => self.paused = Some(now + PAUSE),
            }
        }
        accepted
    }

    /// Waits for connections, until the peer of `stop` is closed.
    ///
    /// # Errors
    /// The listener takes no more.
    pub(crate) fn accept_blocking(&mut self, stop: BorrowedFd<'_>) -> io::Result<Vec<Accepted>> {
        loop {
            if self.over {
                return Err(ErrorKind::NotConnected.into());
            }
            let mut descriptors = Descriptors::default();
            self.wait_for(0, &mut descriptors);
            descriptors.add(Owner::Carrier, stop, true, false);
            if descriptors.wait(self.paused)?.contains(&Owner::Carrier) {
                return Err(ErrorKind::NotConnected.into());
            }
            let accepted = self.accept(0, Instant::now());
            if !accepted.is_empty() {
                return Ok(accepted);
            }
        }
    }

    fn next(&self) -> io::Result<(OwnedFd, (Vec<u8>, u16))> {
        match &self.sockets {
            Sockets::Unix(listener) => {
                let (socket, _) = listener.accept()?;
                socket.set_nonblocking(true)?;
                Ok((socket.into(), (Vec::new(), 0)))
            }
            Sockets::Tcp(listeners) => {
                let mut last = io::Error::from(ErrorKind::WouldBlock);
                for listener in listeners {
                    match listener.accept() {
                        Ok((socket, from)) => {
                            socket.set_nonblocking(true)?;
                            // Only a hint for the system.
                            let _ = socket.set_nodelay(true);
                            return Ok((socket.into(), (from.ip().to_string().into_bytes(), from.port())));
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}
