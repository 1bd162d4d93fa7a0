//! The syslog destination: the daemon's socket. A line is one datagram.

use super::SyslogDestination;
use super::sink::LogSink;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

/// Limit of a datagram, in bytes; a longer line is cut. UDP carries 65 507.
const DATAGRAM: usize = 60_000;
/// The time a daemon may take to accept a line before the write fails.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// A sink that connects to the daemon again after each failure.
pub(super) struct SyslogSink {
    destination: SyslogDestination,
    socket: Option<SyslogSocket>,
}

enum SyslogSocket {
    Datagram(UnixDatagram),
    Stream(UnixStream),
    Udp(UdpSocket, SocketAddr),
}

impl SyslogSink {
    pub(super) fn open(destination: SyslogDestination) -> io::Result<Self> {
        let socket = Some(SyslogSocket::open(&destination)?);
        Ok(Self { destination, socket })
    }
}

impl SyslogSocket {
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
                datagram.set_write_timeout(Some(WRITE_TIMEOUT))?;
                Ok(Self::Datagram(datagram))
            }
            // A stream would fail in the same way.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Err(error),
            Err(error) => {
                let stream = UnixStream::connect(path).map_err(|_| error)?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                Ok(Self::Stream(stream))
            }
        }
    }

    /// Opens a UDP socket without connecting it, since UDP does not reliably report a missing listener.
    fn remote(address: &str) -> io::Result<Self> {
        let to = address.to_socket_addrs()?.next().ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
        let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        Ok(Self::Udp(UdpSocket::bind(any)?, to))
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagram(socket) => socket.send(fit_datagram(line)).map(drop),
            Self::Udp(socket, to) => socket.send_to(fit_datagram(line), *to).map(drop),
            Self::Stream(stream) => {
                stream.write_all(line)?;
                stream.write_all(b"\n")
            }
        }
    }
}

/// Cuts a line to the limit of a datagram, between two characters of UTF-8.
fn fit_datagram(line: &[u8]) -> &[u8] {
    let inside_a_character = |at: usize| line.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut end = line.len().min(DATAGRAM);
    while inside_a_character(end) {
        end -= 1;
    }
    &line[..end]
}

impl Write for SyslogSink {
    /// Sends the first line of `data`. After a failure, the whole line is sent again.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => SyslogSocket::open(&self.destination)?,
        };
        socket.send(&data[..end])?;
        self.socket = Some(socket);
        Ok(data.len().min(end + 1))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogSink for SyslogSink {
    fn reopen(&mut self) -> io::Result<()> {
        self.socket = Some(SyslogSocket::open(&self.destination)?);
        Ok(())
    }
}
