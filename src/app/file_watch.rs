//! The watch of the files that a configuration is made of, by looking at them: what a kubelet, cert-manager or an editor
//! replaces is often behind links, in directories that are exchanged, or on a file system that tells nobody.
//!
//! Invariants: what is compared is what was read; a change is told once, when the files have stayed the same between two
//! looks, so that none is taken that is half written; files of which only the times change are no change.

use super::file_work::FileWork;
use crate::schema::{ContentDigest, Disk, FileContents, Files};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::sleep;

/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// The files, as they were when they were last read.
#[derive(Debug, Clone)]
pub(super) struct FileWatch {
    contents: FileContents,
    /// In the order of the paths; none before the first look.
    identities: Vec<Option<Identity>>,
    work: FileWork,
}

/// The state of a file, which changes when it is replaced or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileWatch {
    /// Watches files that were read with these contents.
    pub(super) fn of(contents: FileContents, work: FileWork) -> Self {
        Self { contents, identities: Vec::new(), work }
    }

    /// Waits until the files differ from what they were and stay so for a moment, and notes what they are then. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        let mut last = Vec::new();
        loop {
            sleep(PAUSE).await;
            let (files, before) = (self.contents.keys().cloned().collect::<Vec<_>>(), last.clone());
            let known = self.identities.clone();
            let look = move || {
                let now: Vec<_> = files.iter().map(|file| identity(file)).collect();
                let has_settled = now == before && now != known;
                let read = || files.into_iter().map(|file| (content(&file), file)).map(|(text, file)| (file, text));
                let contents: Option<FileContents> = has_settled.then(|| read().collect());
                (now, contents)
            };
            // A thread that cannot be had now, or that does not come to its end, can be had later.
            let Ok((now, contents)) = self.work.run(look).await else { continue };
            last.clone_from(&now);
            let Some(read) = contents else { continue };
            self.identities = now;
            if read != self.contents {
                self.contents = read;
                return;
            }
        }
    }
}

impl Identity {
    /// True for a file that was written or replaced at a time, or later.
    pub(super) fn is_of(&self, time: SystemTime) -> bool {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), i64::from(since.subsec_nanos()));
        self.modified.max(self.changed) >= since
    }
}

/// The identity of what a path leads to.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    let found = fs::metadata(path).ok()?;
    Some(Identity {
        device: found.dev(),
        inode: found.ino(),
        length: found.len(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

/// The content of a regular file.
pub(super) fn content(file: &Path) -> Option<ContentDigest> {
    Disk.read(file).ok().map(|text| ContentDigest::of(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(60);

    // The clock stands while a thread looks at files.
    #[tokio::test(start_paused = true)]
    async fn exchanged_directory_is_one_change_and_what_stays_the_same_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // As the kubelet lays out a ConfigMap: file → ..data/file, ..data → a directory.
        for (version, text) in [("1", "one"), ("2", "two"), ("3", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("config.yaml"), text).unwrap();
        }
        symlink("1", at("..data")).unwrap();
        symlink("..data/config.yaml", at("config.yaml")).unwrap();
        let exchange = |version: &str| {
            symlink(version, at("..new")).unwrap();
            fs::rename(at("..new"), at("..data")).unwrap();
        };
        let (config, missing) = (at("config.yaml"), at("missing"));
        let mut watch =
            FileWatch::of([&config, &missing].map(|file| (file.clone(), content(file))).into(), FileWork::new());
        assert!(timeout(LONG, watch.changed()).await.is_err(), "nothing has changed");
        exchange("2");
        timeout(LONG, watch.changed()).await.expect("a change");
        exchange("3");
        assert!(timeout(LONG, watch.changed()).await.is_err(), "the contents are the same");
        fs::write(&missing, "there").unwrap();
        timeout(LONG, watch.changed()).await.expect("a file that comes");
        fs::remove_file(&missing).unwrap();
        timeout(LONG, watch.changed()).await.expect("a file that goes");
        assert!(timeout(LONG, watch.changed()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn change_between_the_reading_and_the_first_look_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        fs::write(&file, "\u{feff}one").unwrap();
        let read = FileWatch::of(FileContents::from([(file.clone(), content(&file))]), FileWork::new());
        assert!(timeout(LONG, read.clone().changed()).await.is_err());
        fs::write(&file, "two").unwrap();
        timeout(LONG, read.clone().changed()).await.expect("a change");
    }
}
