//! A file that the gateway writes: the identity's metadata, mode 0600. The stream's close has the result.

use super::{code, reason};
use crate::write_file;
use podgate_link::{Close, Lane, Link};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A file that is being written.
pub(super) struct FileWriter {
    path: PathBuf,
    file: io::Result<File>,
}

impl FileWriter {
    /// Creates the file, or empties it.
    pub(super) fn create(path: &[u8]) -> Self {
        let path = PathBuf::from(OsStr::from_bytes(path));
        let file = write_file::create(&path);
        Self { path, file }
    }

    /// Writes what has arrived. Returns whether the stream is closed on this side.
    pub(super) fn advance(&mut self, link: &mut Link, number: u32) -> bool {
        while let Some(data) = link.read(number, Lane::Main) {
            if let Ok(file) = &mut self.file
                && let Err(error) = file.write_all(&data)
            {
                self.file = Err(error);
            }
        }
        let close = match &self.file {
            Err(error) => {
                let Close { code, reason } = reason::close(error);
                Close { code, reason: format!("{}: {reason}", self.path.display()) }
            }
            Ok(_) if link.is_finished(number, Lane::Main) => Close { code: code::NO_FAILURE, reason: String::new() },
            Ok(_) if link.closed(number).is_some() => Close { code: code::SYSTEM, reason: String::new() },
            Ok(_) => return false,
        };
        link.close(number, &close);
        true
    }
}
