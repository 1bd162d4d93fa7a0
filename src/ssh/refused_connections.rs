//! The connections that are refused before the version exchange. Each hears the reason in one line; the log has two lines
//! for a reason and a minute at most, one for the first and one for all others, so that an attack does not fill it.

use super::connection_refusal::EntryRefusal;
use super::source_tally::{SourceTally, TallySummary};
use crate::shutdown::Tasks;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Limit of the refused connections that are open to hear their reason. Beyond it, they are closed without one.
const OPEN: usize = 64;
/// The time that a refused client has to take its line.
const PATIENCE: Duration = Duration::from_secs(1);

/// The refused connections by their reasons; clones share them.
#[derive(Debug, Clone)]
pub(super) struct RefusedConnections {
    open: Arc<Semaphore>,
    tallies: Arc<Mutex<HashMap<EntryRefusal, SourceTally>>>,
}

impl RefusedConnections {
    pub(super) fn new() -> Self {
        Self { open: Arc::new(Semaphore::new(OPEN)), tallies: Arc::default() }
    }

    /// Tells a client the reason, in a task of `tasks`. True if the log is to have a line about it.
    pub(super) fn tell(&self, (stream, client): (TcpStream, IpAddr), refusal: EntryRefusal, tasks: &Tasks) -> bool {
        if let Ok(open) = self.open.clone().try_acquire_owned() {
            tasks.spawn(async move {
                // A client that does not read in time, or has left, is not waited for.
                let _ = timeout(PATIENCE, farewell(stream, refusal)).await;
                drop(open);
            });
        }
        let mut tallies = self.tallies.lock();
        tallies.entry(refusal).or_insert_with(|| SourceTally::new(1)).note(client, Instant::now())
    }

    /// Ends the minutes that are over, or all if `now` is none, and returns what the log has not had yet.
    pub(super) fn close(&self, now: Option<Instant>) -> Vec<(EntryRefusal, TallySummary)> {
        let mut tallies = self.tallies.lock();
        tallies.iter_mut().filter_map(|(refusal, tally)| Some((*refusal, tally.close(now)?))).collect()
    }
}

/// Writes the line, and reads until the client closes: a close with unread bytes would take the line from it.
async fn farewell(mut stream: TcpStream, refusal: EntryRefusal) -> std::io::Result<()> {
    // A line before the version exchange is what RFC 4253 section 4.2 lets a server send.
    stream.write_all(format!("{}\r\n", refusal.line()).as_bytes()).await?;
    stream.shutdown().await?;
    let mut piece = [0; 512];
    while stream.read(&mut piece).await? > 0 {}
    Ok(())
}
