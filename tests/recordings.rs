//! Recordings of the audit log, as an operator decodes them.

mod casts;
mod gateway;

use crate::configuration::podgate;
use crate::support::leash;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Stdio;

fn seed(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/recording");
    folder.join(name).to_string_lossy().into_owned()
}

#[tokio::test]
async fn file_that_is_no_recording_is_not_decoded() {
    let folder = tempfile::tempdir().expect("a folder");
    let (empty, missing) = (folder.path().join("empty"), folder.path().join("missing"));
    fs::write(&empty, "").expect("a file");
    for (file, status, told) in [
        (empty.to_string_lossy().into_owned(), 1, "this is no recording in the binary format"),
        (missing.to_string_lossy().into_owned(), 66, "No such file"),
        (folder.path().to_string_lossy().into_owned(), 66, "Is a directory"),
        (seed("messages"), 1, "this is no recording in the binary format"),
    ] {
        let ran = podgate(&["audit", "decode", &file]).await;
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(status), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(told) && ran.stderr.contains(&file), "{}", ran.stderr);
    }
    assert_eq!(podgate(&["audit"]).await.status, Some(64));
    assert_eq!(podgate(&["audit", "decode"]).await.status, Some(64));
}

#[tokio::test]
async fn recordings_of_both_versions_are_printed_up_to_their_end() {
    let mut printed = Vec::new();
    // That of version 1 has no end, as ContainerSSH leaves it.
    for version in ["version-1", "version-2"] {
        let ran = podgate(&["audit", "decode", &seed(version)]).await;
        // One message has a payload of a wrong type, which hides none behind it.
        assert_eq!(ran.status, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains("a message of type 499 has a value of a wrong type"), "{}", ran.stderr);
        let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let ids: Vec<_> = lines.iter().map(|line| line["typeId"].as_str().unwrap_or("error")).collect();
        let answer = "auth_keyboard_interactive_answer";
        assert_eq!(ids, ["connect", answer, "pty", "io", "exit_signal", "error", "invalid", "disconnect"]);
        assert_eq!(lines[3]["payload"]["data"], "aGn/");
        printed.push(ran.stdout);
    }
    assert_eq!(printed[0], printed[1]);
}

#[tokio::test]
async fn recording_that_is_cut_is_printed_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = fs::read(seed("version-2")).expect("a seed");
    let file = folder.path().join("cut");
    // In the first of two parts.
    fs::write(&file, &whole[..whole.len() / 2]).expect("a file");
    let ran = podgate(&["audit", "decode", &file.to_string_lossy()]).await;
    assert_eq!(ran.status, Some(0));
    assert!(ran.stderr.ends_with(": the recording ends inside a message\n"), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("{") && ran.stdout.contains("\"connect\""), "{}", ran.stdout);
}

/// A recording of three parts by this key, sealed if its writer was not killed.
fn recording(folder: &Path, key: Option<&str>, sealed: bool) -> String {
    use podgate_recording::file::{Directory, Part};
    use podgate_recording::{Message, Payload, SealKey};
    let key = key.map(|pem| std::sync::Arc::new(SealKey::parse(pem).expect("a key")));
    let id = "0123456789abcdef0123456789abcdef";
    let mut file = Directory::open(folder.to_owned(), key).expect("a directory").begin(id).expect("a recording");
    for timestamp in 1..=3 {
        let mut part = Part::default();
        let payload = Payload::Exec { request_id: 1, program: format!("part {timestamp}") };
        part.push(&Message { connection: id.to_owned(), timestamp, channel: Some(0), payload }).expect("a message");
        file.write(&part).expect("a part");
    }
    if sealed {
        file.seal(4).expect("a seal");
    }
    folder.join(id).to_string_lossy().into_owned()
}

pub const KEY: &str = include_str!("../recording/tests/data/seal");

pub fn key_file() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/recording/tests/data/seal.pub").to_owned()
}

