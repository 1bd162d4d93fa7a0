//! Names of hosts to addresses, from inside the container: `/etc/hosts`, then the name servers of `/etc/resolv.conf` with
//! their search list (resolv.conf(5)), as the C library does it. A static program cannot load the C library's own modules.
//!
//! Invariants: only an answer to the question that was asked, from the server that was asked, counts; every wait has a
//! deadline; the files are read up to a bound.

use crate::random::random;
use rustix::fs::OFlags;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Largest `/etc/hosts` or `/etc/resolv.conf` that is read, in bytes; more is not looked at.
const MAX_FILE: u64 = 1024 * 1024;
/// Name servers and search domains that are used, as by the C library.
const MAX_SERVERS: usize = 3;
const MAX_SEARCH: usize = 32;
/// Largest answer over UDP that is read, in bytes.
const MAX_DATAGRAM: usize = 4096;
/// Port of name servers.
const DNS: u16 = 53;

/// A name without an address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The name servers say that there is no such name, or it has no address.
    #[error("{0}: no such host")]
    NotFound(String),
    /// No name server answered in time.
    #[error("{0}: the name servers do not answer")]
    NoAnswer(String),
    /// The text cannot be a host's name.
    #[error("{0}: not a host name")]
    NotAName(String),
}

/// The files that say how names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolver {
    hosts: String,
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
    attempts: u32,
}

impl Resolver {
    /// Reads the container's files anew: a long-lived container's can change.
    pub(crate) fn of_container() -> Self {
        Self::new(&text("/etc/hosts"), &text("/etc/resolv.conf"))
    }

    fn new(hosts: &str, configuration: &str) -> Self {
        let mut resolver = Self {
            hosts: hosts.to_owned(),
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in configuration.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver.servers.extend(address.map(|address| SocketAddr::new(address, DNS)));
                }
                Some("search" | "domain") => resolver.search = words.take(MAX_SEARCH).map(str::to_owned).collect(),
                Some("options") => words.for_each(|word| resolver.option(word)),
                _ => {}
            }
        }
        resolver.servers.truncate(MAX_SERVERS);
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS));
        }
        resolver
    }

    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.ndots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// The addresses of a host, those of IPv6 after those of IPv4. Waits for name servers until `deadline` at most, and asks
    /// none any more once it is given up.
    pub(crate) fn resolve(
        &self,
        host: &str,
        deadline: Instant,
        given_up: &AtomicBool,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(found) = self.resolve_locally(host) {
            return found;
        }
        let mut answered = false;
        for name in self.candidates(host) {
            match self.ask(&name, deadline, given_up)? {
                Some(addresses) if !addresses.is_empty() => return Ok(addresses),
                Some(_) => answered = true,
                None => {}
            }
        }
        let host = host.to_owned();
        Err(if answered { ResolveError::NotFound(host) } else { ResolveError::NoAnswer(host) })
    }

    /// The addresses of a host for which no name server is asked; `None` where one has to be.
    pub(crate) fn resolve_locally(&self, host: &str) -> Option<Result<Vec<IpAddr>, ResolveError>> {
        if let Ok(address) = host.parse() {
            return Some(Ok(vec![address]));
        }
        // A gateway judges such a text as an address, so that no name may be in it. In brackets an address is none, as for
        // sshd.
        if host.contains([':', '%', '\\', '[', ']']) {
            return Some(Err(ResolveError::NotFound(host.to_owned())));
        }
        let found = self.in_hosts(host);
        if !found.is_empty() {
            return Some(Ok(found));
        }
        let is_local = host.trim_end_matches('.').eq_ignore_ascii_case("localhost");
        is_local.then(|| Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]))
    }

    fn in_hosts(&self, host: &str) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for line in self.hosts.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
            if let Some(address) = address
                && words.any(|name| name.eq_ignore_ascii_case(host))
            {
                found.push(address);
            }
        }
        found.sort_by_key(IpAddr::is_ipv6);
        found
    }

    /// The names that are asked for, in their order: a name with enough dots is tried as it is first.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut names: Vec<String> = self.search.iter().map(|domain| format!("{host}.{domain}")).collect();
        let first = if host.matches('.').count() >= self.ndots { 0 } else { names.len() };
        names.insert(first, host.to_owned());
        names
    }

    /// The addresses of exactly this name; `None` where nobody answered.
    fn ask(&self, name: &str, deadline: Instant, given_up: &AtomicBool) -> Result<Option<Vec<IpAddr>>, ResolveError> {
        let ipv4 = self.ask_for(name, TYPE::A, deadline, given_up)?;
        let ipv6 = self.ask_for(name, TYPE::AAAA, deadline, given_up)?;
        Ok(match (ipv4, ipv6) {
            (None, None) => None,
            (ipv4, ipv6) => Some(ipv4.into_iter().chain(ipv6).flatten().collect()),
        })
    }

    fn ask_for(
        &self,
        name: &str,
        kind: TYPE,
        deadline: Instant,
        given_up: &AtomicBool,
    ) -> Result<Option<Vec<IpAddr>>, ResolveError> {
        for _ in 0..self.attempts {
            for server in &self.servers {
                if Instant::now() >= deadline || given_up.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let until = deadline.min(Instant::now() + self.timeout);
                // Random: somebody who does not see the question cannot answer it.
                let id = random().map(u16::from_be_bytes).unwrap_or_default();
                let question = question(id, name, kind)?;
                let answer = over_udp(*server, &question, id, kind, until);
                let answer = match answer {
                    Ok(Answer::Truncated) => over_tcp(*server, &question, id, kind, until),
                    other => other,
                };
                match answer {
                    Ok(Answer::Addresses(addresses)) => return Ok(Some(addresses)),
                    // The next server may know, or be there.
                    Ok(Answer::Truncated | Answer::Failed) | Err(_) => {}
                }
            }
        }
        Ok(None)
    }
}

