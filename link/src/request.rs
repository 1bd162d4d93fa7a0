//! Requests that open a stream, and the messages on one (PROTOCOL.md, "Requests" and "Messages"): typed on both ends, and
//! bounded by the frame that holds them.
//!
//! A request is a kind and fields; a field is a tag (u8), a length (u32) and bytes. A tag that is not known is passed over, so
//! that a later version can say more; a field that is missing or malformed is an error.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a path, a name or an argument. They need not be UTF-8.
pub type Text = Vec<u8>;

/// Maximum address of a connection's origin, in bytes.
const MAX_ORIGIN: usize = 4096;

/// A request that the gateway opens a stream with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayRequest {
    /// Runs a program; lanes are its standard streams.
    Program(ProgramRequest),
    /// Connects to a TCP address or a Unix socket from inside the guest; the main lane is the connection.
    Dial(Address),
    /// Listens inside the guest; each connection becomes a stream that the agent opens.
    Listen(Listen),
    /// Writes a file, mode 0600; the main lane is its content, and the stream's close has the result.
    WriteFile(Text),
    /// Runs the agent's own SFTP server as a program: lanes, messages and end are a program's.
    Sftp(SftpRequest),
}

/// An SFTP server to run: a process of its own, so that its failure ends neither the link nor another one. It begins
/// where a program without a directory does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SftpRequest {
    /// Variables that replace or join those of the login.
    pub env: Vec<(Text, Text)>,
    /// Time that the process group has between HUP, TERM and KILL when the stream is closed, in milliseconds.
    pub grace_millis: u32,
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramRequest {
    /// Program and arguments; a name without `/` is looked for in `PATH`.
    pub argv: Vec<Text>,
    /// The first argument where it is not the program's path: `-bash` for a login shell.
    pub arg0: Option<Text>,
    /// Variables that replace or join those of the login.
    pub env: Vec<(Text, Text)>,
    /// Working directory; if it is not given or cannot be entered, the agent's own, or where that is the root, the user's home
    /// directory.
    pub directory: Option<Text>,
    /// The terminal, if the client asked for one.
    pub terminal: Option<TerminalRequest>,
    /// Time that the process group has between HUP, TERM and KILL when the stream is closed, in milliseconds.
    pub grace_millis: u32,
}

/// A terminal for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminalRequest {
    /// `TERM`.
    pub term: Text,
    /// The size at the start.
    pub size: Size,
    /// Modes by their opcode (RFC 4254 section 8).
    pub modes: Vec<(u8, u32)>,
}

/// The size of a terminal (RFC 4254 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// In characters.
    pub columns: u32,
    /// In characters.
    pub rows: u32,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// A place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host name or address, and a port.
    Tcp(Text, u16),
    /// The path of a Unix socket.
    Unix(Text),
}

/// A listener inside the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP listener; port 0 lets the system choose. An empty host, `localhost` and `*` mean what RFC 4254 section 7.1 says.
    Tcp(Text, u16),
    /// A Unix socket at this path.
    Unix(Text),
    /// An agent socket in a directory of its own, mode 0600; the reply has its path.
    Agent,
    /// An X11 display on a loopback port from 6010 on.
    X11(X11),
}

/// X11 forwarding (RFC 4254 section 6.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct X11 {
    /// Ends the listener after its first connection.
    pub single: bool,
    /// The authentication protocol's name.
    pub protocol: Text,
    /// The cookie that programs in the guest are given, in binary.
    pub cookie: Text,
    /// The screen's number.
    pub screen: u32,
}

/// A request that the agent opens a stream with: a connection that came to a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The stream of the listener.
    pub listener: u32,
    /// Address and port of the connection's other end; empty and 0 for a Unix socket.
    pub origin: (Text, u16),
}

/// A message on the stream of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramMessage {
    /// Gateway to agent: the terminal's new size.
    Resize(Size),
    /// Gateway to agent: a signal for the process group, by its name without SIG.
    Signal(Text),
    /// Agent to gateway: the program's end by itself.
    ExitStatus(u32),
    /// Agent to gateway: the program's end by a signal, by its name without SIG, and whether it dumped core.
    ExitSignal(Text, bool),
}

