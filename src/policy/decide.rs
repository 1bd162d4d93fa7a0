//! The decisions, one for each kind of request. [`PolicyRequest`] is sealed: this file lists every request there is.

use super::{
    CommandBytes, ConnectionEndpoints, Denied, Dial, EnvLimit, Listen, OpenSession, OpenTerminal, Permit,
    ProgramRequest, ProgramSpec, RuleMode, Rules, SendSignal, SetEnv, StartProgram, Terminal, X11Forwarding,
};
use crate::types::{EnvName, EnvVar};
use sealed::Judge;
use std::collections::HashMap;

/// Limit of a terminal type, in bytes.
const TERM_BYTES: usize = 128;
/// Limit of a host name in bytes, as in DNS.
const HOST_BYTES: usize = 255;
/// Limit of a path in bytes, as in Linux.
const PATH_BYTES: usize = 4096;

/// Limit of an X11 cookie or the name of its protocol, in bytes.
const XAUTH_BYTES: usize = 512;

/// The signals of RFC 4254 section 6.10.
const SIGNALS: [&str; 13] =
    ["ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"];

/// Tells whether a name (without SIG) is one of RFC 4254 section 6.10. No rule lets another one pass.
pub(crate) fn is_signal(name: &str) -> bool {
    SIGNALS.contains(&name)
}

mod sealed {
    use super::{Denied, Rules};

    pub(crate) trait Judge {
        type Granted;
        fn judge(self, rules: &Rules) -> Result<Self::Granted, Denied>;
    }
}

/// A request that a client can make and that the rules decide.
pub(crate) trait PolicyRequest: Judge {}

impl<T: Judge> PolicyRequest for T {}

