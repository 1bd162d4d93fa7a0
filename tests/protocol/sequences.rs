//! A client that does legal things in illegal order, and some illegal ones last: sequences of steps from a seed, and a model
//! of what must come back. What differs has the seed in its message; `PODGATE_TEST_SEQUENCE=SEED` runs that one alone.

mod model;
mod steps;

use crate::support::client::PATIENCE;
use crate::support::minimal_client::{PacketReader, PacketWriter, field};
use crate::support::raw_client::{ConnectionInfo, Server, State, connect_to, describe, number};
use crate::support::{World, cluster};
use futures_util::{StreamExt, stream};
use model::{Model, Phase};
use std::collections::BTreeMap;
use std::env;
use steps::{LoginStep, Numbers, OnChannel, Step};
use tokio::time::timeout;

/// The sequences of a usual run, which are the same each time.
const USUAL: u64 = 40;
/// The steps of a sequence at the most.
const STEPS: usize = 40;
/// Sequences at a time.
const AT_ONCE: usize = 8;

/// The answers that came back, by lanes.
#[derive(Debug, Default)]
struct Heard {
    connection: Vec<String>,
    refused: BTreeMap<u32, Vec<String>>,
    /// The server's number of each session's channel.
    servers: Vec<u32>,
    channels: BTreeMap<u32, HeardChannel>,
    over: bool,
}

#[derive(Debug, Default)]
struct HeardChannel {
    replies: Vec<String>,
    data: Vec<u8>,
    end: Vec<String>,
}

impl Heard {
    /// Sorts a packet of the server's.
    fn take(&mut self, packet: &[u8]) {
        let Some(text) = describe(packet) else { return };
        match packet[0] {
            91 => {
                self.servers.push(number(&packet[5..]));
                self.channels.entry(number(&packet[1..])).or_default();
            }
            92 => self.refused.entry(number(&packet[1..])).or_default().push(text),
            94 => self.on(packet).data.extend(field(&packet[5..]).0),
            // A reason on standard error is for people.
            95 => {}
            99 | 100 => self.on(packet).replies.push(text),
            97 | 98 => self.on(packet).end.push(text),
            _ => self.connection.push(text),
        }
    }

    fn on(&mut self, packet: &[u8]) -> &mut HeardChannel {
        self.channels.entry(number(&packet[1..])).or_default()
    }

    fn ended(&mut self) {
        if !self.connection.last().is_some_and(|last| last.starts_with("disconnect")) {
            self.connection.push("hung up".to_owned());
        }
        self.over = true;
    }

    /// True if everything that is certain to come up to here has come.
    fn has_all(&self, model: &Model) -> bool {
        let refused = |(channel, answers): (&u32, &Vec<&str>)| {
            self.refused.get(channel).is_some_and(|heard| heard.len() >= answers.len())
        };
        let replies = |(index, channel): (usize, &model::ChannelModel)| {
            let certain = channel.replies.iter().filter(|(_, certain)| *certain).count();
            self.channels.get(&Model::number(index)).is_some_and(|heard| heard.replies.len() >= certain)
        };
        self.connection.len() >= model.connection.len()
            && model.refused.iter().all(refused)
            && model.channels.iter().enumerate().all(replies)
    }

    fn has_ends(&self, model: &Model) -> bool {
        let closed = |index| {
            self.channels.get(&Model::number(index)).is_some_and(|heard| heard.end.contains(&"close".to_owned()))
        };
        (0..model.channels.len()).all(closed)
    }

    /// The differences from the model's answers. `whole` says that every channel has ended by itself or by the client's close.
    fn differences(&self, model: &Model, whole: bool) -> Vec<String> {
        let mut differences = Vec::new();
        if self.connection != model.connection {
            differences.push(format!("wanted {:?}, heard {:?}", model.connection, self.connection));
        }
        let refused: BTreeMap<u32, Vec<&str>> = self
            .refused
            .iter()
            .map(|(channel, heard)| (*channel, heard.iter().map(String::as_str).collect()))
            .collect();
        if refused != model.refused {
            differences.push(format!("refused: wanted {:?}, heard {refused:?}", model.refused));
        }
        if self.servers.len() != model.channels.len() {
            differences.push(format!("wanted {} channels, heard {}", model.channels.len(), self.servers.len()));
        }
        for (index, channel) in model.channels.iter().enumerate() {
            let Some(heard) = self.channels.get(&Model::number(index)) else { continue };
            if !fits(&channel.replies, &heard.replies) {
                differences.push(format!("channel {index}: wanted {:?}, heard {:?}", channel.replies, heard.replies));
            }
            let data = match (channel.program, channel.terminal) {
                (true, true) => true,
                (true, false) if whole && !channel.closed => heard.data == channel.data,
                (true, false) => channel.data.starts_with(&heard.data),
                (false, _) => heard.data.is_empty(),
            };
            let end: Vec<&str> = heard.end.iter().map(String::as_str).collect();
            let end = match (whole, channel.program) {
                (false, _) => end.iter().filter(|word| **word == "close").count() <= 1,
                (true, false) => end == ["close"],
                (true, true) if !channel.closed => end == ["exit 0", "close"],
                // Whether the program was seen to end before the close is a matter of time.
                (true, true) => {
                    end.last() == Some(&"close") && matches!(end[..], [_] | ["exit 0" | "exit-signal" | "exit 129", _])
                }
            };
            if !data || !end {
                differences.push(format!("channel {index}: {channel:?}, heard {heard:?}"));
            }
        }
        differences
    }
}

