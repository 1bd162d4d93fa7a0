//! Whose turn it is on the one real cluster: worlds share it, but for one that stops parts of it, which has it alone.

use std::sync::LazyLock;
use tokio::sync::watch;

/// Who is there.
#[derive(Debug, Default)]
struct There {
    sharing: usize,
    alone: bool,
}

static THERE: LazyLock<watch::Sender<There>> = LazyLock::new(watch::Sender::default);

/// A turn; it ends when it is dropped.
#[derive(Debug)]
pub struct Turn {
    alone: bool,
}

impl Turn {
    /// Waits for a turn. Worlds that share go before one that wants to be alone, since a test may have two of them.
    pub async fn wait(alone: bool) -> Self {
        let mut there = THERE.subscribe();
        loop {
            let taken = THERE.send_if_modified(|there| match (alone, &there) {
                (_, There { alone: true, .. }) => false,
                (false, _) => {
                    there.sharing += 1;
                    true
                }
                (true, There { sharing, .. }) => {
                    there.alone = *sharing == 0;
                    there.alone
                }
            });
            if taken {
                return Self { alone };
            }
            // The sender is never dropped.
            let _alive = there.changed().await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        THERE.send_modify(|there| match self.alone {
            true => there.alone = false,
            false => there.sharing -= 1,
        });
    }
}
