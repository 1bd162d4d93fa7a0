//! Requests about files and paths.

use super::packet::Reply;
use super::status::Status;
use super::{Answer, kind};
use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Links that are followed, as by the system.
const MAX_LINKS: usize = 40;

pub(super) fn stat(id: u32, path: &[u8]) -> Answer {
    Ok(Reply::new(kind::ATTRS, id).attributes(&rustix::fs::stat(path)?))
}

pub(super) fn lstat(id: u32, path: &[u8]) -> Answer {
    Ok(Reply::new(kind::ATTRS, id).attributes(&rustix::fs::lstat(path)?))
}

/// Reads up to the buffer's length; fewer bytes only at the end of the file, or where the system has no more now.
pub(super) fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    loop {
        match rustix::io::pread(file, &mut *buffer, offset) {
            // A pipe or a terminal has no offsets.
            Err(Errno::SPIPE) => return rustix::io::read(file, buffer),
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Writes all of the data at an offset.
pub(super) fn write_all_at(file: BorrowedFd<'_>, mut data: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !data.is_empty() {
        let written = match rustix::io::pwrite(file, data, offset) {
            Err(Errno::INTR) => 0,
            Err(Errno::SPIPE) => rustix::io::write(file, data)?,
            other => other?,
        };
        data = &data[written..];
        offset += written as u64;
    }
    Ok(())
}

/// The path without links, `.` and `..`. Its last part need not exist.
pub(super) fn real_path(id: u32, path: &[u8]) -> Answer {
    let path = if path.is_empty() { b"." } else { path };
    Ok(Reply::name(id, &resolved(Path::new(OsStr::from_bytes(path)))?))
}

/// The bytes of [`real_path`].
pub(super) fn resolved(path: &Path) -> Result<Vec<u8>, Status> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::canonicalize(&path) {
            Ok(found) => return Ok(found.into_os_string().into_vec()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(status(&error)) };
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                let parent = fs::canonicalize(parent).map_err(|error| status(&error))?;
                match fs::read_link(parent.join(name)) {
                    // A link to what is not there.
                    Ok(target) => path = parent.join(target),
                    Err(_) => return Ok(parent.join(name).into_os_string().into_vec()),
                }
            }
            Err(error) => return Err(status(&error)),
        }
    }
    Err(Errno::LOOP.into())
}

fn status(error: &io::Error) -> Status {
    error.raw_os_error().map_or(Status::Failure, |code| Errno::from_raw_os_error(code).into())
}

pub(super) fn read_link(id: u32, path: &[u8]) -> Answer {
    let target = rustix::fs::readlink(path, Vec::new())?;
    Ok(Reply::name(id, target.as_bytes()))
}

/// Renames, but not over a file that is there (the draft's meaning; `posix-rename@openssh.com` has rename(2)'s).
pub(super) fn rename(from: &[u8], to: &[u8]) -> Result<(), Status> {
    let is_file = FileType::from_raw_mode(rustix::fs::lstat(from)?.st_mode) == FileType::RegularFile;
    if !is_file {
        // No system call renames a directory without a race; OpenSSH's server looks first, too.
        return match rustix::fs::stat(to) {
            Err(_) => Ok(rustix::fs::rename(from, to)?),
            Ok(_) => Err(Status::Failure),
        };
    }
    match rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()) {
        Ok(()) => Ok(rustix::fs::unlink(from)?),
        // A file system without hard links.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::XDEV | Errno::MLINK) => match rustix::fs::stat(to) {
            Err(Errno::NOENT) => Ok(rustix::fs::rename(from, to)?),
            _ => Err(Status::Failure),
        },
        Err(error) => Err(error.into()),
    }
}
