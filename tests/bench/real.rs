//! What a user of a real cluster sees, beside `kubectl` on the same cluster and, where that is fair, OpenSSH's `sshd` on
//! this machine.

use super::echo::{PROGRAM, Typist};
use super::kubectl::{Forward, Kubectl};
use super::measure::{gateway, median, without_agent, world};
use super::process::cpu;
use super::server::{Connection, Server};
use super::sshd::Sshd;
use super::table::{Bar, Table};
use crate::support::agent;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// The file in the container that SFTP reads.
const SOURCE: &str = "/tmp/podgate-bench";
/// A session is short: there are so many for each transfer.
const SESSIONS_A_RUN: u32 = 4;
/// Keys typed for each transfer.
const KEYS_A_RUN: u32 = 100;

/// The measurements of one carrier of bytes.
#[derive(Default)]
struct Carrier {
    small: Vec<f64>,
    large: Vec<f64>,
    upload: Vec<f64>,
}

/// All that is measured. The link's agent is pushed at each login.
#[derive(Default)]
struct Seen {
    podgate: Carrier,
    /// The gateway without the agent.
    plain: Carrier,
    exec: Carrier,
    forward: Carrier,
    /// Processor time of the gateway a gigabyte.
    cpu: Carrier,
    get: Vec<f64>,
    put: Vec<f64>,
    login: Vec<f64>,
    plain_login: Vec<f64>,
    running: Vec<f64>,
    session: Vec<f64>,
    sshd_session: Vec<f64>,
    exec_session: Vec<f64>,
    key: Vec<f64>,
    exec_key: Vec<f64>,
}

/// Measures in turn, so that what else the machine does falls on all.
pub(crate) async fn all(kubeconfig: PathBuf, runs: u32, mib: u32, table: &mut Table) {
    let (world, without) = (world(agent::not_in_image()).await, world(without_agent()).await);
    let (ours, by_exec) = (gateway(&world), gateway(&without));
    let kubectl = Kubectl::start(&world, kubeconfig).await;
    let sshd = Sshd::start(&world).await;
    let bytes = u64::from(mib) * MIB;
    let file = world.folder().join("upload");
    // Read once from memory like every time after: a file of holes is slow for whoever comes first.
    File::create(&file).and_then(|mut file| io::copy(&mut io::repeat(0).take(bytes), &mut file)).expect("a file");
    let forward = kubectl.forward(bytes).await;
    let connection = ours.connect(world.folder()).await;
    let plain = by_exec.connect(without.folder()).await;
    let beside = match &sshd {
        Some(sshd) => Some(sshd.server.connect(world.folder()).await),
        None => None,
    };
    // The first session of a connection waits for the pod. SFTP reads this file.
    connection.out(&format!("truncate -s {bytes} {SOURCE}")).await;
    plain.nothing().await;
    let mut seen = Seen::default();
    for run in 0..runs {
        logins(&kubectl, &ours, &by_exec, run, &mut seen).await;
        sessions(&connection, &kubectl, beside.as_ref(), &mut seen).await;
        let rivals = Rivals { kubectl: &kubectl, forward: &forward, plain: &plain, pid: world.gateway.pid(), run };
        rivals.transfers(&connection, &file, bytes, &mut seen).await;
        keys(&connection, &kubectl, &mut seen).await;
    }
    rows(&seen, mib, table);
}

/// A whole login, with the agent and without it, and the time that the cluster takes for a pod of the same kind.
async fn logins(kubectl: &Kubectl, ours: &Server, by_exec: &Server, run: u32, seen: &mut Seen) {
    for turn in 0..SESSIONS_A_RUN {
        for rival in turns(turn) {
            if rival {
                seen.running.push(ms(kubectl.pod(&format!("shown-{run}-{turn}")).await));
                kubectl.settled().await;
                seen.plain_login.push(ms(by_exec.login().await));
            } else {
                seen.login.push(ms(ours.login().await));
            }
            // The node's work on ended pods must not affect a measurement.
            kubectl.settled().await;
        }
    }
}

async fn sessions(connection: &Connection<'_>, kubectl: &Kubectl, sshd: Option<&Connection<'_>>, seen: &mut Seen) {
    for turn in 0..SESSIONS_A_RUN {
        for rival in turns(turn) {
            if rival {
                seen.exec_session.push(ms(kubectl.nothing().await));
            } else {
                seen.session.push(ms(connection.nothing().await));
            }
            if let Some(sshd) = sshd {
                seen.sshd_session.push(ms(sshd.nothing().await));
            }
        }
    }
}

async fn keys(connection: &Connection<'_>, kubectl: &Kubectl, seen: &mut Seen) {
    let mut ours = Typist::start(&connection.terminal(PROGRAM)).await;
    let mut its = Typist::start(&kubectl.terminal(PROGRAM)).await;
    for turn in 0..KEYS_A_RUN {
        for rival in turns(turn) {
            if rival {
                seen.exec_key.push(ms(its.key().await));
            } else {
                seen.key.push(ms(ours.key().await));
            }
        }
    }
}

/// The order of the two measurements. True means the rival.
fn turns(turn: u32) -> [bool; 2] {
    let rival = turn % 2 == 1;
    [rival, !rival]
}

