//! The decoder of the binary format's versions 1 and 2. A recording need not be finished: the process that wrote it may have
//! been killed, or still be writing, and ContainerSSH never ends its gzip stream.

use super::binary::{HEADER, MAGIC};
use super::cbor::{CborError, Values};
use super::message::{Message, WrongPayload};
use flate2::read::MultiGzDecoder;
use std::io::{self, BufReader, Read, Write};

/// The error of a recording that cannot be decoded, or not further.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the recording cannot be read: {0}")]
    Read(#[source] io::Error),
    #[error("this is no recording in the binary format")]
    NotARecording,
    #[error("version {0} of the binary format is not known")]
    Version(u64),
    #[error("the recording is damaged: {0}")]
    Damaged(#[source] CborError),
    #[error(transparent)]
    Message(#[from] WrongPayload),
    #[error("a message has a key twice")]
    Repeated,
    #[error("there is something behind the end of the list of messages")]
    Behind,
    #[error("the output cannot be written: {0}")]
    Write(#[source] io::Error),
}

/// The messages of a recording.
pub struct Messages<R: Read> {
    values: Values<BufReader<MultiGzDecoder<BufReader<R>>>>,
    /// Set for version 1 until its list has begun.
    awaits_list: bool,
    /// Set for version 1, whose list may end.
    is_list: bool,
    over: bool,
    is_cut: bool,
}

/// The place at which a recording without damage ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Behind a message.
    Whole,
    /// Inside a message, which is left out: the writer was killed, or is still writing.
    Cut,
}

impl<R: Read> Messages<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// The header is not that of a recording, or of a version that is not known.
    pub fn open(recording: R) -> Result<Self, DecodeError> {
        let mut recording = BufReader::new(recording);
        let mut header = [0; HEADER];
        recording.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => DecodeError::NotARecording,
            _ => DecodeError::Read(error),
        })?;
        let (magic, version) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(DecodeError::NotARecording);
        }
        let version = u64::from_le_bytes(version.try_into().unwrap_or_default());
        if !(1..=2).contains(&version) {
            return Err(DecodeError::Version(version));
        }
        let values = Values::new(BufReader::new(MultiGzDecoder::new(recording)));
        Ok(Self { values, awaits_list: version == 1, is_list: version == 1, over: false, is_cut: false })
    }

    /// The place at which the recording ends, once every message was read.
    pub fn end(&self) -> End {
        if self.is_cut { End::Cut } else { End::Whole }
    }

    fn read(&mut self) -> Result<Option<Message>, DecodeError> {
        let value = if self.awaits_list {
            self.awaits_list = false;
            self.values.begins_list().and_then(
                |begins| {
                    if begins { self.values.next() } else { Err(CborError::Syntax) }
                },
            )
        } else {
            self.values.next()
        };
        match value {
            Ok(Some(value)) if value.repeats_a_key() => Err(DecodeError::Repeated),
            Ok(Some(value)) => Ok(Some(Message::of_value(value)?)),
            Ok(None) if self.is_list => match self.values.is_at_end() {
                Ok(true) => Ok(None),
                Ok(false) => Err(DecodeError::Behind),
                Err(error) => Err(DecodeError::Damaged(error)),
            },
            Ok(None) => Err(DecodeError::Damaged(CborError::Syntax)),
            Err(CborError::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.is_cut = self.values.is_within();
                Ok(None)
            }
            // These kinds are of gzip's reader; others are of the file.
            Err(CborError::Read(error))
                if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) =>
            {
                Err(DecodeError::Read(error))
            }
            Err(error) => Err(DecodeError::Damaged(error)),
        }
    }
}

/// Every message up to the end or the first damage. A message that is not whole at the end is left out.
impl<R: Read> Iterator for Messages<R> {
    type Item = Result<Message, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let message = self.read().transpose();
        // A message of a strange shape is one value, and the next one begins behind it.
        self.over = !matches!(message, Some(Ok(_) | Err(DecodeError::Message(_) | DecodeError::Repeated)));
        message
    }
}

/// Decodes a recording as ContainerSSH's decoder does: a line of JSON for each message, and one with `error` for each fault.
/// Returns where it ends. What its chain does not cover may be anyone's: see [`Verified::covered`](super::Verified).
///
/// # Errors
/// The first fault, once everything that can be decoded is written.
pub fn decode(recording: impl Read, out: &mut dyn Write) -> Result<End, DecodeError> {
    let mut first = None;
    let mut messages = Messages::open(recording)?;
    for message in messages.by_ref() {
        let line = match &message {
            Ok(message) => super::json::of_message(message),
            Err(error) => super::json::of_error(&error.to_string()),
        };
        writeln!(out, "{line}").map_err(DecodeError::Write)?;
        if let Err(error) = message {
            first.get_or_insert(error);
        }
    }
    out.flush().map_err(DecodeError::Write)?;
    first.map_or_else(|| Ok(messages.end()), Err)
}
