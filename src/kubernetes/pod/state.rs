//! The state of a pod, shared by the guest that uses it and the task behind it: the pod's progress, and whether it is still
//! wanted. It only moves forward: starting, ready, gone.

use super::agent::GuestAgent;
use super::container::ReadyContainer;
use super::wait::PodEnd;
use crate::guest::{Progress, Refusal};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The phase of a pod's life.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PodPhase {
    /// The pod starts; the text is the progress that a user may read.
    Starting(Option<String>),
    /// The pod is ready: programs can start.
    Ready,
    /// The pod can never be used again.
    Gone(Refusal),
}

#[derive(Debug)]
pub(crate) struct PodState {
    phase: watch::Sender<PodPhase>,
    container: OnceLock<Arc<ReadyContainer>>,
    agent: OnceLock<Arc<GuestAgent>>,
    end: watch::Sender<Option<PodEnd>>,
    dismissed: CancellationToken,
    removed: CancellationToken,
}

/// The reason for everything that the end of the connection cuts short.
pub(crate) fn connection_ended() -> Refusal {
    Refusal::new("the connection has ended")
}

impl PodState {
    pub(crate) fn new() -> Self {
        Self::child_of(&CancellationToken::new())
    }

    /// Creates the state of a pod that is also dismissed when `parent` is cancelled.
    pub(crate) fn child_of(parent: &CancellationToken) -> Self {
        Self {
            phase: watch::Sender::new(PodPhase::Starting(None)),
            container: OnceLock::new(),
            agent: OnceLock::new(),
            end: watch::Sender::new(None),
            dismissed: parent.child_token(),
            removed: CancellationToken::new(),
        }
    }

    /// Waits until programs can start, and reports the pod's progress meanwhile.
    pub(crate) async fn ready(&self, progress: &Progress) -> Result<Arc<ReadyContainer>, Refusal> {
        let mut phase = self.phase.subscribe();
        loop {
            match &*phase.borrow_and_update() {
                PodPhase::Starting(reason) => reason.iter().for_each(|reason| progress.report(reason.clone())),
                PodPhase::Ready => break,
                PodPhase::Gone(refusal) => return Err(refusal.clone()),
            }
            if phase.changed().await.is_err() {
                break;
            }
        }
        self.container.get().cloned().ok_or_else(|| Refusal::new("the pod is not ready"))
    }

    /// The container, once programs can start in it.
    pub(crate) fn container(&self) -> Option<Arc<ReadyContainer>> {
        self.container.get().cloned()
    }

    /// The agent of a container that is ready; `None` in mode session, whose programs need none.
    pub(crate) fn agent(&self) -> Option<Arc<GuestAgent>> {
        self.agent.get().cloned()
    }

    /// Waits until the pod can never be used again.
    pub(crate) async fn wait_until_gone(&self) -> Refusal {
        let mut phase = self.phase.subscribe();
        match phase.wait_for(|phase| matches!(phase, PodPhase::Gone(_))).await.as_deref() {
            Ok(PodPhase::Gone(refusal)) => refusal.clone(),
            Ok(PodPhase::Starting(_) | PodPhase::Ready) | Err(_) => connection_ended(),
        }
    }

    /// Reports the progress of a pod that starts, for a waiting user.
    pub(crate) fn report_progress(&self, progress: Option<String>) {
        self.phase.send_if_modified(|phase| {
            let next = PodPhase::Starting(progress);
            let changed = matches!(phase, PodPhase::Starting(_)) && *phase != next;
            if changed {
                *phase = next;
            }
            changed
        });
    }

    /// Reports that programs can start in this container, which has this agent.
    pub(crate) fn set_ready(&self, container: Arc<ReadyContainer>, agent: Option<Arc<GuestAgent>>) {
        if let Some(agent) = agent {
            let _already_set = self.agent.set(agent);
        }
        if self.container.set(container).is_ok() {
            self.phase.send_if_modified(|phase| {
                let starting = matches!(phase, PodPhase::Starting(_));
                if starting {
                    *phase = PodPhase::Ready;
                }
                starting
            });
        }
    }

    /// Reports that the pod cannot be used any more. The first reason stays.
    pub(crate) fn set_gone(&self, refusal: Refusal) {
        self.phase.send_if_modified(|phase| {
            let first = !matches!(phase, PodPhase::Gone(_));
            if first {
                *phase = PodPhase::Gone(refusal);
            }
            first
        });
        if let Some(agent) = self.agent.get() {
            agent.close();
        }
    }

    /// Reports the end of a pod that was ready. The first end stays.
    pub(crate) fn set_end(&self, end: PodEnd) {
        self.end.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(end);
            }
            first
        });
    }

    pub(crate) fn end_watch(&self) -> watch::Receiver<Option<PodEnd>> {
        self.end.subscribe()
    }

    /// Tells the task that nobody wants the pod any more, so that it is removed.
    pub(crate) fn dismiss(&self) {
        self.dismissed.cancel();
    }

    /// Cancelled when nobody wants the pod any more.
    pub(crate) fn dismissed(&self) -> &CancellationToken {
        &self.dismissed
    }

    /// Dismisses the pod and waits until it is removed, or its removal was given up.
    pub(crate) async fn end(&self) {
        self.dismiss();
        self.removed.cancelled().await;
    }

    /// Reports that the pod is removed, or that its removal was given up.
    pub(crate) fn set_removed(&self) {
        self.removed.cancel();
    }
}
