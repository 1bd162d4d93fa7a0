//! The mode `link`: the process that holds a link's programs, connections, listeners and files, and serves its carrier. One
//! thread, which waits in poll(2) for whatever moves first.
//!
//! Invariants: nothing here blocks but poll; what a stream holds in memory is bounded by the link's windows; when the link is
//! over, everything that it started has been ended, except processes that made a group or a session of their own.

mod carrier;
mod connection;
mod dial;
mod file;
mod listener;
mod own_programs;
mod program;
mod reason;
mod wait;

use crate::command_line::{Arguments, WrongArgument, complain, unknown};
use crate::login::Login;
use crate::random::random;
use crate::{own_file, private_directory};
use bytes::Bytes;
pub(crate) use carrier::set_blocking;
use carrier::{Carrier, CarrierError};
use connection::Connection;
use dial::Dials;
pub(crate) use dial::dial;
use file::FileWriter;
pub(crate) use listener::{Accepted, Listener};
use own_programs::OwnPrograms;
use podgate_link::frame::MAX_DATA;
use podgate_link::handshake::{AgentHandshake, Agreement, AwaitedProof, Hello, Purpose, VERSION, Welcome};
use podgate_link::request::GatewayRequest;
use podgate_link::{Close, LEAST_WINDOW, Link, Notice, ProtocolError, Side};
use program::Program;
use rustix::process::{getpid, set_child_subreaper};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Stdin, Stdout};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use wait::{Children, Descriptors, Owner};

/// Bytes for the carrier that may wait before programs are no longer read.
const BACKLOG: usize = 256 * 1024;

/// Codes of a close (PROTOCOL.md, "Codes").
pub(crate) mod code {
    pub(crate) const NO_FAILURE: u16 = 0;
    pub(crate) const MALFORMED: u16 = 1;
    pub(crate) const LIMIT: u16 = 2;
    pub(crate) const SYSTEM: u16 = 3;
    pub(crate) const NOT_FOUND: u16 = 4;
    pub(crate) const PERMISSION: u16 = 5;
    pub(crate) const REFUSED: u16 = 6;
    pub(crate) const UNRESOLVED: u16 = 7;
    pub(crate) const TIMED_OUT: u16 = 8;
    pub(crate) const NOT_BOUND: u16 = 9;
}

/// The longest time from the start of a carrier to the gateway's proof.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Streams of the gateway's that may be open at once.
const STREAMS: u32 = 1024;
/// Bytes that are read from a descriptor at a time.
const SCRATCH: usize = MAX_DATA;
/// Bytes that are made ready for the carrier at a time.
const OUT: usize = 128 * 1024;
/// Exit codes: the link failed, or the system refused what the holder itself needs.
const LINK_FAILED: u8 = 4;
const SYSTEM_FAILED: u8 = 3;

/// Serves one gateway to the end of its link.
pub(crate) fn run(mut arguments: Arguments) -> Result<u8, WrongArgument> {
    let mut directory = None;
    while let Some(argument) = arguments.next() {
        if argument == "--directory" {
            directory = Some(arguments.value("--directory")?);
        } else if argument != "--remove-self" {
            return Err(unknown(&argument));
        } else if let Err(error) = own_file::remove(arguments.name.as_deref()) {
            // It serves all the same: one file more stays.
            complain(&format!("cannot remove the agent's file: {error}"));
        }
    }
    if let Some(directory) = directory {
        // A directory that the user may not enter is not for programs either.
        let _ = std::env::set_current_dir(directory).or_else(|_denied| std::env::set_current_dir("/"));
    }
    let mut holder = match Holder::new() {
        Ok(holder) => holder,
        Err(error) => {
            complain(&format!("cannot serve a link: {error}"));
            return Ok(SYSTEM_FAILED);
        }
    };
    let ended = holder.serve();
    holder.end_everything();
    Ok(match ended {
        Ok(()) | Err(LinkError::Carrier(CarrierError::Closed)) => 0,
        Err(error) => {
            complain(&format!("the link ended: {error}"));
            LINK_FAILED
        }
    })
}

/// The failure of a link.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    /// The carrier failed or was closed.
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    /// The gateway broke the protocol.
    #[error("the gateway broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The gateway is silent, though it owes an answer.
    #[error("the gateway is silent")]
    Silent,
    /// The system refused to wait.
    #[error("waiting failed: {0}")]
    Wait(#[source] io::Error),
}

/// Something that a stream stands for.
enum Service {
    Program(Program),
    Connection(Connection),
    /// A connection that is being made.
    Dial,
    Listener(Listener),
    File(FileWriter),
}

