//! HAProxy itself in front of the gateway, and OpenSSH in front of HAProxy.

use super::PROXY;
use crate::support::client::{Client, Done};
use crate::support::leash;
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, accept_all};
use crate::support::{Setup, World, available};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Child;
use tokio::time::{sleep, timeout};

/// The time limit for haproxy's start.
const START: Duration = Duration::from_secs(60);

/// A running haproxy. Dropping it ends it.
struct Haproxy {
    v4: SocketAddr,
    v6: SocketAddr,
    _process: Child,
    /// These keep the ports free for haproxy, which shares ports: bound and not listening.
    _kept: [TcpSocket; 3],
}

fn keep(address: &str) -> (TcpSocket, SocketAddr) {
    let address: SocketAddr = address.parse().expect("an address");
    let kept = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.expect("a socket");
    kept.set_reuseport(true).expect("a shared port");
    kept.bind(address).expect("a port");
    let address = kept.local_addr().expect("an address");
    (kept, address)
}

/// Returns whether anything answers a request.
async fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.is_ok() && stream.read_u8().await.is_ok()
}

impl Haproxy {
    /// Starts it in front of a world's gateway; `server` are the words of the server's line, `backend` further lines.
    async fn start(world: &World, server: &str, backend: &str) -> Self {
        let ((kept4, v4), (kept6, v6), (kept, ready)) = (keep("127.0.0.1:0"), keep("[::1]:0"), keep("127.0.0.1:0"));
        let gateway = world.gateway.address;
        let config = format!(
            "global\n  maxconn 200\n\
             defaults\n  timeout connect 60s\n  timeout client 600s\n  timeout server 600s\n  timeout check 60s\n\
             frontend ssh\n  mode tcp\n  bind {v4}\n  bind {v6}\n  default_backend gateway\n\
             backend gateway\n  mode tcp\n{backend}  server g {gateway} source {PROXY} {server}\n\
             frontend ready\n  mode http\n  bind {ready}\n"
        );
        let file = world.folder().join("haproxy.cfg");
        std::fs::write(&file, config).expect("the configuration");
        let mut process = leash::program("haproxy");
        process.arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let process = process.spawn().expect("haproxy");
        let listens = async {
            // Only an answer shows that it serves; all of its addresses are bound before.
            while !answers(ready).await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(START, listens).await.expect("haproxy listens");
        world.know(v4.port());
        world.know(v6.port());
        Self { v4, v6, _process: process, _kept: [kept4, kept6, kept] }
    }
}

/// Lets a client of the world go through a proxy, from an address.
async fn run(client: Client, proxy: SocketAddr, from: &str, command: &str) -> Done {
    let client = client.option(&format!("BindAddress={from}")).option(&format!("Port={}", proxy.port()));
    client.option(&format!("HostName={}", proxy.ip())).run(command).await
}

/// A client whose port is not set yet.
fn client(world: &World, user: &str) -> Client {
    world.client_without_port("ssh").option(&format!("User={user}"))
}

async fn world_with(hooks: &ScriptedWebhook, ssh: Value) -> World {
    let listener = json!({"address": "127.0.0.1:0", "proxyProtocol": "required", "trustedProxies": [PROXY]});
    let mut config = hooks.config();
    config["ssh"] = json!({"listen": null, "listeners": [listener]});
    crate::support::world::merge(&mut config["ssh"], ssh);
    Setup::config(config).start().await
}

#[podgate_test::multi_thread]
async fn client_behind_haproxy_is_known_by_its_own_address_everywhere() {
    if !available("haproxy", "haproxy") {
        return;
    }
    for version in ["send-proxy", "send-proxy-v2"] {
        let hooks = ScriptedWebhook::start(accept_all).await;
        let world = world_with(&hooks, json!({})).await;
        let haproxy = Haproxy::start(&world, version, "").await;
        for (number, (proxy, from)) in [(haproxy.v4, "127.88.1.1"), (haproxy.v6, "::1")].into_iter().enumerate() {
            let done = run(client(&world, "alice"), proxy, from, "echo $SSH_CONNECTION").await.expect(0);
            let words: Vec<String> = done.text().split_whitespace().map(str::to_owned).collect();
            let (ip, port) = (proxy.ip().to_string(), proxy.port().to_string());
            assert_eq!([&words[0], &words[2], &words[3]], [from, &ip, &port], "{version}");
            let end: SocketAddr = match from.contains(':') {
                true => format!("[{from}]:{}", words[1]),
                false => format!("{from}:{}", words[1]),
            }
            .parse()
            .expect("an address");
            for path in ["/pubkey", "/config"] {
                let asked = hooks.requests_to(path);
                let asked = asked.last().expect("a request");
                assert_eq!(asked["remoteAddress"], end.to_string(), "{version}: {path}: {asked}");
            }
            let logged_in = |line: &Value| line["code"] == "SSH_AUTH_SUCCESSFUL";
            world.gateway.wait_for_lines(number + 1, logged_in).await;
            let line = world.gateway.lines("SSH_AUTH_SUCCESSFUL").pop().expect("a line");
            assert_eq!(line["details"]["remoteAddr"], end.to_string(), "{version}");
        }
    }
}

#[podgate_test::multi_thread]
async fn penalty_of_one_client_behind_haproxy_concerns_no_other() {
    if !available("haproxy", "haproxy") {
        return;
    }
    let hooks = ScriptedWebhook::start(|asked| match asked.body["username"].as_str() {
        Some("mallory") => Reply::Json(json!({"success": false})),
        _ => accept_all(asked),
    })
    .await;
    let world = world_with(&hooks, json!({"perSourcePenalties": "authfail:20m"})).await;
    let haproxy = Haproxy::start(&world, "send-proxy-v2", "").await;
    let (guesser, other) = ("127.88.1.1", "127.88.1.2");
    run(client(&world, "mallory"), haproxy.v4, guesser, "true").await.expect(255);
    let penalty = world.gateway.wait_for_line("SSH_PENALTY").await;
    assert_eq!(penalty["details"]["remoteAddr"], guesser);
    let refused = run(client(&world, "alice").arg("-v"), haproxy.v4, guesser, "true").await.expect(255);
    let line = "Not allowed at this time: penalty: failed authentication";
    assert!(refused.stderr.contains(line), "{}", refused.stderr);
    let line = world.gateway.wait_for_line("SSH_CONNECTION_REFUSED").await;
    let remote = line["details"]["remoteAddr"].as_str().expect("an address");
    assert!(remote.starts_with("127.88.1.1:"), "{remote}");
    let served = run(client(&world, "alice"), haproxy.v4, other, "echo in").await.expect(0);
    assert_eq!(served.text(), "in\n");
}

#[podgate_test::multi_thread]
async fn health_checks_of_haproxy_succeed_and_have_no_penalty() {
    if !available("haproxy", "haproxy") {
        return;
    }
    let banner = "  option tcp-check\n  tcp-check expect string SSH-2.0\n";
    let header = "  option tcp-check\n  tcp-check connect send-proxy\n  tcp-check expect string SSH-2.0\n";
    for (server, backend) in [
        ("send-proxy check inter 50ms", ""),
        ("send-proxy-v2 check inter 50ms", ""),
        ("send-proxy check check-send-proxy inter 50ms", banner),
        ("send-proxy-v2 check check-send-proxy inter 50ms", banner),
        ("send-proxy-v2 check inter 50ms", header),
    ] {
        let hooks = ScriptedWebhook::start(accept_all).await;
        let world = world_with(&hooks, json!({"perSourcePenalties": "noauth:20m"})).await;
        let haproxy = Haproxy::start(&world, server, backend).await;
        let checked = |line: &Value| {
            let remote = line["details"]["remoteAddr"].as_str().unwrap_or_default();
            line["code"] == "SSH_DISCONNECTED" && remote.starts_with("127.88.0.1:")
        };
        world.gateway.wait_for_lines(5, checked).await;
        let levels: Vec<_> = world.gateway.lines("SSH_DISCONNECTED");
        assert!(levels.iter().filter(|line| checked(line)).all(|line| line["level"] == "debug"), "{levels:?}");
        // A server whose checks fail would get no client.
        let served = run(client(&world, "alice"), haproxy.v4, "127.88.1.1", "echo in").await.expect(0);
        assert_eq!(served.text(), "in\n", "{server}");
        let told = world.gateway.lines("SSH_PENALTY").len() + world.gateway.lines("SSH_CONNECTION_REFUSED").len();
        assert_eq!(told, 0, "{server}: {}", world.gateway.log());
    }
}
