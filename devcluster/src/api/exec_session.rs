//! One exec or attach stream over a WebSocket: channels 0 (stdin), 1 (stdout), 2 (stderr), 3 (status) and 4 (resize).
//!
//! Nothing is queued: a client that does not read holds the program back, and a program that does not read its input
//! holds the reading of the whole connection back, pings and resizes included, as in the real server. The status is sent
//! after the last byte of output, and not before the input that has come was taken: a program that ends with more of it
//! unread than fits is said to have ended only when its container has, as with containerd.

use crate::api::open_streams::OpenStream;
use crate::api::socket::{Cut, CuttableSocket};
use crate::api::websocket::{FrameKind, FrameReader, FrameWriter, HEAD, Protocol};
use crate::node::container::{Container, OutputChunk, Stdin};
use crate::objects::status::StatusError;
use crate::process::{self, Io, RunningProgram, SpawnError};
use bytes::Bytes;
use serde_json::{Value, json};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_rustls::server::TlsStream;

/// A connection to a client.
pub(crate) type TlsSocket = TlsStream<CuttableSocket>;

/// Bytes read from a program at a time: what a pipe holds.
const READ: usize = 64 << 10;

/// Time after the end in which a client's bytes are still read, so that unread ones do not reset the connection before
/// it has read ours.
const LINGER: Duration = Duration::from_secs(1);

/// A runtime needs some time to find out that it cannot start a program. A client may count on that: kubectl 1.32 drops what
/// arrives before it has set up its streams.
const REFUSAL: Duration = Duration::from_millis(30);

/// A resize message beyond this is not one.
const RESIZE: usize = 256;

/// Numbers of the channels in the protocol, beside 0 to 2 and 4.
const STATUS: u8 = 3;
const HALF_CLOSE: u8 = 255;

/// The program's streams that the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WantedStreams {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) tty: bool,
}

/// An upgraded connection that carries an exec or attach.
#[derive(Debug)]
pub(crate) struct ExecSession {
    reader: FrameReader<ReadHalf<TlsSocket>>,
    line: ExecChannels,
}

/// The half of a session that speaks.
#[derive(Debug)]
struct ExecChannels {
    writer: Mutex<FrameWriter<WriteHalf<TlsSocket>>>,
    protocol: Protocol,
    wanted: WantedStreams,
    stream: OpenStream,
    /// True while input of the client is on its way to the program.
    taking: watch::Sender<bool>,
}

