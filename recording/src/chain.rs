//! The chain of a recording, in a file of its own beside it: a line of JSON for its beginning, for each part, and for its
//! end. It tells where each part is, and shows whether one was changed.
//!
//! Invariants: the hash in a line covers everything in that line and every line before it; with a key, each hash is
//! signed, so nobody else can write a line. The line of a part is made of the bytes that are in the file.

use super::seal::SealKey;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The version of the chain.
pub(crate) const VERSION: u32 = 1;

pub(crate) type Hash = [u8; 32];

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Line {
    Begin(Begin),
    Part(Part),
    Seal(Seal),
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begin {
    pub(crate) version: u32,
    /// The name of the recording's file.
    pub(crate) recording: String,
    /// The bytes before the first part.
    #[serde(rename = "headerLength")]
    pub(crate) header: u64,
    /// The fingerprint of the key that signs.
    pub(crate) key: Option<String>,
    pub(crate) hash: String,
    pub(crate) signature: Option<String>,
}

/// The line of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    pub(crate) part: u64,
    /// The time of its first message: nanoseconds since 1970.
    #[serde(rename = "timeUnixNano", with = "decimal")]
    pub(crate) time: i64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// The hash of the part's bytes.
    pub(crate) sha256: String,
    pub(crate) previous: String,
    pub(crate) hash: String,
    pub(crate) signature: Option<String>,
}

/// The line of the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seal {
    /// The number of parts.
    pub(crate) parts: u64,
    #[serde(rename = "timeUnixNano", with = "decimal")]
    pub(crate) time: i64,
    /// The length of the recording.
    pub(crate) length: u64,
    pub(crate) previous: String,
    pub(crate) hash: String,
    pub(crate) signature: Option<String>,
}

/// A number as text: JSON's readers keep only 53 bits of a number.
mod decimal {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(number: &i64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        let text = String::deserialize(from)?;
        let number = text.parse::<i64>().map_err(D::Error::custom)?;
        // One number has one text.
        if number.to_string() == text { Ok(number) } else { Err(D::Error::custom("not as it was written")) }
    }
}

/// The hash of the beginning; the header is a part of it.
pub(crate) fn begin_hash(recording: &str, header: &[u8], key: Option<&str>) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"podgate chain 1: begin\0");
    for text in [recording.as_bytes(), header, key.unwrap_or_default().as_bytes()] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

/// The hash of a part's line.
pub(crate) fn part_hash(previous: &Hash, (part, time): (u64, i64), (offset, length): (u64, u64), data: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"podgate chain 1: part\0");
    hash.update(previous);
    hash.update(part.to_be_bytes());
    hash.update(time.to_be_bytes());
    hash.update(offset.to_be_bytes());
    hash.update(length.to_be_bytes());
    hash.update(data);
    hash.finalize().into()
}

/// The hash of the end's line.
pub(crate) fn seal_hash(previous: &Hash, parts: u64, time: i64, length: u64) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"podgate chain 1: seal\0");
    hash.update(previous);
    hash.update(parts.to_be_bytes());
    hash.update(time.to_be_bytes());
    hash.update(length.to_be_bytes());
    hash.finalize().into()
}

/// The line of a part that is to be written.
#[derive(Debug)]
pub struct PartLine {
    /// The line with its end.
    pub text: String,
    length: u64,
    hash: Hash,
}

/// The chain of a recording that is being written.
#[derive(Debug)]
pub struct Chain {
    key: Option<Arc<SealKey>>,
    parts: u64,
    length: u64,
    last: Hash,
}

impl Chain {
    /// Begins the chain of the recording with that file name and header. Returns it with its first line.
    pub fn begin(recording: &str, header: &[u8], key: Option<Arc<SealKey>>) -> (Self, String) {
        let fingerprint = key.as_ref().map(|key| key.public().fingerprint());
        let hash = begin_hash(recording, header, fingerprint.as_deref());
        let length = header.len() as u64;
        let chain = Self { key, parts: 0, length, last: hash };
        let line = Line::Begin(Begin {
            version: VERSION,
            recording: recording.to_owned(),
            header: length,
            key: fingerprint,
            hash: HEXLOWER.encode(&hash),
            signature: chain.sign(&hash),
        });
        (chain, text(&line))
    }

    /// The line of the next part, whose first message is of that time. It counts once it is taken.
    pub fn next_part(&self, time: i64, data: &[u8]) -> PartLine {
        let (sha256, length): (Hash, u64) = (Sha256::digest(data).into(), data.len() as u64);
        let hash = part_hash(&self.last, (self.parts, time), (self.length, length), &sha256);
        let line = Line::Part(Part {
            part: self.parts,
            time,
            offset: self.length,
            length,
            sha256: HEXLOWER.encode(&sha256),
            previous: HEXLOWER.encode(&self.last),
            hash: HEXLOWER.encode(&hash),
            signature: self.sign(&hash),
        });
        PartLine { text: text(&line), length, hash }
    }

    /// Takes a line that was written. It is the last one of [`Chain::next_part`].
    pub fn take(&mut self, line: PartLine) {
        self.parts += 1;
        self.length += line.length;
        self.last = line.hash;
    }

    /// The line of the end. Without it, a recording is not known to be whole.
    pub fn seal(&mut self, time: i64) -> String {
        let hash = seal_hash(&self.last, self.parts, time, self.length);
        let line = Line::Seal(Seal {
            parts: self.parts,
            time,
            length: self.length,
            previous: HEXLOWER.encode(&self.last),
            hash: HEXLOWER.encode(&hash),
            signature: self.sign(&hash),
        });
        self.last = hash;
        text(&line)
    }

    /// The number of the parts so far.
    pub fn parts(&self) -> u64 {
        self.parts
    }

    /// The hash of the last line: hexadecimal digits.
    pub fn last_hash(&self) -> String {
        HEXLOWER.encode(&self.last)
    }

    fn sign(&self, hash: &Hash) -> Option<String> {
        self.key.as_ref().map(|key| key.sign(hash))
    }
}

fn text(line: &Line) -> String {
    // A line has no map whose keys could be something else than text, which is all that could fail.
    serde_json::to_string(line).map(|text| text + "\n").unwrap_or_default()
}
