//! A terminal's size and modes.

use std::collections::BTreeMap;

/// A terminal's size in characters (RFC 4254 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Size {
    pub columns: u16,
    pub rows: u16,
}

const VINTR: u8 = 1;
const ISIG: u8 = 50;
const CTRL_C: u8 = 3;

/// The first undefined opcode; from it on, the form of the argument is unknown (RFC 4254 section 8).
const UNDEFINED: u8 = 160;

/// A terminal's modes: arguments by opcode (RFC 4254 section 8), at most one for each of 1 to 159.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Modes(BTreeMap<u8, u32>);

impl Modes {
    /// Collects arguments by opcode; the last argument of an opcode counts. Leaves out `TTY_OP_END` (0) and undefined
    /// opcodes.
    pub(crate) fn new(modes: impl IntoIterator<Item = (u8, u32)>) -> Self {
        Self(modes.into_iter().filter(|(opcode, _)| (1..UNDEFINED).contains(opcode)).collect())
    }

    /// The argument that the client sent for an opcode.
    pub(crate) fn get(&self, opcode: u8) -> Option<u32> {
        self.0.get(&opcode).copied()
    }

    /// The opcodes with their arguments.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, u32)> {
        self.0.iter().map(|(opcode, argument)| (*opcode, *argument))
    }

    /// The key that interrupts a program: the client's, or else Ctrl-C; `None` if the client disabled it.
    pub(crate) fn interrupt(&self) -> Option<u8> {
        match (self.get(ISIG), self.get(VINTR)) {
            (Some(0), _) | (_, Some(0 | 255)) => None,
            (_, None) => Some(CTRL_C),
            (_, Some(key)) => u8::try_from(key).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_hold_each_defined_opcode_once_however_many_are_sent() {
        let endless = (0..=u8::MAX).cycle().zip(0..100_000);
        let modes = Modes::new(endless);
        assert_eq!(modes.0.len(), 159);
        assert_eq!((modes.get(0), modes.get(160), modes.get(255)), (None, None, None));
        assert_eq!(Modes::new([(53, 1), (53, 0)]).get(53), Some(0));
        assert!(Modes::new([(0, 1), (200, 1)]).0.is_empty());
    }

    #[test]
    fn key_that_interrupts_is_the_clients_own() {
        for (modes, key) in [
            (&[][..], Some(3)),
            (&[(50, 1)], Some(3)),
            (&[(1, 24), (50, 1)], Some(24)),
            (&[(1, 24), (50, 0)], None),
            (&[(1, 255)], None),
            (&[(1, 0)], None),
            (&[(1, 300)], None),
        ] {
            assert_eq!(Modes::new(modes.iter().copied()).interrupt(), key, "{modes:?}");
        }
    }
}