/// The holder of a link.
struct Holder {
    carrier: Carrier<Stdin, Stdout>,
    children: Children,
    dials: Dials,
    login: Login,
    services: BTreeMap<u32, Service>,
    /// Programs whose stream was closed or lost before they ended, until their process groups are empty.
    leaving: Vec<Program>,
    /// Programs that have ended, as long as something that they started is left in their process groups.
    resting: Vec<Program>,
    /// Programs of the agent's that the image does not have.
    own_programs: Option<OwnPrograms>,
    scratch: Vec<u8>,
}

impl Holder {
    fn new() -> io::Result<Self> {
        // What a program leaves behind is reaped here: not every container's main process does. Without it, that one has to.
        let _ = set_child_subreaper(Some(getpid()));
        private_directory::remove_abandoned();
        let login = Login::current();
        Ok(Self {
            own_programs: OwnPrograms::make(&login),
            carrier: Carrier::new(io::stdin(), io::stdout())?,
            children: Children::listen()?,
            dials: Dials::new()?,
            login,
            services: BTreeMap::new(),
            leaving: Vec::new(),
            resting: Vec::new(),
            scratch: vec![0; SCRATCH],
        })
    }

    /// Serves until the gateway ends the link, or the link fails.
    fn serve(&mut self) -> Result<(), LinkError> {
        let agreed = self.shake_hands(Instant::now() + HANDSHAKE)?;
        let Some((agreement, frames)) = agreed else { return Ok(()) };
        let mut link = Link::new(Side::Agent, agreement.limits);
        link.attach(agreement.peer_received, Instant::now())?;
        link.receive(frames, Instant::now())?;
        loop {
            let mut touched: BTreeSet<u32> = BTreeSet::new();
            while let Some(notice) = link.notice() {
                match notice {
                    Notice::Opened(number, request) => {
                        self.open(&mut link, number, request);
                        touched.insert(number);
                    }
                    Notice::Stream(number) => {
                        touched.insert(number);
                    }
                    Notice::Ended(_) => return Ok(()),
                }
            }
            touched.extend(self.take_dials(&mut link, &BTreeSet::new()));
            self.advance(&mut link, touched);
            let now = Instant::now();
            if !link.timer(now) {
                return Err(LinkError::Silent);
            }
            send(&mut link, &mut self.carrier, now)?;
            let ready = self.wait(&link).map_err(LinkError::Wait)?;
            let mut streams = self.due_listeners(Instant::now());
            streams.extend(if ready.contains(&Owner::Children) { self.learn_ends() } else { BTreeSet::new() });
            streams.extend(self.take_dials(&mut link, &ready));
            if ready.contains(&Owner::Carrier)
                && let Some(bytes) = self.carrier.receive(&mut self.scratch)?
            {
                link.receive(bytes, Instant::now())?;
            }
            streams.extend(
                ready.iter().filter_map(|owner| if let Owner::Stream(number) = owner { Some(*number) } else { None }),
            );
            self.advance(&mut link, streams);
        }
    }

    /// Waits for whatever comes first.
    fn wait(&self, link: &Link) -> io::Result<BTreeSet<Owner>> {
        let mut descriptors = Descriptors::default();
        descriptors.add(Owner::Children, self.children.descriptor(), true, false);
        self.dials.wait_for(&mut descriptors);
        descriptors.add(Owner::Carrier, self.carrier.input(), true, false);
        descriptors.add(Owner::Carrier, self.carrier.output(), false, !self.carrier.out.is_empty());
        let takes_output = link.unsent() <= BACKLOG;
        for (number, service) in &self.services {
            match service {
                Service::Program(program) => program.wait_for(link, *number, takes_output, &mut descriptors),
                Service::Connection(connection) => connection.wait_for(link, *number, takes_output, &mut descriptors),
                Service::Listener(listener) => listener.wait_for(*number, &mut descriptors),
                Service::File(_) | Service::Dial => {}
            }
        }
        let listeners = self.services.values().filter_map(|service| match service {
            Service::Listener(listener) => listener.next_timer(),
            _ => None,
        });
        let now = Instant::now();
        let gathering = self.services.values().filter_map(|service| match service {
            Service::Program(program) => program.gathers_until(now),
            _ => None,
        });
        let ends = self.leaving.iter().filter_map(Program::next_timer);
        descriptors
            .wait(ends.chain(gathering).chain(listeners).chain(self.dials.next_timer()).chain(link.next_timer()).min())
    }

    /// The listeners whose pause is over: no descriptor tells of it.
    fn due_listeners(&self, now: Instant) -> BTreeSet<u32> {
        let due = |service: &Service| matches!(service, Service::Listener(listener) if listener.next_timer().is_some_and(|at| at <= now));
        self.services.iter().filter(|(_, service)| due(service)).map(|(number, _)| *number).collect()
    }

