//! Global requests (RFC 4254 section 4 and 7, OpenSSH's PROTOCOL).

use super::{GLOBAL, Row, UNREADABLE, compare, row, servers};
use crate::support::minimal_client::text;
use crate::support::raw_client::State::{Channel, LoggedIn, Running};
use crate::support::raw_client::{global, open, requests_of};

fn listen_on(host: &str, port: u32) -> Vec<u8> {
    [&text(host.as_bytes())[..], &port.to_be_bytes()].concat()
}

const GLOBAL_REQUESTS: &[Row] = &[
    row("unknown request", LoggedIn, |_| vec![global("made-up@example.org", true, b"rest")], "not done"),
    row("unknown request without an answer", LoggedIn, |_| vec![global("made-up@example.org", false, &[])], ""),
    row("request that is no text", LoggedIn, |_| vec![[&[80][..], &text(&[0xff]), &[1]].concat()], "not done")
        .but("hung up", UNREADABLE),
    row("request without its fields", LoggedIn, |_| vec![vec![80]], "hung up"),
    row("keep-alive", LoggedIn, |_| vec![global("keepalive@openssh.com", true, &[])], "not done"),
    row("keep-alive", Running, |_| vec![global("keepalive@openssh.com", true, &[])], "not done"),
    row("keep-alive without an answer", LoggedIn, |_| vec![global("keepalive@openssh.com", false, &[])], ""),
    row("listener", LoggedIn, |_| vec![global("tcpip-forward", true, &listen_on("localhost", 0))], "not done"),
    row("listener without an answer", LoggedIn, |_| vec![global("tcpip-forward", false, &listen_on("", 1))], ""),
    row("listener without its fields", LoggedIn, |_| vec![global("tcpip-forward", true, &[])], "hung up"),
    row("listener's end", LoggedIn, |_| vec![global("cancel-tcpip-forward", true, &listen_on("x", 1))], "not done"),
    row(
        "listening socket",
        LoggedIn,
        |_| vec![global("streamlocal-forward@openssh.com", true, &text(b"/x"))],
        "not done",
    ),
    row(
        "listening socket's end",
        LoggedIn,
        |_| vec![global("cancel-streamlocal-forward@openssh.com", true, &text(b"/x"))],
        "not done",
    ),
    row(
        "proof of a host key that is not the server's",
        LoggedIn,
        |at| vec![global("hostkeys-prove-00@openssh.com", true, &text(&at.key()))],
        "not done",
    ),
    row("proof of no host key", LoggedIn, |_| vec![global("hostkeys-prove-00@openssh.com", true, &[])], "done")
        .but("not done", GLOBAL),
    row(
        "proof of the server's host key",
        LoggedIn,
        |at| vec![global("hostkeys-prove-00@openssh.com", true, &text(at.host_key()))],
        "done",
    )
    .but("not done", GLOBAL),
    row(
        "host keys of the client's",
        LoggedIn,
        |at| vec![global("hostkeys-00@openssh.com", true, &text(&at.key()))],
        "not done",
    ),
    row("no more sessions", LoggedIn, |_| vec![global("no-more-sessions@openssh.com", true, &[])], "done")
        .but("not done", GLOBAL),
    row(
        "no more sessions, and one more",
        LoggedIn,
        |_| vec![global("no-more-sessions@openssh.com", false, &[]), open("session", 7, &[])],
        "disconnect 2",
    )
    .but("opened", GLOBAL),
    row(
        "no more sessions, and a program in the first",
        Channel,
        |at| vec![global("no-more-sessions@openssh.com", false, &[]), at.exec("echo on")],
        "success, data on\n, exit 0, close",
    )
    .closed(),
    row("success that nobody waits for", LoggedIn, |_| vec![vec![81]], ""),
    row("failure that nobody waits for", LoggedIn, |_| vec![vec![82]], ""),
];

#[podgate_test::multi_thread]
async fn global_requests_are_answered_as_sshd_does() {
    compare(&[GLOBAL_REQUESTS]).await;
}

/// Expected is sshd's request: this test fails once russh can send one.
#[podgate_test::multi_thread]
async fn host_keys_are_announced_by_sshd_alone() {
    let Some((_world, _sshd, theirs, ours)) = servers().await else { return };
    assert_eq!(requests_of(&theirs).await, ["hostkeys-00@openssh.com"]);
    assert!(requests_of(&ours).await.is_empty(), "no longer true, and docs/configuration.md says it: {GLOBAL}");
}
