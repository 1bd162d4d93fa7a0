//! The client of a session, as its task knows it.

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// The client's side of a session channel. A write waits for the client's window.
pub(crate) trait Client: Send + Sync {
    /// Sends a piece of the program's standard output.
    fn stdout(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>>;
    /// Sends a piece of the program's standard error.
    fn stderr(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>>;
    /// Sends a line of the gateway's on standard error. It is no use of the connection.
    fn line(&self, line: Bytes) -> BoxFuture<'_, Result<(), ClientGone>>;
    /// Answers the request that is not answered yet: CHANNEL_SUCCESS or CHANNEL_FAILURE (RFC 4254 section 5.4).
    fn answer(&self, accepted: bool) -> BoxFuture<'_, Result<(), ClientGone>>;
    /// Tells that no output follows, before the exit is known. Output and lines that come all the same are dropped.
    fn end_of_output(&self) -> BoxFuture<'_, Result<(), ClientGone>>;
    /// Sends the exit and closes the channel.
    fn end(&self, exit: ClientExit) -> BoxFuture<'_, Result<(), ClientGone>>;
}

/// The error of a channel or connection that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub(crate) struct ClientGone;

/// The exit that is sent to the client (RFC 4254 section 6.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientExit {
    /// The status of an `exit-status` message.
    Status(u8),
    /// The signal of an `exit-signal` message.
    Signal {
        /// The signal's name without SIG.
        name: String,
        /// Set if a core was dumped.
        core: bool,
    },
}

/// Formats a line of the gateway's for a client.
pub(super) fn client_line(text: &str, terminal: bool) -> Bytes {
    let line_end = if terminal { "\r\n" } else { "\n" };
    Bytes::from(format!("podgate: {text}{line_end}"))
}
