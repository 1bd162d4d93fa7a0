//! Every message of RFC 4252, RFC 4254 and OpenSSH's PROTOCOL file that a client may send, in the states in which it may
//! come, said to OpenSSH's sshd and to Podgate in the same test. A row has both answers; where they differ it says why.

mod broken;
mod channels;
mod global;
mod logins;
mod requests;
mod sequences;
mod transport;

use crate::support::raw_client::{Messages, Server, State, Until, transcript};
use crate::support::sshd::Sshd;
use crate::support::{World, cluster};
use futures_util::{StreamExt, stream};
use std::path::Path;

/// Both servers without forwarding, as Podgate's default is; variables of any name, as its default is.
const SSHD: &str = "DisableForwarding yes\nPermitTunnel no\nAcceptEnv *\nMaxStartups 100\n";
/// The reasons for different answers that many rows share. russh is the library, in version 0.65.1.
const UNSEEN: &str = "russh passes over a message that it does not know in this state, and no callback sees it";
const NO_CHANNEL: &str = "russh passes over what is for no channel, before any callback";
const UNREADABLE: &str = "russh ends the connection without a word; the log says why";
const SERVICE: &str =
    "russh answers the first request for ssh-userauth, passes over every other, and no callback sees them";
const GLOBAL: &str =
    "no callback of russh's sees a global request that it does not know (its issue 417), nor can one be sent";
const CODES: &str =
    "RFC 4254 section 5.1 has a number for a refusal that is meant; sshd's 2 is a connection that failed";
/// Not harmless: OpenSSH's client ends the connection at the second refusal. It opens no such channel but that of `ssh -w`.
const TWICE: &str = "russh refuses the kind itself, and once more because the callback's handle is dropped";
/// sshd's answers to what comes behind a close: its channel may still be there for a moment.
const GONE: &str = "close, disconnect 2 | close";
/// Conversations at a time.
const AT_ONCE: usize = 4;

/// A client's messages, and each server's answers.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    state: State,
    say: Messages,
    until: Until,
    answer: Answer,
}

/// The answers.
#[derive(Clone, Copy)]
enum Answer {
    /// Both servers answer this.
    Both(&'static str),
    /// They differ; of sshd's answer there may be one for each range of versions, with `|` between.
    Differs { sshd: &'static str, podgate: &'static str, why: &'static str },
}

const fn row(name: &'static str, state: State, say: Messages, answer: &'static str) -> Row {
    Row { name, state, say, until: Until::Answered, answer: Answer::Both(answer) }
}

impl Row {
    /// The same, heard until the server closes the channel.
    const fn closed(self) -> Self {
        Self { until: Until::Closed, ..self }
    }

    /// The same, heard until the server refuses a request.
    const fn refused(self) -> Self {
        Self { until: Until::Refused, ..self }
    }

    /// The same, but Podgate answers otherwise.
    const fn but(self, podgate: &'static str, why: &'static str) -> Self {
        let sshd = match self.answer {
            Answer::Both(sshd) | Answer::Differs { sshd, .. } => sshd,
        };
        Self { answer: Answer::Differs { sshd, podgate, why }, ..self }
    }

    fn wanted(&self) -> (&'static str, &'static str) {
        match self.answer {
            Answer::Both(both) => (both, both),
            Answer::Differs { sshd, podgate, .. } => (sshd, podgate),
        }
    }
}

/// Both servers, where they can run, sshd's first.
async fn servers() -> Option<(World, Sshd, Server, Server)> {
    let why = "the answers are the gateway's alone, and each row is a connection with a pod of its own";
    if !cluster::on_development(why) || !Sshd::available() {
        return None;
    }
    let world = World::start().await;
    let sshd = Sshd::start(&world, SSHD).await.expect("sshd");
    let theirs = Server::new(&world, sshd.address, &sshd.user);
    let ours = Server::new(&world, world.gateway.address, "alice");
    Some((world, sshd, theirs, ours))
}

/// Says every row to both servers.
async fn compare(tables: &[&[Row]]) {
    let Some((_world, sshd, theirs, ours)) = servers().await else { return };
    let rows = tables.concat();
    let differences: Vec<String> = stream::iter(&rows)
        .map(|row| async {
            let heard = (
                transcript(&theirs, row.state, row.say, row.until).await,
                transcript(&ours, row.state, row.say, row.until).await,
            );
            difference(row, &heard.0, &heard.1)
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(|difference| async { difference })
        .collect()
        .await;
    assert!(Path::new("/proc").join(sshd.pid().to_string()).exists(), "sshd has ended");
    assert!(differences.is_empty(), "{} of {} rows:\n{}", differences.len(), rows.len(), differences.join("\n"));
}

/// Puts the exit in what sshd said behind the output: sshd tells a program's end when it learns of it, at times before
/// the last output.
fn exit_last(heard: &str) -> String {
    let mut words: Vec<&str> = heard.split(", ").collect();
    let exit = words.iter().position(|word| word.starts_with("exit "));
    let data = words.iter().rposition(|word| word.starts_with("data "));
    if let (Some(exit), Some(data)) = (exit, data)
        && exit < data
    {
        words[exit..=data].rotate_left(1);
    }
    words.join(", ")
}

fn difference(row: &Row, theirs: &str, ours: &str) -> Option<String> {
    let (sshd, podgate) = row.wanted();
    if sshd.split('|').any(|version| version.trim() == exit_last(theirs)) && podgate == ours {
        return None;
    }
    let why = match row.answer {
        Answer::Both(_) => "",
        Answer::Differs { why, .. } => why,
    };
    let at = format!("{:?}: {}", row.state, row.name);
    Some(format!(
        "{at}\n  sshd    wanted {sshd:?}, heard {theirs:?}\n  podgate wanted {podgate:?}, heard {ours:?}\n  {why}"
    ))
}

/// A newer library may let us do what these rows miss, and nothing but its version says so before somebody looks.
#[test]
fn newer_russh_is_looked_at_for_what_this_one_lacks() {
    let lock = include_str!("../Cargo.lock");
    let missing = "does a callback see unknown global requests now (no-more-sessions, hostkeys-prove), can one be sent \
                   (hostkeys-00), does an offer tell a certificate from its key, are unknown messages answered, does a callback see \
                   agent-req, and can a global request be answered later? If so, use \
                   it, take the sentence out of docs/configuration.md, and name the new version here and in the rows";
    assert!(lock.contains("name = \"russh\"\nversion = \"0.65.1\"\n"), "russh is another one: {missing}");
}
