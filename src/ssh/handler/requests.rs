//! What the callbacks do about a request once it is translated: decide by the connection's rules, record, and hand over to
//! the channel's task.

use super::Translator;
use crate::audit::{Event, Request};
use crate::policy::{Asked, Denied, Dial, Listen, OpenSession, Start};
use crate::session::{Begin, Channel};
use crate::ssh::admission::Admission;
use crate::ssh::channel::{Ends, Face, Port};
use crate::ssh::window::HIGH_MARK;
use russh::server::{ChannelOpenHandle, Msg, Session};
use russh::{ChannelId, ChannelOpenFailure};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a packet of a trickle waits for the inboxes to drain.
const TRICKLE_WAIT: Duration = Duration::from_millis(10);
/// Channels open at once, whatever the rules say: each may hold a window's worth of what its program has not taken.
const OPEN: usize = 64;
/// Channels in a connection's life: russh keeps about 3.5 kB of each closed one until the connection ends.
const CHANNELS: usize = 10_000;

impl Translator {
    /// Counts another session channel in, or says why it may not open, in the client's words.
    ///
    /// A client that wanted no more sessions (`no-more-sessions@openssh.com`) gets another one all the same: russh 0.65.1
    /// shows no callback a global request that it does not know, and sends none (its issue 417). So the host keys are not
    /// announced (`hostkeys-00@openssh.com`) nor proven either.
    pub(super) fn may_open(&mut self, admission: &Admission) -> Result<(), String> {
        if self.opened >= CHANNELS {
            self.shared.audit.record(Event::LimitHit { limit: "channels of a connection" });
            return Err("this connection has had too many channels; connect again".to_owned());
        }
        let open = self.entry.open_channels();
        if open >= OPEN {
            self.shared.audit.record(Event::LimitHit { limit: "open channels of a connection" });
            return Err("too many sessions are open on this connection".to_owned());
        }
        let permit = admission.rules.decide(OpenSession { open }).map_err(|denied| {
            self.shared.audit.record(Event::Denied { request: Request::Session, denied: &denied });
            denied.to_string()
        })?;
        self.opened += 1;
        permit.spend();
        Ok(())
    }

    pub(super) fn spawn_channel(&mut self, channel: russh::Channel<Msg>, admission: &Admission, session: &Session) {
        self.ports.retain(|_, port| !port.done());
        let id = channel.id();
        // An unread read half wedges the connection after a hundred messages; data comes by `data` alone.
        let (_, write) = channel.split();
        let (port, ends) = Port::new(&self.budget, self.entry.open_channel(), &self.shared.closed);
        let Ends { begin, size, signals, life } = ends;
        let channel = Channel {
            client: Arc::new(Face { write, handle: session.handle(), id }),
            guest: admission.guest.clone(),
            state: admission.state.clone(),
            inbox: port.inbox.clone(),
            begin,
            size,
            signals,
            audit: self.shared.audit.clone(),
        };
        self.ports.insert(id, port);
        let counted = self.shared.log.metrics().session();
        let served = Box::pin(channel.serve());
        self.shared.channels.spawn(async move {
            tokio::select! {
                () = life.closed.cancelled() => {}
                () = served => {}
            }
            drop(counted);
            drop(life);
        });
        // Only now: whoever waits for the first channel waits for the end of its task next.
        self.shared.opened.notify_one();
    }

    /// Decides about a program and begins it. A denial is told on the channel, where a person can read it.
    pub(super) fn start(
        &mut self,
        id: ChannelId,
        asked: Result<Asked, Denied>,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let (Some(admission), Some(port)) = (self.admission.clone(), self.ports.get_mut(&id)) else {
            return session.channel_failure(id);
        };
        if !port.idle() {
            return session.channel_failure(id);
        }
        session.channel_success(id)?;
        let (env, terminal) = port.take();
        let endpoints = self.shared.endpoints;
        let launch = asked.and_then(|asked| admission.rules.decide(Start { asked, env, terminal, endpoints }));
        let begin = match launch {
            Ok(launch) => Begin::Launch(launch),
            Err(denied) => {
                self.shared.audit.record(Event::Denied { request: Request::Program, denied: &denied });
                Begin::Denied(denied.to_string())
            }
        };
        port.begin(begin);
        Ok(())
    }

    /// Answers a request that the rules decide and no backend carries out yet: no either way, said in the log.
    pub(super) fn refuse_listener(&self, listen: Listen) {
        let Some(admission) = self.admission.clone() else { return };
        match admission.rules.decide(listen) {
            Err(denied) => self.shared.audit.record(Event::Denied { request: Request::Listen, denied: &denied }),
            Ok(permit) => {
                let request = permit.spend();
                self.shared.audit.record(Event::Unsupported { request: Request::Listen, what: &request.to_string() });
            }
        }
    }

    pub(super) async fn refuse_dial(&self, dial: Dial, reply: ChannelOpenHandle) {
        let Some(admission) = self.admission.clone() else { return };
        let failure = match admission.rules.decide(dial) {
            Err(denied) => {
                self.shared.audit.record(Event::Denied { request: Request::Dial, denied: &denied });
                ChannelOpenFailure::Other { code: 1, reason: denied.to_string() }
            }
            Ok(permit) => {
                let request = permit.spend();
                self.shared.audit.record(Event::Unsupported { request: Request::Dial, what: &request.to_string() });
                ChannelOpenFailure::Other {
                    code: 2,
                    reason: "this version of Podgate cannot forward connections".to_owned(),
                }
            }
        };
        reply.reject(failure).await;
    }

    /// A packet of a client that was brought down to a trickle waits for the drain, so that it costs no processor time.
    pub(super) async fn wait_for_drain(&self) {
        let drained = async {
            while self.budget.held() > HIGH_MARK {
                self.budget.drained().await;
            }
        };
        // Elapsed is the usual end: the trickle goes on.
        let _ = timeout(TRICKLE_WAIT, drained).await;
    }
}
