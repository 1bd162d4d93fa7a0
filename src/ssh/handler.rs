//! russh's callbacks. Each translates the client's message, has the connection's rules decide, answers, and hands over to the
//! channel's task. Before the login they wait for webhooks (nothing else is happening); afterwards none waits for anything
//! remote but those for listeners, because russh awaits a callback inside the connection's only loop.

use super::admission::{Admission, Admitted, admit};
use super::channel_count::ChannelCount;
use super::channels::ChannelTable;
use super::connection::{ConnectionContext, ConnectionError};
use super::forwards::{Forwards, ListenerKey, OpenListener};
use super::login::Login;
use super::ssh_client::signal_name;
use super::window::PacketVerdict;
use crate::audit::{Event, Recorder, RequestKind, WireMessage, WireSize};
use crate::guest::ListenerAddress;
use crate::policy::{Denied, Dial, Listen, ProgramRequest, StartProgram, Terminal, X11Forwarding};
use crate::registry::RegistryEntry;
use crate::session::{AllowedProgram, ProgramDecision};
use crate::telemetry::StepTimer;
use crate::telemetry::metrics::{MeasuredStep, StepOutcome};
use crate::types::{Modes, Size};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{ChannelId, ChannelOpenFailure, Disconnect, Pty, Sig};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

mod forwards;
mod requests;

/// The time for the settings after the login. The config webhook has a deadline of its own.
const SETTINGS: Duration = Duration::from_secs(90);
/// The limit of what the process may open, in the log.
const FULL: &str = "connections and sessions of the gateway";
/// `SSH_OPEN_RESOURCE_SHORTAGE` (RFC 4254 section 5.1).
const RESOURCE_SHORTAGE: u32 = 4;

/// The callbacks of one connection.
pub(super) struct Translator {
    context: Arc<ConnectionContext>,
    entry: Arc<RegistryEntry>,
    handshake: Option<StepTimer>,
    login: Login,
    admitted: Option<(Arc<Admission>, Arc<Forwards>)>,
    admission: Option<oneshot::Sender<Admitted>>,
    channels: ChannelTable<ChannelId>,
    count: Arc<ChannelCount>,
    /// The listeners that the client can cancel.
    listeners: HashMap<ListenerKey, OpenListener>,
    /// Set once the log has a line about extended data.
    extended_data_noted: bool,
}

impl Translator {
    /// Makes the callbacks of a connection. `admission` gets its admission after the login.
    pub(super) fn new(
        context: Arc<ConnectionContext>,
        entry: Arc<RegistryEntry>,
        admission: oneshot::Sender<Admitted>,
    ) -> Self {
        Self {
            handshake: Some(context.log.step(MeasuredStep::Handshake)),
            login: Login::new(context.clone()),
            // No channel opens before the login, which replaces it.
            channels: ChannelTable::new(context.used.clone(), context.queued.of(""), (0, None)),
            context,
            entry,
            admitted: None,
            admission: Some(admission),
            count: Arc::default(),
            listeners: HashMap::new(),
            extended_data_noted: false,
        }
    }

    /// Has the rules decide on a `shell`, `exec` or `subsystem` request, and hands the decision to the session's task. A
    /// denial is written to the channel, where a person can read it. The task answers for a subsystem.
    fn start_program(
        &mut self,
        id: ChannelId,
        request: ProgramRequest,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let audit = self.channel_audit(id);
        let (Some((admission, _)), Some(handle)) = (&self.admitted, self.channels.session(&id)) else {
            audit.note_wire(WireMessage::Failed(NO_SESSION));
            return session.channel_failure(id);
        };
        if !handle.is_idle() {
            audit.note_wire(WireMessage::Failed("the channel has a program already"));
            return session.channel_failure(id);
        }
        let is_unanswered = matches!(request, ProgramRequest::Subsystem(_));
        if !is_unanswered {
            session.channel_success(id)?;
        }
        let ((env, terminal), listeners) = (handle.take_permits(), handle.take_promised());
        let endpoints = self.context.endpoints;
        let decision = admission.rules.decide(StartProgram { request: request.clone(), env, terminal, endpoints });
        if let Err(denied) = &decision {
            audit.note(Event::Denied { request: RequestKind::Program(&request), denied });
        }
        if let Ok(program) = &decision {
            self.entry.run_program(id.into(), requests::running(program.request()));
        }
        let decided = decision.map(|program| AllowedProgram { program, listeners });
        self.channels.begin_program(&id, ProgramDecision { decided, is_unanswered });
        Ok(())
    }

