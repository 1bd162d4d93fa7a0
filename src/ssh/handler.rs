//! russh's callbacks: each translates, decides by the connection's rules, answers, and hands over. Before the login they
//! wait for webhooks (nothing else is happening); afterwards none waits for anything remote, because a callback is
//! awaited inside the connection's only loop.

use super::admission::{Admission, Admitted, admit};
use super::channel::{Port, signal_name};
use super::ended::ConnectionError;
use super::login::{Login, Outcome};
use super::transport;
use super::window::{Arrived, Window};
use super::{SETTINGS, Shared};
use crate::audit::{Event, Request};
use crate::policy::{Asked, Denied, Dial, Listen, OpenTerminal, SendSignal, Terminal};
use crate::registry::Entry;
use crate::session::inbox::Budget;
use crate::telemetry::metrics::{self, Step, Timer};
use crate::types::{Modes, Size};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{ChannelId, ChannelOpenFailure, Disconnect, Pty, Sig};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;

mod requests;

/// `SSH_OPEN_RESOURCE_SHORTAGE` (RFC 4254 section 5.1).
const RESOURCE_SHORTAGE: u32 = 4;

/// One connection's callbacks.
pub(super) struct Translator {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    handshake: Option<Timer>,
    login: Login,
    admission: Option<Arc<Admission>>,
    admitted: Option<oneshot::Sender<Admitted>>,
    ports: HashMap<ChannelId, Port>,
    budget: Budget,
    opened: usize,
    window: Window,
    /// Set once the log has a line about extended data.
    extended_data_told: bool,
}

impl Translator {
    /// The callbacks of a connection; `admitted` gets what it has once it is logged in.
    pub(super) fn new(shared: Arc<Shared>, entry: Arc<Entry>, admitted: oneshot::Sender<Admitted>) -> Self {
        Self {
            handshake: Some(shared.log.metrics().step(Step::Handshake)),
            login: Login::new(shared.clone()),
            shared,
            entry,
            admission: None,
            admitted: Some(admitted),
            ports: HashMap::new(),
            budget: Budget::default(),
            opened: 0,
            window: Window::default(),
            extended_data_told: false,
        }
    }

    fn answer(&self, outcome: Outcome) -> Auth {
        match outcome {
            Outcome::Accepted => Auth::Accept,
            // Where the login has ended, a disconnect with the reason is on its way behind this refusal.
            Outcome::Refused | Outcome::Ended => Auth::Reject {
                proceed_with_methods: Some(self.shared.snapshot.methods.clone()),
                partial_success: false,
            },
            // The key was right, but not enough: a client goes on with its keys, and reads the disconnect then. One that was
            // refused and had nothing more to offer would leave before.
            Outcome::Barred => {
                Auth::Reject { proceed_with_methods: Some(self.shared.snapshot.methods.clone()), partial_success: true }
            }
            Outcome::More(methods) => {
                Auth::Reject { proceed_with_methods: Some(transport::methods(&methods)), partial_success: true }
            }
        }
    }

    /// The answer to an offered key. Where nobody could judge it, the client is asked for its proof: a client that was
    /// refused and had nothing more to offer would leave before it reads the disconnect with the reason, which is on its
    /// way behind this. A proof that comes all the same is refused.
    fn answer_offer(&self, outcome: Outcome) -> Auth {
        match outcome {
            Outcome::Ended => Auth::Accept,
            Outcome::Accepted | Outcome::Refused | Outcome::More(_) | Outcome::Barred => self.answer(outcome),
        }
    }
}

