//! Messages of the protocol that a recording has as they were said, beside the events.

use crate::policy::X11Forwarding;

/// A message from the client, or one to it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WireMessage<'a> {
    Environment {
        name: &'a str,
        value: &'a str,
    },
    Terminal {
        term: &'a str,
        size: WireSize,
        modes: &'a [(u8, u32)],
    },
    Window(WireSize),
    Shell,
    Exec(&'a str),
    Subsystem(&'a str),
    /// The channel's last request had no effect, for that reason.
    Failed(&'a str),
    Signal(&'a str),
    X11(&'a X11Forwarding),
    Agent,
    ForwardTcp {
        host: &'a str,
        port: u32,
    },
    /// The port that the guest chose for a listener whose client left the choice to it.
    BoundTcp {
        host: &'a str,
        port: u32,
    },
    CancelForwardTcp {
        host: &'a str,
        port: u32,
    },
    ForwardUnix {
        path: &'a str,
    },
    CancelForwardUnix {
        path: &'a str,
    },
    DirectTcp {
        host: &'a str,
        port: u32,
        origin: (&'a str, u32),
    },
    DirectUnix {
        path: &'a str,
    },
    /// A connection that came to a listener is offered to the client.
    OfferedTcp {
        host: &'a str,
        port: u32,
        origin: (&'a str, u32),
    },
    OfferedUnix {
        path: &'a str,
    },
    OfferedX11 {
        origin: (&'a str, u32),
    },
    OfferedAgent,
    /// The client took an offer: the channel of that type has its number.
    Opened(&'a str),
    /// The program, or the guest's end of a forwarded connection, writes no more.
    CloseWrite,
    /// The channel is over.
    Close,
    /// The gateway ends the connection, for that reason.
    Ending(&'a str),
}

/// A terminal's size as the client tells it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WireSize {
    pub columns: u32,
    pub rows: u32,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// A stream of data, with its number in a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataStream {
    Stdin,
    Stdout,
    Stderr,
    /// From the client, through a forwarded connection.
    ForwardIn,
    /// To the client, through a forwarded connection.
    ForwardOut,
}
