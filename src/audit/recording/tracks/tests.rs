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
    let message = Message { connection: "id".to_owned(), timestamp: now(), channel: Some(channel.into()), payload };
    tracks.push(Some(channel), &message, Track::push).unwrap();
}

fn exec() -> Payload {
    Payload::Exec { request_id: 1, program: "true".to_owned() }
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
    let (tracks, failed) = casts(folder.path());
    for payload in
        [exec(), Payload::Close {}, exec(), Payload::SetEnv { request_id: 2, name: "A".into(), value: "b".into() }]
    {
        push(&tracks, 3, payload);
    }
    assert!(tracks.of(Some(3)).is_none());
    tracks.finish(now(), "stuck").await;
    assert_eq!(files(folder.path()), ["id-3.cast", "id-3.cast.chain"]);
    assert!(!failed.is_cancelled());
}

#[tokio::test]
async fn channel_whose_number_comes_again_is_never_without_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let (tracks, failed) = casts(folder.path());
    push(&tracks, 3, exec());
    tracks.of(Some(3)).unwrap().written().await.unwrap();
    push(&tracks, 3, Payload::Close {});
    push(&tracks, 3, Payload::NewChannelSuccessful { channel_type: "session".to_owned() });
    push(&tracks, 3, exec());
    assert!(tracks.for_effect(Some(3)).unwrap().written().await.is_err(), "the file is there already");
    failed.cancelled().await;
}

#[tokio::test]
async fn channels_that_are_over_are_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let (tracks, _) = casts(folder.path());
    for channel in 0..50 {
        push(&tracks, channel, exec());
        let track = tracks.of(Some(channel)).unwrap();
        track.written().await.unwrap();
        push(&tracks, channel, Payload::Close {});
        while !track.is_over() {
            tokio::task::yield_now().await;
        }
    }
    let Tracks::Casts(casts) = &tracks else { panic!("casts") };
    assert!(casts.channels.lock().ending.len() <= 1);
    assert_eq!(files(folder.path()).len(), 100);
}
