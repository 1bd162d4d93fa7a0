//! The carrier of a link on this end: standard input and output of the process that the gateway's exec started.

use bytes::{Buf, Bytes, BytesMut};
use podgate_link::handshake::HandshakeError;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The end of a carrier.
#[derive(Debug, thiserror::Error)]
pub(super) enum CarrierError {
    /// The gateway, or what was between, closed it.
    #[error("the carrier was closed")]
    Closed,
    /// A read or write failed.
    #[error("the carrier failed: {0}")]
    Io(#[from] io::Error),
    /// The handshake came to no agreement.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Standard input and output.
pub(super) struct Carrier<R, W> {
    input: R,
    output: W,
    /// Bytes that were not written yet.
    pub(super) out: BytesMut,
}

impl<R: AsFd, W: AsFd> Carrier<R, W> {
    /// Takes both descriptors, which then do not block any more.
    pub(super) fn new(input: R, output: W) -> io::Result<Self> {
        set_nonblocking(input.as_fd())?;
        set_nonblocking(output.as_fd())?;
        Ok(Self { input, output, out: BytesMut::new() })
    }

    pub(super) fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    pub(super) fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Reads what has arrived. `None` means that nothing is there now.
    pub(super) fn receive(&mut self, scratch: &mut [u8]) -> Result<Option<Bytes>, CarrierError> {
        let mut filled = 0;
        match read_into(self.input.as_fd(), scratch, &mut filled)? {
            Read::Some => Ok(Some(Bytes::copy_from_slice(&scratch[..filled]))),
            Read::Later => Ok(None),
            Read::End => Err(CarrierError::Closed),
        }
    }

    /// Writes as much as the carrier takes.
    pub(super) fn flush(&mut self) -> Result<(), CarrierError> {
        while !self.out.is_empty() {
            match write(&self.output, &self.out) {
                Ok(written) => self.out.advance(written),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => return Err(CarrierError::Closed),
                Err(error) => return Err(CarrierError::Io(error.into())),
            }
        }
        Ok(())
    }
}

/// The result of a read from a descriptor that does not block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Bytes have been read.
    Some,
    /// Nothing is there now.
    Later,
    /// Nothing comes any more.
    End,
}

/// Reads behind the bytes that `memory` is filled with already.
pub(super) fn read_into(descriptor: BorrowedFd<'_>, memory: &mut [u8], filled: &mut usize) -> io::Result<Read> {
    loop {
        return match read(descriptor, &mut memory[*filled..]) {
            // A terminal whose other end is closed fails.
            Ok(0) | Err(Errno::IO) => Ok(Read::End),
            Ok(length) => {
                *filled += length;
                Ok(Read::Some)
            }
            Err(Errno::AGAIN) => Ok(Read::Later),
            Err(Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// Makes reads and writes of the descriptor wait.
pub(crate) fn set_blocking(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fcntl_setfl(descriptor, fcntl_getfl(descriptor)? - OFlags::NONBLOCK)?)
}

/// Makes reads and writes of the descriptor return instead of wait.
pub(super) fn set_nonblocking(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fcntl_setfl(descriptor, fcntl_getfl(descriptor)? | OFlags::NONBLOCK)?)
}
