//! The syslog destination: what an event is wrapped into, and the socket that takes it. A line is one datagram.
//!
//! Two forms, by where they go. Daemons read their own machine's socket as syslog(3) writes it (a BSD date, no host:
//! journald and rsyslog both show a header of RFC 5424 there as part of the message); over UDP it is RFC 5424.

use super::writer::Sink;
use crate::config::{Level, Syslog, SyslogDestination};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

/// What a datagram holds at most, in bytes; a longer line is cut. UDP carries 65 507.
const DATAGRAM: usize = 60_000;
/// How long the daemon may take to make room for a line, before that counts as a failure.
const PATIENCE: Duration = Duration::from_secs(1);
/// RFC 5424 section 6: the longest MSGID.
const MESSAGE_ID: usize = 32;

/// The part of a line before its message.
#[derive(Debug)]
pub(super) struct Envelope {
    facility: u8,
    tag: String,
    pid: Option<u32>,
    /// The host's name where the form has one.
    host: Option<String>,
}

impl Envelope {
    pub(super) fn new(config: &Syslog) -> Self {
        let host = match config.destination {
            SyslogDestination::Socket(_) => None,
            SyslogDestination::Udp(_) => Some(host()),
        };
        Self { facility: config.facility, tag: config.tag.clone(), pid: config.pid.then(std::process::id), host }
    }

    /// The header of an event that happens now, with the space behind it.
    pub(super) fn head(&self, level: Level, code: &str) -> String {
        let priority = u32::from(self.facility) * 8 + level as u32;
        let (now, tag) = (jiff::Zoned::now(), &self.tag);
        let Some(host) = &self.host else {
            let pid = self.pid.map(|pid| format!("[{pid}]")).unwrap_or_default();
            return format!("<{priority}>{} {tag}{pid}: ", now.strftime("%b %e %H:%M:%S"));
        };
        let pid = self.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let id = &code[..code.floor_char_boundary(MESSAGE_ID)];
        format!("<{priority}>1 {} {host} {tag} {pid} {id} - ", now.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z"))
    }
}

/// The host's name as RFC 5424 wants it: one printable word of at most 255 characters, or `-`.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let word = (1..=255).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic());
    if word { name.to_owned() } else { "-".to_owned() }
}

/// A socket of the daemon's, connected again after each failure.
pub(super) struct SyslogSink {
    destination: SyslogDestination,
    socket: Option<Socket>,
}

enum Socket {
    Datagram(UnixDatagram),
    Stream(UnixStream),
    Udp(UdpSocket, SocketAddr),
}

impl SyslogSink {
    pub(super) fn open(destination: SyslogDestination) -> io::Result<Self> {
        let socket = Some(Socket::open(&destination)?);
        Ok(Self { destination, socket })
    }
}

impl Socket {
    fn open(destination: &SyslogDestination) -> io::Result<Self> {
        match destination {
            SyslogDestination::Socket(path) => Self::local(path),
            SyslogDestination::Udp(address) => Self::remote(address),
        }
    }

    fn local(path: &Path) -> io::Result<Self> {
        let datagram = UnixDatagram::unbound()?;
        match datagram.connect(path) {
            Ok(()) => {
                datagram.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Datagram(datagram))
            }
            // No such file, nobody behind it, or no right to it: a stream would fare no better.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Err(error),
            Err(error) => {
                let stream = UnixStream::connect(path).map_err(|_| error)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Stream(stream))
            }
        }
    }

    /// Not connected: whether anybody listens is nothing that UDP tells reliably.
    fn remote(address: &str) -> io::Result<Self> {
        let to = address.to_socket_addrs()?.next().ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
        let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        Ok(Self::Udp(UdpSocket::bind(any)?, to))
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagram(socket) => socket.send(fitting(line)).map(drop),
            Self::Udp(socket, to) => socket.send_to(fitting(line), *to).map(drop),
            Self::Stream(stream) => {
                stream.write_all(line)?;
                stream.write_all(b"\n")
            }
        }
    }
}

/// What of a line fits into a datagram, cut between two characters of UTF-8.
fn fitting(line: &[u8]) -> &[u8] {
    let inside_a_character = |at: usize| line.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut end = line.len().min(DATAGRAM);
    while inside_a_character(end) {
        end -= 1;
    }
    &line[..end]
}

impl Write for SyslogSink {
    /// Sends the first line of `data`. A line that failed is sent whole again.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => Socket::open(&self.destination)?,
        };
        socket.send(&data[..end])?;
        self.socket = Some(socket);
        Ok(data.len().min(end + 1))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for SyslogSink {
    fn reopen(&mut self) -> io::Result<()> {
        self.socket = Some(Socket::open(&self.destination)?);
        Ok(())
    }
}
