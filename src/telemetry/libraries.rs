//! The lines of libraries: what they say through the `log` facade, to which `tracing` hands its events as well (its feature
//! `log`) where nobody subscribes to them. Each is a line with the code `LIBRARY` and the library's module.
//!
//! Always true: a library's line is at `warning` or `debug`, never more important; what any client of the SSH port can
//! cause is at `debug`; nothing is taken at the facade's level trace, where libraries print packets and bodies; a text is
//! one printable line of at most [`TEXT_LIMIT`] characters.

use super::{Level, Log, codes};
use crate::types::printable;
use log::{LevelFilter, Metadata, Record};
use std::sync::atomic::{AtomicBool, Ordering};

/// Limit of a line's text in characters.
const TEXT_LIMIT: usize = 400;
/// Libraries that report what their peers do wrong as their own warnings and errors.
const PEERS_DOING: [&str; 2] = ["russh", "rustls"];

struct Libraries(Log);

/// True once the libraries of the process are followed.
static FOLLOWED: AtomicBool = AtomicBool::new(false);

/// Writes the lines of libraries to the log from now on, for the whole process. A second call has no effect.
pub fn follow_libraries(log: &Log) {
    if log::set_boxed_logger(Box::new(Libraries(log.clone()))).is_ok() {
        FOLLOWED.store(true, Ordering::Relaxed);
        change_level(log.level());
    }
}

/// Has libraries that are followed make no more lines than a level needs.
pub(super) fn change_level(level: Level) {
    if FOLLOWED.load(Ordering::Relaxed) {
        log::set_max_level(if level == Level::Debug { LevelFilter::Debug } else { LevelFilter::Warn });
    }
}

impl log::Log for Libraries {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        level(metadata).is_some_and(|level| level <= self.0.level())
    }

    fn log(&self, record: &Record<'_>) {
        let Some(level) = level(record.metadata()).filter(|level| *level <= self.0.level()) else { return };
        let text = printable(&record.args().to_string(), TEXT_LIMIT);
        self.0.write(codes::LIBRARY.at(level), &text, &[("library", record.target())]);
    }

    fn flush(&self) {}
}

/// The level of a library's line, if it has one.
fn level(metadata: &Metadata<'_>) -> Option<Level> {
    let library = metadata.target().split("::").next().unwrap_or_default();
    match metadata.level() {
        log::Level::Error | log::Level::Warn if !PEERS_DOING.contains(&library) => Some(Level::Warning),
        log::Level::Error | log::Level::Warn | log::Level::Info | log::Level::Debug => Some(Level::Debug),
        log::Level::Trace => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::LogFormat;
    use crate::telemetry::capture;
    use log::Log as _;

    #[test]
    fn lines_of_libraries_have_a_level_of_ours() {
        let rows = [
            (log::Level::Error, "kube_client::client", Some("warning")),
            (log::Level::Warn, "hyper", Some("warning")),
            (log::Level::Info, "reqwest", Some("debug")),
            (log::Level::Debug, "reqwest", Some("debug")),
            (log::Level::Trace, "hyper", None),
            (log::Level::Error, "russh", Some("debug")),
            (log::Level::Warn, "rustls::msgs", Some("debug")),
        ];
        for (from, target, expected) in rows {
            let (log, lines) = capture::log(LogFormat::Text);
            let libraries = Libraries(log.clone());
            let args = format_args!("two\nlines");
            libraries.log(&Record::builder().level(from).target(target).args(args).build());
            let text = lines.text(&log);
            assert_eq!(text.lines().count(), usize::from(expected.is_some()), "{text}");
            if let Some(expected) = expected {
                let whole = text.contains(expected) && text.contains("code=LIBRARY") && text.contains(target);
                assert!(whole && text.contains("two lines"), "{text}");
            }
        }
    }
}
