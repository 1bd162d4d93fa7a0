//! The files that messages of channels make.

use super::*;
use crate::telemetry::{LogFormat, capture};
use crate::types::ConnectionId;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tokio_util::sync::CancellationToken;

fn casts(folder: &Path) -> (Tracks, CancellationToken) {
    let (log, _) = capture::log(LogFormat::Text);
    let log = log.connection(ConnectionId::random(), ([192, 0, 2, 7], 1).into());
    let failed = CancellationToken::new();
    let report = Report::new(Arc::new(AtomicBool::new(true)), failed.clone(), log);
    let directory = Directory::open(folder.to_owned(), None).unwrap();
    (Tracks::new(RecordingFormat::Asciicast, directory, "id".to_owned(), report), failed)
}

fn push(tracks: &Tracks, channel: u32, payload: Payload) {
    tracks.push(Some(channel), &message(channel, payload), Track::push).unwrap();
}

fn message(channel: u32, payload: Payload) -> Message {
    Message { connection: "id".to_owned(), timestamp: now(), channel: Some(channel.into()), payload }
}

fn exec(program: &str) -> Payload {
    Payload::Exec { request_id: 1, program: program.to_owned() }
}

fn open(tracks: &Tracks, channel: u32) {
    push(tracks, channel, Payload::NewChannelSuccessful { channel_type: "session".to_owned() });
}

/// Starts a program as a session does.
fn start(tracks: &Tracks, channel: u32, program: &str) {
    push(tracks, channel, exec(program));
    tracks.begin_program(Some(channel), &message(channel, exec(program))).unwrap();
}

fn pty(request_id: u64, columns: u32) -> Payload {
    let (term, modes) = ("xterm".to_owned(), Vec::new().into());
    Payload::Pty { request_id, term, columns, rows: 50, width: 0, height: 0, modes }
}

fn set(request_id: u64, name: &str, value: &str) -> Payload {
    Payload::SetEnv { request_id, name: name.to_owned(), value: value.to_owned() }
}

fn failed(request_id: u64) -> Payload {
    Payload::RequestFailed { request_id, reason: "no".to_owned() }
}

/// The lines of a cast.
fn lines(folder: &Path, name: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[tokio::test]
async fn request_that_crosses_the_end_of_its_channel_begins_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (tracks, failure) = casts(folder.path());
    open(&tracks, 3);
    start(&tracks, 3, "true");
    for payload in [Payload::Close {}, exec("late"), set(2, "A", "b"), failed(2)] {
        push(&tracks, 3, payload);
    }
    assert!(tracks.of(Some(3)).is_none());
    let late = message(3, exec("late"));
    assert_eq!(tracks.begin_program(Some(3), &late), Err(Unwritten::Ended), "no program runs without a cast");
    tracks.finish(now(), "stuck").await;
    assert_eq!(files(folder.path()), ["id-3.cast", "id-3.cast.chain"]);
    assert!(!failure.is_cancelled());
}

