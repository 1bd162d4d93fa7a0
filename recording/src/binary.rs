//! ContainerSSH's binary format, version 2: a header, then messages one behind the other in gzip. Podgate writes it in parts,
//! each a gzip member of its own: readers of gzip take members as one stream, and each part can be read without those before.

use super::cbor;
use super::message::Message;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};

/// The length of the header.
pub(super) const HEADER: usize = 40;
/// The name in the header, padded with zero bytes.
pub(super) const MAGIC: &[u8; 32] = b"ContainerSSH-Auditlog\0\0\0\0\0\0\0\0\0\0\0";
/// The version that is written.
pub(super) const VERSION: u64 = 2;

/// The header of version 2.
pub fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let (magic, version) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    version.copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// Encodes a message behind what `part` has.
///
/// # Errors
/// None in practice: memory takes every write.
pub fn encode(message: &Message, part: &mut Vec<u8>) -> io::Result<()> {
    cbor::write(&message.to_value(), part)
}

/// Compresses a part into a gzip member.
///
/// # Errors
/// None in practice: memory takes every write.
pub fn compress(part: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(part.len() / 4 + 64), Compression::fast());
    encoder.write_all(part)?;
    encoder.finish()
}
