//! The task of one connection, from accept to the release of everything that it held. It watches what russh cannot: the
//! login's deadline, the guest's end, the audit record, and the commands of others.
//!
//! Invariants: when it returns, every channel's task has ended, the guest is gone (or the backend has given up and
//! said so), and the registry knows the connection no more.

use super::admission::Admitted;
use super::client_stream::{self, ClientStream, ClosedBy};
use super::conduct::LoginConduct;
use super::connection::{ConnectionContext, ConnectionError};
use super::connection_end::ConnectionEnd;
use super::connection_use::ConnectionUse;
use super::entrance::{Entrance, Startup};
use super::handler::Translator;
use super::snapshot::Snapshot;
use super::time_limits;
use crate::audit::{Event, Recorder, Unrecorded, WireMessage};
use crate::auth::LoginDeadline;
use crate::guest::{Progress, Refusal};
use crate::policy::ConnectionEndpoints;
use crate::registry::{EndRequest, RegistryEntry};
use crate::session::{self, QueuedBytes};
use crate::shutdown::{FAREWELL, LINGER, SHOW_TIME};
use crate::telemetry::Log;
use crate::telemetry::metrics::CountedConnection;
use crate::types::ConnectionId;
use bytes::BytesMut;
use futures_util::FutureExt;
use parking_lot::Mutex;
use russh::Disconnect;
use russh::server::RunningSession;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The time in which a client whose guest is not available has to open a channel, to read the reason there.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// A connection that was accepted and registered.
pub(super) struct AcceptedConnection {
    pub(super) stream: TcpStream,
    /// The client's bytes that were read with a PROXY header.
    pub(super) ahead: BytesMut,
    pub(super) endpoints: ConnectionEndpoints,
    /// The address of the proxy that the client came through.
    pub(super) proxy: Option<SocketAddr>,
    pub(super) id: ConnectionId,
    pub(super) entry: RegistryEntry,
    pub(super) entrance: Entrance,
    pub(super) queued: QueuedBytes,
    /// A place among the connections that log in; held until the login is done.
    pub(super) startup: Startup,
}

/// Serves one connection to its end.
pub(super) async fn serve(accepted: AcceptedConnection, snapshot: Arc<Snapshot>, log: Log) -> io::Result<()> {
    let AcceptedConnection { stream, ahead, endpoints, proxy, id, entry, entrance, queued, startup } = accepted;
    stream.set_nodelay(true)?;
    watch_for_vanished(&stream, snapshot.stall)?;
    let entry = Arc::new(entry);
    let log = log.connection(id, endpoints.client);
    let country = log.country();
    let counted = log.metrics().connection(country.unwrap_or_default());
    let audit = Recorder::new(log.clone());
    let audit = match &snapshot.recordings {
        Some(recordings) => audit.with_recording(recordings, (id, endpoints.client.ip())),
        None => audit,
    };
    let (stream, monitor) = client_stream::split(stream, ahead);
    monitor.count_for(log.metrics());
    let key_exchange = snapshot.login.key_exchange;
    let context = Arc::new(ConnectionContext {
        id,
        endpoints,
        penalised: startup.client(),
        snapshot,
        stream: monitor,
        used: ConnectionUse::new(),
        log,
        audit,
        closed: CancellationToken::new(),
        crashed: CancellationToken::new(),
        channels: TaskTracker::new(),
        opened: Notify::new(),
        deadline: LoginDeadline::new(key_exchange),
        handle: OnceLock::new(),
        entrance,
        queued,
        startup: Mutex::new(Some(startup)),
        conduct: Mutex::new(LoginConduct::default()),
        served: OnceLock::new(),
        guest: OnceLock::new(),
    });
    context.audit.record(Event::Connected { proxy, country }).map_err(io::Error::other)?;
    let (admitted, admission) = oneshot::channel();
    let facts = context.clone();
    entry.describe(move || facts.live());
    let translator = Translator::new(context.clone(), entry.clone(), admitted);
    let connection = Supervisor {
        context,
        end: entry.end(),
        entry,
        accepted: Instant::now(),
        admission,
        admitted: None,
        progress: Progress::default(),
        counted,
    };
    connection.run(stream, translator).await;
    Ok(())
}

/// Waits until the login has taken too long. A client whose user compares our host key has more than the time of a key
/// exchange: OpenSSH asks in the middle of it.
async fn login_took_too_long(context: &ConnectionContext) {
    context.deadline.passed().await;
    if context.stream.considers_host_key() {
        context.deadline.extend_to(context.snapshot.login.grace);
        context.deadline.passed().await;
    }
}

