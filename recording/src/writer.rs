//! The writer of one recording: a queue of messages that is bounded in bytes, and a task that writes it to the files in parts.
//!
//! Invariants: messages come into the file in the order in which they were queued; the write of a message begins
//! [`LATEST`] after it was queued, or earlier, unless the disk still has an earlier write; data waits for room in the
//! queue, and a message that cannot wait has a reserve;
//! once a write has failed, or the queue had no room for a message that cannot wait, nothing is queued any more, so that a
//! recording has no hole, and it gets no seal; a task that is dropped has failed, so that nobody waits for it.

use super::LONGEST_MESSAGE;
use super::asciicast::CastSetting;
use super::encoder::Encoder;
use super::file::{Part, RecordingFile};
use super::message::Message;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until};

/// The time from the first message of a part to its write. A killed process loses no more; a second is promised, of which this
/// leaves half to the disk.
pub const LATEST: Duration = Duration::from_millis(500);
/// The bytes of messages by which a part is written at once.
const PART: usize = 256 << 10;
/// The bytes of messages in the queue from which on data waits.
const ROOM: usize = 1 << 20;
/// The bytes in the queue that only messages which cannot wait take.
const RESERVE: usize = 256 << 10;

/// Threads that write at once in the whole process: a disk that hangs takes no more of the runtime's, which others need.
const THREADS: usize = 128;
static FREE_THREADS: Semaphore = Semaphore::const_new(THREADS);

/// The error of a message that will not be in the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritten {
    #[error("the recording could not be written")]
    Failed,
    #[error("the recording is written too slowly")]
    Full,
    #[error("the recording has ended")]
    Ended,
    #[error("the message is longer than {LONGEST_MESSAGE} bytes")]
    TooLong,
}

/// The reason of a failed write, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

/// The end of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Sealed with this time.
    Sealed(i64),
    /// Given up: what is queued is written, and nothing says that this is all.
    Open,
}

#[derive(Debug, Default)]
struct Queue {
    encoder: Encoder,
    part: Part,
    /// The time at which the part's first message was queued.
    since: Option<Instant>,
    /// The messages that were queued in all.
    queued: u64,
    /// Set if somebody waits for the kernel to have what is queued.
    is_urgent: bool,
    end: Option<End>,
    refuses: Option<Unwritten>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    /// The messages that were taken out of the queue.
    taken: u64,
    /// The messages that the kernel has.
    written: u64,
    failure: Option<Failure>,
    is_over: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when there is something to do for the task.
    changed: Notify,
    progress: watch::Sender<Progress>,
}

/// The side that queues. Dropping it ends the recording without a seal.
#[derive(Debug)]
pub struct Writer(Arc<Shared>);

/// The maker of the files.
type Begin = Box<dyn FnOnce() -> io::Result<RecordingFile> + Send>;

/// The side that writes.
pub struct WriterTask {
    shared: Running,
    begin: Begin,
}

/// The watcher of a recording, which does not keep it from ending.
#[derive(Debug)]
pub struct Watcher(Arc<Shared>);

/// The facts about the files of a recording that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub parts: u64,
    /// The hash of the chain's last line: hexadecimal digits.
    pub last_hash: String,
    pub sealed: bool,
}

/// The task's part of what is shared. Dropping it before the end is a failure.
#[derive(Debug)]
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        if !self.0.progress.borrow().is_over {
            self.0.fail("the writer of the recording was stopped".to_owned());
        }
    }
}

/// Makes the writer of a recording. The task makes the files; it must be run.
pub fn writer(begin: impl FnOnce() -> io::Result<RecordingFile> + Send + 'static) -> (Writer, WriterTask) {
    encoding(Encoder::Binary, Box::new(begin))
}

/// Makes the writer of the asciicast of a program that has this, as [`writer`].
pub fn cast_writer(
    setting: CastSetting,
    begin: impl FnOnce() -> io::Result<RecordingFile> + Send + 'static,
) -> (Writer, WriterTask) {
    encoding(Encoder::asciicast(setting), Box::new(begin))
}

fn encoding(encoder: Encoder, begin: Begin) -> (Writer, WriterTask) {
    let (queue, progress) = (Queue { encoder, ..Queue::default() }, watch::Sender::new(Progress::default()));
    let shared = Arc::new(Shared { queue: Mutex::new(queue), changed: Notify::new(), progress });
    (Writer(shared.clone()), WriterTask { shared: Running(shared), begin })
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.end(End::Open);
    }
}

