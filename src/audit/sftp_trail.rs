//! The operations of an SFTP session, read from the bytes that pass between the client and whatever server the guest has.
//! The guest is not believed: what the client asked for is what it sent, and a server can lie about its own answers alone.
//!
//! Invariants: memory is bounded; nothing here holds up or changes a byte; a trail that is lost says so once, and is over.

mod operation;
mod packets;

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
pub(crate) use operation::{FileAction, FileOperation, FileOutcome, FileUse, NewAttributes};
use packets::{Fields, PacketReader, Part};
use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use tokio::time::Instant;

/// Limit of the requests that are not answered yet. OpenSSH's client sends 64.
const PENDING_MAX: usize = 4 * 1024;
/// Limit of open files and directories; the agent has at most 1000.
const OPEN_MAX: usize = 1024;
/// Limit of the paths and handles of all of them, in bytes.
const NAMES_MAX: usize = 512 * 1024;
/// Limit of a handle, in bytes (section 6.1).
const HANDLE_MAX: usize = 256;
/// Numbers, and a handle, before the data of a write.
const WRITE_HEAD: usize = 4 + 4 + HANDLE_MAX + 8 + 4;

/// Types of packets (section 3), and of OpenSSH's requests.
mod kind {
    pub(super) const INIT: u8 = 1;
    pub(super) const VERSION: u8 = 2;
    pub(super) const OPEN: u8 = 3;
    pub(super) const CLOSE: u8 = 4;
    pub(super) const READ: u8 = 5;
    pub(super) const WRITE: u8 = 6;
    pub(super) const SETSTAT: u8 = 9;
    pub(super) const FSETSTAT: u8 = 10;
    pub(super) const OPENDIR: u8 = 11;
    pub(super) const REMOVE: u8 = 13;
    pub(super) const MKDIR: u8 = 14;
    pub(super) const RMDIR: u8 = 15;
    pub(super) const RENAME: u8 = 18;
    pub(super) const SYMLINK: u8 = 20;
    pub(super) const STATUS: u8 = 101;
    pub(super) const HANDLE: u8 = 102;
    pub(super) const DATA: u8 = 103;
    pub(super) const EXTENDED: u8 = 200;
}

/// The version that is read.
const VERSION: u32 = 3;

/// The reason that a trail cannot be followed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LostThread {
    #[error("the bytes are no packets of SFTP")]
    NoPacket,
    #[error("the server speaks another version of SFTP")]
    OtherVersion,
    #[error("two requests that wait have the same number")]
    SameNumber,
    #[error("too many requests wait, or too many files are open")]
    TooMany,
    #[error("a handle was used before the server's answer told it")]
    EarlyHandle,
    #[error("the server takes a handle that it has not given")]
    UnknownHandle,
}

/// The side that sent bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Guest,
}

/// The trail of one SFTP session.
pub(super) struct SftpTrail {
    client: PacketReader,
    guest: PacketReader,
    table: Table,
    is_over: bool,
}

/// The requests and files of a session.
#[derive(Default)]
struct Table {
    pending: HashMap<u32, Pending>,
    handles: HashMap<Box<[u8]>, u64>,
    files: HashMap<u64, OpenFile>,
    /// The number of files so far.
    opened: u64,
    /// The requests that wait for a handle.
    opening: usize,
    /// Bytes of paths and handles.
    names: usize,
    hashes: bool,
    /// The file whose hash takes the data of the packet that is passing.
    hashing: Option<u64>,
}

/// A request that is not answered.
enum Pending {
    /// One that leaves nothing.
    Other,
    /// One with a handle that is not known, which a server refuses.
    UnknownHandle,
    Open {
        path: String,
        flags: u32,
        is_directory: bool,
    },
    Close {
        file: u64,
    },
    Read {
        file: u64,
    },
    Write {
        file: u64,
        bytes: u32,
    },
    Operation {
        action: FileAction,
        path: String,
        other: Option<String>,
    },
}

