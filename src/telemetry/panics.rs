//! The lines of panics: where each happened, for the whole process. The text of a panic is written only if the program has it
//! as a constant, because any other can have a secret in it.

use super::{Log, codes};
use parking_lot::Mutex;
use std::any::Any;
use std::panic;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// The threads that write the lines of panics; clones share them.
#[derive(Debug, Clone, Default)]
pub struct PanicLines(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl PanicLines {
    /// Waits until every line so far is with the log.
    pub fn finish(&self) {
        // Not under the lock: a thread that panics itself is another one here.
        let threads = std::mem::take(&mut *self.0.lock());
        for thread in threads {
            // Its own panic has a line, too.
            let _ = thread.join();
        }
    }

    /// Writes from another thread: this one may hold what the log needs. Without a thread the line is lost, not the process.
    fn write(&self, write: impl FnOnce() + Send + 'static) {
        if let Ok(thread) = thread::Builder::new().spawn(write) {
            let mut threads = self.0.lock();
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread);
        }
    }
}

/// Writes a line for each panic from now on, instead of what the standard library prints.
pub fn log_panics(log: &Log) -> PanicLines {
    let (log, lines) = (log.clone(), PanicLines::default());
    let written = lines.clone();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = constant(info.payload()).to_owned();
        let log = log.clone();
        written.write(move || write(&log, &place, &text));
    }));
    lines
}

fn write(log: &Log, place: &str, text: &str) {
    log.write(codes::CORE_PANIC, "a part of the gateway failed (a bug)", &[("place", place), ("reason", text)]);
}

/// The text, if it was in the program.
fn constant(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("not shown: it can have a secret in it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::panic::catch_unwind;

    #[test]
    fn lines_of_panics_are_with_the_log_when_their_end_was_awaited() {
        let (lines, written) = (PanicLines::default(), Arc::new(Mutex::new(0)));
        let (begin, begun) = std::sync::mpsc::channel::<()>();
        let begun = Arc::new(Mutex::new(begun));
        for _ in 0..3 {
            let (written, begun) = (written.clone(), begun.clone());
            lines.write(move || {
                let _ = begun.lock().recv();
                *written.lock() += 1;
            });
        }
        assert_eq!(*written.lock(), 0);
        drop(begin);
        lines.finish();
        assert_eq!(*written.lock(), 3);
        assert!(lines.0.lock().is_empty());
    }

    #[test]
    fn secret_in_the_text_of_a_panic_is_not_shown() {
        let secret = black_box("canary-5d1f".to_owned());
        let wrong = black_box(Err::<(), String>(secret.clone()));
        for panicked in [
            catch_unwind(|| panic!("no such password: {secret}")),
            catch_unwind(|| wrong.expect("a good password")),
            catch_unwind(|| assert_eq!(secret, "", "the password")),
            catch_unwind(|| panic::panic_any(secret.clone())),
        ] {
            assert!(!constant(&*panicked.unwrap_err()).contains("canary"));
        }
        let panicked = catch_unwind(|| panic!("a constant")).unwrap_err();
        assert_eq!(constant(&*panicked), "a constant");
    }
}
