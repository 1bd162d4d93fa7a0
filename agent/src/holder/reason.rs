//! Failures of the system as the gateway is told them: a code and a plain sentence.

use super::code;
use podgate_link::Close;
use rustix::io::Errno;
use std::io::{self, ErrorKind};

/// The close of a stream for which the system refused what was asked.
pub(super) fn close(error: &io::Error) -> Close {
    let code = match error.kind() {
        ErrorKind::ConnectionRefused => code::REFUSED,
        ErrorKind::NotFound => code::NOT_FOUND,
        ErrorKind::PermissionDenied => code::PERMISSION,
        ErrorKind::TimedOut => code::TIMED_OUT,
        _ => code::SYSTEM,
    };
    Close { code, reason: text(error) }
}

/// The error's text as strerror(3) has it, without the number that the standard library puts behind it.
pub(super) fn text(error: &io::Error) -> String {
    let text = error.to_string();
    match Errno::from_io_error(error) {
        Some(errno) => text.strip_suffix(&format!(" (os error {})", errno.raw_os_error())).unwrap_or(&text).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_has_no_number_of_the_system() {
        assert_eq!(text(&Errno::CONNREFUSED.into()), "Connection refused");
        assert_eq!(text(&io::Error::other("(os error 1) is ours (os error 2)")), "(os error 1) is ours (os error 2)");
    }
}