struct OpenFile {
    path: String,
    handle: usize,
    flags: u32,
    is_directory: bool,
    begun: Instant,
    read: u64,
    written: u64,
    /// The hash and the bytes in it, as long as they were written in order.
    hash: Option<(Context, u64)>,
}

impl Debug for SftpTrail {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpTrail").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl SftpTrail {
    /// Begins with a session's first byte. With `hashes`, what is written is hashed.
    pub(super) fn new(hashes: bool) -> Self {
        let table = Table { hashes, ..Table::default() };
        Self { client: PacketReader::default(), guest: PacketReader::default(), table, is_over: false }
    }

    /// Follows a piece of the stream, and returns the operations that are over. The error is told once; then nothing is.
    pub(super) fn follow(&mut self, sender: Sender, piece: &[u8]) -> (Vec<FileOperation>, Option<LostThread>) {
        let mut over = Vec::new();
        if self.is_over {
            return (over, None);
        }
        let table = &mut self.table;
        let read = match sender {
            Sender::Client => self.client.read(piece, request_part, |part| table.request(part)),
            Sender::Guest => self.guest.read(piece, reply_part, |part| table.reply(part, &mut over)),
        };
        let Err(lost) = read else { return (over, None) };
        over.extend(self.end());
        (over, Some(lost))
    }

    /// Ends the trail, and returns what was not over: the open files, and the operations without an answer.
    pub(super) fn end(&mut self) -> Vec<FileOperation> {
        self.is_over = true;
        (self.client, self.guest) = (PacketReader::default(), PacketReader::default());
        std::mem::take(&mut self.table).left()
    }
}

/// The part of a request's body that is needed.
fn request_part(kind: u8) -> usize {
    match kind {
        kind::WRITE => WRITE_HEAD,
        _ => usize::MAX,
    }
}

/// The part of a reply's body that is needed: its numbers, and a handle.
fn reply_part(kind: u8) -> usize {
    if kind == kind::HANDLE { 4 + 4 + HANDLE_MAX } else { 8 }
}

impl Table {
    /// Takes a part of what the client sends.
    fn request(&mut self, part: Part<'_>) -> Result<(), LostThread> {
        let (kind, length, body) = match part {
            Part::Begin { kind, length, body } => (kind, length, body),
            Part::More(data) => {
                self.hash(data);
                return Ok(());
            }
        };
        self.hashing = None;
        if kind == kind::INIT {
            return Ok(());
        }
        let mut fields = Fields(body);
        let id = fields.number()?;
        let pending = match kind {
            kind::WRITE => self.write(&mut fields, length)?,
            _ => self.other_request(kind, &mut fields)?,
        };
        self.names += pending.names();
        self.opening += usize::from(pending.is_open());
        if self.pending.len() >= PENDING_MAX || self.names > NAMES_MAX {
            return Err(LostThread::TooMany);
        }
        match self.pending.insert(id, pending) {
            None => Ok(()),
            Some(_) => Err(LostThread::SameNumber),
        }
    }

    fn other_request(&mut self, kind: u8, fields: &mut Fields<'_>) -> Result<Pending, LostThread> {
        let operation = |action, path, other| Pending::Operation { action, path, other };
        Ok(match kind {
            kind::OPEN => Pending::Open { path: path(fields)?, flags: fields.number()?, is_directory: false },
            kind::OPENDIR => Pending::Open { path: path(fields)?, flags: 0, is_directory: true },
            // The client uses a handle no more, and the server may give it again at once.
            kind::CLOSE => match self.handles.remove(fields.text()?) {
                Some(file) => Pending::Close { file },
                None => self.unknown_handle()?,
            },
            kind::READ => match self.handles.get(fields.text()?) {
                Some(file) => Pending::Read { file: *file },
                None => self.unknown_handle()?,
            },
            kind::SETSTAT => {
                let path = path(fields)?;
                operation(FileAction::SetAttributes(self.new_attributes(fields)?), path, None)
            }
            kind::FSETSTAT => match self.path_of(fields.text()?) {
                Some(path) => operation(FileAction::SetAttributes(self.new_attributes(fields)?), path, None),
                None => self.unknown_handle()?,
            },
            kind::REMOVE => operation(FileAction::Remove, path(fields)?, None),
            kind::MKDIR => operation(FileAction::MakeDirectory, path(fields)?, None),
            kind::RMDIR => operation(FileAction::RemoveDirectory, path(fields)?, None),
            kind::RENAME => operation(FileAction::Rename, path(fields)?, Some(path(fields)?)),
            kind::SYMLINK => {
                // OpenSSH has them in this order, other than the draft (its PROTOCOL, section 4.1), and so have all others.
                let (target, link) = (path(fields)?, path(fields)?);
                operation(FileAction::SymbolicLink, link, Some(target))
            }
            kind::EXTENDED => self.extended(fields)?,
            _ => Pending::Other,
        })
    }

