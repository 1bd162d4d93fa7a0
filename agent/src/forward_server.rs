//! The mode `forward-server`: ContainerSSH's forward protocol on standard input and output, as its gateway drives it.
//!
//! A thread reads packets; each connection has one that reads its socket and one that writes it. Invariants: connections and
//! what waits for a socket are bounded, and a full one holds the reader up (the protocol has no windows); ids of the peer only grow, and one
//! that does not is passed over without an answer, as by ContainerSSH's agent. Unlike there, the end of the input ends the
//! process: nothing stays of a gateway that is gone.

mod packet;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use packet::fuzz;

use crate::command_line::{Arguments, WrongArgument, complain, unknown};
use crate::holder::{Accepted, Listener, dial, set_blocking};
use crate::x11;
use packet::{NewConnection, Packet, PacketError, PacketReader, PacketType, Setup};
use podgate_link::request::{Address, Listen};
use rustix::net::{Shutdown, shutdown};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes of one data packet, as ContainerSSH's agent sends them.
const DATA: usize = 32 * 1024;
/// Pieces of at most [`DATA`] bytes that wait for a socket.
const WAITING: usize = 16;
/// Connections at once. Each costs three threads.
const CONNECTIONS: usize = 256;
/// Exit codes: the listener cannot be bound; the peer does not speak the protocol.
const NOT_BOUND: u8 = 1;
const BROKEN: u8 = 2;

/// Connection types of a setup packet.
const X11_FORWARD: u64 = 0;
const PORT_FORWARD: u64 = 1;
const PORT_DIAL: u64 = 2;
const SOCKET_FORWARD: u64 = 3;
const SOCKET_DIAL: u64 = 4;

/// Serves until the end of the input, or until a listener that takes no more has no connection left.
pub(crate) fn run(mut arguments: Arguments) -> Result<u8, WrongArgument> {
    if let Some(argument) = arguments.next() {
        return Err(unknown(&argument));
    }
    let mut packets = PacketReader::new(io::stdin().lock());
    let served = match packets.next() {
        Ok(Some(Packet { kind: PacketType::Setup, payload: Some(payload), .. })) => serve(&payload, &mut packets),
        Ok(None) => Ok(0),
        Ok(Some(_)) => {
            complain("the first packet is no setup");
            Ok(BROKEN)
        }
        Err(error) => Err(error),
    };
    Ok(served.unwrap_or_else(|error| {
        complain(&error.to_string());
        BROKEN
    }))
}

fn serve(setup: &[u8], packets: &mut PacketReader<impl Read>) -> Result<u8, PacketError> {
    let setup = Setup::decode(setup)?;
    let listens = !matches!(setup.connection_type, PORT_DIAL | SOCKET_DIAL);
    let server = Server { listens, state: Arc::default(), output: Arc::default() };
    // Before the listener is bound, as by ContainerSSH's agent: its gateway waits for this first.
    server.send(&Packet::new(PacketType::Success, 0))?;
    let listener = match setup.connection_type {
        PORT_DIAL | SOCKET_DIAL => None,
        X11_FORWARD => Some(
            x11::bind_for_containerssh(&setup.auth_protocol, &setup.auth_cookie)
                .map(|sockets| Listener::of_tcp(sockets, setup.single_connection)),
        ),
        PORT_FORWARD | SOCKET_FORWARD => Some(bind(&setup)),
        other => {
            complain(&format!("unknown connection type {other}"));
            return Ok(BROKEN);
        }
    };
    if let Some(listener) = listener {
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                complain(&format!("cannot listen: {error}"));
                return Ok(NOT_BOUND);
            }
        };
        let (stop, stopped) = UnixStream::pair()?;
        server.state().stop = Some(stop);
        let (server, setup) = (server.clone(), setup.clone());
        thread::Builder::new().spawn(move || server.accept_all(listener, &stopped, &setup))?;
    }
    while let Some(packet) = packets.next()? {
        server.take(packet)?;
        if server.is_over() {
            break;
        }
    }
    Ok(0)
}

