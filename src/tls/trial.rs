//! A connection to a server, step by step, for `podgate doctor`: its name, TCP, TLS and its certificate. A step that fails is
//! the last one.

use super::certificate::Parsed;
use super::messages::{ConfigBlock, date, explain_handshake};
use crate::types::time_text;
use jiff::Timestamp;
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// The server of a trial.
pub(crate) struct Trial {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `None` for plain HTTP.
    pub(crate) tls: Option<TlsTrial>,
}

/// The TLS of a trial.
pub(crate) struct TlsTrial {
    pub(crate) name: ServerName<'static>,
    pub(crate) config: Arc<ClientConfig>,
    /// The block whose keys the remedies name.
    pub(crate) block: ConfigBlock,
}

/// A part of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrialPart {
    Name,
    Tcp,
    Tls,
}

/// The result of one part.
#[derive(Debug)]
pub(crate) struct TrialStep {
    pub(crate) part: TrialPart,
    pub(crate) took: Duration,
    /// Finding, or failure, in words for the operator.
    pub(crate) result: Result<String, String>,
    /// Days until the first certificate of the chain ends.
    pub(crate) days: Option<i64>,
}

impl Trial {
    /// Connects; each part takes at most `limit`.
    pub(crate) async fn run(&self, limit: Duration) -> Vec<TrialStep> {
        let mut steps = Vec::new();
        // The last step failed, or there is none left.
        let _ = self.connect(limit, &mut steps).await;
        steps
    }

    async fn connect(&self, limit: Duration, steps: &mut Vec<TrialStep>) -> Option<()> {
        let began = Instant::now();
        let addresses = self.resolve(limit).await;
        let shown = addresses.as_ref().map_err(Clone::clone).map(|addresses| {
            let addresses: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
            format!("{} is {}", self.host, addresses.join(", "))
        });
        steps.push(TrialStep { part: TrialPart::Name, took: began.elapsed(), result: shown, days: None });
        let addresses = addresses.ok()?;
        let began = Instant::now();
        let stream = reach(&addresses, limit, TcpStream::connect).await.map_err(|error| error.to_string());
        let shown = stream.as_ref().map_err(Clone::clone).map(|stream| {
            let peer = stream.peer_addr().map_or_else(|_gone| self.host.clone(), |address| address.to_string());
            format!("connected to {peer}")
        });
        steps.push(TrialStep { part: TrialPart::Tcp, took: began.elapsed(), result: shown, days: None });
        let (TlsTrial { name, config, block }, stream) = (self.tls.as_ref()?, stream.ok()?);
        let began = Instant::now();
        let connector = TlsConnector::from(Arc::clone(config));
        let (result, days) = match in_time(limit, connector.connect(name.clone(), stream)).await {
            Ok(stream) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let (text, days) = described(chain, Timestamp::now().as_second());
                (Ok(text), days)
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => (Err(error.to_string()), None),
            Err(error) => (Err(explain_handshake(&error, *block)), None),
        };
        steps.push(TrialStep { part: TrialPart::Tls, took: began.elapsed(), result, days });
        Some(())
    }

    async fn resolve(&self, limit: Duration) -> Result<Vec<SocketAddr>, String> {
        let found = in_time(limit, lookup_host((self.host.as_str(), self.port))).await;
        let found = found.map_err(|error| format!("the name {} cannot be resolved: {error}", self.host))?;
        let found: Vec<SocketAddr> = found.collect();
        if found.is_empty() { Err(format!("the name {} has no address", self.host)) } else { Ok(found) }
    }
}

/// Connects to the first address that answers. Each has its share of `limit`, so that one which is dead hides no other.
async fn reach<T, C: Future<Output = io::Result<T>>>(
    addresses: &[SocketAddr],
    limit: Duration,
    connect: impl Fn(SocketAddr) -> C,
) -> io::Result<T> {
    let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = Err(io::Error::other("the name has no address"));
    for address in addresses {
        last = in_time(share, connect(*address)).await;
        if last.is_ok() {
            break;
        }
    }
    last
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {}", time_text(limit)));
    timeout(limit, work).await.unwrap_or_else(|_elapsed| Err(late()))
}

/// Describes a chain, and counts the days until the first of its certificates ends.
fn described(chain: &[CertificateDer<'_>], now: i64) -> (String, Option<i64>) {
    let parsed: Vec<Parsed> = chain.iter().filter_map(|der| Parsed::read(der).ok()).collect();
    let Some(leaf) = parsed.first() else {
        return ("the server shows no certificate that can be read".to_owned(), None);
    };
    let end = |parsed: &Parsed| parsed.fields().validity().not_after.to_unix_duration();
    // The chain is trusted, so one that has ended is not needed for it.
    let is_used = |end: &Duration| i64::try_from(end.as_secs()).is_ok_and(|end| end > now);
    let first = parsed.iter().map(end).filter(is_used).min().unwrap_or_else(|| end(leaf));
    let days = i64::try_from(first.as_secs()).map_or(i64::MAX, |end| (end - now) / DAY);
    let names = leaf.names();
    let names = if names.is_empty() { leaf.subject() } else { names.join(", ") };
    let until = date(UnixTime::since_unix_epoch(first));
    let text = format!("the certificate for {names} by {} is trusted; it ends in {days} days ({until})", leaf.issuer());
    (text, Some(days))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn end_of_a_chain_is_that_of_its_first_certificate_to_end() {
        let made = |year| {
            let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 11);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        let now = date_time_ymd(2030, 1, 1).unix_timestamp();
        let (text, days) = described(&[made(2040), made(2030)], now);
        assert_eq!(days, Some(10));
        assert!(text.contains("a.example") && text.contains("10 days (2030-01-11"), "{text}");
        let (text, days) = described(&[made(2040), made(2025)], now);
        assert!(days.is_some_and(|days| days > 3000) && text.contains("2040-01-11"), "{text}");
        assert_eq!(described(&[], now).1, None);
    }

    #[tokio::test]
    async fn dead_address_of_a_name_hides_no_other() {
        let addresses = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let connect = |address: SocketAddr| async move {
            if address.port() == 1 { std::future::pending().await } else { Ok(address) }
        };
        let limit = Duration::from_millis(20);
        assert_eq!(reach(&addresses, limit, connect).await.unwrap(), addresses[1]);
        assert_eq!(reach(&addresses[..1], limit, connect).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
