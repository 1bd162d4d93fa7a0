//! The requests to forward connections: the connection's rules decide, limits are checked, and a task or the guest gets what
//! was allowed.
//!
//! russh 0.65.1 answers a global request by what its callback returns, and a request for the agent's socket, too: there is no
//! other way to answer, so these callbacks wait for the guest. Meanwhile nothing of the connection moves. The wait ends when
//! the guest listens or refuses, when the pod was not ready in time (`timeouts.podStart`), when the guest that is ready does
//! not answer for a minute, when the connection is to end, and when the client leaves.

use super::{RESOURCE_SHORTAGE, Translator};
use crate::audit::{Event, Recorder, RequestKind, WireMessage};
use crate::guest::{ListenerAddress, Progress, Refusal};
use crate::policy::{Denied, Dial, Listen, Permit};
use crate::session::{ListenerOpener, PromisedListener};
use crate::ssh::channels::ChannelKind;
use crate::ssh::connection::ConnectionError;
use crate::ssh::forwards::{ForwardChannel, ListenerKey, OpenListener, SessionListeners};
use futures_util::FutureExt;
use russh::server::{ChannelOpenHandle, Msg, Session};
use russh::{ChannelId, ChannelOpenFailure};

/// `SSH_OPEN_ADMINISTRATIVELY_PROHIBITED` (RFC 4254 section 5.1).
const PROHIBITED: u32 = 1;
/// `SSH_OPEN_CONNECT_FAILED`.
const CONNECT_FAILED: u32 = 2;

impl Translator {
    /// Decides on a channel that carries a connection out of the guest, and spawns its task, which answers.
    pub(super) async fn dial(&mut self, dial: Dial, channel: russh::Channel<Msg>, reply: ChannelOpenHandle) {
        let Some((admission, forwards)) = &self.admitted else { return };
        let id = channel.id();
        let audit = self.channel_audit(id);
        let counted = match self.count.open_forward() {
            Ok(counted) => counted,
            Err(limit) => {
                audit.note(Event::LimitHit { limit: limit.name() });
                let reason = limit.to_string();
                return reply.reject(ChannelOpenFailure::Other { code: RESOURCE_SHORTAGE, reason }).await;
            }
        };
        let permit = match admission.rules.decide(dial.clone()) {
            Ok(permit) => permit,
            Err(denied) => {
                audit.note(Event::Denied { request: RequestKind::Dial(&dial), denied: &denied });
                // No address can be forbidden that is none.
                let code = if denied == Denied::DialTarget { CONNECT_FAILED } else { PROHIBITED };
                return reply.reject(ChannelOpenFailure::Other { code, reason: denied.to_string() }).await;
            }
        };
        // An unread read half wedges the connection after a hundred messages; data comes by the callback `data` alone.
        let (_, write) = channel.split();
        let (inbox, guards) = self.channels.open(id, ChannelKind::Forward, &self.context.closed);
        let channel = ForwardChannel { write, inbox, guards, counted, audit };
        self.context.spawn(forwards.clone().dial(permit, reply, channel));
    }

    /// Takes the confirmation of a channel that the gateway opens; false if there is none to be confirmed.
    pub(super) fn confirm_channel(&mut self, id: ChannelId) -> bool {
        let Some((_, forwards)) = &self.admitted else { return false };
        if self.channels.has(&id) || !forwards.awaited.is_any_asked() {
            return false;
        }
        forwards.awaited.confirm(id, self.channels.open(id, ChannelKind::Forward, &self.context.closed));
        true
    }

    /// Decides on a listener, and listens; the address, or `None` if the client does not get it.
    pub(super) async fn open_listener(
        &mut self,
        listen: Listen,
        session: &mut Session,
    ) -> Result<Option<ListenerAddress>, ConnectionError> {
        let audit = self.context.audit.clone();
        self.listeners.retain(|_, listener| !listener.is_over());
        let most = self.admitted.as_ref().map_or(0, |(admission, _)| admission.limits.counts.listeners);
        if self.listeners.len() >= most {
            audit.note(Event::LimitHit { limit: "limits.maxListeners" });
            audit.note_wire(WireMessage::Failed("too many listeners are open on this connection"));
            return explain(session, "too many listeners are open on this connection");
        }
        let Some(permit) = self.decide_listener(listen.clone(), &audit, session)? else { return Ok(None) };
        let Some((_, forwards)) = &self.admitted else { return Ok(None) };
        let opened = tokio::select! {
            opened = forwards.listen(permit, Progress::default(), &self.context.closed, &audit) => opened,
            by = self.context.stream.left() => {
                return Err(self.context.left_by(by, "the guest did not listen yet"));
            }
        };
        match opened {
            Ok(listener) => {
                let address = listener.address.clone();
                self.keep_listener(listen, listener);
                Ok(Some(address))
            }
            Err(Refusal { reason, .. }) => explain(session, &reason),
        }
    }

