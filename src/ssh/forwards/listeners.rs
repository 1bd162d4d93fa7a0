//! The listeners in the guest that one SSH connection asked for. A listener ends when its client cancels it, when its
//! session or connection ends, or when the guest gives it up; the connections that came to it stay.

use super::{Forwards, OfferedAs, Offering};
use crate::audit::{Event, ForwardEvent, Recorder, WireMessage};
use crate::guest::{GuestListener, ListenerAddress, Progress, Refusal};
use crate::policy::{Listen, Permit};
use crate::session::{ListenerOpener, ended};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The time in which a guest that is ready has to listen. A guest without the agent gets it first.
const ANSWER: Duration = Duration::from_secs(60);
/// The time that the guest has to close a socket.
const CLOSE: Duration = Duration::from_secs(5);

/// A listener that a client cancels by its address: as the client wrote it, with the port that the guest chose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ListenerKey {
    Tcp { host: String, port: u16 },
    Unix { path: String },
}

/// A listener in the guest. Dropping it ends it.
pub(crate) struct OpenListener {
    pub(crate) address: ListenerAddress,
    cancel: DropGuard,
    ended: CancellationToken,
}

impl OpenListener {
    /// Tells whether the guest has given it up.
    pub(crate) fn is_over(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Ends it, and waits until it is handed back to the guest.
    pub(crate) async fn close(self) {
        drop(self.cancel);
        self.ended.cancelled().await;
    }

    /// Leaves it open until the token that it was opened with is cancelled.
    fn detach(self) -> ListenerAddress {
        self.cancel.disarm();
        self.address
    }
}

/// The task of one listener.
struct ListenerTask {
    forwards: Arc<Forwards>,
    listener: GuestListener,
    offering: Offering,
    is_single: bool,
    ended: DropGuard,
    audit: Recorder,
}

impl Forwards {
    /// Listens in the guest, for as long as the returned listener lives and `until` is not cancelled. The wait ends with
    /// the pod's own deadlines or the connection. `audit` is that of the request.
    pub(crate) async fn listen(
        self: &Arc<Self>,
        listen: Permit<Listen>,
        progress: Progress,
        until: &CancellationToken,
        audit: &Recorder,
    ) -> Result<OpenListener, Refusal> {
        let (name, request): (Arc<str>, _) = (listen.request().to_string().into(), listen.request().clone());
        audit.record_effect(Event::Forward(ForwardEvent::ListenerOpening { listener: &name })).await?;
        let listening = self.listen_in_guest(listen, progress).await;
        let checked = listening.and_then(|listener| {
            let offered_as = offered_as(&request, &listener.address)?;
            Ok((listener, offered_as))
        });
        let (listener, offered_as) = checked.inspect_err(|refusal| {
            audit.note(Event::Forward(ForwardEvent::ListenerRefused { request: &request, listener: &name, refusal }));
        })?;
        let address = listener.address.clone();
        audit.note(Event::Forward(ForwardEvent::ListenerOpened { listener: &name, address: &address }));
        if let (Listen::Tcp { host, port: 0 }, ListenerAddress::Port(port)) = (&request, &address) {
            audit.note_wire(WireMessage::BoundTcp { host, port: (*port).into() });
        }
        // An agent's socket outlives the session that asked for it.
        let audit = if request == Listen::Agent { &self.context.audit } else { audit };
        let (cancelled, ended) = (until.child_token(), CancellationToken::new());
        let cancel = cancelled.clone().drop_guard();
        let task = ListenerTask {
            forwards: self.clone(),
            listener,
            offering: Offering { listener: name, offered_as, cancelled },
            is_single: matches!(request, Listen::X11(ref x11) if x11.single_connection),
            ended: ended.clone().drop_guard(),
            audit: audit.clone(),
        };
        self.context.spawn(task.run());
        Ok(OpenListener { address, cancel, ended })
    }

    async fn listen_in_guest(&self, listen: Permit<Listen>, progress: Progress) -> Result<GuestListener, Refusal> {
        let guest = &self.admission.guest;
        let listening = async {
            guest.ready(progress.clone()).await?;
            let answered = timeout(ANSWER, guest.listen(listen, progress)).await;
            answered.unwrap_or_else(|_elapsed| Err(Refusal::new("the guest did not answer in time")))
        };
        tokio::select! {
            biased;
            listening = listening => listening,
            refusal = ended(self.admission.ending.clone()) => Err(refusal),
        }
    }

