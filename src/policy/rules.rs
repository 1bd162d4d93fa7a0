//! The rules: `security.*`, parsed, and what each mode says by itself.

/// A `mode` key, parsed. Unset is its own value: it inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Not set: `defaultMode`, and where that is unset, enable.
    #[default]
    Unset,
    /// Everything but the deny list.
    Enable,
    /// Only the allow list; where there is no list, nothing.
    Filter,
    /// Nothing.
    Disable,
}

/// A section with lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListRule {
    /// The mode.
    pub mode: Mode,
    /// What `filter` lets pass: exact texts.
    pub allow: Vec<String>,
    /// What `enable` holds back: exact texts.
    pub deny: Vec<String>,
}

/// `security.forwarding`: unset is disable, `defaultMode` does not reach here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// `reverseForwardingMode`: `tcpip-forward`.
    pub reverse: Mode,
    /// `forwardingMode`: `direct-tcpip`.
    pub direct: Mode,
    /// `socketForwardingMode`: `direct-streamlocal@openssh.com`.
    pub socket: Mode,
    /// `socketListenMode`: `streamlocal-forward@openssh.com`.
    pub socket_listen: Mode,
    /// `x11ForwardingMode`: `x11-req`.
    pub x11: Mode,
}

/// `security.*`, parsed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// `defaultMode`.
    pub default_mode: Mode,
    /// `forceCommand`, never empty.
    pub force_command: Option<String>,
    /// `env`.
    pub env: ListRule,
    /// `command`; there is no deny list.
    pub command: ListRule,
    /// `shell.mode`.
    pub shell: Mode,
    /// `subsystem`.
    pub subsystem: ListRule,
    /// `tty.mode`.
    pub tty: Mode,
    /// `signal`, names without SIG.
    pub signal: ListRule,
    /// `forwarding`.
    pub forwarding: Forwarding,
    /// `maxSessions`: how many session channels may be open at once; `None` is no limit.
    pub max_sessions: Option<u32>,
}

impl Mode {
    /// Whether the mode lets something pass that has no list to filter by.
    pub(super) fn is_enable(self) -> bool {
        self == Self::Enable
    }
}

impl ListRule {
    /// Whether the rule lets `text` pass, its mode being `mode` once the default has been applied.
    pub(super) fn passes(&self, mode: Mode, text: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|entry| entry == text);
        match mode {
            Mode::Enable => !listed(&self.deny),
            Mode::Filter => listed(&self.allow),
            Mode::Unset | Mode::Disable => false,
        }
    }
}

impl Rules {
    /// What a section's mode means: its own, else `defaultMode`, else enable.
    #[must_use]
    pub fn effective(&self, mode: Mode) -> Mode {
        [mode, self.default_mode].into_iter().find(|mode| *mode != Mode::Unset).unwrap_or(Mode::Enable)
    }

    /// Whether the user may run less than anything, so that a variable could be a way around (`PATH`, `IFS`).
    #[must_use]
    pub fn restricted(&self) -> bool {
        self.force_command.is_some()
            || !self.effective(self.command.mode).is_enable()
            || !self.effective(self.shell).is_enable()
    }
}
