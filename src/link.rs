//! The gateway's end of the link with the agent in a guest (agent/PROTOCOL.md): one multiplexed stream over a [carrier],
//! on which programs, connections, listeners and files have a stream each.
//!
//! Invariants: the agent is never believed in more than its own guest: what it sends is bounded and parsed, and a stream that
//! it opens is taken only for a listener that is open. A link that is over is over for all of its streams, and no program of
//! it has an exit status. What a link holds is bounded in sum, whatever its streams do: `podgate_link` grants windows out of
//! one budget, and data counts until whoever read it has passed it on.

pub(crate) mod carrier;

mod driver;
mod forward;
mod program;
mod shared;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use podgate_link::request::{ProgramRequest, SftpRequest};
pub(crate) use program::{program_request, sftp_request};

use crate::guest::{ForwardedConnection, GuestListener, OutputBudget, Program, Refusal, RefusalKind};
use crate::policy::{Dial, Listen};
use crate::program::LOST;
use crate::shutdown::Tasks;
use crate::telemetry::{ConnectionLog, Level, codes};
use bytes::{Bytes, BytesMut};
use carrier::{CarrierLost, CarrierReceiver, CarrierSender};
use driver::LinkEnd;
use podgate_link::handshake::{Agreement, GatewayHandshake, HandshakeError, Hello, LinkSecret, Purpose, VERSION};
use podgate_link::request::GatewayRequest;
use podgate_link::{Close, LEAST_WINDOW, Lender, Limits, Link, ProtocolError, Side};
use shared::SharedLink;
use std::sync::Arc;
use std::time::Instant;
use stream::{LinkStream, StreamEnd};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Limit of the agent's streams that are open at once: the forwards of a connection.
const AGENT_STREAMS: u32 = 256;
/// Limit of our streams that are open at once, whatever the agent allows: a connection's sessions, forwards and listeners.
/// Each costs its least window of memory if nobody reads it.
const STREAMS_MAX: u32 = 512;

/// Codes of a close (agent/PROTOCOL.md, "Codes").
mod close_code {
    pub(super) const NO_FAILURE: u16 = 0;
    pub(super) const NOT_FOUND: u16 = 4;
    pub(super) const PERMISSION: u16 = 5;
}

/// A link that is up. Clones are the same link, which ends when all of them are dropped.
#[derive(Clone)]
pub(crate) struct AgentLink {
    shared: Arc<SharedLink>,
    _dropped: Arc<DropGuard>,
}

/// The failure to bring up a link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The carrier ended during the handshake.
    #[error("the carrier ended: {0}")]
    Carrier(#[from] CarrierLost),
    /// The peer speaks something else.
    #[error("it is not podgate-agent")]
    NotAnAgent,
    /// The agent refused, or is of another version.
    #[error("the agent cannot be used: {0}")]
    Handshake(#[source] HandshakeError),
    /// The agent broke the protocol in its first bytes.
    #[error("the agent broke the link's protocol: {0}")]
    Protocol(#[from] ProtocolError),
}

impl From<HandshakeError> for ConnectError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::NoLink => Self::NotAnAgent,
            error => Self::Handshake(error),
        }
    }
}

/// Brings up a new link over a carrier, whose other end is an agent in the mode `link`. The caller limits the time. A task
/// among `tasks` drives the link until it is dropped or lost. Its windows come out of `output`.
pub(crate) async fn connect(
    (mut sender, mut receiver): (Box<dyn CarrierSender>, Box<dyn CarrierReceiver>),
    tasks: &Tasks,
    output: OutputBudget,
    log: ConnectionLog,
) -> Result<AgentLink, ConnectError> {
    let (agreement, frames) = shake_hands(sender.as_mut(), receiver.as_mut()).await?;
    let streams = agreement.limits.streams.min(STREAMS_MAX);
    let mut link = Link::new(Side::Gateway, Limits { streams, ..agreement.limits });
    link.share_budget(Box::new(output));
    link.attach(agreement.peer_received, Instant::now())?;
    link.receive(frames, Instant::now())?;
    let (shared, dropped) = (Arc::new(SharedLink::new(link)), CancellationToken::new());
    let driven = driver::drive(Arc::clone(&shared), sender, receiver, dropped.clone());
    tasks.spawn(async move {
        let end = driven.await;
        let code = match end {
            LinkEnd::Dropped => return,
            LinkEnd::Protocol(_) => codes::AGENT_LINK_LOST.at(Level::Warning),
            LinkEnd::Carrier(_) | LinkEnd::Silent | LinkEnd::Ended(_) => codes::AGENT_LINK_LOST,
        };
        log.write(code, "the link to the guest's agent is lost", &[("reason", &end.to_string())]);
    });
    Ok(AgentLink { shared, _dropped: Arc::new(dropped.drop_guard()) })
}