    fn extended(&mut self, fields: &mut Fields<'_>) -> Result<Pending, LostThread> {
        let operation = |action, path, other| Pending::Operation { action, path, other };
        Ok(match fields.text()? {
            b"posix-rename@openssh.com" => operation(FileAction::Rename, path(fields)?, Some(path(fields)?)),
            b"hardlink@openssh.com" => operation(FileAction::HardLink, path(fields)?, Some(path(fields)?)),
            b"lsetstat@openssh.com" => {
                let path = path(fields)?;
                operation(FileAction::SetAttributes(self.new_attributes(fields)?), path, None)
            }
            b"copy-data" => {
                let from = fields.text()?;
                let _range = (fields.long()?, fields.long()?);
                let to = fields.text()?;
                match (self.path_of(from), self.path_of(to)) {
                    (Some(from), Some(path)) => {
                        let target = self.handles.get(to).and_then(|number| self.files.get_mut(number));
                        // The server writes what does not pass here.
                        target.into_iter().for_each(|file| file.hash = None);
                        operation(FileAction::Copy, from, Some(path))
                    }
                    _ => self.unknown_handle()?,
                }
            }
            _ => Pending::Other,
        })
    }

    /// The attributes of a request. One with a size changes what a file holds, and any open file may be the one that it
    /// names: a hash is true behind it only if it is of so many bytes, as scp has a file cut behind its last byte.
    fn new_attributes(&mut self, fields: &mut Fields<'_>) -> Result<NewAttributes, LostThread> {
        let attributes = attributes(fields)?;
        if let Some(size) = attributes.size {
            let others = |file: &&mut OpenFile| file.hash.as_ref().is_some_and(|(_, hashed)| *hashed != size);
            self.files.values_mut().filter(others).for_each(|file| file.hash = None);
        }
        Ok(attributes)
    }

    /// A request with a handle that is not known. While a file is being opened, it may be that file's, guessed by the client,
    /// and what is done with it would be told of no file.
    fn unknown_handle(&self) -> Result<Pending, LostThread> {
        if self.opening == 0 { Ok(Pending::UnknownHandle) } else { Err(LostThread::EarlyHandle) }
    }

    /// Takes the beginning of a write, with the beginning of its data.
    fn write(&mut self, fields: &mut Fields<'_>, length: usize) -> Result<Pending, LostThread> {
        let handle = fields.text()?;
        let (offset, bytes) = (fields.long()?, fields.number()?);
        let before_data = 4 + 4 + handle.len() + 8 + 4;
        if length != before_data + bytes as usize {
            return Err(LostThread::NoPacket);
        }
        let Some(number) = self.handles.get(handle).copied() else { return self.unknown_handle() };
        if let Some(file) = self.files.get_mut(&number) {
            if file.hash.as_ref().is_some_and(|(_, hashed)| *hashed != offset) {
                file.hash = None;
            }
            self.hashing = file.hash.is_some().then_some(number);
            self.hash(fields.0);
        }
        Ok(Pending::Write { file: number, bytes })
    }

    fn hash(&mut self, data: &[u8]) {
        let file = self.hashing.and_then(|number| self.files.get_mut(&number));
        if let Some((hash, hashed)) = file.and_then(|file| file.hash.as_mut()) {
            hash.update(data);
            *hashed += data.len() as u64;
        }
    }

