//! The stream of a pod's `exec` or `attach`: a WebSocket with channels (v5.channel.k8s.io). [`ExecStream`] is the stream as
//! bytes by channel; [`ExecStream::into_program`] makes a [`Program`](crate::guest::Program) of it.
//!
//! Channels: 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 the terminal's size; 255 closes a channel. The server
//! sends the Status behind the last byte of output, and a program's events keep that order. Without a Status there is no
//! exit status: the program is [`Lost`](crate::guest::Exit::Lost).
//!
//! The request is made once: a program must not start twice, so nothing is retried.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

mod error;
mod program;
mod status;
#[cfg(test)]
mod tests;

pub(crate) use error::ExecError;

use super::client::{AGENT, ClusterClient};
use super::websocket::handshake::{self, HandshakeKey};
use super::websocket::{self, Receiver, Sender, StreamError};
use crate::types::{ContainerName, Namespace, PodName, Size, printable};
use bytes::{Buf, Bytes, BytesMut};
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use url::form_urlencoded;

/// The channel of standard input.
const STDIN: u8 = 0;
/// The channel of standard output, and of a terminal's output.
const STDOUT: u8 = 1;
/// The channel of standard error.
const STDERR: u8 = 2;
/// The channel of the final Status.
const STATUS: u8 = 3;
/// The channel of the terminal's size.
const RESIZE: u8 = 4;
/// The channel whose messages name a channel that ends.
const CLOSE: u8 = 255;

/// Limit of an exec's escaped arguments, in bytes: they stand in the request's target, for which our HTTP
/// library has 64 KiB and a proxy on the way may have less.
const ARGUMENTS_MAX: usize = 32 * 1024;
/// The read buffer of the upgrade, in bytes: the answer's head, and the frames that come right behind it.
const UPGRADE_BUFFER: usize = 16 * 1024;
/// Limit of a refusal's body, in bytes.
const REFUSAL_MAX: usize = 64 * 1024;

/// True where the arguments fit into an exec's target.
pub(crate) fn fits(argv: &[String]) -> bool {
    let escaped = |word: &String| form_urlencoded::byte_serialize(word.as_bytes()).map(str::len).sum::<usize>();
    argv.iter().map(|word| "&command=".len() + escaped(word)).sum::<usize>() <= ARGUMENTS_MAX
}

/// The two requests for a stream, which differ in what they connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExecVerb {
    /// Starts a program in a running container.
    Exec,
    /// Connects to the container's main process. Its Status says success whatever the process ended with, so the exit is
    /// read from the container's terminated state instead.
    Attach,
}

impl ExecVerb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
        }
    }
}

/// A request for a stream to a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExecRequest<'a> {
    pub verb: ExecVerb,
    pub namespace: &'a Namespace,
    pub pod: &'a PodName,
    pub container: &'a ContainerName,
    /// The program and its arguments; empty for [`ExecVerb::Attach`]. It stands in the API server's audit log.
    pub argv: &'a [String],
    /// The terminal's size; stderr then comes with stdout. A main process has one where the container's spec says so.
    pub tty: Option<Size>,
}

impl ExecRequest<'_> {
    /// The request's target. The names are RFC 1123 names: nothing in them needs escaping. stdin is always asked for:
    /// some runtimes end a stream early that has none.
    fn target(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("container", self.container.as_str());
        query.append_pair("stdin", "true").append_pair("stdout", "true");
        query.append_pair("stderr", if self.tty.is_some() { "false" } else { "true" });
        query.append_pair("tty", if self.tty.is_some() { "true" } else { "false" });
        for word in self.argv {
            query.append_pair("command", word);
        }
        let Self { namespace, pod, verb, .. } = self;
        format!("/api/v1/namespaces/{namespace}/pods/{pod}/{}?{}", verb.as_str(), query.finish())
    }

    /// The program's name, printable.
    fn program_name(&self) -> String {
        printable(self.argv.first().map_or("", String::as_str), 80)
    }
}

impl ClusterClient {
    /// Opens the stream within `limit` (the connection and the API server's yes). A program that the runtime cannot start
    /// is refused here, or its output ends as [`Lost`](crate::guest::Exit::Lost) with the status 126 or 127.
    ///
    /// # Errors
    /// The cluster cannot be reached in time, or refuses; `Refusal::from` says it to the user.
    pub(crate) async fn exec(&self, request: &ExecRequest<'_>, limit: Duration) -> Result<ExecStream, ExecError> {
        self.metrics().count_backend_request();
        let opened = timeout(limit, Box::pin(self.open_exec(request))).await.unwrap_or(Err(ExecError::Timeout(limit)));
        let opened = opened.map_err(|error| match error {
            ExecError::Unauthorized(said) => ExecError::Unauthorized(self.expired(&said)),
            other => other,
        });
        if let Err(error) = &opened {
            self.metrics().count_backend_error(error.cause());
        }
        opened
    }

