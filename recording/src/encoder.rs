//! The encoder of a recording: the bytes of its messages in its format.

use super::asciicast::{Cast, CastSetting};
use super::file::Part;
use super::message::Message;
use std::io;

/// The encoder of one recording's messages.
#[derive(Debug, Default)]
pub(crate) enum Encoder {
    #[default]
    Binary,
    Asciicast(Box<Cast>),
}

impl Encoder {
    /// An encoder into the asciicast of a program that has this.
    pub(crate) fn asciicast(setting: CastSetting) -> Self {
        Self::Asciicast(Box::new(Cast::new(setting)))
    }

    /// Adds a message to a part.
    ///
    /// # Errors
    /// None in practice: memory takes every write.
    pub(crate) fn encode(&mut self, message: &Message, part: &mut Part) -> io::Result<()> {
        match self {
            Self::Binary => part.push(message),
            Self::Asciicast(cast) => {
                part.push_lines(&cast.lines(message), message.timestamp);
                Ok(())
            }
        }
    }

    /// Adds what is left of the messages so far, at that time.
    pub(crate) fn end(&mut self, part: &mut Part, time: i64) {
        match self {
            Self::Binary => {}
            Self::Asciicast(cast) => part.push_lines(&cast.end(), time),
        }
    }
}
