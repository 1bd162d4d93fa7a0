//! What the log says at the level `info` of a connection that russh ends without a word, and of what is passed over.

use crate::support::World;
use crate::support::minimal_client::text;
use crate::support::raw_client::State::{Channel, LoggedIn, Login, Running};
use crate::support::raw_client::{Messages, Server, State, Until, global, open, transcript, userauth};
use serde_json::Value;
use std::collections::BTreeMap;

/// The message, the state in which it is sent, and the log's reason.
const BREAKS: &[(State, Messages, &str)] = &[
    (Channel, |at| vec![at.request("env", true, &[text(b"A"), text(&[0xff])].concat())], NOT_UTF_8),
    (Channel, |at| vec![at.request("subsystem", true, &text(&[0xff]))], NOT_UTF_8),
    (Running, |at| vec![at.request("signal", false, &text(&[0xff]))], NOT_UTF_8),
    (LoggedIn, |_| vec![[&[80][..], &text(&[0xff]), &[1]].concat()], NOT_UTF_8),
    (Login, |at| vec![at.login("password", &[&[0][..], &text(&[0xff])].concat())], NOT_UTF_8),
    (Channel, |at| vec![at.request("exec", true, &[])], CUT_SHORT),
    (Channel, |at| vec![at.request("shell", true, &[0])], CUT_SHORT),
    (LoggedIn, |_| vec![open("session", 7, &[0])], CUT_SHORT),
    (LoggedIn, |_| vec![global("tcpip-forward", true, &[])], CUT_SHORT),
    (Login, |at| vec![at.login("publickey", &[])], CUT_SHORT),
    (Login, |at| vec![at.offer("made-up", &at.key())], BAD_KEY),
    (Login, |at| vec![at.offer("ssh-ed25519", b"")], BAD_KEY),
    (Login, |at| vec![userauth(&at.user, "made-up", "none", &[])], MISPLACED),
    (LoggedIn, |at| vec![at.about(91, &[0; 12])], MISPLACED),
    (Channel, |at| vec![at.about(92, &[&[0; 4][..], &text(b""), &text(b"")].concat())], REFUSED),
];
const NOT_UTF_8: &str = "the client sent a string that is not UTF-8";
const CUT_SHORT: &str = "the client sent a message that is too short, or has extra data at its end";
const BAD_KEY: &str = "the client sent a key algorithm name that is not valid, or a public key that cannot be read";
const MISPLACED: &str = "the client sent a message that does not fit the state of the connection";
const REFUSED: &str = "the client refused a channel that it had opened itself";

#[podgate_test::multi_thread]
async fn connection_that_breaks_is_told_at_info_with_what_broke_it() {
    let world = World::start().await;
    let server = Server::new(&world, world.gateway.address, "alice");
    let mut told = BTreeMap::<&str, usize>::new();
    for (state, say, reason) in BREAKS {
        assert_eq!(transcript(&server, *state, *say, Until::Answered).await, "hung up", "{state:?}: {reason}");
        let count = told.entry(reason).or_default();
        *count += 1;
        world.gateway.wait_for_lines(*count, |line| is_end(line, reason)).await;
    }
}

fn is_end(line: &Value, reason: &str) -> bool {
    line["code"] == "SSH_DISCONNECTED" && line["level"] == "info" && line["details"]["reason"] == reason
}

#[podgate_test::multi_thread]
async fn channel_that_the_client_confirms_itself_is_told_at_info() {
    let world = World::start().await;
    let server = Server::new(&world, world.gateway.address, "alice");
    let say: Messages = |at| vec![at.about(91, &[0, 0, 0, 9, 0, 0, 9, 9, 0, 0, 9, 9])];
    assert_eq!(transcript(&server, Channel, say, Until::Answered).await, "disconnect 2");
    let line = world.gateway.wait_for_line("SSH_PROTOCOL_BROKEN").await;
    assert_eq!(line["details"]["reason"], "the client confirmed a channel that it had opened itself", "{line}");
    assert_eq!(line["level"], "info", "{line}");
}

#[podgate_test::multi_thread]
async fn extended_data_is_told_once_at_info() {
    let world = World::start().await;
    let server = Server::new(&world, world.gateway.address, "alice");
    let say: Messages = |at| {
        let error = at.about(95, &[&[0, 0, 0, 1][..], &text(b"error")].concat());
        vec![error.clone(), error, at.about(96, &[])]
    };
    assert_eq!(transcript(&server, Running, say, Until::Closed).await, "exit 0, close");
    world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    let lines = world.gateway.lines("SSH_NOT_IMPLEMENTED");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["level"], "info", "{lines:?}");
}
