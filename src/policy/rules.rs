//! The parsed `security.*` section and the meaning of its modes.

use super::destination::Destinations;

/// The value of a `mode` key. Unset is a value of its own: it inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RuleMode {
    /// Inherits `defaultMode`, or [`RuleMode::Enable`] if that is unset.
    #[default]
    Unset,
    /// Allows everything but the deny list.
    Enable,
    /// Allows the allow list only; without a list, nothing.
    Filter,
    /// Allows nothing at all.
    Disable,
}

/// A section with a mode and lists of exact texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ListRule {
    pub mode: RuleMode,
    /// Texts that [`RuleMode::Filter`] allows.
    pub allow: Vec<String>,
    /// Texts that [`RuleMode::Enable`] refuses.
    pub deny: Vec<String>,
}

/// The section `security.forwarding`. An unset mode means disable; `defaultMode` does not apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Forwarding {
    /// `reverseForwardingMode`, for `tcpip-forward` requests.
    pub reverse: RuleMode,
    /// `forwardingMode`, for `direct-tcpip` channels.
    pub direct: RuleMode,
    /// `socketForwardingMode`, for `direct-streamlocal@openssh.com` channels.
    pub socket: RuleMode,
    /// `socketListenMode`, for `streamlocal-forward@openssh.com` requests.
    pub socket_listen: RuleMode,
    /// `x11ForwardingMode`, for `x11-req` requests.
    pub x11: RuleMode,
    /// `agentForwardingMode`, for `auth-agent-req@openssh.com` and `agent-req` requests.
    pub agent: RuleMode,
    /// `allow` and `deny`, for all but X11 and agents, which have no destination.
    pub destinations: Destinations,
}

/// The section `security`; a field has the name of its key unless its doc says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rules {
    pub default_mode: RuleMode,
    /// A command that replaces every request; never empty.
    pub force_command: Option<String>,
    pub env: ListRule,
    /// Exact strings of exec requests; the deny list is always empty.
    pub command: ListRule,
    pub shell: RuleMode,
    pub subsystem: ListRule,
    pub tty: RuleMode,
    /// The rule on signals, whose names have no SIG.
    pub signal: ListRule,
    pub forwarding: Forwarding,
    /// Limit of open session channels; `None` is no limit.
    pub max_sessions: Option<u32>,
    /// `limits.maxEnv` and `limits.maxEnvSize`.
    pub env_limit: EnvLimit,
}

/// Limit of the variables of a channel's client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EnvLimit {
    /// Limit of their number.
    pub count: usize,
    /// Limit of their length in bytes, names and values together.
    pub bytes: usize,
}

impl Default for EnvLimit {
    fn default() -> Self {
        Self { count: 256, bytes: 128 * 1024 }
    }
}

impl EnvLimit {
    /// Tells whether so many variables of so many bytes are within the limit.
    pub(super) fn allows(self, count: usize, bytes: usize) -> bool {
        count <= self.count && bytes <= self.bytes
    }
}

impl RuleMode {
    /// Tells whether the mode allows a request that no list applies to.
    pub(super) fn is_enable(self) -> bool {
        self == Self::Enable
    }
}

impl ListRule {
    /// Applies the rule to `text`. `mode` is the section's [effective](Rules::effective) mode.
    pub(super) fn passes(&self, mode: RuleMode, text: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|entry| entry == text);
        match mode {
            RuleMode::Enable => !listed(&self.deny),
            RuleMode::Filter => listed(&self.allow),
            RuleMode::Unset | RuleMode::Disable => false,
        }
    }
}

impl Rules {
    /// Resolves a section's mode: its own, else `defaultMode`, else enable.
    pub(crate) fn effective(&self, mode: RuleMode) -> RuleMode {
        [mode, self.default_mode].into_iter().find(|mode| *mode != RuleMode::Unset).unwrap_or(RuleMode::Enable)
    }

    /// Tells whether some programs are forbidden, so that a variable (`PATH`, `IFS`) could be a way around the rules.
    pub(crate) fn restricted(&self) -> bool {
        self.force_command.is_some()
            || !self.effective(self.command.mode).is_enable()
            || !self.effective(self.shell).is_enable()
    }
}
