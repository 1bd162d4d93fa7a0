//! CBOR (RFC 8949) to and from values. Strings may come in parts and lists without a length, as Go's encoders write them.
//!
//! Invariants: a reader takes memory as the bytes come, not as a length claims, and stops at a depth of [`DEEPEST`]
//! and a message of [`LONGEST_MESSAGE`].

use super::LONGEST_MESSAGE;
use super::value::Value;
use ciborium_ll::{Decoder, Encoder, Error, Header};
use std::io::{self, Read};

/// Limit of lists and maps within each other.
const DEEPEST: usize = 16;
/// The simple values (RFC 8949 section 3.3).
const FALSE: u8 = 20;
const TRUE: u8 = 21;
const NULL: u8 = 22;
const UNDEFINED: u8 = 23;
/// Bytes of a value that are taken at a time.
const STEP: usize = 4096;

/// Writes a value behind what `out` has.
pub(super) fn write(value: &Value, out: &mut Vec<u8>) -> io::Result<()> {
    match value {
        Value::Null => head(Header::Simple(NULL), out),
        Value::Bool(set) => head(Header::Simple(if *set { TRUE } else { FALSE }), out),
        Value::Integer(number) => head(integer(*number), out),
        Value::Text(text) => {
            head(Header::Text(Some(text.len())), out)?;
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        Value::Bytes(bytes) => {
            head(Header::Bytes(Some(bytes.len())), out)?;
            out.extend_from_slice(bytes);
            Ok(())
        }
        Value::List(items) => {
            head(Header::Array(Some(items.len())), out)?;
            items.iter().try_for_each(|item| write(item, out))
        }
        Value::Map(fields) => {
            head(Header::Map(Some(fields.len())), out)?;
            fields.iter().try_for_each(|(key, value)| {
                head(Header::Text(Some(key.len())), out)?;
                out.extend_from_slice(key.as_bytes());
                write(value, out)
            })
        }
    }
}

fn head(header: Header, out: &mut Vec<u8>) -> io::Result<()> {
    Encoder::from(out).push(header)
}

fn integer(number: i128) -> Header {
    match u64::try_from(number) {
        Ok(positive) => Header::Positive(positive),
        Err(_) => Header::Negative(u64::try_from(-1 - number).unwrap_or(u64::MAX)),
    }
}

/// The error of bytes that are not a value.
#[derive(Debug, thiserror::Error)]
pub enum CborError {
    /// The bytes end, or cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("this is no CBOR, or a part of it that recordings do not have")]
    Syntax,
    #[error("a message is longer than {LONGEST_MESSAGE} bytes or nested deeper than {DEEPEST}")]
    TooLarge,
}

impl From<Error<io::Error>> for CborError {
    fn from(error: Error<io::Error>) -> Self {
        match error {
            Error::Io(error) => Self::Read(error),
            Error::Syntax(_) => Self::Syntax,
        }
    }
}

/// A reader of values one behind the other.
pub(super) struct Values<R: Read> {
    decoder: Decoder<Source<R>>,
    /// Bytes that the present message may still have.
    left: usize,
    /// The place at which the present message begins.
    begin: usize,
}

/// A reader as the decoder takes it.
struct Source<R>(R);

impl<R: Read> ciborium_io::Read for Source<R> {
    type Error = io::Error;

    fn read_exact(&mut self, data: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(data)
    }
}

/// A value, or the end of a list without a length.
enum Item {
    Value(Value),
    Break,
}

impl<R: Read> Values<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { decoder: Decoder::from(Source(reader)), left: LONGEST_MESSAGE, begin: 0 }
    }

    /// Reads the beginning of a list without a length (version 1). False if there is another value, which was not taken.
    pub(super) fn begins_list(&mut self) -> Result<bool, CborError> {
        match self.decoder.pull()? {
            Header::Array(None) => Ok(true),
            other => {
                self.decoder.push(other);
                Ok(false)
            }
        }
    }

    /// Reads the next value; `None` at the break of a list.
    pub(super) fn next(&mut self) -> Result<Option<Value>, CborError> {
        self.left = LONGEST_MESSAGE;
        self.begin = self.decoder.offset();
        match self.item(0)? {
            Item::Value(value) => Ok(Some(value)),
            Item::Break => Ok(None),
        }
    }

    /// True if a part of the present value was read.
    pub(super) fn is_within(&mut self) -> bool {
        self.decoder.offset() > self.begin
    }

    /// True if nothing is left. A byte that is left is taken.
    pub(super) fn is_at_end(&mut self) -> Result<bool, CborError> {
        match self.decoder.pull() {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(Error::Io(error)) => Err(error.into()),
            Ok(_) | Err(Error::Syntax(_)) => Ok(false),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, CborError> {
        match self.item(depth)? {
            Item::Value(value) => Ok(value),
            Item::Break => Err(CborError::Syntax),
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item, CborError> {
        if depth > DEEPEST {
            return Err(CborError::TooLarge);
        }
        // An item takes memory of its own.
        self.take(size_of::<Value>())?;
        let value = match self.decoder.pull()? {
            Header::Break => return Ok(Item::Break),
            Header::Positive(number) => Value::Integer(number.into()),
            Header::Negative(number) => Value::Integer(-1 - i128::from(number)),
            Header::Simple(FALSE) => Value::Bool(false),
            Header::Simple(TRUE) => Value::Bool(true),
            Header::Simple(NULL | UNDEFINED) => Value::Null,
            Header::Bytes(length) => Value::Bytes(self.string(length, false)?.into()),
            Header::Text(length) => Value::Text(String::from_utf8_lossy(&self.string(length, true)?).into_owned()),
            Header::Array(length) => Value::List(self.list(length, depth)?),
            Header::Map(length) => Value::Map(self.map(length, depth)?),
            Header::Simple(_) | Header::Float(_) | Header::Tag(_) => return Err(CborError::Syntax),
        };
        Ok(Item::Value(value))
    }

    fn take(&mut self, bytes: usize) -> Result<(), CborError> {
        self.left = self.left.checked_sub(bytes).ok_or(CborError::TooLarge)?;
        Ok(())
    }

    /// Reads the rest of a string, whose parts have the kind of it. ContainerSSH's programs write texts that are no UTF-8, so
    /// a text is read as its bytes.
    fn string(&mut self, length: Option<usize>, is_text: bool) -> Result<Vec<u8>, CborError> {
        let mut whole = Vec::new();
        if let Some(length) = length {
            self.segment(length, &mut whole)?;
            return Ok(whole);
        }
        loop {
            match self.decoder.pull()? {
                Header::Break => return Ok(whole),
                Header::Text(Some(length)) if is_text => self.segment(length, &mut whole)?,
                Header::Bytes(Some(length)) if !is_text => self.segment(length, &mut whole)?,
                _ => return Err(CborError::Syntax),
            }
        }
    }

    fn segment(&mut self, length: usize, whole: &mut Vec<u8>) -> Result<(), CborError> {
        self.take(length)?;
        // One without a byte counts, too.
        self.take(1)?;
        let mut step = [0; STEP];
        let mut segments = self.decoder.bytes(Some(length));
        while let Some(mut segment) = segments.pull()? {
            while let Some(part) = segment.pull(&mut step)? {
                whole.extend_from_slice(part);
            }
        }
        Ok(())
    }

    fn list(&mut self, length: Option<usize>, depth: usize) -> Result<Vec<Value>, CborError> {
        let mut items = Vec::new();
        while length.is_none_or(|length| items.len() < length) {
            match self.item(depth + 1)? {
                Item::Value(value) => items.push(value),
                Item::Break if length.is_none() => break,
                Item::Break => return Err(CborError::Syntax),
            }
        }
        Ok(items)
    }

    fn map(&mut self, length: Option<usize>, depth: usize) -> Result<Vec<(String, Value)>, CborError> {
        let mut fields = Vec::new();
        while length.is_none_or(|length| fields.len() < length) {
            match self.item(depth + 1)? {
                Item::Value(Value::Text(key)) => fields.push((key, self.value(depth + 1)?)),
                Item::Break if length.is_none() => break,
                Item::Value(_) | Item::Break => return Err(CborError::Syntax),
            }
        }
        Ok(fields)
    }
}
