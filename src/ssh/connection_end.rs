//! The causes that end a connection without a message to the client, in an operator's words: russh's error is the only
//! source. A cause that somebody can act on has a line of its own in the log, with the details. Pure.

use super::client_stream::ClosedBy;
use super::connection::ConnectionError;
use crate::audit::Event;
use crate::config::AlgorithmList;
use crate::types::printable;
use russh::keys::ssh_encoding;
use russh::{AlgorithmKind, Error};
use std::borrow::Cow;
use std::io;

/// Limit of a client's list in the log, in characters. The list may be 16 KiB long.
const OFFERED: usize = 1024;
/// The cause of an end by a panic; the log has the panic in a line before.
pub(super) const FAULT: &str = "a part of the gateway failed (a bug)";
/// Names in a list of key exchanges that only announce extensions (RFC 8308 section 2.1, OpenSSH's PROTOCOL).
const ANNOUNCEMENTS: &[&str] =
    &["ext-info-c", "ext-info-s", "kex-strict-c-v00@openssh.com", "kex-strict-s-v00@openssh.com"];
/// The host keys that the gateway can have, with the command that makes each.
const HOST_KEYS: &[(&str, &str)] = &[
    ("ssh-ed25519", "ssh-keygen -t ed25519"),
    ("ecdsa-sha2-nistp256", "ssh-keygen -t ecdsa -b 256"),
    ("ecdsa-sha2-nistp384", "ssh-keygen -t ecdsa -b 384"),
    ("ecdsa-sha2-nistp521", "ssh-keygen -t ecdsa -b 521"),
    ("rsa-sha2-512", "ssh-keygen -t rsa -b 3072"),
    ("rsa-sha2-256", "ssh-keygen -t rsa -b 3072"),
];

/// The cause of a connection's end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConnectionEnd {
    /// Client and gateway have no algorithm of a kind in common (RFC 4253 section 7.1).
    NoCommonAlgorithm {
        /// The kind of algorithm, in words.
        kind: &'static str,
        /// The names that the client offered.
        offered: String,
        /// The change to the configuration that lets such a client in.
        remedy: String,
    },
    /// A text of the client is not UTF-8, and russh knows no other.
    NotUtf8 {
        /// The texts that it may have been.
        what: &'static str,
    },
    /// Any other cause, which has no event of its own.
    Broken {
        /// The cause in plain words.
        reason: Cow<'static, str>,
    },
}

impl ConnectionEnd {
    /// Finds the cause in an error.
    pub(super) fn of(error: &ConnectionError, logged_in: bool) -> Self {
        match error {
            ConnectionError::Ssh(Error::NoCommonAlgo { kind, ours, theirs }) => {
                no_common_algorithm(kind, &algorithms(ours), &algorithms(theirs))
            }
            ConnectionError::Ssh(Error::SshEncoding(ssh_encoding::Error::CharacterEncoding) | Error::Utf8(_)) => {
                Self::NotUtf8 {
                    what: if logged_in {
                        "a variable, the terminal's type, a subsystem, a signal, or a host, path or name in a request"
                    } else {
                        "the user name, the password, or another text before the login"
                    },
                }
            }
            ConnectionError::Ssh(error) => Self::Broken { reason: reason(error) },
            ConnectionError::Closed(by) => Self::Broken { reason: by.text().into() },
        }
    }

    /// The cause without its details.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::NoCommonAlgorithm { .. } => "no algorithm in common",
            Self::NotUtf8 { .. } => "the client sent a string that is not UTF-8",
            Self::Broken { reason } => reason,
        }
    }

    /// The event for a cause that somebody can act on.
    pub(super) fn event(&self) -> Option<Event<'_>> {
        match self {
            Self::NoCommonAlgorithm { kind, offered, remedy } => {
                Some(Event::NoCommonAlgorithm { kind, offered, remedy })
            }
            Self::NotUtf8 { what } => Some(Event::NotUtf8 { what }),
            Self::Broken { .. } => None,
        }
    }
}

