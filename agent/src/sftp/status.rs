//! Status codes (draft section 7) and the errors of the system that they stand for, as OpenSSH's sftp-server maps them.

use rustix::io::Errno;

/// The result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    EndOfFile,
    NoSuchFile,
    NoSuchUser,
    PermissionDenied,
    Failure,
    BadMessage,
    Unsupported,
    /// No status: the packet has not the fields of its type.
    Malformed,
}

impl Status {
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Ok => 0,
            Self::EndOfFile => 1,
            Self::NoSuchFile | Self::NoSuchUser => 2,
            Self::PermissionDenied => 3,
            Self::Failure => 4,
            Self::BadMessage | Self::Malformed => 5,
            Self::Unsupported => 8,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Ok => "Success",
            Self::EndOfFile => "End of file",
            Self::NoSuchFile => "No such file",
            Self::NoSuchUser => "no such user",
            Self::PermissionDenied => "Permission denied",
            Self::Failure => "Failure",
            Self::BadMessage | Self::Malformed => "Bad message",
            Self::Unsupported => "Operation unsupported",
        }
    }
}

impl From<Errno> for Status {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP => Self::NoSuchFile,
            Errno::PERM | Errno::ACCESS | Errno::FAULT => Self::PermissionDenied,
            Errno::NAMETOOLONG | Errno::INVAL => Self::BadMessage,
            Errno::NOSYS => Self::Unsupported,
            _ => Self::Failure,
        }
    }
}
