//! The state of a link that its driver and its streams share, and the wake-ups between them.
//!
//! Invariants: the lock is never held across a wait; after the end of the link every stream reads its end and takes nothing
//! more; a stream of the agent's is kept only for a listener that is open, and each listener keeps a bounded number.

use parking_lot::Mutex;
use podgate_link::request::Incoming;
use podgate_link::{Close, Link, Notice};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// Limit of the connections that wait to be taken from one listener.
const WAITING_MAX: usize = 64;

/// The code of a close that says nothing of a failure (agent/PROTOCOL.md, "Codes").
const NO_FAILURE: u16 = 0;
/// The code of a close for which a limit is the reason.
const LIMIT: u16 = 2;

/// A link with what waits for it.
pub(super) struct SharedLink {
    state: Mutex<LinkState>,
    /// Wakes the driver: there may be something to send.
    pub(super) work: Notify,
    /// Wakes writers: there may be room in the memory that all streams share.
    pub(super) room: Notify,
}

/// The part behind the lock.
pub(super) struct LinkState {
    pub(super) link: Link,
    streams: HashMap<u32, Arc<Notify>>,
    listeners: HashMap<u32, VecDeque<(u32, Incoming)>>,
    /// The text for the log, once the link is over.
    pub(super) over: Option<Arc<str>>,
    ending: bool,
}

impl SharedLink {
    pub(super) fn new(link: Link) -> Self {
        let state = LinkState { link, streams: HashMap::new(), listeners: HashMap::new(), over: None, ending: false };
        Self { state: Mutex::new(state), work: Notify::new(), room: Notify::new() }
    }

    /// Calls `act` under the lock, and wakes the driver if there is something to send afterwards.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut LinkState) -> T) -> T {
        let mut state = self.state.lock();
        let done = act(&mut state);
        let work = state.link.take_work();
        drop(state);
        if work {
            self.work.notify_one();
        }
        done
    }

    /// Calls `look` under the lock. What it does leaves nothing to send.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut LinkState) -> T) -> T {
        look(&mut self.state.lock())
    }

    /// Ends the link for all of its streams. The first reason stays.
    pub(super) fn set_over(&self, reason: &str) {
        self.look(|state| {
            state.over.get_or_insert_with(|| reason.into());
            for stream in state.streams.values() {
                stream.notify_waiters();
            }
        });
        self.room.notify_waiters();
    }
}

impl LinkState {
    /// Registers a stream; the result is woken when something about it has changed.
    pub(super) fn register(&mut self, number: u32) -> Arc<Notify> {
        Arc::clone(self.streams.entry(number).or_default())
    }

    /// Closes a stream and forgets it.
    pub(super) fn close(&mut self, number: u32) {
        self.begin_close(number);
        self.streams.remove(&number);
    }

    /// Closes a stream, whose owner is still told what the agent does.
    pub(super) fn begin_close(&mut self, number: u32) {
        let waiting = self.listeners.remove(&number).unwrap_or_default();
        for number in waiting.into_iter().map(|(number, _)| number).chain([number]) {
            self.link.close(number, &Close { code: NO_FAILURE, reason: String::new() });
        }
    }

    /// Has the agent told that the link ends; nothing else is sent any more.
    pub(super) fn end(&mut self) {
        self.ending = true;
        self.link.end(Close { code: NO_FAILURE, reason: String::new() });
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending
    }

    /// Takes the agent's streams for this listener from now on.
    pub(super) fn open_listener(&mut self, number: u32) {
        self.listeners.entry(number).or_default();
    }

    /// Takes the next connection that came to a listener.
    pub(super) fn next_incoming(&mut self, listener: u32) -> Option<(u32, Incoming)> {
        self.listeners.get_mut(&listener)?.pop_front()
    }

    /// Passes on what the link has to say. Returns the reason of the peer's end of the link.
    pub(super) fn take_notices(&mut self) -> Option<Close> {
        while let Some(notice) = self.link.notice() {
            let changed = match notice {
                Notice::Ended(close) => return Some(close),
                Notice::Stream(number) => Some(number),
                Notice::Opened(number, request) => self.offered(number, Incoming::decode(request).ok()),
            };
            if let Some(stream) = changed.and_then(|number| self.streams.get(&number)) {
                stream.notify_waiters();
            }
        }
        None
    }

    /// Keeps a stream that the agent opened, if it is for a listener. Returns the listener.
    fn offered(&mut self, number: u32, incoming: Option<Incoming>) -> Option<u32> {
        let waiting = incoming.as_ref().and_then(|incoming| self.listeners.get_mut(&incoming.listener));
        match (incoming, waiting) {
            (Some(incoming), Some(waiting)) if waiting.len() < WAITING_MAX => {
                let listener = incoming.listener;
                waiting.push_back((number, incoming));
                Some(listener)
            }
            _ => {
                self.link.close(number, &Close { code: LIMIT, reason: String::new() });
                None
            }
        }
    }
}
