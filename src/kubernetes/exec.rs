//! A [`Program`] over the `exec` and `attach` WebSockets of a pod (v5.channel.k8s.io).
//!
//! Channels: 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 the terminal's size, 255 closes a stream. The server
//! sends the Status behind the last byte of output, so what comes out here keeps that order. Without a Status there is no
//! exit status: the program is [`Lost`](crate::guest::Exit::Lost).

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod output;
mod refused;
mod status;
#[cfg(test)]
mod tests;
mod upgrade;

pub use refused::ExecError;
pub(super) use status::{found_stopped, lost};

use super::client::ClusterClient;
use super::websocket::{self, Receiver, Sender};
use crate::guest::{Input, InputClosed, Program, Refusal};
use crate::types::{ContainerName, Namespace, PodName, Size, printable};
use bytes::BytesMut;
use futures_util::future::BoxFuture;
use output::ExecOutput;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use url::form_urlencoded;

const STDIN: u8 = 0;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// Limit of an exec's escaped arguments, in bytes: they stand in the request's target, for which our HTTP
/// library has 64 KiB and a proxy on the way may have less.
const LONGEST_ARGUMENTS: usize = 32 * 1024;

/// True where the arguments fit into an exec's target.
pub(super) fn fits(argv: &[String]) -> bool {
    let escaped = |word: &String| form_urlencoded::byte_serialize(word.as_bytes()).map(str::len).sum::<usize>();
    argv.iter().map(|word| "&command=".len() + escaped(word)).sum::<usize>() <= LONGEST_ARGUMENTS
}

/// A program to start in a running container.
#[derive(Debug, Clone, Copy)]
pub struct ExecRequest<'a> {
    /// The pod's namespace.
    pub namespace: &'a Namespace,
    /// The pod.
    pub pod: &'a PodName,
    /// The container in it.
    pub container: &'a ContainerName,
    /// The program and its arguments; not empty. It stands in the API server's audit log.
    pub argv: &'a [String],
    /// A terminal of this size; stderr then comes with stdout.
    pub tty: Option<Size>,
    /// Whether anything will be written; without it stdin ends at once (except on a terminal, where it stays open).
    pub stdin: bool,
}

/// The container's own main process, to be attached to.
#[derive(Debug, Clone, Copy)]
pub struct AttachRequest<'a> {
    /// The pod's namespace.
    pub namespace: &'a Namespace,
    /// The pod.
    pub pod: &'a PodName,
    /// The container in it.
    pub container: &'a ContainerName,
    /// Set when the container's spec has a terminal, to its size.
    pub tty: Option<Size>,
    /// Whether anything will be written, as in [`ExecRequest::stdin`].
    pub stdin: bool,
}

impl ClusterClient {
    /// Starts a program, within `command_start` (the connection and the API server's yes). One that the runtime can't
    /// start is told by the output as [`Lost`](crate::guest::Exit::Lost) with the status 126 or 127, or here.
    ///
    /// # Errors
    /// The cluster cannot be reached in time, or refuses; [`Refusal::from`] says it to the user.
    pub async fn exec(&self, request: ExecRequest<'_>, command_start: Duration) -> Result<Program, ExecError> {
        let what = What {
            verb: "exec",
            path: path(request.namespace, request.pod),
            container: request.container,
            argv: request.argv,
            tty: request.tty,
            stdin: request.stdin,
        };
        Box::pin(what.start(self, command_start)).await
    }

    /// Attaches to a container's main process, within `command_start`. Its exit is no news of the process: the API says
    /// success whatever the process ended with, so the caller reads the container's terminated state instead.
    ///
    /// # Errors
    /// As [`ClusterClient::exec`].
    pub async fn attach(&self, request: AttachRequest<'_>, command_start: Duration) -> Result<Program, ExecError> {
        let what = What {
            verb: "attach",
            path: path(request.namespace, request.pod),
            container: request.container,
            argv: &[],
            tty: request.tty,
            stdin: request.stdin,
        };
        Box::pin(what.start(self, command_start)).await
    }
}

/// The names are RFC 1123 names: nothing in them needs escaping.
fn path(namespace: &Namespace, pod: &PodName) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{pod}")
}

struct What<'a> {
    verb: &'static str,
    path: String,
    container: &'a ContainerName,
    argv: &'a [String],
    tty: Option<Size>,
    stdin: bool,
}

impl What<'_> {
    async fn start(self, client: &ClusterClient, within: Duration) -> Result<Program, ExecError> {
        let starting = async {
            let (stream, early) = upgrade::upgrade(client, &self).await?;
            let (mut sender, receiver) = websocket::halves(stream, &early);
            if let Some(size) = self.tty {
                sender.send(RESIZE, resize(size)).await.map_err(ExecError::Broken)?;
            } else if !self.stdin {
                sender.send(CLOSE, BytesMut::from(&[STDIN][..])).await.map_err(ExecError::Broken)?;
            }
            Ok(program(sender, receiver, &self))
        };
        client.metrics().backend_asked();
        let started = timeout(within, starting).await.unwrap_or(Err(ExecError::Timeout(within)));
        if let Err(error) = &started {
            client.metrics().backend_failed(error.cause());
        }
        started
    }

    /// The request's target. stdin is always asked for: some runtimes end a stream early that has none.
    fn target(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("container", self.container.as_str());
        query.append_pair("stdin", "true").append_pair("stdout", "true");
        query.append_pair("stderr", if self.tty.is_some() { "false" } else { "true" });
        query.append_pair("tty", if self.tty.is_some() { "true" } else { "false" });
        for word in self.argv {
            query.append_pair("command", word);
        }
        format!("{}/{}?{}", self.path, self.verb, query.finish())
    }

    /// What the user may read of the program's name.
    fn name(&self) -> String {
        printable(self.argv.first().map_or("", String::as_str), 80)
    }
}

fn resize(size: Size) -> BytesMut {
    BytesMut::from(format!(r#"{{"Width":{},"Height":{}}}"#, size.columns, size.rows).as_str())
}

fn program<S>(sender: Sender<S>, receiver: Receiver<S>, what: &What<'_>) -> Program
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let terminal = what.tty.is_some();
    let input = ExecInput { sender, terminal, closed: !terminal && !what.stdin };
    let output = ExecOutput::new(receiver, what.name());
    Program { input: Box::new(input), output: Box::new(output) }
}

struct ExecInput<S: AsyncRead + AsyncWrite + Unpin> {
    sender: Sender<S>,
    terminal: bool,
    closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ExecInput<S> {
    async fn send(&mut self, channel: u8, data: BytesMut) -> Result<(), InputClosed> {
        self.sender.send(channel, data).await.map_err(|_gone| {
            self.closed = true;
            InputClosed
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Input for ExecInput<S> {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move {
            if self.closed {
                return Err(InputClosed);
            }
            if data.is_empty() {
                return Ok(());
            }
            self.send(STDIN, data).await
        })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move {
            if std::mem::replace(&mut self.closed, true) {
                return Ok(());
            }
            self.send(CLOSE, BytesMut::from(&[STDIN][..])).await
        })
    }

    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move {
            if !self.terminal {
                return Ok(());
            }
            self.send(RESIZE, resize(size)).await
        })
    }

    fn signal(&mut self, _name: String) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Err(Refusal::new("signals need the agent in the container")) })
    }
}
