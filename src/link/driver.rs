//! The task of a link: moves bytes between the carrier and the link until one of them ends.

use super::carrier::{CarrierLost, CarrierReceiver, CarrierSender};
use super::shared::SharedLink;
use bytes::BytesMut;
use podgate_link::{Close, ProtocolError};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// The size of one write to the carrier, in bytes, as long as there is so much: [`INPUT_CHUNK`](crate::guest::INPUT_CHUNK).
const WRITE: usize = crate::guest::INPUT_CHUNK;
/// The time for the last frame, which tells the agent the end of the link.
const FAREWELL: Duration = Duration::from_secs(2);

/// The time between two looks at a carrier that takes nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The reason for which a link is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkEnd {
    #[error("{0}")]
    Carrier(#[from] CarrierLost),
    #[error("the guest's agent broke the link's protocol: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the guest's agent does not answer")]
    Silent,
    #[error("the guest's agent ended the link: {}", crate::types::printable(&.0.reason, 200))]
    Ended(Close),
    #[error("the connection has ended")]
    Dropped,
}

/// Drives a link to its end.
pub(super) async fn drive(
    shared: Arc<SharedLink>,
    mut sender: Box<dyn CarrierSender>,
    mut receiver: Box<dyn CarrierReceiver>,
    dropped: CancellationToken,
) -> LinkEnd {
    let mut sending = pin!(send(&shared, sender.as_mut()));
    let mut receiving = pin!(receive(&shared, receiver.as_mut()));
    let end = tokio::select! {
        end = &mut receiving => end,
        end = &mut sending => end,
        () = dropped.cancelled() => LinkEnd::Dropped,
    };
    shared.set_over(&end.to_string());
    if matches!(end, LinkEnd::Dropped) {
        shared.act(|state| state.end());
        // The carrier's own end says the same a moment later.
        let _ = timeout(FAREWELL, sending).await;
    }
    end
}

async fn receive(shared: &SharedLink, receiver: &mut dyn CarrierReceiver) -> LinkEnd {
    loop {
        let bytes = match receiver.next().await {
            Ok(bytes) => bytes,
            Err(lost) => return lost.into(),
        };
        let received = shared.act(|state| {
            state.link.receive(bytes, Instant::now())?;
            Ok(state.take_notices())
        });
        shared.room.notify_waiters();
        match received {
            Ok(None) => {}
            Ok(Some(close)) => return LinkEnd::Ended(close),
            Err(error) => return LinkEnd::Protocol(error),
        }
    }
}

async fn send(shared: &SharedLink, sender: &mut dyn CarrierSender) -> LinkEnd {
    loop {
        let mut out = BytesMut::new();
        let turn = shared.look(|state| {
            let now = Instant::now();
            if !state.link.timer(now) {
                return Err(LinkEnd::Silent);
            }
            state.link.transmit(&mut out, WRITE, now)?;
            if state.is_ending() && out.is_empty() {
                return Err(LinkEnd::Dropped);
            }
            Ok(state.link.next_timer())
        });
        let timer = match turn {
            Ok(timer) => timer,
            Err(end) => return end,
        };
        if !out.is_empty() {
            if let Some(end) = send_in_time(shared, sender, out).await {
                return end;
            }
            continue;
        }
        tokio::select! {
            () = shared.work.notified() => {}
            () = due(timer) => {}
        }
    }
}

/// Sends bytes, and returns the end of the link if the carrier fails or the agent is silent meanwhile.
async fn send_in_time(shared: &SharedLink, sender: &mut dyn CarrierSender, out: BytesMut) -> Option<LinkEnd> {
    let mut sending = pin!(sender.send(out));
    loop {
        let timer = shared.look(|state| state.link.next_timer());
        tokio::select! {
            biased;
            sent = &mut sending => return sent.err().map(LinkEnd::from),
            () = due(timer) => {}
        }
        if !shared.look(|state| state.link.timer(Instant::now())) {
            return Some(LinkEnd::Silent);
        }
        // What else is due waits for the carrier, too.
        let again = sleep_until((Instant::now() + LOOK_AGAIN).into());
        tokio::select! {
            biased;
            sent = &mut sending => return sent.err().map(LinkEnd::from),
            () = again => {}
        }
    }
}

async fn due(timer: Option<Instant>) {
    match timer {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
