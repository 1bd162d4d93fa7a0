//! `podgate audit verify`: one line for each recording with what is sure of it, and the status for all of them.

use super::{PATH, VerifyArgs, print, print_line};
use podgate::printable;
use podgate_recording::file::{CHAIN_SUFFIX, chain_path};
use podgate_recording::{Fault, PublicKey, Signature, Verified, covered, verify};
use rustix::fs::OFlags;
use std::borrow::Cow;
use std::fmt::Write;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The result for one recording; the last one counts for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Proven,
    NotProven,
    Unread,
    Faulty,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Proven => Self::SUCCESS,
            Verdict::NotProven => Self::from(2),
            Verdict::Unread => Self::from(66),
            Verdict::Faulty => Self::FAILURE,
        }
    }
}

/// Checks the chain beside a recording, without a key. Returns the bytes that it covers, and its first fault; `None` if there
/// is no chain: ContainerSSH writes none.
pub(super) fn coverage(file: &Path) -> Option<(u64, Option<Fault>)> {
    let chain = match open(&chain_path(file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some((0, Some(Fault::Chain(error)))),
        Ok(chain) => chain,
    };
    Some(match open(file) {
        Ok(recording) => covered(&name(file), BufReader::new(recording), BufReader::new(chain)),
        Err(error) => (0, Some(Fault::Recording(error))),
    })
}

/// Opens a regular file: a pipe, whose end nobody may write, is not read.
fn open(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let kind = opened.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() { Ok(opened) } else { Err(io::Error::other("it is not a regular file")) }
}

/// The recording that a chain is of; `None` if this is no chain.
fn recording_of(chain: &Path) -> Option<PathBuf> {
    Some(PathBuf::from(chain.to_str()?.strip_suffix(CHAIN_SUFFIX)?))
}

fn is_missing(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn name(file: &Path) -> Cow<'_, str> {
    file.file_name().unwrap_or_default().to_string_lossy()
}

pub(super) fn run(args: &VerifyArgs) -> ExitCode {
    let wrong = |text: &str| {
        print_line(&mut io::stderr(), &format!("podgate: {text}"));
        ExitCode::from(64)
    };
    if args.hash.is_some() && args.files.len() > 1 {
        return wrong("--hash is of one recording");
    }
    let mut keys = Vec::new();
    for file in &args.key {
        let shown = printable(&file.to_string_lossy(), PATH);
        match std::fs::read_to_string(file) {
            Ok(text) => match PublicKey::parse(&text) {
                Ok(key) => keys.push(key),
                Err(error) => return wrong(&format!("--key: {shown}: {error}")),
            },
            Err(error) => return super::unread(file, &error),
        }
    }
    if args.hash.as_deref().is_some_and(|hash| hash.len() != 64 || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()))
    {
        return wrong("--hash takes the 64 hexadecimal digits of a SHA-256");
    }
    // A shell's `*` names the chains, too, which stand beside the recordings. One that stands alone is judged.
    let is_beside = |file: &Path| recording_of(file).is_some_and(|recording| !is_missing(&recording));
    let recordings = args.files.iter().filter(|file| args.files.len() == 1 || !is_beside(file));
    let judged = recordings.map(|file| {
        let (verdict, text) = judge(file, &keys, args);
        (verdict, format!("{}: {text}\n", printable(&file.to_string_lossy(), PATH)))
    });
    let (verdicts, lines): (Vec<Verdict>, Vec<String>) = judged.unzip();
    let printed = print(&lines.concat());
    if printed == ExitCode::SUCCESS { verdicts.into_iter().max().unwrap_or(Verdict::Unread).into() } else { printed }
}

fn judge(file: &Path, keys: &[PublicKey], args: &VerifyArgs) -> (Verdict, String) {
    let recording = recording_of(file).filter(|recording| is_missing(recording));
    if is_missing(file) && !is_missing(&chain_path(file)) || recording.is_some() && !is_missing(file) {
        return (Verdict::Faulty, "the recording was taken away: its chain alone is left".to_owned());
    }
    let verified = match check_by_any(file, keys) {
        Ok(verified) => verified,
        Err(fault @ (Fault::Recording(_) | Fault::Chain(_))) => return (Verdict::Unread, fault.to_string()),
        Err(fault @ Fault::Nothing) => return (Verdict::NotProven, fault.to_string()),
        Err(fault) => return (Verdict::Faulty, format!("do not rely on it: {fault}")),
    };
    let expected = args.hash.as_deref().map(str::to_ascii_lowercase);
    if expected.is_some_and(|expected| expected != verified.hash) {
        let text = format!("do not rely on it: the last hash is {}, not the expected one", verified.hash);
        return (Verdict::Faulty, text);
    }
    let is_whole = verified.sealed && verified.uncovered == 0;
    let unsigned = args.unsigned && is_whole && verified.signature == Signature::NotSigned;
    let verdict = if verified.is_proven() || unsigned { Verdict::Proven } else { Verdict::NotProven };
    (verdict, describe(&verified, verdict))
}

/// Checks by the key that signed, if it is among these.
fn check_by_any(file: &Path, keys: &[PublicKey]) -> Result<Verified, Fault> {
    let mut checked = Err(Fault::Unsigned);
    for key in keys {
        checked = check(file, Some(key));
        if !matches!(checked, Err(Fault::Unsigned)) {
            break;
        }
    }
    if keys.is_empty() { check(file, None) } else { checked }
}

fn check(file: &Path, key: Option<&PublicKey>) -> Result<Verified, Fault> {
    let recording = open(file).map_err(Fault::Recording)?;
    let chain = open(&chain_path(file)).map_err(Fault::Chain)?;
    verify(&name(file), BufReader::new(recording), BufReader::new(chain), key)
}

fn describe(verified: &Verified, verdict: Verdict) -> String {
    let Verified { parts, last, covered, uncovered, sealed, signature, hash, goes_back } = verified;
    let mut text = if verdict == Verdict::Proven { "proven: " } else { "not proven: " }.to_owned();
    // Text takes every write.
    let _ = write!(text, "{parts} parts ({covered} bytes)");
    if let Some(time) = last.and_then(|time| jiff::Timestamp::from_nanosecond(time.into()).ok()) {
        let _ = write!(text, ", the last begun at {time:.3}");
    }
    text.push_str(match sealed {
        true => ", sealed",
        false => ", not sealed: what was behind them may have been taken away",
    });
    if *uncovered > 0 {
        let _ = write!(text, ", {uncovered} bytes behind them that nothing is sure of");
    }
    match signature {
        Signature::Checked(key) => drop(write!(text, ", signed by {key}")),
        Signature::Unchecked => text.push_str(", signed by a key that was not given (--key)"),
        Signature::NotSigned => text.push_str(", not signed: whoever can write the files can have made them"),
    }
    if *goes_back {
        text.push_str(", the clock went backwards");
    }
    let _ = write!(text, "; last hash {hash}");
    text
}