    fn keep_listener(&mut self, listen: Listen, listener: OpenListener) {
        let key = match (listen, &listener.address) {
            (Listen::Tcp { host, .. }, ListenerAddress::Port(port)) => ListenerKey::Tcp { host, port: *port },
            (Listen::Unix { path }, _) => ListenerKey::Unix { path },
            // These belong to sessions, which cannot cancel them.
            (Listen::Tcp { .. } | Listen::Agent | Listen::X11(_), _) => return,
        };
        self.listeners.insert(key, listener);
    }

    /// Cancels a listener; false if there is none.
    pub(super) async fn close_listener(&mut self, key: &ListenerKey) -> bool {
        let Some(listener) = self.listeners.remove(key) else {
            self.context.audit.note_wire(WireMessage::Failed("there is no such listener"));
            return false;
        };
        listener.close().await;
        true
    }

    /// Decides on an agent's socket or an X11 display for a session; false if the program does not get it. It is opened now
    /// if the guest is ready; else before the program starts, so that the connection goes on while the pod starts.
    pub(super) async fn promise_listener(
        &mut self,
        id: ChannelId,
        listen: Listen,
        session: &mut Session,
    ) -> Result<bool, ConnectionError> {
        let audit = self.channel_audit(id);
        let over = match self.channels.session(&id) {
            Some(handle) if handle.can_be_promised(&listen) => handle.over(),
            _ => {
                audit.note_wire(WireMessage::Failed("no program comes that could use it, or it was requested before"));
                return Ok(false);
            }
        };
        let is_agent = listen == Listen::Agent;
        let Some(permit) = self.decide_listener(listen, &audit, session)? else { return Ok(false) };
        let Some((admission, forwards)) = &self.admitted else { return Ok(false) };
        let is_ready = matches!(admission.guest.ready(Progress::default()).now_or_never(), Some(Ok(())));
        let promised = if is_ready {
            let listeners = SessionListeners { forwards: forwards.clone(), over, audit };
            let opened = tokio::select! {
                opened = listeners.open(permit, Progress::default()) => opened,
                by = self.context.stream.left() => {
                    return Err(self.context.left_by(by, "the guest did not listen yet"));
                }
            };
            match opened {
                Ok(address) => PromisedListener::Open(address),
                Err(Refusal { reason, .. }) => return explain(session, &reason).map(|none| none.unwrap_or(false)),
            }
        } else {
            PromisedListener::Allowed(permit)
        };
        if let Some(handle) = self.channels.session(&id) {
            if is_agent { handle.promise_agent(promised) } else { handle.promise_x11(promised) }
        }
        Ok(true)
    }

    fn decide_listener(
        &self,
        listen: Listen,
        audit: &Recorder,
        session: &mut Session,
    ) -> Result<Option<Permit<Listen>>, ConnectionError> {
        let Some((admission, _)) = &self.admitted else { return Ok(None) };
        match admission.rules.decide(listen.clone()) {
            Ok(permit) => Ok(Some(permit)),
            Err(denied) => deny_listener(&listen, denied, audit, session),
        }
    }
}

/// Records the denial of a listener.
pub(super) fn deny_listener<T>(
    listen: &Listen,
    denied: Denied,
    audit: &Recorder,
    session: &mut Session,
) -> Result<Option<T>, ConnectionError> {
    audit.note(Event::Denied { request: RequestKind::Listen(listen), denied: &denied });
    explain(session, &denied.to_string())
}

/// Tells the client the reason of a refusal, which an answer cannot carry, in a debug message (RFC 4253 section 11.3), as
/// sshd does.
fn explain<T>(session: &mut Session, reason: &str) -> Result<Option<T>, ConnectionError> {
    session.debug(false, &format!("podgate: {reason}"), "")?;
    Ok(None)
}