impl Writer {
    /// Queues a message that cannot wait.
    ///
    /// # Errors
    /// It will not be in the recording, nor will any other after it. A queue without room has failed, too.
    pub fn push(&self, message: &Message) -> Result<(), Unwritten> {
        let pushed = self.0.push(message, ROOM + RESERVE);
        if pushed == Err(Unwritten::Full) {
            self.0.fail("the disk is too slow: the queue of the recording is full".to_owned());
        }
        pushed
    }

    /// Queues a message if there is room now; else it is [`Unwritten::Full`], and nothing has failed.
    ///
    /// # Errors
    /// It is not in the queue.
    pub fn push_if_room(&self, message: &Message) -> Result<(), Unwritten> {
        self.0.push(message, ROOM)
    }

    /// Queues a message once there is room. Cancel-safe: the message is queued or it is not.
    ///
    /// # Errors
    /// It will not be in the recording, nor will any other after it.
    pub async fn push_when_room(&self, message: &Message) -> Result<(), Unwritten> {
        let mut progress = self.0.progress.subscribe();
        loop {
            progress.mark_unchanged();
            match self.0.push(message, ROOM) {
                Err(Unwritten::Full) => progress.changed().await.map_err(|_| Unwritten::Ended)?,
                pushed => return pushed,
            }
        }
    }

    /// Waits until the kernel has everything that is queued.
    ///
    /// # Errors
    /// It will not be in the recording.
    pub async fn written(&self) -> Result<(), Unwritten> {
        let queued = {
            let mut queue = self.0.queue.lock();
            queue.is_urgent = true;
            queue.queued
        };
        self.0.changed.notify_one();
        self.0.reached(|progress| progress.written >= queued).await
    }

    /// Ends the recording: everything that is queued is written, and its end is sealed with that time.
    ///
    /// # Errors
    /// It is not whole.
    pub async fn finish(self, time: i64) -> Result<(), Unwritten> {
        self.seal(time);
        self.0.reached(|progress| progress.is_over).await
    }

    /// Asks for the end of the recording, which is sealed with that time. The task tells how it went.
    pub fn seal(&self, time: i64) {
        self.0.end(End::Sealed(time));
    }

    /// Gives the recording up for that reason. What is queued is still written.
    pub fn give_up(&self, reason: &str) {
        self.0.fail(reason.to_owned());
        self.0.end(End::Open);
    }

    /// Makes a watcher.
    pub fn watcher(&self) -> Watcher {
        Watcher(self.0.clone())
    }
}

impl Watcher {
    /// The reason for which the recording has failed; `None` if it has not.
    pub fn failure(&self) -> Option<Failure> {
        self.0.progress.borrow().failure.clone()
    }

    /// Waits until the recording has failed, and returns why; for ever if it does not.
    pub async fn failed(&self) -> Failure {
        let mut progress = self.0.progress.subscribe();
        let failure = progress.wait_for(|progress| progress.failure.is_some()).await.ok();
        match failure.and_then(|progress| progress.failure.clone()) {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }
}

impl Shared {
    fn push(&self, message: &Message, limit: usize) -> Result<(), Unwritten> {
        let mut queue = self.queue.lock();
        if let Some(refusal) = queue.refuses {
            return Err(refusal);
        }
        let size = message.size();
        // No decoder would read it, nor what is behind it.
        if size > LONGEST_MESSAGE {
            drop(queue);
            self.fail(Unwritten::TooLong.to_string());
            return Err(Unwritten::TooLong);
        }
        // A message that is larger than the queue is taken when the queue is empty.
        if queue.part.length() > 0 && queue.part.length() + size > limit {
            return Err(Unwritten::Full);
        }
        let Queue { encoder, part, .. } = &mut *queue;
        if let Err(error) = encoder.encode(message, part) {
            drop(queue);
            self.fail(error.to_string());
            return Err(Unwritten::Failed);
        }
        queue.since.get_or_insert_with(Instant::now);
        queue.queued += 1;
        drop(queue);
        self.changed.notify_one();
        Ok(())
    }

    fn end(&self, end: End) {
        let mut queue = self.queue.lock();
        let Queue { encoder, part, end: ended, .. } = &mut *queue;
        if let (None, End::Sealed(time)) = (*ended, end) {
            encoder.end(part, time);
        }
        ended.get_or_insert(end);
        queue.refuses.get_or_insert(Unwritten::Ended);
        drop(queue);
        self.changed.notify_one();
    }

