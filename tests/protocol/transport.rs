//! Messages of the transport (RFC 4253), in every state.

use super::{Row, SERVICE, UNSEEN, compare, row};
use crate::support::minimal_client::text;
use crate::support::raw_client::State::{Channel, Keys, LoggedIn, Login, Running};
use crate::support::raw_client::service;

/// A number that nothing is assigned to.
const UNKNOWN: u8 = 191;

const TRANSPORT: &[Row] = &[
    row("ignore", Keys, |_| vec![[vec![2], text(b"noise")].concat()], "service"),
    row("ignore", Login, |_| vec![[vec![2], text(b"noise")].concat()], ""),
    row("ignore", LoggedIn, |_| vec![[vec![2], text(b"noise")].concat()], ""),
    row("ignore", Running, |_| vec![[vec![2], text(b"noise")].concat()], ""),
    row("debug", Login, |_| vec![[vec![4, 1], text(b"hear"), text(b"")].concat()], ""),
    row("debug", LoggedIn, |_| vec![[vec![4, 1], text(b"hear"), text(b"")].concat()], ""),
    row("unimplemented", Login, |_| vec![vec![3, 0, 0, 0, 3]], ""),
    row("unimplemented", LoggedIn, |_| vec![vec![3, 0, 0, 0, 3]], ""),
    row("unknown message", Keys, |_| vec![vec![UNKNOWN]], "unimplemented, service").but("service", UNSEEN),
    row("unknown message", Login, |_| vec![vec![UNKNOWN]], "unimplemented").but("", UNSEEN),
    row("unknown message", LoggedIn, |_| vec![vec![UNKNOWN]], "unimplemented").but("", UNSEEN),
    row("unknown message", Channel, |_| vec![vec![UNKNOWN]], "unimplemented").but("", UNSEEN),
    row("ping", LoggedIn, |_| vec![[vec![192], text(b"there?")].concat()], "disconnect 2 | pong").but("", UNSEEN),
    row("disconnect", Keys, |_| vec![[&[1, 0, 0, 0, 11][..], &text(b"bye"), &text(b"")].concat()], "hung up"),
    row("disconnect", Login, |_| vec![[&[1, 0, 0, 0, 11][..], &text(b"bye"), &text(b"")].concat()], "hung up"),
    row("disconnect", LoggedIn, |_| vec![[&[1, 0, 0, 0, 11][..], &text(b"bye"), &text(b"")].concat()], "hung up"),
    row("disconnect", Running, |_| vec![[&[1, 0, 0, 0, 11][..], &text(b"bye"), &text(b"")].concat()], "hung up"),
    row("disconnect without a reason", LoggedIn, |_| vec![vec![1]], "hung up"),
    row("no message at all", LoggedIn, |_| vec![vec![]], "hung up").but("", UNSEEN),
    row("new keys that nobody agreed on", LoggedIn, |_| vec![vec![21]], "unimplemented").but("", UNSEEN),
    row(
        "key exchange without its beginning",
        LoggedIn,
        |_| vec![[&[30][..], &text(&[9; 32])].concat()],
        "unimplemented",
    )
    .but("", UNSEEN),
    row("key exchange that is cut short", LoggedIn, |_| vec![vec![20; 9]], "hung up"),
    row("extensions after the login", LoggedIn, |_| vec![vec![7, 0, 0, 0, 0]], "unimplemented").but("", UNSEEN),
    row("service that is unknown", Keys, |_| vec![service("made-up")], "disconnect 2").but("service", SERVICE),
    row("service behind the login", Keys, |_| vec![service("ssh-connection")], "disconnect 2").but("service", SERVICE),
    row("service without a name", Keys, |_| vec![vec![5]], "hung up"),
    row("service a second time", Login, |_| vec![service("ssh-userauth")], "service").but("", SERVICE),
    row("service after the login", LoggedIn, |_| vec![service("ssh-userauth")], "unimplemented").but("", UNSEEN),
    row(
        "service accepted by the client",
        LoggedIn,
        |_| vec![[&[6][..], &text(b"ssh-userauth")].concat()],
        "unimplemented",
    )
    .but("", UNSEEN),
];

#[podgate_test::multi_thread]
async fn messages_of_the_transport_are_answered_as_sshd_does() {
    compare(&[TRANSPORT]).await;
}
