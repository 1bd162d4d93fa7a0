//! Recordings on a disk: their permissions, their parts, a disk that is full, and a process that is killed.

use super::*;
use crate::{Fault, Messages, Payload, PublicKey, Signature, Verified, verify};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

const ID: &str = "0123456789abcdef0123456789abcdef";
/// Names the folder for [`writer_of_the_other_tests`].
const FOLDER: &str = "PODGATE_TEST_RECORDING";

fn key() -> Arc<SealKey> {
    Arc::new(SealKey::parse(include_str!("../../tests/data/seal")).unwrap())
}

fn io(n: u32) -> Message {
    let data = n.to_be_bytes().repeat(100).into();
    Message {
        connection: ID.to_owned(),
        timestamp: n.into(),
        channel: Some(0),
        payload: Payload::Io { stream: 1, data },
    }
}

fn part(numbers: &[u32]) -> Part {
    let mut part = Part::default();
    numbers.iter().for_each(|n| part.push(&io(*n)).unwrap());
    part
}

fn check(folder: &Path) -> Result<Verified, Fault> {
    let recording = folder.join(ID);
    let chain = BufReader::new(File::open(chain_path(&recording)).unwrap());
    verify(ID, File::open(&recording).unwrap(), chain, Some(&key().public()))
}

fn messages(folder: &Path) -> Vec<Message> {
    Messages::open(File::open(folder.join(ID)).unwrap()).unwrap().map(Result::unwrap).collect()
}

#[test]
fn directory_that_takes_no_files_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, told) in [(folder.path().join("missing"), "cannot be used"), (file, "is not a directory")] {
        let error = Directory::open(path.clone(), None).unwrap_err().to_string();
        assert!(error.contains(told) && error.starts_with(&*path.to_string_lossy()), "{error}");
    }
}

#[test]
fn check_of_a_directory_touches_no_file_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    fs::write(&kept, "kept").unwrap();
    std::os::unix::fs::symlink(&kept, folder.path().join(ACCESS_TEST)).unwrap();
    Directory::open(folder.path().to_owned(), None).unwrap();
    assert_eq!(fs::read(&kept).unwrap(), b"kept");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left");
}

#[test]
fn recording_that_cannot_begin_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path().to_owned(), None).unwrap();
    let chain = chain_path(&folder.path().join(ID));
    fs::write(&chain, "another's").unwrap();
    assert_eq!(directory.begin(ID).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert!(!folder.path().join(ID).exists());
    assert_eq!(fs::read(&chain).unwrap(), b"another's");
}

#[test]
fn recording_is_its_owner_s_and_replaces_none() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path().to_owned(), None).unwrap();
    let _recording = directory.begin(ID).unwrap();
    for name in [ID.to_owned(), format!("{ID}{CHAIN_SUFFIX}")] {
        let mode = fs::metadata(folder.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(directory.begin(ID).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn recording_has_what_was_written_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path().to_owned(), Some(key())).unwrap();
    let mut recording = directory.begin(ID).unwrap();
    recording.write(&part(&[1, 2])).unwrap();
    recording.write(&Part::default()).unwrap();
    assert_eq!(messages(folder.path()), [io(1), io(2)]);
    let open = check(folder.path()).unwrap();
    assert_eq!((open.parts, open.last, open.uncovered, open.sealed), (1, Some(1), 0, false));
    assert_eq!(open.signature, Signature::Checked(key().public().fingerprint()));
    assert_eq!(open.covered, fs::metadata(folder.path().join(ID)).unwrap().len());
    recording.write(&part(&[3])).unwrap();
    recording.seal(4).unwrap();
    assert_eq!(messages(folder.path()), [io(1), io(2), io(3)]);
    let whole = check(folder.path()).unwrap();
    assert_eq!((whole.parts, whole.last, whole.is_proven()), (2, Some(3), true));
    assert!(PublicKey::parse(include_str!("../../tests/data/seal.pub")).unwrap() == key().public());
}

#[test]
fn recording_that_is_moved_away_has_failed() {
    for (moved, is_replaced) in [(ID.to_owned(), false), (ID.to_owned(), true), (format!("{ID}{CHAIN_SUFFIX}"), true)] {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path().to_owned(), None).unwrap();
        let (mut written, mut sealed) = (directory.begin(ID).unwrap(), directory.begin("other").unwrap());
        for name in [moved.clone(), moved.replace(ID, "other")] {
            let (path, kept) = (folder.path().join(&name), folder.path().join(format!("{name}.kept")));
            fs::rename(&path, &kept).unwrap();
            if is_replaced {
                fs::copy(&kept, &path).unwrap();
            }
        }
        let error = written.write(&part(&[1])).unwrap_err().to_string();
        assert_eq!((&*error, sealed.seal(1).is_err()), ("the file was moved away", true), "{moved} {is_replaced}");
    }
}