    /// Ends the connection of a client that has sent what it must not.
    fn end_by_verdict(&self, verdict: PacketVerdict, session: &mut Session) -> Result<(), russh::Error> {
        match verdict {
            PacketVerdict::InTime | PacketVerdict::Trickling => Ok(()),
            // russh delivers data beyond the window.
            PacketVerdict::Beyond => {
                self.context.audit.note(Event::WindowIgnored);
                session.disconnect(Disconnect::ProtocolError, "podgate: data beyond the channel's window", "")
            }
            PacketVerdict::Full => {
                self.context.audit.note(Event::LimitHit { limit: "limits.maxQueued" });
                let reason = "podgate: too much data of this user waits for programs to take it";
                session.disconnect(Disconnect::ByApplication, reason, "")
            }
        }
    }

    /// Records a channel's message before its effect; false if that fails.
    async fn records(&self, id: ChannelId, message: WireMessage<'_>) -> bool {
        self.channel_audit(id).wire(message).await.is_ok()
    }

    /// The recorder for a channel's events.
    fn channel_audit(&self, id: ChannelId) -> Recorder {
        self.context.audit.channel(id.into())
    }
}

impl Handler for Translator {
    type Error = ConnectionError;

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        let outcome = self.login.none(user).await;
        Ok(self.login.answer(outcome))
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let outcome = self.login.password(user, password).await?;
        Ok(self.login.answer(outcome))
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        let outcome = self.login.offered(user, offer.public_key, offer.algorithm).await?;
        Ok(self.login.answer_offer(outcome))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let outcome = self.login.proven(user, key.public_key).await?;
        Ok(self.login.answer(outcome))
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &russh::keys::Certificate,
    ) -> Result<Auth, Self::Error> {
        let outcome = self.login.certificate(user, certificate).await?;
        Ok(self.login.answer(outcome))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        _response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let outcome = self.login.unoffered(user, "keyboard-interactive").await;
        Ok(self.login.answer(outcome))
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let Some((identity, limits)) = self.login.take_identity() else {
            session.disconnect(Disconnect::ByApplication, "no identity", "")?;
            return Ok(());
        };
        // A locked user is refused where a person can read the reason: see `admit`.
        let _ = self.entry.identify(identity.username().as_str(), identity.names());
        // The settings need no place among the connections that log in: a config server that hangs keeps nobody out.
        if !self.context.logged_in(identity.authenticated()) {
            self.context.audit.note(Event::LimitHit { limit: FULL });
            session.disconnect(
                Disconnect::TooManyConnections,
                "podgate: the gateway serves as many connections as it can",
                "",
            )?;
            return Ok(());
        }
        self.context.deadline.allow(SETTINGS);
        let admitted = tokio::select! {
            admitted = Box::pin(admit(&self.context, &self.entry, (identity, limits))) => admitted,
            by = self.context.stream.closed() => {
                return Err(self.context.left_by(by, "the configuration server had not answered yet"));
            }
        };
        // The supervisor sets it, too, when russh has handed it the session.
        let _ = self.context.handle.set(session.handle());
        let admission = admitted.admission.clone();
        // Set once: a connection is admitted once.
        let _ = self.context.guest.set(Arc::downgrade(&admission.guest));
        self.context.audit.set_guest(Arc::downgrade(&admission.guest));
        self.count = Arc::new(ChannelCount::new(admission.limits.counts));
        let queue = self.context.queued.of(&admission.identity);
        self.channels = ChannelTable::new(
            self.context.used.clone(),
            queue,
            (admission.limits.max_queued, admission.limits.bandwidth_in),
        );
        let forwards = Forwards::new(self.context.clone(), admission.clone(), self.count.clone());
        self.admitted = Some((admission, Arc::new(forwards)));
        if let Some(sender) = self.admission.take() {
            // The supervisor is gone only if the connection is.
            let _ = sender.send(admitted);
        }
        Ok(())
    }

    /// Called when the client begins to log in: the key exchange is done.
    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        if let Some(handshake) = self.handshake.take() {
            handshake.end(StepOutcome::Success);
            self.context.deadline.extend_to(self.context.snapshot.login.grace);
        }
        Ok(self.context.snapshot.banner.clone())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.channels.close(&channel);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.channels.end_of_data(&channel);
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.confirm_channel(channel) {
            return Ok(());
        }
        self.context
            .audit
            .note(Event::ProtocolBroken { how: "the client confirmed a channel that it had opened itself" });
        Ok(session.disconnect(Disconnect::ProtocolError, "podgate: a channel that was not asked for", "")?)
    }

    async fn channel_open_session(
        &mut self,
        channel: russh::Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some((admission, forwards)) = self.admitted.clone() else { return Ok(()) };
        match self.decide_session(&admission, channel.id()) {
            Ok(allowed) => {
                self.spawn_session(allowed, channel, (&admission, &forwards), session);
                reply.accept().await;
            }
            Err(reason) => reply.reject(ChannelOpenFailure::Other { code: RESOURCE_SHORTAGE, reason }).await,
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: russh::Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        originator_address: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let origin = (originator_address, originator_port);
        let message = WireMessage::DirectTcp { host: host_to_connect, port: port_to_connect, origin };
        // Dropping the reply refuses the channel.
        if !self.records(channel.id(), message).await {
            return Ok(());
        }
        // A number above 65535 is no port. 0 is denied for the same reason.
        let port = u16::try_from(port_to_connect).unwrap_or(0);
        self.dial(Dial::Tcp { host: host_to_connect.to_owned(), port }, channel, reply).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: russh::Channel<Msg>,
        socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if !self.records(channel.id(), WireMessage::DirectUnix { path: socket_path }).await {
            return Ok(());
        }
        self.dial(Dial::Unix { path: socket_path.to_owned() }, channel, reply).await;
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        self.context.used.client_sent();
        let verdict = self.channels.receive(&channel, data);
        if verdict == PacketVerdict::Trickling {
            self.channels.wait_for_drain().await;
        }
        Ok(self.end_by_verdict(verdict, session)?)
    }

    /// Ignores extended data: RFC 4254 section 5.2 has only a program's own standard error, which no client sends.
    async fn extended_data(
        &mut self,
        channel: ChannelId,
        _code: u32,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let verdict = self.channels.ignore(&channel, data.len());
        self.end_by_verdict(verdict, session)?;
        if !std::mem::replace(&mut self.extended_data_noted, true) {
            self.context.audit.note(Event::ExtendedDataIgnored);
        }
        Ok(())
    }

    fn adjust_window(&mut self, channel: ChannelId, current: u32) -> u32 {
        self.channels.window_reopened(&channel, current)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        col_width: u32,
        row_height: u32,
        pix_width: u32,
        pix_height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let modes: Vec<(u8, u32)> = modes.iter().map(|(opcode, argument)| (*opcode as u8, *argument)).collect();
        let size = WireSize { columns: col_width, rows: row_height, width: pix_width, height: pix_height };
        let recorded = self.records(channel, WireMessage::Terminal { term, size, modes: &modes }).await;
        let (size, modes) = (cut_size(col_width, row_height), Modes::new(modes));
        let opened = recorded && self.open_terminal(channel, Terminal { term: term.to_owned(), size, modes });
        Ok(reply(session, channel, opened)?)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        single_connection: bool,
        x11_auth_protocol: &str,
        x11_auth_cookie: &str,
        x11_screen_number: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let x11 = X11Forwarding {
            single_connection,
            auth_protocol: x11_auth_protocol.to_owned(),
            auth_cookie: x11_auth_cookie.to_owned(),
            screen: x11_screen_number,
        };
        let recorded = self.records(channel, WireMessage::X11(&x11)).await;
        let promised = recorded && self.promise_listener(channel, Listen::X11(x11), session).await?;
        Ok(reply(session, channel, promised)?)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        variable_name: &str,
        variable_value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let message = WireMessage::Environment { name: variable_name, value: variable_value };
        let set = self.records(channel, message).await && self.set_env(channel, variable_name, variable_value);
        Ok(reply(session, channel, set)?)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        if !self.records(channel, WireMessage::Shell).await {
            return Ok(session.channel_failure(channel)?);
        }
        Ok(self.start_program(channel, ProgramRequest::Shell, session)?)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let request = ProgramRequest::exec(data);
        if !self.records(channel, WireMessage::Exec(&request.command().unwrap_or_default())).await {
            return Ok(session.channel_failure(channel)?);
        }
        Ok(self.start_program(channel, request, session)?)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if !self.records(channel, WireMessage::Subsystem(name)).await {
            return Ok(session.channel_failure(channel)?);
        }
        Ok(self.start_program(channel, ProgramRequest::Subsystem(name.to_owned()), session)?)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        col_width: u32,
        row_height: u32,
        pix_width: u32,
        pix_height: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let size = WireSize { columns: col_width, rows: row_height, width: pix_width, height: pix_height };
        if !self.records(channel, WireMessage::Window(size)).await {
            return Ok(session.channel_failure(channel)?);
        }
        if let Some(handle) = self.channels.session(&channel) {
            handle.resize(cut_size(col_width, row_height));
        }
        Ok(session.channel_success(channel)?)
    }

    /// Called for `auth-agent-req@openssh.com`. russh 0.65.1 refuses `agent-req` (RFC 9987 section 3.1) by itself.
    async fn agent_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<bool, Self::Error> {
        Ok(self.records(channel, WireMessage::Agent).await
            && self.promise_listener(channel, Listen::Agent, session).await?)
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, session: &mut Session) -> Result<(), Self::Error> {
        let name = signal_name(&signal);
        let handed_over = self.records(channel, WireMessage::Signal(name)).await && self.send_signal(channel, name);
        Ok(reply(session, channel, handed_over)?)
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        if self.context.audit.wire(WireMessage::ForwardTcp { host: address, port: *port }).await.is_err() {
            return Ok(false);
        }
        let opened = match u16::try_from(*port) {
            Ok(port) => self.open_listener(Listen::Tcp { host: address.to_owned(), port }, session).await?,
            Err(_) => {
                let listen = Listen::Tcp { host: address.to_owned(), port: 0 };
                forwards::deny_listener(&listen, Denied::ListenTarget, &self.context.audit, session)?
            }
        };
        if let Some(ListenerAddress::Port(bound)) = opened {
            *port = u32::from(bound);
        }
        Ok(opened.is_some())
    }

    async fn cancel_tcpip_forward(&mut self, address: &str, port: u32, _: &mut Session) -> Result<bool, Self::Error> {
        // A listener that closes needs no leave; a recording that fails ends the connection by itself.
        let _ = self.context.audit.wire(WireMessage::CancelForwardTcp { host: address, port }).await;
        let Ok(port) = u16::try_from(port) else {
            self.context.audit.note_wire(WireMessage::Failed("there is no such port"));
            return Ok(false);
        };
        Ok(self.close_listener(&ListenerKey::Tcp { host: address.to_owned(), port }).await)
    }

    async fn streamlocal_forward(&mut self, socket_path: &str, session: &mut Session) -> Result<bool, Self::Error> {
        if self.context.audit.wire(WireMessage::ForwardUnix { path: socket_path }).await.is_err() {
            return Ok(false);
        }
        Ok(self.open_listener(Listen::Unix { path: socket_path.to_owned() }, session).await?.is_some())
    }

    async fn cancel_streamlocal_forward(&mut self, socket_path: &str, _: &mut Session) -> Result<bool, Self::Error> {
        // As above.
        let _ = self.context.audit.wire(WireMessage::CancelForwardUnix { path: socket_path }).await;
        Ok(self.close_listener(&ListenerKey::Unix { path: socket_path.to_owned() }).await)
    }
}

/// The reason for which a channel that is no session takes no request.
const NO_SESSION: &str = "the channel is no session";

/// Answers a channel request.
fn reply(session: &mut Session, channel: ChannelId, accepted: bool) -> Result<(), russh::Error> {
    if accepted { session.channel_success(channel) } else { session.channel_failure(channel) }
}

/// Cuts a terminal's size to 65535 columns and rows.
fn cut_size(columns: u32, rows: u32) -> Size {
    let cut = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Size { columns: cut(columns), rows: cut(rows) }
}
