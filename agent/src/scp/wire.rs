//! Both directions of a transfer: lines, answers and data.

use super::{Ended, MAX_LINE};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

/// Bytes that are read or written at a time.
const BUFFER: usize = 64 * 1024;

/// Standard input and output of a transfer. What is written goes out before the next wait.
pub(super) struct Wire<R: Read, W: Write> {
    input: BufReader<R>,
    output: BufWriter<W>,
    had_errors: bool,
}

impl<R: Read, W: Write> Wire<R, W> {
    pub(super) fn new(input: R, output: W) -> Self {
        let input = BufReader::with_capacity(BUFFER, input);
        Self { input, output: BufWriter::with_capacity(BUFFER, output), had_errors: false }
    }

    /// Returns true once either side has told an error.
    pub(super) fn had_errors(&self) -> bool {
        self.had_errors
    }

    pub(super) fn note_error(&mut self) {
        self.had_errors = true;
    }

    /// Reads a line without its end. `None` at the end of the input.
    pub(super) fn line(&mut self) -> Result<Option<Vec<u8>>, Ended> {
        self.output.flush()?;
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        self.input.by_ref().take(limit).read_until(b'\n', &mut line)?;
        match line.pop() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) if line.len() + 1 < MAX_LINE => self.fail("protocol error: lost connection"),
            Some(_) => self.fail("protocol error: line too long"),
        }
    }

    /// Reads the answer to a line. Returns whether it is a yes.
    pub(super) fn answer(&mut self) -> Result<bool, Ended> {
        self.output.flush()?;
        let mut answer = [0];
        self.input.read_exact(&mut answer)?;
        if answer == [0] {
            return Ok(true);
        }
        self.had_errors = true;
        let mut text = Vec::new();
        self.input.by_ref().take(u64::try_from(MAX_LINE).unwrap_or(u64::MAX)).read_until(b'\n', &mut text)?;
        if answer == [1] { Ok(false) } else { Err(Ended::Told) }
    }

    /// The next bytes of data, at most `most`, which are consumed by [`Wire::consume`].
    pub(super) fn data(&mut self, most: u64) -> Result<&[u8], Ended> {
        let data = self.input.fill_buf()?;
        if data.is_empty() {
            return Err(Ended::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(data.len());
        Ok(&data[..length])
    }

    pub(super) fn consume(&mut self, length: usize) {
        self.input.consume(length);
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        Ok(self.output.write_all(bytes)?)
    }

    /// Answers that a line was taken.
    pub(super) fn yes(&mut self) -> Result<(), Ended> {
        self.write(&[0])
    }

    /// Tells an error after which the transfer goes on.
    pub(super) fn error(&mut self, text: &str) -> Result<(), io::Error> {
        self.error_bytes(text.as_bytes())
    }

    /// Tells an error that has a name in it.
    pub(super) fn error_bytes(&mut self, text: &[u8]) -> Result<(), io::Error> {
        self.had_errors = true;
        self.output.write_all(&[b"\x01scp: ", text, b"\n"].concat())
    }

    /// Tells an error that ends the transfer.
    pub(super) fn fail<T>(&mut self, text: &str) -> Result<T, Ended> {
        self.error(text)?;
        Err(Ended::Told)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
