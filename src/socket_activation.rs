//! The listening sockets that systemd passes to the process (sd_listen_fds(3)).
//!
//! Invariants: a socket is taken once; no child inherits one, nor the variables that announce them.

use listenfd::ListenFd;
use socket2::SockRef;
use std::env;
use std::io;
use std::net::TcpListener;

/// The sockets that were passed and are not taken yet.
#[derive(Debug, Default)]
pub struct PassedSockets(Vec<PassedSocket>);

/// A socket that was passed.
#[derive(Debug)]
pub(crate) struct PassedSocket {
    /// `FileDescriptorName=` of its unit.
    pub name: String,
    /// An error where it cannot be a listener.
    pub socket: io::Result<TcpListener>,
}

impl PassedSockets {
    /// Takes the sockets and removes their variables. Call it before the process has a second thread.
    pub fn of_process() -> Self {
        // Left over from a parent whose child did not remove them.
        if env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
            return Self::default();
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
        let sockets = (0..passed.len()).zip(names).map(|(index, name)| {
            let socket = passed.take_tcp_listener(index).and_then(|socket| socket.ok_or_else(not_a_listener));
            PassedSocket { name, socket: socket.and_then(listening) }
        });
        Self(sockets.collect())
    }

    /// Takes the sockets with a name.
    pub(crate) fn take_named(&mut self, name: &str) -> Vec<PassedSocket> {
        self.0.extract_if(.., |socket| socket.name == name).collect()
    }

    /// Takes the sockets that are left.
    pub(crate) fn take_rest(&mut self) -> Vec<PassedSocket> {
        std::mem::take(&mut self.0)
    }

    /// The names of the sockets that are left.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|socket| socket.name.as_str()).collect()
    }
}

fn listening(socket: TcpListener) -> io::Result<TcpListener> {
    if SockRef::from(&socket).is_listener()? { Ok(socket) } else { Err(not_a_listener()) }
}

fn not_a_listener() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a socket that listens (Accept=no)")
}
