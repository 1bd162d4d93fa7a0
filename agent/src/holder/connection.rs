//! A connection inside the guest: one that was dialled, or one that came to a listener. Both directions end by themselves.

use super::BACKLOG;
use super::carrier::{Read, read_into};
use super::code;
use super::wait::{Descriptors, Owner};
use bytes::{Buf, Bytes};
use podgate_link::{Close, Lane, Link};
use rustix::io::{Errno, write};
use rustix::net::{Shutdown, shutdown};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Bytes that are taken from a connection before others have their turn.
const TURN: usize = 256 * 1024;

/// A connected socket and its stream's state.
pub(super) struct Connection {
    socket: OwnedFd,
    /// Data of the link that the socket has not taken yet.
    unwritten: Bytes,
    read_ended: bool,
    write_ended: bool,
}

impl Connection {
    /// Takes a connected socket, which does not block.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, unwritten: Bytes::new(), read_ended: false, write_ended: false }
    }

    /// Adds what the connection waits for.
    pub(super) fn wait_for<'a>(
        &'a self,
        link: &Link,
        number: u32,
        takes_output: bool,
        descriptors: &mut Descriptors<'a>,
    ) {
        let readable = takes_output && !self.read_ended && link.writable(number) > 0;
        descriptors.add(Owner::Stream(number), self.socket.as_fd(), readable, !self.unwritten.is_empty());
    }

    /// Moves what can be moved. Returns whether the connection is over and its stream closed on this side.
    pub(super) fn advance(&mut self, link: &mut Link, number: u32, scratch: &mut [u8]) -> bool {
        let result = self.take_input(link, number).and_then(|()| self.give_output(link, number, scratch));
        let peer_closed = link.closed(number).is_some() && self.unwritten.is_empty();
        let close = match result {
            Err(error) => Close { code: code::SYSTEM, reason: error.to_string() },
            Ok(()) if peer_closed || (self.read_ended && self.write_ended) => {
                Close { code: code::NO_FAILURE, reason: String::new() }
            }
            Ok(()) => return false,
        };
        link.close(number, &close);
        true
    }

    fn take_input(&mut self, link: &mut Link, number: u32) -> io::Result<()> {
        loop {
            if self.unwritten.is_empty() {
                match link.read(number, Lane::Main) {
                    Some(data) => self.unwritten = data,
                    None => break,
                }
            }
            match write(&self.socket, &self.unwritten) {
                Ok(written) => self.unwritten.advance(written),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        if !self.write_ended && link.is_finished(number, Lane::Main) {
            self.write_ended = true;
            // A peer that is gone needs no end.
            let _ = shutdown(&self.socket, Shutdown::Write);
        }
        Ok(())
    }

    fn give_output(&mut self, link: &mut Link, number: u32, scratch: &mut [u8]) -> io::Result<()> {
        let mut left = TURN;
        while !self.read_ended {
            let room = link.writable(number).min(scratch.len()).min(left);
            if room == 0 || link.unsent() > BACKLOG {
                return Ok(());
            }
            let mut filled = 0;
            match read_into(self.socket.as_fd(), &mut scratch[..room], &mut filled)? {
                Read::Some => {
                    left -= filled;
                    link.write(number, Lane::Main, Bytes::copy_from_slice(&scratch[..filled]));
                }
                Read::Later => return Ok(()),
                Read::End => {
                    self.read_ended = true;
                    link.finish(number, Lane::Main);
                }
            }
        }
        Ok(())
    }
}
