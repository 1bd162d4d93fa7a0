//! The channels that the gateway opens, between the client's confirmation and the task that asked for them. The client may
//! send data right behind its confirmation, so the callback that gets the confirmation makes the inbox, and the task takes it
//! here.

use crate::session::inbox::Inbox;
use crate::ssh::channels::ChannelGuards;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The awaited channels of one connection. `K` is the number of a channel.
pub(crate) struct AwaitedChannels<K> {
    state: Mutex<AwaitedState<K>>,
    changed: Notify,
}

struct AwaitedState<K> {
    /// The number of tasks that wait for a channel.
    asked: usize,
    confirmed: HashMap<K, (Inbox, ChannelGuards)>,
}

impl<K> Default for AwaitedChannels<K> {
    fn default() -> Self {
        Self { state: Mutex::new(AwaitedState { asked: 0, confirmed: HashMap::new() }), changed: Notify::new() }
    }
}

/// The wait of one task for its channel.
pub(crate) struct AskedChannel<'a, K>(&'a AwaitedChannels<K>);

impl<K: Eq + Hash> AwaitedChannels<K> {
    /// Begins to wait for one channel.
    pub(crate) fn ask(&self) -> AskedChannel<'_, K> {
        self.state.lock().asked += 1;
        AskedChannel(self)
    }

    /// Tells whether any task waits for a channel that is not confirmed.
    pub(crate) fn is_any_asked(&self) -> bool {
        let state = self.state.lock();
        state.asked > state.confirmed.len()
    }

    /// Hands a channel that the client has confirmed to the task that waits for it. `is_any_asked` was true.
    pub(crate) fn confirm(&self, id: K, parts: (Inbox, ChannelGuards)) {
        self.state.lock().confirmed.insert(id, parts);
        self.changed.notify_waiters();
    }
}

impl<K: Eq + Hash> AskedChannel<'_, K> {
    /// Waits for the channel's parts; `None` if the connection ends first.
    pub(crate) async fn confirmed(self, id: &K, ended: &CancellationToken) -> Option<(Inbox, ChannelGuards)> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(parts) = self.0.state.lock().confirmed.remove(id) {
                return Some(parts);
            }
            tokio::select! {
                () = changed => {}
                () = ended.cancelled() => return None,
            }
        }
    }
}

impl<K> Drop for AskedChannel<'_, K> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.asked -= 1;
        // What is left was confirmed for tasks that wait no more.
        let left = if state.asked == 0 { std::mem::take(&mut state.confirmed) } else { HashMap::new() };
        drop(state);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::QueuedBytes;
    use crate::session::inbox::InboxItem;
    use crate::ssh::channels::{ChannelKind, ChannelTable};
    use crate::ssh::connection_use::ConnectionUse;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn task_gets_its_own_channel_whichever_comes_first() {
        let (awaited, ended) = (AwaitedChannels::default(), CancellationToken::new());
        let mut table = ChannelTable::new(ConnectionUse::new(), QueuedBytes::new(0).of("alice"), (usize::MAX, None));
        assert!(!awaited.is_any_asked());
        let (first, second) = (awaited.ask(), awaited.ask());
        awaited.confirm(1, table.open(1, ChannelKind::Forward, &ended));
        table.receive(&1, b"greeting");
        let (inbox, _guards) = first.confirmed(&1, &ended).now_or_never().unwrap().unwrap();
        assert_eq!(inbox.take().await, InboxItem::Data(b"greeting"[..].into()));
        let (parts, ()) = tokio::join!(second.confirmed(&2, &ended), async {
            awaited.confirm(2, table.open(2, ChannelKind::Forward, &ended));
        });
        assert!(parts.is_some() && !awaited.is_any_asked());
    }

    #[tokio::test]
    async fn channel_that_no_task_waits_for_any_more_is_not_kept() {
        let (awaited, ended) = (AwaitedChannels::default(), CancellationToken::new());
        let mut table = ChannelTable::new(ConnectionUse::new(), QueuedBytes::new(0).of("alice"), (usize::MAX, None));
        let asked = awaited.ask();
        let (inbox, guards) = table.open(1, ChannelKind::Forward, &ended);
        let done = guards.closed.clone();
        awaited.confirm(1, (inbox, guards));
        assert!(!awaited.is_any_asked(), "each task waits for one channel");
        drop(asked);
        assert!(awaited.state.lock().confirmed.is_empty() && !done.is_cancelled());
    }

    #[tokio::test]
    async fn wait_ends_with_the_connection() {
        let (awaited, ended) = (AwaitedChannels::<u32>::default(), CancellationToken::new());
        let waiting = awaited.ask().confirmed(&1, &ended);
        ended.cancel();
        assert!(waiting.await.is_none());
    }
}
