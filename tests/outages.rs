//! Parts of the cluster go away, one at a time, and come back: nobody is told a success that was none, everybody reads
//! what happened, the gateway goes on by itself, and nothing stays behind.

mod api;
mod ends;
mod modes;
mod node;
mod paths;

use crate::support::World;
use crate::support::client::{Client, Done, Running};

/// The text that a user reads when a stream broke and the program's end is unknown.
const LOST: &str = "podgate: the connection to the container was lost";

/// `ssh` as a person at a terminal.
fn person(world: &World) -> Client {
    world.ssh().arg("-tt").arg("127.0.0.1")
}

/// A time to sleep that no other process sleeps, in seconds.
fn mark() -> String {
    format!("7{:08}", rand::random_range(0..100_000_000))
}

/// Types a line that the shell answers, and waits for the answer.
async fn answers(person: &mut Running) {
    person.write("echo here-$((40 + 2))\n").await;
    person.until_stdout("here-42").await;
}

/// Asserts that a client was told that its program is over, though nobody knows how.
#[track_caller]
fn assert_lost(done: Done) {
    let done = done.expect(255);
    assert!(done.stderr.lines().any(|line| line.trim_end() == LOST), "{:?}", done.stderr);
}

/// Asserts that a new login is served, that every pod goes then, and with them every process whose command line has
/// this mark.
async fn assert_recovered(world: &World, mark: &str) {
    let done = world.ssh_as("bob").run("echo in").await.expect(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", ""));
    world.wait_for_nothing().await;
    let left = crate::support::processes::with(mark);
    assert!(left.is_empty(), "{left:?}");
}
