//! File attributes (draft section 5): read from requests, applied to files, and written of what the system says.

use super::packet::Fields;
use super::status::Status;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;
/// Bits of a mode that can be changed.
const MODE: u32 = 0o7777;

/// Attributes of a request; those that are not there are not changed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Attributes {
    size: Option<u64>,
    owner: Option<(u32, u32)>,
    mode: Option<u32>,
    /// Seconds since 1970: of access and of modification.
    times: Option<(u32, u32)>,
}

impl Attributes {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Status> {
        let flags = fields.number()?;
        let mut attributes = Self::default();
        if flags & SIZE != 0 {
            attributes.size = Some(fields.long()?);
        }
        if flags & OWNER != 0 {
            attributes.owner = Some((fields.number()?, fields.number()?));
        }
        if flags & PERMISSIONS != 0 {
            attributes.mode = Some(fields.number()?);
        }
        if flags & TIMES != 0 {
            attributes.times = Some((fields.number()?, fields.number()?));
        }
        if flags & EXTENDED != 0 {
            for _ in 0..fields.number()? {
                fields.text()?;
                fields.text()?;
            }
        }
        Ok(attributes)
    }

    /// The mode of a file that is made.
    pub(super) fn mode_or(&self, default: u32) -> Mode {
        Mode::from_raw_mode(self.mode.unwrap_or(default) & MODE)
    }

    /// Changes the file of a path; links are followed. What can be changed is, even after an error.
    pub(super) fn apply_to_path(&self, path: &[u8]) -> Result<(), Errno> {
        let size = self.size.map(|size| {
            let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).and_then(|file| rustix::fs::ftruncate(file, size))
        });
        let mode = self.mode.map(|_| rustix::fs::chmod(path, self.mode_or(0)));
        let times = self.timestamps().map(|times| rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()));
        let owner = self.owner.map(|(user, group)| rustix::fs::chown(path, owner(user), self::group(group)));
        last_error([size, mode, times, owner])
    }

    /// Changes an open file.
    pub(super) fn apply_to_file(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let size = self.size.map(|size| rustix::fs::ftruncate(file, size));
        let mode = self.mode.map(|_| rustix::fs::fchmod(file, self.mode_or(0)));
        let times = self.timestamps().map(|times| rustix::fs::futimens(file, &times));
        let owner = self.owner.map(|(user, group)| rustix::fs::fchown(file, owner(user), self::group(group)));
        last_error([size, mode, times, owner])
    }

    /// Changes a link itself.
    ///
    /// # Errors
    /// A link has no size.
    pub(super) fn apply_to_link(&self, path: &[u8]) -> Result<(), Status> {
        let follow = AtFlags::SYMLINK_NOFOLLOW;
        let mode = self.mode.map(|_| rustix::fs::chmodat(CWD, path, self.mode_or(0), follow));
        let times = self.timestamps().map(|times| rustix::fs::utimensat(CWD, path, &times, follow));
        let owner =
            self.owner.map(|(user, group)| rustix::fs::chownat(CWD, path, owner(user), self::group(group), follow));
        let changed = last_error([mode, times, owner]);
        if self.size.is_some() { Err(Status::BadMessage) } else { changed.map_err(Status::from) }
    }

    fn timestamps(&self) -> Option<Timestamps> {
        let time = |seconds: u32| Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
        self.times.map(|(access, change)| Timestamps { last_access: time(access), last_modification: time(change) })
    }
}

fn owner(id: u32) -> Option<Uid> {
    Some(Uid::from_raw(id))
}

fn group(id: u32) -> Option<Gid> {
    Some(Gid::from_raw(id))
}

fn last_error<const N: usize>(results: [Option<Result<(), Errno>>; N]) -> Result<(), Errno> {
    results.into_iter().rev().flatten().find(Result::is_err).unwrap_or(Ok(()))
}

/// Writes what the system says about a file.
pub(super) fn write(into: &mut Vec<u8>, stat: &Stat) {
    let number = |value: i64| u32::try_from(value).unwrap_or(0).to_be_bytes();
    into.extend_from_slice(&(SIZE | OWNER | PERMISSIONS | TIMES).to_be_bytes());
    into.extend_from_slice(&u64::try_from(stat.st_size).unwrap_or(0).to_be_bytes());
    into.extend_from_slice(&stat.st_uid.to_be_bytes());
    into.extend_from_slice(&stat.st_gid.to_be_bytes());
    into.extend_from_slice(&stat.st_mode.to_be_bytes());
    into.extend_from_slice(&number(stat.st_atime));
    into.extend_from_slice(&number(stat.st_mtime));
}
