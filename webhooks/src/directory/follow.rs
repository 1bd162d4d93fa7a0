//! A directory that follows its file.
//!
//! Always true: a file is taken whole or not at all, and until then the one before stays in use; what a request sees is
//! one directory from its beginning to its end.
//!
//! The file is read every second instead of being watched: a watch sees no edit made on another machine (NFS) or outside
//! the container (a file that is mounted alone), while equal bytes mean the same everywhere. A change counts when the next
//! look finds it unchanged. A file that is still being written can be a good one that says less, and less may be more
//! rights: a user whose `settings` are not there yet gets the defaults.

use super::{Directory, Problem, Problems, SettingsCheck};
use crate::journal::{Journal, JournalEvent, JournalLevel};
use crate::text::text;
use crate::toolkit::{Decide, Decision, NoConfig};
use crate::wire::{AuthzRequest, ConfigAnswer, ConfigRequest, Connection};
use parking_lot::RwLock;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// Interval between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);

/// The longest file that is read, in bytes.
const LONGEST: u64 = 64 << 20; // 64 MiB

/// Limit of a file's mistakes in one event, in characters; [`FileError`] has all of it.
const REASON_LIMIT: usize = 4096;

/// Error of reading a directory from a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Reason, without text of the file.
        reason: String,
    },
    /// It can be read, and is wrong.
    #[error("{} is wrong:\n{problems}", path.display())]
    Wrong {
        /// Path of the file.
        path: PathBuf,
        /// Every mistake in it.
        problems: Problems,
    },
}

/// The directory of a file as it was taken last. Decides like it.
#[derive(Debug)]
pub struct Followed(RwLock<Arc<Directory>>);

/// Looks at the file, and puts what it finds into its [`Followed`].
pub struct FileFollower {
    path: PathBuf,
    check: Box<SettingsCheck>,
    followed: Arc<Followed>,
    /// Text of the file when it was judged last.
    judged: Found,
    /// Result of the last look, if that was something else.
    waiting: Option<Found>,
}

/// Result of a look: the text, or the reason that there is none.
type Found = Result<String, String>;

/// Result of judging a file: the number of users, or the error.
type Judged = Result<usize, FileError>;

impl Followed {
    /// Reads the file for the first time. `check` judges the settings in it, now and at every change.
    ///
    /// # Errors
    /// A file that cannot be read, or has mistakes.
    pub fn open(path: impl Into<PathBuf>, check: Box<SettingsCheck>) -> Result<(Arc<Self>, FileFollower), FileError> {
        let path = path.into();
        let judged = read(&path);
        let directory = parse(&path, &judged, &*check)?;
        let followed = Arc::new(Self(RwLock::new(Arc::new(directory))));
        Ok((Arc::clone(&followed), FileFollower { path, check, followed, judged, waiting: None }))
    }

    /// Writes an event for each of the [`Followed::warnings`].
    pub fn warn(&self, journal: &dyn Journal) {
        for Problem { path, text } in self.warnings() {
            let (code, details) = ("WEBHOOKS_FILE_WARNING", [("key", path.as_str())]);
            journal.write(JournalEvent { level: JournalLevel::Warning, code, message: &text, details: &details });
        }
    }

    /// Number of users in the file that is in use.
    #[must_use]
    pub fn users(&self) -> usize {
        self.now().users.len()
    }

    /// Warnings of the file that is in use, as [`Directory::warnings`].
    #[must_use]
    pub fn warnings(&self) -> Vec<Problem> {
        self.now().warnings.clone()
    }

    fn now(&self) -> Arc<Directory> {
        Arc::clone(&self.0.read())
    }
}

impl FileFollower {
    /// Follows the file for ever: a change once it has settled, and at every `hangup` whatever is there. What came of it is
    /// an event.
    pub async fn run(mut self, mut hangup: Signal, journal: Arc<dyn Journal>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let at_once = tokio::select! {
                _tick = looks.tick() => false,
                Some(()) = hangup.recv() => true,
            };
            let path = self.path.clone();
            // A file system that hangs holds up this loop alone.
            let Ok(found) = spawn_blocking(move || read(&path)).await else { continue };
            if let Some(judged) = self.see(found, at_once) {
                tell(&*journal, &self.path, &judged);
                if judged.is_ok() {
                    self.followed.warn(&*journal);
                }
            }
        }
    }

    /// Takes the result of a look. Judges it if it has changed and settled, or is to be judged at once.
    fn see(&mut self, found: Found, at_once: bool) -> Option<Judged> {
        if !at_once && found == self.judged {
            self.waiting = None;
            return None;
        }
        if !at_once && self.waiting.as_ref() != Some(&found) {
            self.waiting = Some(found);
            return None;
        }
        let directory = parse(&self.path, &found, &*self.check);
        self.waiting = None;
        self.judged = found;
        Some(directory.map(|directory| {
            let users = directory.users.len();
            *self.followed.0.write() = Arc::new(directory);
            users
        }))
    }
}

fn parse(path: &Path, found: &Found, check: &SettingsCheck) -> Result<Directory, FileError> {
    let text = found.as_ref().map_err(|reason| FileError::Read { path: path.to_owned(), reason: reason.clone() })?;
    Directory::from_yaml_checked(text, check).map_err(|problems| FileError::Wrong { path: path.to_owned(), problems })
}