    /// Agrees with the gateway. `None` where the carrier ends before: there never was a link.
    fn shake_hands(&mut self, until: Instant) -> Result<Option<(Agreement, Bytes)>, LinkError> {
        let mut step = Handshake::Hello(AgentHandshake::default());
        let mut input = Bytes::new();
        loop {
            step = match step {
                Handshake::Hello(mut hello) => match hello.receive(&mut input).map_err(CarrierError::Handshake)? {
                    Some((hello, secret)) if hello.purpose == Purpose::New => {
                        let (proof, answer) = AgentHandshake::welcome(hello.clone(), secret, welcome(&hello)?);
                        self.carrier.out.extend_from_slice(&answer);
                        Handshake::Proof(proof)
                    }
                    Some(_) => {
                        self.carrier.out.extend_from_slice(&AgentHandshake::refusal(NO_SUCH_LINK, "no such link"));
                        self.carrier.flush()?;
                        return Ok(None);
                    }
                    None => Handshake::Hello(hello),
                },
                Handshake::Proof(mut proof) => match proof.receive(&mut input).map_err(CarrierError::Handshake)? {
                    Some(agreement) => return Ok(Some((agreement, input))),
                    None => Handshake::Proof(proof),
                },
            };
            self.carrier.flush()?;
            if input.is_empty() {
                let mut descriptors = Descriptors::default();
                descriptors.add(Owner::Carrier, self.carrier.input(), true, false);
                descriptors.add(Owner::Carrier, self.carrier.output(), false, !self.carrier.out.is_empty());
                let ready = descriptors.wait(Some(until)).map_err(LinkError::Wait)?;
                if ready.is_empty() && Instant::now() >= until {
                    return Err(LinkError::Silent);
                }
                input = match self.carrier.receive(&mut self.scratch) {
                    Err(CarrierError::Closed) => return Ok(None),
                    other => other?.unwrap_or_default(),
                };
            }
        }
    }

    /// Does what a stream was opened for, or closes it with the reason.
    fn open(&mut self, link: &mut Link, number: u32, request: Bytes) {
        let folder = self.own_programs.as_ref().map(OwnPrograms::folder);
        let opened = match GatewayRequest::decode(request) {
            Ok(GatewayRequest::Program(request)) => {
                let started = Program::start(&request, &self.login, folder).map_err(|error| error.close());
                started.map(|program| (Service::Program(program), Bytes::new()))
            }
            Ok(GatewayRequest::Sftp(request)) => {
                let started = Program::start_sftp(&request, &self.login).map_err(|error| error.close());
                started.map(|program| (Service::Program(program), Bytes::new()))
            }
            Ok(GatewayRequest::WriteFile(path)) => Ok((Service::File(FileWriter::create(&path)), Bytes::new())),
            Ok(GatewayRequest::Dial(address)) => {
                // Accepted or closed when it is over.
                self.dials.begin(number, &address);
                self.services.insert(number, Service::Dial);
                return;
            }
            Ok(GatewayRequest::Listen(listen)) => {
                Listener::bind(&listen).map(|(listener, reply)| (Service::Listener(listener), reply))
            }
            Err(error) => Err(Close { code: code::MALFORMED, reason: error.to_string() }),
        };
        match opened {
            Ok((service, reply)) => {
                if link.accept(number, reply).is_ok() {
                    self.services.insert(number, service);
                    return;
                }
                link.close(number, &Close { code: code::LIMIT, reason: "too much waits".to_owned() });
                if let Service::Program(program) = service {
                    self.leaving.push(program);
                }
            }
            Err(close) => link.close(number, &close),
        }
    }

    /// Moves what these streams have, and what has its time.
    fn advance(&mut self, link: &mut Link, streams: BTreeSet<u32>) {
        let now = Instant::now();
        let mut accepted = Vec::new();
        for number in streams {
            let Some(service) = self.services.get_mut(&number) else { continue };
            let over = match service {
                Service::Program(program) => program.advance(link, number, &mut self.scratch),
                Service::Connection(connection) => connection.advance(link, number, &mut self.scratch),
                Service::File(file) => file.advance(link, number),
                Service::Listener(listener) => {
                    accepted.extend(listener.accept(number, now));
                    close_if_closed(link, number)
                }
                Service::Dial => close_if_closed(link, number),
            };
            if over {
                match self.services.remove(&number) {
                    Some(Service::Program(program)) if program.has_ended() => self.resting.push(program),
                    Some(Service::Program(program)) => self.leaving.push(program),
                    Some(Service::Dial) => self.dials.forget(number),
                    _ => {}
                }
            }
        }
        for Accepted { socket, incoming } in accepted {
            // A connection for which the link has no room is dropped: its peer sees the end.
            if let Ok(number) = link.open(incoming.encode()) {
                self.services.insert(number, Service::Connection(Connection::new(socket)));
            }
        }
        self.leaving.retain_mut(|program| !program.end(now));
    }

