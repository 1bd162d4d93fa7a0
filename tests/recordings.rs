//! Recordings of the audit log, as an operator decodes them.

use crate::configuration::podgate;
use serde_json::Value;
use std::fs;
use std::path::Path;

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
