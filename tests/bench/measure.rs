//! What a single client sees and what it costs the gateway: transfers, sessions, logins, a reader that does not read.

use super::process::cpu;
use super::server::{Connection, Server};
use super::sshd::Sshd;
use super::table::{Bar, Table};
use crate::support::world::merge;
use crate::support::{Setup, World, agent};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::sleep;

const MIB: u64 = 1 << 20;
/// The duration for which a stall is observed.
const STALL: Duration = Duration::from_secs(5);
/// The time until all buffers on the way are full.
const FILL: Duration = Duration::from_secs(2);
/// A session is short: there are so many for each transfer.
const SESSIONS_A_RUN: u32 = 4;

/// A world with this `kubernetes.pod`, whose log does not disturb.
pub(crate) async fn world(pod: Value) -> World {
    let mut config = json!({"log": {"level": "info"}});
    merge(&mut config, json!({"kubernetes": {"pod": pod}}));
    Setup::config(config).start().await
}

/// The `kubernetes.pod` of guests without the agent: every program is an exec of its own.
pub(crate) fn without_agent() -> Value {
    json!({"disableAgent": true})
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
    get: Vec<f64>,
    put: Vec<f64>,
    session: Vec<f64>,
    login: Vec<f64>,
}

/// A server with an open connection and what is measured there.
struct Measured<'a> {
    server: &'a Server,
    connection: Connection<'a>,
    /// The process whose processor time counts.
    pid: u32,
    /// The file that SFTP reads, if there is an SFTP server.
    source: Option<PathBuf>,
    seen: Seen,
}

impl<'a> Measured<'a> {
    async fn start(server: &'a Server, pid: u32, source: Option<&Path>, world: &World) -> Self {
        let connection = server.connect(world.folder()).await;
        // The first session of a connection waits for the pod.
        connection.nothing().await;
        Self { server, connection, pid, source: source.map(Path::to_owned), seen: Seen::default() }
    }

    async fn transfers(&mut self, file: &Path, bytes: u64) {
        let (connection, pid, seen) = (&self.connection, self.pid, &mut self.seen);
        let megabytes = bytes as f64 / 1e6;
        let before = cpu(pid);
        let took = connection.out(&format!("head -c {bytes} /dev/zero")).await;
        seen.out.push(megabytes / took.as_secs_f64());
        let between = cpu(pid);
        seen.out_cpu.push((between - before).as_secs_f64() * 1e3 / megabytes);
        let took = connection.upload(file).await;
        seen.upload.push(megabytes / took.as_secs_f64());
        seen.upload_cpu.push((cpu(pid) - between).as_secs_f64() * 1e3 / megabytes);
        if let Some(source) = &self.source {
            let took = connection.sftp(&format!("get {} /dev/null", source.display())).await;
            seen.get.push(megabytes / took.as_secs_f64());
            let took = connection.sftp(&format!("put {} /dev/null", file.display())).await;
            seen.put.push(megabytes / took.as_secs_f64());
        }
    }

    async fn session(&mut self) {
        self.seen.session.push(self.connection.nothing().await.as_secs_f64() * 1e3);
    }

    async fn login(&mut self) {
        self.seen.login.push(self.server.login().await.as_secs_f64() * 1e3);
    }
}

/// Measures in turn, so that what else the machine does falls on all.
pub(crate) async fn all(runs: u32, mib: u32, table: &mut Table) {
    let (world, plain) = (world(agent::in_image()).await, world(without_agent()).await);
    let (ours, by_exec) = (gateway(&world), gateway(&plain));
    let sshd = Sshd::start(&world).await;
    let file = world.folder().join("upload");
    let bytes = u64::from(mib) * MIB;
    File::create(&file).and_then(|file| file.set_len(bytes)).expect("a file");

    let pid = world.gateway.pid();
    let mut servers = vec![
        Measured::start(&ours, pid, Some(&file), &world).await,
        Measured::start(&by_exec, plain.gateway.pid(), None, &plain).await,
    ];
    if let Some(sshd) = &sshd {
        servers.push(Measured::start(&sshd.server, sshd.pid(), Some(&file), &world).await);
    }
    for _ in 0..runs {
        for server in &mut servers {
            server.transfers(&file, bytes).await;
        }
        for _ in 0..SESSIONS_A_RUN {
            for server in &mut servers {
                server.session().await;
            }
        }
        for server in &mut servers {
            server.login().await;
        }
    }
    let stalled = stalled(&servers[0].connection, pid).await;
    let seen: Vec<Seen> = servers.into_iter().map(|server| server.seen).collect();
    rows(&seen, mib, table);
    table.row("gateway CPU at a stalled reader", "% of a core", (stalled, None), Bar::AtMost(5.0));
    table.row("gateway peak memory so far", "MB", (world.gateway.peak_memory() as f64 * 1024.0 / 1e6, None), Bar::None);
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

/// Writes the rows of the gateway, beside itself without the agent and, where it is installed, `sshd`.
fn rows(seen: &[Seen], mib: u32, table: &mut Table) {
    let (gateway, plain, sshd) = (&seen[0], &seen[1], seen.get(2));
    let beside_sshd = |of: fn(&Seen) -> &Vec<f64>| sshd.map(|seen| ("sshd", median(of(seen))));
    for (what, of) in [("out", (|seen| &seen.out) as fn(&Seen) -> &Vec<f64>), ("in", |seen| &seen.upload)] {
        let (name, rate) = (format!("{mib} MiB {what}"), median(of(gateway)));
        table.row(&name, "MB/s", (rate, beside_sshd(of)), Bar::AtLeastOfRival(1.0 / 3.0));
        table.row(&name, "MB/s", (rate, Some(("without agent", median(of(plain))))), Bar::AtLeastOfRival(1.0));
    }
    for (what, of, raw) in [
        ("get", (|seen| &seen.get) as fn(&Seen) -> &Vec<f64>, &gateway.out),
        ("put", |seen| &seen.put, &gateway.upload),
    ] {
        let (name, rate) = (format!("sftp {what} of {mib} MiB"), median(of(gateway)));
        table.row(&name, "MB/s", (rate, Some(("without sftp", median(raw)))), Bar::AtLeastOfRival(0.9));
        table.row(&name, "MB/s", (rate, beside_sshd(of)), Bar::None);
    }
    for (what, of) in [("out", (|seen| &seen.out_cpu) as fn(&Seen) -> &Vec<f64>), ("in", |seen| &seen.upload_cpu)] {
        let figures = (median(of(gateway)), Some(("without agent", median(of(plain)))));
        table.row(&format!("gateway CPU {what}"), "s/GB", figures, Bar::AtMost(2.0));
    }
    let session = "another session on a connection";
    table.row(session, "ms", (median(&gateway.session), beside_sshd(|seen| &seen.session)), Bar::AtMostOverRival(5.0));
    let login = "login, pod, command, end";
    table.row(login, "ms", (median(&gateway.login), beside_sshd(|seen| &seen.login)), Bar::None);
    let beside = Some(("without agent", median(&plain.login)));
    table.row(login, "ms", (median(&gateway.login), beside), Bar::None);
}

/// The middle of what was measured.
pub(crate) fn median(measured: &[f64]) -> f64 {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], sorted[middle]) } else { sorted[middle] }
}
