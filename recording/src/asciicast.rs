//! Asciicast, version 2: what one program showed, as lines of JSON, which asciinema's player plays.
//!
//! Invariants: a line is valid by itself, and nothing of it acts on the terminal of the one who reads the file; a mark shows
//! what the client said behind the name of its request, so that it is no word of the gateway's; a character that
//! comes in two pieces is one character in the file, and bytes that are none are replaced; no event is before the one above
//! it; a size is one that a player can draw.

use super::json::escaped;
use super::message::{Message, Payload};
use serde_json::json;
use std::collections::VecDeque;
use std::time::Duration;

/// The size where the client tells none: ContainerSSH's.
const SIZE: (u32, u32) = (80, 25);
/// Limit of columns and of rows: a player makes all the cells that a client asks for.
const LARGEST: u32 = 1000;
/// Limit of the variables in a header, in bytes.
const VARIABLES: usize = 64 << 10;
/// The number of a channel's last requests whose kinds are known.
const REQUESTS: usize = 64;

/// The first line of a cast.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Header<'a> {
    columns: u32,
    rows: u32,
    /// Seconds since 1970.
    timestamp: i64,
    command: &'a str,
    /// `TERM`, where there is a terminal, and the variables of the client.
    env: Vec<(&'a str, &'a str)>,
}

impl Header<'_> {
    fn line(&self) -> String {
        let env = self.env.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
        let env: serde_json::Map<_, _> = env.collect();
        let header = json!({"version": 2, "width": self.columns, "height": self.rows, "timestamp": self.timestamp,
            "command": self.command, "title": "", "env": env});
        escaped(&header.to_string()) + "\n"
    }
}

/// The line of a text that is an event of that kind: `o` for output, `i` for input, `r` for a size, `m` for a mark.
fn line(at: Duration, kind: &str, text: &str) -> String {
    escaped(&json!([at.as_secs_f64(), kind, text]).to_string()) + "\n"
}

/// The size of a terminal; `None` if no player could draw it.
fn drawable(columns: u32, rows: u32) -> Option<(u32, u32)> {
    (columns > 0 && rows > 0).then(|| (columns.min(LARGEST), rows.min(LARGEST)))
}

/// One stream of bytes that becomes text.
#[derive(Debug, Default)]
struct TextStream {
    /// The beginning of a character.
    rest: Vec<u8>,
    /// Set if the last character returned the cursor to the line's start.
    is_returned: bool,
}

impl TextStream {
    /// The text of bytes that come next. It can be empty.
    fn text(&mut self, data: &[u8]) -> String {
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
        text
    }

    /// The text with the returns that a terminal of the user's own adds to the output of a program without one.
    fn returned(&mut self, text: &str) -> String {
        let mut returned = String::with_capacity(text.len() + 16);
        for character in text.chars() {
            if character == '\n' && !self.is_returned {
                returned.push('\r');
            }
            self.is_returned = character == '\r';
            returned.push(character);
        }
        returned
    }

    /// Replaces a character that is not complete at the end.
    fn end(&mut self) -> Option<char> {
        let is_left = !std::mem::take(&mut self.rest).is_empty();
        is_left.then_some(char::REPLACEMENT_CHARACTER)
    }
}

/// Returns whether more bytes could make a character of these.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// The terminal and the variables that the next program of a channel has, and the kinds of the channel's last requests.
#[derive(Debug, Clone, Default)]
pub struct CastSetting {
    /// Its `TERM` and its size.
    terminal: Option<(String, (u32, u32))>,
    variables: Vec<(String, String)>,
    requests: VecDeque<(u64, &'static str)>,
}

impl CastSetting {
    /// Takes a terminal, a variable or a size that was not refused. Variables beyond a limit are left out.
    pub fn take(&mut self, payload: &Payload) {
        match payload {
            Payload::Pty { term, columns, rows, .. } => {
                self.terminal = Some((term.clone(), drawable(*columns, *rows).unwrap_or(SIZE)));
            }
            Payload::Window { columns, rows, .. } => {
                if let (Some((_, size)), Some(new)) = (&mut self.terminal, drawable(*columns, *rows)) {
                    *size = new;
                }
            }
            Payload::SetEnv { name, value, .. } => self.set(name, value),
            _ => {}
        }
    }

    /// Notes what a request is for, so that its refusal can name it.
    pub fn note(&mut self, payload: &Payload) {
        if let Some(request) = request(payload) {
            self.requests.push_back(request);
            if self.requests.len() > REQUESTS {
                self.requests.pop_front();
            }
        }
    }

