//! The destinations of lines that are no daemon's: standard output, a file, and what programs that embed the gateway give.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The time that the reader of a pipe has to make room, where nobody waits longer for it.
const ROOM: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// A destination of lines.
pub(super) trait LogSink: Write + Send {
    /// Opens the destination again, if it has a path or an address.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The file's path.
    fn path(&self) -> Option<&Path> {
        None
    }
}

impl LogSink for io::Stdout {}

/// A sink that cannot be reopened.
pub(super) struct WriteSink<W>(pub(super) W);

impl<W: Write> Write for WriteSink<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write + Send> LogSink for WriteSink<W> {}

/// A sink that appends to a file. Behind a line that an earlier process left unfinished it begins a new one.
pub(super) struct FileSink {
    path: PathBuf,
    content: FileContent,
    file: File,
    is_torn: bool,
}

/// The content of a file of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileContent {
    /// The operator's log, as readable as the umask has it. The writer's thread waits for the reader of a pipe.
    Log,
    /// Events, which can name what a user typed into a command: only the owner and the group read them. A pipe whose reader
    /// makes no room is an error.
    Events,
}

impl FileSink {
    pub(super) fn open(path: PathBuf, content: FileContent) -> io::Result<Self> {
        let (file, is_torn) = append(&path, content)?;
        Ok(Self { path, content, file, is_torn })
    }
}

/// Opens a file for appending, and tells whether its last line has no end.
fn append(path: &Path, content: FileContent) -> io::Result<(File, bool)> {
    // Nobody waits for the reader of a pipe: one without is an error.
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    if content == FileContent::Events {
        options.mode(0o640);
    }
    let file = options.open(path)?;
    if content == FileContent::Log {
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    }
    let is_torn = file.metadata()?.is_file() && last_byte(path).is_ok_and(|byte| byte != b'\n');
    Ok((file, is_torn))
}

fn last_byte(path: &Path) -> io::Result<u8> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last[0])
}

impl FileSink {
    /// Writes, and waits for a moment where a pipe is full.
    fn append(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.file.write(data) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&ROOM))? {
                    0 => {
                        Err(io::Error::new(io::ErrorKind::WouldBlock, "the pipe is full, and its reader does not read"))
                    }
                    _ => self.file.write(data),
                }
            }
            result => result,
        }
    }
}

impl Write for FileSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.is_torn {
            self.is_torn = self.append(b"\n")? == 0;
        }
        self.append(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl LogSink for FileSink {
    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.is_torn) = append(&self.path, self.content)?;
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }
}
