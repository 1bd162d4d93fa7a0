//! Connections that are being made. The holder's loop waits for their sockets; only a name that name servers have to be asked
//! for takes a thread.
//!
//! Invariants: a dial that nobody answers holds up no other; at most [`LOOKUPS`] names are looked up at once, others wait for
//! their turn; each dial ends within [`DEADLINE`]; one whose stream was closed meanwhile is gone at once.

mod attempt;

use super::code;
use super::reason;
use super::wait::{Descriptors, Owner};
use crate::resolver::{ResolveError, Resolver};
use attempt::Attempt;
use podgate_link::Close;
use podgate_link::request::Address;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Names that are looked up at once.
const LOOKUPS: usize = 32;
/// Threads at most: those of lookups that were given up end with the answer, or the time-out, of the name server they ask.
const THREADS: usize = 4 * LOOKUPS;
/// The longest time of a dial, the resolution of the name included.
const DEADLINE: Duration = Duration::from_secs(60);
/// Stack of a lookup's thread, in bytes.
const STACK: usize = 128 * 1024;

/// The addresses of a name, for the stream that dials it.
type Found = (u32, Result<Vec<IpAddr>, Close>);

/// The dials of a link.
pub(super) struct Dials {
    attempts: BTreeMap<u32, Attempt>,
    waiting: VecDeque<(u32, Lookup)>,
    running: BTreeMap<u32, Lookup>,
    threads: usize,
    /// Dials that were over before they could wait.
    failed: Vec<(u32, Close)>,
    sender: Sender<Found>,
    receiver: Receiver<Found>,
    /// A byte comes here for each lookup that is over.
    told: UnixStream,
    teller: UnixStream,
}

/// A name whose addresses are wanted.
struct Lookup {
    host: String,
    port: u16,
    deadline: Instant,
    given_up: Arc<AtomicBool>,
}

impl Dials {
    pub(super) fn new() -> io::Result<Self> {
        let (told, teller) = UnixStream::pair()?;
        told.set_nonblocking(true)?;
        let (sender, receiver) = channel();
        Ok(Self {
            attempts: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            threads: 0,
            failed: Vec::new(),
            sender,
            receiver,
            told,
            teller,
        })
    }

    /// Begins a dial, or lets it wait for its turn.
    pub(super) fn begin(&mut self, stream: u32, address: &Address) {
        let deadline = Instant::now() + DEADLINE;
        let begun = match address {
            Address::Unix(path) => Attempt::unix(path, deadline),
            Address::Tcp(host, port) => {
                let host = String::from_utf8_lossy(host).into_owned();
                match Resolver::of_container().resolve_locally(&host) {
                    Some(found) => found
                        .map(|addresses| Attempt::tcp(&addresses, *port, deadline))
                        .map_err(|error| unresolved(&error)),
                    None => {
                        let given_up = Arc::default();
                        self.waiting.push_back((stream, Lookup { host, port: *port, deadline, given_up }));
                        self.start_waiting();
                        return;
                    }
                }
            }
        };
        match begun {
            Ok(attempt) => {
                self.attempts.insert(stream, attempt);
            }
            Err(close) => self.failed.push((stream, close)),
        }
    }

    /// Forgets a dial: its place is free at once.
    pub(super) fn forget(&mut self, stream: u32) {
        self.attempts.remove(&stream);
        self.waiting.retain(|(waiting, _)| *waiting != stream);
        if let Some(lookup) = self.running.remove(&stream) {
            lookup.given_up.store(true, Ordering::Relaxed);
        }
        self.start_waiting();
    }