/// Has the system find a client that has vanished. With a limit for a client that takes no data, it asks an idle one every
/// minute (one that is only stopped answers); without one, it asks as rarely as for sshd's `TCPKeepAlive`, by its own times.
fn watch_for_vanished(stream: &TcpStream, stall: Option<Duration>) -> io::Result<()> {
    let socket = SockRef::from(stream);
    if stall.is_none() {
        return socket.set_keepalive(true);
    }
    let second = Duration::from_secs(1);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(60 * second).with_interval(15 * second).with_retries(4))?;
    // russh asks for no sign of life while it waits for the client to take data: the system gives such a client up.
    socket.set_tcp_user_timeout(stall)
}

struct Supervisor {
    context: Arc<ConnectionContext>,
    entry: Arc<RegistryEntry>,
    accepted: Instant,
    end: EndRequest,
    admission: oneshot::Receiver<Admitted>,
    admitted: Option<Admitted>,
    /// The guest's progress until it is ready.
    progress: Progress,
    counted: CountedConnection,
}

impl Supervisor {
    async fn run(mut self, stream: ClientStream, translator: Translator) {
        let ended = match Box::pin(self.handshake(stream, translator)).await {
            Ok(session) => self.supervise(session).await,
            Err(error) => Err(error),
        };
        // A login may have succeeded in the moment the connection ended.
        if let Ok(admitted) = self.admission.try_recv() {
            self.admitted = Some(admitted);
        }
        let crashed = ended.as_ref().is_err_and(has_crashed) || self.context.crashed.is_cancelled();
        self.context.penalise(crashed, self.accepted.elapsed());
        let ended = ended.err().map(|error| ConnectionEnd::of(&error, self.admitted.is_some()));
        if let Some(event) = ended.as_ref().and_then(ConnectionEnd::event) {
            self.context.audit.note(event);
        }
        self.record_left_alone();
        self.context.closed.cancel();
        self.context.stream.cut();
        self.context.channels.close();
        self.context.channels.wait().await;
        if let Some(admitted) = self.admitted.take() {
            admitted.admission.guest.end().await;
        }
        // Before the record: who reads that the connection is over finds its place free.
        drop((self.entry, self.counted));
        let traffic = self.context.stream.traffic();
        let duration = self.accepted.elapsed();
        self.context.audit.note(Event::Disconnected {
            reason: ended.as_ref().map(ConnectionEnd::reason),
            duration,
            traffic,
            health_check: self.context.penalised.is_none() && !self.context.conduct.lock().logged_in,
        });
        self.context.audit.finish().await;
    }

    /// Records that the client left before its guest was ready. Only for a client without a session: a session records it
    /// itself.
    fn record_left_alone(&self) {
        let Some(Admitted { admission, ending, .. }) = &self.admitted else { return };
        let is_starting = || admission.guest.ready(self.progress.clone()).now_or_never().is_none();
        let has_opened = || self.context.opened.notified().now_or_never().is_some();
        if ending.borrow().is_none() && is_starting() && !has_opened() {
            let reason = self.progress.reports().borrow().clone();
            self.context.audit.note(Event::Abandoned { reason: reason.as_deref().unwrap_or(session::STARTING) });
        }
    }

    async fn handshake(
        &mut self,
        mut stream: ClientStream,
        translator: Translator,
    ) -> Result<RunningSession<Translator>, ConnectionError> {
        let snapshot = self.context.snapshot.clone();
        let session = async {
            let client = stream.exchange_identification(&snapshot.server_version).await.map_err(russh::Error::IO)?;
            russh::server::run_stream(snapshot.transport.for_client(&client), stream, translator).await
        };
        let session = tokio::select! {
            session = session => session?,
            // Before the identification lines are exchanged, no message can carry a reason.
            () = login_took_too_long(&self.context) => {
                self.late();
                return Err(ConnectionError::Closed(ClosedBy::Gateway));
            }
            _reason = self.end.reason() => {
                self.context.conduct.lock().ended_here = true;
                return Err(ConnectionError::Closed(ClosedBy::Gateway));
            }
        };
        // Set once: a connection has one handshake.
        let _ = self.context.handle.set(session.handle());
        Ok(session)
    }