#[tokio::test]
async fn recording_that_was_changed_cut_or_left_open_is_not_proven() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), Some(KEY), true);
    let (chain, key) = (format!("{file}.chain"), key_file());
    let (bytes, lines) = (fs::read(&file).expect("a recording"), fs::read_to_string(&chain).expect("a chain"));
    let mut flipped = bytes.clone();
    flipped[60] ^= 1;
    let without_seal = lines.trim_end().rsplit_once('\n').expect("lines").0.to_owned() + "\n";
    let longer = [&bytes[..], b"more"].concat();
    for (bytes, lines, status, told) in [
        (&flipped, &lines, 1, "do not rely on it: part 0 was changed"),
        (&bytes[..bytes.len() - 3].to_vec(), &lines, 1, "the recording ends in part 2"),
        (&bytes, &without_seal, 2, "not proven: 3 parts"),
        (&longer, &without_seal, 2, "4 bytes behind them that nothing is sure of"),
        (&longer, &lines, 1, "there is something behind the end"),
        (&bytes[..40].to_vec(), &String::new(), 2, "nothing was recorded"),
    ] {
        fs::write(&file, bytes).expect("a recording");
        fs::write(&chain, lines).expect("a chain");
        let ran = podgate(&["audit", "verify", "--key", &key, &file]).await;
        assert_eq!((ran.status, ran.stdout.lines().count()), (Some(status), 1), "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.starts_with(&format!("{file}: ")) && ran.stdout.contains(told), "{told}: {}", ran.stdout);
    }
    fs::remove_file(&chain).expect("a chain");
    let ran = podgate(&["audit", "verify", "--key", &key, &file]).await;
    assert_eq!(ran.status, Some(66), "{}", ran.stdout);
    for wrong in [&["--key", &file][..], &["--unsigned", "--key", &key], &["--hash", "00", &file]] {
        let ran = podgate(&[&["audit", "verify", &file], wrong].concat()).await;
        assert_eq!(ran.status, Some(64), "{wrong:?}: {}", ran.stderr);
    }
    assert_eq!(podgate(&["audit", "verify"]).await.status, Some(64));
}

#[tokio::test]
async fn recording_is_proven_by_the_key_that_signed_it_and_the_hash_of_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), Some(KEY), true);
    let other = folder.path().join("other.pub");
    let blob = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    fs::write(&other, format!("ssh-ed25519 {blob}")).expect("a key");
    let other = other.to_string_lossy().into_owned();
    let ran = podgate(&["audit", "verify", "--key", &other, "--key", &key_file(), &file]).await;
    assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("proven: 3 parts") && ran.stdout.contains("signed by SHA256:"), "{}", ran.stdout);
    let hash = ran.stdout.trim_end().rsplit_once(' ').expect("a hash").1.to_owned();
    let verify = |more: &'static [&'static str], hash: String, file: String| async move {
        let args = [&["audit", "verify", "--hash", &hash, &file][..], more].concat();
        podgate(&args).await.status
    };
    // Without the key, nobody knows who wrote it.
    assert_eq!(verify(&[], hash.clone(), file.clone()).await, Some(2));
    assert_eq!(verify(&["--unsigned"], hash.clone(), file.clone()).await, Some(2));
    assert_eq!(verify(&[], "0".repeat(64), file.clone()).await, Some(1));
    assert_eq!(podgate(&["audit", "verify", "--key", &other, &file]).await.status, Some(1));
    let folder = tempfile::tempdir().expect("a folder");
    let unsigned = recording(folder.path(), None, true);
    assert_eq!(podgate(&["audit", "verify", &unsigned]).await.status, Some(2));
    assert_eq!(podgate(&["audit", "verify", "--unsigned", &unsigned]).await.status, Some(0));
}

