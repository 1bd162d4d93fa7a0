//! The check of a recording against its chain.
//!
//! What always holds: a recording is called sound only as far as the chain's lines cover its bytes, and whole only with a
//! seal; it takes memory for one line and one part's step, whatever the files claim.

use super::chain::{Begin, Hash, Line, Part, Seal, begin_hash, part_hash, seal_hash};
use super::seal::PublicKey;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, Read};

/// Limit of a line, in bytes.
const LONGEST_LINE: u64 = 4096;
/// Limit of a header, in bytes.
const LONGEST_HEADER: u64 = 4096;

/// What is sure of a recording whose chain holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The number of parts.
    pub parts: u64,
    /// The time of the last part's first message.
    pub last: Option<i64>,
    /// The bytes behind the last part, of which nothing is sure.
    pub uncovered: u64,
    /// Set if the end was sealed: nothing is missing.
    pub sealed: bool,
    /// Set if a key signed it.
    pub signed: bool,
}

/// The fault of a recording.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the recording cannot be read: {0}")]
    Recording(#[source] io::Error),
    #[error("the chain cannot be read: {0}")]
    Chain(#[source] io::Error),
    #[error("the chain has no beginning")]
    NoBeginning,
    #[error("the chain is of another recording")]
    Foreign,
    #[error("the chain was not signed by this key")]
    Unsigned,
    #[error("the beginning was changed")]
    Beginning,
    #[error("line {0} of the chain is not a line of a chain")]
    Line(u64),
    #[error("part {0} is missing, or not in its place")]
    Order(u64),
    #[error("part {0} was changed")]
    Part(u64),
    #[error("the recording ends in part {0}")]
    Cut(u64),
    #[error("the seal does not fit")]
    Seal,
    #[error("there is something behind the end")]
    Behind,
}

/// The checked lines so far.
struct Checked<'a> {
    key: Option<&'a PublicKey>,
    signed: bool,
    last: Hash,
    parts: u64,
    length: u64,
    time: Option<i64>,
}

/// Checks a recording with that file name against its chain. With a key, every line must be signed by it.
///
/// # Errors
/// The first fault: the recording or its chain was changed, cut, or belongs to another name.
pub fn verify(
    name: &str,
    mut recording: impl Read,
    mut chain: impl BufRead,
    key: Option<&PublicKey>,
) -> Result<Verified, Fault> {
    let begin = match next_line(&mut chain, 1)? {
        Some(Line::Begin(begin)) => begin,
        _ => return Err(Fault::NoBeginning),
    };
    let mut checked = Checked::begin(name, &begin, &mut recording, key)?;
    let mut number = 1;
    while let Some(line) = {
        number += 1;
        next_line(&mut chain, number)?
    } {
        match line {
            Line::Part(part) => checked.part(&part, &mut recording)?,
            Line::Seal(seal) => {
                checked.seal(&seal)?;
                let behind = count(&mut recording).map_err(Fault::Recording)?;
                let more = count(&mut chain).map_err(Fault::Chain)?;
                return if behind + more == 0 { Ok(checked.verified(0, true)) } else { Err(Fault::Behind) };
            }
            Line::Begin(_) => return Err(Fault::Line(number)),
        }
    }
    let uncovered = count(&mut recording).map_err(Fault::Recording)?;
    Ok(checked.verified(uncovered, false))
}

impl<'a> Checked<'a> {
    fn begin(name: &str, begin: &Begin, recording: &mut impl Read, key: Option<&'a PublicKey>) -> Result<Self, Fault> {
        if begin.chain != 1 || begin.header > LONGEST_HEADER {
            return Err(Fault::Beginning);
        }
        if begin.recording != name {
            return Err(Fault::Foreign);
        }
        let mut header = Vec::new();
        recording.take(begin.header).read_to_end(&mut header).map_err(Fault::Recording)?;
        let hash = begin_hash(name, &header, begin.key.as_deref());
        if HEXLOWER.encode(&hash) != begin.hash || header.len() as u64 != begin.header {
            return Err(Fault::Beginning);
        }
        if key.is_some_and(|key| begin.key != Some(key.fingerprint())) {
            return Err(Fault::Unsigned);
        }
        let signed = begin.signature.is_some();
        let checked = Self { key, signed, last: hash, parts: 0, length: begin.header, time: None };
        if checked.is_signed(&hash, begin.signature.as_deref()) { Ok(checked) } else { Err(Fault::Unsigned) }
    }

    fn part(&mut self, part: &Part, recording: &mut impl Read) -> Result<(), Fault> {
        let number = self.parts;
        let place = (part.part, part.offset, &*part.previous);
        if place != (number, self.length, &*HEXLOWER.encode(&self.last)) {
            return Err(Fault::Order(number));
        }
        let (length, sha256) = digest(recording, part.length).map_err(Fault::Recording)?;
        if length != part.length {
            return Err(Fault::Cut(number));
        }
        let hash = part_hash(&self.last, (number, part.time), (part.offset, length), &sha256);
        if HEXLOWER.encode(&sha256) != part.sha256 || HEXLOWER.encode(&hash) != part.hash {
            return Err(Fault::Part(number));
        }
        if !self.is_signed(&hash, part.signature.as_deref()) {
            return Err(Fault::Part(number));
        }
        self.parts += 1;
        self.length += length;
        self.last = hash;
        self.time = Some(part.time);
        Ok(())
    }

    fn seal(&self, seal: &Seal) -> Result<(), Fault> {
        let hash = seal_hash(&self.last, self.parts, seal.time, self.length);
        let fits = seal.previous == HEXLOWER.encode(&self.last)
            && (seal.seal, seal.length) == (self.parts, self.length)
            && seal.hash == HEXLOWER.encode(&hash)
            && self.is_signed(&hash, seal.signature.as_deref());
        if fits { Ok(()) } else { Err(Fault::Seal) }
    }

    /// Returns whether the line is signed as it must be. Without a key nobody can tell, but one signature means all.
    fn is_signed(&self, hash: &Hash, signature: Option<&str>) -> bool {
        match (self.key, signature) {
            (Some(key), Some(signature)) => key.verifies(hash, signature),
            (Some(_), None) => false,
            (None, signature) => signature.is_some() == self.signed,
        }
    }

    fn verified(&self, uncovered: u64, sealed: bool) -> Verified {
        Verified { parts: self.parts, last: self.time, uncovered, sealed, signed: self.signed }
    }
}

/// Reads the next line. A line without an end was not written whole, and is none.
fn next_line(chain: &mut impl BufRead, number: u64) -> Result<Option<Line>, Fault> {
    let mut line = Vec::new();
    chain.take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(Fault::Chain)?;
    if line.last() != Some(&b'\n') {
        return if (line.len() as u64) < LONGEST_LINE { Ok(None) } else { Err(Fault::Line(number)) };
    }
    serde_json::from_slice(&line).map(Some).map_err(|_| Fault::Line(number))
}

/// The length, at most `most`, and the hash of what comes next.
fn digest(from: &mut impl Read, most: u64) -> io::Result<(u64, Hash)> {
    let mut hash = Sha256::new();
    let length = io::copy(&mut from.take(most), &mut Hasher(&mut hash))?;
    Ok((length, hash.finalize().into()))
}

struct Hasher<'a>(&'a mut Sha256);

impl io::Write for Hasher<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The number of the bytes that are left.
fn count(from: &mut impl Read) -> io::Result<u64> {
    io::copy(from, &mut io::sink())
}

#[cfg(test)]
mod tests;
