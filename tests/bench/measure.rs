//! What a single client sees and what it costs the gateway: transfers, sessions, logins, a reader that does not read.

use super::process::cpu;
use super::server::{Connection, Server};
use super::sshd::Sshd;
use super::table::{Bar, Table};
use crate::support::{Setup, World};
use serde_json::json;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tokio::time::sleep;

const MIB: u64 = 1 << 20;
/// How long a stall is looked at.
const STALL: Duration = Duration::from_secs(5);
/// How long it takes until everything on the way is full.
const FILL: Duration = Duration::from_secs(2);
/// A session is short: there are so many for each transfer.
const SESSIONS_A_RUN: u32 = 4;

/// A world whose log does not disturb.
pub(crate) async fn world() -> World {
    Setup::config(json!({"log": {"level": "info"}})).start().await
}

/// The gateway of a world.
pub(crate) fn gateway(world: &World) -> Server {
    Server { name: "podgate", user: "alice".into(), port: world.port(), key: world.key.file.clone() }
}

/// Measurements of one server.
#[derive(Default)]
struct Seen {
    out: Vec<f64>,
    out_cpu: Vec<f64>,
    upload: Vec<f64>,
    upload_cpu: Vec<f64>,
    session: Vec<f64>,
    login: Vec<f64>,
}

/// Measures in turn, so that what else the machine does falls on both.
pub(crate) async fn all(runs: u32, mib: u32, table: &mut Table) {
    let world = world().await;
    let gateway = gateway(&world);
    let sshd = Sshd::start(&world).await;
    let file = world.folder().join("upload");
    let bytes = u64::from(mib) * MIB;
    File::create(&file).and_then(|file| file.set_len(bytes)).expect("a file");

    let mut servers = vec![(gateway.connect(world.folder()).await, Seen::default())];
    if let Some(sshd) = &sshd {
        servers.push((sshd.server.connect(world.folder()).await, Seen::default()));
    }
    let pid = world.gateway.pid();
    for (connection, _) in &servers {
        // The first session of a connection waits for the pod.
        connection.nothing().await;
    }
    for _ in 0..runs {
        for (connection, seen) in &mut servers {
            transfer(connection, pid, &file, bytes, seen).await;
        }
        for _ in 0..SESSIONS_A_RUN {
            for (connection, seen) in &mut servers {
                seen.session.push(connection.nothing().await.as_secs_f64() * 1e3);
            }
        }
        seen_logins(&gateway, sshd.as_ref(), &mut servers).await;
    }
    let stalled = stalled(&servers[0].0, pid).await;
    let rival = servers.get(1).map(|(_, seen)| seen);
    rows(&servers[0].1, rival, mib, table);
    table.row("gateway CPU at a stalled reader", "% of a core", (stalled, None), Bar::AtMost(5.0));
    table.row("gateway peak memory so far", "MB", (world.gateway.peak_memory() as f64 * 1024.0 / 1e6, None), Bar::None);
}

async fn transfer(connection: &Connection<'_>, pid: u32, file: &Path, bytes: u64, seen: &mut Seen) {
    let megabytes = bytes as f64 / 1e6;
    let before = cpu(pid);
    let took = connection.out(&format!("head -c {bytes} /dev/zero")).await;
    seen.out.push(megabytes / took.as_secs_f64());
    let between = cpu(pid);
    seen.out_cpu.push((between - before).as_secs_f64() * 1e3 / megabytes);
    let took = connection.upload(file).await;
    seen.upload.push(megabytes / took.as_secs_f64());
    seen.upload_cpu.push((cpu(pid) - between).as_secs_f64() * 1e3 / megabytes);
}

async fn seen_logins(gateway: &Server, sshd: Option<&Sshd>, servers: &mut [(Connection<'_>, Seen)]) {
    let all = [Some(gateway), sshd.map(|sshd| &sshd.server)];
    for (server, (_, seen)) in all.into_iter().flatten().zip(servers) {
        seen.login.push(server.login().await.as_secs_f64() * 1e3);
    }
}

/// The share of a core that the gateway needs while a client wants to send and nobody reads.
async fn stalled(connection: &Connection<'_>, pid: u32) -> f64 {
    let client = connection.stalled();
    sleep(FILL).await;
    let before = cpu(pid);
    sleep(STALL).await;
    let used = cpu(pid) - before;
    drop(client);
    100.0 * used.as_secs_f64() / STALL.as_secs_f64()
}

fn rows(gateway: &Seen, sshd: Option<&Seen>, mib: u32, table: &mut Table) {
    let rival = |of: fn(&Seen) -> &Vec<f64>| sshd.map(|seen| ("sshd", median(of(seen))));
    let out = format!("{mib} MiB out");
    let upload = format!("{mib} MiB in");
    table.row(&out, "MB/s", (median(&gateway.out), rival(|seen| &seen.out)), Bar::AtLeastOfRival(1.0 / 3.0));
    table.row(&upload, "MB/s", (median(&gateway.upload), rival(|seen| &seen.upload)), Bar::AtLeastOfRival(1.0 / 3.0));
    table.row("gateway CPU out", "s/GB", (median(&gateway.out_cpu), None), Bar::AtMost(2.5));
    table.row("gateway CPU in", "s/GB", (median(&gateway.upload_cpu), None), Bar::AtMost(2.5));
    let session = "another session on a connection";
    table.row(session, "ms", (median(&gateway.session), rival(|seen| &seen.session)), Bar::AtMost(30.0));
    let login = "login, pod, command, end";
    table.row(login, "ms", (median(&gateway.login), rival(|seen| &seen.login)), Bar::None);
}

/// The middle of what was measured.
pub(crate) fn median(measured: &[f64]) -> f64 {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], sorted[middle]) } else { sorted[middle] }
}
