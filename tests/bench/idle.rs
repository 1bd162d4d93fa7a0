//! What a session costs that does nothing: so many clients at once, each with a pod, a shell in it, and nothing to say.

use super::handshakes;
use super::measure::{gateway, world};
use super::process::{cpu, memory};
use super::sshd::Sshd;
use super::table::{Bar, Table};
use russh::client::{self, AuthResult, Handle, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Clients that log in at the same time.
const AT_ONCE: usize = 8;
/// Key exchanges before that, with each server.
const HANDSHAKES: u32 = 200;
/// The time limit for one session.
const PATIENCE: Duration = Duration::from_secs(120);
/// A stream gives its read buffer back after a quiet tick of 15 s at the latest twice.
const QUIET: Duration = Duration::from_secs(35);

/// A client that trusts: host keys are not what is measured.
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// A held session.
struct Session {
    _handle: Handle<Trusting>,
    _channel: Channel<Msg>,
}

/// Holds `count` sessions and reads the gateway's memory before, and while all are quiet.
pub(crate) async fn all(pod: Value, count: u32, table: &mut Table) {
    let world = world(pod).await;
    let pid = world.gateway.pid();
    let key = russh::keys::load_secret_key(&world.key.file, None).expect("the key");
    let (key, port) = (Arc::new(key), world.port());
    // Memory that is allocated once does not count.
    drop(open(port, key.clone()).await);
    gateway(&world).login().await;
    world.wait_for_pods(0).await;
    let shaken = handshakes::a_core(pid, port, HANDSHAKES).await;
    let sshd = match Sshd::start(&world).await {
        Some(sshd) => Some(handshakes::a_core(sshd.pid(), sshd.server.port, HANDSHAKES).await),
        None => None,
    };
    handshakes::row(shaken, sshd, table);
    let before = memory(pid, "VmRSS");
    let used = cpu(pid);
    let held = hold(count as usize, port, &key).await;
    let opening = cpu(pid) - used;
    let busy = memory(pid, "VmRSS");
    let used = cpu(pid);
    sleep(QUIET).await;
    let quiet = memory(pid, "VmRSS");
    let resting = cpu(pid) - used;
    drop(held);

    let each = |bytes: u64| bytes.saturating_sub(before) as f64 / 1e3 / f64::from(count);
    let name = |what: &str| format!("{what} ({count} held)");
    table.row(&name("memory of an idle session"), "kB", (each(quiet), None), Bar::AtMost(80.0));
    table.row("the same right after its login", "kB", (each(busy), None), Bar::None);
    let ms = opening.as_secs_f64() * 1e3 / f64::from(count);
    table.row("gateway CPU of a login with pod and shell", "ms", (ms, None), Bar::None);
    let share = 100.0 * resting.as_secs_f64() / QUIET.as_secs_f64();
    table.row(&name("gateway CPU of all idle sessions"), "% of a core", (share, None), Bar::None);
}

async fn hold(count: usize, port: u16, key: &Arc<PrivateKey>) -> Vec<Session> {
    let mut opening = JoinSet::new();
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        if opening.len() == AT_ONCE {
            held.extend(opening.join_next().await.map(|session| session.expect("a session")));
        }
        opening.spawn(open(port, key.clone()));
    }
    held.extend(opening.join_all().await);
    held
}

/// A login with a shell that has answered.
async fn open(port: u16, key: Arc<PrivateKey>) -> Session {
    timeout(PATIENCE, opened(port, key)).await.expect("a session in time").expect("a session")
}

async fn opened(port: u16, key: Arc<PrivateKey>) -> Result<Session, russh::Error> {
    let mut handle = client::connect(Arc::default(), ("127.0.0.1", port), Trusting).await?;
    let answer = handle.authenticate_publickey("alice", PrivateKeyWithHashAlg::new(key, None)).await?;
    assert!(matches!(answer, AuthResult::Success), "the login is accepted");
    let mut channel = handle.channel_open_session().await?;
    channel.request_shell(true).await?;
    channel.data(b"echo ready\n".as_slice()).await?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Data { .. }) => return Ok(Session { _handle: handle, _channel: channel }),
            Some(ChannelMsg::ExtendedData { .. }) | None => return Err(russh::Error::Disconnect),
            Some(_) => {}
        }
    }
}
