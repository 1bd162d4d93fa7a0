//! Lines that a giving side sends, read as OpenSSH's scp reads them.

use rustix::fs::Timespec;

/// A line that begins a file or directory, ends one, or tells times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// `C`: a file of this mode and size in bytes.
    File { mode: u32, size: u64, name: Vec<u8> },
    /// `D`: a directory of this mode.
    Directory { mode: u32, name: Vec<u8> },
    /// `E`: the end of a directory.
    End,
    /// `T`: times of what follows.
    Times { accessed: Timespec, modified: Timespec },
    /// An error of the peer's; whether it ends everything.
    Error { fatal: bool },
}

/// A line that cannot be read; the texts are OpenSSH's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// The protocol was broken.
    #[error("protocol error: {0}")]
    Broken(&'static str),
    /// A name that would lead beside the target.
    #[error("error: unexpected filename: {}", .0.escape_ascii())]
    Name(Vec<u8>),
    /// Not the protocol: what a shell or a login script says, as a rule.
    #[error("{}", .0.escape_ascii())]
    NoRecord(Vec<u8>),
}

impl Record {
    /// Reads a line without its end. `first` is true for the first line of a directory or transfer.
    pub(crate) fn parse(line: &[u8], first: bool) -> Result<Self, RecordError> {
        let broken = |text| Err(RecordError::Broken(text));
        match line {
            [] => broken("unexpected <newline>"),
            [1, ..] => Ok(Self::Error { fatal: false }),
            [2, ..] => Ok(Self::Error { fatal: true }),
            [b'E', ..] => Ok(Self::End),
            [b'T', rest @ ..] => times(rest),
            [kind @ (b'C' | b'D'), rest @ ..] => entry(*kind == b'D', rest),
            other if first => Err(RecordError::NoRecord(other.to_vec())),
            _ => broken("expected control record"),
        }
    }
}

/// Mode, size and name.
fn entry(directory: bool, rest: &[u8]) -> Result<Record, RecordError> {
    let broken = RecordError::Broken;
    let (digits, rest) = rest.split_at_checked(4).ok_or(broken("bad mode"))?;
    let mut mode = 0;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return Err(broken("bad mode"));
        }
        mode = (mode << 3) | u32::from(digit - b'0');
    }
    let rest = rest.strip_prefix(b" ").ok_or(broken("mode not delimited"))?;
    let (size, rest) = number(rest).ok_or(broken("size not present"))?;
    let name = rest.strip_prefix(b" ").ok_or(broken("size not delimited"))?;
    let size = size.filter(|size| i64::try_from(*size).is_ok()).ok_or(broken("size out of range"))?;
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) || name == b"." || name == b".." {
        return Err(RecordError::Name(name.to_vec()));
    }
    let name = name.to_vec();
    Ok(if directory { Record::Directory { mode, name } } else { Record::File { mode, size, name } })
}

/// Seconds and microseconds of the last change, then of the last access.
fn times(rest: &[u8]) -> Result<Record, RecordError> {
    let (modified, rest) =
        time(rest, ["mtime.sec not present", "mtime.sec not delimited", "mtime.usec not delimited"])?;
    let rest = rest.strip_prefix(b" ").ok_or(RecordError::Broken("mtime.usec not delimited"))?;
    let (accessed, rest) =
        time(rest, ["atime.sec not present", "atime.sec not delimited", "atime.usec not delimited"])?;
    if !rest.is_empty() {
        return Err(RecordError::Broken("atime.usec not delimited"));
    }
    Ok(Record::Times { accessed, modified })
}

fn time<'a>(rest: &'a [u8], errors: [&'static str; 3]) -> Result<(Timespec, &'a [u8]), RecordError> {
    let [no_seconds, no_end, no_fraction] = errors.map(RecordError::Broken);
    let (seconds, rest) = number(rest).ok_or(no_seconds)?;
    let rest = rest.strip_prefix(b" ").ok_or(no_end)?;
    let (micros, rest) = number(rest).ok_or(no_fraction.clone())?;
    let micros = micros.filter(|micros| *micros < 1_000_000).ok_or(no_fraction)?;
    // A time that the system does not have is the last one that it has.
    let seconds = seconds.and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(i64::MAX);
    let nanos = i64::try_from(micros).unwrap_or(0) * 1000;
    Ok((Timespec { tv_sec: seconds, tv_nsec: nanos as _ }, rest))
}

