//! The forwarded connections of one SSH connection: those that its client asks the guest for, and those that come to a
//! listener in the guest and are offered to the client.
//!
//! Invariants: nothing is dialed and nothing listens without the rules' permit; a channel is opened only for a
//! listener that this connection asked for and still has; every task ends with the connection.

mod awaited;
mod listeners;

use super::admission::Admission;
use super::channel_count::{ChannelCount, OpenForward};
use super::channels::ChannelGuards;
use super::connection::ConnectionContext;
use super::ssh_client::SshForward;
use crate::audit::{Event, ForwardEvent, Recorder, Traffic, WireMessage};
use crate::guest::{Accepted, ForwardedConnection, Progress, Refusal};
use crate::policy::{Dial, Permit};
use crate::session::forward::carry;
use crate::session::inbox::Inbox;
use crate::session::{CarriedBytes, ended};
use crate::types::printable;
pub(super) use awaited::AwaitedChannels;
pub(super) use listeners::{ListenerKey, OpenListener, SessionListeners};
use russh::server::{ChannelOpenHandle, Handle, Msg};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// `SSH_OPEN_CONNECT_FAILED` (RFC 4254 section 5.1).
const CONNECT_FAILED: u32 = 2;
/// The time that a client has to close a channel whose directions have both ended. OpenSSH's does so at once, and then russh
/// keeps nothing of the channel.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// Limit of a peer's address as the guest tells it, in characters.
const ORIGIN_MAX: usize = 255;

/// The forwards of one connection.
pub(super) struct Forwards {
    context: Arc<ConnectionContext>,
    admission: Arc<Admission>,
    count: Arc<ChannelCount>,
    /// The channels that the gateway opens, until their tasks have them.
    pub(super) awaited: AwaitedChannels<ChannelId>,
    /// The agent's socket, one for all sessions, as sshd has it.
    agent: Mutex<Option<OpenListener>>,
}

/// A channel that carries a forwarded connection.
pub(super) struct ForwardChannel {
    pub(super) write: ChannelWriteHalf<Msg>,
    pub(super) inbox: Inbox,
    pub(super) guards: ChannelGuards,
    pub(super) counted: OpenForward,
    pub(super) audit: Recorder,
}

/// The kind of channel that a listener's connections get.
#[derive(Debug, Clone)]
enum OfferedAs {
    /// `forwarded-tcpip` (RFC 4254 section 7.2), with the address as the client wrote it.
    Tcp { host: String, port: u16 },
    /// `forwarded-streamlocal@openssh.com`, with the path as the client wrote it.
    Unix { path: String },
    /// `x11` (RFC 4254 section 6.3.2).
    X11,
    /// `auth-agent@openssh.com`. russh 0.65.1 opens no `agent-connect` (RFC 9987 section 3.2), nor does it know the request
    /// `agent-req`; it does not announce that name, so that clients use OpenSSH's.
    Agent,
}

/// The part of a listener that its connections need to be offered.
#[derive(Debug, Clone)]
struct Offering {
    /// The listener as people write it.
    listener: Arc<str>,
    offered_as: OfferedAs,
    /// Cancelled when the client wants no connection any more.
    cancelled: CancellationToken,
}

impl OfferedAs {
    /// The message of an offer, as it is recorded.
    fn message<'a>(&'a self, origin: (&'a str, u32)) -> WireMessage<'a> {
        match self {
            Self::Tcp { host, port } => WireMessage::OfferedTcp { host, port: u32::from(*port), origin },
            Self::Unix { path } => WireMessage::OfferedUnix { path },
            Self::X11 => WireMessage::OfferedX11 { origin },
            Self::Agent => WireMessage::OfferedAgent,
        }
    }

    /// The type of its channels.
    fn channel_type(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "forwarded-tcpip",
            Self::Unix { .. } => "forwarded-streamlocal@openssh.com",
            Self::X11 => "x11",
            Self::Agent => "auth-agent@openssh.com",
        }
    }

    async fn open(&self, handle: &Handle, origin: (String, u16)) -> Result<Channel<Msg>, russh::Error> {
        let (address, port) = (origin.0, u32::from(origin.1));
        match self {
            Self::Tcp { host, port: bound } => {
                handle.channel_open_forwarded_tcpip(host, u32::from(*bound), address, port).await
            }
            Self::Unix { path } => handle.channel_open_forwarded_streamlocal(path).await,
            Self::X11 => handle.channel_open_x11(address, port).await,
            Self::Agent => handle.channel_open_agent().await,
        }
    }
}

impl Forwards {
    pub(super) fn new(context: Arc<ConnectionContext>, admission: Arc<Admission>, count: Arc<ChannelCount>) -> Self {
        Self { context, admission, count, awaited: AwaitedChannels::default(), agent: Mutex::default() }
    }