fn bind(setup: &Setup) -> io::Result<Listener> {
    let listen = match setup.protocol.as_str() {
        "unix" => Listen::Unix(setup.bind_host.clone().into_bytes()),
        _ => Listen::Tcp(host(&setup.bind_host), port(setup.bind_port)?),
    };
    Listener::bind(&listen).map(|(listener, _)| listener).map_err(|close| io::Error::other(close.reason))
}

/// ContainerSSH's agent joins host and port by a colon, so that an IPv6 address comes with its brackets.
fn host(text: &str) -> Vec<u8> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text).as_bytes().to_vec()
}

fn port(number: u64) -> io::Result<u16> {
    u16::try_from(number).map_err(io::Error::other)
}

/// The connections of one process; clones are the same.
#[derive(Clone)]
struct Server {
    /// True if it dials nothing.
    listens: bool,
    state: Arc<Mutex<State>>,
    /// Held while a packet is written.
    output: Arc<Mutex<()>>,
}

#[derive(Default)]
struct State {
    connections: BTreeMap<u64, Connection>,
    /// The highest id that was used by either end.
    highest: u64,
    /// Packets about connections that are forgotten, still to be sent.
    telling: usize,
    /// Stops the listener when it is dropped.
    stop: Option<UnixStream>,
    /// True once the peer wants no more connections.
    stopped: bool,
}

