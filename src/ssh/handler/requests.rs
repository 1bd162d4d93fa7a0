//! The requests of the callbacks once they are translated: the connection's rules decide, the decision is recorded, and the
//! channel's task gets what was allowed.

use super::{FULL, NO_SESSION, Translator};
use crate::audit::{Event, RequestKind, WireMessage};
use crate::policy::{OpenSession, OpenTerminal, Permit, ProgramRequest, ProgramSpec, SendSignal, Terminal};
use crate::registry::RunningProgram;
use crate::session::SessionTask;
use crate::ssh::admission::Admission;
use crate::ssh::channels::{ChannelKind, SessionHandle, SessionReceivers};
use crate::ssh::forwards::{Forwards, SessionListeners};
use crate::ssh::ssh_client::SshClient;
use russh::ChannelId;
use russh::server::{Msg, Session};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// A session that may open, with its place among what the gateway serves.
pub(super) struct AllowedSession {
    permit: Permit<OpenSession>,
    place: OwnedSemaphorePermit,
}

impl Translator {
    /// Decides whether another session channel may open. The error is a reason for the client.
    ///
    /// A client that wanted no more sessions (`no-more-sessions@openssh.com`) gets another one all the same: russh 0.65.1
    /// shows no callback a global request that it does not know, and sends none (its issue 417). So the host keys are not
    /// announced (`hostkeys-00@openssh.com`) nor proven either.
    pub(super) fn decide_session(&self, admission: &Admission, id: ChannelId) -> Result<AllowedSession, String> {
        let audit = self.channel_audit(id);
        let open = self.entry.open_channels();
        self.count.check_session(open).map_err(|limit| {
            audit.note(Event::LimitHit { limit: limit.name() });
            limit.to_string()
        })?;
        let permit = admission.rules.decide(OpenSession { open }).map_err(|denied| {
            audit.note(Event::Denied { request: RequestKind::Session, denied: &denied });
            denied.to_string()
        })?;
        let place = self.context.entrance.serve_session().ok_or_else(|| {
            audit.note(Event::LimitHit { limit: FULL });
            "too many sessions are open on this gateway".to_owned()
        })?;
        let recorded = audit.record(Event::ChannelOpened { channel: id.into() });
        recorded.map(|()| AllowedSession { permit, place }).map_err(|unrecorded| unrecorded.to_string())
    }

    /// Opens a session channel and spawns its task.
    pub(super) fn spawn_session(
        &mut self,
        AllowedSession { permit, place }: AllowedSession,
        channel: russh::Channel<Msg>,
        (admission, forwards): (&Admission, &Arc<Forwards>),
        session: &Session,
    ) {
        let OpenSession { open: _ } = permit.spend();
        let id = channel.id();
        // An unread read half wedges the connection after a hundred messages; data comes by the callback `data` alone.
        let (_, write) = channel.split();
        let (handle, SessionReceivers { decisions, is_idle, size, signals, over }) =
            SessionHandle::new(&self.context.closed);
        let listeners =
            SessionListeners { forwards: forwards.clone(), over: handle.over(), audit: self.channel_audit(id) };
        let open = self.entry.open_channel(id.into());
        let (inbox, guards) = self.channels.open(id, ChannelKind::Session(Box::new(handle)), &self.context.closed);
        let task = SessionTask {
            client: Arc::new(SshClient {
                write,
                handle: session.handle(),
                id,
                count: self.count.clone(),
                used: self.context.used.clone(),
                output: admission.output.clone(),
                ended: CancellationToken::new(),
            }),
            guest: admission.guest.clone(),
            ending: admission.ending.clone(),
            notices: admission.notices.clone(),
            inbox,
            decisions,
            is_idle,
            listeners: Arc::new(listeners),
            size,
            signals,
            audit: self.channel_audit(id),
        };
        let (counted, audit) = (self.context.log.metrics().session(), self.channel_audit(id));
        let served = Box::pin(task.serve());
        self.context.spawn(async move {
            tokio::select! {
                () = guards.closed.cancelled() => {}
                () = served => {}
            }
            audit.note_wire(WireMessage::Close);
            drop((counted, over, guards, open, place));
        });
        // Only now: the supervisor waits for the first channel, then for the end of its task.
        self.context.opened.notify_one();
    }

