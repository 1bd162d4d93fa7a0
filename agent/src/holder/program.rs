//! One program of a link: its process group, its standard streams or its terminal, and its end.
//!
//! Invariants: the exit is told once, behind everything that came before it; the stream is closed when the program has ended
//! and its output too; when the peer has closed the stream before, the process group gets HUP, TERM and KILL with the grace
//! between.

mod gathering;
mod start;

use super::carrier::{Read, read_into, set_nonblocking};
use super::wait::{Descriptors, Owner};
use super::{BACKLOG, code};
use crate::login::Login;
use crate::signals::{self, Child};
use crate::terminal;
use bytes::{Buf, Bytes};
use gathering::Gathering;
use podgate_link::request::{ProgramMessage, ProgramRequest, SftpRequest, Size};
use podgate_link::{Close, Lane, Link};
use rustix::io::{Errno, write};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
pub(super) use start::resolve;
use start::{StartError, Started};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest time from KILL to the end of a group.
const AFTER_KILL: Duration = Duration::from_secs(5);
/// Bytes of output that are taken from a program before others have their turn.
const TURN: usize = 256 * 1024;

/// A program that was started.
pub(super) struct Program {
    group: Pid,
    input: Option<OwnedFd>,
    /// Data of the link that the program has not taken yet.
    unwritten: Bytes,
    output: Option<OwnedFd>,
    error: Option<OwnedFd>,
    is_terminal: bool,
    /// The terminal, once nothing has it open: its programs live on until it is closed on this side.
    unread_terminal: Option<OwnedFd>,
    ended: Option<Child>,
    told: bool,
    grace: Duration,
    /// Decides when more output gathers in the pipe.
    gathering: Gathering,
    /// True once the group has got KILL.
    killed: bool,
    /// The signal that comes next, and when, once the program is to end.
    ending: Option<(Signal, Instant)>,
}

impl Program {
    /// Starts a program with pipes or at a terminal.
    pub(super) fn start(
        request: &ProgramRequest,
        login: &Login,
        own_programs: Option<&Path>,
    ) -> Result<Self, StartError> {
        let started = start::program(request, login, own_programs)?;
        Self::of(started, request.terminal.is_some(), request.grace_millis)
    }

    /// Starts the agent's own SFTP server.
    pub(super) fn start_sftp(request: &SftpRequest, login: &Login) -> Result<Self, StartError> {
        Self::of(start::sftp(request, login)?, false, request.grace_millis)
    }

    fn of(started: Started, is_terminal: bool, grace_millis: u32) -> Result<Self, StartError> {
        let Started { pid, input, output, error } = started;
        for descriptor in [Some(&output), input.as_ref(), error.as_ref()].into_iter().flatten() {
            set_nonblocking(descriptor.as_fd())?;
        }
        Ok(Self {
            group: pid,
            input,
            unwritten: Bytes::new(),
            output: Some(output),
            error,
            is_terminal,
            unread_terminal: None,
            ended: None,
            told: false,
            gathering: Gathering::default(),
            killed: false,
            grace: Duration::from_millis(u64::from(grace_millis)),
            ending: None,
        })
    }

    /// The process id of the program, which is also its group's.
    pub(super) fn pid(&self) -> Pid {
        self.group
    }

    /// Learns that the process has ended.
    pub(super) fn ended(&mut self, child: Child) {
        self.ended = Some(child);
    }