impl Handler for Translator {
    type Error = ConnectionError;

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        let outcome = self.login.none(user).await;
        Ok(self.answer(outcome))
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let outcome = self.login.password(user, password).await?;
        Ok(self.answer(outcome))
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        let outcome = self.login.offered(user, offer.public_key, offer.algorithm).await?;
        Ok(self.answer_offer(outcome))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let outcome = self.login.proven(user, key.public_key).await?;
        Ok(self.answer(outcome))
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        _certificate: &russh::keys::Certificate,
    ) -> Result<Auth, Self::Error> {
        // Who may sign certificates is not configurable yet: a client goes on with the plain key.
        let outcome = self.login.unoffered(user, "certificate").await;
        Ok(self.answer(outcome))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        _response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let outcome = self.login.unoffered(user, "keyboard-interactive").await;
        Ok(self.answer(outcome))
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let Some(identity) = self.login.take_identity() else {
            session.disconnect(Disconnect::ByApplication, "no identity", "")?;
            return Ok(());
        };
        self.entry.identify(identity.authenticated());
        self.shared.deadline.allow(SETTINGS);
        let admitted = tokio::select! {
            admitted = Box::pin(admit(&self.shared, identity)) => admitted,
            by = self.shared.line.closed() => {
                return Err(self.shared.left_by(by, "the configuration server had not answered yet"));
            }
        };
        self.admission = Some(admitted.admission.clone());
        if let Some(sender) = self.admitted.take() {
            // The connection's task is gone only where the connection is.
            let _ = sender.send(admitted);
        }
        Ok(())
    }

    /// Asked for when the client begins to log in: the key exchange is done.
    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        if let Some(handshake) = self.handshake.take() {
            handshake.end(metrics::Outcome::Success);
        }
        Ok(self.shared.snapshot.banner.clone())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.ports.remove(&channel);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        if let Some(port) = self.ports.get(&channel) {
            port.inbox.end();
        }
        Ok(())
    }

    /// Told of a channel that the server opened; this one opens none.
    async fn channel_open_confirmation(
        &mut self,
        _channel: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.shared
            .audit
            .record(Event::ProtocolBroken { how: "the client confirmed a channel that it had opened itself" });
        Ok(session.disconnect(Disconnect::ProtocolError, "podgate: a channel that was not asked for", "")?)
    }

    async fn channel_open_session(
        &mut self,
        channel: russh::Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(admission) = self.admission.clone() else { return Ok(()) };
        match self.may_open(&admission) {
            Ok(()) => {
                self.shared.audit.record(Event::ChannelOpened { channel: channel.id().into() });
                self.spawn_channel(channel, &admission, session);
                reply.accept().await;
            }
            Err(reason) => reply.reject(ChannelOpenFailure::Other { code: RESOURCE_SHORTAGE, reason }).await,
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _channel: russh::Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        // There is no such port: 0 is denied for the same reason, and said to be.
        let port = u16::try_from(port_to_connect).unwrap_or(0);
        self.refuse_dial(Dial::Tcp { host: host_to_connect.to_owned(), port }, reply).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: russh::Channel<Msg>,
        socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse_dial(Dial::Unix { path: socket_path.to_owned() }, reply).await;
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        // What comes before a program is for none, and dropped as sshd drops it.
        let Some(port) = self.ports.get(&channel).filter(|port| !port.idle()) else { return Ok(()) };
        port.inbox.push(data);
        match self.window.arrived(data.len(), self.budget.held(), self.ports.len()) {
            Arrived::InTime => {}
            Arrived::Trickling => self.wait_for_drain().await,
            // russh delivers what a client sends beyond its window.
            Arrived::Beyond => {
                self.shared.audit.record(Event::WindowIgnored);
                session.disconnect(Disconnect::ProtocolError, "podgate: data beyond the channel's window", "")?;
            }
        }
        Ok(())
    }

    /// No program takes any (RFC 4254 section 5.2 knows only a program's own standard error).
    async fn extended_data(
        &mut self,
        _channel: ChannelId,
        _code: u32,
        _data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if !std::mem::replace(&mut self.extended_data_told, true) {
            self.shared.audit.record(Event::ExtendedDataIgnored);
        }
        Ok(())
    }

    fn adjust_window(&mut self, _channel: ChannelId, _current: u32) -> u32 {
        self.window.target(self.budget.held())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        col_width: u32,
        row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (Some(admission), Some(port)) = (self.admission.clone(), self.ports.get_mut(&channel)) else {
            return Ok(session.channel_failure(channel)?);
        };
        let modes = Modes::new(modes.iter().map(|(opcode, argument)| (*opcode as u8, *argument)));
        let terminal = Terminal { term: term.to_owned(), size: size(col_width, row_height), modes };
        match admission.rules.decide(OpenTerminal { terminal }) {
            Ok(permit) if port.idle() && port.terminal.is_none() => {
                self.shared.audit.record(Event::TerminalOpened { terminal: permit.request() });
                port.terminal = Some(permit);
                Ok(session.channel_success(channel)?)
            }
            // Behind the program's start, or a second one.
            Ok(_too_late) => Ok(session.channel_failure(channel)?),
            Err(denied) => {
                self.shared.audit.record(Event::Denied { request: Request::Terminal, denied: &denied });
                Ok(session.channel_failure(channel)?)
            }
        }
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _x11_auth_protocol: &str,
        _x11_auth_cookie: &str,
        _x11_screen_number: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse_listener(Listen::X11);
        Ok(session.channel_failure(channel)?)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        variable_name: &str,
        variable_value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (Some(admission), Some(port)) = (self.admission.clone(), self.ports.get_mut(&channel)) else {
            return Ok(session.channel_failure(channel)?);
        };
        match admission.rules.decide(port.set_env(variable_name, variable_value)) {
            Ok(permit) if port.idle() => {
                self.shared.audit.record(Event::EnvSet { name: permit.request().name() });
                port.hold_env(permit);
                Ok(session.channel_success(channel)?)
            }
            Ok(_too_late) => Ok(session.channel_failure(channel)?),
            Err(denied) => {
                self.shared.audit.record(Event::Denied { request: Request::Environment, denied: &denied });
                Ok(session.channel_failure(channel)?)
            }
        }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        Ok(self.start(channel, Ok(Asked::Shell), session)?)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // The exec API takes text alone.
        let command = std::str::from_utf8(data).map_err(|_| Denied::CommandText);
        Ok(self.start(channel, command.map(|command| Asked::Command(command.to_owned())), session)?)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(self.start(channel, Ok(Asked::Subsystem(name.to_owned())), session)?)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        col_width: u32,
        row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(port) = self.ports.get(&channel) {
            port.resize(size(col_width, row_height));
        }
        Ok(session.channel_success(channel)?)
    }

    async fn agent_request(&mut self, _channel: ChannelId, _session: &mut Session) -> Result<bool, Self::Error> {
        Ok(false)
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, session: &mut Session) -> Result<(), Self::Error> {
        let (Some(admission), Some(port)) = (self.admission.clone(), self.ports.get(&channel)) else {
            return Ok(session.channel_failure(channel)?);
        };
        let handed = match admission.rules.decide(SendSignal { name: signal_name(&signal).to_owned() }) {
            // Nothing runs yet that could take it, and what will run is not meant.
            Ok(_too_early) if port.idle() => false,
            Ok(permit) => port.signal(permit.spend().name),
            Err(denied) => {
                self.shared.audit.record(Event::Denied { request: Request::Signal, denied: &denied });
                false
            }
        };
        if handed { Ok(session.channel_success(channel)?) } else { Ok(session.channel_failure(channel)?) }
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _: &mut Session) -> Result<bool, Self::Error> {
        match u16::try_from(*port) {
            Ok(port) => self.refuse_listener(Listen::Tcp { host: address.to_owned(), port }),
            Err(_) => {
                self.shared.audit.record(Event::Denied { request: Request::Listen, denied: &Denied::ListenTarget })
            }
        }
        Ok(false)
    }

    async fn cancel_tcpip_forward(&mut self, _: &str, _: u32, _: &mut Session) -> Result<bool, Self::Error> {
        Ok(false)
    }

    async fn streamlocal_forward(&mut self, socket_path: &str, _: &mut Session) -> Result<bool, Self::Error> {
        self.refuse_listener(Listen::Unix { path: socket_path.to_owned() });
        Ok(false)
    }

    async fn cancel_streamlocal_forward(&mut self, _: &str, _: &mut Session) -> Result<bool, Self::Error> {
        Ok(false)
    }
}

/// A terminal of more lines than 65535 is not a terminal: cut, not refused.
fn size(columns: u32, rows: u32) -> Size {
    let cut = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Size { columns: cut(columns), rows: cut(rows) }
}
