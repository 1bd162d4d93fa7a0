//! PROXY headers byte by byte: who may send one, and what becomes of one that is missing, late, wrong or forged.

use super::{PROXY, VERSION, connect_from, first_line};
use crate::support::gateway::Gateway;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A world whose gateway has one listener.
async fn world(proxy_protocol: &str, ssh: Value) -> World {
    let listener = json!({"address": "127.0.0.1:0", "proxyProtocol": proxy_protocol, "trustedProxies": [PROXY]});
    let mut config = json!({"ssh": {"listen": null, "listeners": [listener]}});
    crate::support::world::merge(&mut config["ssh"], ssh);
    Setup::config(config).start().await
}

/// A header of version 1 for a client of the documentation's network.
fn header(client: u8) -> String {
    format!("PROXY TCP4 203.0.113.{client} 198.51.100.2 4711 22\r\n")
}

/// The same in version 2, with a field that has no meaning here.
fn binary_header(client: u8) -> Vec<u8> {
    let block = [203, 0, 113, client, 198, 51, 100, 2, 0x12, 0x67, 0, 22, 0xee, 0, 2, 1, 2];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11"[..], &block].concat()
}

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";

/// Connects from an address, sends bytes, and returns the connection with the first line of the answer.
async fn exchange(from: &str, gateway: &Gateway, bytes: &[u8]) -> (TcpStream, String) {
    let mut stream = connect_from(from, gateway.address).await;
    stream.write_all(bytes).await.expect("the bytes");
    let line = first_line(&mut stream).await;
    (stream, line)
}

async fn answer(from: &str, gateway: &Gateway, bytes: &[u8]) -> String {
    exchange(from, gateway, bytes).await.1
}

fn is_of(line: &Value, code: &str, client: &str) -> bool {
    let remote = line["details"]["remoteAddr"].as_str().unwrap_or_default();
    line["code"] == code && remote.rsplit_once(':').is_some_and(|(address, _)| address == client)
}

#[podgate_test::multi_thread]
async fn connection_past_the_proxy_is_refused_where_a_header_is_required() {
    let world = world("required", json!({})).await;
    for bytes in [header(1).as_bytes(), &binary_header(1), LOCAL, b"SSH-2.0-x\r\n", b""] {
        let line = answer("127.88.0.2", &world.gateway, bytes).await;
        assert_eq!(line, "Not allowed at this time: only a trusted proxy connects here (trustedProxies)");
    }
    let refused = world.gateway.wait_for(|line| is_of(line, "SSH_CONNECTION_REFUSED", "127.88.0.2")).await;
    assert_eq!(refused["details"]["reason"], "only a trusted proxy connects here (trustedProxies)");
    assert!(!world.gateway.log().contains("203.0.113."), "{}", world.gateway.log());
}

#[podgate_test::multi_thread]
async fn header_of_an_untrusted_address_is_never_believed() {
    for (mode, header) in [("allowed", header(1).into_bytes()), ("allowed", binary_header(1))] {
        let world = world(mode, json!({"perSourcePenalties": "noauth:20m"})).await;
        let (stream, line) = exchange("127.88.0.2", &world.gateway, &header).await;
        assert_eq!(line, VERSION);
        drop(stream);
        world.gateway.wait_for(|line| is_of(line, "SSH_CONNECTED", "127.88.0.2")).await;
        let penalty = world.gateway.wait_for_line("SSH_PENALTY").await;
        assert_eq!(penalty["details"]["remoteAddr"], "127.88.0.2");
        world.gateway.wait_for(|line| is_of(line, "SSH_DISCONNECTED", "127.88.0.2")).await;
        assert!(!world.gateway.log().contains("203.0.113."), "{}", world.gateway.log());
    }
}

