//! The packets in one direction of SFTP (draft-ietf-secsh-filexfer-02 section 3), found in a stream that comes in pieces.
//! Of each packet the beginning is kept for its reader; the rest passes.

use super::LostThread;

/// Limit of a packet; sftp-server of OpenSSH takes 256 KiB. What is longer is no SFTP.
const PACKET_MAX: usize = 1024 * 1024;
/// The part of a packet that is kept: two paths of Linux with their attributes.
const KEPT_MAX: usize = 16 * 1024;
/// The length and the type.
const HEAD: usize = 5;

/// A part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A packet begins: its type, its body's length, and the beginning of its body.
    Begin { kind: u8, length: usize, body: &'a [u8] },
    /// More of the body of the same packet.
    More(&'a [u8]),
}

/// The reader of one direction.
#[derive(Debug, Default)]
pub(super) struct PacketReader {
    /// The beginning of a packet, until enough of it is there.
    kept: Vec<u8>,
    /// The bytes of a packet that are still to pass.
    passing: usize,
}

impl PacketReader {
    /// Reads a piece, and shows the parts that it completes. `most` is the part of a body that the reader of a type needs.
    pub(super) fn read(
        &mut self,
        mut piece: &[u8],
        most: impl Fn(u8) -> usize,
        mut see: impl FnMut(Part<'_>) -> Result<(), LostThread>,
    ) -> Result<(), LostThread> {
        while !piece.is_empty() {
            if self.passing > 0 {
                let (passed, rest) = piece.split_at(self.passing.min(piece.len()));
                self.passing -= passed.len();
                piece = rest;
                see(Part::More(passed))?;
                continue;
            }
            piece = self.keep(piece, HEAD);
            let Some((head, _)) = self.kept.split_first_chunk::<HEAD>() else { return Ok(()) };
            let [a, b, c, d, kind] = *head;
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length == 0 || length > PACKET_MAX {
                return Err(LostThread::NoPacket);
            }
            let (length, needed) = (length - 1, (length - 1).min(most(kind)).min(KEPT_MAX));
            piece = self.keep(piece, HEAD + needed);
            let Some(body) = self.kept.get(HEAD..HEAD + needed) else { return Ok(()) };
            see(Part::Begin { kind, length, body })?;
            self.passing = length - needed;
            self.kept.clear();
        }
        Ok(())
    }

    /// Keeps so much of a packet's beginning, and returns the rest of the piece.
    fn keep<'a>(&mut self, piece: &'a [u8], needed: usize) -> &'a [u8] {
        let missing = needed.saturating_sub(self.kept.len()).min(piece.len());
        let (kept, rest) = piece.split_at(missing);
        self.kept.extend_from_slice(kept);
        rest
    }
}

/// The fields of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn number(&mut self) -> Result<u32, LostThread> {
        let (number, rest) = self.0.split_first_chunk::<4>().ok_or(LostThread::NoPacket)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    pub(super) fn long(&mut self) -> Result<u64, LostThread> {
        let (number, rest) = self.0.split_first_chunk::<8>().ok_or(LostThread::NoPacket)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*number))
    }

    pub(super) fn text(&mut self) -> Result<&'a [u8], LostThread> {
        let length = self.number()? as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(LostThread::NoPacket)?;
        self.0 = rest;
        Ok(text)
    }
}