/// The receiver of the client's input.
enum SessionInput<'a> {
    Own(&'a mut Stdin),
    Shared(&'a Container),
}

type ProgramOutput = Box<dyn AsyncRead + Unpin + Send>;

impl ExecSession {
    pub(crate) fn new(
        wire: TlsSocket,
        already: &Bytes,
        protocol: Protocol,
        wanted: WantedStreams,
        stream: OpenStream,
    ) -> Self {
        let (read, write) = tokio::io::split(wire);
        let writer = Mutex::new(FrameWriter::new(write));
        let line = ExecChannels { writer, protocol, wanted, stream, taking: watch::Sender::new(false) };
        Self { reader: FrameReader::new(read, already), line }
    }

    /// Serves an exec. When the client is gone, the program gets end-of-file on a piped stdin and nothing else: it is
    /// not killed, nobody reads its output, and it is held until it ends.
    pub(crate) async fn exec(self, container: &Container, spawned: Result<RunningProgram, SpawnError>) {
        let RunningProgram { mut child, io, .. } = match spawned {
            Ok(running) => running,
            Err(error) => return self.refuse(&exec_error(&error)).await,
        };
        let (mut stdin, mut stdout, mut stderr) = ends(io);
        let Self { mut reader, line } = self;
        let cut = line.stream.cut.clone();
        let (input, out, err, status) = (SessionInput::Own(&mut stdin), &mut stdout, &mut stderr, &mut child);
        let talk = async move {
            let outputs = async {
                tokio::try_join!(line.pump(out, 1), line.pump(err, 2))?;
                status.wait().await.map(process::exit_code)
            };
            line.converse(container, &mut reader, outputs, input).await
        };
        until_cut(&cut, talk).await;
        stdin.close();
        // Its end is of interest only as the end of our hold on its streams.
        let _status = child.wait().await;
    }

    /// Serves an attach to a container's first process. Its status is always a success.
    pub(crate) async fn attach(self, container: &Container, mut output: mpsc::Receiver<OutputChunk>) {
        let Self { mut reader, line } = self;
        let (cut, wanted) = (line.stream.cut.clone(), line.wanted);
        let talk = async move {
            let outputs = async {
                while let Some((channel, chunk)) = output.recv().await {
                    if if channel == 1 { wanted.stdout } else { wanted.stderr } {
                        line.send(channel, &mut [&[0; HEAD], &chunk[..]].concat()).await?;
                    }
                }
                Ok(0)
            };
            line.converse(container, &mut reader, outputs, SessionInput::Shared(container)).await
        };
        until_cut(&cut, talk).await;
        if wanted.stdin && container.stdin_once {
            container.stdin.lock().await.close();
        }
    }

    /// Tells why there is no program.
    pub(crate) async fn refuse(self, error: &StatusError) {
        let Self { mut reader, line } = self;
        let cut = line.stream.cut.clone();
        let talk = async move {
            line.greet().await?;
            tokio::time::sleep(REFUSAL).await;
            line.finish(&mut reader, &error.to_stream_status()).await
        };
        until_cut(&cut, talk).await;
    }
}

/// A connection that fails ends the talk, as the client's leaving does: there is nobody left to tell.
async fn until_cut(cut: &Cut, talk: impl Future<Output = io::Result<()>>) {
    tokio::select! {
        biased;
        () = cut.happened() => {}
        _ended = talk => {}
    }
}

impl ExecChannels {
    async fn converse(
        &self,
        container: &Container,
        reader: &mut FrameReader<ReadHalf<TlsSocket>>,
        outputs: impl Future<Output = io::Result<i32>>,
        input: SessionInput<'_>,
    ) -> io::Result<()> {
        self.greet().await?;
        let code = {
            let receive = self.receive(reader, input);
            tokio::pin!(receive);
            let code = tokio::select! {
                code = outputs => code?,
                gone = &mut receive => return gone,
            };
            let mut taking = self.taking.subscribe();
            tokio::select! {
                biased;
                gone = receive => return gone,
                _idle = taking.wait_for(|taking| !taking) => code,
                _ended = container.ended() => code,
            }
        };
        self.finish(reader, &exit_status(code)).await
    }

    /// An empty message on the lowest output channel says that the stream is there.
    async fn greet(&self) -> io::Result<()> {
        let lowest = match self.wanted {
            WantedStreams { stdout: true, .. } => 1,
            WantedStreams { stderr: true, tty: false, .. } => 2,
            _ => STATUS,
        };
        self.send(lowest, &mut [0; HEAD]).await
    }

    async fn finish(&self, reader: &mut FrameReader<ReadHalf<TlsSocket>>, status: &Value) -> io::Result<()> {
        self.send(STATUS, &mut [&[0; HEAD], status.to_string().as_bytes()].concat()).await?;
        self.writer.lock().await.close().await?;
        let rest = async {
            while let Ok(Some(FrameKind::Data | FrameKind::Ping | FrameKind::Pong)) = reader.next_frame().await {}
        };
        // Either the client has said goodbye, or it will not.
        let _gone = tokio::time::timeout(LINGER, rest).await;
        Ok(())
    }

    async fn send(&self, channel: u8, room: &mut [u8]) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        let allowed = self.stream.pass(room.len() - HEAD);
        let cut = allowed < room.len() - HEAD;
        writer.send(channel, room.get_mut(..HEAD + allowed).unwrap_or_default()).await?;
        if cut { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    async fn pump(&self, from: &mut ProgramOutput, channel: u8) -> io::Result<()> {
        let mut room = vec![0; HEAD + READ];
        loop {
            let read = match room.get_mut(HEAD..) {
                Some(space) => from.read(space).await.unwrap_or(0),
                None => 0,
            };
            // A terminal whose programs have all ended reads as an error.
            if read == 0 {
                return Ok(());
            }
            self.send(channel, room.get_mut(..HEAD + read).unwrap_or_default()).await?;
        }
    }

    /// Takes what the client sends until it is gone.
    async fn receive(
        &self,
        reader: &mut FrameReader<ReadHalf<TlsSocket>>,
        mut input: SessionInput<'_>,
    ) -> io::Result<()> {
        while let Some(opcode) = reader.next_frame().await? {
            match opcode {
                FrameKind::Close => return Ok(()),
                FrameKind::Pong => {}
                FrameKind::Ping => {
                    let payload = collect(reader, 125).await?;
                    self.writer.lock().await.pong(&payload).await?;
                }
                FrameKind::Data => self.message(reader, &mut input).await?,
            }
        }
        Ok(())
    }

    async fn take(&self, piece: &[u8], input: &mut SessionInput<'_>) -> io::Result<()> {
        let allowed = self.stream.pass(piece.len());
        self.taking.send_replace(true);
        input.write(piece.get(..allowed).unwrap_or_default()).await;
        self.taking.send_replace(false);
        if allowed < piece.len() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    async fn message(
        &self,
        reader: &mut FrameReader<ReadHalf<TlsSocket>>,
        input: &mut SessionInput<'_>,
    ) -> io::Result<()> {
        let Some(first) = reader.piece().await? else { return Ok(()) };
        let Some((channel, piece)) = first.split_first_mut() else { return Ok(()) };
        match *channel {
            0 if self.wanted.stdin => {
                self.take(piece, input).await?;
                while let Some(piece) = reader.piece().await? {
                    self.take(piece, input).await?;
                }
            }
            4 => {
                let mut text = piece.to_vec();
                text.extend(collect(reader, RESIZE).await?);
                input.resize(&text).await;
            }
            HALF_CLOSE if self.protocol == Protocol::V5 => {
                let mut closed = piece.to_vec();
                closed.extend(collect(reader, 1).await?);
                if closed == [0] {
                    input.close().await;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl SessionInput<'_> {
    async fn write(&mut self, data: &[u8]) {
        match self {
            Self::Own(stdin) => stdin.write(data).await,
            Self::Shared(container) => container.stdin.lock().await.write(data).await,
        }
    }

    /// An attach closes the container's input only where the spec says `stdinOnce`.
    async fn close(&mut self) {
        match self {
            Self::Own(stdin) => stdin.close(),
            Self::Shared(container) if container.stdin_once => container.stdin.lock().await.close(),
            Self::Shared(_) => {}
        }
    }

    async fn resize(&self, message: &[u8]) {
        let Ok(size) = serde_json::from_slice::<Value>(message) else { return };
        let side = |name: &str| size[name].as_u64().and_then(|side| u16::try_from(side).ok());
        let (Some(columns), Some(rows)) = (side("Width"), side("Height")) else { return };
        match self {
            Self::Own(stdin) => stdin.resize(columns, rows),
            Self::Shared(container) => container.stdin.lock().await.resize(columns, rows),
        }
    }
}

/// The rest of a short message, up to a limit; what is beyond is skipped by the next frame.
async fn collect(reader: &mut FrameReader<ReadHalf<TlsSocket>>, limit: usize) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = reader.piece().await? {
        let room = limit.saturating_sub(all.len()).min(piece.len());
        all.extend_from_slice(piece.get(..room).unwrap_or_default());
    }
    Ok(all)
}

fn ends(io: Io) -> (Stdin, ProgramOutput, ProgramOutput) {
    fn boxed(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> ProgramOutput {
        pipe.map_or_else(|| Box::new(tokio::io::empty()) as ProgramOutput, |pipe| Box::new(pipe))
    }
    match io {
        Io::Pipes { stdin, stdout, stderr } => (stdin.map_or(Stdin::Closed, Stdin::Pipe), boxed(stdout), boxed(stderr)),
        Io::Terminal { output, input } => (Stdin::Terminal(input), Box::new(output), Box::new(tokio::io::empty())),
    }
}

fn exit_status(code: i32) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

/// The runtime's refusal as it arrives: wrapped once by the kubelet and once by the API server.
fn exec_error(error: &SpawnError) -> StatusError {
    let id = crate::node::container::new_id();
    let inner = StatusError::internal(format!(
        "error executing command in container: failed to exec in container: failed to start exec \"{id}\": OCI runtime \
         exec failed: exec failed: {error}: unknown"
    ));
    StatusError::internal(inner.message())
}
