//! The steps of a sequence: how each is said, and which may come next.

use super::model::{CHANNELS, Model, Phase};
use crate::support::minimal_client::{proposal, text};
use crate::support::raw_client::{ConnectionInfo, global, open, service, userauth};

/// One thing that a client says or does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A message that is passed over in every state.
    Noise(Noise),
    Service,
    /// A service that there is not.
    OtherService,
    Login(LoginStep),
    Global {
        wanted: bool,
    },
    /// Opens a session.
    Open,
    OpenUnknown,
    OpenTcp,
    /// Says something on a session's channel.
    On(usize, OnChannel),
    /// Says a message about a channel that there is not.
    OnNone(u8),
    Rekey,
    Break(Break),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    Ignore,
    Debug,
    Unimplemented,
    Unknown,
    Ping,
    /// New keys that nobody agreed on.
    NewKeys,
    Success,
    Accepted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginStep {
    None,
    Password,
    NewPassword,
    Questions,
    Answers,
    UnknownMethod,
    /// Offers the right key.
    Offer,
    /// Offers a key that nobody knows.
    Stranger,
    /// Signs with the right key.
    Proof,
    /// Signs something else with the right key.
    WrongProof,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChannel {
    Data(&'static [u8]),
    End,
    Close,
    Program {
        wanted: bool,
    },
    Terminal {
        wanted: bool,
    },
    Variable {
        wanted: bool,
    },
    Size {
        wanted: bool,
    },
    /// A request that is refused in every state.
    Refused {
        name: &'static str,
        rest: &'static [u8],
        wanted: bool,
    },
    /// A message that has no answer.
    Nothing(u8),
}

/// A message after which the server ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    Leave,
    ShortExchange,
    /// A message in the middle of a key exchange (RFC 4253 section 7.1).
    AmidExchange,
    NoMethod,
    NotText,
    StrangeService,
    NewUser,
    ConfirmNone,
    TrailingOpen,
    ShortGlobal,
    /// Confirms the client's own channel.
    Confirm(usize),
    /// Refuses the client's own channel.
    Refuse(usize),
    ShortRequest(usize),
}

/// Numbers from a seed, the same on every machine (xorshift64*).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).expect("31 bits") % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn coin(&mut self) -> bool {
        self.below(4) > 0
    }
}

impl Step {
    /// Picks a step that a client can take.
    pub fn pick(numbers: &mut Numbers, model: &Model) -> Self {
        let anything = numbers.below(100);
        match (anything, model.phase) {
            (0..3, phase) => Self::Break(Break::pick(numbers, phase, model)),
            (3..8, _) => Self::Rekey,
            (8..16, _) => Self::Noise(Noise::pick(numbers)),
            (16..20, _) => Self::OtherService,
            (20..24, _) => Self::Service,
            (24..28, _) => Self::OnNone(numbers.of(&[92, 93, 94, 95, 96, 97, 98, 99, 100])),
            (28..34, Phase::Login) | (28..31, _) => Self::Login(LoginStep::pick(numbers)),
            (40..55, Phase::Login) => Self::Login(LoginStep::pick(numbers)),
            (55..90, Phase::Login) => Self::Login(LoginStep::Proof),
            (31..36, _) => Self::Global { wanted: numbers.coin() },
            (36..38, _) => Self::OpenUnknown,
            (38..40, _) => Self::OpenTcp,
            (40..50, Phase::LoggedIn) if model.channels.len() < CHANNELS => Self::Open,
            (40..44, Phase::Keys) | (90.., Phase::Login) => Self::Open,
            (44.., Phase::Keys) => Self::Service,
            (60.., Phase::LoggedIn) if model.channels.is_empty() => Self::Open,
            (_, Phase::LoggedIn) if !model.channels.is_empty() => {
                Self::On(numbers.below(model.channels.len()), OnChannel::pick(numbers))
            }
            _ => Self::Noise(Noise::Ignore),
        }
    }