/// The answer of a name server.
enum Answer {
    /// The addresses; none where there is no such name, or it has none of the kind.
    Addresses(Vec<IpAddr>),
    /// The answer does not fit into a datagram.
    Truncated,
    /// The server cannot tell.
    Failed,
}

fn text(path: &str) -> String {
    let mut text = Vec::new();
    // A pipe in the file's place holds nobody up.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let read = opened.and_then(|file| file.take(MAX_FILE).read_to_end(&mut text));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn question(id: u16, name: &str, kind: TYPE) -> Result<Vec<u8>, ResolveError> {
    let not_a_name = || ResolveError::NotAName(name.to_owned());
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(|_| not_a_name())?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().map_err(|_| not_a_name())
}

fn over_udp(server: SocketAddr, question: &[u8], id: u16, kind: TYPE, until: Instant) -> io::Result<Answer> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // Connected: datagrams of others are not read.
    socket.connect(server)?;
    socket.send(question)?;
    let mut datagram = [0; MAX_DATAGRAM];
    loop {
        socket.set_read_timeout(Some(left(until)?))?;
        let length = socket.recv(&mut datagram)?;
        if let Some(answer) = read_answer(&datagram[..length], question, id, kind) {
            return Ok(answer);
        }
    }
}

fn over_tcp(server: SocketAddr, question: &[u8], id: u16, kind: TYPE, until: Instant) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, left(until)?)?;
    stream.set_write_timeout(Some(left(until)?))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    stream.set_read_timeout(Some(left(until)?))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    read_answer(&answer, question, id, kind).ok_or_else(|| io::Error::other("not an answer to the question"))
}

/// The time that is left.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The answer to the question; `None` for anything else.
fn read_answer(bytes: &[u8], question: &[u8], id: u16, kind: TYPE) -> Option<Answer> {
    let packet = Packet::parse(bytes).ok()?;
    let asked = Packet::parse(question).ok()?;
    let same = |a: &Question<'_>, b: &Question<'_>| {
        a.qtype == b.qtype && a.qname.to_string().eq_ignore_ascii_case(&b.qname.to_string())
    };
    let is_answer = packet.id() == id && packet.has_flags(PacketFlag::RESPONSE);
    let [theirs] = &packet.questions[..] else { return None };
    if !is_answer || !asked.questions.first().is_some_and(|ours| same(ours, theirs)) {
        return None;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Some(Answer::Truncated);
    }
    if !matches!(packet.rcode(), RCODE::NoError | RCODE::NameError) {
        return Some(Answer::Failed);
    }
    // Aliases are followed by the server: the addresses stand beside them.
    let addresses = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(address) if kind == TYPE::A => Some(IpAddr::from(Ipv4Addr::from(address.address))),
        RData::AAAA(address) if kind == TYPE::AAAA => Some(IpAddr::from(Ipv6Addr::from(address.address))),
        _ => None,
    });
    Some(Answer::Addresses(addresses.collect()))
}

#[cfg(test)]
mod tests;
