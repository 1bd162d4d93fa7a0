//! The client of a session channel over russh.

use super::channel_count::ChannelCount;
use super::client_output::ClientOutput;
use super::connection_use::ConnectionUse;
use crate::session::forward::ForwardClient;
use crate::session::{Client, ClientExit, ClientGone};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelWriteHalf, Sig};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// `SSH_EXTENDED_DATA_STDERR` (RFC 4254 section 5.2).
const STDERR: u32 = 1;

/// The client's side of a channel. Its write half waits for the client's window; the handle's own `data` would let one
/// stalled channel stop the output of all.
pub(super) struct SshClient {
    pub(super) write: ChannelWriteHalf<Msg>,
    pub(super) handle: Handle,
    pub(super) id: ChannelId,
    pub(super) count: Arc<ChannelCount>,
    pub(super) used: Arc<ConnectionUse>,
    pub(super) output: Arc<ClientOutput>,
    /// Cancelled before EOF is sent. Data that still waits for the client's window then is given up: nothing follows an EOF
    /// (RFC 4254 section 5.3), and EOF waits for nothing.
    pub(super) ended: CancellationToken,
}

impl SshClient {
    /// Sends EOF, once.
    async fn end_of_data(&self) -> Result<(), ClientGone> {
        if self.ended.is_cancelled() {
            return Ok(());
        }
        self.ended.cancel();
        self.write.eof().await.map_err(|_| ClientGone)
    }
}

/// Sends data unless the end is sent before. Both happen in the session's task, so that no poll is between the check and the
/// send.
async fn until_ended(
    ended: &CancellationToken,
    sent: impl Future<Output = Result<(), ClientGone>>,
) -> Result<(), ClientGone> {
    tokio::select! {
        biased;
        () = ended.cancelled() => Ok(()),
        sent = sent => sent,
    }
}

impl Client for SshClient {
    fn stdout(&self, mut data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.used.guest_sent();
        Box::pin(async move {
            let sent = async {
                while !data.is_empty() {
                    let piece = self.output.next_piece(&mut data).await;
                    self.write.data_bytes(piece).await.map_err(|_| ClientGone)?;
                }
                Ok(())
            };
            until_ended(&self.ended, sent).await
        })
    }

    fn stderr(&self, mut data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.used.guest_sent();
        Box::pin(async move {
            let sent = async {
                while !data.is_empty() {
                    let piece = self.output.next_piece(&mut data).await;
                    self.write.extended_data_bytes(STDERR, piece).await.map_err(|_| ClientGone)?;
                }
                Ok(())
            };
            until_ended(&self.ended, sent).await
        })
    }

    fn line(&self, line: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(async move {
            let sent = async { self.write.extended_data_bytes(STDERR, line).await.map_err(|_| ClientGone) };
            until_ended(&self.ended, sent).await
        })
    }

    /// Answers the channel's last request. russh 0.65.1 keeps one flag for each channel, whether its client wants an answer,
    /// and each request sets it: an answer behind another request that wants none is lost. Clients that wait for the answer
    /// send no other request meanwhile.
    fn answer(&self, accepted: bool) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(async move {
            let sent = match accepted {
                true => self.handle.channel_success(self.id).await,
                false => self.handle.channel_failure(self.id).await,
            };
            sent.map_err(|()| ClientGone)
        })
    }

    /// Sends nothing: a client that has sent its own EOF closes the channel at ours, and russh takes no exit status for a
    /// channel that its client has closed. EOF goes out with the exit.
    fn end_of_output(&self) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Sends the exit, EOF and CLOSE, in OpenSSH's order and behind the data.
    fn end(&self, exit: ClientExit) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(async move {
            match exit {
                ClientExit::Status(status) => {
                    self.write.exit_status(u32::from(status)).await.map_err(|_| ClientGone)?;
                }
                ClientExit::Signal { name, core } => {
                    let signal = signal_from(&name);
                    let sent = self.handle.exit_signal_request(self.id, signal, core, String::new(), String::new());
                    sent.await.map_err(|_| ClientGone)?;
                }
            }
            self.end_of_data().await?;
            self.count.close();
            self.write.close().await.map_err(|_| ClientGone)
        })
    }
}

/// The client's side of a channel that carries a forwarded connection.
pub(super) struct SshForward {
    pub(super) write: ChannelWriteHalf<Msg>,
    pub(super) used: Arc<ConnectionUse>,
    pub(super) output: Arc<ClientOutput>,
}

impl SshForward {
    /// Closes the channel. A connection that has ended needs no close.
    pub(super) async fn close(&self) {
        let _ = self.write.close().await;
    }
}

impl ForwardClient for SshForward {
    fn data(&self, mut data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.used.guest_sent();
        Box::pin(async move {
            while !data.is_empty() {
                let piece = self.output.next_piece(&mut data).await;
                self.write.data_bytes(piece).await.map_err(|_| ClientGone)?;
            }
            Ok(())
        })
    }

    fn end_of_data(&self) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(async move { self.write.eof().await.map_err(|_| ClientGone) })
    }
}

/// The name of a signal without SIG (RFC 4254 section 6.10).
pub(super) fn signal_name(signal: &Sig) -> &str {
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    }
}

/// The name of a signal that RFC 4254 does not name. Such names have a domain, and clients know OpenSSH's.
const UNNAMED: &str = "SIG@openssh.com";

/// The signal of a program's end, for its client.
fn signal_from(name: &str) -> Sig {
    let known = [
        Sig::ABRT,
        Sig::ALRM,
        Sig::FPE,
        Sig::HUP,
        Sig::ILL,
        Sig::INT,
        Sig::KILL,
        Sig::PIPE,
        Sig::QUIT,
        Sig::SEGV,
        Sig::TERM,
        Sig::USR1,
    ];
    known.into_iter().find(|signal| signal_name(signal) == name).unwrap_or_else(|| {
        let name = if name == "USR2" { name } else { UNNAMED };
        Sig::Custom(name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::future::{pending, ready};

    #[test]
    fn data_that_waits_for_the_window_is_given_up_at_the_end_and_none_follows_it() {
        let ended = CancellationToken::new();
        let mut waiting = Box::pin(until_ended(&ended, pending()));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        assert_eq!(until_ended(&ended, ready(Err(ClientGone))).now_or_never(), Some(Err(ClientGone)));
        ended.cancel();
        assert_eq!(waiting.now_or_never(), Some(Ok(())));
        let never = async { panic!("data behind the end") };
        assert_eq!(until_ended(&ended, never).now_or_never(), Some(Ok(())));
    }
}