    /// Connects to an address in the guest, answers the client's request to open a channel, and carries data until the
    /// channel is over. The request's callback must not wait for the guest, so this is the channel's task.
    pub(super) async fn dial(self: Arc<Self>, dial: Permit<Dial>, reply: ChannelOpenHandle, channel: ForwardChannel) {
        let (target, channel_type) = (dial.request().to_string(), dial.request().channel_type());
        let dialed = tokio::select! {
            dialed = self.dial_guest(dial, &channel.audit) => dialed,
            // Dropping the reply refuses the channel.
            () = channel.guards.closed.cancelled() => return,
        };
        match dialed {
            Ok(connection) => {
                channel.audit.note_wire(WireMessage::Opened(channel_type));
                reply.accept().await;
                self.carry(connection, channel, (channel_type, &target)).await;
            }
            Err(refusal) => {
                let event = ForwardEvent::DialRefused { target: &target, channel_type, refusal: &refusal };
                channel.audit.note(Event::Forward(event));
                reply.reject(ChannelOpenFailure::Other { code: CONNECT_FAILED, reason: refusal.reason }).await;
            }
        }
    }

    async fn dial_guest(&self, dial: Permit<Dial>, audit: &Recorder) -> Result<ForwardedConnection, Refusal> {
        audit.record_effect(Event::Forward(ForwardEvent::Dialing { target: dial.request() })).await?;
        tokio::select! {
            dialed = self.admission.guest.dial(dial, Progress::default()) => dialed,
            refusal = ended(self.admission.ending.clone()) => Err(refusal),
        }
    }

    /// Offers a connection that came to a listener to the client, and carries data until the channel is over.
    ///
    /// The future that asks russh for the channel must not be dropped while the connection lives: russh ends a connection
    /// whose client refuses a channel that nobody waits for. So a connection whose listener was cancelled meanwhile is not
    /// offered any more, but an offer that russh has and has not sent can follow the answer to the cancellation; to a client
    /// that is as if both had crossed on the way.
    async fn offer(self: Arc<Self>, accepted: Accepted, offering: Offering, counted: OpenForward) {
        let Offering { listener, offered_as, cancelled } = offering;
        let Accepted { origin: (address, port), connection } = accepted;
        let address = printable(&address, ORIGIN_MAX);
        let audit = &self.context.audit;
        let origin = if address.is_empty() { "a Unix socket".to_owned() } else { format!("{address}:{port}") };
        let event = Event::Forward(ForwardEvent::ForwardOffered { listener: &listener, origin: &origin });
        let recorded = match audit.wire(offered_as.message((&address, port.into()))).await {
            Ok(()) => audit.record_effect(event).await,
            Err(unrecorded) => Err(unrecorded),
        };
        let (Ok(()), Some(handle)) = (recorded, self.context.handle.get()) else { return };
        if cancelled.is_cancelled() {
            let reason = "its listener was cancelled";
            audit.note(Event::Forward(ForwardEvent::ForwardDeclined { listener: &listener, reason }));
            return;
        }
        let asked = self.awaited.ask();
        let opened = tokio::select! {
            opened = offered_as.open(handle, (address, port)) => opened,
            () = self.context.closed.cancelled() => return,
        };
        let channel = match opened {
            Ok(channel) => channel,
            Err(error) => {
                let reason = match &error {
                    russh::Error::ChannelOpenFailure(failure) => failure.description(),
                    _ => "the connection is over",
                };
                audit.note(Event::Forward(ForwardEvent::ForwardDeclined { listener: &listener, reason }));
                return;
            }
        };
        let id = channel.id();
        // An unread read half wedges the connection after a hundred messages; data comes by the callback `data` alone.
        let (_, write) = channel.split();
        let Some((inbox, guards)) = asked.confirmed(&id, &self.context.closed).await else { return };
        let audit = self.context.audit.channel(id.into());
        let channel_type = offered_as.channel_type();
        audit.note_wire(WireMessage::Opened(channel_type));
        let channel = ForwardChannel { write, inbox, guards, counted, audit };
        self.carry(connection, channel, (channel_type, &listener)).await;
    }

    fn client(&self, write: ChannelWriteHalf<Msg>) -> SshForward {
        SshForward { write, used: self.context.used.clone(), output: self.admission.output.clone() }
    }

    async fn carry(
        &self,
        connection: ForwardedConnection,
        channel: ForwardChannel,
        (channel_type, target): (&'static str, &str),
    ) {
        let ForwardChannel { write, inbox, guards, counted, audit } = channel;
        let open = self.context.log.metrics().forward();
        let (client, carried, begun) = (self.client(write), CarriedBytes::default(), Instant::now());
        let mut is_lost = false;
        let patience = tokio::select! {
            ended = carry(connection, &client, &inbox, &guards.closed, (&carried, &audit)) => match ended {
                Ok(()) => CLOSE_PATIENCE,
                Err(refusal) => {
                    audit.note(Event::Forward(ForwardEvent::ForwardLost { target, refusal: &refusal }));
                    is_lost = true;
                    Duration::ZERO
                }
            },
            _ending = ended(self.admission.ending.clone()) => Duration::ZERO,
        };
        inbox.refuse();
        if timeout(patience, guards.closed.cancelled()).await.is_err() {
            self.count.close();
            client.close().await;
        }
        let traffic = Traffic { received: carried.to_guest(), sent: carried.to_client() };
        audit.note_wire(WireMessage::Close);
        let duration = begun.elapsed();
        let event = ForwardEvent::ForwardEnded { target, channel_type, is_lost, duration, traffic };
        audit.note(Event::Forward(event));
        drop((counted, open));
    }
}

#[cfg(test)]
mod tests;
