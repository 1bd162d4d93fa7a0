//! The connections that are refused before the version exchange. Each hears the reason in one line; the log has one line
//! for a reason and a minute, so that an attack does not fill it.

use crate::shutdown::Tasks;
use crate::throttle::ConnectionRefusal;
use std::collections::HashMap;
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
/// The time between two lines of the log for one reason.
const PAUSE: Duration = Duration::from_secs(60);

/// The refused connections by their reasons.
#[derive(Debug)]
pub(super) struct RefusedConnections {
    open: Arc<Semaphore>,
    tally: RefusalTally,
}

impl RefusedConnections {
    pub(super) fn new() -> Self {
        Self { open: Arc::new(Semaphore::new(OPEN)), tally: RefusalTally::default() }
    }

    /// Tells a client the reason, in a task of `tasks`. Returns the number for a log line, if it is time for one.
    pub(super) fn tell(&mut self, stream: TcpStream, refusal: ConnectionRefusal, tasks: &Tasks) -> Option<u64> {
        if let Ok(open) = self.open.clone().try_acquire_owned() {
            tasks.spawn(async move {
                // A client that does not read in time, or has left, is not waited for.
                let _ = timeout(PATIENCE, farewell(stream, refusal)).await;
                drop(open);
            });
        }
        self.tally.count(refusal, Instant::now())
    }
}

/// Writes the line, and reads until the client closes: a close with unread bytes would take the line from it.
async fn farewell(mut stream: TcpStream, refusal: ConnectionRefusal) -> std::io::Result<()> {
    // A line before the version exchange is what RFC 4253 section 4.2 lets a server send. The first words are OpenSSH's.
    stream.write_all(format!("Not allowed at this time: {}\r\n", refusal.text()).as_bytes()).await?;
    stream.shutdown().await?;
    let mut piece = [0; 512];
    while stream.read(&mut piece).await? > 0 {}
    Ok(())
}

/// The refusals since the last line of each reason.
#[derive(Debug, Default)]
struct RefusalTally(HashMap<ConnectionRefusal, (Instant, u64)>);

impl RefusalTally {
    /// Counts a refusal. Returns the number of refusals since the last line, if it is time for another.
    fn count(&mut self, refusal: ConnectionRefusal, now: Instant) -> Option<u64> {
        let Some((last, count)) = self.0.get_mut(&refusal) else {
            self.0.insert(refusal, (now, 0));
            return Some(1);
        };
        *count += 1;
        if now - *last < PAUSE {
            return None;
        }
        *last = now;
        Some(std::mem::take(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::PenaltyCause;

    #[test]
    fn log_has_the_first_refusal_at_once_and_the_others_by_the_minute() {
        let (mut tally, start) = (RefusalTally::default(), Instant::now());
        let penalty = ConnectionRefusal::Penalty(PenaltyCause::AuthFail);
        for (second, refusal, line) in [
            (0, ConnectionRefusal::Rate, Some(1)),
            (1, ConnectionRefusal::Rate, None),
            (2, penalty, Some(1)),
            (3, ConnectionRefusal::Rate, None),
            (60, ConnectionRefusal::Rate, Some(3)),
            (61, ConnectionRefusal::Rate, None),
            (62, penalty, Some(1)),
            (600, ConnectionRefusal::Rate, Some(2)),
        ] {
            let now = start + Duration::from_secs(second);
            assert_eq!(tally.count(refusal, now), line, "{refusal:?} at {second} s");
        }
    }
}