/// Not a test by itself: writes recordings for the tests below, in a process of its own. With each part that is written it
/// says its number, or the error.
#[test]
fn writer_of_the_other_tests() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let mut recording = Directory::open(folder.into(), Some(key())).unwrap().begin(ID).unwrap();
    let mut out = io::stdout();
    for n in 0.. {
        let told =
            recording.write(&part(&[n])).map_or_else(|error| format!("part {n}: {error}"), |()| format!("part {n}"));
        writeln!(out, "\n{told}").unwrap();
        if told.contains(": ") {
            return;
        }
    }
}

/// Starts the writer behind a shell command.
fn writer(folder: &Path, before: &str) -> Child {
    let test = "file::tests::writer_of_the_other_tests";
    Command::new("/bin/sh")
        .args(["-c", &format!("{before}exec \"$0\" \"$@\""), &std::env::current_exe().unwrap().to_string_lossy()])
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn killed_process_loses_no_part_that_was_written() {
    for parts in [1, 2, 7, 40] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = writer(folder.path(), "");
        let told = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let last = told.filter(|line| line.starts_with("part ")).nth(parts - 1).unwrap();
        assert_eq!(last, format!("part {}", parts - 1));
        child.kill().unwrap();
        child.wait().unwrap();
        let verified = check(folder.path()).unwrap();
        assert!(verified.parts >= parts as u64 && !verified.sealed && !verified.is_proven(), "{verified:?}");
        let read = messages(folder.path());
        assert!(read.len() as u64 >= verified.parts, "{verified:?}");
        assert!((0..).zip(&read).all(|(n, message)| *message == io(n)));
    }
}

#[test]
fn write_that_fails_leaves_a_recording_that_verifies() {
    let folder = tempfile::tempdir().unwrap();
    // The system lets no file grow beyond four blocks, and says so where the signal for it is ignored.
    let child = writer(folder.path(), "trap '' XFSZ; ulimit -f 4; ");
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let last = told.lines().rfind(|line| line.starts_with("part ")).unwrap();
    assert!(last.contains("File too large"), "{last}");
    let verified = check(folder.path()).unwrap();
    let written = messages(folder.path());
    assert_eq!((verified.uncovered, verified.sealed), (0, false));
    assert_eq!(verified.parts, written.len() as u64, "nothing of the failed part is left");
    assert!(verified.parts > 0 && last.starts_with(&format!("part {}: ", verified.parts)), "{last}");
}

#[test]
fn failed_part_is_written_by_a_later_call() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path().to_owned(), Some(key())).unwrap();
    let mut recording = directory.begin(ID).unwrap();
    let lines = recording.fail_lines(&chain_path(&folder.path().join(ID))).unwrap();
    assert!(recording.write(&part(&[1])).is_err());
    assert_eq!(messages(folder.path()), [], "a part without its line is taken back");
    recording.lines.file = lines;
    recording.lines.is_broken = false;
    recording.write(&part(&[1, 2])).unwrap();
    recording.seal(3).unwrap();
    assert_eq!(messages(folder.path()), [io(1), io(2)]);
    assert!(check(folder.path()).unwrap().sealed);
}