#[tokio::test]
async fn forwarded_channel_has_no_cast() {
    let folder = tempfile::tempdir().unwrap();
    let (tracks, _) = casts(folder.path());
    assert!(!tracks.takes_forwarding());
    for channel_type in ["direct-tcpip", "forwarded-tcpip", "x11"] {
        push(&tracks, 2, Payload::NewChannelSuccessful { channel_type: channel_type.to_owned() });
        for payload in [pty(1, 9), set(2, "A", "b"), exec("cat /etc/shadow"), failed(1)] {
            push(&tracks, 2, payload);
            tracks.accept(Some(2));
        }
        push(&tracks, 2, Payload::Io { stream: 1, data: b"root:".to_vec().into() });
        push(&tracks, 2, Payload::Close {});
    }
    tracks.finish(now(), "stuck").await;
    assert_eq!(files(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn refused_program_falsifies_no_header_of_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (tracks, _) = casts(folder.path());
    open(&tracks, 3);
    // By the rules: it has no file.
    push(&tracks, 3, Payload::Subsystem { request_id: 1, subsystem: "denied".to_owned() });
    push(&tracks, 3, failed(1));
    tracks.refuse_program(Some(3));
    // By the guest: it has one of its own.
    let subsystem = Payload::Subsystem { request_id: 2, subsystem: "nosuch".to_owned() };
    push(&tracks, 3, set(2, "SPENT", "1"));
    tracks.accept(Some(3));
    tracks.begin_program(Some(3), &message(3, subsystem)).unwrap();
    push(&tracks, 3, failed(2));
    tracks.refuse_program(Some(3));
    push(&tracks, 3, set(3, "LANG", "C"));
    tracks.accept(Some(3));
    push(&tracks, 3, pty(4, 200));
    tracks.accept(Some(3));
    start(&tracks, 3, "true");
    push(&tracks, 3, Payload::Close {});
    tracks.finish(now(), "stuck").await;
    assert_eq!(files(folder.path()), ["id-3-2.cast", "id-3-2.cast.chain", "id-3.cast", "id-3.cast.chain"]);
    let (refused, ran) = (lines(folder.path(), "id-3.cast"), lines(folder.path(), "id-3-2.cast"));
    assert_eq!((&refused[0]["command"], &refused[1][2]), (&"nosuch".into(), &"subsystem refused: no".into()));
    assert_eq!((&ran[0]["command"], &ran[0]["width"], ran.len()), (&"true".into(), &200.into(), 1));
    assert_eq!(ran[0]["env"], serde_json::json!({"LANG": "C", "TERM": "xterm"}));
}

#[tokio::test]
async fn refused_terminal_or_variable_takes_the_place_of_no_accepted_one() {
    let folder = tempfile::tempdir().unwrap();
    let (tracks, _) = casts(folder.path());
    open(&tracks, 3);
    for (payload, is_accepted) in [
        (pty(1, 200), true),
        (set(2, "LANG", "C"), true),
        (set(3, "LANG", "de"), true),
        (pty(4, 9), false),
        (set(5, "LANG", "evil"), false),
        (set(6, "LD_PRELOAD", "evil"), false),
    ] {
        push(&tracks, 3, payload);
        if is_accepted { tracks.accept(Some(3)) } else { push(&tracks, 3, failed(5)) }
    }
    push(&tracks, 3, exec("true"));
    // This one crosses the start, and is refused behind it.
    push(&tracks, 3, pty(7, 8));
    tracks.begin_program(Some(3), &message(3, exec("true"))).unwrap();
    push(&tracks, 3, failed(7));
    tracks.finish(now(), "stuck").await;
    let cast = lines(folder.path(), "id-3.cast");
    assert_eq!((&cast[0]["width"], &cast[1][2]), (&200.into(), &"pty-req refused: no".into()));
    assert_eq!(cast[0]["env"], serde_json::json!({"LANG": "de", "TERM": "xterm"}));
}

#[tokio::test]
async fn channel_whose_number_comes_again_is_never_without_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let (tracks, failure) = casts(folder.path());
    open(&tracks, 3);
    start(&tracks, 3, "true");
    tracks.of(Some(3)).unwrap().written().await.unwrap();
    push(&tracks, 3, Payload::Close {});
    open(&tracks, 3);
    start(&tracks, 3, "true");
    assert!(tracks.of(Some(3)).unwrap().written().await.is_err(), "the file is there already");
    failure.cancelled().await;
}

#[tokio::test]
async fn channels_that_are_over_are_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let (tracks, _) = casts(folder.path());
    for channel in 0..50 {
        open(&tracks, channel);
        start(&tracks, channel, "true");
        let track = tracks.of(Some(channel)).unwrap();
        track.written().await.unwrap();
        push(&tracks, channel, Payload::Close {});
        while !track.is_over() {
            tokio::task::yield_now().await;
        }
    }
    let Tracks::Casts(casts) = &tracks else { panic!("casts") };
    let channels = casts.channels.lock();
    assert!(channels.ending.len() <= 1 && channels.open.is_empty());
    assert_eq!(files(folder.path()).len(), 100);
}
