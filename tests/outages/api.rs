//! The API server is killed: while much runs, for longer than pods are tried to be removed, and one of two.

use super::{LOST, answers, assert_lost, assert_recovered, mark, person};
use crate::support::client::{PATIENCE, Running};
use crate::support::cluster::on_real;
use crate::support::master::Master;
use crate::support::minimal_client::field;
use crate::support::{Setup, World};
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::time::timeout;

/// The length of each transfer, in bytes.
const WHOLE: usize = 100_000_000;
/// The part of a transfer that is done when the API stops.
const PART: usize = 20_000_000;
/// The length of a packet of data.
const PIECE: usize = 32 << 10;

/// Programs that a cut stream treats differently: one that says nothing, one that always speaks, one that ends well at
/// the end of its input, one that takes no hint, and one that waits for its child. `MARK` is for a process to be known by.
const PROGRAMS: [&str; 5] = [
    "echo up; exec sleep MARK",
    "echo up; while sleep 0.2; do echo more; done; sleep MARK",
    "echo up; cat; exit 0",
    "trap '' HUP TERM INT PIPE; echo up; sleep MARK; exit 0",
    "sleep MARK & echo up; wait; exit 0",
];

/// Twenty programs on twelve connections: ten on their own, two of those at a terminal, and five on each of two masters.
async fn twenty(world: &World, masters: &[Master<'_>; 2], mark: &str) -> Vec<Running> {
    let mut clients = Vec::new();
    for program in PROGRAMS.map(|program| program.replace("MARK", mark)) {
        clients.push(world.ssh().start(&program));
        clients.push(world.ssh_as("bob").start(&program));
        clients.extend(masters.iter().map(|master| master.ssh().start(&program)));
    }
    join_all(clients.iter().map(|client| client.until_stdout("up"))).await;
    clients
}

/// Reads the beginning of a download and no more of it, so that it stands still in its middle.
async fn download(world: &World) -> Child {
    let command = format!("head -c {WHOLE} /dev/zero");
    let mut client = world.ssh().arg("127.0.0.1").arg(command).spawn();
    let stdout = client.stdout.as_mut().expect("a pipe");
    timeout(PATIENCE, stdout.read_exact(&mut vec![0; PART])).await.expect("in time").expect("a beginning");
    client
}

/// Writes the beginning of an upload, all of which has arrived then.
async fn upload(world: &World) -> Child {
    let command = format!("head -c {PART} >/dev/null; echo part; wc -c");
    let mut client = world.ssh().arg("127.0.0.1").arg(command).spawn();
    client.stdin.as_mut().expect("a pipe").write_all(&vec![0; PART]).await.expect("a beginning");
    let mut said = [0; 5];
    let stdout = client.stdout.as_mut().expect("a pipe");
    timeout(PATIENCE, stdout.read_exact(&mut said)).await.expect("in time").expect("the part arrives");
    client
}

/// Goes on with a transfer in both directions to its end, which is no success.
async fn assert_cut(mut client: Child) {
    let stdin = client.stdin.take();
    let upload = async {
        if let Some(mut stdin) = stdin {
            // A client that has been told the end takes no more, and ends once its output is read.
            let _ended = stdin.write_all(&vec![0; WHOLE - PART]).await;
        }
    };
    let both_ways = async { tokio::join!(upload, client.wait_with_output()).1 };
    let output = timeout(PATIENCE, both_ways).await.expect("an end in time").expect("its output");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(255), "{told}");
    assert!(told.contains(LOST), "{told}");
    assert!(output.stdout.len() < WHOLE - PART, "{} more bytes came", output.stdout.len());
}

#[podgate_test::multi_thread]
async fn killed_api_under_twenty_programs_and_two_transfers_is_nobodys_success() {
    let world = Setup::default().alone().start().await;
    let mark = mark();
    let masters = [world.master(&[]).await, world.master(&[]).await];
    let clients = twenty(&world, &masters, &mark).await;
    let mut terminal = person(&world).launch();
    answers(&mut terminal).await;
    let (down, up) = tokio::join!(download(&world), upload(&world));

    world.cluster.api_down().await;
    let ended = join_all(clients.into_iter().map(Running::ended)).await;
    ended.into_iter().for_each(assert_lost);
    assert_lost(terminal.ended().await);
    tokio::join!(assert_cut(down), assert_cut(up));

    world.cluster.api_up().await;
    for master in &masters {
        let done = master.ssh().run("echo again").await.expect(0);
        assert_eq!(done.text(), "again\n", "the connection lives, and so does its pod");
    }
    drop(masters);
    assert_recovered(&world, &mark).await;
}

