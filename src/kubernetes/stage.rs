//! What a connection's guest and the task behind it share: where the pod stands, and that the connection is over.
//! States only go forward: starting, ready, gone.

use super::ground::Ground;
use super::wait::Over;
use crate::guest::{Refusal, State};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The shared part.
#[derive(Debug)]
pub(super) struct Stage {
    state: watch::Sender<State>,
    ground: OnceLock<Arc<Ground>>,
    over: watch::Sender<Option<Over>>,
    ended: CancellationToken,
    removed: CancellationToken,
}

/// The reason of whatever is cut short because nobody wants it any more.
pub(super) fn connection_ended() -> Refusal {
    Refusal::new("the connection has ended")
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::below(&CancellationToken::new())
    }

    /// A stage whose pod is to go when `parent` is cancelled, too.
    pub(super) fn below(parent: &CancellationToken) -> Self {
        Self {
            state: watch::Sender::new(State::Starting(None)),
            ground: OnceLock::new(),
            over: watch::Sender::new(None),
            ended: parent.child_token(),
            removed: CancellationToken::new(),
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Waits until programs can start.
    pub(super) async fn ready(&self) -> Result<Arc<Ground>, Refusal> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Starting(_))).await;
        match settled.as_deref() {
            Ok(State::Gone(refusal)) => Err(refusal.clone()),
            Ok(State::Ready | State::Starting(_)) | Err(_) => {
                self.ground.get().cloned().ok_or_else(|| Refusal::new("the pod is not ready"))
            }
        }
    }

    /// Tells what a waiting person may want to know.
    pub(super) fn news(&self, news: Option<String>) {
        self.state.send_if_modified(|state| {
            let next = State::Starting(news);
            let tells = matches!(state, State::Starting(_)) && *state != next;
            if tells {
                *state = next;
            }
            tells
        });
    }

    /// Programs can start.
    pub(super) fn open(&self, ground: Arc<Ground>) {
        if self.ground.set(ground).is_ok() {
            self.state.send_if_modified(|state| {
                let starting = matches!(state, State::Starting(_));
                if starting {
                    *state = State::Ready;
                }
                starting
            });
        }
    }

    /// It is over, for this reason; the first reason stays.
    pub(super) fn gone(&self, refusal: Refusal) {
        self.state.send_if_modified(|state| {
            let first = !matches!(state, State::Gone(_));
            if first {
                *state = State::Gone(refusal);
            }
            first
        });
    }

    /// The user's program that is the container's main process is over; the first word stays.
    pub(super) fn tell_over(&self, over: Over) {
        self.over.send_if_modified(|told| {
            let first = told.is_none();
            if first {
                *told = Some(over);
            }
            first
        });
    }

    /// How that program is over, once it is.
    pub(super) fn over(&self) -> watch::Receiver<Option<Over>> {
        self.over.subscribe()
    }

    /// Nobody wants it any more: the pod is to go.
    pub(super) fn let_go(&self) {
        self.ended.cancel();
    }

    /// Says that the connection is over, and waits until the pod is removed or that was given up.
    pub(super) async fn end(&self) {
        self.let_go();
        self.removed.cancelled().await;
    }

    /// Cancelled when the connection is over.
    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// The pod is removed, or that was given up.
    pub(super) fn removed(&self) {
        self.removed.cancel();
    }
}