enum Connection {
    /// Came to our listener; the socket is there until the peer has answered.
    Offered(Option<OwnedFd>),
    /// Made outwards; the dial is not over.
    Dialling,
    Open(SyncSender<Vec<u8>>),
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, packet: &Packet) -> io::Result<()> {
        let _one_at_a_time = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        packet.write(&mut io::stdout().lock())
    }

    /// Returns true once the peer wants no more connections and none is left.
    fn is_over(&self) -> bool {
        let state = self.state();
        state.stopped && state.connections.is_empty() && state.telling == 0
    }

    fn take(&self, packet: Packet) -> Result<(), PacketError> {
        let id = packet.connection;
        match packet.kind {
            PacketType::NewConnection => {
                let mut state = self.state();
                if id <= state.highest {
                    return Ok(());
                }
                state.highest = id;
                if self.listens || state.connections.len() >= CONNECTIONS {
                    drop(state);
                    // A listener is bound: that it listens can be seen by this.
                    self.send(&Packet::new(PacketType::Error, id))?;
                    return Ok(());
                }
                state.connections.insert(id, Connection::Dialling);
                drop(state);
                let new = NewConnection::decode(&packet.payload.unwrap_or_default())?;
                let server = self.clone();
                thread::Builder::new().spawn(move || server.dial(id, &new))?;
            }
            PacketType::Data => {
                let sender = match self.state().connections.get(&id) {
                    Some(Connection::Open(sender)) => Some(sender.clone()),
                    _ => None,
                };
                if let Some(sender) = sender {
                    for piece in packet.payload.unwrap_or_default().chunks(DATA) {
                        // The socket is closed: what comes is dropped.
                        let _ = sender.send(piece.to_vec());
                    }
                }
            }
            PacketType::CloseConnection => {
                let known = self.state().connections.remove(&id).is_some();
                self.send(&Packet::new(if known { PacketType::Success } else { PacketType::Error }, id))?;
            }
            PacketType::Success => {
                let offered = match self.state().connections.get_mut(&id) {
                    Some(Connection::Offered(socket)) => socket.take(),
                    _ => None,
                };
                if let Some(socket) = offered {
                    self.start(id, socket, false)?;
                }
            }
            PacketType::Error => {
                self.state().connections.remove(&id);
            }
            PacketType::NoMoreConnections => {
                let mut state = self.state();
                (state.stop, state.stopped) = (None, true);
            }
            PacketType::Setup => {}
        }
        Ok(())
    }

    fn dial(&self, id: u64, new: &NewConnection) {
        let address = match (new.protocol.as_str(), port(new.connected_port)) {
            ("unix", _) => Ok(Address::Unix(new.connected_address.clone().into_bytes())),
            (_, Ok(port)) => Ok(Address::Tcp(host(&new.connected_address), port)),
            (_, Err(error)) => Err(error.to_string()),
        };
        let dialled = address.and_then(|address| dial(&address).map_err(|close| close.reason));
        match dialled {
            Ok(socket) => end_if_gone(self.start(id, socket, true)),
            Err(reason) => {
                complain(&reason);
                self.forget(id, PacketType::Error);
                self.end_if_over();
            }
        }
    }

    /// Forgets a connection that has ended on this side, and tells the peer, unless it was the one that closed it.
    fn forget(&self, id: u64, told: PacketType) {
        {
            let mut state = self.state();
            if state.connections.remove(&id).is_none() {
                return;
            }
            state.telling += 1;
        }
        end_if_gone(self.send(&Packet::new(told, id)));
        self.state().telling -= 1;
    }

    /// Begins to carry both ways, after it has told the peer of the success where that is still due. A connection that the
    /// peer has closed meanwhile is dropped.
    fn start(&self, id: u64, socket: OwnedFd, tell: bool) -> io::Result<()> {
        set_blocking(socket.as_fd())?;
        let (sender, receiver) = sync_channel::<Vec<u8>>(WAITING);
        let mut writer = File::from(socket.try_clone()?);
        match self.state().connections.get_mut(&id) {
            // It is open before the peer can know: what it sends next is for this socket.
            Some(connection) => *connection = Connection::Open(sender),
            None => return Ok(()),
        }
        if tell {
            self.send(&Packet::new(PacketType::Success, id))?;
        }
        thread::Builder::new().spawn(move || {
            while let Ok(data) = receiver.recv()
                && writer.write_all(&data).is_ok()
            {}
            // The protocol closes both ways at once. A peer that is gone needs no end.
            let _ = shutdown(&writer, Shutdown::Both);
        })?;
        let (server, mut reader) = (self.clone(), File::from(socket));
        thread::Builder::new().spawn(move || {
            let mut buffer = vec![0; DATA];
            while let Ok(length) = reader.read(&mut buffer)
                && length > 0
            {
                end_if_gone(server.send(&Packet::with(PacketType::Data, id, buffer[..length].to_vec())));
            }
            server.forget(id, PacketType::CloseConnection);
            server.end_if_over();
        })?;
        Ok(())
    }

    /// Offers every connection that comes to the peer, until it wants no more.
    fn accept_all(&self, mut listener: Listener, stopped: &UnixStream, setup: &Setup) {
        while let Ok(accepted) = listener.accept_blocking(stopped.as_fd()) {
            for Accepted { socket, incoming } in accepted {
                let mut state = self.state();
                if state.stopped {
                    return;
                }
                if state.connections.len() >= CONNECTIONS {
                    // Dropping the socket closes it.
                    continue;
                }
                state.highest += 1;
                let id = state.highest;
                state.connections.insert(id, Connection::Offered(Some(socket)));
                drop(state);
                let new = NewConnection {
                    protocol: setup.protocol.clone(),
                    connected_address: setup.bind_host.clone(),
                    connected_port: setup.bind_port,
                    originator_address: String::from_utf8_lossy(&incoming.origin.0).into_owned(),
                    originator_port: u64::from(incoming.origin.1),
                };
                end_if_gone(self.send(&Packet::with(PacketType::NewConnection, id, new.encode())));
            }
        }
    }

    /// Ends the process where nothing is left to serve: its main thread waits for packets.
    fn end_if_over(&self) {
        if self.is_over() {
            std::process::exit(0);
        }
    }
}

/// Ends the process where nobody reads its output any more.
fn end_if_gone(sent: io::Result<()>) {
    if sent.is_err() {
        std::process::exit(i32::from(BROKEN));
    }
}
