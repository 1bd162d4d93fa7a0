//! What a user of a real cluster sees, beside `kubectl` on the same cluster and, where that is fair, OpenSSH's `sshd` on
//! this machine.

use super::echo::{PROGRAM, Typist};
use super::kubectl::{Forward, Kubectl};
use super::measure::{gateway, median, world};
use super::process::cpu;
use super::server::{Connection, Server};
use super::table::{Bar, Table};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// A session is short: there are so many for each transfer.
const SESSIONS_A_RUN: u32 = 4;
/// Keys typed for each transfer.
const KEYS_A_RUN: u32 = 100;

/// What is measured of one carrier of bytes.
#[derive(Default)]
struct Carrier {
    small: Vec<f64>,
    large: Vec<f64>,
    upload: Vec<f64>,
}

/// All that is measured.
#[derive(Default)]
struct Seen {
    podgate: Carrier,
    exec: Carrier,
    forward: Carrier,
    /// Processor time of the gateway a gigabyte.
    cpu: Carrier,
    login: Vec<f64>,
    running: Vec<f64>,
    session: Vec<f64>,
    exec_session: Vec<f64>,
    key: Vec<f64>,
    exec_key: Vec<f64>,
}

/// Measures in turn, so that what else the machine does falls on all.
pub(crate) async fn all(kubeconfig: PathBuf, runs: u32, mib: u32, table: &mut Table) {
    let world = world().await;
    let gateway = gateway(&world);
    let kubectl = Kubectl::start(&world, kubeconfig).await;
    let bytes = u64::from(mib) * MIB;
    let file = world.folder().join("upload");
    // Read once from memory like every time after: a file of holes is slow for whoever comes first.
    File::create(&file).and_then(|mut file| io::copy(&mut io::repeat(0).take(bytes), &mut file)).expect("a file");
    let forward = kubectl.forward(bytes).await;
    let connection = gateway.connect(world.folder()).await;
    // The first session of a connection waits for the pod.
    connection.nothing().await;
    let mut seen = Seen::default();
    for run in 0..runs {
        logins(&kubectl, &gateway, run, &mut seen).await;
        sessions(&connection, &kubectl, &mut seen).await;
        let rivals = Rivals { kubectl: &kubectl, forward: &forward, pid: world.gateway.pid(), run };
        rivals.transfers(&connection, &file, bytes, &mut seen).await;
        keys(&connection, &kubectl, &mut seen).await;
    }
    rows(&seen, mib, table);
}

/// A whole login, and the time that the cluster takes for a pod of the same kind.
async fn logins(kubectl: &Kubectl, gateway: &Server, run: u32, seen: &mut Seen) {
    for turn in 0..SESSIONS_A_RUN {
        for rival in turns(turn) {
            if rival {
                seen.running.push(ms(kubectl.pod(&format!("shown-{run}-{turn}")).await));
            } else {
                seen.login.push(ms(gateway.login().await));
            }
            // What the node does about the ended pods falls on nobody.
            kubectl.settled().await;
        }
    }
}

async fn sessions(connection: &Connection<'_>, kubectl: &Kubectl, seen: &mut Seen) {
    for turn in 0..SESSIONS_A_RUN {
        for rival in turns(turn) {
            if rival {
                seen.exec_session.push(ms(kubectl.nothing().await));
            } else {
                seen.session.push(ms(connection.nothing().await));
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

/// Whose turn is first and second: whether it is the rival's.
fn turns(turn: u32) -> [bool; 2] {
    let rival = turn % 2 == 1;
    [rival, !rival]
}

/// Who carries bytes beside the gateway.
struct Rivals<'a> {
    kubectl: &'a Kubectl,
    forward: &'a Forward,
    pid: u32,
    run: u32,
}

impl Rivals<'_> {
    async fn transfers(&self, connection: &Connection<'_>, file: &Path, bytes: u64, seen: &mut Seen) {
        let rate = |took: Duration| bytes as f64 / 1e6 / took.as_secs_f64();
        let each = |used: Duration| used.as_secs_f64() * 1e9 / bytes as f64;
        for (size, ours, its, used) in [
            (1 << 10, &mut seen.podgate.small, &mut seen.exec.small, &mut seen.cpu.small),
            (1 << 16, &mut seen.podgate.large, &mut seen.exec.large, &mut seen.cpu.large),
        ] {
            let program = format!("dd if=/dev/zero bs={size} count={} 2>/dev/null", bytes / size);
            for rival in turns(self.run) {
                if rival {
                    its.push(rate(self.kubectl.out(&program).await));
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
            } else {
                let before = cpu(self.pid);
                seen.podgate.upload.push(rate(connection.upload(file).await));
                seen.cpu.upload.push(each(cpu(self.pid) - before));
            }
        }
        seen.forward.large.push(rate(self.forward.out().await));
        seen.forward.upload.push(rate(self.forward.upload().await));
    }
}

fn rows(seen: &Seen, mib: u32, table: &mut Table) {
    let beside = |name: &'static str, of: &[f64]| Some((name, median(of)));
    let Seen { podgate, exec, forward, .. } = seen;
    let login = (median(&seen.login), beside("create to Running", &seen.running));
    table.row("login, pod, `true`, end", "ms", login, Bar::AtMostOverRival(150.0));
    let session = (median(&seen.session), beside("kubectl exec", &seen.exec_session));
    table.row("another session on a connection", "ms", session, Bar::AtMostOfRival(0.5));
    for (what, ours, its) in [
        ("out, written by 1 KiB", &podgate.small, &exec.small),
        ("out, written by 64 KiB", &podgate.large, &exec.large),
        ("in", &podgate.upload, &exec.upload),
    ] {
        let figures = (median(ours), beside("kubectl exec", its));
        table.row(&format!("{mib} MiB {what}"), "MB/s", figures, Bar::AtLeastOfRival(1.0));
    }
    for (what, ours, its) in [("out", &podgate.large, &forward.large), ("in", &podgate.upload, &forward.upload)] {
        let figures = (median(ours), beside("kubectl port-forward", its));
        table.row(&format!("{mib} MiB {what}"), "MB/s", figures, Bar::None);
    }
    for (what, used) in
        [("out by 1 KiB", &seen.cpu.small), ("out by 64 KiB", &seen.cpu.large), ("in", &seen.cpu.upload)]
    {
        table.row(&format!("gateway CPU {what}"), "s/GB", (median(used), None), Bar::AtMost(3.0));
    }
    let key = (median(&seen.key), beside("kubectl exec -it", &seen.exec_key));
    table.row("a key's echo, median", "ms", key, Bar::None);
    let late = (late(&seen.key), Some(("kubectl exec -it", late(&seen.exec_key))));
    table.row("a key's echo, 99 of 100 within", "ms", late, Bar::None);
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What 99 of 100 measurements do not exceed.
fn late(measured: &[f64]) -> f64 {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * 99).div_ceil(100) - 1]
}
