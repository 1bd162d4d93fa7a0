//! The reasons for which the rules deny a request.

/// The reason for a denial. Its text may be shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The connection has `maxSessions` sessions open.
    #[error("too many sessions are open on this connection")]
    Sessions,
    /// The variable's name is not `[A-Za-z_][A-Za-z0-9_]*`.
    #[error("the name of the environment variable is not made of letters, digits and '_'")]
    EnvName,
    /// The variable's value holds a NUL.
    #[error("the value of the environment variable contains a NUL character")]
    EnvValue,
    /// The variable is one that no client may set.
    #[error("this environment variable cannot be set by the client")]
    EnvProtected,
    /// The rule `security.env` forbids the variable.
    #[error("setting this environment variable is not allowed")]
    Env,
    /// Programs are restricted, and the variable could be a way around that.
    #[error("setting this environment variable is not allowed where commands are restricted")]
    EnvRestricted,
    /// The channel has too many variables, or too long ones together.
    #[error("too many environment variables")]
    EnvSize,
    /// The rule `security.tty` forbids terminals.
    #[error("terminals are disabled")]
    Tty,
    /// The terminal's type is not a printable ASCII word.
    #[error("the terminal type (TERM) is not a printable word")]
    TermName,
    /// The rule `security.shell` forbids shells.
    #[error("shells are disabled")]
    Shell,
    /// The rule `security.command` forbids every exec request.
    #[error("commands are disabled")]
    Command,
    /// The rule `security.command` allows other exec requests.
    #[error("this command is not allowed")]
    CommandFiltered,
    /// The exec request holds a NUL, at which the kernel would cut it.
    #[error("the command contains a NUL character")]
    CommandNul,
    /// The rule `security.subsystem` forbids the subsystem.
    #[error("this subsystem is not allowed")]
    Subsystem,
    /// The rule `security.signal` forbids the signal.
    #[error("sending this signal is not allowed")]
    Signal,
    /// The signal is not in RFC 4254 section 6.10.
    #[error("this signal is not known")]
    SignalName,
    /// The key `security.forwarding.forwardingMode` forbids it.
    #[error("port forwarding is disabled")]
    Direct,
    /// The key `security.forwarding.socketForwardingMode` forbids it.
    #[error("socket forwarding is disabled")]
    Socket,
    /// The key `security.forwarding.reverseForwardingMode` forbids it.
    #[error("reverse port forwarding is disabled")]
    Reverse,
    /// The key `security.forwarding.socketListenMode` forbids it.
    #[error("reverse socket forwarding is disabled")]
    SocketListen,
    /// The key `security.forwarding.x11ForwardingMode` forbids it.
    #[error("X11 forwarding is disabled")]
    X11,
    /// The X11 cookie or the name of its protocol has characters that no cookie has.
    #[error("the X11 cookie is not valid")]
    X11Cookie,
    /// The key `security.forwarding.agentForwardingMode` forbids it.
    #[error("agent forwarding is disabled")]
    Agent,
    /// The lists `security.forwarding.allow` and `deny` forbid a connection to this destination.
    #[error("connections to this destination are not allowed")]
    Destination,
    /// The lists `security.forwarding.allow` and `deny` forbid a listener at this address.
    #[error("listening on this address is not allowed")]
    ListenDestination,
    /// The target of a dial is not a valid address.
    #[error("the address to connect to is not valid")]
    DialTarget,
    /// The address for a listener is not valid.
    #[error("the address to listen on is not valid")]
    ListenTarget,
}
