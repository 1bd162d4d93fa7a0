//! Packets of a client that has not logged in, against the gateway's whole server on loopback, with a fixed host key.
//!
//! A panic that ends a connection is found in the log. The fuzzer ends at a panic anywhere.

use super::AUTHORITY;
use super::client::Client;
use crate::auth::Authenticator;
use crate::config::Config;
use crate::guest::{Arrival, Backend, Guest, Refusal, Unavailable};
use crate::heartbeat::Heartbeats;
use crate::registry::Registry;
use crate::schema::{Files, Format};
use crate::shutdown::Tasks;
use crate::ssh::{Listener, Server, Snapshot, connection_end};
use crate::telemetry::{Level, Log, LogFormat};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use serde_json::json;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The time for what the server must do by itself once the client has said all.
const SOON: Duration = Duration::from_secs(30);
/// `SSH_MSG_DISCONNECT` (RFC 4253 section 11.1) without a reason's text.
const DISCONNECT: &[u8] = &[1, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0];

/// The first byte picks what goes before the rest: nothing; our identification line; or the line and a key exchange, and then
/// the rest is packets, each behind two bytes with its length. The server must close the connection, whatever comes.
pub(crate) fn packets(data: &[u8]) {
    static GATEWAY: LazyLock<FuzzedGateway> = LazyLock::new(FuzzedGateway::start);
    let Some((&stage, rest)) = data.split_first() else { return };
    let mut client = Client::connect(GATEWAY.address);
    match stage % 4 {
        0 => client.send_raw(rest),
        1 => {
            client.send_raw(b"SSH-2.0-fuzz\r\n");
            client.send_raw(rest);
        }
        _ => {
            client.exchange_keys();
            let mut rest = rest;
            while let Some((&[high, low], more)) = rest.split_first_chunk() {
                let (packet, more) = more.split_at(usize::from(u16::from_be_bytes([high, low])).min(more.len()));
                client.send(packet);
                rest = more;
            }
            // The end of the data would be noticed in the middle of a callback, before the packets that wait behind it.
            client.send(DISCONNECT);
        }
    }
    if stage % 4 < 2 {
        client.send_no_more();
    }
    client.read_to_the_end(SOON);
    GATEWAY.check();
}

struct FuzzedGateway {
    address: SocketAddr,
    registry: Registry,
    log: Log,
    has_bug: Arc<AtomicBool>,
    _runtime: Runtime,
}

impl FuzzedGateway {
    fn start() -> Self {
        crate::install();
        let has_bug = Arc::<AtomicBool>::default();
        let sink = BugFinder(has_bug.clone());
        let Ok(log) = Log::to_sink(Level::Debug, LogFormat::Text, sink) else { unreachable!("no log") };
        let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() else {
            unreachable!("no runtime")
        };
        let registry = Registry::default();
        let address = runtime.block_on(async {
            let listener = Listener::on_loopback().await;
            let server = Server::new(vec![listener], snapshot(), registry.clone(), Heartbeats::default(), log.clone());
            let address = server.local_addrs().first().copied();
            tokio::spawn(server.run(Tasks::new()));
            address
        });
        let Some(address) = address else { unreachable!("no address") };
        Self { address, registry, log, has_bug, _runtime: runtime }
    }

    /// Nothing is left of the connection, and no part of the gateway has failed.
    fn check(&self) {
        let until = Instant::now() + SOON;
        while !self.registry.all().is_empty() {
            assert!(Instant::now() < until, "the connection does not end");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(self.log.flush(SOON) && !self.has_bug.load(Ordering::Relaxed), "a part of the gateway failed");
    }
}

fn snapshot() -> Snapshot {
    let config = json!({
        "ssh": {
            "hostkeys": ["hostkey"],
            "trustedUserCAKeys": [AUTHORITY],
            "perSourcePenaltyExemptList": ["127.0.0.0/8"],
        },
        // Nobody answers there.
        "auth": {
            "password": {"method": "webhook", "webhook": {"authTimeout": "200ms", "url": "unix:///nowhere/podgate", "timeout": "100ms"}},
            "publicKey": {"method": "webhook", "webhook": {"authTimeout": "200ms", "url": "unix:///nowhere/podgate", "timeout": "100ms"}},
        },
        "backend": "kubernetes",
    });
    let config = match Config::parse(&config.to_string(), Format::Json, &HostKeyFile) {
        Ok(config) => config,
        Err(errors) => unreachable!("{errors}"),
    };
    let Ok(auth) = Authenticator::new(&config.auth) else { unreachable!("no authenticator") };
    match Snapshot::build(&config, auth, None, Arc::new(NoGuests), None) {
        Ok(snapshot) => snapshot.refusing_at_once(),
        Err(error) => unreachable!("{error}"),
    }
}

struct HostKeyFile;

impl Files for HostKeyFile {
    fn read(&self, _: &Path) -> io::Result<String> {
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
        key.to_openssh(LineEnding::LF).map(|text| text.to_string()).map_err(io::Error::other)
    }
}

struct NoGuests;

impl Backend for NoGuests {
    fn guest(&self, _: Arrival) -> Arc<dyn Guest> {
        Arc::new(Unavailable::new(Refusal::new("no guests")))
    }
}

/// A log that nobody reads but for the words about a panic.
struct BugFinder(Arc<AtomicBool>);

impl Write for BugFinder {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if String::from_utf8_lossy(data).contains(connection_end::FAULT) {
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
