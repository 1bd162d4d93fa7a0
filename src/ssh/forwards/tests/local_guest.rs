//! A guest that is this machine: programs of `/bin/sh`, connections and listeners of this process.

use crate::guest::{
    Accepted, AcceptedConnections, Arrival, Backend, ConnectionInput, ConnectionOutput, Exit, ForwardedConnection,
    Guest, GuestListener, InputClosed, ListenerAddress, OutputEvent, Program, ProgramInput, ProgramOutput, Progress,
    Refusal,
};
use crate::policy::{Dial, Listen, Permit, ProgramRequest, ProgramSpec, SendSignal};
use crate::types::Size;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use std::future::{pending, ready};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// The reason of a guest that forwards nothing.
pub(super) const NO_FORWARDS: &str = "forwards need what this guest lacks";

/// The maker of such guests.
pub(super) struct LocalGuests {
    forwards: bool,
    /// True if a login of the second user and later ones panics.
    panics: bool,
    /// The guests that were ended, and those that are there.
    pub(super) counts: GuestCounts,
}

/// The numbers of guests that were ended, and that are there.
#[derive(Clone, Default)]
pub(super) struct GuestCounts {
    pub(super) ended: Arc<AtomicUsize>,
    pub(super) there: Arc<AtomicUsize>,
}

impl LocalGuests {
    pub(super) fn new() -> Self {
        Self { forwards: true, panics: false, counts: GuestCounts::default() }
    }

    pub(super) fn without_forwards() -> Self {
        Self { forwards: false, ..Self::new() }
    }

    /// No guest is made: a panic instead.
    pub(super) fn without_guests() -> Self {
        Self { panics: true, ..Self::new() }
    }
}

impl Backend for LocalGuests {
    fn guest(&self, _: Arrival) -> Arc<dyn Guest> {
        assert!(!self.panics, "a bug of the backend");
        self.counts.there.fetch_add(1, Ordering::SeqCst);
        let counts = self.counts.clone();
        Arc::new(LocalGuest { forwards: self.forwards, folder: tempfile::tempdir().unwrap(), counts })
    }
}

struct LocalGuest {
    forwards: bool,
    folder: TempDir,
    counts: GuestCounts,
}

impl Drop for LocalGuest {
    fn drop(&mut self) {
        self.counts.there.fetch_sub(1, Ordering::SeqCst);
    }
}

impl LocalGuest {
    fn can_forward(&self) -> Result<(), Refusal> {
        if self.forwards { Ok(()) } else { Err(Refusal::new(NO_FORWARDS)) }
    }
}

fn failed(error: std::io::Error) -> Refusal {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Refusal::new("Connection refused"),
        _ => Refusal::new(error.to_string()),
    }
}

fn connection<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S) -> ForwardedConnection {
    let (read, write) = tokio::io::split(stream);
    ForwardedConnection { input: Box::new(Input(write)), output: Box::new(Output(read)) }
}

