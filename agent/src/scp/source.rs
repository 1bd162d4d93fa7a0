//! The side that gives files.

use super::wire::Wire;
use super::{Ended, Options, say};
use crate::command_line::text;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bits of a mode that are told.
const MODE: u32 = 0o7777;
/// Bytes that are read at a time.
const BUFFER: usize = 64 * 1024;

/// Gives files, and directories where that was asked for.
pub(super) fn give(wire: &mut Wire<impl Read, impl Write>, options: Options, paths: &[PathBuf]) -> Result<(), Ended> {
    // The taking side begins.
    wire.answer()?;
    let mut source = Source { wire, options, buffer: vec![0; BUFFER] };
    paths.iter().try_for_each(|path| source.give(without_slashes(path)))
}

/// A path without the slashes at its end.
fn without_slashes(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(1, |last| last + 1);
    Path::new(OsStr::from_bytes(bytes.get(..end).unwrap_or_default()))
}

struct Source<'a, R: Read, W: Write> {
    wire: &'a mut Wire<R, W>,
    options: Options,
    buffer: Vec<u8>,
}

impl<R: Read, W: Write> Source<'_, R, W> {
    fn give(&mut self, path: &Path) -> Result<(), Ended> {
        // A pipe without a writer would not be opened before there is one.
        let opened = OpenOptions::new().read(true).custom_flags(nonblocking()).open(path);
        let (file, found) = match opened.and_then(|file| file.metadata().map(|found| (file, found))) {
            Ok(opened) => opened,
            Err(error) => return self.tell(path, &text(&error)),
        };
        if found.is_dir() && self.options.recursive {
            return self.give_directory(path, &found);
        }
        if !found.is_file() {
            return self.tell(path, "not a regular file");
        }
        if self.options.preserve && !self.give_times(&found)? {
            return Ok(());
        }
        let head = [format!("C{:04o} {} ", mode(&found), found.len()).as_bytes(), &name(path), b"\n"].concat();
        say(self.options, &format!("Sending file modes: {}", head.trim_ascii_end().escape_ascii()));
        self.wire.write(&head)?;
        if !self.wire.answer()? {
            return Ok(());
        }
        match self.give_data(file, found.len())? {
            None => self.wire.yes()?,
            Some(error) => self.tell(path, &text(&error))?,
        }
        self.wire.answer().map(drop)
    }

    /// Gives as many bytes as were promised: zeros where the file has become shorter or cannot be read. Returns the failure.
    fn give_data(&mut self, mut file: File, size: u64) -> Result<Option<io::Error>, Ended> {
        let (mut left, mut failed) = (size, None);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let read = match &failed {
                Some(_) => Ok(0),
                None => file.read(&mut self.buffer[..most]),
            };
            let length = match read {
                Ok(length) if length > 0 => length,
                other => {
                    // The words of OpenSSH's scp for a file that ends too early.
                    let early = || other.err().unwrap_or_else(|| rustix::io::Errno::PIPE.into());
                    failed.get_or_insert_with(early);
                    self.buffer[..most].fill(0);
                    most
                }
            };
            self.wire.write(&self.buffer[..length])?;
            left -= length as u64;
        }
        Ok(failed)
    }

    fn give_directory(&mut self, path: &Path, found: &Metadata) -> Result<(), Ended> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.tell(path, &text(&error)),
        };
        if self.options.preserve && !self.give_times(found)? {
            return Ok(());
        }
        let head = [format!("D{:04o} 0 ", mode(found)).as_bytes(), &name(path), b"\n"].concat();
        say(self.options, &format!("Entering directory: {}", head.trim_ascii_end().escape_ascii()));
        self.wire.write(&head)?;
        if !self.wire.answer()? {
            return Ok(());
        }
        // As OpenSSH's scp, which takes an entry that cannot be read for the end.
        for entry in entries.map_while(Result::ok) {
            self.give(&path.join(entry.file_name()))?;
        }
        self.wire.write(b"E\n")?;
        self.wire.answer().map(drop)
    }

    fn give_times(&mut self, found: &Metadata) -> Result<bool, Ended> {
        let (modified, accessed) = (found.mtime().max(0), found.atime().max(0));
        self.wire.write(format!("T{modified} 0 {accessed} 0\n").as_bytes())?;
        self.wire.answer()
    }

    fn tell(&mut self, path: &Path, reason: &str) -> Result<(), Ended> {
        Ok(self.wire.error_bytes(&[&shown(path.as_os_str().as_bytes())[..], b": ", reason.as_bytes()].concat())?)
    }
}

fn mode(found: &Metadata) -> u32 {
    found.permissions().mode() & MODE
}

/// The last part of a path, which may be `.` or `..`.
fn name(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    shown(&bytes[start..])
}

/// A name in a line: a newline would end it, and is written as by OpenSSH's scp.
fn shown(name: &[u8]) -> Vec<u8> {
    if !name.contains(&b'\n') {
        return name.to_vec();
    }
    let shown = |byte: &u8| match byte {
        b'\n' => b"\\^J".to_vec(),
        b'\\' => b"\\\\".to_vec(),
        other => vec![*other],
    };
    name.iter().flat_map(shown).collect()
}

fn nonblocking() -> i32 {
    i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0)
}