/// A request or message that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends too early, or a field has another size than its tag says.
    #[error("malformed")]
    Malformed,
    /// A kind that this version does not have.
    #[error("unknown kind {0}")]
    UnknownKind(u8),
}

mod kind {
    pub(super) const PROGRAM: u8 = 1;
    pub(super) const DIAL: u8 = 2;
    pub(super) const LISTEN: u8 = 3;
    pub(super) const WRITE_FILE: u8 = 4;
    pub(super) const SFTP: u8 = 5;
    pub(super) const INCOMING: u8 = 64;
    pub(super) const RESIZE: u8 = 1;
    pub(super) const SIGNAL: u8 = 2;
    pub(super) const EXIT_STATUS: u8 = 3;
    pub(super) const EXIT_SIGNAL: u8 = 4;
}

mod tag {
    pub(super) const ARGUMENT: u8 = 1;
    pub(super) const ARGUMENT_ZERO: u8 = 2;
    pub(super) const VARIABLE: u8 = 3;
    pub(super) const DIRECTORY: u8 = 4;
    pub(super) const TERM: u8 = 5;
    pub(super) const SIZE: u8 = 6;
    pub(super) const MODE: u8 = 7;
    pub(super) const GRACE: u8 = 8;
    pub(super) const HOST: u8 = 9;
    pub(super) const PORT: u8 = 10;
    pub(super) const PATH: u8 = 11;
    pub(super) const AGENT_SOCKET: u8 = 12;
    pub(super) const X11_PROTOCOL: u8 = 13;
    pub(super) const X11_COOKIE: u8 = 14;
    pub(super) const X11_SCREEN: u8 = 15;
    pub(super) const X11_SINGLE: u8 = 16;
    pub(super) const LISTENER: u8 = 17;
    pub(super) const NAME: u8 = 18;
    pub(super) const NUMBER: u8 = 19;
    pub(super) const CORE: u8 = 20;
}

/// Writes a kind and its fields.
struct Writer(BytesMut);

impl Writer {
    fn new(kind: u8) -> Self {
        Self(BytesMut::from(&[kind][..]))
    }

    fn field(&mut self, tag: u8, value: &[u8]) -> &mut Self {
        self.0.put_u8(tag);
        self.0.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.put_slice(value);
        self
    }

    fn number(&mut self, tag: u8, value: u32) -> &mut Self {
        self.field(tag, &value.to_be_bytes())
    }

    fn variables(&mut self, env: &[(Text, Text)]) -> &mut Self {
        for (name, value) in env {
            self.field(tag::VARIABLE, &[&name[..], b"=", value].concat());
        }
        self
    }

    fn size(&mut self, size: Size) -> &mut Self {
        let numbers = [size.columns, size.rows, size.width, size.height].map(u32::to_be_bytes);
        self.field(tag::SIZE, numbers.as_flattened())
    }

    fn done(&mut self) -> Bytes {
        self.0.split().freeze()
    }
}

/// The fields of a request, in their order.
struct Fields(Vec<(u8, Bytes)>);

impl Fields {
    fn parse(mut bytes: Bytes) -> Result<(u8, Self), MessageError> {
        if bytes.is_empty() {
            return Err(MessageError::Malformed);
        }
        let kind = bytes.get_u8();
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            if bytes.len() < 5 {
                return Err(MessageError::Malformed);
            }
            let tag = bytes.get_u8();
            let length = bytes.get_u32() as usize;
            if length > bytes.len() {
                return Err(MessageError::Malformed);
            }
            fields.push((tag, bytes.split_to(length)));
        }
        Ok((kind, Self(fields)))
    }

    fn all(&self, tag: u8) -> impl Iterator<Item = &Bytes> {
        self.0.iter().filter(move |(other, _)| *other == tag).map(|(_, value)| value)
    }

    fn find(&self, tag: u8) -> Option<&Bytes> {
        self.all(tag).next()
    }

    fn text(&self, tag: u8) -> Result<Text, MessageError> {
        self.find(tag).map(|value| value.to_vec()).ok_or(MessageError::Malformed)
    }

    fn number(&self, tag: u8) -> Result<u32, MessageError> {
        let value = self.find(tag).ok_or(MessageError::Malformed)?;
        (&value[..]).try_into().map(u32::from_be_bytes).map_err(|_| MessageError::Malformed)
    }

    fn port(&self) -> Result<u16, MessageError> {
        u16::try_from(self.number(tag::PORT)?).map_err(|_| MessageError::Malformed)
    }

    /// Variables of an environment; the system takes neither an empty name nor a NUL.
    fn variables(&self) -> Result<Vec<(Text, Text)>, MessageError> {
        let variable = |value: &Bytes| {
            let at = value.iter().position(|byte| *byte == b'=').filter(|at| *at > 0 && !value.contains(&0));
            let at = at.ok_or(MessageError::Malformed)?;
            Ok((value[..at].to_vec(), value[at + 1..].to_vec()))
        };
        self.all(tag::VARIABLE).map(variable).collect()
    }

    fn size(&self) -> Result<Size, MessageError> {
        let value = self.find(tag::SIZE).filter(|value| value.len() == 16).ok_or(MessageError::Malformed)?;
        let mut value = value.clone();
        let (columns, rows) = (value.get_u32(), value.get_u32());
        Ok(Size { columns, rows, width: value.get_u32(), height: value.get_u32() })
    }
}

