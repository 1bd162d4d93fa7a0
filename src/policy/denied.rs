//! Every way in which a request can be denied, by name.

/// A denial by name. The text is what the client may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// `maxSessions` are open.
    #[error("too many sessions are open on this connection")]
    Sessions,
    /// The name of a variable is none.
    #[error("the name of the environment variable is not made of letters, digits and '_'")]
    EnvName,
    /// The value of a variable holds a NUL.
    #[error("the value of the environment variable contains a NUL character")]
    EnvValue,
    /// The variable is never the client's to set.
    #[error("this environment variable cannot be set by the client")]
    EnvProtected,
    /// `security.env` does not let the variable pass.
    #[error("setting this environment variable is not allowed")]
    Env,
    /// What may run is restricted, and the variable could be a way around that.
    #[error("setting this environment variable is not allowed where commands are restricted")]
    EnvRestricted,
    /// The channel's variables are too many, or too large together.
    #[error("too many environment variables")]
    EnvSize,
    /// `security.tty`.
    #[error("terminals are disabled")]
    Tty,
    /// The terminal's type is no printable word.
    #[error("the terminal type (TERM) is not a printable word")]
    TermName,
    /// `security.shell`.
    #[error("shells are disabled")]
    Shell,
    /// `security.command` allows no command.
    #[error("commands are disabled")]
    Command,
    /// `security.command` allows others.
    #[error("this command is not allowed")]
    CommandFiltered,
    /// The command holds a NUL, at which the kernel would cut it.
    #[error("the command contains a NUL character")]
    CommandNul,
    /// The command is no text, and could only be run as another one.
    #[error("the command is not valid UTF-8")]
    CommandText,
    /// `security.subsystem` does not let the subsystem pass.
    #[error("this subsystem is not allowed")]
    Subsystem,
    /// `security.signal` does not let the signal pass.
    #[error("sending this signal is not allowed")]
    Signal,
    /// RFC 4254 section 6.10 knows no such signal.
    #[error("this signal is not known")]
    SignalName,
    /// `security.forwarding.forwardingMode`.
    #[error("port forwarding is disabled")]
    Direct,
    /// `security.forwarding.socketForwardingMode`.
    #[error("socket forwarding is disabled")]
    Socket,
    /// `security.forwarding.reverseForwardingMode`.
    #[error("reverse port forwarding is disabled")]
    Reverse,
    /// `security.forwarding.socketListenMode`.
    #[error("reverse socket forwarding is disabled")]
    SocketListen,
    /// `security.forwarding.x11ForwardingMode`.
    #[error("X11 forwarding is disabled")]
    X11,
    /// The target of a dial is no address.
    #[error("the address to connect to is not valid")]
    DialTarget,
    /// What a listener is to bind is no address.
    #[error("the address to listen on is not valid")]
    ListenTarget,
}

impl Denied {
    /// The log's code, ContainerSSH's.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Sessions => "SECURITY_MAX_SESSIONS",
            Self::EnvName | Self::EnvValue | Self::EnvProtected | Self::Env | Self::EnvRestricted | Self::EnvSize => {
                "SECURITY_ENV_REJECTED"
            }
            Self::Tty | Self::TermName => "SECURITY_TTY_REJECTED",
            Self::Shell => "SECURITY_SHELL_REJECTED",
            Self::Command | Self::CommandFiltered | Self::CommandNul | Self::CommandText => "SECURITY_EXEC_REJECTED",
            Self::Subsystem => "SECURITY_SUBSYSTEM_REJECTED",
            Self::Signal | Self::SignalName => "SECURITY_SIGNAL_REJECTED",
            Self::Direct | Self::Socket | Self::DialTarget => "SECURITY_FORWARDING_REJECTED",
            Self::Reverse | Self::SocketListen | Self::ListenTarget => "SECURITY_REVERSE_FORWARDING_REJECTED",
            Self::X11 => "SECURITY_X11_FORWARDING_REJECTED",
        }
    }
}