    /// The messages that say it; none for what is more than messages.
    pub fn messages(self, at: &ConnectionInfo, model: &Model, servers: &[u32]) -> Vec<Vec<u8>> {
        let none = 4_000_000_000_u32.to_be_bytes();
        let tcp = [&text(b"localhost")[..], &[0, 0, 0, 1], &text(b"127.0.0.1"), &[0, 0, 0, 1]].concat();
        match self {
            Self::Rekey => Vec::new(),
            Self::Noise(noise) => vec![noise.message()],
            Self::Service => vec![service("ssh-userauth")],
            Self::OtherService => vec![service("ssh-connection")],
            Self::Login(login) => vec![login.message(at)],
            Self::Global { wanted } => vec![global("keepalive@openssh.com", wanted, &[])],
            Self::Open => vec![open("session", Model::number(model.channels.len()), &[])],
            Self::OpenUnknown => vec![open("made-up@example.org", model.next_refused(), b"rest")],
            Self::OpenTcp => vec![open("direct-tcpip", model.next_refused(), &tcp)],
            Self::On(index, said) => vec![said.message(servers[index])],
            Self::OnNone(number) => vec![on_none(number, none)],
            Self::Break(broken) => broken.messages(at, servers),
        }
    }
}

/// A whole message about a channel.
fn on_none(number: u8, channel: [u8; 4]) -> Vec<u8> {
    let rest = match number {
        92 => [&[0; 4][..], &text(b""), &text(b"")].concat(),
        93 => vec![0, 0, 0, 1],
        94 => text(b"lost"),
        95 => [&[0, 0, 0, 1][..], &text(b"lost")].concat(),
        98 => [&text(b"exec")[..], &[1], &text(b"true")].concat(),
        _ => Vec::new(),
    };
    [&[number][..], &channel, &rest].concat()
}

impl Noise {
    fn pick(numbers: &mut Numbers) -> Self {
        numbers.of(&[
            Self::Ignore,
            Self::Debug,
            Self::Unimplemented,
            Self::Unknown,
            Self::Ping,
            Self::NewKeys,
            Self::Success,
            Self::Accepted,
        ])
    }

    fn message(self) -> Vec<u8> {
        match self {
            Self::Ignore => [vec![2], text(b"noise")].concat(),
            Self::Debug => [vec![4, 1], text(b"hear"), text(b"")].concat(),
            Self::Unimplemented => vec![3, 0, 0, 0, 3],
            Self::Unknown => vec![191],
            Self::Ping => [vec![192], text(b"there?")].concat(),
            Self::NewKeys => vec![21],
            Self::Success => vec![52],
            Self::Accepted => [vec![6], text(b"ssh-userauth")].concat(),
        }
    }
}

impl LoginStep {
    fn pick(numbers: &mut Numbers) -> Self {
        numbers.of(&[
            Self::None,
            Self::Password,
            Self::NewPassword,
            Self::Questions,
            Self::Answers,
            Self::UnknownMethod,
            Self::Offer,
            Self::Stranger,
            Self::WrongProof,
        ])
    }

    fn message(self, at: &ConnectionInfo) -> Vec<u8> {
        match self {
            Self::None => at.login("none", &[]),
            Self::Password => at.login("password", &[&[0][..], &text(b"wrong")].concat()),
            Self::NewPassword => at.login("password", &[&[1][..], &text(b"old"), &text(b"new")].concat()),
            Self::Questions => at.login("keyboard-interactive", &[text(b""), text(b"")].concat()),
            Self::Answers => vec![61, 0, 0, 0, 0],
            Self::UnknownMethod => at.login("made-up", &[]),
            Self::Offer => at.offer("ssh-ed25519", &at.key()),
            // The base point's own encoding, whose secret nobody knows.
            Self::Stranger => {
                at.offer("ssh-ed25519", &[text(b"ssh-ed25519"), text(&[&[0x58][..], &[0x66; 31]].concat())].concat())
            }
            Self::Proof => at.proof("ssh-ed25519", &at.key(), "ssh-ed25519"),
            Self::WrongProof => {
                let mut proof = at.proof("ssh-ed25519", &at.key(), "ssh-ed25519");
                *proof.last_mut().expect("a signature") ^= 1;
                proof
            }
        }
    }
}

