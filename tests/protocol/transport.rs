//! Messages of the transport (RFC 4253), in every state.

use super::{Row, SERVICE, UNSEEN, compare, row};
use crate::support::raw::State::{Channel, In, Keys, Login, Running};
use crate::support::raw::service;
use crate::support::rude::text;

/// A number that nothing is assigned to.
const UNKNOWN: u8 = 191;

const TRANSPORT: &[Row] = &[
    row("ignore", Keys, |_| vec![[vec![2], text(b"noise")].concat()], "service"),
    row("ignore", Login, |_| vec![[vec![2], text(b"noise")].concat()], ""),
    row("ignore", In, |_| vec![[vec![2], text(b"noise")].concat()], ""),
    row("ignore", Running, |_| vec![[vec![2], text(b"noise")].concat()], ""),
    row("debug", Login, |_| vec![[vec![4, 1], text(b"hear"), text(b"")].concat()], ""),
    row("debug", In, |_| vec![[vec![4, 1], text(b"hear"), text(b"")].concat()], ""),
    row("unimplemented", Login, |_| vec![vec![3, 0, 0, 0, 3]], ""),
    row("unimplemented", In, |_| vec![vec![3, 0, 0, 0, 3]], ""),
    row("unknown message", Keys, |_| vec![vec![UNKNOWN]], "unimplemented, service").but("service", UNSEEN),
    row("unknown message", Login, |_| vec![vec![UNKNOWN]], "unimplemented").but("", UNSEEN),
    row("unknown message", In, |_| vec![vec![UNKNOWN]], "unimplemented").but("", UNSEEN),
    row("unknown message", Channel, |_| vec![vec![UNKNOWN]], "unimplemented").but("", UNSEEN),
    row("ping", In, |_| vec![[vec![192], text(b"there?")].concat()], "disconnect 2 | pong").but("", UNSEEN),
    row("disconnect", Keys, |_| vec![[&[1, 0, 0, 0, 11][..], &text(b"bye"), &text(b"")].concat()], "hung up"),
    row("disconnect", Login, |_| vec![[&[1, 0, 0, 0, 11][..], &text(b"bye"), &text(b"")].concat()], "hung up"),
    row("disconnect", In, |_| vec![[&[1, 0, 0, 0, 11][..], &text(b"bye"), &text(b"")].concat()], "hung up"),
    row("disconnect", Running, |_| vec![[&[1, 0, 0, 0, 11][..], &text(b"bye"), &text(b"")].concat()], "hung up"),
    row("disconnect without a reason", In, |_| vec![vec![1]], "hung up"),
    row("no message at all", In, |_| vec![vec![]], "hung up").but("", UNSEEN),
    row("new keys that nobody agreed on", In, |_| vec![vec![21]], "unimplemented").but("", UNSEEN),
    row("key exchange without its beginning", In, |_| vec![[&[30][..], &text(&[9; 32])].concat()], "unimplemented")
        .but("", UNSEEN),
    row("key exchange that is cut short", In, |_| vec![vec![20; 9]], "hung up"),
    row("extensions after the login", In, |_| vec![vec![7, 0, 0, 0, 0]], "unimplemented").but("", UNSEEN),
    row("service that is unknown", Keys, |_| vec![service("made-up")], "disconnect 2").but("service", SERVICE),
    row("service behind the login", Keys, |_| vec![service("ssh-connection")], "disconnect 2").but("service", SERVICE),
    row("service without a name", Keys, |_| vec![vec![5]], "hung up"),
    row("service a second time", Login, |_| vec![service("ssh-userauth")], "service").but("", SERVICE),
    row("service after the login", In, |_| vec![service("ssh-userauth")], "unimplemented").but("", UNSEEN),
    row("service accepted by the client", In, |_| vec![[&[6][..], &text(b"ssh-userauth")].concat()], "unimplemented")
        .but("", UNSEEN),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_the_transport_are_answered_as_sshd_does() {
    compare(&[TRANSPORT]).await;
}
