//! OpenSSH's extensions (its PROTOCOL file, section 4): the list in the greeting, and the requests.

use super::handles::MAX_HANDLES;
use super::packet::{Fields, Reply};
use super::status::Status;
use super::{Answer, MAX_PACKET, MAX_TRANSFER, Server, VERSION, files, kind};
use crate::login::{self, Names};
use rustix::fs::{AtFlags, CWD, StatVfs, StatVfsMountFlags};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Extensions and their versions.
const EXTENSIONS: [(&str, &str); 11] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
    ("copy-data", "1"),
    ("home-directory", "1"),
    ("users-groups-by-id@openssh.com", "1"),
];
/// Flags of a file system in a statvfs reply.
const READ_ONLY: u64 = 1;
const NO_SETUID: u64 = 2;

/// The greeting, with the extensions that are served.
pub(super) fn version() -> Reply {
    EXTENSIONS
        .iter()
        .fold(Reply::version(VERSION), |reply, (name, version)| reply.text(name.as_bytes()).text(version.as_bytes()))
}

impl Server {
    /// Answers an extended request.
    pub(super) fn extended(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let ok = Reply::status(id, Status::Ok);
        match fields.text()? {
            b"posix-rename@openssh.com" => {
                let (from, to) = (fields.text()?, fields.text()?);
                rustix::fs::rename(from, to)?;
                Ok(ok)
            }
            b"statvfs@openssh.com" => Ok(file_system(id, &rustix::fs::statvfs(fields.text()?)?)),
            b"fstatvfs@openssh.com" => {
                let file = self.handles.any(fields.text()?)?;
                Ok(file_system(id, &rustix::fs::fstatvfs(file)?))
            }
            b"hardlink@openssh.com" => {
                let (from, to) = (fields.text()?, fields.text()?);
                rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())?;
                Ok(ok)
            }
            b"fsync@openssh.com" => {
                rustix::fs::fsync(self.handles.file(fields.text()?)?)?;
                Ok(ok)
            }
            b"lsetstat@openssh.com" => {
                let (path, attributes) = (fields.text()?, fields.attributes()?);
                attributes.apply_to_link(path)?;
                Ok(ok)
            }
            b"limits@openssh.com" => {
                let limits = [MAX_PACKET, MAX_TRANSFER, MAX_TRANSFER, MAX_HANDLES];
                Ok(limits.iter().fold(Reply::new(kind::EXTENDED_REPLY, id), |reply, limit| reply.long(*limit as u64)))
            }
            b"expand-path@openssh.com" => expand_path(id, fields.text()?),
            b"copy-data" => self.copy(fields).map(|()| ok),
            b"home-directory" => match login::home_of(OsStr::from_bytes(fields.text()?)) {
                Some(home) => Ok(Reply::name(id, home.as_bytes())),
                None => Err(Status::Failure),
            },
            b"users-groups-by-id@openssh.com" => names(id, fields),
            _ => Err(Status::Unsupported),
        }
    }

    /// `copy-data` (draft-ietf-secsh-filexfer-extensions-00 section 7): a length of 0 is up to the end.
    fn copy(&mut self, fields: &mut Fields<'_>) -> Result<(), Status> {
        let (from, mut read_at, length) = (fields.text()?, fields.long()?, fields.long()?);
        let (to, mut write_at) = (fields.text()?, fields.long()?);
        if from == to {
            // The draft forbids ranges that overlap; OpenSSH's server refuses one file altogether.
            return Err(Status::Failure);
        }
        let source = rustix::io::dup(self.handles.file(from)?)?;
        let target: OwnedFd = rustix::io::dup(self.handles.file(to)?)?;
        let mut left = if length == 0 { u64::MAX } else { length };
        self.scratch.resize(MAX_TRANSFER, 0);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(MAX_TRANSFER).min(MAX_TRANSFER);
            let taken = files::read_at(rustix::fd::AsFd::as_fd(&source), &mut self.scratch[..most], read_at)?;
            if taken == 0 {
                // A length that the file does not have is none for OpenSSH's server.
                return Ok(());
            }
            files::write_all_at(rustix::fd::AsFd::as_fd(&target), &self.scratch[..taken], write_at)?;
            read_at += taken as u64;
            write_at += taken as u64;
            left -= taken as u64;
        }
        Ok(())
    }
}

/// Reply to `statvfs@openssh.com` and `fstatvfs@openssh.com`: eleven numbers.
fn file_system(id: u32, of: &StatVfs) -> Reply {
    let mut flags = 0;
    if of.f_flag.contains(StatVfsMountFlags::RDONLY) {
        flags |= READ_ONLY;
    }
    if of.f_flag.contains(StatVfsMountFlags::NOSUID) {
        flags |= NO_SETUID;
    }
    let numbers = [
        of.f_bsize,
        of.f_frsize,
        of.f_blocks,
        of.f_bfree,
        of.f_bavail,
        of.f_files,
        of.f_ffree,
        of.f_favail,
        of.f_fsid,
        flags,
        of.f_namemax,
    ];
    numbers.iter().fold(Reply::new(kind::EXTENDED_REPLY, id), |reply, number| reply.long(*number))
}

/// `~` and `~user` at the start of a path, which is then made real. The server starts in the user's own home directory.
fn expand_path(id: u32, path: &[u8]) -> Answer {
    let expanded = match path.strip_prefix(b"~") {
        None => path.to_vec(),
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let home = match &rest[..end] {
                b"" => ".".into(),
                user => login::home_of(OsStr::from_bytes(user)).ok_or(Status::NoSuchUser)?,
            };
            [home.as_bytes(), &rest[end..]].concat()
        }
    };
    let path = PathBuf::from(OsString::from_vec(expanded));
    Ok(Reply::name(id, &files::resolved(&path)?))
}

/// The name of each id, as far as a reply has room for them: a few bytes ask for many long names.
fn list<'a>(ids: &[u8], name_of: &dyn Fn(u32) -> Option<&'a [u8]>) -> Result<Vec<u8>, Status> {
    let mut list = Vec::new();
    for id in ids.chunks_exact(4) {
        let id = id.try_into().map_or(0, u32::from_be_bytes);
        let name = name_of(id).unwrap_or_default();
        list.extend_from_slice(&u32::try_from(name.len()).unwrap_or(0).to_be_bytes());
        list.extend_from_slice(name);
        if list.len() > MAX_TRANSFER {
            return Err(Status::Failure);
        }
    }
    Ok(list)
}

/// `users-groups-by-id@openssh.com`: a name for each id, empty where there is none.
fn names(id: u32, fields: &mut Fields<'_>) -> Answer {
    let (users, groups) = (fields.text()?, fields.text()?);
    let names = Names::read();
    let users = list(users, &|uid| names.user(uid))?;
    let groups = list(groups, &|gid| names.group(gid))?;
    if users.len() + groups.len() > MAX_TRANSFER {
        return Err(Status::Failure);
    }
    Ok(Reply::new(kind::EXTENDED_REPLY, id).text(&users).text(&groups))
}