fn reason(error: &Error) -> Cow<'static, str> {
    Cow::Borrowed(match error {
        Error::SshEncoding(_) | Error::IndexOutOfBounds => {
            "the client sent a message that is too short, or has extra data at its end"
        }
        Error::Inconsistent => "the client sent a message that does not fit the state of the connection",
        Error::SshKey(_) | Error::Keys(_) => {
            "the client sent a key algorithm name that is not valid, or a public key that cannot be read"
        }
        // The only message of a client that russh hands to a part that may be gone.
        Error::SendError => "the client refused a channel that it had opened itself",
        Error::PacketAuth | Error::DecryptionError => "a packet arrived damaged",
        Error::PacketSize(_) => "the client sent a packet that is too long",
        Error::Version => "the client's first line is not an SSH 2 identification",
        Error::KexInit | Error::Kex | Error::UnknownAlgo | Error::StrictKeyExchangeViolation { .. } => {
            "the client sent the messages of the key exchange in the wrong order"
        }
        // Nobody aborts the task of a connection.
        Error::Join(_) => FAULT,
        Error::Pending => "the client sent too much before a key exchange was done",
        Error::KeepaliveTimeout => "the client did not answer keep-alive requests",
        Error::HUP | Error::Disconnect => ClosedBy::Client.text(),
        Error::IO(error) if error.kind() == io::ErrorKind::UnexpectedEof => ClosedBy::Client.text(),
        // The error of a stream that was cut.
        Error::IO(error) if error.kind() == io::ErrorKind::ConnectionAborted => ClosedBy::Gateway.text(),
        // TCP_USER_TIMEOUT, or probes without an answer; a time of ours that is over has no number of the system.
        Error::IO(error) if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_some() => {
            "the client took no data in time, or is gone"
        }
        other => return Cow::Owned(other.to_string()),
    })
}

fn algorithms(names: &[String]) -> Vec<String> {
    names.iter().filter(|name| !ANNOUNCEMENTS.contains(&name.as_str())).cloned().collect()
}

fn no_common_algorithm(kind: &AlgorithmKind, ours: &[String], theirs: &[String]) -> ConnectionEnd {
    let listed = |list| listed(list, ours, theirs);
    let (kind, remedy) = match kind {
        AlgorithmKind::Kex => ("key exchange", listed(AlgorithmList::Kex)),
        AlgorithmKind::Cipher => ("cipher", listed(AlgorithmList::Ciphers)),
        AlgorithmKind::Mac => ("MAC", listed(AlgorithmList::Macs)),
        AlgorithmKind::Key => ("host key", host_key(theirs)),
        AlgorithmKind::Compression => {
            ("compression", "none here: configure the client to connect without compression".to_owned())
        }
    };
    ConnectionEnd::NoCommonAlgorithm { kind, offered: printable(&theirs.join(","), OFFERED), remedy }
}

/// Makes the value of the key that lets the client in: the names offered now, and those of the rest that the client has.
fn listed(list: AlgorithmList, ours: &[String], theirs: &[String]) -> String {
    let mut admissible = list.admissible(theirs);
    if admissible.is_empty() {
        let ours = ours.first().map_or("", String::as_str);
        return format!("none here: {} can hold none of these; the client needs one like {ours}", list.path());
    }
    let with = |admissible: &[&str]| -> String {
        let all: Vec<&str> = ours.iter().map(String::as_str).chain(admissible.iter().copied()).collect();
        if list.is_default(&all) { String::new() } else { all.join(", ") }
    };
    let mut names = with(&admissible);
    if names.is_empty() {
        // The default itself is not for OpenSSH; in another order it is what an operator chose, and for every client.
        admissible.reverse();
        names = with(&admissible);
    }
    format!("{}: [{names}]", list.path())
}