impl Rules {
    /// Decides a request by these rules.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub(crate) fn decide<R: PolicyRequest>(&self, request: R) -> Result<Permit<R::Granted>, Denied> {
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
        ensure(rules.env_limit.allows(self.held.saturating_add(1), bytes), Denied::EnvSize)?;
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
fn forwards(mode: RuleMode, denied: Denied) -> Result<(), Denied> {
    ensure(mode.is_enable(), denied)
}

/// Forwarding with a destination is also on with filter, if there is a list to filter by.
fn forwards_some(mode: RuleMode, rules: &Rules, denied: Denied) -> Result<(), Denied> {
    let is_filtered = mode == RuleMode::Filter && rules.forwarding.destinations.has_allow();
    ensure(mode.is_enable() || is_filtered, denied)
}

fn is_host(host: &str) -> bool {
    host.len() <= HOST_BYTES && !host.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn is_path(path: &str) -> bool {
    !path.is_empty() && path.len() <= PATH_BYTES && !path.contains('\0')
}

/// Tells whether a text can be an argument of xauth's, as OpenSSH's sshd judges it.
fn is_xauth_word(text: &str) -> bool {
    text.len() <= XAUTH_BYTES && text.chars().all(|c| c.is_ascii_alphanumeric() || ".:/-_".contains(c))
}

impl Judge for Dial {
    type Granted = Self;

    fn judge(self, rules: &Rules) -> Result<Self, Denied> {
        match &self {
            Self::Tcp { host, port } => {
                forwards_some(rules.forwarding.direct, rules, Denied::Direct)?;
                ensure(!host.is_empty() && is_host(host) && *port != 0, Denied::DialTarget)?;
                ensure(rules.forwarding.destinations.passes_dial(host, *port), Denied::Destination)?;
            }
            Self::Unix { path } => {
                forwards_some(rules.forwarding.socket, rules, Denied::Socket)?;
                ensure(is_path(path), Denied::DialTarget)?;
                ensure(rules.forwarding.destinations.passes_socket(path), Denied::Destination)?;
            }
        }
        Ok(self)
    }
}

impl Judge for Listen {
    type Granted = Self;

    fn judge(self, rules: &Rules) -> Result<Self, Denied> {
        match &self {
            Self::Tcp { host, port } => {
                forwards_some(rules.forwarding.reverse, rules, Denied::Reverse)?;
                ensure(is_host(host), Denied::ListenTarget)?;
                ensure(rules.forwarding.destinations.passes_listen(host, *port), Denied::ListenDestination)?;
            }
            Self::Unix { path } => {
                forwards_some(rules.forwarding.socket_listen, rules, Denied::SocketListen)?;
                ensure(is_path(path), Denied::ListenTarget)?;
                ensure(rules.forwarding.destinations.passes_socket_listen(path), Denied::ListenDestination)?;
            }
            Self::Agent => forwards(rules.forwarding.agent, Denied::Agent)?,
            Self::X11(X11Forwarding { auth_protocol, auth_cookie, .. }) => {
                forwards(rules.forwarding.x11, Denied::X11)?;
                ensure(is_xauth_word(auth_protocol) && is_xauth_word(auth_cookie), Denied::X11Cookie)?;
            }
        }
        Ok(self)
    }
}

impl Judge for StartProgram {
    type Granted = ProgramSpec;

    fn judge(self, rules: &Rules) -> Result<ProgramSpec, Denied> {
        ensure_allowed(rules, &self.request)?;
        let mut env: Vec<EnvVar> = self.env.into_iter().map(Permit::spend).collect();
        ensure(is_bounded(&env, rules.env_limit), Denied::EnvSize)?;
        let terminal = self.terminal.map(Permit::spend);
        env.extend(gateway_variables(rules, &self.request, terminal.as_ref(), self.endpoints)?);
        let (request, original) = apply_force_command(rules, self.request);
        Ok(ProgramSpec { request, env: last_of_each(env), original, terminal })
    }
}

/// Applies the rule of the requested kind of program.
fn ensure_allowed(rules: &Rules, request: &ProgramRequest) -> Result<(), Denied> {
    match request {
        ProgramRequest::Shell => ensure(rules.effective(rules.shell).is_enable(), Denied::Shell),
        ProgramRequest::Exec(command) => {
            match rules.effective(rules.command.mode) {
                RuleMode::Enable => {}
                RuleMode::Filter => ensure(rules.command.allow.contains(command), Denied::CommandFiltered)?,
                RuleMode::Unset | RuleMode::Disable => return Err(Denied::Command),
            }
            ensure(!command.contains('\0'), Denied::CommandNul)
        }
        ProgramRequest::ExecBytes(command) => {
            match rules.effective(rules.command.mode) {
                RuleMode::Enable => {}
                // The list is of texts.
                RuleMode::Filter => return Err(Denied::CommandFiltered),
                RuleMode::Unset | RuleMode::Disable => return Err(Denied::Command),
            }
            ensure(!command.as_bytes().contains(&0), Denied::CommandNul)
        }
        ProgramRequest::Subsystem(name) => {
            let mode = rules.effective(rules.subsystem.mode);
            ensure(rules.subsystem.passes(mode, name) && !name.contains('\0'), Denied::Subsystem)
        }
    }
}

/// Replaces a request that its own rule has let pass by `forceCommand`, if that is set. Returns the replaced command, too,
/// where it is no text: no [`EnvVar`] holds it.
fn apply_force_command(rules: &Rules, request: ProgramRequest) -> (ProgramRequest, Option<CommandBytes>) {
    match (rules.force_command.clone(), request) {
        (None, request) => (request, None),
        (Some(forced), ProgramRequest::ExecBytes(original)) => (ProgramRequest::Exec(forced), Some(original)),
        (Some(forced), _) => (ProgramRequest::Exec(forced), None),
    }
}

/// Makes the variables that Podgate sets itself.
fn gateway_variables(
    rules: &Rules,
    request: &ProgramRequest,
    terminal: Option<&Terminal>,
    endpoints: ConnectionEndpoints,
) -> Result<Vec<EnvVar>, Denied> {
    let ConnectionEndpoints { client, server } = endpoints;
    let client = format!("{} {}", client.ip().to_canonical(), client.port());
    let mut env = vec![
        variable("SSH_CONNECTION", format!("{client} {} {}", server.ip().to_canonical(), server.port()))?,
        variable("SSH_CLIENT", format!("{client} {}", server.port()))?,
    ];
    if let Some(terminal) = terminal.filter(|terminal| !terminal.term.is_empty()) {
        env.push(variable("TERM", terminal.term.clone())?);
    }
    let original = match request {
        ProgramRequest::Shell | ProgramRequest::ExecBytes(_) => None,
        ProgramRequest::Exec(text) | ProgramRequest::Subsystem(text) => Some(text),
    };
    if let (Some(original), Some(_)) = (original, &rules.force_command) {
        env.push(variable("SSH_ORIGINAL_COMMAND", original.clone())?);
    }
    Ok(env)
}

impl Permit<ProgramSpec> {
    /// Names the agent's socket to the program, which was listened for by a permit of its own.
    ///
    /// # Errors
    /// No variable can hold the path.
    pub(crate) fn name_agent(&mut self, path: &str) -> Result<(), Denied> {
        self.set_variables(vec![variable("SSH_AUTH_SOCK", path.to_owned())?]);
        Ok(())
    }

    /// Names the X11 display to the program, which was listened for by a permit of its own.
    ///
    /// # Errors
    /// No variable can hold the display or the path of the file with its cookie.
    pub(crate) fn name_display(&mut self, display: &str, authority: &str) -> Result<(), Denied> {
        let mut variables = vec![variable("DISPLAY", display.to_owned())?];
        if !authority.is_empty() {
            variables.push(variable("XAUTHORITY", authority.to_owned())?);
        }
        self.set_variables(variables);
        Ok(())
    }

    fn set_variables(&mut self, variables: Vec<EnvVar>) {
        let env = std::mem::take(&mut self.request.env);
        self.request.env = last_of_each(env.into_iter().chain(variables).collect());
    }
}

fn variable(name: &str, value: String) -> Result<EnvVar, Denied> {
    let name = EnvName::parse(name).map_err(|_| Denied::EnvName)?;
    EnvVar::new(name, value).map_err(|_| Denied::EnvValue)
}

fn is_bounded(env: &[EnvVar], limit: EnvLimit) -> bool {
    let bytes: usize = env.iter().map(|variable| variable.name().as_str().len() + variable.value().len()).sum();
    limit.allows(env.len(), bytes)
}

/// Keeps each name once, with its last value, in the order of first appearance.
fn last_of_each(env: Vec<EnvVar>) -> Vec<EnvVar> {
    let mut places = HashMap::new();
    let mut unique: Vec<EnvVar> = Vec::new();
    for variable in env {
        match places.get(variable.name()) {
            Some(&place) => unique[place] = variable,
            None => {
                places.insert(variable.name().clone(), unique.len());
                unique.push(variable);
            }
        }
    }
    unique
}

#[cfg(test)]
mod tests;