async fn shake_hands(
    sender: &mut dyn CarrierSender,
    receiver: &mut dyn CarrierReceiver,
) -> Result<(Agreement, Bytes), ConnectError> {
    let hello = Hello {
        purpose: Purpose::New,
        versions: (VERSION, VERSION),
        features: 0,
        link: rand::random(),
        nonce: rand::random(),
        epoch: 1,
        received: 0,
        window: LEAST_WINDOW,
        streams: AGENT_STREAMS,
    };
    let (mut handshake, first) = GatewayHandshake::new(hello, LinkSecret(rand::random()));
    sender.send(BytesMut::from(first)).await?;
    loop {
        let mut bytes = receiver.next().await?;
        if let Some((agreement, proof)) = handshake.receive(&mut bytes)? {
            sender.send(BytesMut::from(proof)).await?;
            return Ok((agreement, bytes));
        }
    }
}

impl Lender for OutputBudget {
    fn free(&self) -> u64 {
        self.free() as u64
    }

    fn lend(&self, bytes: u64) {
        self.lend(bytes as usize);
    }

    fn take_back(&self, bytes: u64) {
        self.take_back(bytes as usize);
    }
}

impl AgentLink {
    /// Starts a program. Dropping the future gives it up.
    pub(crate) async fn start(&self, request: ProgramRequest) -> Result<Program, Refusal> {
        let terminal = request.terminal.is_some();
        let (stream, _reply) = self.open(&GatewayRequest::Program(request)).await?;
        Ok(program::program(stream, terminal))
    }

    /// Starts the agent's own SFTP server, which is a program like another.
    pub(crate) async fn start_sftp(&self, request: SftpRequest) -> Result<Program, Refusal> {
        let (stream, _reply) = self.open(&GatewayRequest::Sftp(request)).await?;
        Ok(program::program(stream, false))
    }

    /// Connects to an address inside the guest.
    pub(crate) async fn dial(&self, dial: Dial) -> Result<ForwardedConnection, Refusal> {
        let (stream, _reply) = self.open(&GatewayRequest::Dial(forward::address(dial))).await?;
        Ok(forward::connection(stream))
    }

    /// Listens inside the guest.
    pub(crate) async fn listen(&self, listen: Listen) -> Result<GuestListener, Refusal> {
        let request = forward::listen_request(&listen)
            .ok_or_else(|| Refusal::new("the X11 cookie is not a hexadecimal number"))?;
        let stream = self.request(&GatewayRequest::Listen(request))?;
        // Before the reply: a connection may come right behind it.
        self.shared.act(|state| state.open_listener(stream.number()));
        let reply = stream.accepted().await.map_err(refusal)?;
        let address = forward::listener_address(listen, &reply)
            .ok_or_else(|| Refusal::new("the guest's agent does not say where it listens"))?;
        Ok(forward::listener(stream, address))
    }

    /// Writes a file with mode 0600; waits until the agent has written all of it.
    pub(crate) async fn write_file(&self, path: &str, content: Bytes) -> Result<(), Refusal> {
        let (stream, _reply) = self.open(&GatewayRequest::WriteFile(path.as_bytes().to_vec())).await?;
        // A file that takes no more was closed with the reason.
        let _all = stream.write(&content).await;
        stream.finish();
        match stream.until(|state| stream.end(state)).await {
            StreamEnd::Closed(Close { code: close_code::NO_FAILURE, .. }) => Ok(()),
            end => Err(refusal(end)),
        }
    }

    /// Tells whether the link is over.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.look(|state| state.over.is_some())
    }

    /// Opens a stream and waits for the agent's yes.
    async fn open(&self, request: &GatewayRequest) -> Result<(LinkStream, Bytes), Refusal> {
        let stream = self.request(request)?;
        let reply = stream.accepted().await.map_err(refusal)?;
        Ok((stream, reply))
    }

    fn request(&self, request: &GatewayRequest) -> Result<LinkStream, Refusal> {
        LinkStream::open(&self.shared, request.encode()).map_err(|_full| match self.is_over() {
            true => Refusal::new(LOST),
            false => Refusal::new("the request is too long for the guest's agent, or too many are under way"),
        })
    }
}

/// The refusal that a stream's end before its acceptance is.
fn refusal(end: StreamEnd) -> Refusal {
    match end {
        StreamEnd::Closed(Close { code, reason }) => Refusal::new(reason).kind(match code {
            close_code::NOT_FOUND => RefusalKind::NotFound,
            close_code::PERMISSION => RefusalKind::NotExecutable,
            _ => RefusalKind::Other,
        }),
        StreamEnd::LinkOver(reason) => Refusal::new(LOST).kind(RefusalKind::Unanswered).detail(&*reason),
    }
}