fn read(path: &Path) -> Found {
    let whole = || {
        let mut bytes = Vec::new();
        match std::fs::File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)? as u64 {
            ..=LONGEST => text(&bytes).map(str::to_owned).map_err(|wrong| io::Error::other(format!("it {wrong}"))),
            _longer => Err(io::Error::other("it has more than 64 MiB")),
        }
    };
    whole().map_err(|error: io::Error| error.to_string())
}

/// Writes what came of a file that was judged: one event, however many mistakes there are.
fn tell(journal: &dyn Journal, path: &Path, judged: &Judged) {
    let file = path.display().to_string();
    match judged {
        Ok(users) => journal.write(JournalEvent {
            level: JournalLevel::Info,
            code: "WEBHOOKS_FILE_TAKEN",
            message: "the changed file is in use",
            details: &[("file", &file), ("users", &users.to_string())],
        }),
        Err(error) => journal.write(JournalEvent {
            level: JournalLevel::Error,
            code: "WEBHOOKS_FILE_REFUSED",
            message: "the changed file is not in use; the previous users stay in use",
            details: &[("file", &file), ("reason", &reason(error))],
        }),
    }
}

/// All mistakes on one line, cut.
fn reason(error: &FileError) -> String {
    let whole = match error {
        FileError::Read { reason, .. } => format!("cannot be read: {reason}"),
        FileError::Wrong { problems, .. } => {
            problems.list().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
    };
    whole.chars().take(REASON_LIMIT).collect()
}

impl Decide for Followed {
    async fn password(&self, connection: &Connection, password: &[u8]) -> Decision {
        self.now().password(connection, password).await
    }

    async fn public_key(&self, connection: &Connection, key: &str) -> Decision {
        self.now().public_key(connection, key).await
    }

    async fn authorize(&self, request: &AuthzRequest) -> Decision {
        self.now().authorize(request).await
    }

    async fn config(&self, request: &ConfigRequest) -> Result<ConfigAnswer, NoConfig> {
        self.now().config(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Findings;
    use crate::journal::capture::Capture;

    fn users(users: &[&str]) -> Found {
        Ok(users.iter().fold("users:\n".to_owned(), |text, name| format!("{text}  {name}: {{}}\n")))
    }

    fn opened() -> (Arc<Followed>, FileFollower) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), users(&["alice"]).expect("a text")).expect("a file");
        Followed::open(file.path(), Box::new(|_| Findings::default())).expect("users")
    }

    fn listed(followed: &Followed) -> Vec<String> {
        followed.now().users.keys().cloned().collect()
    }

    #[test]
    fn file_that_is_wrong_or_gone_changes_nothing_and_is_reported_once() {
        let (followed, mut follower) = opened();
        for found in [Ok("users: {a: {pasword: s3cret}}".to_owned()), Ok(String::new()), Err("no such file".into())] {
            assert!(follower.see(found.clone(), false).is_none());
            let judged = follower.see(found.clone(), false).expect("a judgement");
            assert!(judged.is_err());
            let journal = Capture::new();
            tell(&*journal, &follower.path, &judged);
            let events = journal.take();
            let codes: Vec<_> = events.iter().map(|event| (event.level, event.code)).collect();
            assert_eq!(codes, [(JournalLevel::Error, "WEBHOOKS_FILE_REFUSED")]);
            assert!(!format!("{events:?}").contains("s3cret"), "{events:?}");
            assert!(follower.see(found.clone(), false).is_none());
            assert_eq!(listed(&followed), ["alice"]);
        }
    }

    #[test]
    fn file_in_the_middle_of_being_written_is_not_taken() {
        let (followed, mut follower) = opened();
        for found in [users(&[]), users(&["alice"]), users(&["bob"]), users(&["bob", "carol"]), Err("gone".into())] {
            assert!(follower.see(found, false).is_none());
        }
        assert_eq!(listed(&followed), ["alice"]);
        let whole = users(&["bob", "carol", "dave"]);
        assert!(follower.see(whole.clone(), false).is_none());
        assert_eq!(follower.see(whole, false), Some(Ok(3)));
        assert_eq!(listed(&followed), ["bob", "carol", "dave"]);
    }

    #[test]
    fn hangup_takes_what_is_there_even_if_it_is_the_same() {
        let (followed, mut follower) = opened();
        assert_eq!(follower.see(users(&["bob"]), true), Some(Ok(1)));
        assert_eq!(listed(&followed), ["bob"]);
        assert_eq!(follower.see(users(&["bob"]), true), Some(Ok(1)));
        assert!(matches!(follower.see(Err("gone".into()), true), Some(Err(FileError::Read { .. }))));
        assert_eq!(listed(&followed), ["bob"]);
    }

    #[test]
    fn request_under_way_keeps_the_directory_that_it_began_with() {
        let (followed, mut follower) = opened();
        let before = followed.now();
        assert_eq!(follower.see(users(&["bob"]), true), Some(Ok(1)));
        assert!(before.users.contains_key("alice"));
    }

    #[test]
    fn byte_order_mark_is_skipped_and_another_encoding_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (bytes, expected) in [
            (&b"\xef\xbb\xbfusers: {}"[..], Ok("users: {}".to_owned())),
            (b"\xff\xfeu\0s\0", Err("it is UTF-16 text, and has to be UTF-8".to_owned())),
        ] {
            std::fs::write(file.path(), bytes).expect("written");
            assert_eq!(read(file.path()), expected);
        }
    }

    #[test]
    fn file_without_an_end_is_refused() {
        assert_eq!(read(Path::new("/dev/zero")), Err("it has more than 64 MiB".into()));
    }
}
