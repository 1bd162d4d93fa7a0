//! The large case: thousands of half-open and dripping connections while others log in.

use super::startups::drip;
use super::{attacker, connect_from};
use crate::support::{Setup, World};
use futures_util::StreamExt;
use futures_util::stream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::time::{interval, timeout};

/// Attacking connections at once; each that ends is opened anew.
const CONNECTIONS: u32 = 5_000;
/// Connections of each attacking address.
const OF_ONE: u32 = 50;
/// Honest logins, five a second.
const LOGINS: usize = 100;
/// The time that every honest login stays below, on a machine with the attackers on it and much else to do.
const LATEST: Duration = Duration::from_secs(30);
/// Resident memory that the attack may cost, in KiB.
const MEMORY: u64 = 128 << 10;

/// Keeps one connection open, silent or dripping, and opens it anew when the gateway has closed it.
async fn attack(world: &World, number: u32, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        let mut stream = connect_from(attacker(number / OF_ONE), world.gateway.address).await;
        let held = async {
            if number.is_multiple_of(2) {
                drip(stream).await;
            } else {
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        };
        let _ = timeout(Duration::from_secs(15), held).await;
        // A refused attacker would otherwise do nothing but connect.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[podgate_test::multi_thread]
#[ignore = "takes a minute and most of a machine; .ci/long runs it"]
async fn flood_of_half_open_connections_delays_no_login() {
    let limits = json!({"ssh": {"perSourceMaxStartups": 2}, "log": {"level": "info"}});
    // A socket for each attacker.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).expect("more files");
    let world = Arc::new(Setup::config(limits).start().await);
    assert!(world.ssh().run("true").await.expect(0).stderr.is_empty());
    let before = world.gateway.peak_memory();
    let stopped = Arc::new(AtomicBool::new(false));
    let attackers: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let (world, stopped) = (world.clone(), stopped.clone());
            tokio::spawn(async move { attack(&world, number, &stopped).await })
        })
        .collect();
    world.gateway.wait_for_line("SSH_CONNECTION_REFUSED").await;
    let mut beat = interval(Duration::from_millis(200));
    let mut logins = Vec::new();
    for _ in 0..LOGINS {
        beat.tick().await;
        let (world, begun) = (world.clone(), Instant::now());
        logins.push(tokio::spawn(async move { (world.ssh().run("true").await.status, begun.elapsed()) }));
    }
    let times: Vec<_> = stream::iter(logins).then(|login| async { login.await.expect("a login") }).collect().await;
    let after = world.gateway.peak_memory();
    stopped.store(true, Ordering::Relaxed);
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    let failed = times.iter().filter(|(status, _)| *status != 0).count();
    let mut times: Vec<Duration> = times.into_iter().map(|(_, time)| time).collect();
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100 - 1];
    eprintln!("{LOGINS} logins beside {CONNECTIONS} connections: p99 {p99:.2?}, {} KiB more", after - before);
    assert_eq!(failed, 0);
    assert!(times.iter().all(|time| *time < LATEST), "{times:?}");
    assert!(after - before < MEMORY, "{before} KiB before, {after} KiB at the most");
}