impl OnChannel {
    fn pick(numbers: &mut Numbers) -> Self {
        let wanted = numbers.coin();
        match numbers.below(24) {
            0..4 => Self::Data(numbers.of(&[b"one", b"two\n", b"", b"three "])),
            4 => Self::End,
            5 => Self::Close,
            6..9 => Self::Program { wanted },
            9..11 => Self::Terminal { wanted },
            11..14 => Self::Variable { wanted },
            14..16 => Self::Size { wanted },
            16..21 => {
                let (name, rest) = numbers.of(&REFUSED);
                Self::Refused { name, rest, wanted }
            }
            _ => Self::Nothing(numbers.of(&[93, 95, 99, 100])),
        }
    }

    fn message(self, channel: u32) -> Vec<u8> {
        let channel = channel.to_be_bytes();
        let request = |name: &str, wanted: bool, rest: &[u8]| {
            [&[98][..], &channel, &text(name.as_bytes()), &[u8::from(wanted)], rest].concat()
        };
        let sizes = [80_u32, 24, 0, 0].map(u32::to_be_bytes).concat();
        match self {
            Self::Data(bytes) => [&[94][..], &channel, &text(bytes)].concat(),
            Self::End => on_none(96, channel),
            Self::Close => on_none(97, channel),
            Self::Program { wanted } => request("exec", wanted, &text(b"cat")),
            Self::Terminal { wanted } => {
                request("pty-req", wanted, &[&text(b"xterm")[..], &sizes, &text(&[0])].concat())
            }
            Self::Variable { wanted } => request("env", wanted, &[text(b"A"), text(b"value")].concat()),
            Self::Size { wanted } => request("window-change", wanted, &sizes),
            Self::Refused { name, rest, wanted } => request(name, wanted, rest),
            Self::Nothing(number) => on_none(number, channel),
        }
    }
}

/// Requests that are refused in every state, with their fields.
const REFUSED: [(&str, &[u8]); 5] = [
    ("made-up@example.org", b"rest"),
    ("exit-status", &[0; 4]),
    ("auth-agent-req@openssh.com", &[]),
    ("signal", b"\0\0\0\x06MADEUP"),
    ("keepalive@openssh.com", &[]),
];

impl Break {
    fn pick(numbers: &mut Numbers, phase: Phase, model: &Model) -> Self {
        let mut choices = vec![Self::Leave, Self::ShortExchange, Self::AmidExchange];
        match phase {
            Phase::Keys | Phase::Over => {}
            Phase::Login => {
                choices.extend([Self::NoMethod, Self::NotText, Self::StrangeService]);
                choices.extend(model.has_user().then_some(Self::NewUser));
            }
            Phase::LoggedIn => choices.extend([Self::ConfirmNone, Self::TrailingOpen, Self::ShortGlobal]),
        }
        if let Some(open) = model.channels.iter().position(|channel| !channel.closed && !channel.ended) {
            choices.extend([Self::ShortRequest(open), Self::Confirm(open), Self::Refuse(open)]);
        }
        numbers.of(&choices)
    }

    fn messages(self, at: &ConnectionInfo, servers: &[u32]) -> Vec<Vec<u8>> {
        let on = |number: u8, index: usize, rest: &[u8]| [&[number][..], &servers[index].to_be_bytes(), rest].concat();
        vec![match self {
            Self::Leave => [&[1, 0, 0, 0, 11][..], &text(b"bye"), &text(b"")].concat(),
            Self::ShortExchange => vec![20; 9],
            Self::AmidExchange => return vec![proposal(), service("ssh-userauth"), global("made-up", true, &[])],
            Self::NoMethod => at.login("publickey", &[]),
            Self::NotText => at.login("password", &[&[0][..], &text(&[0xff])].concat()),
            Self::StrangeService => userauth(&at.user, "made-up", "none", &[]),
            Self::NewUser => userauth("nobody", "ssh-connection", "none", &[]),
            Self::ConfirmNone => [&[91][..], &4_000_000_000_u32.to_be_bytes(), &[0; 12]].concat(),
            Self::TrailingOpen => open("session", 99, &[0]),
            Self::ShortGlobal => vec![80],
            Self::Confirm(index) => on(91, index, &[0, 0, 0, 9, 0, 0, 9, 9, 0, 0, 9, 9]),
            Self::Refuse(index) => on(92, index, &[&[0; 4][..], &text(b""), &text(b"")].concat()),
            Self::ShortRequest(index) => on(98, index, &[]),
        }]
    }
}