    /// The agent's socket for a session: the connection's own, which the first session opens.
    async fn agent_socket(
        self: &Arc<Self>,
        listen: Permit<Listen>,
        progress: Progress,
        audit: &Recorder,
    ) -> Result<ListenerAddress, Refusal> {
        let mut agent = self.agent.lock().await;
        if let Some(open) = agent.as_ref().filter(|open| !open.is_over()) {
            return Ok(open.address.clone());
        }
        let open = self.listen(listen, progress, &self.context.closed, audit).await?;
        let address = open.address.clone();
        *agent = Some(open);
        Ok(address)
    }
}

impl ListenerTask {
    async fn run(mut self) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.offering.cancelled.cancelled() => break,
                _ending = ended(self.forwards.admission.ending.clone()) => break,
                accepted = self.listener.accepted.next() => accepted,
            };
            let Some(accepted) = accepted else { break };
            match self.forwards.count.open_forward() {
                Ok(counted) => {
                    let forwards = self.forwards.clone();
                    let offered = forwards.offer(accepted, self.offering.clone(), counted);
                    self.forwards.context.spawn(offered);
                }
                Err(limit) if self.forwards.count.is_first_limit() => {
                    self.audit.note(Event::LimitHit { limit: limit.name() });
                }
                // Dropping the connection closes it.
                Err(_noted_before) => {}
            }
            if self.is_single {
                break;
            }
        }
        // The client's cancellation is answered afterwards: nothing may come any more.
        let _given_up = timeout(CLOSE, self.listener.accepted.close()).await;
        drop(self.listener);
        self.audit.note(Event::Forward(ForwardEvent::ListenerClosed { listener: &self.offering.listener }));
        drop(self.ended);
    }
}

/// Decides as what a listener's connections are offered. The guest is not believed: an address of another kind or another
/// port than was asked for is refused.
fn offered_as(request: &Listen, address: &ListenerAddress) -> Result<OfferedAs, Refusal> {
    match (request, address) {
        (Listen::Tcp { host, port }, ListenerAddress::Port(bound)) if *bound != 0 && (*port == 0 || port == bound) => {
            Ok(OfferedAs::Tcp { host: host.clone(), port: *bound })
        }
        (Listen::Unix { path }, ListenerAddress::Path(_)) => Ok(OfferedAs::Unix { path: path.clone() }),
        (Listen::Agent, ListenerAddress::Path(_)) => Ok(OfferedAs::Agent),
        (Listen::X11(_), ListenerAddress::Display { .. }) => Ok(OfferedAs::X11),
        (Listen::Tcp { .. } | Listen::Unix { .. } | Listen::Agent | Listen::X11(_), _) => {
            Err(Refusal::new("the guest listens elsewhere than it was asked to"))
        }
    }
}

/// The listeners of one session.
pub(crate) struct SessionListeners {
    pub(crate) forwards: Arc<Forwards>,
    /// Cancelled when the session is over.
    pub(crate) over: CancellationToken,
    pub(crate) audit: Recorder,
}

impl ListenerOpener for SessionListeners {
    fn open(&self, listen: Permit<Listen>, progress: Progress) -> BoxFuture<'_, Result<ListenerAddress, Refusal>> {
        Box::pin(async move {
            if *listen.request() == Listen::Agent {
                return self.forwards.agent_socket(listen, progress, &self.audit).await;
            }
            Ok(self.forwards.listen(listen, progress, &self.over, &self.audit).await?.detach())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::X11Forwarding;

    #[test]
    fn listener_elsewhere_than_it_was_asked_for_is_refused() {
        let tcp = |port| Listen::Tcp { host: "localhost".to_owned(), port };
        let unix = Listen::Unix { path: "/run/a".to_owned() };
        let (path, x11) = (ListenerAddress::Path("/run/a".to_owned()), Listen::X11(X11Forwarding::default()));
        let display = ListenerAddress::Display { display: "localhost:10.0".to_owned(), authority: String::new() };
        for (request, address) in [
            (&tcp(0), &ListenerAddress::Port(0)),
            (&tcp(80), &ListenerAddress::Port(81)),
            (&tcp(0), &path),
            (&unix, &ListenerAddress::Port(80)),
            (&Listen::Agent, &display),
            (&x11, &path),
        ] {
            assert!(offered_as(request, address).is_err(), "{request:?} {address:?}");
        }
        for (request, address) in [
            (&tcp(0), &ListenerAddress::Port(4000)),
            (&tcp(80), &ListenerAddress::Port(80)),
            (&unix, &path),
            (&Listen::Agent, &path),
            (&x11, &display),
        ] {
            assert!(offered_as(request, address).is_ok(), "{request:?} {address:?}");
        }
    }
}
