//! What happened on a connection, as typed events. An effect is recorded before it happens: whoever cannot record must
//! not act. There is one sink, the connection's log, with ContainerSSH's codes and levels where they mean the same.
//!
//! An event holds no credential, no variable's value and nothing of what was typed or shown.

#[cfg(test)]
pub(crate) mod capture;
mod line;

use crate::auth::Method;
use crate::guest::{Exit, Refusal};
use crate::policy::{Denied, Terminal, What};
use crate::telemetry::ConnectionLog;
use crate::telemetry::metrics::{Outcome, Step, Timer};
use crate::types::{EnvName, Size};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Records one connection's events; cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    log: ConnectionLog,
    /// Runs from the login to the first program.
    waiting: Arc<Mutex<Option<Timer>>>,
}

impl Recorder {
    /// A recorder into the connection's log.
    #[must_use]
    pub fn new(log: ConnectionLog) -> Self {
        Self { log, waiting: Arc::default() }
    }

    /// Records an event. To be called before the effect.
    pub fn record(&self, event: Event<'_>) {
        self.measure(&event);
        let (level, code, message) = event.head();
        let details = event.details();
        let details: Vec<(&str, &str)> = details.iter().map(|(label, value)| (*label, value.as_ref())).collect();
        self.log.write(level, code, message, &details);
    }

    fn measure(&self, event: &Event<'_>) {
        let outcome = match event {
            Event::AuthSucceeded { .. } => {
                *self.waiting() = Some(self.log.metrics().step(Step::FirstProgram));
                return;
            }
            Event::ProgramStarted { .. } => Outcome::Success,
            Event::ProgramRefused { .. } => Outcome::Failed,
            _ => return,
        };
        if let Some(timer) = self.waiting().take() {
            timer.end(outcome);
        }
    }

    /// Every change of it is one step.
    fn waiting(&self) -> MutexGuard<'_, Option<Timer>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that happens on a connection.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The client's TCP connection was accepted.
    Connected,
    /// The connection is over.
    Disconnected {
        /// Why, where it was not the client's wish.
        reason: Option<&'a str>,
        /// Since the connection was accepted.
        duration: Duration,
        /// Bytes on the wire.
        traffic: Traffic,
    },
    /// The client left while it waited for its login or its pod.
    Abandoned {
        /// The last that was known of what it waited for.
        reason: &'a str,
    },
    /// The client did not log in in time.
    LoginTimeout,
    /// What the client sent as its name is no login name.
    BadUsername {
        /// What is wrong with it.
        reason: &'a str,
    },
    /// The client tried to log in by what nobody offered.
    NotOffered {
        /// Method that it asked for.
        method: &'static str,
    },
    /// A credential came.
    AuthAttempt {
        /// How.
        method: Method,
    },
    /// The client is who it says.
    AuthSucceeded {
        /// How it was proved.
        method: Method,
    },
    /// The credential was refused.
    AuthFailed {
        /// How it was tried.
        method: Method,
        /// Who refused it.
        reason: &'a str,
        /// The webhook's own reason, which is the user's too.
        message: Option<&'a str>,
    },
    /// Nobody could say whether the credential is good.
    AuthUnavailable {
        /// How it was tried.
        method: Method,
        /// Why nobody could.
        reason: &'a str,
        /// Set where the webhook's own line has told it.
        logged: bool,
    },
    /// The connection has its settings and its guest is being made.
    Admitted,
    /// The connection logged in, and the config webhook says that it gets nothing.
    ConfigDenied {
        /// The webhook's own reason, which is the user's too.
        message: Option<&'a str>,
    },
    /// The connection logged in but cannot have what it came for.
    AdmissionFailed {
        /// Why.
        reason: &'a str,
        /// Set where the webhook's own line has told it.
        logged: bool,
    },
    /// A session channel opens.
    ChannelOpened {
        /// Its number on the wire.
        channel: u32,
    },
    /// The rules deny a request.
    Denied {
        /// What was asked for.
        request: Request,
        /// The denial.
        denied: &'a Denied,
    },
    /// The rules allow a request that cannot be served.
    Unsupported {
        /// What was asked for.
        request: Request,
        /// The request in words.
        what: &'a str,
    },
    /// The client sets a variable; its value is nobody's business.
    EnvSet {
        /// Its name.
        name: &'a EnvName,
    },
    /// The channel gets a terminal.
    TerminalOpened {
        /// The terminal.
        terminal: &'a Terminal,
    },
    /// A program is to be started.
    ProgramStarting {
        /// What it is.
        what: &'a What,
        /// Whether it has a terminal.
        terminal: bool,
    },
    /// The program runs.
    ProgramStarted {
        /// The request that started it.
        what: &'a What,
        /// Whether it has a terminal.
        terminal: bool,
    },
    /// The program could not be started.
    ProgramRefused {
        /// Why.
        refusal: &'a Refusal,
    },
    /// The program is over.
    ProgramEnded {
        /// How it ended.
        exit: &'a Exit,
        /// Since it was started.
        duration: Duration,
    },
    /// The client left while the program ran.
    ProgramLeft {
        /// Since the program was started.
        duration: Duration,
    },
    /// The terminal gets another size.
    Resized {
        /// The new one.
        size: Size,
    },
    /// A signal goes to the program.
    Signalled {
        /// Its name without SIG.
        name: &'a str,
    },
    /// A signal did not reach the program.
    SignalRefused {
        /// Why.
        refusal: &'a Refusal,
    },
    /// The client sent more than it was allowed to; the connection ends.
    WindowIgnored,
    /// Client and gateway have no algorithm of a kind in common; the connection ends.
    NoCommonAlgorithm {
        /// The kind.
        kind: &'a str,
        /// What the client offered.
        offered: &'a str,
        /// What would let it in.
        remedy: &'a str,
    },
    /// The client sent a text that is not UTF-8; the connection ends.
    NotUtf8 {
        /// What it may have been.
        what: &'a str,
    },
    /// The client sent a message that it must not send; the connection ends.
    ProtocolBroken {
        /// What it did.
        how: &'a str,
    },
    /// The client sent extended data, which no program takes; told once a connection.
    ExtendedDataIgnored,
    /// The client reached a limit of the gateway's.
    LimitHit {
        /// Which one, in words.
        limit: &'a str,
    },
}

/// The bytes of a connection as TCP carried them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// From the client.
    pub received: u64,
    /// To the client.
    pub sent: u64,
}

/// What a client can ask for after its login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// One more session channel.
    Session,
    /// A shell, command or subsystem.
    Program,
    /// A terminal.
    Terminal,
    /// A variable.
    Environment,
    /// A signal.
    Signal,
    /// A connection out of the guest.
    Dial,
    /// A listener in the guest.
    Listen,
}

#[cfg(test)]
mod tests;
