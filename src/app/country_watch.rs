//! The watch of the database of countries, which is read again when its file is another.
//!
//! Invariants: a file is read when it has stayed the same between two looks; one that cannot be used is told once, and the
//! database that is there goes on.

use super::file_work::FileWork;
use crate::telemetry::{Countries, CountriesError, FileVersion, Level, Log, codes};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Watches until the process ends.
pub(super) async fn run(log: Log, stopping: CancellationToken) {
    let work = FileWork::new();
    let (mut last, mut refused) = (None, None);
    while stopping.run_until_cancelled(sleep(PAUSE)).await.is_some() {
        let Some(countries) = log.countries() else { continue };
        let seen = last;
        let looked = countries.clone();
        // A thread that cannot be had now, or that does not come to its end, can be had later.
        let looking = work.run(move || look(&looked, (seen, refused)));
        let Some(Ok((version, read))) = stopping.run_until_cancelled(looking).await else { continue };
        last = version;
        match read {
            None => {}
            Some(Ok(read)) => take(&log, countries, read),
            Some(Err(error)) => {
                refused = version;
                tell(&log, &countries, Some(&error.to_string()));
            }
        }
    }
}

/// The version of the file now, and what was read of it if that is to be taken.
fn look(
    countries: &Countries,
    (last, refused): (Option<FileVersion>, Option<FileVersion>),
) -> (Option<FileVersion>, Option<Result<Countries, CountriesError>>) {
    let version = countries.present_version();
    let is_new = version != Some(countries.version()) && version.is_some() && version != refused;
    let read = (is_new && version == last).then(|| Countries::open(countries.path()));
    (version, read)
}

/// Puts a database in the place of the one that is watched, unless a reload has chosen another meanwhile.
fn take(log: &Log, countries: Arc<Countries>, read: Countries) {
    if log.replace_countries(countries.clone(), read) {
        tell(log, &countries, None);
    }
}

fn tell(log: &Log, countries: &Countries, failure: Option<&str>) {
    let path = countries.path().display().to_string();
    match failure {
        None => log.write(codes::GEOIP_READ, "the database of countries was read again", &[("path", &path)]),
        Some(reason) => {
            let text = "the database of countries has changed and cannot be used; the one that was read before is";
            log.write(codes::GEOIP_READ.at(Level::Error), text, &[("path", &path), ("reason", reason)]);
        }
    }
}
