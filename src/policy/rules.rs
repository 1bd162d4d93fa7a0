//! The rules: `security.*`, parsed, and what they say to each request.

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

/// A denial by name. The text is what the client may read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// `maxSessions` are open.
    #[error("too many sessions are open on this connection")]
    Sessions,
}