    /// Adds what the dials wait for.
    pub(super) fn wait_for<'a>(&'a self, descriptors: &mut Descriptors<'a>) {
        descriptors.add(Owner::Dials, self.told.as_fd(), true, false);
        for (stream, attempt) in &self.attempts {
            attempt.wait_for(Owner::Stream(*stream), descriptors);
        }
    }

    /// The time at which [`Dials::over`] is to be called, whatever else happens.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let waiting = self.waiting.front().map(|(_, lookup)| lookup.deadline);
        self.attempts.values().map(Attempt::next_timer).chain(waiting).min()
    }

    /// Goes on with the dials, and returns those that are over: their streams and sockets. `ready` is what poll(2) reported.
    pub(super) fn over(&mut self, now: Instant, ready: &BTreeSet<Owner>) -> Vec<(u32, Result<OwnedFd, Close>)> {
        if ready.contains(&Owner::Dials) {
            self.take_lookups();
        }
        while let Some((stream, _)) = self.waiting.pop_front_if(|(_, lookup)| lookup.deadline <= now) {
            self.failed.push((stream, reason::close(&Errno::TIMEDOUT.into())));
        }
        let mut over: Vec<_> = self.failed.drain(..).map(|(stream, close)| (stream, Err(close))).collect();
        self.attempts.retain(|stream, attempt| {
            let done = attempt.advance(now, ready.contains(&Owner::Stream(*stream)));
            let goes_on = done.is_none();
            over.extend(done.map(|done| (*stream, done)));
            goes_on
        });
        over
    }

    fn take_lookups(&mut self) {
        let mut bytes = [0; THREADS];
        while self.told.read(&mut bytes).is_ok_and(|length| length > 0) {}
        let found: Vec<Found> = self.receiver.try_iter().collect();
        self.threads -= found.len();
        for (stream, found) in found {
            // Nobody waits for a lookup that was given up.
            let Some(lookup) = self.running.remove(&stream) else { continue };
            match found {
                Ok(addresses) => {
                    self.attempts.insert(stream, Attempt::tcp(&addresses, lookup.port, lookup.deadline));
                }
                Err(close) => self.failed.push((stream, close)),
            }
        }
        self.start_waiting();
    }

    fn start_waiting(&mut self) {
        while self.running.len() < LOOKUPS
            && self.threads < THREADS
            && let Some((stream, lookup)) = self.waiting.pop_front()
        {
            let sender = self.sender.clone();
            let (host, deadline, given_up) = (lookup.host.clone(), lookup.deadline, Arc::clone(&lookup.given_up));
            let started = self.teller.try_clone().and_then(|mut teller| {
                thread::Builder::new().stack_size(STACK).spawn(move || {
                    let found = Resolver::of_container().resolve(&host, deadline, &given_up);
                    // The holder ends only with the process.
                    let _ = sender.send((stream, found.map_err(|error| unresolved(&error))));
                    let _ = teller.write_all(&[0]);
                })
            });
            match started {
                Ok(_ends_by_itself) => {
                    self.threads += 1;
                    self.running.insert(stream, lookup);
                }
                Err(error) => self.failed.push((stream, reason::close(&error))),
            }
        }
    }
}

fn unresolved(error: &ResolveError) -> Close {
    let code = if matches!(error, ResolveError::NoAnswer(_)) { code::TIMED_OUT } else { code::UNRESOLVED };
    Close { code, reason: error.to_string() }
}

/// Connects, and waits for it: for a thread that has nothing else to do. The socket does not block.
pub(crate) fn dial(address: &Address) -> Result<OwnedFd, Close> {
    let deadline = Instant::now() + DEADLINE;
    let mut attempt = match address {
        Address::Unix(path) => Attempt::unix(path, deadline)?,
        Address::Tcp(host, port) => {
            let found =
                Resolver::of_container().resolve(&String::from_utf8_lossy(host), deadline, &AtomicBool::new(false));
            Attempt::tcp(&found.map_err(|error| unresolved(&error))?, *port, deadline)
        }
    };
    let mut ready = false;
    loop {
        if let Some(done) = attempt.advance(Instant::now(), ready) {
            return done;
        }
        let mut descriptors = Descriptors::default();
        attempt.wait_for(Owner::Dials, &mut descriptors);
        let reported = descriptors.wait(Some(attempt.next_timer())).map_err(|error| reason::close(&error))?;
        ready = !reported.is_empty();
    }
}
