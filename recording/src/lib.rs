//! The recordings of connections, as files that stand for themselves: their messages (ContainerSSH's), their two formats, and
//! the chain that shows whether one was changed. Only `file` opens files, and only `writer` waits.
//!
//! Invariants: a decoder reads what others made, holds one message at a time, and never more of it than
//! [`LONGEST_MESSAGE`].

mod asciicast;
pub mod binary;
mod cbor;
pub mod chain;
mod decode;
mod encoder;
pub mod file;
mod json;
pub mod message;
mod seal;
mod value;
mod verify;
pub mod writer;

pub use asciicast::CastSetting;
pub use decode::{DecodeError, End, Messages, decode};
pub use json::escaped;
pub use message::{Answer, Message, Payload, Question};
pub use seal::{KeyError, PublicKey, SealKey};
pub use value::Value;
pub use verify::{Fault, Signature, Verified, covered, verify};

/// Limit of one message in a file, in bytes. A message that Podgate writes is far below it.
const LONGEST_MESSAGE: usize = 16 << 20;

/// Fuzzes the decoder: what it reads can be written and read again, and makes asciicasts whose lines are whole.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzz(data: &[u8]) {
    // The bytes as a recording, and as the messages of one.
    let whole = Messages::open(data).into_iter().flatten();
    let part = binary::compress(data).unwrap_or_default();
    let recording = [&binary::header()[..], &part].concat();
    let inner = Messages::open(&recording[..]).into_iter().flatten();
    let read: Vec<Message> = whole.chain(inner).flatten().collect();
    let (mut again, mut cast, mut last) = (Vec::new(), asciicast::Cast::default(), 0.0);
    for message in &read {
        for line in cast.lines(message).lines() {
            let event = serde_json::from_str::<serde_json::Value>(line);
            // The header is a map, and has no time.
            let at = event.ok().and_then(|event| if event.is_object() { Some(0.0) } else { event[0].as_f64() });
            assert!(at.is_some_and(|at| at >= last), "{line}");
            last = at.unwrap_or_default();
        }
        assert!(binary::encode(message, &mut again).is_ok());
        assert!(serde_json::from_str::<serde_json::Value>(&json::of_message(message)).is_ok());
    }
    let recording = [&binary::header()[..], &binary::compress(&again).unwrap_or_default()].concat();
    let second: Vec<Message> = Messages::open(&recording[..]).into_iter().flatten().flatten().collect();
    assert_eq!(read, second);
}

/// Fuzzes the check of a chain: of the recording that the seeds are about, nothing is whole that is not covered.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzz_chain(data: &[u8]) {
    const RECORDING: &[u8] = b"headerfirstsecondthird!";
    if let Ok(verified) = verify("name", RECORDING, data, None) {
        assert!(!verified.sealed || verified.uncovered == 0);
        assert!(!verified.is_proven());
        assert_eq!(verified.covered + verified.uncovered, RECORDING.len() as u64);
        assert_eq!(verified.last.is_some(), verified.parts > 0);
        assert!(verified.uncovered <= RECORDING.len() as u64);
    }
}

#[cfg(test)]
mod tests;
