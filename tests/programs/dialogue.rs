//! Requests in orders that OpenSSH's client does not choose.

use crate::support::gateway::SOON;
use crate::support::peer::{answered, to_the_end, until};
use crate::support::{Setup, World};
use russh::Sig;

#[podgate_test::multi_thread]
async fn second_program_on_a_channel_is_refused_and_the_first_goes_on() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "cat; exit 4").await.expect("a request");
    assert!(answered(&mut channel).await);
    channel.exec(true, "echo second").await.expect("a request");
    assert!(!answered(&mut channel).await);
    channel.request_shell(true).await.expect("a request");
    assert!(!answered(&mut channel).await);
    channel.request_subsystem(true, "sftp").await.expect("a request");
    assert!(!answered(&mut channel).await);
    channel.data(&b"first"[..]).await.expect("data");
    channel.eof().await.expect("an end");
    let ended = to_the_end(&mut channel).await;
    assert_eq!((ended.stdout.as_str(), ended.status), ("first", Some(4)));
}

#[podgate_test::multi_thread]
async fn terminal_and_variables_after_the_start_are_refused() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "cat; test -t 0; echo $? \"$LATE\"").await.expect("a request");
    assert!(answered(&mut channel).await);
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.expect("a request");
    assert!(!answered(&mut channel).await);
    channel.set_env(true, "LATE", "yes").await.expect("a request");
    assert!(!answered(&mut channel).await);
    channel.eof().await.expect("an end");
    assert_eq!(to_the_end(&mut channel).await.stdout, "1 \n");
}

#[podgate_test::multi_thread]
async fn program_ends_as_openssh_ends_it() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "exit 9").await.expect("a request");
    assert!(answered(&mut channel).await);
    let ended = to_the_end(&mut channel).await;
    assert_eq!(ended.status, Some(9));
    assert_eq!(ended.order, ["exit-status", "eof", "close"]);
}

#[podgate_test::multi_thread]
async fn signal_without_an_agent_is_said_in_the_log_and_harms_nothing() {
    let world = Setup::default().plain_exec().start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "cat; exit 6").await.expect("a request");
    assert!(answered(&mut channel).await);
    channel.data(&b"ready"[..]).await.expect("data");
    until(&mut channel, "ready").await;
    channel.signal(Sig::TERM).await.expect("a request");
    let line = world
        .gateway
        .wait_for(|line| {
            line["code"] == "SSH_CHANNEL_REQUEST_FAILED"
                && line["details"]["reason"].as_str().is_some_and(|reason| reason.contains("agent"))
        })
        .await;
    assert_eq!(line["details"]["username"], "alice", "{line}");
    channel.eof().await.expect("an end");
    assert_eq!(to_the_end(&mut channel).await.status, Some(6));
}

#[podgate_test::multi_thread]
async fn size_that_came_before_the_start_is_the_programs_size() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.expect("a request");
    assert!(answered(&mut channel).await);
    channel.window_change(101, 33, 0, 0).await.expect("a request");
    // The first size may come after the program's start; no other comes before it.
    let script = "while [ \"$(stty size)\" = '0 0' ]; do sleep 0.05; done; stty size";
    channel.exec(false, script).await.expect("a request");
    let ended = to_the_end(&mut channel).await;
    assert_eq!(ended.stdout, "33 101\r\n", "{ended:?}");
}

#[podgate_test::multi_thread]
async fn resize_reaches_the_running_program() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.request_pty(true, "screen", 80, 24, 0, 0, &[]).await.expect("a request");
    assert!(answered(&mut channel).await);
    // The first size may come after the program's start.
    let script = "stty -echo; trap '[ \"$(stty size)\" = \"50 132\" ] && echo resized && exit 0' WINCH; \
                  echo ready $TERM; while :; do read -r line; done";
    channel.exec(true, script).await.expect("a request");
    assert!(answered(&mut channel).await);
    until(&mut channel, "ready screen").await;
    channel.window_change(132, 50, 0, 0).await.expect("a request");
    until(&mut channel, "resized").await;
    let ended = to_the_end(&mut channel).await;
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

#[podgate_test::multi_thread]
async fn thirty_channels_on_one_connection_share_a_pod() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut channels = Vec::new();
    for number in 0..30 {
        let channel = peer.session().await;
        channel.exec(false, format!("cat; echo {number} $HOSTNAME")).await.expect("a request");
        channels.push(channel);
    }
    let mut hosts = std::collections::BTreeSet::new();
    for (number, channel) in channels.iter_mut().enumerate() {
        channel.eof().await.expect("an end");
        let ended = to_the_end(channel).await;
        let (of, host) = ended.stdout.trim_end().split_once(' ').expect("a number and a host");
        assert_eq!((of, ended.status), (number.to_string().as_str(), Some(0)));
        hosts.insert(host.to_owned());
    }
    assert_eq!(hosts.len(), 1, "{hosts:?}");
}

#[podgate_test::multi_thread]
async fn more_channels_than_can_be_held_are_refused_until_one_closes() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(peer.session().await);
    }
    assert!(peer.handle.channel_open_session().await.is_err());
    world.gateway.wait_for_line("SSH_LIMIT").await;
    open.remove(0).close().await.expect("a close");
    // Each answer gives the closed channel's task time to end.
    let reopened = async {
        loop {
            if let Ok(channel) = peer.handle.channel_open_session().await {
                return channel;
            }
        }
    };
    let mut last = tokio::time::timeout(SOON, reopened).await.expect("a channel that was given back");
    last.exec(true, "exit 7").await.expect("a request");
    assert_eq!(to_the_end(&mut last).await.status, Some(7));
}
