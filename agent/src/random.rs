//! Random bytes of the system.

use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

/// Bytes that nobody can guess. They come from the kernel itself: an image may have no `/dev`.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(bytes)
}