impl GatewayRequest {
    /// The bytes for [`super::Link::open`].
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Program(program) => program.encode(),
            Self::Dial(Address::Tcp(host, port)) => {
                Writer::new(kind::DIAL).field(tag::HOST, host).number(tag::PORT, u32::from(*port)).done()
            }
            Self::Dial(Address::Unix(path)) => Writer::new(kind::DIAL).field(tag::PATH, path).done(),
            Self::Listen(listen) => listen.encode(),
            Self::WriteFile(path) => Writer::new(kind::WRITE_FILE).field(tag::PATH, path).done(),
            Self::Sftp(sftp) => {
                Writer::new(kind::SFTP).variables(&sftp.env).number(tag::GRACE, sftp.grace_millis).done()
            }
        }
    }

    /// Reads a request of the gateway's.
    ///
    /// # Errors
    /// It is malformed, or of a kind that this version does not have.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let (kind, fields) = Fields::parse(bytes)?;
        match kind {
            kind::PROGRAM => ProgramRequest::decode(&fields).map(Self::Program),
            kind::DIAL if fields.find(tag::PATH).is_some() => Ok(Self::Dial(Address::Unix(fields.text(tag::PATH)?))),
            kind::DIAL => Ok(Self::Dial(Address::Tcp(fields.text(tag::HOST)?, fields.port()?))),
            kind::LISTEN => Listen::decode(&fields).map(Self::Listen),
            kind::WRITE_FILE => fields.text(tag::PATH).map(Self::WriteFile),
            kind::SFTP => {
                let (env, grace_millis) = (fields.variables()?, fields.number(tag::GRACE)?);
                Ok(Self::Sftp(SftpRequest { env, grace_millis }))
            }
            other => Err(MessageError::UnknownKind(other)),
        }
    }
}

impl ProgramRequest {
    fn encode(&self) -> Bytes {
        let mut writer = Writer::new(kind::PROGRAM);
        for argument in &self.argv {
            writer.field(tag::ARGUMENT, argument);
        }
        writer.variables(&self.env);
        for (tag, value) in [(tag::ARGUMENT_ZERO, &self.arg0), (tag::DIRECTORY, &self.directory)] {
            if let Some(value) = value {
                writer.field(tag, value);
            }
        }
        if let Some(terminal) = &self.terminal {
            writer.field(tag::TERM, &terminal.term).size(terminal.size);
            for (opcode, value) in &terminal.modes {
                let [a, b, c, d] = value.to_be_bytes();
                writer.field(tag::MODE, &[*opcode, a, b, c, d]);
            }
        }
        writer.number(tag::GRACE, self.grace_millis).done()
    }

    fn decode(fields: &Fields) -> Result<Self, MessageError> {
        let argv: Vec<Text> = fields.all(tag::ARGUMENT).map(|value| value.to_vec()).collect();
        let mode = |value: &Bytes| match value[..] {
            [opcode, a, b, c, d] => Ok((opcode, u32::from_be_bytes([a, b, c, d]))),
            _ => Err(MessageError::Malformed),
        };
        let terminal = match fields.find(tag::TERM) {
            Some(term) => Some(TerminalRequest {
                term: term.to_vec(),
                size: fields.size()?,
                modes: fields.all(tag::MODE).map(mode).collect::<Result<_, _>>()?,
            }),
            None => None,
        };
        if argv.is_empty() || argv.iter().any(|argument| argument.contains(&0)) {
            return Err(MessageError::Malformed);
        }
        Ok(Self {
            argv,
            arg0: fields.find(tag::ARGUMENT_ZERO).map(|value| value.to_vec()),
            env: fields.variables()?,
            directory: fields.find(tag::DIRECTORY).map(|value| value.to_vec()),
            terminal,
            grace_millis: fields.number(tag::GRACE)?,
        })
    }
}