    /// Decides on a terminal; false if the session does not get it.
    pub(super) fn open_terminal(&mut self, id: ChannelId, terminal: Terminal) -> bool {
        let audit = self.channel_audit(id);
        let (Some((admission, _)), Some(handle)) = (&self.admitted, self.channels.session(&id)) else {
            audit.note_wire(WireMessage::Failed(NO_SESSION));
            return false;
        };
        match admission.rules.decide(OpenTerminal { terminal }) {
            Ok(permit) if handle.can_get_terminal() => {
                let recorded = audit.record(Event::TerminalOpened { terminal: permit.request() });
                recorded.map(|()| handle.set_terminal(permit)).is_ok()
            }
            Ok(_too_late) => {
                audit.note_wire(WireMessage::Failed("a program or a terminal was requested before"));
                false
            }
            Err(denied) => {
                audit.note(Event::Denied { request: RequestKind::Terminal, denied: &denied });
                false
            }
        }
    }

    /// Decides on a variable; false if the session does not get it.
    pub(super) fn set_env(&mut self, id: ChannelId, name: &str, value: &str) -> bool {
        let audit = self.channel_audit(id);
        let (Some((admission, _)), Some(handle)) = (&self.admitted, self.channels.session(&id)) else {
            audit.note_wire(WireMessage::Failed(NO_SESSION));
            return false;
        };
        match admission.rules.decide(handle.set_env(name, value)) {
            Ok(permit) if handle.is_idle() => {
                let recorded = audit.record(Event::EnvSet { name: permit.request().name() });
                recorded.map(|()| handle.keep_env(permit)).is_ok()
            }
            Ok(_too_late) => {
                audit.note_wire(WireMessage::Failed("a program was requested before"));
                false
            }
            Err(denied) => {
                audit.note(Event::Denied { request: RequestKind::Environment, denied: &denied });
                false
            }
        }
    }

    /// Decides on a signal and hands it to the program; false if it does not get it.
    pub(super) fn send_signal(&mut self, id: ChannelId, name: &str) -> bool {
        let audit = self.channel_audit(id);
        let (Some((admission, _)), Some(handle)) = (&self.admitted, self.channels.session(&id)) else {
            audit.note_wire(WireMessage::Failed(NO_SESSION));
            return false;
        };
        match admission.rules.decide(SendSignal { name: name.to_owned() }) {
            // No program runs yet, and the next one is not meant.
            Ok(_too_early) if handle.is_idle() => {
                audit.note_wire(WireMessage::Failed("no program runs yet"));
                false
            }
            Ok(permit) => {
                let sent = handle.signal(permit);
                if !sent {
                    audit.note_wire(WireMessage::Failed("the program takes no more signals"));
                }
                sent
            }
            Err(denied) => {
                audit.note(Event::Denied { request: RequestKind::Signal, denied: &denied });
                false
            }
        }
    }
}

/// Limit of a command that an operator is shown, in characters.
const SHOWN_COMMAND: usize = 1000;

/// The program for an operator's eyes.
pub(super) fn running(ProgramSpec { request, terminal, .. }: &ProgramSpec) -> RunningProgram {
    let program = match request {
        ProgramRequest::Shell => "shell".to_owned(),
        ProgramRequest::Exec(_) | ProgramRequest::ExecBytes(_) => {
            request.command().unwrap_or_default().chars().take(SHOWN_COMMAND).collect()
        }
        ProgramRequest::Subsystem(name) => format!("subsystem {name}"),
    };
    RunningProgram { program, terminal: terminal.is_some(), started: Instant::now() }
}