/// The window that [`World::minimal_client`] opens, in bytes.
const WINDOW: usize = 2 << 20;

/// The program is lost when its client's window is closed to the byte, so that the reason waits for it. The client first
/// sends what it has, as one does that reads nothing before.
#[podgate_test::multi_thread]
async fn program_lost_behind_a_closed_window_takes_its_clients_data_and_is_told() {
    let world = Setup::default().alone().start().await;
    let mark = mark();
    let command = format!("head -c {WINDOW} /dev/zero; exec sleep {mark}");
    let (mut writer, mut reader) = world.minimal_client("alice", &command).await;
    let told = async {
        let mut came = 0;
        while came < WINDOW {
            came += field(&reader.expect(94).await[5..]).0.len();
        }
        world.cluster.api_down().await;
        world.gateway.wait_for_line("SSH_EXIT_CODE_FAILED").await;
        for _ in 0..10 * WINDOW / PIECE {
            writer.data(&[0; PIECE]).await.expect("a packet");
        }
        writer.adjust_window(1000).await.expect("a packet");
        let line = reader.expect(95).await;
        assert_eq!(String::from_utf8_lossy(field(&line[9..]).0), format!("{LOST}\n"));
        let exit = reader.expect(98).await;
        assert_eq!((field(&exit[5..]).0, &exit[exit.len() - 4..]), (&b"exit-status"[..], &[0, 0, 0, 255][..]));
        reader.expect(96).await;
        reader.expect(97).await;
    };
    timeout(PATIENCE, told).await.expect("an end in time");
    world.cluster.api_up().await;
    drop((writer, reader));
    assert_recovered(&world, &mark).await;
}

#[podgate_test::multi_thread]
async fn pods_of_an_outage_longer_than_pod_stop_go_after_it() {
    let stop = json!({"kubernetes": {"timeouts": {"podStop": "1s"}}});
    let world = Setup::config(stop).alone().start().await;
    let mark = mark();
    let client = world.ssh().start(&format!("echo up; sleep {mark}"));
    client.until_stdout("up").await;
    world.cluster.api_down().await;
    assert_lost(client.ended().await);
    let given_up =
        |line: &serde_json::Value| line["code"] == "KUBERNETES_POD_REMOVE_FAILED" && line["level"] == "error";
    world.gateway.wait_for(given_up).await;
    world.cluster.api_up().await;
    // A pod without its connection is spared for 30 s.
    world.gateway.wait_within(PATIENCE, |line| line["code"] == "KUBERNETES_POD_REAPED").await;
    assert_recovered(&world, &mark).await;
}

#[podgate_test::multi_thread]
async fn killed_api_server_takes_its_own_sessions_and_no_others() {
    if !on_real("it has one API server") {
        return;
    }
    let world = Setup::default().alone().start().await;
    let cluster = world.cluster.real();
    cluster.control("start apiserver-2").await;
    let master = world.master(&[]).await;
    let mark = mark();
    let mut clients = Vec::new();
    for _ in 0..9 {
        // One after the other: the balancer gives each connection to the next server.
        let client = master.ssh().start(&format!("echo up; read line; echo got $line; exit 3; : {mark}"));
        client.until_stdout("up").await;
        clients.push(client);
    }
    cluster.control("kill apiserver-2").await;
    world.gateway.wait_for_line("SSH_EXIT_CODE_FAILED").await;
    let mut stayed = 0;
    for mut client in clients {
        client.write("on\n").await;
        let done = client.ended().await;
        match done.status {
            3 => {
                assert!(done.text().ends_with("got on\n") && done.stderr.is_empty(), "{done:?}");
                stayed += 1;
            }
            _ => assert_lost(done),
        }
    }
    assert!((2..8).contains(&stayed), "{stayed} of 9 stayed");
    assert_eq!(master.ssh().run("echo in").await.expect(0).text(), "in\n");
    drop(master);
    assert_recovered(&world, &mark).await;
}
