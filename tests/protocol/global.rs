//! Global requests (RFC 4254 section 4 and 7, OpenSSH's PROTOCOL).

use super::{GLOBAL, Row, UNREADABLE, compare, row, servers};
use crate::support::raw::State::{Channel, In, Running};
use crate::support::raw::{global, open, requests_of};
use crate::support::rude::text;

fn listen_on(host: &str, port: u32) -> Vec<u8> {
    [&text(host.as_bytes())[..], &port.to_be_bytes()].concat()
}

const GLOBAL_REQUESTS: &[Row] = &[
    row("unknown request", In, |_| vec![global("made-up@example.org", true, b"rest")], "not done"),
    row("unknown request without an answer", In, |_| vec![global("made-up@example.org", false, &[])], ""),
    row("request that is no text", In, |_| vec![[&[80][..], &text(&[0xff]), &[1]].concat()], "not done")
        .but("hung up", UNREADABLE),
    row("request without its fields", In, |_| vec![vec![80]], "hung up"),
    row("keep-alive", In, |_| vec![global("keepalive@openssh.com", true, &[])], "not done"),
    row("keep-alive", Running, |_| vec![global("keepalive@openssh.com", true, &[])], "not done"),
    row("keep-alive without an answer", In, |_| vec![global("keepalive@openssh.com", false, &[])], ""),
    row("listener", In, |_| vec![global("tcpip-forward", true, &listen_on("localhost", 0))], "not done"),
    row("listener without an answer", In, |_| vec![global("tcpip-forward", false, &listen_on("", 1))], ""),
    row("listener without its fields", In, |_| vec![global("tcpip-forward", true, &[])], "hung up"),
    row("listener's end", In, |_| vec![global("cancel-tcpip-forward", true, &listen_on("x", 1))], "not done"),
    row("listening socket", In, |_| vec![global("streamlocal-forward@openssh.com", true, &text(b"/x"))], "not done"),
    row(
        "listening socket's end",
        In,
        |_| vec![global("cancel-streamlocal-forward@openssh.com", true, &text(b"/x"))],
        "not done",
    ),
    row(
        "proof of a host key that is not the server's",
        In,
        |at| vec![global("hostkeys-prove-00@openssh.com", true, &text(&at.key()))],
        "not done",
    ),
    row("proof of no host key", In, |_| vec![global("hostkeys-prove-00@openssh.com", true, &[])], "done")
        .but("not done", GLOBAL),
    row(
        "proof of the server's host key",
        In,
        |at| vec![global("hostkeys-prove-00@openssh.com", true, &text(at.host_key()))],
        "done",
    )
    .but("not done", GLOBAL),
    row(
        "host keys of the client's",
        In,
        |at| vec![global("hostkeys-00@openssh.com", true, &text(&at.key()))],
        "not done",
    ),
    row("no more sessions", In, |_| vec![global("no-more-sessions@openssh.com", true, &[])], "done")
        .but("not done", GLOBAL),
    row(
        "no more sessions, and one more",
        In,
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
    row("success that nobody waits for", In, |_| vec![vec![81]], ""),
    row("failure that nobody waits for", In, |_| vec![vec![82]], ""),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn global_requests_are_answered_as_sshd_does() {
    compare(&[GLOBAL_REQUESTS]).await;
}

/// What is wanted is sshd's request: this fails on the day on which russh can send one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_keys_are_announced_by_sshd_alone() {
    let Some((_world, _sshd, theirs, ours)) = servers().await else { return };
    assert_eq!(requests_of(&theirs).await, ["hostkeys-00@openssh.com"]);
    assert!(requests_of(&ours).await.is_empty(), "no longer true, and docs/configuration.md says it: {GLOBAL}");
}
