//! The log's lines made short enough for a terminal. Takes the log's text format and leaves words out, so that what is
//! escaped or quoted there stays so; a line in any other form passes whole.

use std::io::{self, Write};

/// Details that are left out: the same on every line of a connection, or for programs to search by.
const LEFT_OUT: [&str; 5] = ["code", "connectionId", "remoteAddr", "username", "authenticatedUsername"];

/// A writer for the log that shortens each line and hands it to `out`.
#[derive(Debug)]
pub(crate) struct View<W> {
    out: W,
    /// The beginning of a line whose end has not come; the log writes whole lines, each cut to a bounded length.
    begun: Vec<u8>,
}

impl<W: Write> View<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, begun: Vec::new() }
    }
}

impl<W: Write> Write for View<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let before = self.begun.len();
        self.begun.extend_from_slice(data);
        let whole = self.begun.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let lines = String::from_utf8_lossy(&self.begun[..whole]);
        let shown: String = lines.lines().map(|line| short(line) + "\n").collect();
        if let Err(error) = self.out.write_all(shown.as_bytes()) {
            // The log tries again with the same bytes.
            self.begun.truncate(before);
            return Err(error);
        }
        self.begun.drain(..whole);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The time of day, the level, the user and the message, with the details that differ from line to line.
fn short(line: &str) -> String {
    parts(line).unwrap_or_else(|| line.to_owned())
}

fn parts(line: &str) -> Option<String> {
    let mut columns = line.splitn(3, '\t');
    let (time, level, text) = (columns.next()?, columns.next()?, columns.next()?);
    let (_, time) = time.split_once('T')?;
    let (message, details) = text.strip_suffix(')')?.split_once(" (code=")?;
    let (_, details) = details.split_once(' ').unwrap_or_default();
    let (mut user, mut kept) = ("gateway", Vec::new());
    for word in words(details) {
        if let Some(name) = word.strip_prefix("username=") {
            user = name;
        } else if !LEFT_OUT.iter().any(|name| word.split('=').next() == Some(name)) {
            kept.push(word);
        }
    }
    let time = time.get(..12)?;
    let details = if kept.is_empty() { String::new() } else { format!(" ({})", kept.join(" ")) };
    Some(format!("{time} {level:<7} {user}: {message}{details}"))
}

/// Splits at spaces that are not in quotes. Inside, a backslash escapes one character.
fn words(details: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let outside = |c: char| {
        let ends = c == ' ' && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    };
    details.split(outside).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_what_repeats() {
        let right = [
            (
                "2026-11-29T16:22:55.493Z\tinfo\tthe server is listening (code=SSH_AVAILABLE address=127.0.0.1:3 hostKeys=\"SHA256:x (ED25519)\")",
                "16:22:55.493 info    gateway: the server is listening (address=127.0.0.1:3 hostKeys=\"SHA256:x (ED25519)\")",
            ),
            (
                "2026-11-29T16:22:55.493+01:00\twarning\tno (code=A connectionId=7 remoteAddr=[::1]:2 username=bob authenticatedUsername=bob)",
                "16:22:55.493 warning bob: no",
            ),
            (
                "2026-11-29T16:22:55.493Z\tinfo\tno (code=A username=bob reason=\"a \\\" username=eve \\\\\" status=1)",
                "16:22:55.493 info    bob: no (reason=\"a \\\" username=eve \\\\\" status=1)",
            ),
            (
                "2026-11-29T16:22:55.493Z\tinfo\tshutting down (code=STOP)",
                "16:22:55.493 info    gateway: shutting down",
            ),
            ("something else", "something else"),
        ];
        for (line, shown) in right {
            assert_eq!(short(line), shown);
        }
    }

    #[test]
    fn a_line_that_comes_in_pieces_is_one_line() {
        let mut out = Vec::new();
        let mut view = View::new(&mut out);
        for piece in ["2026-11-29T16:22:55.493Z\tinfo\tshutting", " down (code=STOP)\nel", "se\n"] {
            view.write_all(piece.as_bytes()).unwrap();
        }
        assert_eq!(String::from_utf8(out).unwrap(), "16:22:55.493 info    gateway: shutting down\nelse\n");
    }
}
