//! The check of a recording against its chain.
//!
//! Invariants: a recording is called sound only as far as the chain's lines cover its bytes, and whole only with a
//! seal; it is called proven only with a signature that a given key has checked; it takes memory for one line and one
//! part's step, whatever the files claim.

use super::binary;
use super::chain::{Begin, Hash, Line, Part, Seal, VERSION, begin_hash, part_hash, seal_hash};
use super::seal::PublicKey;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, Read};

/// Limit of a line, in bytes.
const LONGEST_LINE: u64 = 4096;
/// Limit of a header, in bytes.
const LONGEST_HEADER: u64 = 4096;

/// The state of a chain's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// There is none: whoever can write the files can make such a chain.
    NotSigned,
    /// There is one, but no key was given to check it: any text may stand there.
    Unchecked,
    /// Every line was signed by the key with this fingerprint.
    Checked(String),
}

/// The facts that are proved of a recording whose chain holds. Without a seal, that is no more than that a process which had the key once
/// wrote a recording that begins so: what was behind may have been taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The number of parts.
    pub parts: u64,
    /// The time of the last part's first message.
    pub last: Option<i64>,
    /// The bytes up to the end of the last part. Only these are to be decoded as the recording's.
    pub covered: u64,
    /// The bytes behind the last part, of which nothing is sure.
    pub uncovered: u64,
    /// Set if the end was sealed: nothing is missing, if the signature was checked.
    pub sealed: bool,
    pub signature: Signature,
    /// The hash of the last line, to be compared with one that was kept elsewhere: hexadecimal digits.
    pub hash: String,
    /// Set if a part's time is before that of the one before it: a clock was set, or the key was misused.
    pub goes_back: bool,
}

impl Verified {
    /// True if a key that was given signed the whole recording, and nothing of it is missing.
    pub fn is_proven(&self) -> bool {
        self.sealed && self.uncovered == 0 && matches!(self.signature, Signature::Checked(_))
    }
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
    #[error("nothing was recorded")]
    Nothing,
    #[error("version {0} of the chain is not known")]
    Version(u32),
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
    #[error("part {0} was not signed by this key")]
    PartUnsigned(u64),
    #[error("the recording ends in part {0}")]
    Cut(u64),
    #[error("the seal does not fit")]
    Seal,
    #[error("the seal was not signed by this key")]
    SealUnsigned,
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
    goes_back: bool,
}

/// Checks a recording with that file name against its chain. With a key, every line must be signed by it.
///
/// # Errors
/// The first fault: the recording or its chain was changed, cut, or belongs to another name.
pub fn verify(
    name: &str,
    recording: impl Read,
    chain: impl BufRead,
    key: Option<&PublicKey>,
) -> Result<Verified, Fault> {
    check(name, recording, chain, key, &mut 0)
}

/// Checks a recording without a key. Returns the bytes at its start that its chain covers, and the first fault.
pub fn covered(name: &str, recording: impl Read, chain: impl BufRead) -> (u64, Option<Fault>) {
    let mut covered = 0;
    let fault = check(name, recording, chain, None, &mut covered).err();
    (covered, fault)
}

fn check(
    name: &str,
    mut recording: impl Read,
    mut chain: impl BufRead,
    key: Option<&PublicKey>,
    covered: &mut u64,
) -> Result<Verified, Fault> {
    let begin = match next_line(&mut chain, 1)? {
        Some(Line::Begin(begin)) => begin,
        Some(_) => return Err(Fault::NoBeginning),
        None => return Err(without_a_beginning(recording)),
    };
    let mut checked = Checked::begin(name, &begin, &mut recording, key)?;
    *covered = checked.length;
    let mut number = 1;
    while let Some(line) = {
        number += 1;
        next_line(&mut chain, number)?
    } {
        match line {
            Line::Part(part) => {
                checked.part(&part, &mut recording)?;
                *covered = checked.length;
            }
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
        if begin.version != VERSION {
            return Err(Fault::Version(begin.version));
        }
        if begin.header > LONGEST_HEADER {
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
        let checked = Self { key, signed, last: hash, parts: 0, length: begin.header, time: None, goes_back: false };
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
            return Err(Fault::PartUnsigned(number));
        }
        self.goes_back |= self.time.is_some_and(|time| part.time < time);
        self.parts += 1;
        self.length += length;
        self.last = hash;
        self.time = Some(part.time);
        Ok(())
    }

    fn seal(&mut self, seal: &Seal) -> Result<(), Fault> {
        let hash = seal_hash(&self.last, self.parts, seal.time, self.length);
        let fits = seal.previous == HEXLOWER.encode(&self.last)
            && (seal.parts, seal.length) == (self.parts, self.length)
            && seal.hash == HEXLOWER.encode(&hash);
        if !fits {
            return Err(Fault::Seal);
        }
        if !self.is_signed(&hash, seal.signature.as_deref()) {
            return Err(Fault::SealUnsigned);
        }
        self.goes_back |= self.time.is_some_and(|time| seal.time < time);
        self.last = hash;
        Ok(())
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
        let signature = match self.key {
            Some(key) => Signature::Checked(key.fingerprint()),
            None if self.signed => Signature::Unchecked,
            None => Signature::NotSigned,
        };
        Verified {
            parts: self.parts,
            last: self.time,
            covered: self.length,
            uncovered,
            sealed,
            signature,
            hash: HEXLOWER.encode(&self.last),
            goes_back: self.goes_back,
        }
    }
}

/// The fault of a chain without a line. A process that was killed as it began leaves one, and no more than a header.
fn without_a_beginning(recording: impl Read) -> Fault {
    let mut start = Vec::new();
    match recording.take(binary::HEADER as u64 + 1).read_to_end(&mut start) {
        Ok(_) if binary::header().starts_with(&start) => Fault::Nothing,
        Ok(_) => Fault::NoBeginning,
        Err(error) => Fault::Recording(error),
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
