//! What the log says at the level `info` of a connection that russh ends without a word, and of what is passed over.

use crate::support::World;
use crate::support::raw::State::{Channel, In, Login, Running};
use crate::support::raw::{Say, Server, State, Until, converse, global, open, userauth};
use crate::support::rude::text;
use serde_json::Value;
use std::collections::BTreeMap;

/// What is said, in which state, and what the log tells of it.
const BREAKS: &[(State, Say, &str)] = &[
    (Channel, |at| vec![at.request("env", true, &[text(b"A"), text(&[0xff])].concat())], NOT_UTF_8),
    (Channel, |at| vec![at.request("subsystem", true, &text(&[0xff]))], NOT_UTF_8),
    (Running, |at| vec![at.request("signal", false, &text(&[0xff]))], NOT_UTF_8),
    (In, |_| vec![[&[80][..], &text(&[0xff]), &[1]].concat()], NOT_UTF_8),
    (Login, |at| vec![at.login("password", &[&[0][..], &text(&[0xff])].concat())], NOT_UTF_8),
    (Channel, |at| vec![at.request("exec", true, &[])], CUT_SHORT),
    (Channel, |at| vec![at.request("shell", true, &[0])], CUT_SHORT),
    (In, |_| vec![open("session", 7, &[0])], CUT_SHORT),
    (In, |_| vec![global("tcpip-forward", true, &[])], CUT_SHORT),
    (Login, |at| vec![at.login("publickey", &[])], CUT_SHORT),
    (Login, |at| vec![at.offer("made-up", &at.key())], BAD_KEY),
    (Login, |at| vec![at.offer("ssh-ed25519", b"")], BAD_KEY),
    (Login, |at| vec![userauth(&at.user, "made-up", "none", &[])], MISPLACED),
    (In, |at| vec![at.about(91, &[0; 12])], MISPLACED),
    (Channel, |at| vec![at.about(92, &[&[0; 4][..], &text(b""), &text(b"")].concat())], REFUSED),
];
const NOT_UTF_8: &str = "the client sent a string that is not UTF-8";
const CUT_SHORT: &str = "the client sent a message that is too short, or has extra data at its end";
const BAD_KEY: &str = "the client sent a key algorithm name that is not valid, or a public key that cannot be read";
const MISPLACED: &str = "the client sent a message that does not fit the state of the connection";
const REFUSED: &str = "the client refused a channel that it had opened itself";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_that_breaks_is_told_at_info_with_what_broke_it() {
    let world = World::start().await;
    let server = Server::new(&world, world.gateway.address, "alice");
    let mut told = BTreeMap::<&str, usize>::new();
    for (state, say, reason) in BREAKS {
        assert_eq!(converse(&server, *state, *say, Until::Answered).await, "hung up", "{state:?}: {reason}");
        let count = told.entry(reason).or_default();
        *count += 1;
        world.gateway.wait_for_lines(*count, |line| is_end(line, reason)).await;
    }
}

fn is_end(line: &Value, reason: &str) -> bool {
    line["code"] == "SSH_DISCONNECTED" && line["level"] == "info" && line["details"]["reason"] == reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channel_that_the_client_confirms_itself_is_told_at_info() {
    let world = World::start().await;
    let server = Server::new(&world, world.gateway.address, "alice");
    let say: Say = |at| vec![at.about(91, &[0, 0, 0, 9, 0, 0, 9, 9, 0, 0, 9, 9])];
    assert_eq!(converse(&server, Channel, say, Until::Answered).await, "disconnect 2");
    let line = world.gateway.wait_for_line("SSH_PROTOCOL_BROKEN").await;
    assert_eq!(line["details"]["reason"], "the client confirmed a channel that it had opened itself", "{line}");
    assert_eq!(line["level"], "info", "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extended_data_is_told_once_at_info() {
    let world = World::start().await;
    let server = Server::new(&world, world.gateway.address, "alice");
    let say: Say = |at| {
        let error = at.about(95, &[&[0, 0, 0, 1][..], &text(b"error")].concat());
        vec![error.clone(), error, at.about(96, &[])]
    };
    assert_eq!(converse(&server, Running, say, Until::Closed).await, "exit 0, close");
    world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    let lines = world.gateway.lines("SSH_NOT_IMPLEMENTED");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["level"], "info", "{lines:?}");
}
