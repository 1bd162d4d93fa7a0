//! An SFTP server, version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions, on standard input and output. It
//! answers as OpenSSH's sftp-server does; a test asks both the same.
//!
//! Invariants: requests are answered in their order; no packet is larger than [`MAX_PACKET`]; paths are bytes; whatever a
//! client sends, only a broken packet ends the server.

mod attributes;
mod directory;
mod extended;
mod files;
mod handles;
mod packet;
mod status;

use crate::command_line::{Arguments, WrongArgument, complain, unknown};
use handles::Handles;
use packet::{Fields, Reply};
use rustix::io::Errno;
use status::Status;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

/// Largest packet, in bytes without its length.
const MAX_PACKET: usize = 256 * 1024;
/// Most bytes of one read or write, which leave room for the rest of the packet.
const MAX_TRANSFER: usize = MAX_PACKET - 1024;
/// Bytes that are read or written at a time.
const BUFFER: usize = 512 * 1024;
/// The version that is spoken.
const VERSION: u32 = 3;
/// Exit code after a broken packet or a failed write.
const BROKEN: u8 = 1;

/// Types of packets, as numbers on the wire.
mod kind {
    pub(super) const INIT: u8 = 1;
    pub(super) const VERSION: u8 = 2;
    pub(super) const OPEN: u8 = 3;
    pub(super) const CLOSE: u8 = 4;
    pub(super) const READ: u8 = 5;
    pub(super) const WRITE: u8 = 6;
    pub(super) const LSTAT: u8 = 7;
    pub(super) const FSTAT: u8 = 8;
    pub(super) const SETSTAT: u8 = 9;
    pub(super) const FSETSTAT: u8 = 10;
    pub(super) const OPENDIR: u8 = 11;
    pub(super) const READDIR: u8 = 12;
    pub(super) const REMOVE: u8 = 13;
    pub(super) const MKDIR: u8 = 14;
    pub(super) const RMDIR: u8 = 15;
    pub(super) const REALPATH: u8 = 16;
    pub(super) const STAT: u8 = 17;
    pub(super) const RENAME: u8 = 18;
    pub(super) const READLINK: u8 = 19;
    pub(super) const SYMLINK: u8 = 20;
    pub(super) const STATUS: u8 = 101;
    pub(super) const HANDLE: u8 = 102;
    pub(super) const DATA: u8 = 103;
    pub(super) const NAME: u8 = 104;
    pub(super) const ATTRS: u8 = 105;
    pub(super) const EXTENDED: u8 = 200;
    pub(super) const EXTENDED_REPLY: u8 = 201;
}

/// Serves until the end of the input.
pub(crate) fn run(mut arguments: Arguments) -> Result<u8, WrongArgument> {
    if let Some(argument) = arguments.next() {
        return Err(unknown(&argument));
    }
    match serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => Ok(0),
        Err(error) => {
            complain(&format!("sftp: {error}"));
            Ok(BROKEN)
        }
    }
}

/// The end of a server.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// A packet that cannot be read on: where the next one begins is not known.
    #[error("a packet of {0} bytes")]
    PacketLength(usize),
    /// A packet without an id or fields that it must have.
    #[error("a malformed packet")]
    Malformed,
    /// The system refused a read or a write.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves requests from one stream with replies to another.
fn serve(input: impl Read, output: impl Write) -> Result<(), ServeError> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let mut output = BufWriter::with_capacity(BUFFER, output);
    let mut server = Server { handles: Handles::default(), scratch: Vec::new() };
    let mut packet = Vec::new();
    loop {
        if input.buffer().is_empty() {
            // Nothing more has come: what was answered goes out before the next wait.
            output.flush()?;
        }
        if !read_packet(&mut input, &mut packet)? {
            return Ok(output.flush()?);
        }
        if let Some(reply) = server.answer(&packet)? {
            output.write_all(&reply.finish())?;
        }
    }
}

/// Reads a packet without its length. Returns false at the end of the input.
fn read_packet(input: &mut impl BufRead, packet: &mut Vec<u8>) -> Result<bool, ServeError> {
    if input.fill_buf()?.is_empty() {
        return Ok(false);
    }
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > MAX_PACKET {
        return Err(ServeError::PacketLength(length));
    }
    packet.resize(length, 0);
    input.read_exact(packet)?;
    Ok(true)
}

/// The state of one server.
struct Server {
    handles: Handles,
    /// Memory for the data of reads.
    scratch: Vec<u8>,
}

/// The reply to a request, or the status that stands for it.
type Answer = Result<Reply, Status>;

impl Server {
    /// Answers a packet. `None` for a type that has no answer.
    fn answer(&mut self, packet: &[u8]) -> Result<Option<Reply>, ServeError> {
        let mut fields = Fields::new(packet);
        let kind = fields.byte().map_err(|_| ServeError::Malformed)?;
        if kind == kind::INIT {
            fields.number().map_err(|_| ServeError::Malformed)?;
            return Ok(Some(extended::version()));
        }
        let id = fields.number().map_err(|_| ServeError::Malformed)?;
        let answer = self.perform(kind, id, &mut fields);
        match answer {
            Ok(reply) => Ok(Some(reply)),
            // What follows in the packet cannot be found: OpenSSH's server ends, too.
            Err(Status::Malformed) => Err(ServeError::Malformed),
            Err(status) => Ok(Some(Reply::status(id, status))),
        }
    }