    fn fail(&self, reason: String) {
        self.queue.lock().refuses.get_or_insert(Unwritten::Failed);
        self.progress.send_modify(|progress| {
            progress.failure.get_or_insert(Failure(reason));
        });
    }

    fn fail_without_files(&self, reason: String) -> Option<Written> {
        self.fail(reason);
        None
    }

    async fn reached(&self, what: impl Fn(&Progress) -> bool) -> Result<(), Unwritten> {
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|progress| progress.failure.is_some() || what(progress)).await;
        match reached {
            Ok(progress) if progress.failure.is_none() => Ok(()),
            Ok(_) | Err(_) => Err(Unwritten::Failed),
        }
    }

    /// Takes the queue's part if it is to be written now, or returns the time at which it is.
    fn take_due(&self) -> Result<(Part, u64, Option<End>), Option<Instant>> {
        let mut queue = self.queue.lock();
        let deadline = queue.since.map(|since| since + LATEST);
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if !is_late && !queue.is_urgent && queue.end.is_none() && queue.part.length() < PART {
            return Err(deadline);
        }
        queue.is_urgent = false;
        queue.since = None;
        Ok((std::mem::take(&mut queue.part), queue.queued, queue.end))
    }

    fn has_failed(&self) -> bool {
        self.progress.borrow().failure.is_some()
    }
}

impl WriterTask {
    /// Writes until the recording has ended or a write has failed. `None` if there are no files.
    pub async fn run(self) -> Option<Written> {
        let Self { shared: running, begin } = self;
        let shared = &*running.0;
        let mut file = match on_thread(shared, begin).await? {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => return shared.fail_without_files(error.to_string()),
            Err(error) => return shared.fail_without_files(error.to_string()),
        };
        loop {
            let (part, queued, end) = match shared.take_due() {
                Ok(due) => due,
                Err(deadline) => {
                    wait(&shared.changed, deadline).await;
                    continue;
                }
            };
            shared.progress.send_modify(|progress| progress.taken = queued);
            let written = on_thread(shared, move || {
                let written = file.write(&part);
                (file, written)
            });
            file = match written.await? {
                Ok((file, Ok(()))) => file,
                Ok((file, Err(error))) => {
                    shared.fail(error.to_string());
                    return Some(facts(&file, false));
                }
                Err(error) => return shared.fail_without_files(error.to_string()),
            };
            shared.progress.send_modify(|progress| progress.written = queued);
            if let Some(end) = end {
                return finish(shared, file, end).await;
            }
        }
    }
}

/// Runs something that waits for the disk. `None` if no thread was free before the recording failed.
async fn on_thread<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<Result<T, JoinError>> {
    let mut progress = shared.progress.subscribe();
    let free = tokio::select! {
        biased;
        free = FREE_THREADS.acquire() => free.ok()?,
        _failed = progress.wait_for(|progress| progress.failure.is_some()) => return None,
    };
    let working = spawn_blocking(move || {
        let done = work();
        drop(free);
        done
    });
    Some(working.await)
}

fn facts(file: &RecordingFile, sealed: bool) -> Written {
    let (parts, last_hash) = file.progress();
    Written { parts, last_hash, sealed }
}

async fn wait(changed: &Notify, deadline: Option<Instant>) {
    match deadline {
        None => changed.notified().await,
        Some(deadline) => tokio::select! {
            () = changed.notified() => {}
            () = sleep_until(deadline) => {}
        },
    }
}

async fn finish(shared: &Shared, mut file: RecordingFile, end: End) -> Option<Written> {
    let End::Sealed(time) = end else {
        shared.progress.send_modify(|progress| progress.is_over = true);
        return Some(facts(&file, false));
    };
    // A message was lost, so this is not all.
    if shared.has_failed() {
        return Some(facts(&file, false));
    }
    let sealed = on_thread(shared, move || {
        let sealed = file.seal(time);
        (file, sealed)
    });
    match sealed.await? {
        Ok((file, Ok(()))) => {
            shared.progress.send_modify(|progress| progress.is_over = true);
            Some(facts(&file, true))
        }
        Ok((file, Err(error))) => {
            shared.fail(error.to_string());
            Some(facts(&file, false))
        }
        Err(error) => shared.fail_without_files(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
