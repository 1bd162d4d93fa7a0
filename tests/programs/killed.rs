//! How soon the end of a program is told that may be its pod's.

use crate::modes::session;
use crate::support::cluster::on_development;
use crate::support::peer::{Peer, answered, to_the_end, until};
use crate::support::{Setup, World};
use serde_json::json;
use std::time::{Duration, Instant};

/// The time that the news of a container's end is waited for where it may be the program's, less what a machine needs.
const WAITED: Duration = Duration::from_millis(1900);

/// The shortest time from the start of a command to the end of its session with that status.
async fn fastest(peer: &Peer, command: &str, status: u32) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let mut channel = peer.session().await;
        let begun = Instant::now();
        channel.exec(false, command).await.expect("a request");
        assert_eq!(to_the_end(&mut channel).await.status, Some(status), "{command}");
        fastest = fastest.min(begun.elapsed());
    }
    fastest
}

#[podgate_test::multi_thread]
async fn exit_status_137_is_waited_for_no_longer_than_any_other() {
    // Without an agent: its link tells the signal.
    let world = Setup::default().plain_exec().start().await;
    let peer = world.peer("alice").await;
    let usual = fastest(&peer, "exit 1", 1).await;
    // The last takes its exit wrapper with it: another program, as slow as the usual, has to prove that the pod lives.
    for (command, programs) in [("kill -9 $$", 1), ("exit 137", 1), ("kill -9 $PPID; kill -9 $$", 2)] {
        let killed = fastest(&peer, command, 137).await;
        assert!(killed < programs * usual + WAITED, "{command}: {killed:?}, others {usual:?}");
    }
}

#[podgate_test::multi_thread]
async fn exit_status_137_of_a_pods_own_program_is_not_waited_for() {
    let world = Setup::config(session(json!({}))).start().await;
    let peer = world.peer("alice").await;
    let usual = fastest(&peer, "exit 1", 1).await;
    let killed = fastest(&peer, "exit 137", 137).await;
    assert!(killed < usual + WAITED, "{killed:?}, others {usual:?}");
}

#[podgate_test::multi_thread]
async fn stream_that_is_lost_of_a_pod_that_lives_is_told_at_once() {
    if !on_development("streams are cut at a word") {
        return;
    }
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let mut channel = peer.session().await;
        channel.exec(true, "echo up; cat").await.expect("a request");
        assert!(answered(&mut channel).await);
        until(&mut channel, "up").await;
        let begun = Instant::now();
        world.cluster.faults().cut_streams();
        let ended = to_the_end(&mut channel).await;
        fastest = fastest.min(begun.elapsed());
        let told = "podgate: the connection to the container was lost\n";
        assert_eq!((ended.stderr.as_str(), ended.status), (told, Some(255)));
    }
    assert!(fastest < WAITED, "{fastest:?}");
}