#[podgate_test::multi_thread]
async fn proxy_without_a_valid_header_is_refused_with_the_reason_and_nobody_is_penalised() {
    let world = world("required", json!({"proxyHeaderTimeout": "300ms", "perSourcePenalties": "noauth:20m"})).await;
    let missing = "Not allowed at this time: the proxy sent no PROXY header (proxyProtocol: required)";
    let late = "Not allowed at this time: the proxy sent no whole PROXY header in time (proxyHeaderTimeout)";
    let wrong = "Not allowed at this time: the proxy sent a wrong PROXY header: ";
    for (bytes, expected) in [
        (&b"SSH-2.0-x\r\n"[..], missing.to_owned()),
        (b"GET / HTTP/1.1\r\n\r\n", missing.to_owned()),
        (b"", late.to_owned()),
        (b"PROXY TCP4 203.0.113.1 ", late.to_owned()),
        (&binary_header(1)[..20], late.to_owned()),
        (b"PROXY TCP4 203.0.113.999 198.51.100.2 1 2\r\n", format!("{wrong}a line of version 1 that is not valid")),
        (b"\r\n\r\n\0\r\nQUIT\n\x31", format!("{wrong}a version that is unknown")),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff", format!("{wrong}longer than 4096 bytes")),
    ] {
        assert_eq!(answer(PROXY, &world.gateway, bytes).await, expected, "{bytes:?}");
    }
    let penalties = world.gateway.lines("SSH_PENALTY");
    assert!(penalties.is_empty(), "{penalties:?}");
    assert_eq!(answer(PROXY, &world.gateway, header(1).as_bytes()).await, VERSION);
}

#[podgate_test::multi_thread]
async fn header_in_single_bytes_or_with_the_client_s_bytes_tells_the_client() {
    let world = world("required", json!({})).await;
    for (client, header) in [(1, header(1).into_bytes()), (2, binary_header(2))] {
        let mut stream = connect_from(PROXY, world.gateway.address).await;
        stream.set_nodelay(true).expect("a connection");
        for byte in header {
            stream.write_all(&[byte]).await.expect("a byte");
        }
        assert_eq!(first_line(&mut stream).await, VERSION);
        let connected =
            world.gateway.wait_for(|line| is_of(line, "SSH_CONNECTED", &format!("203.0.113.{client}"))).await;
        assert_eq!(connected["details"]["remoteAddr"], format!("203.0.113.{client}:4711"));
        let proxy = stream.local_addr().expect("an address").to_string();
        assert_eq!(connected["details"]["proxyAddr"], proxy);
    }
    // What follows the header in one piece is the client's: its identification line, which the log shows at the end.
    let bytes = [&binary_header(3)[..], b"SSH-2.0-Together\r\n\0\0\0\x01"].concat();
    let (_stream, line) = exchange(PROXY, &world.gateway, &bytes).await;
    assert_eq!(line, VERSION);
    world.gateway.wait_for(|line| is_of(line, "SSH_DISCONNECTED", "203.0.113.3")).await;
}

#[podgate_test::multi_thread]
async fn trusted_address_without_a_header_is_a_client_where_one_is_allowed() {
    let world = world("allowed", json!({"proxyHeaderTimeout": "300ms"})).await;
    // The second waits for the server's line.
    for (count, bytes) in [(1, &b"SSH-2.0-x\r\n"[..]), (2, b"")] {
        assert_eq!(answer(PROXY, &world.gateway, bytes).await, VERSION);
        world.gateway.wait_for_lines(count, |line| is_of(line, "SSH_CONNECTED", PROXY)).await;
    }
    assert_eq!(answer(PROXY, &world.gateway, header(1).as_bytes()).await, VERSION);
    world.gateway.wait_for(|line| is_of(line, "SSH_CONNECTED", "203.0.113.1")).await;
    assert_eq!(answer("127.88.0.2", &world.gateway, b"").await, VERSION, "without a wait");
}

