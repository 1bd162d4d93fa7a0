//! Text as files and answers bring it: UTF-8, with or without a byte order mark in front of it, which is skipped; and the
//! known name that a mistyped one was meant to be.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::{fmt, fs, io, str};

/// Limit of a file's length in bytes. A configuration, and a bundle of certificates, is far below.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Reason why bytes are not text. Shows nothing of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotText {
    /// UTF-16, by its byte order mark or by a NUL in the first character.
    Utf16,
    /// UTF-32, by its byte order mark.
    Utf32,
    /// Another error of reading the file.
    NotUtf8 {
        /// Number of bytes in front of the first wrong one.
        valid: usize,
    },
}

/// The text of bytes, without a byte order mark in front of it.
///
/// # Errors
/// Anything but UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, NotText> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Err(NotText::Utf32),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Err(NotText::Utf16),
        // A file of ours begins with ASCII, and has no NUL.
        [one, other, ..] if (*one == 0) != (*other == 0) => return Err(NotText::Utf16),
        _ => {}
    }
    let text = str::from_utf8(bytes).map_err(|error| NotText::NotUtf8 { valid: error.valid_up_to() })?;
    Ok(without_mark(text))
}

/// The text of a file of at most 16 MiB.
///
/// # Errors
/// A file that cannot be read, a longer one, and anything but UTF-8.
pub fn read(path: &Path) -> io::Result<String> {
    content(File::open(path)?)
}

fn content(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    // What is checked is what is read: its length may not be known before.
    if file.take(LONGEST + 1).read_to_end(&mut bytes)? as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 16 MiB"));
    }
    text(&bytes).map(str::to_owned).map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, format!("it {wrong}")))
}

/// The text of a regular file, for names that come from a configuration: reading a named pipe waits for a writer, and a
/// device may have no end.
///
/// # Errors
/// Everything else that has a name, a file that cannot be read or is longer than 16 MiB, and anything but UTF-8.
pub fn read_regular(path: &Path) -> io::Result<String> {
    // The system has its own words for a directory.
    let is_text = |found: &fs::Metadata| found.is_file() || found.is_dir();
    let other = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    if !is_text(&fs::metadata(path)?) {
        return Err(other());
    }
    // Another one may take the path's place meanwhile: nobody waits for the writer of a pipe.
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if is_text(&file.metadata()?) { content(file) } else { Err(other()) }
}

/// A text without a byte order mark in front of it.
#[must_use]
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The known name nearest to what was written, when it is near enough to be meant. Case does not count.
pub fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let text = text.to_lowercase();
    let limit = (text.chars().count() / 3).clamp(1, 3);
    names
        .map(|name| (strsim::osa_distance(&text, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The end of a sentence that begins with what holds the bytes.
impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utf16 => f.write_str("is UTF-16 text, and has to be UTF-8"),
            Self::Utf32 => f.write_str("is UTF-32 text, and has to be UTF-8"),
            Self::NotUtf8 { valid } => write!(f, "is not UTF-8 text: byte {} does not belong there", valid + 1),
        }
    }
}

impl std::error::Error for NotText {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_named() {
        for (bytes, reason) in [
            (&b"\xff\xfea\0"[..], NotText::Utf16),
            (b"\xfe\xff\0a", NotText::Utf16),
            (b"{\0}\0", NotText::Utf16),
            (b"\0{\0}", NotText::Utf16),
            (b"\xff\xfe\0\0a\0\0\0", NotText::Utf32),
            (b"\0\0\xfe\xff\0\0\0a", NotText::Utf32),
            (b"J\xf6rg", NotText::NotUtf8 { valid: 1 }),
            (b"\x1f\x8b\x08", NotText::NotUtf8 { valid: 1 }),
        ] {
            assert_eq!(text(bytes), Err(reason), "{bytes:?}");
        }
    }

    #[test]
    fn device_is_no_regular_file_and_a_directory_keeps_the_systems_words() {
        let reason = |path: &str| read_regular(Path::new(path)).map_err(|error| error.to_string());
        assert_eq!(reason("/dev/null"), Err("it is not a regular file".to_owned()));
        assert!(reason("/").is_err_and(|text| text.contains("directory")));
    }

    #[test]
    fn file_of_more_than_16_mib_is_not_read_and_takes_no_memory() {
        let path = std::env::temp_dir().join(format!("podgate-text-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        let read = |length| {
            file.set_len(length).unwrap();
            [read(&path), read_regular(&path)].map(|text| text.map(|text| text.len() as u64))
        };
        for text in read(LONGEST) {
            assert_eq!(text.unwrap(), LONGEST);
        }
        // Sparse, and larger than the machine's memory.
        for length in [LONGEST + 1, 1 << 40] {
            for text in read(length) {
                assert_eq!(text.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
            }
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn one_byte_order_mark_in_front_is_skipped_and_no_other() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"a", "a"),
            (b"\xef\xbb\xbf", ""),
            (b"\xef\xbb\xbfa", "a"),
            (b"\xef\xbb\xbf\xef\xbb\xbfa", "\u{feff}a"),
            (b"a\xef\xbb\xbf", "a\u{feff}"),
        ] {
            assert_eq!(text(bytes), Ok(expected), "{bytes:?}");
        }
    }
}
