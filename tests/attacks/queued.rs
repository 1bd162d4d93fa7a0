//! Users whose programs take nothing have the gateway hold as much of their data as they can. Others are served meanwhile.

use super::memory::resident;
use crate::support::client::PATIENCE;
use crate::support::cluster::container;
use crate::support::flow::MIB;
use crate::support::minimal_client::text;
use crate::support::peer::{Peer, answered, to_the_end};
use crate::support::{Setup, World};
use futures_util::future::join_all;
use russh::Channel;
use russh::client::Msg;
use serde_json::json;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Sessions of each attacking connection: as many as it may have.
const SESSIONS: usize = 64;
/// A piece that an attacker sends at once. A trickle needs a minute for it.
const PIECE: usize = 16 * 1024;
/// The time without a piece after which an attack stands still. A machine that needs longer sends less, which no limit forbids.
const STILL: Duration = Duration::from_secs(1);

/// A world with so many attackers, `mallory-0` and so on, whose pods never get ready.
async fn world(attackers: usize) -> World {
    let mut waiting = container("never");
    waiting["command"] = json!(["/bin/sleep", "600"]);
    let kubernetes = json!({"pod": {"spec": {"initContainers": [waiting]}}, "timeouts": {"podStart": "10m"}});
    let mut setup = Setup::default();
    for number in 0..attackers {
        let name: &str = Box::leak(format!("mallory-{number}").into_boxed_str());
        setup.users.push((name, json!({"kubernetes": kubernetes})));
    }
    setup.start().await
}

/// Opens a connection with [`SESSIONS`] sessions whose programs wait for their pod.
async fn open_sessions(world: &World, user: String) -> (Peer, Vec<Channel<Msg>>) {
    let peer = world.peer(&user).await;
    let sessions = join_all((0..SESSIONS).map(|_| async {
        let mut session = peer.session().await;
        session.exec(true, "cat").await.expect("a request");
        assert!(answered(&mut session).await);
        session
    }));
    let sessions = sessions.await;
    (peer, sessions)
}

/// Connections of attackers, and the count of the bytes that their windows let them send.
struct Attack {
    peers: Vec<Peer>,
    sending: JoinSet<()>,
    sent: watch::Receiver<usize>,
}

impl Attack {
    /// Lets every user open a connection with [`SESSIONS`] sessions, each of which sends all that it may.
    async fn start(world: &World, users: impl IntoIterator<Item = String>) -> Self {
        let opened = join_all(users.into_iter().map(|user| open_sessions(world, user))).await;
        let (counter, sent) = watch::channel(0);
        let (mut peers, mut sending) = (Vec::new(), JoinSet::new());
        for (peer, sessions) in opened {
            for session in sessions {
                let counter = counter.clone();
                let (_, writing) = session.split();
                sending.spawn(async move {
                    while writing.data(&[b'x'; PIECE][..]).await.is_ok() {
                        counter.send_modify(|sent| *sent += PIECE);
                    }
                });
            }
            peers.push(peer);
        }
        Self { peers, sending, sent }
    }

    /// Waits until at least so many bytes are sent and no more can be; how many there are.
    async fn stands_still(&mut self, least: usize) -> usize {
        timeout(PATIENCE, self.sent.wait_for(|sent| *sent >= least)).await.expect("in time").expect("attackers");
        while timeout(STILL, self.sent.changed()).await.is_ok_and(|changed| changed.is_ok()) {}
        *self.sent.borrow()
    }
}

/// Checks that a user is served as ever, in a new connection and in one that was there before.
async fn is_served(world: &World, before: &mut Peer) {
    assert_eq!(world.ssh().run("echo ran").await.expect(0).text(), "ran\n");
    let mut session = before.session().await;
    session.exec(true, "echo ran").await.expect("a request");
    assert_eq!(to_the_end(&mut session).await.stdout, "ran\n");
}