    /// Adds what the program waits for.
    pub(super) fn wait_for<'a>(
        &'a self,
        link: &Link,
        number: u32,
        takes_output: bool,
        descriptors: &mut Descriptors<'a>,
    ) {
        let owner = Owner::Stream(number);
        let takes_output = takes_output && link.writable(number) > 0 && self.gathers_until(Instant::now()).is_none();
        let terminal_input = self.is_terminal && !self.unwritten.is_empty();
        if let Some(output) = &self.output {
            descriptors.add(owner, output.as_fd(), takes_output, terminal_input);
        }
        if let Some(error) = &self.error {
            descriptors.add(owner, error.as_fd(), takes_output, false);
        }
        if let Some(input) = &self.input {
            descriptors.add(owner, input.as_fd(), false, !self.unwritten.is_empty());
        }
    }

    /// The time at which [`Program::end`] has something to do, whatever else happens.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.ending.map(|(_, at)| at)
    }

    /// The time at which output is taken again, if that is later than now.
    pub(super) fn gathers_until(&self, now: Instant) -> Option<Instant> {
        self.gathering.until(now)
    }

    /// Moves what can be moved. Returns whether the stream is closed on this side.
    pub(super) fn advance(&mut self, link: &mut Link, number: u32, scratch: &mut [u8]) -> bool {
        if link.closed(number).is_some() {
            link.close(number, &Close { code: code::NO_FAILURE, reason: String::new() });
            return true;
        }
        while let Some(message) = link.read_message(number) {
            self.message(message);
        }
        self.take_input(link, number);
        let now = Instant::now();
        if self.gathers_until(now).is_none() {
            let out = give_output(self.output.as_ref(), link, number, Lane::Main, scratch);
            let err = give_output(self.error.as_ref(), link, number, Lane::Error, scratch);
            if out.ended {
                self.unread_terminal = self.output.take().filter(|_| self.is_terminal);
            }
            if err.ended {
                self.error = None;
            }
            self.gathering.taken(out.moved + err.moved, now);
        }
        if let Some(child) = self.ended
            && !self.told
        {
            // Too much waits for the carrier: it is told a moment later.
            self.told = link.send_message(number, exit(child).encode()).is_ok();
        }
        if self.told && self.output.is_none() && self.error.is_none() {
            (self.input, self.unread_terminal) = (None, None);
            link.close(number, &Close { code: code::NO_FAILURE, reason: String::new() });
            return true;
        }
        false
    }

    /// Has the group ended: nobody is there for it any more. Returns whether it is over.
    pub(super) fn end(&mut self, now: Instant) -> bool {
        let (signal, at) = *self.ending.get_or_insert((Signal::HUP, now));
        (self.input, self.output, self.error, self.unread_terminal) = (None, None, None, None);
        // No process is left in the group: those that made a group of their own live on, as under sshd.
        if self.is_group_empty() {
            return true;
        }
        if now < at {
            return false;
        }
        if kill_process_group(self.group, signal).is_err() {
            return true;
        }
        let (next, wait) = match signal {
            Signal::HUP => (Signal::TERM, self.grace),
            Signal::TERM => (Signal::KILL, self.grace),
            // What does not end now waits for the system, and is given up.
            _ if std::mem::replace(&mut self.killed, true) => return true,
            _ => (Signal::KILL, AFTER_KILL),
        };
        self.ending = Some((next, now + wait));
        false
    }

    /// Returns true if the process has ended by itself. Its group need not end with its stream then: as under sshd, what it
    /// started in the background lives on, here until the link is over.
    pub(super) fn has_ended(&self) -> bool {
        self.told
    }

    /// Returns true if no process is left in the group. Its number may then be another's.
    pub(super) fn is_group_empty(&self) -> bool {
        test_kill_process_group(self.group) == Err(Errno::SRCH)
    }

    fn message(&mut self, message: Bytes) {
        match ProgramMessage::decode(message) {
            Ok(ProgramMessage::Resize(size)) => self.resize(size),
            Ok(ProgramMessage::Signal(name)) => {
                if self.ended.is_none()
                    && let Some(signal) = std::str::from_utf8(&name).ok().and_then(signals::by_name)
                {
                    // The group may have ended in this moment.
                    let _ = kill_process_group(self.group, signal);
                }
            }
            // Only this end sends these; what is malformed is as good as not sent.
            Ok(ProgramMessage::ExitStatus(_) | ProgramMessage::ExitSignal(..)) | Err(_) => {}
        }
    }

    fn resize(&self, size: Size) {
        let terminal = self.output.as_ref().or(self.unread_terminal.as_ref());
        if let Some(terminal) = terminal.filter(|_| self.is_terminal) {
            terminal::resize(terminal.as_fd(), size);
        }
    }

    fn take_input(&mut self, link: &mut Link, number: u32) {
        loop {
            if self.unwritten.is_empty() {
                match link.read(number, Lane::Main) {
                    Some(data) => self.unwritten = data,
                    None => break,
                }
            }
            let target = if self.is_terminal { self.output.as_ref() } else { self.input.as_ref() };
            let Some(target) = target else {
                // The program takes no more: what comes is dropped.
                self.unwritten.clear();
                continue;
            };
            match write(target, &self.unwritten) {
                Ok(written) => {
                    self.unwritten.advance(written);
                    self.gathering.given(written);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.unwritten.clear();
                    self.input = None;
                }
            }
        }
        if link.is_finished(number, Lane::Main) {
            self.input = None;
        }
    }
}

/// The outcome of a turn of output.
#[derive(Default)]
struct Given {
    /// The number of bytes.
    moved: usize,
    /// True at the end of the output.
    ended: bool,
}

/// Moves output to the link, as long as its window and the carrier take it, in frames as large as what is there.
fn give_output(descriptor: Option<&OwnedFd>, link: &mut Link, number: u32, lane: Lane, scratch: &mut [u8]) -> Given {
    let Some(descriptor) = descriptor else { return Given::default() };
    let mut moved = 0;
    loop {
        let room = link.writable(number).min(scratch.len()).min(TURN - moved);
        if room == 0 || link.unsent() > BACKLOG {
            return Given { moved, ended: false };
        }
        let (mut filled, mut more) = (0, Read::Some);
        while filled < room && more == Read::Some {
            more = read_into(descriptor.as_fd(), &mut scratch[..room], &mut filled).unwrap_or(Read::End);
        }
        if filled > 0 {
            moved += filled;
            link.write(number, lane, Bytes::copy_from_slice(&scratch[..filled]));
        }
        match more {
            Read::Some => {}
            Read::Later => return Given { moved, ended: false },
            Read::End => {
                link.finish(number, lane);
                return Given { moved, ended: true };
            }
        }
    }
}

fn exit(child: Child) -> ProgramMessage {
    match child {
        Child::Exited(code) => ProgramMessage::ExitStatus(u32::from(code)),
        Child::Killed(number, core) => ProgramMessage::ExitSignal(signals::name_of(number).into_bytes(), core),
    }
}