#[podgate_test::multi_thread]
async fn connections_without_a_header_yet_are_bound_by_the_limit_of_all() {
    let limits = json!({"maxStartups": 3, "perSourceMaxStartups": 1, "proxyHeaderTimeout": "1h"});
    let world = world("required", limits).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(connect_from(PROXY, world.gateway.address).await);
    }
    let full = "Not allowed at this time: too many connections are logging in (maxStartups)";
    assert_eq!(answer(PROXY, &world.gateway, b"").await, full);
    // One that is known counts for its client.
    let mut known = silent.pop().expect("a connection");
    known.write_all(header(1).as_bytes()).await.expect("the header");
    assert_eq!(first_line(&mut known).await, VERSION);
    let mut same = silent.pop().expect("a connection");
    same.write_all(header(1).as_bytes()).await.expect("the header");
    let refused = "Not allowed at this time: too many connections from your address are logging in \
                   (perSourceMaxStartups)";
    assert_eq!(first_line(&mut same).await, refused);
    world.gateway.wait_for(|line| is_of(line, "SSH_CONNECTION_REFUSED", "203.0.113.1")).await;
    let mut other = silent.pop().expect("a connection");
    other.write_all(header(2).as_bytes()).await.expect("the header");
    assert_eq!(first_line(&mut other).await, VERSION);
}

#[podgate_test::multi_thread]
async fn penalty_is_the_client_s_and_the_proxy_s_own_connections_have_none() {
    let world = world("required", json!({"perSourcePenalties": "noauth:20m"})).await;
    // Health checks: one that reads the server's line, one that closes at once, one that sends nothing, one of version 1.
    let own = |count| {
        world.gateway.wait_for_lines(count, |line| is_of(line, "SSH_DISCONNECTED", PROXY) && line["level"] == "debug")
    };
    for (count, bytes) in [(1, LOCAL), (2, b"PROXY UNKNOWN\r\n")] {
        assert_eq!(answer(PROXY, &world.gateway, bytes).await, VERSION);
        own(count).await;
    }
    for (count, bytes) in [(3, LOCAL), (4, b""), (5, b"PROXY ")] {
        let mut stream = connect_from(PROXY, world.gateway.address).await;
        stream.write_all(bytes).await.expect("the bytes");
        drop(stream);
        own(count).await;
    }
    let told = world.gateway.lines("SSH_PENALTY").len() + world.gateway.lines("SSH_CONNECTION_REFUSED").len();
    assert_eq!(told, 0, "{}", world.gateway.log());
    assert_eq!(answer(PROXY, &world.gateway, header(1).as_bytes()).await, VERSION);
    let penalty = world.gateway.wait_for_line("SSH_PENALTY").await;
    assert_eq!(penalty["details"]["remoteAddr"], "203.0.113.1");
    let refused = "Not allowed at this time: penalty: no attempt to log in";
    let again = answer(PROXY, &world.gateway, header(1).as_bytes()).await;
    assert!(again.starts_with("Not allowed at this time: penalty: "), "{again:?}, not {refused:?}");
    assert_eq!(answer(PROXY, &world.gateway, header(2).as_bytes()).await, VERSION);
    assert_eq!(answer(PROXY, &world.gateway, LOCAL).await, VERSION);
}

#[podgate_test::multi_thread]
async fn shutdown_does_not_wait_for_a_header() {
    let mut world = world("required", json!({"proxyHeaderTimeout": "1h", "maxStartups": 1})).await;
    let mut silent = connect_from(PROXY, world.gateway.address).await;
    // The refusal of the next one shows that this one was accepted.
    let full = "Not allowed at this time: too many connections are logging in (maxStartups)";
    assert_eq!(answer(PROXY, &world.gateway, b"").await, full);
    world.gateway.signal("TERM");
    assert_eq!(first_line(&mut silent).await, "");
    assert_eq!(world.gateway.ended().await.code(), Some(0));
    let gave_up = world.gateway.lines("SERVICE_STOPPED").iter().any(|line| line["level"] == "warning");
    assert!(!gave_up, "{}", world.gateway.log());
}