    async fn open_exec(&self, request: &ExecRequest<'_>) -> Result<ExecStream, ExecError> {
        let (io, early) = self.upgrade(request).await?;
        let (sender, receiver) = websocket::split(io, &early);
        let channels = ChannelReceiver { receiver, channel: None };
        let mut stream =
            ExecStream { sender, channels, terminal: request.tty.is_some(), program: request.program_name() };
        if let Some(size) = request.tty {
            stream.sender.send(RESIZE, resize(size)).await.map_err(ExecError::Broken)?;
        }
        Ok(stream)
    }

    /// Makes the HTTP request. The bytes are the first frames: they came in the same segment as the answer.
    async fn upgrade(&self, request: &ExecRequest<'_>) -> Result<(TlsStream<TcpStream>, Bytes), ExecError> {
        let key = HandshakeKey::random();
        let mut upgrade = handshake::exec_request(self.authority(), &request.target(), &key)
            .map_err(ExecError::Request)?
            .header(USER_AGENT, AGENT);
        if let Some(authorization) = self.authorization() {
            upgrade = upgrade.header(AUTHORIZATION, authorization);
        }
        let upgrade = upgrade.body(Empty::new()).map_err(ExecError::Request)?;
        let io = TokioIo::new(self.connect().await.map_err(error::connect)?);
        let (sender, connection) =
            Builder::new().max_buf_size(UPGRADE_BUFFER).handshake(io).await.map_err(ExecError::Exchange)?;
        let (answer, connection) =
            tokio::join!(exchange(sender, upgrade, &key, request), connection.without_shutdown());
        answer?;
        let parts = connection.map_err(ExecError::Exchange)?;
        Ok((parts.io.into_inner(), parts.read_buf))
    }
}

async fn exchange(
    mut sender: SendRequest<Empty<Bytes>>,
    upgrade: Request<Empty<Bytes>>,
    key: &HandshakeKey,
    request: &ExecRequest<'_>,
) -> Result<(), ExecError> {
    let response = sender.send_request(upgrade).await.map_err(ExecError::Exchange)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response, request).await);
    }
    handshake::check(&response, key).map_err(error::handshake)
}

async fn refusal(response: Response<Incoming>, request: &ExecRequest<'_>) -> ExecError {
    let code = response.status();
    // A body that breaks off or is too long says nothing; the code does.
    let body = Limited::new(response.into_body(), REFUSAL_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    error::answer(code, &body, request.verb.as_str(), &request.program_name())
}

fn resize(size: Size) -> BytesMut {
    BytesMut::from(format!(r#"{{"Width":{},"Height":{}}}"#, size.columns, size.rows).as_str())
}

/// An open stream: what is sent and received on each of its channels.
pub(crate) struct ExecStream<S: AsyncRead + AsyncWrite + Unpin = TlsStream<TcpStream>> {
    sender: Sender<S>,
    channels: ChannelReceiver<S>,
    terminal: bool,
    /// The printable name of what runs, for the refusal when it does not start.
    program: String,
}

/// A piece of what came on one channel.
struct ChannelPiece {
    channel: u8,
    /// The bytes, possibly none.
    data: Bytes,
    /// Set on the last piece of a message.
    end: bool,
}

/// The receiving half of a stream. A message's first byte is its channel.
struct ChannelReceiver<S: AsyncRead + AsyncWrite + Unpin> {
    receiver: Receiver<S>,
    /// The channel of the message that is being received.
    channel: Option<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ChannelReceiver<S> {
    /// Waits for the next piece. An empty message is passed over (the first of a stream: connected). Cancel-safe.
    async fn next(&mut self) -> Result<ChannelPiece, StreamError> {
        loop {
            let mut piece = self.receiver.next().await?;
            if piece.start {
                self.channel = None;
            }
            if self.channel.is_none() && piece.data.has_remaining() {
                self.channel = Some(piece.data.get_u8());
            }
            if let Some(channel) = self.channel {
                return Ok(ChannelPiece { channel, data: piece.data, end: piece.end });
            }
        }
    }
}
