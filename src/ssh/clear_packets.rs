//! The packets of one direction before the first keys, whose lengths anybody can read: pure. russh makes room for as much as a
//! length promises, up to 256 KiB, before the packet has come.

/// Limit of a packet's length, as RFC 4253 section 6.1 has it. No client's first key exchange needs a third of it.
const LONGEST: usize = 35_000;
/// The shortest packet: a byte for the padding's length, four of padding.
const SHORTEST: usize = 5;
/// `SSH_MSG_NEWKEYS`, the last packet without encryption.
const NEWKEYS: u8 = 21;
/// `SSH_MSG_KEX_ECDH_REPLY`, and the same of the hybrid exchanges: it has our host key.
pub(super) const KEX_REPLY: u8 = 31;

/// The place in the packets, from the end of the identification line on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClearPackets {
    /// Before the first packet.
    #[default]
    Begin,
    /// In a packet's length: so many of its bytes have come, with this value.
    Length { bytes: u8, value: usize },
    /// In a packet: so many bytes are to come, with the length of the padding and the message's number first.
    Packet { left: usize, read: usize, message: u8 },
    /// From here on, packets are encrypted.
    Encrypted,
}

/// A length that no packet before the first keys has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client's first packets have a length that is not valid")]
pub(super) struct InvalidLength;

impl ClearPackets {
    /// Goes on by some bytes; `seen` learns the number of each message that is whole.
    ///
    /// # Errors
    /// A length that is not valid; nothing of the bytes may reach russh.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut seen: impl FnMut(u8)) -> Result<(), InvalidLength> {
        while let Some((&byte, rest)) = bytes.split_first() {
            let skipped = match *self {
                Self::Encrypted => return Ok(()),
                // Behind the message's number, nothing of a packet is looked at.
                Self::Packet { left, read, message } if read >= 2 => {
                    let taken = left.min(bytes.len());
                    *self = Self::after(left - taken, read, message);
                    if taken == left {
                        seen(message);
                    }
                    taken
                }
                _ => {
                    *self = self.next(byte)?;
                    1
                }
            };
            bytes = if skipped == 1 { rest } else { bytes.get(skipped..).unwrap_or_default() };
        }
        Ok(())
    }

    fn next(self, byte: u8) -> Result<Self, InvalidLength> {
        let (bytes, value) = match self {
            Self::Begin => (0, 0),
            Self::Length { bytes, value } => (bytes, value),
            Self::Packet { left, read, .. } => {
                return Ok(Self::after(left - 1, read + 1, if read == 1 { byte } else { 0 }));
            }
            Self::Encrypted => return Ok(self),
        };
        let value = value << 8 | usize::from(byte);
        match bytes {
            0..3 => Ok(Self::Length { bytes: bytes + 1, value }),
            _ if (SHORTEST..=LONGEST).contains(&value) => Ok(Self::Packet { left: value, read: 0, message: 0 }),
            _ => Err(InvalidLength),
        }
    }

    fn after(left: usize, read: usize, message: u8) -> Self {
        match (left, message) {
            (0, NEWKEYS) => Self::Encrypted,
            (0, _) => Self::Begin,
            _ => Self::Packet { left, read, message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(message: u8, length: usize) -> Vec<u8> {
        let mut packet = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        packet.extend([4, message]);
        packet.resize(4 + length, 0xff);
        packet
    }

    #[test]
    fn packets_up_to_the_longest_pass_in_any_pieces_until_the_first_keys() {
        let exchange = [packet(20, 1000), packet(30, LONGEST), packet(2, SHORTEST), packet(21, 12)].concat();
        // What is encrypted looks like any length.
        let all = [exchange.clone(), vec![0xff; 100]].concat();
        for size in [1, 2, 3, 7, 1000, all.len()] {
            let mut packets = ClearPackets::default();
            for piece in all.chunks(size) {
                assert_eq!(packets.read(piece, |_| {}), Ok(()), "in pieces of {size}");
            }
            assert_eq!(packets, ClearPackets::Encrypted);
        }
        let mut packets = ClearPackets::default();
        let mut messages = Vec::new();
        let (almost, last) = exchange.split_at(exchange.len() - 1);
        packets.read(almost, |message| messages.push(message)).unwrap();
        assert_eq!(messages, [20, 30, 2], "a message that is not whole is none");
        assert_ne!(packets, ClearPackets::Encrypted);
        packets.read(last, |message| messages.push(message)).unwrap();
        assert_eq!(messages, [20, 30, 2, 21]);
    }

    #[test]
    fn length_that_is_not_valid_is_refused_before_anything_of_its_packet() {
        for length in [0, 1, SHORTEST - 1, LONGEST + 1, 256 << 10, 0xffff_ffff_usize] {
            let bytes = [packet(20, 100), u32::try_from(length).unwrap().to_be_bytes().to_vec()].concat();
            let (almost, last) = bytes.split_at(bytes.len() - 1);
            let mut packets = ClearPackets::default();
            assert_eq!(packets.read(almost, |_| {}), Ok(()));
            assert_eq!(packets.read(last, |_| {}), Err(InvalidLength), "{length}");
        }
    }
}