    fn perform(&mut self, kind: u8, id: u32, fields: &mut Fields<'_>) -> Answer {
        let done = |result: Result<(), Errno>| result.map(|()| Reply::status(id, Status::Ok)).map_err(Status::from);
        match kind {
            kind::OPEN => self.open(id, fields),
            kind::CLOSE => done(self.handles.close(fields.text()?)),
            kind::READ => self.read(id, fields),
            kind::WRITE => self.write(id, fields),
            kind::LSTAT => files::lstat(id, fields.text()?),
            kind::STAT => files::stat(id, fields.text()?),
            kind::FSTAT => self.fstat(id, fields.text()?),
            kind::SETSTAT => {
                let (path, attributes) = (fields.text()?, fields.attributes()?);
                done(attributes.apply_to_path(path))
            }
            kind::FSETSTAT => {
                let (handle, attributes) = (fields.text()?, fields.attributes()?);
                done(self.handles.any(handle).and_then(|file| attributes.apply_to_file(file)))
            }
            kind::OPENDIR => {
                let handle = self.handles.open_directory(fields.text()?)?;
                Ok(Reply::new(kind::HANDLE, id).text(&handle))
            }
            kind::READDIR => {
                let handle = fields.text()?;
                directory::read(id, self.handles.directory(handle).map_err(|_| Status::Failure)?)
            }
            kind::REMOVE => done(rustix::fs::unlink(fields.text()?)),
            kind::MKDIR => {
                let (path, attributes) = (fields.text()?, fields.attributes()?);
                done(rustix::fs::mkdir(path, attributes.mode_or(0o777)))
            }
            kind::RMDIR => done(rustix::fs::rmdir(fields.text()?)),
            kind::REALPATH => files::real_path(id, fields.text()?),
            kind::RENAME => {
                let (from, to) = (fields.text()?, fields.text()?);
                files::rename(from, to).map(|()| Reply::status(id, Status::Ok))
            }
            kind::READLINK => files::read_link(id, fields.text()?),
            kind::SYMLINK => {
                // OpenSSH's order, which every client knows: the target first.
                let (target, path) = (fields.text()?, fields.text()?);
                done(rustix::fs::symlink(target, path))
            }
            kind::EXTENDED => self.extended(id, fields),
            _ => Err(Status::Unsupported),
        }
    }

    fn open(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let (path, flags, attributes) = (fields.text()?, fields.number()?, fields.attributes()?);
        let handle = self.handles.open_file(path, flags, attributes.mode_or(0o666))?;
        Ok(Reply::new(kind::HANDLE, id).text(&handle))
    }

    fn read(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let (handle, offset, length) = (fields.text()?, fields.long()?, fields.number()?);
        let file = self.handles.file(handle).map_err(|_| Status::Failure)?;
        self.scratch.resize((length as usize).min(MAX_TRANSFER), 0);
        // As OpenSSH's server, which reads nothing where nothing is wanted, at the file's end, too.
        let length = match length {
            0 => 0,
            _ => match files::read_at(file, &mut self.scratch, offset)? {
                0 => return Err(Status::EndOfFile),
                length => length,
            },
        };
        Ok(Reply::new(kind::DATA, id).text(&self.scratch[..length]))
    }

    fn write(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let (handle, offset, data) = (fields.text()?, fields.long()?, fields.text()?);
        let file = self.handles.file(handle).map_err(|_| Status::Failure)?;
        files::write_all_at(file, data, offset)?;
        Ok(Reply::status(id, Status::Ok))
    }

    fn fstat(&mut self, id: u32, handle: &[u8]) -> Answer {
        let stat = rustix::fs::fstat(self.handles.any(handle)?)?;
        Ok(Reply::new(kind::ATTRS, id).attributes(&stat))
    }
}

/// Requests that change no file, whatever their fields: each is the number of its type in a list, a length, and its fields.
/// Every reply is a packet that a client takes.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(data: &[u8]) {
    // FSETSTAT is none of them: a directory that is open would get other attributes.
    const HARMLESS: [u8; 11] = [
        kind::INIT,
        kind::CLOSE,
        kind::READ,
        kind::WRITE,
        kind::LSTAT,
        kind::FSTAT,
        kind::OPENDIR,
        kind::READDIR,
        kind::REALPATH,
        kind::STAT,
        kind::READLINK,
    ];
    let (mut server, mut rest) = (Server { handles: Handles::default(), scratch: Vec::new() }, data);
    while let [number, length, after @ ..] = rest {
        let (fields, after) = after.split_at(usize::from(*length).min(after.len()));
        let kind = HARMLESS.get(usize::from(*number) % (HARMLESS.len() + 1)).copied().unwrap_or(kind::EXTENDED);
        let named = |name: &[u8]| fields.get(8..8 + name.len()) == Some(name);
        let changes = [&b"posix-rename"[..], b"hardlink", b"lsetstat"].iter().any(|name| named(name));
        if kind != kind::EXTENDED || !changes {
            match server.answer(&[&[kind][..], fields].concat()) {
                Ok(Some(reply)) => {
                    let reply = reply.finish();
                    let length = reply.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
                    assert!(length + 4 == reply.len() && length <= MAX_PACKET, "{length} bytes");
                }
                Ok(None) => {}
                Err(_broken) => return,
            }
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests;