    /// Takes a part of what the guest sends.
    fn reply(&mut self, part: Part<'_>, over: &mut Vec<FileOperation>) -> Result<(), LostThread> {
        let Part::Begin { kind, length, body } = part else { return Ok(()) };
        let mut fields = Fields(body);
        let id = fields.number()?;
        if kind == kind::VERSION {
            return if id == VERSION { Ok(()) } else { Err(LostThread::OtherVersion) };
        }
        let Some(pending) = self.pending.remove(&id) else { return Ok(()) };
        self.names -= pending.names();
        self.opening -= usize::from(pending.is_open());
        let outcome = match kind {
            kind::STATUS => match fields.number()? {
                0 => FileOutcome::Done,
                code => FileOutcome::Failed(code),
            },
            kind::HANDLE | kind::DATA => FileOutcome::Done,
            _ => FileOutcome::Unanswered,
        };
        match pending {
            Pending::Other => {}
            Pending::UnknownHandle if outcome == FileOutcome::Done => return Err(LostThread::UnknownHandle),
            Pending::UnknownHandle => {}
            Pending::Open { path, flags, is_directory } if kind == kind::HANDLE => {
                self.open(fields.text()?, path, (flags, is_directory))?;
            }
            Pending::Open { is_directory: true, .. } => {}
            Pending::Open { path, flags, .. } => {
                let action = FileAction::Open(FileUse { flags, ..FileUse::default() });
                // What gives no handle has opened nothing.
                let outcome = if outcome == FileOutcome::Done { FileOutcome::Unanswered } else { outcome };
                over.push(FileOperation { action, path, other: None, outcome });
            }
            Pending::Close { file } => over.extend(self.close(file, outcome)),
            Pending::Read { file } => {
                if kind == kind::DATA {
                    let bytes = fields.number()?;
                    // More than it says would be read by nobody's count.
                    if length != 4 + 4 + bytes as usize {
                        return Err(LostThread::NoPacket);
                    }
                    let file = self.files.get_mut(&file);
                    file.into_iter().for_each(|file| file.read = file.read.saturating_add(bytes.into()));
                }
            }
            Pending::Write { file, bytes } => {
                if let Some(file) = self.files.get_mut(&file) {
                    if outcome == FileOutcome::Done {
                        file.written = file.written.saturating_add(bytes.into());
                    } else {
                        file.hash = None;
                    }
                }
            }
            Pending::Operation { action, path, other } => over.push(FileOperation { action, path, other, outcome }),
        }
        Ok(())
    }

    fn open(&mut self, handle: &[u8], path: String, (flags, is_directory): (u32, bool)) -> Result<(), LostThread> {
        self.names += path.len() + handle.len();
        if self.files.len() >= OPEN_MAX || self.names > NAMES_MAX {
            return Err(LostThread::TooMany);
        }
        let is_hashed = self.hashes && !is_directory && flags & FileUse::WRITE != 0;
        let file = OpenFile {
            path,
            handle: handle.len(),
            flags,
            is_directory,
            begun: Instant::now(),
            read: 0,
            written: 0,
            hash: is_hashed.then(|| (Context::new(&SHA256), 0)),
        };
        self.opened += 1;
        self.files.insert(self.opened, file);
        // A server that gives a handle twice has two files behind it, of which the second is meant from now on.
        self.handles.insert(handle.into(), self.opened);
        Ok(())
    }

    fn close(&mut self, file: u64, outcome: FileOutcome) -> Option<FileOperation> {
        let file = self.files.remove(&file)?;
        self.names -= file.path.len() + file.handle;
        file.over(outcome)
    }

    fn path_of(&self, handle: &[u8]) -> Option<String> {
        self.files.get(self.handles.get(handle)?).map(|file| file.path.clone())
    }