impl Listen {
    fn encode(&self) -> Bytes {
        let mut writer = Writer::new(kind::LISTEN);
        match self {
            Self::Tcp(host, port) => writer.field(tag::HOST, host).number(tag::PORT, u32::from(*port)),
            Self::Unix(path) => writer.field(tag::PATH, path),
            Self::Agent => writer.field(tag::AGENT_SOCKET, &[]),
            Self::X11(x11) => writer
                .field(tag::X11_PROTOCOL, &x11.protocol)
                .field(tag::X11_COOKIE, &x11.cookie)
                .number(tag::X11_SCREEN, x11.screen)
                .number(tag::X11_SINGLE, u32::from(x11.single)),
        };
        writer.done()
    }

    fn decode(fields: &Fields) -> Result<Self, MessageError> {
        if fields.find(tag::AGENT_SOCKET).is_some() {
            return Ok(Self::Agent);
        }
        if fields.find(tag::X11_COOKIE).is_some() {
            return Ok(Self::X11(X11 {
                single: fields.number(tag::X11_SINGLE)? != 0,
                protocol: fields.text(tag::X11_PROTOCOL)?,
                cookie: fields.text(tag::X11_COOKIE)?,
                screen: fields.number(tag::X11_SCREEN)?,
            }));
        }
        match fields.find(tag::PATH) {
            Some(path) => Ok(Self::Unix(path.to_vec())),
            None => Ok(Self::Tcp(fields.text(tag::HOST)?, fields.port()?)),
        }
    }
}

impl Incoming {
    /// The bytes for [`super::Link::open`].
    pub fn encode(&self) -> Bytes {
        Writer::new(kind::INCOMING)
            .number(tag::LISTENER, self.listener)
            .field(tag::HOST, &self.origin.0)
            .number(tag::PORT, u32::from(self.origin.1))
            .done()
    }

    /// Reads a request of the agent's.
    ///
    /// # Errors
    /// It is malformed, of a kind that this version does not have, or has a longer origin than 4096 bytes.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let (kind, fields) = Fields::parse(bytes)?;
        if kind != kind::INCOMING {
            return Err(MessageError::UnknownKind(kind));
        }
        let origin = (fields.text(tag::HOST)?, fields.port()?);
        if origin.0.len() > MAX_ORIGIN {
            return Err(MessageError::Malformed);
        }
        Ok(Self { listener: fields.number(tag::LISTENER)?, origin })
    }
}

impl ProgramMessage {
    /// The bytes for [`super::Link::send_message`].
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Resize(size) => Writer::new(kind::RESIZE).size(*size).done(),
            Self::Signal(name) => Writer::new(kind::SIGNAL).field(tag::NAME, name).done(),
            Self::ExitStatus(status) => Writer::new(kind::EXIT_STATUS).number(tag::NUMBER, *status).done(),
            Self::ExitSignal(name, core) => {
                Writer::new(kind::EXIT_SIGNAL).field(tag::NAME, name).number(tag::CORE, u32::from(*core)).done()
            }
        }
    }

    /// Reads a message of either end.
    ///
    /// # Errors
    /// It is malformed, or of a kind that this version does not have.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let (kind, fields) = Fields::parse(bytes)?;
        match kind {
            kind::RESIZE => fields.size().map(Self::Resize),
            kind::SIGNAL => fields.text(tag::NAME).map(Self::Signal),
            kind::EXIT_STATUS => fields.number(tag::NUMBER).map(Self::ExitStatus),
            kind::EXIT_SIGNAL => Ok(Self::ExitSignal(fields.text(tag::NAME)?, fields.number(tag::CORE)? != 0)),
            other => Err(MessageError::UnknownKind(other)),
        }
    }
}

#[cfg(test)]
mod tests;
