//! The reading of a configuration again, while somebody may be writing it.
//!
//! Invariants: no file is taken that was written a moment ago and is not the same a moment later; only regular files are read.

use super::file_watch::{FileWatch, Identity, content, identity};
use super::file_work::{FileWork, FileWorkError};
use super::{BuildError, offline_faults};
use crate::config::Config;
use crate::schema::{Errors, FileContents};
use crate::settings::GatewayHome;
use crate::ssh;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

/// The time for which files stay the same before they are taken: who writes one is faster.
const SETTLED: Duration = Duration::from_millis(250);
/// Limit of the time until they do.
const SETTLING: Duration = Duration::from_secs(5);

/// The reason why a configuration is not taken: its mistakes, one line each.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Vec<String>);

impl From<BuildError> for Refused {
    fn from(error: BuildError) -> Self {
        Self(error.to_string().lines().map(str::to_owned).collect())
    }
}

impl From<FileWorkError> for Refused {
    fn from(error: FileWorkError) -> Self {
        Self(vec![error.to_string()])
    }
}

/// Reads a configuration that a gateway could start with, and records what was read, once the files stay the same.
///
/// # Errors
/// Files that do not stay the same, or cannot be read in time.
pub(super) async fn read_settled(
    work: &FileWork,
    file: &Path,
) -> Result<(Result<Config, Refused>, FileContents), Refused> {
    let until = Instant::now() + SETTLING;
    let mut before = None;
    loop {
        let (path, began) = (file.to_owned(), SystemTime::now());
        let read = move || {
            let (config, contents) = load(&path);
            let identities: Vec<_> = contents.keys().map(|file| identity(file)).collect();
            (config, (contents, identities))
        };
        let (config, now) = work.run(read).await?;
        let is_fresh = |identity: &Identity| identity.is_of(began - SETTLED);
        if !now.1.iter().flatten().any(is_fresh) || before.as_ref() == Some(&now) {
            return Ok((config, now.0));
        }
        if Instant::now() >= until {
            let text = format!("{}, or a file that it names, is still being written", file.display());
            return Err(Refused(vec![text]));
        }
        before = Some(now);
        sleep(SETTLED).await;
    }
}

fn load(file: &Path) -> (Result<Config, Refused>, FileContents) {
    match fs::metadata(file) {
        Ok(found) if !found.is_file() => {
            let text = format!("{} is no regular file, and is not read twice", file.display());
            return (Err(Refused(vec![text])), FileContents::new());
        }
        // One that is not there is reported by whoever reads it.
        Ok(_) | Err(_) => {}
    }
    let (config, contents) = Config::load_again(file);
    let mistakes = |errors: Errors| Refused(errors.0.iter().map(ToString::to_string).collect());
    let config = config.map_err(mistakes).and_then(|config| {
        let faults = offline_faults(&config);
        if faults.is_empty() { Ok(config) } else { Err(Refused(faults.iter().map(ToString::to_string).collect())) }
    });
    (config, contents)
}

/// The watch of what was read for a configuration, without files that are read again by themselves.
pub(super) fn watch(mut contents: FileContents, config: &Config, work: FileWork) -> FileWatch {
    let cluster = GatewayHome::of(&config.base).map(|home| home.cluster);
    for file in cluster.iter().flat_map(|cluster| cluster.files()) {
        contents.remove(file);
    }
    contents.extend(ssh::host_key_files(&config.ssh).into_iter().map(|file| {
        let content = content(&file);
        (file, content)
    }));
    FileWatch::of(contents, work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ContentDigest;
    use std::fs::File;
    use tokio::time::timeout;

    /// Writes a file as somebody who goes on writing it: its time is that of the reading.
    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        let soon = SystemTime::now() + Duration::from_secs(3600);
        File::options().append(true).open(path).unwrap().set_modified(soon).unwrap();
    }

    // The clock stands while a thread reads.
    #[tokio::test(start_paused = true)]
    async fn file_that_is_half_written_is_read_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let (half, whole) = ("ssh: {}\n", "ssh: {}\nsecurity: {forceCommand: /bin/true}\n");
        write(&file, half);
        let work = FileWork::new();
        let mut reading = Box::pin(read_settled(&work, &file));
        assert!(timeout(SETTLED / 2, &mut reading).await.is_err(), "it may not be whole");
        write(&file, whole);
        let (_, contents) = reading.await.unwrap();
        assert_eq!(contents[&file], Some(ContentDigest::of(whole)));
    }

    #[tokio::test(start_paused = true)]
    async fn file_that_is_written_for_ever_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let work = FileWork::new();
        let mut reading = Box::pin(read_settled(&work, &file));
        for round in 0.. {
            write(&file, &format!("ssh: {{serverVersion: SSH-2.0-{round}}}\n"));
            let Ok(read) = timeout(SETTLED / 2, &mut reading).await else { continue };
            let Refused(mistakes) = read.unwrap_err();
            assert!(mistakes[0].contains("still being written"), "{mistakes:?}");
            break;
        }
    }
}
