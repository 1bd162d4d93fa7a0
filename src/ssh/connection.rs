//! One connection's task, from accept to the last thing it held. It watches what russh cannot: the login's deadline, the
//! guest's end, and what others ask of the connection.
//!
//! What always holds: when it returns, every channel's task has ended, the guest is gone (or the backend has given up and
//! said so), and the registry knows the connection no more.

use super::admission::Admitted;
use super::ended::{ConnectionError, Ended};
use super::handler::Translator;
use super::wire::{self, ClosedBy, LINGER, Wire};
use super::{Shared, Snapshot};
use crate::audit::{Event, Recorder};
use crate::auth::LoginDeadline;
use crate::guest::{Refusal, State};
use crate::policy::Endpoints;
use crate::registry::{Command, Entry};
use crate::session;
use crate::telemetry::Log;
use crate::telemetry::metrics::Connected;
use crate::types::ConnectionId;
use futures_util::FutureExt;
use russh::Disconnect;
use russh::server::RunningSession;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// From accept to login, as OpenSSH's `LoginGraceTime`.
const LOGIN: Duration = Duration::from_secs(120);
/// How long a client whose guest cannot be had may take to ask for the reason.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long sessions may take to tell their clients why they end.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a client may take to show what its sessions were told: OpenSSH's drops what it has not written out when it
/// reads a disconnect. One that has no other session leaves by itself before.
const SHOWN: Duration = Duration::from_millis(500);

/// A connection that was accepted, and its place in the registry.
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) id: ConnectionId,
    pub(super) entry: Entry,
    pub(super) asked: mpsc::Receiver<Command>,
    /// Held until the login is done.
    pub(super) startup: OwnedSemaphorePermit,
}

/// Serves one connection to its end.
pub(super) async fn serve(accepted: Accepted, snapshot: Arc<Snapshot>, log: Log) -> io::Result<()> {
    let Accepted { stream, id, entry, asked, startup } = accepted;
    let counted = log.metrics().connection();
    let endpoints = Endpoints { client: stream.peer_addr()?, server: stream.local_addr()? };
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_keepalive(true)?;
    let entry = Arc::new(entry);
    let log = log.connection(id, endpoints.client);
    let audit = Recorder::new(log.clone());
    let (stream, line) = wire::split(stream);
    let shared = Arc::new(Shared {
        id,
        endpoints,
        snapshot,
        line,
        log,
        audit,
        closed: CancellationToken::new(),
        channels: TaskTracker::new(),
        opened: Notify::new(),
        deadline: LoginDeadline::new(LOGIN),
        handle: OnceLock::new(),
    });
    shared.audit.record(Event::Connected);
    let (admitted, admission) = oneshot::channel();
    let translator = Translator::new(shared.clone(), entry.clone(), admitted);
    let connection =
        Connection { shared, accepted: Instant::now(), asked, admission, startup: Some(startup), guest: None, counted };
    connection.run(stream, translator).await;
    drop(entry);
    Ok(())
}

struct Connection {
    shared: Arc<Shared>,
    accepted: Instant,
    asked: mpsc::Receiver<Command>,
    admission: oneshot::Receiver<Admitted>,
    startup: Option<OwnedSemaphorePermit>,
    guest: Option<Admitted>,
    counted: Connected,
}

impl Connection {
    async fn run(mut self, stream: Wire, translator: Translator) {
        let ended = match Box::pin(self.handshake(stream, translator)).await {
            Ok(session) => self.supervise(session).await,
            Err(error) => Err(error),
        };
        // A login may have succeeded in the moment the connection ended.
        if let Ok(admitted) = self.admission.try_recv() {
            self.guest = Some(admitted);
        }
        let ended = ended.err().map(|error| Ended::of(&error, self.guest.is_some()));
        if let Some(event) = ended.as_ref().and_then(Ended::event) {
            self.shared.audit.record(event);
        }
        self.record_left_alone();
        self.shared.closed.cancel();
        self.shared.line.cut();
        self.shared.channels.close();
        self.shared.channels.wait().await;
        if let Some(admitted) = self.guest.take() {
            admitted.admission.guest.end().await;
        }
        let traffic = self.shared.line.traffic();
        let duration = self.accepted.elapsed();
        self.shared.audit.record(Event::Disconnected { reason: ended.as_ref().map(Ended::reason), duration, traffic });
    }

