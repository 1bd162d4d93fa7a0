//! Asciicast, version 2: the output of one terminal as lines of JSON, which asciinema's player plays.
//!
//! Invariants: a line is valid by itself; a character that comes in two pieces is one character in the file, and bytes
//! that are none are replaced.

use serde_json::json;
use std::time::Duration;

/// The first line of a cast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    pub columns: u32,
    pub rows: u32,
    /// Seconds since 1970.
    pub timestamp: i64,
    pub command: &'a str,
    /// `TERM`; empty without a terminal.
    pub term: &'a str,
}

impl Header<'_> {
    /// The line.
    pub fn line(&self) -> String {
        let mut env = serde_json::Map::new();
        if !self.term.is_empty() {
            env.insert("TERM".to_owned(), self.term.into());
        }
        let header = json!({"version": 2, "width": self.columns, "height": self.rows, "timestamp": self.timestamp,
            "command": self.command, "title": "", "env": env});
        format!("{header}\n")
    }
}

/// The line of a new size.
pub fn resize(at: Duration, columns: u32, rows: u32) -> String {
    line(at, "r", &format!("{columns}x{rows}"))
}

/// The line of a text that is an event of that kind: `o` for output.
fn line(at: Duration, kind: &str, text: &str) -> String {
    format!("{}\n", json!([at.as_secs_f64(), kind, text]))
}

/// One stream of bytes that becomes text.
#[derive(Debug, Default)]
pub struct TextStream {
    /// The beginning of a character.
    rest: Vec<u8>,
}

impl TextStream {
    /// The line for bytes that come next; `None` if they are no whole character yet.
    pub fn output(&mut self, at: Duration, data: &[u8]) -> Option<String> {
        let bytes = [&std::mem::take(&mut self.rest), data].concat();
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            if chunks.peek().is_none() && is_beginning(chunk.invalid()) {
                self.rest = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        (!text.is_empty()).then(|| line(at, "o", &text))
    }

    /// The line for what is left at the end.
    pub fn end(&mut self, at: Duration) -> Option<String> {
        let is_left = !std::mem::take(&mut self.rest).is_empty();
        is_left.then(|| line(at, "o", &char::REPLACEMENT_CHARACTER.to_string()))
    }
}

/// Returns whether more bytes could make a character of these.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn text(line: &str) -> String {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event[1], "o");
        event[2].as_str().unwrap().to_owned()
    }

    #[test]
    fn lines_are_those_of_version_2() {
        let header = Header { columns: 80, rows: 25, timestamp: 1_700_000_000, command: "/bin/sh", term: "xterm" };
        let expected = json!({"version": 2, "width": 80, "height": 25, "timestamp": 1_700_000_000, "command": "/bin/sh",
            "title": "", "env": {"TERM": "xterm"}});
        assert_eq!(serde_json::from_str::<Value>(&header.line()).unwrap(), expected);
        assert_eq!(resize(Duration::from_millis(1500), 100, 40), "[1.5,\"r\",\"100x40\"]\n");
        let output = TextStream::default().output(Duration::from_millis(250), b"a\r\n\x1b[1m\"");
        assert_eq!(output.unwrap(), "[0.25,\"o\",\"a\\r\\n\\u001b[1m\\\"\"]\n");
    }

    #[test]
    fn text_is_the_same_however_its_bytes_are_cut() {
        let bytes = "grün €uro 🦀\n".as_bytes();
        for cut in 0..=bytes.len() {
            for second in cut..=bytes.len() {
                let mut stream = TextStream::default();
                let pieces = [&bytes[..cut], &bytes[cut..second], &bytes[second..]];
                let lines = pieces.into_iter().filter_map(|piece| stream.output(Duration::ZERO, piece));
                assert_eq!(lines.map(|line| text(&line)).collect::<String>(), "grün €uro 🦀\n");
                assert_eq!(stream.end(Duration::ZERO), None);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut stream = TextStream::default();
        assert_eq!(text(&stream.output(Duration::ZERO, b"a\xffb\xc3(").unwrap()), "a\u{fffd}b\u{fffd}(");
        assert_eq!(stream.output(Duration::ZERO, b"\xf0\x9f"), None);
        assert_eq!(text(&stream.end(Duration::ZERO).unwrap()), "\u{fffd}");
        assert_eq!(stream.end(Duration::ZERO), None);
        assert_eq!(stream.output(Duration::ZERO, b"\xf0\x9f"), None);
        assert_eq!(text(&stream.output(Duration::ZERO, b"x").unwrap()), "\u{fffd}x");
    }
}