    /// Operations that were not over, in order.
    fn left(self) -> Vec<FileOperation> {
        let mut files: Vec<_> = self.files.into_iter().collect();
        files.sort_by_key(|(number, _)| *number);
        let files = files.into_iter().filter_map(|(_, file)| file.over(FileOutcome::Unanswered));
        let mut pending: Vec<_> = self.pending.into_iter().collect();
        pending.sort_by_key(|(id, _)| *id);
        let outcome = FileOutcome::Unanswered;
        let operations = pending.into_iter().filter_map(|(_, pending)| match pending {
            Pending::Open { path, flags, is_directory: false } => {
                let action = FileAction::Open(FileUse { flags, ..FileUse::default() });
                Some(FileOperation { action, path, other: None, outcome })
            }
            Pending::Operation { action, path, other } => Some(FileOperation { action, path, other, outcome }),
            _ => None,
        });
        files.chain(operations).collect()
    }
}

impl Pending {
    fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// The bytes of its paths.
    fn names(&self) -> usize {
        match self {
            Self::Open { path, .. } => path.len(),
            Self::Operation { path, other, .. } => path.len() + other.as_ref().map_or(0, String::len),
            Self::Other | Self::UnknownHandle | Self::Close { .. } | Self::Read { .. } | Self::Write { .. } => 0,
        }
    }
}

impl OpenFile {
    /// Its record, unless it is a directory.
    fn over(self, outcome: FileOutcome) -> Option<FileOperation> {
        let Self { path, flags, is_directory, begun, read, written, hash, .. } = self;
        // What the server did not take, or has not answered yet, is not in the file.
        let hash = hash.filter(|(_, hashed)| *hashed == written);
        let sha256 = hash.map(|(hash, _)| HEXLOWER.encode(hash.finish().as_ref()));
        let action = FileAction::Open(FileUse { flags, read, written, duration: begun.elapsed(), sha256 });
        (!is_directory).then_some(FileOperation { action, path, other: None, outcome })
    }
}

/// A path; bytes that are no text are replaced.
fn path(fields: &mut Fields<'_>) -> Result<String, LostThread> {
    fields.text().map(|path| String::from_utf8_lossy(path).into_owned())
}

/// The attributes of a request (section 5).
fn attributes(fields: &mut Fields<'_>) -> Result<NewAttributes, LostThread> {
    let flags = fields.number()?;
    let mut pair = |is_there: bool| {
        if is_there { Ok(Some((fields.number()?, fields.number()?))) } else { Ok(None) }
    };
    let size = pair(flags & 1 != 0)?.map(|(high, low)| u64::from(high) << 32 | u64::from(low));
    let owner = pair(flags & 2 != 0)?;
    let permissions = if flags & 4 != 0 { Some(fields.number()?) } else { None };
    let times = if flags & 8 != 0 { Some((fields.number()?, fields.number()?)) } else { None };
    Ok(NewAttributes { size, owner, permissions, times })
}

/// Follows both directions of a session, in pieces and at once, which must find the same.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(data: &[u8]) {
    let Some((size, stream)) = data.split_first() else { return };
    let (mut whole, mut pieces) = (SftpTrail::new(true), SftpTrail::new(true));
    let mut found = (Vec::new(), Vec::new());
    // Lines of a direction, a length of two bytes, and so many bytes.
    let mut rest = stream;
    while let Some(([direction, a, b], more)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*a, *b])).min(more.len());
        let (part, more) = more.split_at(length);
        rest = more;
        let sender = if direction % 2 == 0 { Sender::Client } else { Sender::Guest };
        found.0.extend(whole.follow(sender, part).0);
        for piece in part.chunks(usize::from(*size).max(1)) {
            found.1.extend(pieces.follow(sender, piece).0);
        }
        assert!(whole.table.names <= NAMES_MAX && whole.table.pending.len() <= PENDING_MAX);
    }
    found.0.extend(whole.end());
    found.1.extend(pieces.end());
    for operation in found.0.iter_mut().chain(&mut found.1) {
        if let FileAction::Open(FileUse { duration, .. }) = &mut operation.action {
            *duration = std::time::Duration::ZERO;
        }
    }
    assert_eq!(found.0, found.1);
}

#[cfg(test)]
mod tests;
