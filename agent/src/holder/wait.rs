//! Waiting for descriptors and for children. Descriptors are gathered anew for each wait; a child's end is told by SIGCHLD
//! through a socket, so that it ends a wait too.

use crate::signals::{self, Child};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The longest wait for descriptors.
const LONGEST: Duration = Duration::from_secs(3600);

/// The owner of a descriptor: a stream of the link, or the holder itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// The carrier of the link.
    Carrier,
    /// The socket that tells of ended children.
    Children,
    /// The socket that tells of dials that are over.
    Dials,
    /// A stream, by its number.
    Stream(u32),
}

/// Descriptors to wait for.
#[derive(Default)]
pub(super) struct Descriptors<'a> {
    polled: Vec<PollFd<'a>>,
    owners: Vec<Owner>,
}

impl<'a> Descriptors<'a> {
    /// Adds a descriptor. An end or an error of it is told in any case.
    pub(super) fn add(&mut self, owner: Owner, descriptor: BorrowedFd<'a>, readable: bool, writable: bool) {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, readable);
        flags.set(PollFlags::OUT, writable);
        if !flags.is_empty() {
            self.polled.push(PollFd::from_borrowed_fd(descriptor, flags));
            self.owners.push(owner);
        }
    }

    /// Waits until something is ready, or the time has come. Returns the owners of what is ready.
    pub(super) fn wait(mut self, until: Option<Instant>) -> io::Result<BTreeSet<Owner>> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()).min(LONGEST));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut self.polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = self.polled.iter().zip(&self.owners).filter(|(polled, _)| !polled.revents().is_empty());
        Ok(ready.map(|(_, owner)| *owner).collect())
    }
}

/// The children that have ended.
pub(super) struct Children {
    told: UnixStream,
}

impl Children {
    /// Begins to listen for ended children. Call it before the first one is started.
    pub(super) fn listen() -> io::Result<Self> {
        let (told, teller) = UnixStream::pair()?;
        told.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, teller)?;
        Ok(Self { told })
    }

    /// The descriptor that is readable when a child has ended.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }

    /// Every child that has ended since: those of others, which this process inherits as a container's first, too.
    pub(super) fn ended(&mut self) -> Vec<(Pid, Child)> {
        // What stands in it is only that something happened.
        let mut bytes = [0; 64];
        while self.told.read(&mut bytes).is_ok_and(|length| length > 0) {}
        signals::ended_children().collect()
    }
}
