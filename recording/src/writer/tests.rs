//! The queue's bounds, the time after which a message is written, and what a failed write means.

use super::*;
use crate::file::{Directory, chain_path};
use crate::{Messages, Payload, Verified, verify};
use futures_util::FutureExt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use tempfile::TempDir;

const ID: &str = "0123456789abcdef0123456789abcdef";

fn io(n: u32, length: usize) -> Message {
    let data = vec![n as u8; length].into();
    Message {
        connection: ID.to_owned(),
        timestamp: n.into(),
        channel: Some(0),
        payload: Payload::Io { stream: 1, data },
    }
}

fn recording() -> (TempDir, RecordingFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = Directory::open(folder.path().to_owned(), None).unwrap().begin(ID).unwrap();
    (folder, file)
}

fn messages(folder: &Path) -> Vec<Message> {
    Messages::open(File::open(folder.join(ID)).unwrap()).unwrap().map(Result::unwrap).collect()
}

fn check(folder: &Path) -> Verified {
    let recording = folder.join(ID);
    let chain = BufReader::new(File::open(chain_path(&recording)).unwrap());
    verify(ID, File::open(&recording).unwrap(), chain, None).unwrap()
}

#[test]
fn size_is_never_less_than_the_encoded_length() {
    for payload in Payload::every() {
        let message = Message { payload, ..io(1, 0) };
        let mut part = Part::default();
        part.push(&message).unwrap();
        assert!((part.length()..part.length() + 200).contains(&message.size()), "{message:?}");
    }
}

#[tokio::test]
async fn failed_write_is_told_and_ends_the_recording() {
    let (folder, mut file) = recording();
    file.fail_lines(&chain_path(&folder.path().join(ID))).unwrap();
    let (writer, task) = writer(move || Ok(file));
    let failing = writer.watcher();
    assert!(failing.failed().now_or_never().is_none());
    writer.push(&io(1, 1)).unwrap();
    let (written, failure, _) = tokio::join!(writer.written(), failing.failed(), task.run());
    assert_eq!(written, Err(Unwritten::Failed));
    assert!(failure.0.contains("Bad file descriptor"), "{failure:?}");
    assert_eq!(writer.push(&io(2, 1)), Err(Unwritten::Failed));
    assert_eq!(writer.push_when_room(&io(2, 1)).await, Err(Unwritten::Failed));
    assert_eq!(writer.finish(3).await, Err(Unwritten::Failed));
    assert_eq!(messages(folder.path()), []);
}

#[tokio::test]
async fn data_waits_for_room_and_what_cannot_wait_has_a_reserve() {
    let (folder, file) = recording();
    let (writer, task) = writer(move || Ok(file));
    let mut queued = 0;
    while writer.push_when_room(&io(queued, 32 << 10)).now_or_never().is_some() {
        queued += 1;
    }
    assert_eq!(queued, 31, "about a MiB");
    writer.push(&io(queued, 100)).unwrap();
    let waiting = async {
        writer.push_when_room(&io(queued + 1, 32 << 10)).await.unwrap();
        writer.finish(1).await
    };
    let (waited, _) = tokio::join!(waiting, task.run());
    assert_eq!(waited, Ok(()));
    let numbers: Vec<i64> = messages(folder.path()).iter().map(|message| message.timestamp).collect();
    assert_eq!(numbers, (0..=i64::from(queued) + 1).collect::<Vec<_>>());
    assert!(check(folder.path()).sealed);
}

#[tokio::test]
async fn queue_that_overflows_ends_the_recording() {
    let (folder, file) = recording();
    let (writer, task) = writer(move || Ok(file));
    let mut queued = 0;
    while writer.push(&io(queued, 32 << 10)).is_ok() {
        queued += 1;
    }
    assert_eq!(queued, 39, "about a MiB and its reserve");
    assert!(writer.watcher().failed().await.0.contains("too slow"));
    // What would leave a hole behind it is refused, however small it is.
    assert_eq!(writer.push(&io(1, 1)), Err(Unwritten::Failed));
    assert_eq!(writer.push_when_room(&io(1, 1)).now_or_never(), Some(Err(Unwritten::Failed)));
    drop(writer);
    task.run().await;
    assert_eq!(messages(folder.path()).len(), queued as usize, "what was queued before is kept");
    assert!(!check(folder.path()).sealed);
}

