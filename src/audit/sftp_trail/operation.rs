//! An operation on a file over SFTP, as it is recorded once it is answered; a file is recorded when it is closed.

use std::time::Duration;

/// An operation that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileOperation {
    pub action: FileAction,
    /// The path as the client sent it, relative or not.
    pub path: String,
    /// The other path of a rename, a link or a copy.
    pub other: Option<String>,
    pub outcome: FileOutcome,
}

/// The kind of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileAction {
    /// A file was open, or was not opened.
    Open(FileUse),
    Remove,
    Rename,
    MakeDirectory,
    RemoveDirectory,
    SetAttributes(NewAttributes),
    /// A symbolic link at the path, which leads to `other`.
    SymbolicLink,
    /// Another name of the file.
    HardLink,
    /// The server copied data from one open file to another.
    Copy,
}

/// The use of an open file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FileUse {
    /// The flags of the request (draft-ietf-secsh-filexfer-02 section 6.3).
    pub flags: u32,
    /// Bytes that the client read.
    pub read: u64,
    /// Bytes that the server took.
    pub written: u64,
    /// The time for which it was open.
    pub duration: Duration,
    /// The hash of what was written, in hexadecimal digits, if that was from the beginning on and in order.
    pub sha256: Option<String>,
}

/// The attributes that were to be set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NewAttributes {
    pub size: Option<u64>,
    pub owner: Option<(u32, u32)>,
    pub permissions: Option<u32>,
    /// Times of the last access and change, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

/// The end of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileOutcome {
    Done,
    /// The server's status code (section 7).
    Failed(u32),
    /// The session ended first.
    Unanswered,
}

impl FileUse {
    pub(crate) const READ: u32 = 1;
    pub(crate) const WRITE: u32 = 2;
    pub(crate) const APPEND: u32 = 4;
    pub(crate) const CREATE: u32 = 8;
    pub(crate) const TRUNCATE: u32 = 16;
    pub(crate) const EXCLUSIVE: u32 = 32;

    /// Each flag with its word.
    pub(crate) fn flag_words(&self) -> Vec<&'static str> {
        let words = [
            (Self::READ, "read"),
            (Self::WRITE, "write"),
            (Self::APPEND, "append"),
            (Self::CREATE, "create"),
            (Self::TRUNCATE, "truncate"),
            (Self::EXCLUSIVE, "exclusive"),
        ];
        words.into_iter().filter(|(flag, _)| self.flags & flag != 0).map(|(_, word)| word).collect()
    }
}

impl FileAction {
    /// The operation's word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::MakeDirectory => "mkdir",
            Self::RemoveDirectory => "rmdir",
            Self::SetAttributes(_) => "setstat",
            Self::SymbolicLink => "symlink",
            Self::HardLink => "hardlink",
            Self::Copy => "copy",
        }
    }
}
