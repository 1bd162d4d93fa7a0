//! Channels (RFC 4254 section 5 and 7, OpenSSH's PROTOCOL): how they open, carry data, and end.

use super::{CODES, GONE, NO_CHANNEL, Row, TWICE, UNREADABLE, compare, row};
use crate::support::minimal_client::text;
use crate::support::raw_client::State::{Channel, LoggedIn, Running};
use crate::support::raw_client::{ConnectionInfo, open};

fn to(host: &str, port: u32) -> Vec<u8> {
    let from = [&text(b"127.0.0.1")[..], &1_u32.to_be_bytes()].concat();
    [&text(host.as_bytes())[..], &port.to_be_bytes(), &from].concat()
}

fn data(at: &ConnectionInfo, bytes: &[u8]) -> Vec<u8> {
    at.about(94, &text(bytes))
}

const OPENS: &[Row] = &[
    row("session", LoggedIn, |_| vec![open("session", 7, &[])], "opened"),
    row("session with something behind it", LoggedIn, |_| vec![open("session", 7, &[0])], "hung up"),
    row(
        "two sessions with one number",
        LoggedIn,
        |_| vec![open("session", 7, &[]), open("session", 7, &[])],
        "opened, opened",
    ),
    row(
        "session whose packets have no size",
        LoggedIn,
        |_| vec![[&[90][..], &text(b"session"), &[0; 12]].concat()],
        "opened",
    )
    .but("hung up", "nothing could ever be sent there; russh 0.65.1 ends the connection"),
    row("connection", LoggedIn, |_| vec![open("direct-tcpip", 8, &to("localhost", 1))], "not opened 1"),
    row("connection without its fields", LoggedIn, |_| vec![open("direct-tcpip", 8, &[])], "hung up"),
    row(
        "connection to a socket",
        LoggedIn,
        |_| vec![open("direct-streamlocal@openssh.com", 8, &[&text(b"/x")[..], &text(b""), &[0; 4]].concat())],
        "not opened 2",
    )
    .but("not opened 1", CODES),
    row("tunnel", LoggedIn, |_| vec![open("tun@openssh.com", 8, &[0, 0, 0, 1, 0, 0, 0, 0])], "not opened 2")
        .but("not opened 3, not opened 1", TWICE),
    row(
        "X11 from the client",
        LoggedIn,
        |_| vec![open("x11", 8, &[&text(b"127.0.0.1")[..], &[0, 0, 0, 1]].concat())],
        "not opened 2",
    )
    .but("not opened 1", CODES),
    row(
        "forwarded connection from the client",
        LoggedIn,
        |_| vec![open("forwarded-tcpip", 8, &to("localhost", 1))],
        "not opened 2",
    )
    .but("not opened 1", CODES),
    row(
        "forwarded socket from the client",
        LoggedIn,
        |_| vec![open("forwarded-streamlocal@openssh.com", 8, &[text(b"/x"), text(b"")].concat())],
        "not opened 2",
    )
    .but("not opened 1, not opened 1", TWICE),
    row("agent from the client", LoggedIn, |_| vec![open("auth-agent@openssh.com", 8, &[])], "not opened 2")
        .but("not opened 1, not opened 1", TWICE),
    row("unknown channel", LoggedIn, |_| vec![open("made-up@example.org", 8, b"rest")], "not opened 2")
        .but("not opened 3, not opened 1", TWICE),
    row("channel without its fields", LoggedIn, |_| vec![vec![90]], "hung up"),
    row("channel that was never asked for, opened", LoggedIn, |at| vec![at.about(91, &[0; 12])], "disconnect 2")
        .but("hung up", UNREADABLE),
    row(
        "channel that was never asked for, refused",
        LoggedIn,
        |at| vec![at.about(92, &[&[0; 4][..], &text(b""), &text(b"")].concat())],
        "disconnect 2",
    )
    .but("", NO_CHANNEL),
    row(
        "session confirmed by the client",
        Channel,
        |at| vec![at.about(91, &[0, 0, 0, 9, 0, 0, 9, 9, 0, 0, 9, 9])],
        "disconnect 2",
    ),
    row(
        "session refused by the client",
        Channel,
        |at| vec![at.about(92, &[&[0; 4][..], &text(b""), &text(b"")].concat())],
        "disconnect 2",
    )
    .but("hung up", UNREADABLE),
];

