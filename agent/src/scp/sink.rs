//! The side that takes files.

use super::record::{Record, RecordError};
use super::wire::Wire;
use super::{Ended, Options, say};
use crate::command_line::text;
use rustix::fs::{AtFlags, CWD, Mode, Timestamps, utimensat};
use rustix::io::Errno;
use rustix::process::umask;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The bits beside the rights: to run as the file's owner or group, and the sticky one.
const SPECIAL: u32 = 0o7000;
/// The owner's rights, which a directory has while it is filled, and the right to write, which a file has.
const OWNER: u32 = 0o700;
const OWNER_WRITES: u32 = 0o200;

/// Takes what the peer gives, into a directory or as a file.
pub(super) fn take(wire: &mut Wire<impl Read, impl Write>, options: Options, target: &Path) -> Result<(), Ended> {
    // With -p, modes are kept as they are.
    let mask = umask(Mode::empty());
    if !options.preserve {
        umask(mask);
    }
    let mut sink = Sink { wire, options, mask: mask.as_raw_mode() };
    sink.take(target)
}

struct Sink<'a, R: Read, W: Write> {
    wire: &'a mut Wire<R, W>,
    options: Options,
    /// Rights that new files do not get.
    mask: u32,
}

impl<R: Read, W: Write> Sink<'_, R, W> {
    /// Takes the entries of one directory, or of the whole transfer, to its end.
    fn take(&mut self, target: &Path) -> Result<(), Ended> {
        if self.options.to_directory
            && let Err(error) = is_directory(target)
        {
            self.tell(target, &error)?;
            return Err(Ended::Told);
        }
        self.wire.yes()?;
        let into = target.is_dir();
        let (mut first, mut times) = (true, None);
        while let Some(line) = self.wire.line()? {
            say(self.options, &format!("Sink: {}", line.escape_ascii()));
            let record = Record::parse(&line, std::mem::take(&mut first));
            let path = |name: &[u8]| if into { target.join(OsStr::from_bytes(name)) } else { target.to_owned() };
            match record.map_err(|error| self.refuse(&error))? {
                Record::Error { fatal: true } => return Err(Ended::Told),
                Record::Error { fatal: false } => self.wire.note_error(),
                Record::End => return self.wire.yes(),
                Record::Times { accessed, modified } => {
                    times = Some(Timestamps { last_access: accessed, last_modification: modified });
                    self.wire.yes()?;
                }
                Record::Directory { .. } if !self.options.recursive => {
                    return self.wire.fail("protocol error: received directory without -r");
                }
                Record::Directory { mode, name } => {
                    self.take_directory(&path(&name), self.allowed(mode), &mut times)?
                }
                Record::File { mode, size, name } => {
                    self.take_file(&path(&name), self.allowed(mode), size, &mut times)?;
                }
            }
        }
        Ok(())
    }

    /// The mode that a file gets. Nothing runs as its owner unless that is asked for.
    fn allowed(&self, mode: u32) -> u32 {
        if self.options.preserve { mode } else { mode & !self.mask & !SPECIAL }
    }

    /// Tells why a line was refused.
    fn refuse(&mut self, error: &RecordError) -> Ended {
        match self.wire.error(&error.to_string()) {
            Ok(()) => Ended::Told,
            Err(error) => error.into(),
        }
    }

    fn tell(&mut self, path: &Path, error: &io::Error) -> Result<(), Ended> {
        Ok(self.wire.error_bytes(&[path.as_os_str().as_bytes(), b": ", text(error).as_bytes()].concat())?)
    }

    fn take_directory(&mut self, path: &Path, mode: u32, times: &mut Option<Timestamps>) -> Result<(), Ended> {
        let mut set_mode = self.options.preserve;
        let made = match fs::metadata(path) {
            Ok(found) if !found.is_dir() => Err(Errno::NOTDIR.into()),
            Ok(_) if self.options.preserve => {
                // Said at the end, where it matters.
                let _ = fs::set_permissions(path, Permissions::from_mode(mode));
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(_) => {
                // A directory that cannot be written is filled all the same.
                set_mode = true;
                fs::DirBuilder::new().mode(mode | OWNER).create(path)
            }
        };
        if let Err(error) = made {
            return self.tell(path, &error);
        }
        self.take(path)?;
        // As OpenSSH's scp, which does not look at these.
        if let Some(times) = times.take() {
            let _ = utimensat(CWD, path, &times, AtFlags::empty());
        }
        if set_mode {
            let _ = fs::set_permissions(path, Permissions::from_mode(mode));
        }
        Ok(())
    }

    fn take_file(&mut self, path: &Path, mode: u32, size: u64, times: &mut Option<Timestamps>) -> Result<(), Ended> {
        let before = fs::metadata(path);
        let created = mode | OWNER_WRITES;
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(created).open(path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) => return self.tell(path, &error),
        };
        self.wire.yes()?;
        let mut failed = self.fill(&mut file, size)?.map(|error| text(&error));
        let written = failed.is_none();
        let mut note = |what: &str, result: io::Result<()>| {
            if let Err(error) = result {
                failed.get_or_insert_with(|| format!("{what}{}", text(&error)));
            }
        };
        if written && before.as_ref().map_or(true, fs::Metadata::is_file) {
            note("truncate: ", file.set_len(size));
        }
        let changes = created != mode;
        if if self.options.preserve { before.is_ok() || changes } else { before.is_err() && changes } {
            note("set mode: ", file.set_permissions(Permissions::from_mode(mode)));
        }
        drop(file);
        // The peer's own result: its errors are noted.
        self.wire.answer()?;
        if written && let Some(times) = times.take() {
            let set = utimensat(CWD, path, &times, AtFlags::empty());
            note("set times: ", set.map_err(io::Error::from));
        }
        match failed {
            None => self.wire.yes(),
            Some(reason) => {
                Ok(self.wire.error_bytes(&[path.as_os_str().as_bytes(), b": ", reason.as_bytes()].concat())?)
            }
        }
    }

    /// Writes the data of a file, and reads it to its end even if it cannot be written. Returns the first failure.
    fn fill(&mut self, file: &mut File, size: u64) -> Result<Option<io::Error>, Ended> {
        let (mut left, mut failed) = (size, None);
        if left > 0 {
            self.wire.flush()?;
        }
        while left > 0 {
            let data = match self.wire.data(left) {
                Ok(data) => data,
                // The words of OpenSSH's scp.
                Err(_) => return self.wire.fail(&text(&Errno::PIPE.into())),
            };
            if failed.is_none() {
                failed = file.write_all(data).err();
            }
            let length = data.len();
            self.wire.consume(length);
            left -= length as u64;
        }
        Ok(failed)
    }
}

fn is_directory(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() { Ok(()) } else { Err(Errno::NOTDIR.into()) }
}
