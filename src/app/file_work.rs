//! The thread that reads files for a reload.
//!
//! Invariants: there is never more than one, though a file's system hangs; nobody waits for it longer than for [`LIMIT`].

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Limit of the time for one piece of work, waiting for an earlier one included.
const LIMIT: Duration = Duration::from_secs(10);

/// The right to have the thread; clones share it.
#[derive(Debug, Clone)]
pub(super) struct FileWork {
    free: Arc<Semaphore>,
    limit: Duration,
}

/// The error of work that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileWorkError {
    #[error("the files were not read within {} s: does a file system hang?", .0.as_secs())]
    Slow(Duration),
    #[error("the files could not be read: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl FileWork {
    pub(super) fn new() -> Self {
        Self { free: Arc::new(Semaphore::new(1)), limit: LIMIT }
    }

    /// Does something that reads files. Work that comes too late has no effect but its own.
    ///
    /// # Errors
    /// A panic, or no end within the limit.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, FileWorkError> {
        let done = async {
            // Never closed.
            let turn = self.free.clone().acquire_owned().await.ok();
            let work = move || {
                let done = work();
                drop(turn);
                done
            };
            spawn_blocking(work).await
        };
        Ok(timeout(self.limit, done).await.map_err(|_elapsed| FileWorkError::Slow(self.limit))??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    #[podgate_test::multi_thread]
    async fn work_that_hangs_is_given_up_and_has_no_second_beside_it() {
        let short = FileWork { limit: Duration::from_millis(50), ..FileWork::new() };
        let (end, hangs) = mpsc::channel::<()>();
        let hanging = short.run(move || hangs.recv()).await;
        assert!(matches!(hanging, Err(FileWorkError::Slow(_))), "{hanging:?}");
        let began = Arc::new(AtomicBool::new(false));
        let note = began.clone();
        let second = short.run(move || note.store(true, Ordering::Relaxed)).await;
        assert!(matches!(second, Err(FileWorkError::Slow(_))), "{second:?}");
        assert!(!began.load(Ordering::Relaxed), "one thread waits, not two");
        drop(end);
        let long = FileWork { limit: Duration::from_secs(600), ..short };
        assert_eq!(long.run(|| 3).await.unwrap(), 3, "the first has ended");
    }
}