fn host_key(theirs: &[String]) -> String {
    match HOST_KEYS.iter().find(|(name, _)| theirs.iter().any(|theirs| theirs == name)) {
        Some((name, command)) => format!("ssh.hostkeys: one more key, of type {name} ({command} -N '' -f FILE)"),
        None => {
            "none here: ssh.hostkeys can hold no key of these types; the client needs one like ssh-ed25519".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &str) -> Vec<String> {
        names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    fn ended(kind: AlgorithmKind, ours: &str, theirs: &str) -> ConnectionEnd {
        let error = Error::NoCommonAlgo { kind, ours: names(ours), theirs: names(theirs) };
        ConnectionEnd::of(&error.into(), false)
    }

    #[test]
    fn failed_negotiation_names_the_offer_and_the_value_that_admits_it() {
        let kex = "mlkem768x25519-sha256,curve25519-sha256,ext-info-s,kex-strict-s-v00@openssh.com";
        let gcm = "aes256-gcm@openssh.com,aes256-ctr";
        for (kind, ours, theirs, told, remedy) in [
            (
                AlgorithmKind::Kex,
                kex,
                "ecdh-sha2-nistp256,diffie-hellman-group14-sha1,ext-info-c",
                "key exchange",
                "ssh.kex: [mlkem768x25519-sha256, curve25519-sha256, ecdh-sha2-nistp256]",
            ),
            (
                AlgorithmKind::Kex,
                kex,
                "diffie-hellman-group14-sha1",
                "key exchange",
                "none here: ssh.kex can hold none of these; the client needs one like mlkem768x25519-sha256",
            ),
            (
                AlgorithmKind::Cipher,
                gcm,
                "aes128-cbc,aes128-ctr",
                "cipher",
                "ssh.ciphers: [aes256-gcm@openssh.com, aes256-ctr, aes128-ctr]",
            ),
            (
                AlgorithmKind::Cipher,
                "aes256-gcm@openssh.com,aes128-gcm@openssh.com",
                "chacha20-poly1305@openssh.com,aes256-ctr",
                "cipher",
                "ssh.ciphers: [aes256-gcm@openssh.com, aes128-gcm@openssh.com, aes256-ctr, chacha20-poly1305@openssh.com]",
            ),
            (AlgorithmKind::Mac, "hmac-sha2-256", "hmac-sha2-512", "MAC", "ssh.macs: [hmac-sha2-256, hmac-sha2-512]"),
            (
                AlgorithmKind::Key,
                "ssh-ed25519",
                "ssh-rsa,ecdsa-sha2-nistp384,rsa-sha2-256",
                "host key",
                "ssh.hostkeys: one more key, of type ecdsa-sha2-nistp384 (ssh-keygen -t ecdsa -b 384 -N '' -f FILE)",
            ),
            (
                AlgorithmKind::Key,
                "ssh-ed25519",
                "ssh-rsa,ssh-dss",
                "host key",
                "none here: ssh.hostkeys can hold no key of these types; the client needs one like ssh-ed25519",
            ),
            (
                AlgorithmKind::Compression,
                "none",
                "zlib",
                "compression",
                "none here: configure the client to connect without compression",
            ),
        ] {
            let ConnectionEnd::NoCommonAlgorithm { kind, offered, remedy: given } = ended(kind, ours, theirs) else {
                panic!("{theirs}: another end")
            };
            assert_eq!((kind, given.as_str()), (told, remedy), "{theirs}");
            assert_eq!(names(&offered), algorithms(&names(theirs)));
        }
    }

    #[test]
    fn list_of_a_hostile_client_makes_no_long_line() {
        let theirs = "ecdh-sha2-nistp256,".repeat(800);
        let ConnectionEnd::NoCommonAlgorithm { offered, remedy, .. } =
            ended(AlgorithmKind::Kex, "curve25519-sha256", &theirs)
        else {
            panic!("another end")
        };
        assert_eq!(remedy, "ssh.kex: [curve25519-sha256, ecdh-sha2-nistp256]");
        assert_eq!(offered.chars().count(), OFFERED);
    }

    #[test]
    fn text_that_is_not_utf8_is_told_by_what_it_can_have_been() {
        for error in [|| Error::SshEncoding(ssh_encoding::Error::CharacterEncoding), || not_utf8().into()] {
            for (logged_in, part) in [(false, "the password"), (true, "a variable")] {
                let ConnectionEnd::NotUtf8 { what } = ConnectionEnd::of(&error().into(), logged_in) else {
                    panic!("another end")
                };
                assert!(what.contains(part), "{what}");
            }
        }
    }

    fn not_utf8() -> std::str::Utf8Error {
        String::from_utf8(vec![0xff]).expect_err("not UTF-8").utf8_error()
    }

    #[test]
    fn every_other_end_is_told_without_the_library_s_words_and_has_no_line_of_its_own() {
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        for (error, part) in [
            (ConnectionError::Closed(ClosedBy::Client), "the client closed the connection"),
            (ConnectionError::Closed(ClosedBy::Gateway), "the gateway closed the connection"),
            (Error::IO(io::ErrorKind::ConnectionAborted.into()).into(), "the gateway closed the connection"),
            (Error::HUP.into(), "closed the connection"),
            (Error::IO(eof).into(), "closed the connection"),
            (Error::SshEncoding(ssh_encoding::Error::Length).into(), "too short"),
            (Error::SshEncoding(ssh_encoding::Error::TrailingData { remaining: 1 }).into(), "at its end"),
            (Error::Inconsistent.into(), "does not fit"),
            (Error::SendError.into(), "refused a channel"),
            (Error::IO(io::Error::from_raw_os_error(110)).into(), "took no data in time"),
            (Error::IO(io::Error::other("the cable is out")).into(), "the cable is out"),
        ] {
            let ended = ConnectionEnd::of(&error, true);
            assert!(ended.reason().contains(part) && ended.event().is_none(), "{ended:?}");
        }
    }
}
