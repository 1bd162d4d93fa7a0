//! The lines of panics: where each happened, for the whole process. The text of a panic is written only if the program has it
//! as a constant, because any other can have a secret in it.

use super::{Log, codes};
use std::any::Any;
use std::panic;
use std::thread;

/// Writes a line for each panic from now on, instead of what the standard library prints.
pub fn log_panics(log: &Log) {
    let log = log.clone();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = constant(info.payload()).to_owned();
        let log = log.clone();
        // From another thread: this one may hold what the log needs. Without a thread the line is lost, not the process.
        let _ = thread::Builder::new().spawn(move || write(&log, &place, &text));
    }));
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