const TRAFFIC: &[Row] = &[
    row(
        "data before a program",
        Channel,
        |at| vec![data(at, b"early"), at.exec("cat"), at.about(96, &[])],
        "success, exit 0, close",
    )
    .closed(),
    row(
        "end of data before a program",
        Channel,
        |at| vec![at.about(96, &[]), at.exec("echo ended")],
        "success, data ended\n, exit 0, close",
    )
    .closed(),
    row(
        "data",
        Running,
        |at| vec![data(at, b"one "), data(at, b"two"), at.about(96, &[])],
        "data one two, exit 0, close",
    )
    .closed(),
    row("no data", Running, |at| vec![data(at, b""), at.about(96, &[])], "exit 0, close").closed(),
    row(
        "data behind its end",
        Running,
        |at| vec![data(at, b"one"), at.about(96, &[]), data(at, b"late")],
        "data one, exit 0, close",
    )
    .closed(),
    row(
        "end of data twice",
        Running,
        |at| vec![data(at, b"one"), at.about(96, &[]), at.about(96, &[])],
        "data one, exit 0, close",
    )
    .closed(),
    row(
        "extended data",
        Running,
        |at| vec![at.about(95, &[&[0, 0, 0, 1][..], &text(b"error")].concat()), at.about(96, &[])],
        "exit 0, close",
    )
    .closed(),
    row(
        "extended data of no kind",
        Running,
        |at| vec![at.about(95, &[&[0, 0, 0, 9][..], &text(b"error")].concat()), at.about(96, &[])],
        "exit 0, close",
    )
    .closed(),
    row("data without its fields", Running, |at| vec![at.about(94, &[])], "hung up"),
    row("data for no channel", LoggedIn, |at| vec![data(at, b"lost")], "disconnect 2").but("", NO_CHANNEL),
    row(
        "extended data for no channel",
        LoggedIn,
        |at| vec![at.about(95, &[&[0, 0, 0, 1][..], &text(b"x")].concat())],
        "disconnect 2",
    )
    .but("", NO_CHANNEL),
    row("end of data for no channel", LoggedIn, |at| vec![at.about(96, &[])], "disconnect 2").but("", NO_CHANNEL),
    row("close of no channel", LoggedIn, |at| vec![at.about(97, &[])], "disconnect 2").but("", NO_CHANNEL),
    row("window of no channel", LoggedIn, |at| vec![at.about(93, &[0, 0, 0, 1])], ""),
    row("window that overflows", Channel, |at| vec![at.about(93, &[0xff; 4])], "hung up")
        .but("", "russh 0.65.1 stops at the largest window"),
    row("window", Channel, |at| vec![at.about(93, &[0, 1, 0, 0])], ""),
    row("window without its size", Channel, |at| vec![at.about(93, &[])], "disconnect 2").but("hung up", UNREADABLE),
    row("close before a program", Channel, |at| vec![at.about(97, &[])], "close"),
    row("close while a program runs", Running, |at| vec![at.about(97, &[])], "exit 0, close")
        .but("close", "russh 0.65.1 answers a close at once; nobody waits for the status")
        .closed(),
    row("close twice", Channel, |at| vec![at.about(97, &[]), at.about(97, &[])], GONE).but("close", NO_CHANNEL),
    row("data on a closed channel", Channel, |at| vec![at.about(97, &[]), data(at, b"late")], GONE)
        .but("close", NO_CHANNEL),
    row("success that nobody waits for", Channel, |at| vec![at.about(99, &[])], ""),
    row("failure that nobody waits for", Channel, |at| vec![at.about(100, &[])], ""),
    row("success of no channel", LoggedIn, |at| vec![at.about(99, &[])], ""),
];

#[podgate_test::multi_thread]
async fn channels_open_and_end_as_on_sshd() {
    compare(&[OPENS, TRAFFIC]).await;
}