/// Decimal digits and what follows; the number is `None` where it is too large.
fn number(text: &[u8]) -> Option<(Option<u64>, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = std::str::from_utf8(&text[..digits]).ok()?.parse().ok();
    (digits > 0).then_some((value, &text[digits..]))
}

/// Lines, each by itself.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(data: &[u8]) {
    for (number, line) in data.split(|byte| *byte == b'\n').enumerate() {
        match Record::parse(line, number == 0) {
            Ok(Record::File { mode, size, name }) => {
                assert!(mode <= 0o7777 && i64::try_from(size).is_ok());
                assert!(!name.is_empty() && !name.contains(&b'/') && name != b"." && name != b"..");
            }
            Ok(Record::Directory { mode, name }) => {
                assert!(mode <= 0o7777);
                assert!(!name.is_empty() && !name.contains(&b'/') && name != b"." && name != b"..");
            }
            Ok(Record::End | Record::Times { .. } | Record::Error { .. }) => {}
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_line_leads_beside_the_target(
            start in prop_oneof![Just(&b"C0644 1 "[..]), Just(&b"D0755 0 "[..]), Just(&b"T1 0 "[..]), Just(&b""[..])],
            rest in vec(any::<u8>(), 0..60),
        ) {
            let line = [start, &rest].concat();
            if let Ok(Record::File { name, .. } | Record::Directory { name, .. }) = Record::parse(&line, false) {
                prop_assert!(!name.is_empty() && !name.contains(&b'/') && name != b"." && name != b"..");
            }
        }
    }

    #[test]
    fn lines_that_break_the_protocol_are_refused_with_openssh_s_words() {
        let rows: [(&[u8], &str); 14] = [
            (b"", "protocol error: unexpected <newline>"),
            (b"X", "protocol error: expected control record"),
            (b"C064", "protocol error: bad mode"),
            (b"C0648 1 a", "protocol error: bad mode"),
            (b"C06444 1 a", "protocol error: mode not delimited"),
            (b"C0644 a", "protocol error: size not present"),
            (b"C0644 1", "protocol error: size not delimited"),
            (b"C0644 9223372036854775808 a", "protocol error: size out of range"),
            (b"C0644 1 ", "error: unexpected filename: "),
            (b"C0644 1 a/b", "error: unexpected filename: a/b"),
            (b"D0755 0 ..", "error: unexpected filename: .."),
            (b"Tx 0 1 0", "protocol error: mtime.sec not present"),
            (b"T1 1000000 1 0", "protocol error: mtime.usec not delimited"),
            (b"T1 0 1 0 ", "protocol error: atime.usec not delimited"),
        ];
        for (line, expected) in rows {
            let error = Record::parse(line, false).unwrap_err();
            assert_eq!(error.to_string(), expected, "{}", line.escape_ascii());
        }
        assert_eq!(Record::parse(b"Welcome", true), Err(RecordError::NoRecord(b"Welcome".to_vec())));
    }

    #[test]
    fn lines_are_read() {
        let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        let rows: [(&[u8], Record); 5] = [
            (b"C4755 12 a b\xff", Record::File { mode: 0o4755, size: 12, name: b"a b\xff".to_vec() }),
            (b"D0700 0 d", Record::Directory { mode: 0o700, name: b"d".to_vec() }),
            (b"E", Record::End),
            (b"T5 0 7 999999", Record::Times { accessed: time(7, 999_999_000), modified: time(5, 0) }),
            (b"\x02gone", Record::Error { fatal: true }),
        ];
        for (line, expected) in rows {
            assert_eq!(Record::parse(line, false), Ok(expected), "{}", line.escape_ascii());
        }
    }
}
