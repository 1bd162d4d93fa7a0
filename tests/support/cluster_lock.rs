//! The lock on the real cluster: worlds share it, except that a world which stops parts of it has it alone.

use std::sync::LazyLock;
use tokio::sync::watch;

/// The worlds that hold the lock.
#[derive(Debug, Default)]
struct Holders {
    sharing: usize,
    alone: bool,
}

static HOLDERS: LazyLock<watch::Sender<Holders>> = LazyLock::new(watch::Sender::default);

/// A held lock, released on drop.
#[derive(Debug)]
pub struct ClusterLock {
    alone: bool,
}

impl ClusterLock {
    /// Waits for the lock. Worlds that share it come before one that wants it alone, because a test may have two of them.
    pub async fn wait(alone: bool) -> Self {
        let mut holders = HOLDERS.subscribe();
        loop {
            let taken = HOLDERS.send_if_modified(|holders| match (alone, &holders) {
                (_, Holders { alone: true, .. }) => false,
                (false, _) => {
                    holders.sharing += 1;
                    true
                }
                (true, Holders { sharing, .. }) => {
                    holders.alone = *sharing == 0;
                    holders.alone
                }
            });
            if taken {
                return Self { alone };
            }
            // The sender is never dropped.
            let _alive = holders.changed().await;
        }
    }
}

impl Drop for ClusterLock {
    fn drop(&mut self) {
        HOLDERS.send_modify(|holders| match self.alone {
            true => holders.alone = false,
            false => holders.sharing -= 1,
        });
    }
}
