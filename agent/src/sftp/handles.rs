//! Open files and directories by their handles.

use crate::login::Names;
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};

/// Handles that may be open at once.
pub(super) const MAX_HANDLES: usize = 1000;

const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREATE: u32 = 8;
const TRUNCATE: u32 = 16;
const EXCLUSIVE: u32 = 32;

/// Everything that is open.
#[derive(Default)]
pub(super) struct Handles {
    open: Vec<Option<Open>>,
    /// The names that the open directories share: a thousand of them do not hold a thousand passwd files.
    names: Weak<Names>,
}

enum Open {
    File(OwnedFd),
    Directory(Directory),
}

/// A directory that is being listed.
pub(super) struct Directory {
    pub(super) descriptor: OwnedFd,
    pub(super) entries: Dir,
    /// For the lines of its entries.
    pub(super) names: Rc<Names>,
}

impl Handles {
    /// Opens a file with the flags of a request.
    pub(super) fn open_file(&mut self, path: &[u8], flags: u32, mode: Mode) -> Result<[u8; 4], Errno> {
        let file = rustix::fs::open(path, open_flags(flags), mode)?;
        self.keep(Open::File(file))
    }

    /// Opens a directory and gives it a handle.
    pub(super) fn open_directory(&mut self, path: &[u8]) -> Result<[u8; 4], Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty())?;
        let entries = Dir::read_from(&descriptor)?;
        let names = self.names.upgrade().unwrap_or_else(|| Rc::new(Names::read()));
        self.names = Rc::downgrade(&names);
        self.keep(Open::Directory(Directory { descriptor, entries, names }))
    }

    fn keep(&mut self, open: Open) -> Result<[u8; 4], Errno> {
        let place = match self.open.iter().position(Option::is_none) {
            Some(place) => place,
            None if self.open.len() < MAX_HANDLES => {
                self.open.push(None);
                self.open.len() - 1
            }
            None => return Err(Errno::MFILE),
        };
        self.open[place] = Some(open);
        Ok(u32::try_from(place).unwrap_or(u32::MAX).to_be_bytes())
    }

    fn find(&mut self, handle: &[u8]) -> Result<&mut Option<Open>, Errno> {
        let number = handle.try_into().map(u32::from_be_bytes).map_err(|_| Errno::BADF)?;
        self.open.get_mut(number as usize).filter(|open| open.is_some()).ok_or(Errno::BADF)
    }

    /// Finds an open file.
    pub(super) fn file(&mut self, handle: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        match self.find(handle)? {
            Some(Open::File(file)) => Ok(OwnedFd::as_fd(file)),
            _ => Err(Errno::BADF),
        }
    }

    /// Finds an open directory.
    pub(super) fn directory(&mut self, handle: &[u8]) -> Result<&mut Directory, Errno> {
        match self.find(handle)? {
            Some(Open::Directory(directory)) => Ok(directory),
            _ => Err(Errno::BADF),
        }
    }

    /// Finds an open file or directory.
    pub(super) fn any(&mut self, handle: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        match self.find(handle)? {
            Some(Open::File(file)) => Ok(OwnedFd::as_fd(file)),
            Some(Open::Directory(directory)) => Ok(OwnedFd::as_fd(&directory.descriptor)),
            None => Err(Errno::BADF),
        }
    }

    pub(super) fn close(&mut self, handle: &[u8]) -> Result<(), Errno> {
        *self.find(handle)? = None;
        Ok(())
    }
}

fn open_flags(flags: u32) -> OFlags {
    let mut open = match flags & (READ | WRITE) {
        WRITE => OFlags::WRONLY,
        both if both == READ | WRITE => OFlags::RDWR,
        _ => OFlags::RDONLY,
    };
    for (flag, meant) in
        [(APPEND, OFlags::APPEND), (CREATE, OFlags::CREATE), (TRUNCATE, OFlags::TRUNC), (EXCLUSIVE, OFlags::EXCL)]
    {
        open.set(meant, flags & flag != 0);
    }
    open | OFlags::CLOEXEC | OFlags::NOCTTY
}