    /// Waits for the end of the connection, and ends it when the login takes too long, the guest is gone, nothing can be
    /// recorded any more, or a command says so.
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
                self.context.stream.cut();
                session.await
            }
        }
    }

    /// Waits for a cause for which to end the connection.
    async fn watch(&mut self) -> EndCause {
        let admitted = tokio::select! {
            Ok(admitted) = &mut self.admission => admitted,
            () = login_took_too_long(&self.context) => {
                self.late();
                return EndCause::Ours("the login took too long".to_owned());
            }
            () = self.context.audit.failed() => return self.ended_here(Unrecorded.to_string()),
            () = self.context.crashed.cancelled() => return self.ended_here(BUG.to_owned()),
            reason = self.end.reason() => return self.ended_here(reason),
        };
        let (guest, limits) = (admitted.admission.guest.clone(), admitted.admission.limits);
        let notices = self.entry.notice().clone();
        self.admitted = Some(admitted);
        let gone = async {
            // An error says that the guest is gone already.
            if guest.ready(self.progress.clone()).await.is_ok() {
                self.counted.served();
            }
            guest.gone().await
        };
        let over =
            time_limits::reached(limits, &self.context.used, |line| notices.send_modify(|notices| notices.add(line)));
        tokio::select! {
            refusal = gone => EndCause::GuestGone(refusal),
            limit = over => {
                self.context.audit.note(Event::LimitHit { limit: limit.name() });
                EndCause::Ours(limit.reason().to_owned())
            }
            () = self.context.audit.failed() => EndCause::Ours(Unrecorded.to_string()),
            () = self.context.crashed.cancelled() => EndCause::Ours(BUG.to_owned()),
            reason = self.end.reason() => EndCause::Ours(reason),
        }
    }

    fn late(&self) {
        // Whoever thinks about the host key for so long, too: one such penalty refuses nobody, and who only says so holds places.
        self.context.conduct.lock().late = true;
        self.context.audit.note(Event::LoginTimeout);
    }

    fn ended_here(&self, reason: String) -> EndCause {
        self.context.conduct.lock().ended_here = true;
        EndCause::Ours(reason)
    }

    /// Lets every session tell its client the reason, then disconnects.
    async fn farewell(&self, cause: EndCause) {
        let (refusal, patience) = match cause {
            // A client without a channel is about to open one, where it reads the reason.
            EndCause::GuestGone(refusal) => (refusal, FIRST_REQUEST),
            EndCause::Ours(reason) => (Refusal::new(reason), Duration::ZERO),
        };
        let reason = refusal.reason.clone();
        self.context.audit.note_wire(WireMessage::Ending(&reason));
        if let Some(admitted) = &self.admitted {
            admitted.ending.send_replace(Some(refusal));
            // The notification stays from the first channel on.
            if timeout(patience, self.context.opened.notified()).await.is_ok() {
                self.context.channels.close();
                // Elapsed: a client that does not read is not waited for.
                let _ = timeout(FAREWELL, self.context.channels.wait()).await;
                sleep(SHOW_TIME).await;
            }
        }
        // Elapsed: a client that reads nothing leaves no room for the message, and is cut next.
        let _ = timeout(LINGER, self.context.disconnect(Disconnect::ByApplication, &reason)).await;
    }
}

/// The reason that the client of a part that panicked is told.
const BUG: &str = "the gateway has a fault and cannot go on with this connection; the details are in its log";

/// The cause for which the gateway ends a connection.
enum EndCause {
    GuestGone(Refusal),
    Ours(String),
}

/// True if a panic ended the connection's loop: nobody aborts that task.
fn has_crashed(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::Ssh(russh::Error::Join(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn without_keep_alive_requests_only_the_system_s_own_times_end_a_silent_client() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap());
        let (plain, watched, unwatched) =
            (connect().await.unwrap(), connect().await.unwrap(), connect().await.unwrap());
        let limit = Duration::from_secs(30);
        watch_for_vanished(&watched, Some(limit)).unwrap();
        watch_for_vanished(&unwatched, None).unwrap();
        let [plain, watched, unwatched] = [&plain, &watched, &unwatched].map(SockRef::from);
        assert_eq!(watched.tcp_user_timeout().unwrap(), Some(limit));
        assert_eq!(watched.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(unwatched.tcp_user_timeout().unwrap(), plain.tcp_user_timeout().unwrap());
        assert_eq!(unwatched.tcp_keepalive_time().unwrap(), plain.tcp_keepalive_time().unwrap());
        assert!(watched.keepalive().unwrap() && unwatched.keepalive().unwrap() && !plain.keepalive().unwrap());
    }
}