    /// Records that the client left before its guest was there, where no session of its tells that: it opened none.
    fn record_left_alone(&self) {
        let Some(admitted) = &self.guest else { return };
        if let State::Starting(reason) = &*admitted.state.borrow()
            && self.shared.opened.notified().now_or_never().is_none()
        {
            let reason = reason.as_deref().unwrap_or(session::STARTING);
            self.shared.audit.record(Event::Abandoned { reason });
        }
    }

    async fn handshake(
        &mut self,
        stream: Wire,
        translator: Translator,
    ) -> Result<RunningSession<Translator>, ConnectionError> {
        let config = self.shared.snapshot.transport.clone();
        let session = tokio::select! {
            session = russh::server::run_stream(config, stream, translator) => session?,
            // Before both sides have said who they are, there is nothing to tell a reason with.
            () = self.shared.deadline.passed() => {
                self.shared.audit.record(Event::LoginTimeout);
                return Err(ConnectionError::Closed(ClosedBy::Gateway));
            }
            _reason = asked_to_end(&mut self.asked) => return Err(ConnectionError::Closed(ClosedBy::Gateway)),
        };
        // Set once: a connection has one handshake.
        let _ = self.shared.handle.set(session.handle());
        Ok(session)
    }

    /// Waits for the end of the connection, and brings it about when the login takes too long, the guest is gone, or
    /// somebody asks for it.
    async fn supervise(&mut self, session: RunningSession<Translator>) -> Result<(), ConnectionError> {
        tokio::pin!(session);
        let cause = tokio::select! {
            ended = &mut session => return ended,
            cause = self.watch() => cause,
        };
        tokio::select! {
            ended = &mut session => return ended,
            () = self.farewell(cause) => {}
        }
        match timeout(LINGER, &mut session).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                self.shared.line.cut();
                session.await
            }
        }
    }

    /// Waits for a cause to end the connection.
    async fn watch(&mut self) -> Cause {
        let admitted = tokio::select! {
            Ok(admitted) = &mut self.admission => admitted,
            () = self.shared.deadline.passed() => {
                self.shared.audit.record(Event::LoginTimeout);
                return Cause::Asked("the login took too long".to_owned());
            }
            reason = asked_to_end(&mut self.asked) => return Cause::Asked(reason),
        };
        self.startup = None;
        let state = admitted.admission.guest.state();
        let admitted = self.guest.insert(admitted);
        tokio::select! {
            refusal = follow(state, &admitted.state, &mut self.counted) => Cause::GuestGone(refusal),
            reason = asked_to_end(&mut self.asked) => Cause::Asked(reason),
        }
    }

    /// Lets every session tell its client, then disconnects.
    async fn farewell(&self, cause: Cause) {
        let (refusal, patience) = match cause {
            // Without a channel yet, the client is about to open one and can be told there.
            Cause::GuestGone(refusal) => (refusal, FIRST_REQUEST),
            Cause::Asked(reason) => (Refusal::new(reason), Duration::ZERO),
        };
        let reason = refusal.reason.clone();
        if let Some(admitted) = &self.guest {
            admitted.state.send_replace(State::Gone(refusal));
            // Kept from the first channel on.
            if timeout(patience, self.shared.opened.notified()).await.is_ok() {
                self.shared.channels.close();
                // Elapsed: a client that does not read is not waited for.
                let _ = timeout(FAREWELL, self.shared.channels.wait()).await;
                sleep(SHOWN).await;
            }
        }
        // Elapsed: a client that takes nothing leaves no room for the message, and is cut next.
        let _ = timeout(LINGER, self.shared.disconnect(Disconnect::ByApplication, &reason)).await;
    }
}

/// Why a connection is ended by us.
enum Cause {
    GuestGone(Refusal),
    Asked(String),
}

/// Passes the guest's states on until it is gone.
async fn follow(mut from: watch::Receiver<State>, to: &watch::Sender<State>, counted: &mut Connected) -> Refusal {
    let gone = session::gone(from.clone());
    tokio::pin!(gone);
    loop {
        let now = from.borrow_and_update().clone();
        if now == State::Ready {
            counted.served();
        }
        to.send_replace(now);
        tokio::select! {
            refusal = &mut gone => return refusal,
            Ok(()) = from.changed() => {}
        }
    }
}

async fn asked_to_end(asked: &mut mpsc::Receiver<Command>) -> String {
    match asked.recv().await {
        Some(Command::Disconnect { reason }) => reason,
        // The registry holds the sender as long as the entry lives, which is longer than this task.
        None => std::future::pending().await,
    }
}
