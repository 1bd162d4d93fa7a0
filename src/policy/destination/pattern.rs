//! Patterns with `*` and `?`, of host names and of paths.

use std::fmt;

/// Limit of a name in bytes, as in DNS.
const NAME_BYTES: usize = 253;

/// A pattern of host names, in lower case, without a dot at its end. A `*` also stands for dots, as in OpenSSH's patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamePattern(String);

/// A pattern of absolute paths of sockets. A `*` stands for a part of one name, and `**` at the end for everything below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathPattern {
    /// Every path, `*`.
    Any,
    /// The parts between the slashes, and whether everything below passes, too.
    Parts(Vec<String>, bool),
}

impl NamePattern {
    /// A pattern of letters, digits, `-`, `_`, dots, `*` and `?`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| is_name_byte(byte) || is_wildcard(byte));
        // Without a letter it looks like addresses (`10.*`), which no pattern of names describes.
        let is_name = text.bytes().any(|byte| byte.is_ascii_alphabetic());
        let is_pattern = text.len() <= NAME_BYTES && text.split('.').all(is_part) && is_name;
        is_pattern.then_some(Self(text))
    }

    /// True for the name `localhost` itself.
    pub(super) fn is_localhost(&self) -> bool {
        self.0 == "localhost"
    }

    /// True for a name in lower case, without a dot at its end, that the pattern describes.
    pub(super) fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }

    /// True for a name that becomes one of the pattern's when a search domain of the guest is added to it.
    pub(super) fn matches_beginning(&self, name: &str) -> bool {
        let mut shorter = self.0.as_str();
        while let Some((rest, _)) = shorter.rsplit_once('.') {
            shorter = rest;
            if names_something(shorter) && matches(shorter.as_bytes(), name.as_bytes()) {
                return true;
            }
        }
        false
    }
}

pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// True for a text whose last part is a number, decimal, octal or hexadecimal: no name of the DNS ends in one.
pub(super) fn ends_in_number(text: &str) -> bool {
    let last = text.strip_suffix('.').unwrap_or(text).rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn is_wildcard(byte: u8) -> bool {
    matches!(byte, b'*' | b'?')
}

fn names_something(pattern: &str) -> bool {
    pattern.bytes().any(is_name_byte)
}

impl PathPattern {
    /// `*`, or an absolute path without empty, `.` and `..` parts and without the signs of other patterns' languages.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let below = text.strip_suffix("/**");
        let path = below.unwrap_or(text);
        let foreign = |c: char| c.is_control() || matches!(c, '[' | ']' | '{' | '}' | '\\');
        if path.contains(foreign) || path.contains("**") {
            return None;
        }
        // `/**` is everything below the root.
        let parts = if path.is_empty() && below.is_some() { Vec::new() } else { parts(path)? };
        Some(Self::Parts(parts.into_iter().map(str::to_owned).collect(), below.is_some()))
    }

    /// True for a plain path that the pattern describes.
    pub(super) fn matches(&self, path: &str) -> bool {
        let Self::Parts(patterns, below) = self else { return true };
        let Some(parts) = parts(path) else { return false };
        let is_length = if *below { parts.len() > patterns.len() } else { parts.len() == patterns.len() };
        is_length && patterns.iter().zip(parts).all(|(pattern, part)| matches(pattern.as_bytes(), part.as_bytes()))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Parts(parts, below) => {
                parts.iter().try_for_each(|part| write!(f, "/{part}"))?;
                f.write_str(if *below { "/**" } else { "" })
            }
        }
    }
}

/// The parts of an absolute path that has one spelling.
pub(super) fn parts(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    (!parts.iter().any(|part| matches!(*part, "" | "." | ".."))).then_some(parts)
}

/// Compares a text with a pattern of bytes, `*` for any bytes and `?` for one. Takes no more steps than the product of
/// both lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    // The last `*`, and the end of what it stands for.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(here) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                at += 1;
                here += 1;
            }
            _ => {
                let Some((place, end)) = star else { return false };
                star = Some((place, end + 1));
                at = place + 1;
                here = end + 1;
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}
