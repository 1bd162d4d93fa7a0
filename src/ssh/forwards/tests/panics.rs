//! A panic ends its connection alone: it is ended in order, its source has the penalty of a crash, and others go on.

use super::local_guest::LocalGuests;
use super::{Gateway, SOON};
use std::process::Output;
use std::sync::atomic::Ordering;
use tokio::time::timeout;

/// The reason that the client reads.
const BUG: &str = "the gateway has a fault and cannot go on with this connection";

impl Gateway {
    /// Waits until a source has a penalty, which is that of a crash.
    async fn penalised(&self) {
        while !self.text().contains("SSH_PENALTY") {
            tokio::task::yield_now().await;
        }
        assert!(self.text().contains("penalty: caused crash"), "{}", self.text());
    }

    /// Runs a client to its end.
    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.ssh();
        command.args(arguments);
        let mut command = tokio::process::Command::from(command);
        timeout(SOON, command.kill_on_drop(true).output()).await.unwrap().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the client of a connection with a bug, beside another.
async fn one_of_two_has_a_bug(arguments: &[&str]) {
    let guests = LocalGuests::new();
    let counts = guests.counts.clone();
    let gateway = Gateway::start("enable", guests).await;
    let other = gateway.session(&[], "up").await;
    let done = gateway.run(arguments).await;
    assert_eq!(done.status.code(), Some(255), "{}", said(&done));
    assert!(said(&done).contains(BUG), "{}", said(&done));
    gateway.penalised().await;
    let refused = gateway.run(&["127.0.0.1", "true"]).await;
    assert_eq!(refused.status.code(), Some(255), "the source has a penalty: {}", said(&refused));
    while gateway.registry.all().len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counts.ended.load(Ordering::SeqCst), 1, "its guest was ended");
    assert_eq!(counts.there.load(Ordering::SeqCst), 1, "and nothing holds it");
    let told = other.end().await;
    assert!(told.contains("Exit status 0"), "{told}");
    gateway.end().await;
}

#[podgate_test::multi_thread]
async fn panic_where_a_program_starts_ends_its_connection_alone() {
    one_of_two_has_a_bug(&["127.0.0.1", "bug"]).await;
}

#[podgate_test::multi_thread]
async fn panic_in_a_callback_ends_its_connection_and_the_gateway_goes_on() {
    let gateway = Gateway::start("enable", LocalGuests::without_guests()).await;
    let done = gateway.run(&["127.0.0.1", "true"]).await;
    assert_eq!(done.status.code(), Some(255), "{}", said(&done));
    gateway.penalised().await;
    gateway.end().await;
}
