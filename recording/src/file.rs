//! A recording as two files of a directory: the recording, named by its connection's id, and its chain beside it. Both are
//! written part by part, and nothing else touches them. In the binary format, a part is a gzip member behind a header; in
//! an asciicast, named by its channel, too, a part is lines, and there is no header before the first.
//!
//! Invariants: only the owner may read either; a part's line is written behind the part; a write that fails leaves both
//! files as they were before it, and the part can be written again. The disk has both names when the first part is written, and
//! the recording before its seal; a part between is the kernel's to write, so a kernel that crashes may lose the last ones.
//! The calls block.

use super::binary;
use super::chain::Chain;
use super::message::Message;
use super::seal::SealKey;
use data_encoding::HEXLOWER;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The end of a chain's file name, behind the name of the recording.
pub const CHAIN_SUFFIX: &str = ".chain";
/// The end of an asciicast's file name.
pub const CAST_SUFFIX: &str = ".cast";
/// The beginning of the name of the file that shows whether the directory takes files; ContainerSSH's name.
const ACCESS_TEST: &str = ".accesstest";

/// The error of a directory that takes no recordings.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("{} cannot be used: {source}", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error("{} is not a directory", path.display())]
    NotADirectory { path: PathBuf },
}

/// A directory of recordings.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    key: Option<Arc<SealKey>>,
}

impl Directory {
    /// Checks that the directory takes files. With a key, each recording is signed.
    ///
    /// # Errors
    /// There is no such directory, or no file can be made in it.
    pub fn open(path: PathBuf, key: Option<Arc<SealKey>>) -> Result<Self, DirectoryError> {
        let unusable = |source| DirectoryError::Unusable { path: path.clone(), source };
        if !fs::metadata(&path).map_err(unusable)?.is_dir() {
            return Err(DirectoryError::NotADirectory { path });
        }
        probe(&path).map_err(unusable)?;
        Ok(Self { path, key })
    }

    /// The path of a file of the directory.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Tells whether recordings are signed.
    pub fn is_signing(&self) -> bool {
        self.key.is_some()
    }

    /// Begins the recording of a connection.
    ///
    /// # Errors
    /// A file cannot be made or written, or is there already.
    pub fn begin(&self, id: &str) -> io::Result<RecordingFile> {
        self.create(id, &binary::header(), binary::compress)
    }

    /// Begins an asciicast with that name.
    ///
    /// # Errors
    /// As [`Directory::begin`].
    pub fn begin_cast(&self, name: &str) -> io::Result<RecordingFile> {
        self.create(name, &[], |lines| Ok(lines.to_vec()))
    }