    /// Takes the dials that are over, after poll(2) reported what is ready. Returns their streams.
    fn take_dials(&mut self, link: &mut Link, ready: &BTreeSet<Owner>) -> BTreeSet<u32> {
        let mut streams = BTreeSet::new();
        for (number, dialled) in self.dials.over(Instant::now(), ready) {
            // A stream that was closed meanwhile has no service any more.
            let Some(Service::Dial) = self.services.get(&number) else { continue };
            let accepted = dialled.and_then(|socket| match link.accept(number, Bytes::new()) {
                Ok(()) => Ok(socket),
                Err(_) => Err(Close { code: code::LIMIT, reason: "too much waits".to_owned() }),
            });
            match accepted {
                Ok(socket) => {
                    self.services.insert(number, Service::Connection(Connection::new(socket)));
                    streams.insert(number);
                }
                Err(close) => {
                    link.close(number, &close);
                    self.services.remove(&number);
                }
            }
        }
        streams
    }

    /// Takes the status of ended programs. Returns their streams.
    fn learn_ends(&mut self) -> BTreeSet<u32> {
        let mut streams = BTreeSet::new();
        for (pid, child) in self.children.ended() {
            for (number, service) in &mut self.services {
                if let Service::Program(program) = service
                    && program.pid() == pid
                {
                    program.ended(child);
                    streams.insert(*number);
                }
            }
        }
        self.resting.retain(|program| !program.is_group_empty());
        streams
    }

    /// Ends every program that is left, each with its grace.
    fn end_everything(&mut self) {
        self.leaving.append(&mut self.resting);
        let services = std::mem::take(&mut self.services);
        self.leaving.extend(services.into_values().filter_map(|service| match service {
            Service::Program(program) => Some(program),
            _ => None,
        }));
        loop {
            let now = Instant::now();
            self.leaving.retain_mut(|program| !program.end(now));
            if self.leaving.is_empty() {
                return;
            }
            let mut descriptors = Descriptors::default();
            descriptors.add(Owner::Children, self.children.descriptor(), true, false);
            if descriptors.wait(self.leaving.iter().filter_map(Program::next_timer).min()).is_err() {
                return;
            }
            self.learn_ends();
        }
    }
}

/// Sends until nothing is left or the carrier takes no more: nothing else would wake the holder for what is left.
fn send<R: AsFd, W: AsFd>(link: &mut Link, carrier: &mut Carrier<R, W>, now: Instant) -> Result<(), LinkError> {
    loop {
        link.transmit(&mut carrier.out, OUT, now)?;
        if carrier.out.is_empty() {
            return Ok(());
        }
        carrier.flush()?;
        if !carrier.out.is_empty() {
            return Ok(());
        }
    }
}

/// Closes a stream that the gateway has closed. Returns whether it was.
fn close_if_closed(link: &mut Link, number: u32) -> bool {
    let closed = link.closed(number).is_some();
    if closed {
        link.close(number, &Close { code: code::NO_FAILURE, reason: String::new() });
    }
    closed
}

/// The steps of a handshake on this side.
enum Handshake {
    /// The gateway has not said hello.
    Hello(AgentHandshake),
    /// The gateway's proof is awaited.
    Proof(AwaitedProof),
}

/// Code of a refused carrier: the link that it names is not here.
const NO_SUCH_LINK: u8 = 2;

fn welcome(hello: &Hello) -> Result<Welcome, LinkError> {
    let nonce = random().map_err(CarrierError::Io)?;
    let (version, features) = (VERSION, 0);
    Ok(Welcome { version, features, nonce, epoch: hello.epoch, received: 0, window: LEAST_WINDOW, streams: STREAMS })
}

#[cfg(test)]
mod tests {
    use super::*;
    use podgate_link::{Lane, Limits};
    use std::fs::File;

    #[test]
    fn carrier_that_takes_everything_leaves_nothing_unsent() {
        let (input, output) = (File::open("/dev/null").unwrap(), File::create("/dev/null").unwrap());
        let mut carrier = Carrier::new(input, output).unwrap();
        let window = 1024 * 1024;
        let limits = Limits { window, budget: window, peer_window: window, peer_streams: 1, streams: 1 };
        let mut link = Link::new(Side::Agent, limits);
        link.attach(0, Instant::now()).unwrap();
        let number = link.open(Bytes::new()).unwrap();
        assert_eq!(link.write(number, Lane::Main, vec![0; 10 * OUT / 2].into()), 10 * OUT / 2);
        send(&mut link, &mut carrier, Instant::now()).unwrap();
        assert_eq!((link.unsent(), carrier.out.len()), (0, 0));
    }
}
