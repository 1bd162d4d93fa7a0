//! The decisions, one for each kind of request. [`Request`] is sealed: what can be asked for is listed here.

mod start;

use super::{Denied, Dial, Listen, Mode, OpenSession, OpenTerminal, Permit, Rules, SendSignal, SetEnv, Terminal};
use crate::types::{EnvName, EnvVar};
use sealed::Judge;

/// How many variables a channel may hold.
const ENV_COUNT: usize = 256;
/// How many bytes these may be, names and values together.
const ENV_BYTES: usize = 128 * 1024;
/// How long a terminal type may be, in bytes.
const TERM_BYTES: usize = 128;
/// The longest host name that DNS knows.
const HOST_BYTES: usize = 255;
/// The longest path that Linux takes.
const PATH_BYTES: usize = 4096;

/// The signals of RFC 4254 section 6.10.
const SIGNALS: [&str; 13] =
    ["ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"];

/// Whether a name (without SIG) is one of RFC 4254 section 6.10: no other is ever let pass.
#[must_use]
pub fn is_signal(name: &str) -> bool {
    SIGNALS.contains(&name)
}

mod sealed {
    use super::{Denied, Rules};

    pub trait Judge {
        type Granted;
        fn judge(self, rules: &Rules) -> Result<Self::Granted, Denied>;
    }
}

/// Something that a client can ask for, and that the rules decide on.
pub trait Request: Judge {}

impl<T: Judge> Request for T {}

impl Rules {
    /// Decides on a request.
    ///
    /// # Errors
    /// The denial by name.
    pub fn decide<R: Request>(&self, request: R) -> Result<Permit<R::Granted>, Denied> {
        Ok(Permit { request: request.judge(self)? })
    }
}

fn ensure(allowed: bool, denied: Denied) -> Result<(), Denied> {
    if allowed { Ok(()) } else { Err(denied) }
}

impl Judge for OpenSession {
    type Granted = Self;

    fn judge(self, rules: &Rules) -> Result<Self, Denied> {
        let full = rules.max_sessions.is_some_and(|max| self.open >= max as usize);
        ensure(!full, Denied::Sessions)?;
        Ok(self)
    }
}

impl Judge for SetEnv {
    type Granted = EnvVar;

    fn judge(self, rules: &Rules) -> Result<EnvVar, Denied> {
        let name = EnvName::parse(&self.name).map_err(|_| Denied::EnvName)?;
        ensure(!is_protected(name.as_str()), Denied::EnvProtected)?;
        let mode = rules.effective(rules.env.mode);
        ensure(rules.env.passes(mode, name.as_str()), Denied::Env)?;
        let harmless = is_harmless(name.as_str()) || rules.env.allow.iter().any(|allowed| allowed == name.as_str());
        ensure(harmless || !rules.restricted(), Denied::EnvRestricted)?;
        let bytes = self.held_bytes.saturating_add(name.as_str().len()).saturating_add(self.value.len());
        ensure(self.held < ENV_COUNT && bytes <= ENV_BYTES, Denied::EnvSize)?;
        EnvVar::new(name, self.value).map_err(|_| Denied::EnvValue)
    }
}

/// Names that tell the program about the connection, or make a shell or the loader run something.
fn is_protected(name: &str) -> bool {
    name.starts_with("SSH_") || name.starts_with("LD_") || matches!(name, "BASH_ENV" | "ENV")
}

/// Names that a restricted program can be given.
fn is_harmless(name: &str) -> bool {
    matches!(name, "TERM" | "LANG") || name.starts_with("LC_")
}

impl Judge for OpenTerminal {
    type Granted = Terminal;

    fn judge(self, rules: &Rules) -> Result<Terminal, Denied> {
        ensure(rules.effective(rules.tty).is_enable(), Denied::Tty)?;
        let term = &self.terminal.term;
        // A client without a TERM of its own sends an empty one.
        let word = term.len() <= TERM_BYTES && term.chars().all(|c| c.is_ascii_graphic());
        ensure(word, Denied::TermName)?;
        Ok(self.terminal)
    }
}

impl Judge for SendSignal {
    type Granted = Self;

    fn judge(self, rules: &Rules) -> Result<Self, Denied> {
        let mode = rules.effective(rules.signal.mode);
        ensure(rules.signal.passes(mode, &self.name), Denied::Signal)?;
        ensure(is_signal(&self.name), Denied::SignalName)?;
        Ok(self)
    }
}

/// Forwarding is off unless its own key says enable; `defaultMode` does not reach it.
fn forwards(mode: Mode, denied: Denied) -> Result<(), Denied> {
    ensure(mode.is_enable(), denied)
}

fn is_host(host: &str) -> bool {
    host.len() <= HOST_BYTES && !host.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn is_path(path: &str) -> bool {
    !path.is_empty() && path.len() <= PATH_BYTES && !path.contains('\0')
}

impl Judge for Dial {
    type Granted = Self;

    fn judge(self, rules: &Rules) -> Result<Self, Denied> {
        match &self {
            Self::Tcp { host, port } => {
                forwards(rules.forwarding.direct, Denied::Direct)?;
                ensure(!host.is_empty() && is_host(host) && *port != 0, Denied::DialTarget)?;
            }
            Self::Unix { path } => {
                forwards(rules.forwarding.socket, Denied::Socket)?;
                ensure(is_path(path), Denied::DialTarget)?;
            }
        }
        Ok(self)
    }
}

impl Judge for Listen {
    type Granted = Self;

    fn judge(self, rules: &Rules) -> Result<Self, Denied> {
        match &self {
            Self::Tcp { host, .. } => {
                forwards(rules.forwarding.reverse, Denied::Reverse)?;
                ensure(is_host(host), Denied::ListenTarget)?;
            }
            Self::Unix { path } => {
                forwards(rules.forwarding.socket_listen, Denied::SocketListen)?;
                ensure(is_path(path), Denied::ListenTarget)?;
            }
            Self::X11 => forwards(rules.forwarding.x11, Denied::X11)?,
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