    fn kind_of(&self, request: u64) -> &'static str {
        let found = self.requests.iter().rfind(|(number, _)| *number == request);
        found.map_or("request", |(_, kind)| kind)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(set, _)| set != name);
        let taken: usize = self.variables.iter().map(|(name, value)| name.len() + value.len()).sum();
        if taken + name.len() + value.len() <= VARIABLES {
            self.variables.push((name.to_owned(), value.to_owned()));
        }
    }

    fn header(&self, timestamp: i64, command: &str) -> String {
        let (term, (columns, rows)) = self.terminal.as_ref().map_or(("", SIZE), |(term, size)| (term.as_str(), *size));
        let term = Some(("TERM", term)).filter(|(_, term)| !term.is_empty());
        let variables = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let env = variables.chain(term).collect();
        Header { columns, rows, timestamp: timestamp.div_euclid(1_000_000_000), command, env }.line()
    }
}

/// The cast of one program. It begins with the request for it.
#[derive(Debug, Default)]
pub(crate) struct Cast {
    setting: CastSetting,
    /// The time of the program: nanoseconds since 1970.
    begun: Option<i64>,
    /// The time of the last event, since the program.
    last: Duration,
    streams: [TextStream; 3],
}

impl Cast {
    /// The cast of a program that has this.
    pub(crate) fn new(setting: CastSetting) -> Self {
        Self { setting, ..Self::default() }
    }

    /// The lines of the next message; they can be none.
    pub(crate) fn lines(&mut self, message: &Message) -> String {
        self.setting.note(&message.payload);
        match self.begun {
            Some(begun) => {
                let since = message.timestamp.saturating_sub(begun).max(0).unsigned_abs();
                // The clock may have been set.
                self.last = self.last.max(Duration::from_nanos(since));
                self.event(&message.payload)
            }
            None => self.before(message),
        }
    }

    fn before(&mut self, message: &Message) -> String {
        let Some(command) = command(&message.payload) else {
            self.setting.take(&message.payload);
            return String::new();
        };
        self.begun = Some(message.timestamp);
        self.setting.header(message.timestamp, command)
    }

    fn event(&mut self, payload: &Payload) -> String {
        let at = self.last;
        let mark = |text: &str| line(at, "m", text);
        match payload {
            Payload::Io { stream, data } => self.data(*stream, data),
            Payload::Window { columns, rows, .. } => drawable(*columns, *rows)
                .map(|(columns, rows)| line(at, "r", &format!("{columns}x{rows}")))
                .unwrap_or_default(),
            Payload::Signal { signal, .. } => mark(&format!("signal: {signal}")),
            Payload::RequestFailed { request_id, reason } => {
                mark(&format!("{} refused: {reason}", self.setting.kind_of(*request_id)))
            }
            Payload::Exit { exit_status } => self.end() + &mark(&format!("exit status {exit_status}")),
            Payload::ExitSignal { signal, .. } => self.end() + &mark(&format!("exit signal {signal}")),
            Payload::Close {} => self.end(),
            Payload::Exec { program, .. } => mark(&format!("exec: {program}")),
            Payload::Subsystem { subsystem, .. } => mark(&format!("subsystem: {subsystem}")),
            Payload::Shell { .. } => mark("shell"),
            _ => String::new(),
        }
    }

    fn data(&mut self, stream: u8, data: &[u8]) -> String {
        let Some(text_stream) = self.streams.get_mut(usize::from(stream)) else { return String::new() };
        let (kind, mut text) = (if stream == 0 { "i" } else { "o" }, text_stream.text(data));
        if stream > 0 && self.setting.terminal.is_none() {
            text = text_stream.returned(&text);
        }
        if text.is_empty() { String::new() } else { line(self.last, kind, &text) }
    }

    /// The lines for what is left of characters.
    pub(crate) fn end(&mut self) -> String {
        let at = self.last;
        let left = self.streams.iter_mut().zip(["i", "o", "o"]);
        left.filter_map(|(stream, kind)| Some(line(at, kind, &stream.end()?.to_string()))).collect()
    }
}

/// The number of a request and its type in SSH.
fn request(payload: &Payload) -> Option<(u64, &'static str)> {
    Some(match payload {
        Payload::SetEnv { request_id, .. } => (*request_id, "env"),
        Payload::Pty { request_id, .. } => (*request_id, "pty-req"),
        Payload::Window { request_id, .. } => (*request_id, "window-change"),
        Payload::X11Request { request_id, .. } => (*request_id, "x11-req"),
        Payload::AgentRequest { request_id } => (*request_id, "auth-agent-req@openssh.com"),
        Payload::Signal { request_id, .. } => (*request_id, "signal"),
        Payload::Exec { request_id, .. } => (*request_id, "exec"),
        Payload::Shell { request_id } => (*request_id, "shell"),
        Payload::Subsystem { request_id, .. } => (*request_id, "subsystem"),
        _ => return None,
    })
}

/// The command of a request for a program, in ContainerSSH's words.
fn command(payload: &Payload) -> Option<&str> {
    match payload {
        Payload::Exec { program, .. } => Some(program),
        Payload::Subsystem { subsystem, .. } => Some(subsystem),
        Payload::Shell { .. } => Some("/bin/sh"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
