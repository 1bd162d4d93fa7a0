//! What RFC 4252, 4253 and 4254 have a server answer to each message in each state, with the exceptions that the tables of
//! [`protocol`](super::super) name: pure.
//!
//! Answers are in lanes, since only those of one lane have an order: the connection's, those to one channel's opening, the
//! replies to one channel's requests, its data, and its end.

use super::steps::{Break, LoginStep, OnChannel, Step};
use std::collections::BTreeMap;

/// Refusals that the login counts until the connection ends, and those that russh counts.
const FAILURES: usize = 6;
const REFUSALS: usize = FAILURES + 1;
/// Channels that a sequence opens at the most.
pub const CHANNELS: usize = 4;

/// The progress of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Keys,
    Login,
    LoggedIn,
    /// The server ends the connection.
    Over,
}

/// A session's channel.
#[derive(Debug, Default, Clone)]
pub struct ChannelModel {
    pub terminal: bool,
    /// `cat` runs in it.
    pub program: bool,
    pub ended: bool,
    pub closed: bool,
    /// The data that the program gets.
    pub data: Vec<u8>,
    /// The replies, and whether each is certain to come.
    pub replies: Vec<(&'static str, bool)>,
}

/// The state of a connection, and all answers up to now.
#[derive(Debug)]
pub struct Model {
    pub phase: Phase,
    /// The answers in the connection's own lane.
    pub connection: Vec<&'static str>,
    /// The refusals of channels by the client's number.
    pub refused: BTreeMap<u32, Vec<&'static str>>,
    pub channels: Vec<ChannelModel>,
    requests: usize,
    failures: usize,
    refusals: usize,
    /// The next number of a channel that is refused.
    next: u32,
}

impl Model {
    pub fn new() -> Self {
        Self {
            phase: Phase::Keys,
            connection: Vec::new(),
            refused: BTreeMap::new(),
            channels: Vec::new(),
            requests: 0,
            failures: 0,
            refusals: 0,
            next: 1000,
        }
    }

    /// True if the login is bound to a user name.
    pub fn has_user(&self) -> bool {
        self.requests > 0
    }

    /// The number of the next channel that is refused.
    pub fn next_refused(&self) -> u32 {
        self.next
    }

    /// The client's number of a session's channel.
    pub fn number(index: usize) -> u32 {
        u32::try_from(index).expect("few channels") + 7
    }

    /// Takes a step of the client's.
    pub fn take(&mut self, step: &Step) {
        match (step, self.phase) {
            (_, Phase::Over) => unreachable!("a step behind the end"),
            (Step::Break(broken), _) => self.broken(*broken),
            // Passed over in every state; of an unknown message and what does not fit the state, sshd says so.
            (Step::Noise(_) | Step::OtherService | Step::Rekey, _) => {}
            (Step::Service, Phase::Keys) => {
                self.connection.push("service");
                self.phase = Phase::Login;
            }
            (Step::Service, _) => {}
            (Step::Login(login), Phase::Login) => self.login(*login),
            (Step::Login(_), _) => {}
            (Step::Global { wanted }, Phase::LoggedIn) => self.connection.extend(wanted.then_some("not done")),
            (Step::OpenUnknown, Phase::LoggedIn) => self.refuse(&["not opened 3", "not opened 1"]),
            (Step::OpenTcp, Phase::LoggedIn) => self.refuse(&["not opened 1"]),
            (Step::Global { .. } | Step::OpenUnknown | Step::OpenTcp | Step::OnNone(_), _) => {}
            (Step::Open, Phase::LoggedIn) => self.channels.push(ChannelModel::default()),
            (Step::Open, _) => {}
            (Step::On(index, said), _) => self.channels[*index].take(*said),
        }
    }

    fn refuse(&mut self, answers: &[&'static str]) {
        self.refused.insert(self.next, answers.to_vec());
        self.next += 1;
    }

    fn broken(&mut self, broken: Break) {
        let is_late = self.phase == Phase::Login && self.refusals >= REFUSALS;
        self.phase = Phase::Over;
        match broken {
            Break::NewUser | Break::NoMethod | Break::NotText | Break::StrangeService if is_late => {
                self.connection.push("disconnect 14");
            }
            Break::NewUser => self.connection.extend(["refused", "disconnect 2"]),
            Break::Confirm(_) => self.connection.push("disconnect 2"),
            // The server's part of the exchange that the client began.
            Break::AmidExchange => self.connection.extend(["message 20", "hung up"]),
            Break::Leave
            | Break::ShortExchange
            | Break::NoMethod
            | Break::NotText
            | Break::StrangeService
            | Break::ConfirmNone
            | Break::TrailingOpen
            | Break::ShortGlobal
            | Break::Refuse(_)
            | Break::ShortRequest(_) => self.connection.push("hung up"),
        }
    }

    fn login(&mut self, login: LoginStep) {
        // russh's own limit comes before anything else.
        if self.refusals >= REFUSALS {
            self.connection.push("disconnect 14");
            self.phase = Phase::Over;
            return;
        }
        match login {
            LoginStep::Proof => {
                self.connection.push("in");
                self.phase = Phase::LoggedIn;
                return;
            }
            LoginStep::Offer => {
                self.requests += 1;
                return self.connection.push("key is fine");
            }
            // Refused before the login hears of them.
            LoginStep::UnknownMethod | LoginStep::Answers | LoginStep::NewPassword => {}
            // The offer in it is heard, and is fine.
            LoginStep::WrongProof => self.requests += 1,
            LoginStep::None | LoginStep::Password | LoginStep::Questions | LoginStep::Stranger => {
                self.requests += 1;
                self.failures += usize::from(self.requests > 1 || login != LoginStep::None);
            }
        }
        self.refusals += 1;
        self.connection.push("refused");
        if self.failures >= FAILURES {
            self.connection.push("disconnect 2");
            self.phase = Phase::Over;
        }
    }
}

impl ChannelModel {
    fn reply(&mut self, wanted: bool, answer: &'static str) {
        if wanted && !self.closed {
            // A program that has all its input may end at any time, and its channel with it.
            let certain = !(self.program && self.ended);
            self.replies.push((answer, certain));
        }
    }

    fn take(&mut self, said: OnChannel) {
        match said {
            // Before a program, nobody has it: sshd passes it over, too.
            OnChannel::Data(bytes) if self.program && !self.ended && !self.closed => self.data.extend(bytes),
            OnChannel::Data(_) | OnChannel::Nothing(_) => {}
            OnChannel::End => self.ended |= !self.closed,
            OnChannel::Close => self.closed = true,
            OnChannel::Refused { wanted, .. } => self.reply(wanted, "failure"),
            OnChannel::Size { wanted } => self.reply(wanted, "success"),
            OnChannel::Variable { wanted } => {
                let answer = if self.program { "failure" } else { "success" };
                self.reply(wanted, answer);
            }
            OnChannel::Terminal { wanted } => {
                let answer = if self.program || self.terminal { "failure" } else { "success" };
                self.reply(wanted, answer);
                self.terminal |= answer == "success" && !self.closed;
            }
            OnChannel::Program { wanted } => {
                if self.program {
                    return self.reply(wanted, "failure");
                }
                // Its answer is certain even if it has no input.
                if wanted && !self.closed {
                    self.replies.push(("success", true));
                }
                self.program = !self.closed;
            }
        }
    }
}