#[tokio::test]
async fn what_the_chain_does_not_cover_is_not_decoded() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), None, false);
    let bytes = fs::read(&file).expect("a recording");
    let first = podgate(&["audit", "decode", &file]).await;
    assert_eq!((first.status, first.stdout.lines().count()), (Some(0), 3), "{}", first.stderr);
    // A part that somebody put behind the others is one that gzip takes.
    fs::write(&file, [&bytes[..], &bytes[40..]].concat()).expect("a recording");
    let ran = podgate(&["audit", "decode", &file]).await;
    assert_eq!((ran.status, &ran.stdout), (Some(0), &first.stdout));
    assert!(ran.stderr.contains("that the chain does not cover are left out"), "{}", ran.stderr);
    let mut flipped = bytes;
    flipped[45] ^= 1;
    fs::write(&file, &flipped).expect("a recording");
    let ran = podgate(&["audit", "decode", &file]).await;
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("do not rely on it: part 0 was changed"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    // Nor behind a seal.
    let sealed_folder = tempfile::tempdir().expect("a folder");
    let sealed = recording(sealed_folder.path(), None, true);
    let bytes = fs::read(&sealed).expect("a recording");
    fs::write(&sealed, [&bytes[..], &bytes[40..]].concat()).expect("a recording");
    let ran = podgate(&["audit", "decode", &sealed]).await;
    assert_eq!((ran.status, &ran.stdout), (Some(1), &first.stdout), "{}", ran.stderr);
    assert!(ran.stderr.contains("do not rely on it: there is something behind the end"), "{}", ran.stderr);
    let both = format!("{}/chainless", sealed_folder.path().display());
    fs::copy(&sealed, &both).expect("a copy");
    let ran = podgate(&["audit", "decode", &both]).await;
    assert_eq!((ran.status, ran.stdout.lines().count()), (Some(0), 6), "{}", ran.stderr);
    assert!(ran.stderr.contains("no chain is beside it"), "{}", ran.stderr);
}

#[tokio::test]
async fn chains_among_the_recordings_are_no_recordings() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), None, true);
    let ran = podgate(&["audit", "verify", "--unsigned", &file, &format!("{file}.chain")]).await;
    assert_eq!((ran.status, ran.stdout.lines().count()), (Some(0), 1), "{}", ran.stdout);
    let ran = podgate(&["audit", "verify", "--hash", "zz", &file]).await;
    assert_eq!(ran.status, Some(64), "{}", ran.stdout);
}

#[tokio::test]
async fn chain_without_its_recording_is_one_that_was_taken_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = recording(folder.path(), None, true);
    let other = tempfile::tempdir().expect("a folder");
    let gone = recording(other.path(), None, true);
    fs::remove_file(&gone).expect("a recording");
    let chain = format!("{gone}.chain");
    for files in [&[&*chain][..], &[&gone], &[&kept, &chain], &[&kept, &chain, &gone]] {
        let ran = podgate(&[&["audit", "verify", "--unsigned"], files].concat()).await;
        assert_eq!((ran.status, ran.stdout.lines().count()), (Some(1), files.len()), "{files:?}: {}", ran.stdout);
        assert!(ran.stdout.contains("its chain alone is left"), "{}", ran.stdout);
    }
}

#[tokio::test]
async fn pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), None, true);
    let chain = format!("{file}.chain");
    for pipe in [&file, &chain] {
        let path = Path::new(pipe);
        fs::remove_file(path).expect("a file");
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR).expect("a pipe");
        let ran = podgate(&["audit", "verify", &file]).await;
        assert_eq!(ran.status, Some(66), "{}", ran.stdout);
        assert!(ran.stdout.contains("not a regular file"), "{}", ran.stdout);
    }
}

#[tokio::test]
async fn asciicast_is_known_by_its_first_byte_and_does_not_act_on_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let foreign = "{\"version\":2}\n[1.0,\"o\",\"\u{9b}2J\u{202e}\u{1b}[31m\"]\n";
    let shown = "{\"version\":2}\n[1.0,\"o\",\"\\u009b2J\\u202e\\u001b[31m\"]\n";
    for name in ["a.cast", "a.CAST", "a"] {
        fs::write(path(name), foreign).expect("a cast");
        let ran = podgate(&["audit", "decode", &path(name)]).await;
        assert_eq!((ran.status, &*ran.stdout), (Some(0), shown), "{}", ran.stderr);
    }
    let input = Stdio::from(fs::File::open(path("a")).expect("a cast"));
    let mut program = leash::program(env!("CARGO_BIN_EXE_podgate"));
    let ran = program.args(["audit", "decode", "-"]).stdin(input).output().await.expect("podgate");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), shown);
    fs::copy(seed("version-2"), path("b.cast")).expect("a recording");
    let ran = podgate(&["audit", "decode", &path("b.cast")]).await;
    assert_eq!((ran.status, &*ran.stdout), (Some(1), ""));
    assert!(ran.stderr.contains("this is no asciicast"), "{}", ran.stderr);
}