/// The carriers of bytes that are measured beside the gateway.
struct Rivals<'a> {
    kubectl: &'a Kubectl,
    forward: &'a Forward,
    plain: &'a Connection<'a>,
    pid: u32,
    run: u32,
}

impl Rivals<'_> {
    async fn transfers(&self, connection: &Connection<'_>, file: &Path, bytes: u64, seen: &mut Seen) {
        let rate = |took: Duration| bytes as f64 / 1e6 / took.as_secs_f64();
        let each = |used: Duration| used.as_secs_f64() * 1e9 / bytes as f64;
        for (size, ours, plain, its, used) in [
            (1 << 10, &mut seen.podgate.small, &mut seen.plain.small, &mut seen.exec.small, &mut seen.cpu.small),
            (1 << 16, &mut seen.podgate.large, &mut seen.plain.large, &mut seen.exec.large, &mut seen.cpu.large),
        ] {
            let program = format!("dd if=/dev/zero bs={size} count={} 2>/dev/null", bytes / size);
            for rival in turns(self.run) {
                if rival {
                    its.push(rate(self.kubectl.out(&program).await));
                    plain.push(rate(self.plain.out(&program).await));
                } else {
                    let before = cpu(self.pid);
                    ours.push(rate(connection.out(&program).await));
                    used.push(each(cpu(self.pid) - before));
                }
            }
        }
        for rival in turns(self.run) {
            if rival {
                seen.exec.upload.push(rate(self.kubectl.upload(file).await));
                seen.plain.upload.push(rate(self.plain.upload(file).await));
            } else {
                let before = cpu(self.pid);
                seen.podgate.upload.push(rate(connection.upload(file).await));
                seen.cpu.upload.push(each(cpu(self.pid) - before));
            }
        }
        seen.get.push(rate(connection.sftp(&format!("get {SOURCE} /dev/null")).await));
        seen.put.push(rate(connection.sftp(&format!("put {} /dev/null", file.display())).await));
        seen.forward.large.push(rate(self.forward.out().await));
        seen.forward.upload.push(rate(self.forward.upload().await));
    }
}

fn rows(seen: &Seen, mib: u32, table: &mut Table) {
    let beside = |name: &'static str, of: &[f64]| Some((name, median(of)));
    let login = "login, pod, `true`, end";
    let ours = median(&seen.login);
    table.row(login, "ms", (ours, beside("create to Running", &seen.running)), Bar::AtMostOverRival(100.0));
    table.row(login, "ms", (ours, beside("without agent", &seen.plain_login)), Bar::None);
    let session = "another session on a connection";
    let ours = median(&seen.session);
    table.row(session, "ms", (ours, beside("kubectl exec", &seen.exec_session)), Bar::AtMostOfRival(0.5));
    if !seen.sshd_session.is_empty() {
        table.row(session, "ms", (ours, beside("sshd", &seen.sshd_session)), Bar::AtMostOverRival(5.0));
    }
    rates(seen, mib, table);
    for (what, used) in
        [("out by 1 KiB", &seen.cpu.small), ("out by 64 KiB", &seen.cpu.large), ("in", &seen.cpu.upload)]
    {
        table.row(&format!("gateway CPU {what}"), "s/GB", (median(used), None), Bar::AtMost(2.0));
    }
    let key = (median(&seen.key), beside("kubectl exec -it", &seen.exec_key));
    table.row("a key's echo, median", "ms", key, Bar::AtMostOfRival(1.0));
    let late = (late(&seen.key), Some(("kubectl exec -it", late(&seen.exec_key))));
    table.row("a key's echo, 99 of 100 within", "ms", late, Bar::None);
}

fn rates(seen: &Seen, mib: u32, table: &mut Table) {
    let beside = |name: &'static str, of: &[f64]| Some((name, median(of)));
    let Seen { podgate, plain, exec, forward, .. } = seen;
    for (what, ours, its, plain) in [
        ("out, written by 1 KiB", &podgate.small, &exec.small, &plain.small),
        ("out, written by 64 KiB", &podgate.large, &exec.large, &plain.large),
        ("in", &podgate.upload, &exec.upload, &plain.upload),
    ] {
        let (name, ours) = (format!("{mib} MiB {what}"), median(ours));
        table.row(&name, "MB/s", (ours, beside("kubectl exec", its)), Bar::AtLeastOfRival(1.0));
        table.row(&name, "MB/s", (ours, beside("without agent", plain)), Bar::AtLeastOfRival(1.0));
    }
    for (what, ours, raw) in [("get", &seen.get, &podgate.large), ("put", &seen.put, &podgate.upload)] {
        let figures = (median(ours), beside("without sftp", raw));
        table.row(&format!("sftp {what} of {mib} MiB"), "MB/s", figures, Bar::AtLeastOfRival(0.9));
    }
    for (what, ours, its) in [("out", &podgate.large, &forward.large), ("in", &podgate.upload, &forward.upload)] {
        let figures = (median(ours), beside("kubectl port-forward", its));
        table.row(&format!("{mib} MiB {what}"), "MB/s", figures, Bar::None);
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value that 99 of 100 measurements do not exceed.
fn late(measured: &[f64]) -> f64 {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * 99).div_ceil(100) - 1]
}