impl Guest for LocalGuest {
    fn start(&self, program: Permit<ProgramSpec>, _: Progress) -> BoxFuture<'_, Result<Program, Refusal>> {
        let ProgramSpec { request, env, .. } = program.spend();
        let ProgramRequest::Exec(text) = request else {
            return Box::pin(ready(Err(Refusal::new("commands alone"))));
        };
        assert_ne!(text, "bug", "a bug of the program's start");
        let mut command = std::process::Command::new("/bin/sh");
        command.arg("-c").arg(text).env_remove("SSH_AUTH_SOCK").env_remove("DISPLAY");
        command.envs(env.iter().map(|variable| (variable.name().as_str(), variable.value())));
        podgate_devcluster::leash(&mut command).unwrap();
        let mut command = tokio::process::Command::from(command);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Box::pin(ready(Ok(Program {
            input: Box::new(ShellInput(input)),
            output: Box::new(ShellOutput { output, child }),
        })))
    }

    fn dial(&self, dial: Permit<Dial>, _: Progress) -> BoxFuture<'_, Result<ForwardedConnection, Refusal>> {
        Box::pin(async move {
            self.can_forward()?;
            match dial.spend() {
                Dial::Tcp { host, port } => Ok(connection(TcpStream::connect((host, port)).await.map_err(failed)?)),
                Dial::Unix { path } => Ok(connection(UnixStream::connect(path).await.map_err(failed)?)),
            }
        })
    }

    fn listen(&self, listen: Permit<Listen>, _: Progress) -> BoxFuture<'_, Result<GuestListener, Refusal>> {
        Box::pin(async move {
            self.can_forward()?;
            let unix = |path: PathBuf| {
                let listener = UnixListener::bind(&path).map_err(failed)?;
                let address = ListenerAddress::Path(path.display().to_string());
                Ok(GuestListener { address, accepted: Box::new(UnixConnections { listener, path }) })
            };
            match listen.spend() {
                Listen::Tcp { host, port } => {
                    let listener = TcpListener::bind((host, port)).await.map_err(failed)?;
                    let address = ListenerAddress::Port(listener.local_addr().unwrap().port());
                    Ok(GuestListener { address, accepted: Box::new(TcpConnections(listener)) })
                }
                Listen::Unix { path } => unix(path.into()),
                Listen::Agent => unix(self.folder.path().join("agent")),
                // The cookie is told instead of a file with it.
                Listen::X11(x11) => {
                    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
                    let display = listener.local_addr().unwrap().to_string();
                    let address = ListenerAddress::Display { display, authority: x11.auth_cookie };
                    Ok(GuestListener { address, accepted: Box::new(TcpConnections(listener)) })
                }
            }
        })
    }

    fn ready(&self, _: Progress) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(ready(Ok(())))
    }

    fn gone(&self) -> BoxFuture<'_, Refusal> {
        Box::pin(pending())
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        self.counts.ended.fetch_add(1, Ordering::SeqCst);
        Box::pin(ready(()))
    }
}

struct TcpConnections(TcpListener);

impl AcceptedConnections for TcpConnections {
    fn next(&mut self) -> BoxFuture<'_, Option<Accepted>> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await.ok()?;
            Some(Accepted { origin: (peer.ip().to_string(), peer.port()), connection: connection(stream) })
        })
    }

    /// Dropping it closes the socket.
    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

struct UnixConnections {
    listener: UnixListener,
    path: PathBuf,
}

impl AcceptedConnections for UnixConnections {
    fn next(&mut self) -> BoxFuture<'_, Option<Accepted>> {
        Box::pin(async {
            let (stream, _) = self.listener.accept().await.ok()?;
            Some(Accepted { origin: (String::new(), 0), connection: connection(stream) })
        })
    }

    /// Dropping it closes the socket.
    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

impl Drop for UnixConnections {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

struct Input<W>(W);

impl<W: AsyncWrite + Unpin + Send> ConnectionInput for Input<W> {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move { self.0.write_all(&data).await.map_err(|_| InputClosed) })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { self.0.shutdown().await.map_err(|_| InputClosed) })
    }
}

struct Output<R>(R);

impl<R: AsyncRead + Unpin + Send> ConnectionOutput for Output<R> {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Refusal>> {
        Box::pin(async {
            let mut data = BytesMut::with_capacity(64 * 1024);
            let read = self.0.read_buf(&mut data).await.unwrap_or(0);
            Ok((read > 0).then(|| data.freeze()))
        })
    }
}

struct ShellInput(Option<ChildStdin>);

impl ProgramInput for ShellInput {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move {
            let input = self.0.as_mut().ok_or(InputClosed)?;
            input.write_all(&data).await.map_err(|_| InputClosed)
        })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.0 = None;
        Box::pin(ready(Ok(())))
    }

    fn resize(&mut self, _: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(ready(Ok(())))
    }

    fn signal(&mut self, _: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(ready(Err(Refusal::new("no signals"))))
    }
}

struct ShellOutput {
    output: ChildStdout,
    child: Child,
}

impl ProgramOutput for ShellOutput {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async {
            let mut data = BytesMut::with_capacity(4096);
            if self.output.read_buf(&mut data).await.unwrap_or(0) > 0 {
                return OutputEvent::Stdout(data.freeze());
            }
            let status = self.child.wait().await.unwrap();
            OutputEvent::Exit(Exit::Status(status.code().unwrap_or(255) as u8))
        })
    }
}