/// Waits until the gateway has given back all but so many KiB of its memory.
pub(super) async fn gives_back(world: &World, kept: u64) {
    let waiting = async {
        // The system shows no event for it.
        while resident(&world.gateway) > kept {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let given = timeout(Duration::from_secs(60), waiting).await;
    assert!(given.is_ok(), "{} KiB, more than {kept}", resident(&world.gateway));
}

/// Has attackers send all they may, and checks what the gateway holds of it, in MiB.
async fn attack(attackers: usize, users: Vec<String>, (least, most): (usize, usize)) {
    let world = world(attackers).await;
    let mut bob = world.peer("bob").await;
    is_served(&world, &mut bob).await;
    let connections = users.len() as u64;
    let before = resident(&world.gateway);
    let mut attack = Attack::start(&world, users).await;
    let sent = attack.stands_still(least * MIB).await;
    let (held, peak) = (resident(&world.gateway) - before, world.gateway.peak_memory() - before);
    eprintln!("{connections} connections sent {} KiB: {held} KiB more, {peak} at the most", sent / 1024);
    is_served(&world, &mut bob).await;
    assert!(sent <= most * MIB, "{sent}");
    // A session of an unoptimized gateway takes up to 100 KiB.
    let sessions = connections * SESSIONS as u64 * 100;
    assert!(peak <= most as u64 * 1024 + 16 * 1024 + sessions, "{peak} KiB");
    assert_eq!(
        world.gateway.lines("SSH_LIMIT"),
        Vec::<serde_json::Value>::new(),
        "who keeps to the windows is not cut off"
    );
    attack.sending.abort_all();
    drop(attack.peers);
    let ended = |line: &serde_json::Value| {
        let user = line["details"]["username"].as_str().unwrap_or_default();
        line["code"] == "SSH_DISCONNECTED" && user.starts_with("mallory")
    };
    world.gateway.wait_for_lines(connections as usize, ended).await;
    is_served(&world, &mut bob).await;
    gives_back(&world, before + 16 * 1024).await;
    let kept = resident(&world.gateway).saturating_sub(before);
    eprintln!("{connections} connections left {kept} KiB");
}

#[podgate_test::multi_thread]
async fn one_identity_on_seven_connections_is_held_to_its_limit_and_others_are_served() {
    attack(1, vec!["mallory-0".to_owned(); 7], (16, 48)).await;
}

#[podgate_test::multi_thread]
async fn ten_identities_are_held_to_the_limit_of_a_connection_each_and_others_are_served() {
    attack(10, (0..10).map(|number| format!("mallory-{number}")).collect(), (40, 85)).await;
}

/// Opens [`SESSIONS`] sessions on one connection, and sends on all of them until the gateway hangs up, whatever the windows.
async fn ignore_windows(world: &World) {
    let (mut writer, mut reader) = world.minimal_client("mallory-0", "cat").await;
    let mut channels = vec![0];
    for number in 1..SESSIONS as u32 {
        let sizes = [number, 2 << 20, 32 << 10].map(u32::to_be_bytes).concat();
        writer.send(&[&[90][..], &text(b"session"), &sizes].concat()).await.expect("a packet");
        let opened = loop {
            let packet = reader.receive().await.expect("a packet");
            // Lines about the pod come meanwhile.
            if packet[0] == 91 {
                break packet;
            }
        };
        let channel = u32::from_be_bytes(opened[5..9].try_into().expect("4 bytes"));
        let exec = [&[98][..], &channel.to_be_bytes(), &text(b"exec"), &[0], &text(b"cat")].concat();
        writer.send(&exec).await.expect("a packet");
        channels.push(channel);
    }
    let hearing = tokio::spawn(reader.until_closed());
    let data = text(&vec![b'x'; 32_000]);
    let sending = async {
        for channel in channels[1..].iter().cycle() {
            if writer.send(&[&[94][..], &channel.to_be_bytes(), &data].concat()).await.is_err() {
                break;
            }
        }
    };
    timeout(PATIENCE, sending).await.expect("the gateway hangs up");
    hearing.await.expect("the end");
}

#[podgate_test::multi_thread]
async fn clients_that_ignore_their_windows_on_all_channels_are_cut_off_in_little_memory() {
    let world = world(1).await;
    let before = resident(&world.gateway);
    join_all((0..7).map(|_| ignore_windows(&world))).await;
    world.gateway.wait_for_lines(7, |line| line["code"] == "SSH_WINDOW_IGNORED").await;
    let peak = world.gateway.peak_memory() - before;
    eprintln!("seven connections that ignored their windows: {peak} KiB at the most");
    assert!(peak <= 48 * 1024 + 16 * 1024 + 7 * SESSIONS as u64 * 100, "{peak} KiB");
    assert_eq!(world.ssh().run("echo ran").await.expect(0).text(), "ran\n");
}

/// The number of entries in a folder of the gateway's in `/proc`. 0 where root alone may look: the gateway is not dumpable
/// (proc(5)).
fn entries(world: &World, folder: &str) -> usize {
    match std::fs::read_dir(format!("/proc/{}/{folder}", world.gateway.pid())) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => 0,
        found => found.expect("the process").count(),
    }
}

/// The gateway's threads by name, without those that the allocator and the runtime start when they want: the runtime's are
/// no more than its limit.
fn own_threads(world: &World) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", world.gateway.pid())).expect("the process");
    // A thread may end meanwhile.
    let name = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
    let is_own = |name: &String| !name.starts_with("jemalloc_bg") && !name.starts_with("tokio-");
    let mut names: Vec<_> = tasks.filter_map(name).filter(is_own).collect();
    names.sort_unstable();
    names
}

/// Opens and ends sessions on connections of their own, ten each, and waits until the gateway is done with them.
async fn open_and_drop(world: &World, connections: usize) {
    let ended = |world: &World| world.gateway.lines("SSH_DISCONNECTED").len();
    let before = ended(world);
    for _ in 0..connections {
        let peer = world.peer("alice").await;
        for number in 0..10 {
            let mut session = peer.session().await;
            session.exec(true, if number % 2 == 0 { "echo ran" } else { "cat" }).await.expect("a request");
            assert!(answered(&mut session).await);
            if number % 2 == 0 {
                assert_eq!(to_the_end(&mut session).await.stdout, "ran\n");
            }
        }
        drop(peer);
    }
    world.gateway.wait_for_lines(before + connections, |line| line["code"] == "SSH_DISCONNECTED").await;
    world.wait_for_pods(0).await;
}

/// Opens and drops sessions after as many as warm everything up, and checks what is left of them, in KiB.
async fn leaves_nothing(connections: usize, most: u64) {
    let world = World::start().await;
    open_and_drop(&world, connections.min(10)).await;
    let (memory, files, threads) = (resident(&world.gateway), entries(&world, "fd"), own_threads(&world));
    open_and_drop(&world, connections).await;
    gives_back(&world, memory + most).await;
    eprintln!("{} sessions left {} KiB", connections * 10, resident(&world.gateway).saturating_sub(memory));
    // A pooled connection to the API server or the webhooks more or less.
    assert!(entries(&world, "fd") <= files + 4, "{} descriptors after {files}", entries(&world, "fd"));
    assert_eq!(own_threads(&world), threads, "threads");
}

#[podgate_test::multi_thread]
async fn sessions_that_are_opened_and_dropped_leave_nothing() {
    leaves_nothing(5, 8 * 1024).await;
}

#[podgate_test::multi_thread]
#[ignore = "takes minutes; .ci/long runs it"]
async fn thousand_sessions_that_are_opened_and_dropped_leave_nothing() {
    leaves_nothing(100, 8 * 1024).await;
}
