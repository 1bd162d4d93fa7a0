//! The memory of connections that have not logged in, before and after their first packet.

use super::{closed, greeted};
use crate::support::Setup;
use crate::support::gateway::Gateway;
use futures_util::future::join_all;
use serde_json::json;
use std::net::Ipv4Addr;
use std::process::Command;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const CONNECTIONS: usize = 300;
/// Limit of what one of them may cost on the average, in KiB. An optimized gateway needs less.
const EACH: u64 = 64;

/// The allocator's own report, when the process ends.
#[test]
fn free_memory_goes_back_to_the_system_within_a_second() {
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_podgate"));
    gateway.env("_RJEM_MALLOC_CONF", "stats_print:true").args(["--config", "/there/is/none.yaml"]);
    let said = gateway.output().expect("the gateway");
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("(arenas.dirty_decay_ms: 1000)"), "{said}");
}

/// The resident memory of a gateway, in KiB.
pub(super) fn resident(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("the process's status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// Opens connections, each of which sends some bytes, and has the gateway's first line.
async fn open(gateway: &Gateway, sent: &[u8]) -> Vec<TcpStream> {
    let opened = greeted([Ipv4Addr::LOCALHOST; CONNECTIONS], gateway.address).await;
    let written = opened.into_iter().map(|(mut stream, _)| async move {
        stream.write_all(sent).await.expect("a connection");
        stream
    });
    join_all(written).await
}

#[podgate_test::multi_thread]
async fn connection_that_has_not_logged_in_costs_little_memory() {
    let limits = json!({"ssh": {"maxStartups": 2000, "keyExchangeGraceTime": "60s", "loginGraceTime": "60s"}});
    let world = Setup::config(limits).start().await;
    let gateway = &world.gateway;
    let empty = resident(gateway);
    let silent = open(gateway, b"").await;
    let with_silent = resident(gateway);
    // An identification, and a packet that promises 256 KiB.
    let promising = open(gateway, b"SSH-2.0-x\r\n\x00\x03\xff\xfc\x00abcdefghijklmn").await;
    let mut promising = promising;
    // Nobody waits for such a packet.
    join_all(promising.iter_mut().map(closed)).await;
    let with_promising = resident(gateway).saturating_sub(with_silent);
    let with_silent = with_silent - empty;
    eprintln!("{CONNECTIONS} connections: {with_silent} KiB silent, {with_promising} KiB more with a promise");
    assert!(with_silent < CONNECTIONS as u64 * EACH, "{with_silent} KiB");
    assert!(with_promising < CONNECTIONS as u64 * EACH, "{with_promising} KiB");
    drop(silent);
}