/// Tells whether the replies are the wanted ones, of which some need not come.
fn fits(wanted: &[(&str, bool)], heard: &[String]) -> bool {
    match (wanted.split_first(), heard.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some(((_, certain), rest)), None) => !certain && fits(rest, heard),
        (Some(((answer, certain), rest)), Some((first, others))) => {
            answer == first && fits(rest, others) || !certain && fits(rest, heard)
        }
    }
}

/// A client in the middle of a sequence.
struct Client {
    writer: PacketWriter,
    reader: PacketReader,
    at: ConnectionInfo,
    model: Model,
    heard: Heard,
    said: Vec<Step>,
}

impl Client {
    async fn receive(&mut self) {
        match self.reader.receive().await {
            Ok(packet) => self.heard.take(&packet),
            Err(_) => self.heard.ended(),
        }
    }

    /// Waits until everything certain has come.
    async fn catch_up(&mut self) {
        while !self.heard.over && !self.heard.has_all(&self.model) {
            self.receive().await;
        }
    }

    async fn take(&mut self, step: Step) {
        self.said.push(step);
        if matches!(step, Step::Break(_)) {
            // What is on its way when a connection breaks may be lost.
            self.fence().await;
            if self.model.phase == Phase::Over {
                return;
            }
        }
        for message in step.messages(&self.at, &self.model, &self.heard.servers) {
            // The server may have hung up, which is seen when it is read.
            let _ = self.writer.send(&message).await;
        }
        self.model.take(&step);
        match step {
            Step::Rekey => match self.at.exchange_again((&mut self.writer, &mut self.reader)).await {
                Ok(before) => before.iter().for_each(|packet| self.heard.take(packet)),
                Err(_) => self.heard.ended(),
            },
            // What is said on it needs its number.
            Step::Open => {
                while !self.heard.over && self.heard.servers.len() < self.model.channels.len() {
                    self.receive().await;
                }
            }
            _ => {}
        }
    }

    /// Says something whose answer follows all others, and waits for it.
    async fn fence(&mut self) {
        let fence = match self.model.phase {
            Phase::Keys => Step::Service,
            Phase::Login => Step::Login(LoginStep::Offer),
            Phase::LoggedIn => Step::Global { wanted: true },
            Phase::Over => return self.catch_up().await,
        };
        for message in fence.messages(&self.at, &self.model, &self.heard.servers) {
            let _ = self.writer.send(&message).await;
        }
        self.model.take(&fence);
        self.catch_up().await;
    }

    /// Ends what is open. Returns what differs from the model.
    async fn finish(mut self) -> Vec<String> {
        let whole = self.model.phase != Phase::Over;
        if whole {
            self.fence().await;
        }
        for index in 0..self.model.channels.len() {
            let channel = &self.model.channels[index];
            if !whole || channel.closed {
                continue;
            }
            let echoes = channel.program && !channel.terminal;
            self.take(Step::On(index, if echoes { OnChannel::End } else { OnChannel::Close })).await;
        }
        while !self.heard.over && (!whole || !self.heard.has_ends(&self.model)) {
            self.receive().await;
        }
        self.heard.differences(&self.model, whole)
    }
}

async fn run(server: &Server, seed: u64) -> Result<(), String> {
    let (writer, reader, at) = connect_to(server, State::Keys).await;
    let (model, heard) = (Model::new(), Heard::default());
    let mut client = Client { writer, reader, at, model, heard, said: Vec::new() };
    let mut numbers = Numbers::new(seed);
    let steps = async {
        while client.said.len() < STEPS && client.model.phase != Phase::Over && !client.heard.over {
            let step = Step::pick(&mut numbers, &client.model);
            client.take(step).await;
        }
    };
    let late = timeout(PATIENCE, steps).await.is_err();
    let said = format!("{:?}", client.said);
    let before = format!("{:?}; {:?}", client.model, client.heard);
    let differences = match timeout(PATIENCE, client.finish()).await {
        Ok(differences) if !late => differences,
        _ => vec![format!("not answered in time: {before}")],
    };
    if differences.is_empty() { Ok(()) } else { Err(format!("seed {seed}: {said}\n  {}", differences.join("\n  "))) }
}

async fn run_all(seeds: impl Iterator<Item = u64>) {
    let why = "the answers are the gateway's alone, and each sequence is a connection with a pod of its own";
    if !cluster::on_development(why) {
        return;
    }
    let world = World::start().await;
    let server = Server::new(&world, world.gateway.address, "alice");
    let differences: Vec<String> = stream::iter(seeds)
        .map(|seed| run(&server, seed))
        .buffer_unordered(AT_ONCE)
        .filter_map(|outcome| async { outcome.err() })
        .collect()
        .await;
    assert!(differences.is_empty(), "{} sequences:\n{}", differences.len(), differences.join("\n"));
    assert!(world.gateway.lines("CORE_PANIC").is_empty());
}

#[podgate_test::multi_thread]
async fn legal_steps_in_any_order_have_the_answers_of_the_rfcs() {
    match env::var("PODGATE_TEST_SEQUENCE").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => run_all([seed].into_iter()).await,
        None => run_all(1..=USUAL).await,
    }
}

/// Sequences that no run had before: `PODGATE_TEST_SEQUENCES` says how many.
#[podgate_test::multi_thread]
#[ignore = "takes minutes: see .ci/long"]
async fn thousands_of_new_sequences_have_the_answers_of_the_rfcs() {
    let count = env::var("PODGATE_TEST_SEQUENCES").ok().and_then(|count| count.parse().ok()).unwrap_or(3000);
    let first = rand::random_range(1_000..u64::MAX - count);
    println!("sequences {first} to {}", first + count - 1);
    run_all(first..first + count).await;
}