    fn create(&self, name: &str, header: &[u8], stored: Stored) -> io::Result<RecordingFile> {
        let path = self.path_of(name);
        let (chain, line) = Chain::begin(name, header, self.key.clone());
        let mut recording = Appended::create(&path)?;
        let begun = (|| {
            recording.append(header)?;
            let mut lines = Appended::create(&chain_path(&path))?;
            let written = lines.append(line.as_bytes()).and_then(|()| File::open(&self.path)?.sync_all());
            written.map(|()| lines).inspect_err(|_| {
                // The first error is the one to tell.
                let _ = fs::remove_file(chain_path(&path));
            })
        })();
        match begun {
            Ok(lines) => Ok(RecordingFile { recording, lines, chain, stored }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }
}

/// The name of a channel's asciicast; the first one has no number of its own.
pub fn cast_name(id: &str, channel: u32, number: u32) -> String {
    match number {
        0 | 1 => format!("{id}-{channel}{CAST_SUFFIX}"),
        number => format!("{id}-{channel}-{number}{CAST_SUFFIX}"),
    }
}

/// Makes a file of its own in the directory, writes to it and removes it.
fn probe(directory: &Path) -> io::Result<()> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other)?;
    let path = directory.join(format!("{ACCESS_TEST}-{}", HEXLOWER.encode(&random)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let written = file.write_all(b"x");
    fs::remove_file(&path).and(written)
}

/// The path of a recording's chain.
pub fn chain_path(recording: &Path) -> PathBuf {
    let mut path = recording.as_os_str().to_owned();
    path.push(CHAIN_SUFFIX);
    path.into()
}

/// Messages that are written together.
#[derive(Debug, Default)]
pub struct Part {
    bytes: Vec<u8>,
    /// The time of the first message.
    first: Option<i64>,
}

impl Part {
    /// Adds a message.
    ///
    /// # Errors
    /// None in practice: memory takes every write.
    pub fn push(&mut self, message: &Message) -> io::Result<()> {
        binary::encode(message, &mut self.bytes)?;
        self.first.get_or_insert(message.timestamp);
        Ok(())
    }

    /// Adds lines of that time, if there are any.
    pub(crate) fn push_lines(&mut self, lines: &str, time: i64) {
        if !lines.is_empty() {
            self.bytes.extend(lines.as_bytes());
            self.first.get_or_insert(time);
        }
    }

    /// The bytes of its messages.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }
}

/// The bytes of a part as a file has them.
type Stored = fn(&[u8]) -> io::Result<Vec<u8>>;

/// A recording that is being written.
#[derive(Debug)]
pub struct RecordingFile {
    stored: Stored,
    recording: Appended,
    lines: Appended,
    chain: Chain,
}

impl RecordingFile {
    /// Writes a part, if it has a message: when this returns, the kernel has it.
    ///
    /// # Errors
    /// A file takes no more. Nothing of the part is left in the files, and a later call may try again.
    pub fn write(&mut self, part: &Part) -> io::Result<()> {
        let Some(first) = part.first else {
            return Ok(());
        };
        let stored = (self.stored)(&part.bytes)?;
        self.recording.append(&stored)?;
        let line = self.chain.next_part(first, &stored);
        if let Err(error) = self.lines.append(line.text.as_bytes()) {
            // A part without its line would stand in the way of the next.
            self.recording.take_back(stored.len() as u64);
            return Err(error);
        }
        self.chain.take(line);
        Ok(())
    }

    /// Writes the end of the chain.
    ///
    /// # Errors
    /// A file takes no more.
    pub fn seal(&mut self, time: i64) -> io::Result<()> {
        self.recording.check()?;
        self.recording.file.sync_data()?;
        self.lines.file.sync_data()?;
        self.lines.append(self.chain.seal(time).as_bytes())?;
        self.lines.file.sync_data()
    }

    /// The number of the parts and the hash of the chain's last line.
    pub fn progress(&self) -> (u64, String) {
        (self.chain.parts(), self.chain.last_hash())
    }

    /// Has the next part fail behind its bytes, and returns what mends it.
    #[cfg(test)]
    pub(crate) fn fail_lines(&mut self, path: &Path) -> io::Result<File> {
        // Writes to a file that is open for reading alone fail.
        Ok(std::mem::replace(&mut self.lines.file, File::open(path)?))
    }
}

/// A file that only grows, and whose length is that of the writes that succeeded.
#[derive(Debug)]
struct Appended {
    path: PathBuf,
    file: File,
    length: u64,
    /// Set if the file has bytes that could not be taken back.
    is_broken: bool,
}

impl Appended {
    fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { path: path.to_owned(), file, length: 0, is_broken: false })
    }

    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("an earlier write left a part of itself"));
        }
        self.check()?;
        match self.file.write_all(data) {
            Ok(()) => {
                self.length += data.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.take_back(0);
                Err(error)
            }
        }
    }

    /// Checks that the file is there under its name, and as long as it was left. Nobody reads what is written to one that was
    /// removed, or has another in its place.
    fn check(&self) -> io::Result<()> {
        let found = self.file.metadata()?;
        if found.nlink() == 0 {
            return Err(io::Error::other("the file was removed"));
        }
        let is_moved = match fs::symlink_metadata(&self.path) {
            Ok(named) => (named.dev(), named.ino()) != (found.dev(), found.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        if is_moved {
            return Err(io::Error::other("the file was moved away"));
        }
        if found.len() != self.length {
            return Err(io::Error::other("the file was changed by somebody else"));
        }
        Ok(())
    }

    /// Takes back the last bytes, and whatever a failed write left behind them.
    fn take_back(&mut self, bytes: u64) {
        self.length = self.length.saturating_sub(bytes);
        self.is_broken = self.file.set_len(self.length).is_err();
    }
}

#[cfg(test)]
mod tests;