#[tokio::test]
async fn recording_with_a_lost_message_gets_no_seal() {
    let (folder, file) = recording();
    let (writer, task) = writer(move || Ok(file));
    while writer.push(&io(1, 32 << 10)).is_ok() {}
    let (finished, _) = tokio::join!(writer.finish(1), task.run());
    assert_eq!(finished, Err(Unwritten::Failed));
    assert!(!check(folder.path()).sealed);
}

#[tokio::test]
async fn message_larger_than_the_queue_is_taken() {
    let (folder, file) = recording();
    let (writer, task) = writer(move || Ok(file));
    writer.push_when_room(&io(1, 2 * ROOM)).await.unwrap();
    let (ended, _) = tokio::join!(writer.finish(1), task.run());
    assert_eq!(ended, Ok(()));
    assert_eq!(messages(folder.path()), [io(1, 2 * ROOM)]);
}

#[tokio::test(start_paused = true)]
async fn message_is_written_in_half_a_second_without_being_asked_for() {
    let (folder, file) = recording();
    let (writer, task) = writer(move || Ok(file));
    let task = tokio::spawn(task.run());
    let mut progress = writer.0.progress.subscribe();
    for n in 1..3 {
        let begun = Instant::now();
        writer.push(&io(n, 1)).unwrap();
        progress.wait_for(|progress| progress.written == u64::from(n)).await.unwrap();
        assert!((LATEST..LATEST * 3 / 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
    assert_eq!(messages(folder.path()), [io(1, 1), io(2, 1)]);
    assert_eq!(check(folder.path()).parts, 2);
    drop(writer);
    task.await.unwrap();
}

#[tokio::test]
async fn what_somebody_waits_for_is_written_at_once() {
    let (folder, file) = recording();
    let (writer, task) = writer(move || Ok(file));
    let task = tokio::spawn(task.run());
    for n in 0..20 {
        writer.push(&io(n, 10)).unwrap();
        writer.written().await.unwrap();
        assert_eq!(messages(folder.path()).len() as u32, n + 1);
    }
    writer.finish(7).await.unwrap();
    task.await.unwrap();
    assert!(check(folder.path()).sealed);
}

#[tokio::test]
async fn dropped_writer_leaves_a_recording_without_a_seal() {
    let (folder, file) = recording();
    let (writer, task) = writer(move || Ok(file));
    writer.push(&io(1, 1)).unwrap();
    drop(writer);
    task.run().await;
    assert_eq!(messages(folder.path()), [io(1, 1)]);
    assert!(!check(folder.path()).sealed);
}

#[tokio::test]
async fn task_that_is_dropped_has_failed() {
    let (_folder, file) = recording();
    let (first, task) = writer(move || Ok(file));
    first.push(&io(1, 1)).unwrap();
    drop(task);
    assert_eq!(first.written().await, Err(Unwritten::Failed));
    assert_eq!(first.push(&io(2, 1)), Err(Unwritten::Failed));
    assert_eq!(first.finish(3).await, Err(Unwritten::Failed));
    let (_folder, file) = recording();
    let (second, task) = writer(move || Ok(file));
    let task = tokio::spawn(task.run());
    while second.push_when_room(&io(1, 200 << 10)).now_or_never().is_some() {}
    task.abort();
    assert!(second.watcher().failed().await.0.contains("stopped"));
    assert_eq!(second.push_when_room(&io(1, 200 << 10)).await, Err(Unwritten::Failed));
}

#[tokio::test]
async fn message_that_no_decoder_reads_is_refused() {
    let (folder, file) = recording();
    let (writer, task) = writer(move || Ok(file));
    writer.push(&io(1, 1)).unwrap();
    assert_eq!(writer.push_when_room(&io(2, LONGEST_MESSAGE)).await, Err(Unwritten::TooLong));
    assert_eq!(writer.push(&io(3, 1)), Err(Unwritten::Failed));
    let (finished, _) = tokio::join!(writer.finish(4), task.run());
    assert_eq!(finished, Err(Unwritten::Failed));
    assert_eq!(messages(folder.path()), [io(1, 1)]);
    assert!(!check(folder.path()).sealed);
}
