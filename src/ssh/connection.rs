//! The context of one connection: the parts that its callbacks, its login, its channels and its supervisor share.

use super::client_stream::{ClosedBy, StreamMonitor};
use super::conduct::LoginConduct;
use super::connection_use::ConnectionUse;
use super::entrance::{Entrance, Startup};
use super::snapshot::Snapshot;
use crate::audit::{Event, Recorder, Traffic};
use crate::auth::{ClientFacts, LoginDeadline};
use crate::guest::Guest;
use crate::policy::ConnectionEndpoints;
use crate::registry::LiveFacts;
use crate::session::QueuedBytes;
use crate::settings::IdleTraffic;
use crate::telemetry::ConnectionLog;
use crate::throttle::PenaltyCause;
use crate::types::ConnectionId;
use futures_util::FutureExt;
use parking_lot::Mutex;
use russh::Disconnect;
use russh::server::Handle;
use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The shared parts of one connection.
pub(super) struct ConnectionContext {
    pub(super) id: ConnectionId,
    pub(super) endpoints: ConnectionEndpoints,
    /// The address whose source is penalised; `None` for a proxy that speaks for itself.
    pub(super) penalised: Option<IpAddr>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) stream: StreamMonitor,
    pub(super) used: Arc<ConnectionUse>,
    pub(super) log: ConnectionLog,
    pub(super) audit: Recorder,
    /// Cancelled when the connection has ended.
    pub(super) closed: CancellationToken,
    /// Cancelled when a task of its channels has panicked.
    pub(super) crashed: CancellationToken,
    /// The tasks of its channels.
    pub(super) channels: TaskTracker,
    /// Notified when the first channel opens.
    pub(super) opened: Notify,
    pub(super) handle: OnceLock<Handle>,
    /// The deadline of the login, whose clock stands while a webhook is asked.
    pub(super) deadline: LoginDeadline,
    pub(super) entrance: Entrance,
    /// The memory that waits for programs, of all connections.
    pub(super) queued: QueuedBytes,
    /// The place among the connections that log in, until the login is done.
    pub(super) startup: Mutex<Option<Startup>>,
    pub(super) conduct: Mutex<LoginConduct>,
    /// The place among the connections that are served, from the login on.
    pub(super) served: OnceLock<OwnedSemaphorePermit>,
    /// The guest, once there is one.
    pub(super) guest: OnceLock<Weak<dyn Guest>>,
}

impl ConnectionContext {
    /// Starts a task of its channels. A panic in it ends the connection, and no other.
    pub(super) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let crashed = self.crashed.clone();
        self.channels.spawn(async move {
            // Nobody sees what the task had, which is dropped here.
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                crashed.cancel();
            }
        });
    }

    /// Disconnects with a reason (RFC 4253 section 11.1).
    pub(super) async fn disconnect(&self, code: Disconnect, reason: &str) {
        if let Some(handle) = self.handle.get() {
            // A connection that has ended needs no disconnect.
            let _ = handle.disconnect(code, format!("podgate: {reason}"), String::new()).await;
        }
    }

    /// Records a login that its client left while a webhook was asked. A login that this process ends is not recorded.
    pub(super) fn left_by(&self, by: ClosedBy, reason: &'static str) -> ConnectionError {
        if by == ClosedBy::Client {
            self.conduct.lock().left_waiting = true;
            self.audit.note(Event::Abandoned { reason });
        }
        ConnectionError::Closed(by)
    }

    /// Ends the login phase: the client has logged in as `identity`. False if the process may not open what it would need.
    pub(super) fn logged_in(&self, identity: &str) -> bool {
        self.conduct.lock().logged_in = true;
        if let Some(client) = self.penalised {
            self.entrance.note_login(client, identity);
        }
        *self.startup.lock() = None;
        match self.entrance.serve_connection() {
            Some(place) => self.served.set(place).is_ok(),
            None => false,
        }
    }

    /// Adds the penalty of a client that has left to its source. It was there for `held`.
    pub(super) fn penalise(&self, crashed: bool, held: Duration) {
        let conduct = *self.conduct.lock();
        let penalty = if crashed { Some(PenaltyCause::Crash) } else { conduct.penalty() };
        let held = if conduct.left_waiting { Duration::ZERO } else { held };
        if let (Some(cause), Some(client)) = (penalty, self.penalised) {
            self.entrance.penalise(client, cause, held);
        }
        *self.startup.lock() = None;
    }

    /// Adds a penalty to the client's source.
    pub(super) fn penalise_source(&self, cause: PenaltyCause) {
        if let Some(client) = self.penalised {
            self.entrance.penalise(client, cause, Duration::ZERO);
        }
    }

    /// The facts that an operator sees.
    pub(super) fn live(&self) -> LiveFacts {
        let Traffic { received, sent } = self.stream.traffic();
        let guest = self.guest.get().and_then(Weak::upgrade);
        LiveFacts {
            remote: self.endpoints.client,
            received,
            sent,
            idle: self.used.now().saturating_sub(self.used.last_traffic(IdleTraffic::Any)),
            pod: guest.and_then(|guest| guest.pod()),
        }
    }

    /// The facts about the client that webhooks are told.
    pub(super) fn facts(&self) -> ClientFacts {
        ClientFacts { connection: self.id, remote: self.endpoints.client, client_version: self.stream.client_version() }
    }
}

/// An error that ends a connection's loop.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// The protocol or the stream failed.
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    /// One side closed the connection before the key exchange, or while a callback waited.
    #[error("{}", .0.text())]
    Closed(ClosedBy),
}
