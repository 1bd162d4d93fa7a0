//! A password from the program's terminal: the terminal is silent before it is asked for, and speaks again whatever
//! happened.

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::io::{self, BufRead, Stdin, Write};

/// The character that Ctrl-C types.
const INTERRUPT: u8 = 3;

/// Standard input, a terminal that does not show what is typed.
pub struct EchoOff {
    stdin: Stdin,
    before: Termios,
}

impl EchoOff {
    /// Silences it. What was typed until now is forgotten.
    pub fn new() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        // A signal would end us with the terminal silent: Ctrl-C ends the line instead, and is told by its last byte.
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.local_modes.insert(LocalModes::ICANON);
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        Ok(Self { stdin, before })
    }

    /// Asks for a line.
    ///
    /// # Errors
    /// A terminal that is gone, and `Interrupted` for Ctrl-C.
    pub fn ask(&self, prompt: &str) -> io::Result<Vec<u8>> {
        let mut stderr = io::stderr();
        stderr.write_all(prompt.as_bytes())?;
        let mut stdin = self.stdin.lock();
        // A terminal gives one line at a time.
        let mut line = stdin.fill_buf()?.to_vec();
        stdin.consume(line.len());
        stderr.write_all(b"\n")?;
        match line.pop() {
            Some(b'\n') => Ok(line),
            Some(INTERRUPT) => Err(io::ErrorKind::Interrupted.into()),
            _no_end => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // Fails on a terminal that is gone.
        let _ = tcsetattr(&self.stdin, OptionalActions::Now, &self.before);
    }
}
