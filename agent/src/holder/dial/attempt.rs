//! One connection that is being made, by calls that do not block: each address of a host in turn, until one answers.
//!
//! Invariants: an address that swallows packets leaves time for the others; nothing of it lasts beyond its deadline; when it
//! is dropped, its socket is closed.

use super::super::reason;
use super::super::wait::{Descriptors, Owner};
use podgate_link::Close;
use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Pause before a Unix socket is tried again whose queue of connections was full: poll(2) does not tell when it has room.
const RETRY: Duration = Duration::from_millis(20);

/// A connection that is being made.
pub(super) struct Attempt {
    untried: VecDeque<Target>,
    /// The socket that waits for its peer.
    connecting: Option<OwnedFd>,
    /// The time at which the next address is due, or the same one again.
    until: Instant,
    deadline: Instant,
    last: Close,
}

/// An address in the guest.
enum Target {
    Tcp(SocketAddr),
    Unix(SocketAddrUnix),
}

/// The state of a socket after connect(2).
enum Connecting {
    Done(OwnedFd),
    Waits(OwnedFd),
}

impl Attempt {
    /// Will connect to one of these addresses.
    pub(super) fn tcp(addresses: &[IpAddr], port: u16, deadline: Instant) -> Self {
        let targets = addresses.iter().map(|address| Target::Tcp(SocketAddr::new(*address, port)));
        Self::new(targets.collect(), deadline)
    }

    /// Will connect to a Unix socket.
    ///
    /// # Errors
    /// The path cannot be that of a socket.
    pub(super) fn unix(path: &[u8], deadline: Instant) -> Result<Self, Close> {
        let address = SocketAddrUnix::new(path).map_err(|error| reason::close(&error.into()))?;
        Ok(Self::new(VecDeque::from([Target::Unix(address)]), deadline))
    }

    fn new(untried: VecDeque<Target>, deadline: Instant) -> Self {
        let last = reason::close(&ErrorKind::AddrNotAvailable.into());
        Self { untried, connecting: None, until: Instant::now(), deadline, last }
    }

    /// Adds what the attempt waits for.
    pub(super) fn wait_for<'a>(&'a self, owner: Owner, descriptors: &mut Descriptors<'a>) {
        if let Some(socket) = &self.connecting {
            descriptors.add(owner, socket.as_fd(), false, true);
        }
    }

    /// The time at which [`Attempt::advance`] is to be called, whatever else happens.
    pub(super) fn next_timer(&self) -> Instant {
        self.until
    }

    /// Goes on. `ready` says that poll(2) has reported the socket. Returns the result once there is one.
    pub(super) fn advance(&mut self, now: Instant, ready: bool) -> Option<Result<OwnedFd, Close>> {
        match self.connecting.take() {
            Some(socket) if ready => match socket_error(&socket).and_then(|error| error) {
                Ok(()) => return Some(Ok(socket)),
                Err(error) => self.last = reason::close(&error.into()),
            },
            waiting if now < self.until => {
                self.connecting = waiting;
                return None;
            }
            Some(_swallowed) => self.last = reason::close(&Errno::TIMEDOUT.into()),
            None => {}
        }
        while let Some(target) = self.untried.pop_front() {
            let left = self.deadline.saturating_duration_since(now);
            if left.is_zero() {
                break;
            }
            match target.connect() {
                Ok(Connecting::Done(socket)) => return Some(Ok(socket)),
                Ok(Connecting::Waits(socket)) => {
                    let rest = u32::try_from(self.untried.len()).unwrap_or(u32::MAX).saturating_add(1);
                    self.until = now + left / rest;
                    self.connecting = Some(socket);
                    return None;
                }
                Err(error) => {
                    self.last = reason::close(&error.into());
                    if error == Errno::AGAIN && matches!(target, Target::Unix(_)) {
                        self.untried.push_front(target);
                        self.until = now + RETRY.min(left);
                        return None;
                    }
                }
            }
        }
        Some(Err(self.last.clone()))
    }
}

impl Target {
    fn connect(&self) -> Result<Connecting, Errno> {
        let family = match self {
            Self::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Self::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
            Self::Unix(_) => AddressFamily::UNIX,
        };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
        let connected = match self {
            Self::Tcp(address) => {
                // Only a hint for the system.
                let _ = set_tcp_nodelay(&socket, true);
                connect(&socket, address)
            }
            Self::Unix(address) => connect(&socket, address),
        };
        match connected {
            Ok(()) => Ok(Connecting::Done(socket)),
            Err(Errno::INPROGRESS) => Ok(Connecting::Waits(socket)),
            Err(error) => Err(error),
        }
    }
}
