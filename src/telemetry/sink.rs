//! The destinations of lines that are no daemon's: standard output, a file, and what programs that embed the gateway give.

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A destination of lines.
pub(super) trait LogSink: Write + Send {
    /// Opens the destination again, if it has a path or an address.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
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

/// A sink that appends to a file.
pub(super) struct FileSink {
    path: PathBuf,
    file: File,
}

impl FileSink {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        Ok(Self { path, file })
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    // Nobody waits for the reader of a pipe: one without is an error.
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    // The writer's thread waits for a reader that is slow.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

impl Write for FileSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl LogSink for FileSink {
    fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        Ok(())
    }
}
