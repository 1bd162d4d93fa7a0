//! Why a connection broke, in an operator's words: russh ends one without a word to the client and without a line where a
//! message cannot be read or does not fit, so its error is all that there is to tell.

use russh::Error;
use russh::keys::ssh_encoding;
use std::borrow::Cow;
use std::io;

/// Ends a connection's loop.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// The protocol or the stream failed.
    #[error(transparent)]
    Ssh(#[from] Error),
    /// The client went away, or was cut, while a callback waited.
    #[error("the client closed the connection")]
    Closed,
}

impl ConnectionError {
    /// What the log says of it.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Ssh(error) => reason(error).into_owned(),
            Self::Closed => self.to_string(),
        }
    }
}

fn reason(error: &Error) -> Cow<'static, str> {
    Cow::Borrowed(match error {
        Error::SshEncoding(ssh_encoding::Error::CharacterEncoding) | Error::Utf8(_) => {
            "the client sent a text that is not UTF-8 where only that is taken"
        }
        Error::SshEncoding(_) | Error::IndexOutOfBounds => {
            "the client sent a message that is too short, or has something behind its end"
        }
        Error::Inconsistent => "the client sent a message that does not fit the state of the connection",
        Error::SshKey(_) | Error::Keys(_) => {
            "the client named a key algorithm that is no name, or sent a public key that cannot be read"
        }
        // The one message of a client's that is handed to a part that is gone.
        Error::SendError => "the client refused a channel that it had opened itself",
        Error::PacketAuth | Error::DecryptionError => "a packet arrived damaged",
        Error::PacketSize(_) => "the client sent a packet that is too long",
        Error::Version => "the client's first line is not that of SSH 2",
        Error::KexInit | Error::Kex | Error::UnknownAlgo | Error::StrictKeyExchangeViolation { .. } => {
            "the client did not keep to the order of the key exchange"
        }
        Error::Pending => "the client sent too much before a key exchange was done",
        Error::KeepaliveTimeout => "the client did not answer keep-alive requests",
        Error::HUP | Error::Disconnect => "the client closed the connection",
        Error::IO(error) if error.kind() == io::ErrorKind::UnexpectedEof => "the client closed the connection",
        other => return Cow::Owned(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_broke_is_told_without_the_library_s_words() {
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        for (error, part) in [
            (Error::SshEncoding(ssh_encoding::Error::CharacterEncoding), "not UTF-8"),
            (Error::SshEncoding(ssh_encoding::Error::Length), "too short"),
            (Error::SshEncoding(ssh_encoding::Error::TrailingData { remaining: 1 }), "behind its end"),
            (Error::Inconsistent, "does not fit"),
            (Error::SendError, "refused a channel"),
            (Error::IO(eof), "closed the connection"),
            (Error::IO(io::Error::other("the cable is out")), "the cable is out"),
        ] {
            let told = reason(&error);
            assert!(told.contains(part), "{told}");
        }
    }
}
