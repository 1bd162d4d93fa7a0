//! The two pumps of a running program, one a direction, so that neither can hold the other.

use super::inbox::{Inbox, Taken};
use super::wait::Unread;
use super::{Client, ClientGone};
use crate::audit::{Event, Recorder};
use crate::guest::{Exit, Input, Output, Said};
use crate::types::Size;
use std::convert::Infallible;
use std::future::pending;
use tokio::sync::{mpsc, watch};

/// From the program to the client, to the exit. Everything the program wrote has been handed to the client's window by
/// then. A line that is `unread` goes out before any output; an exit does not wait for it.
pub(super) async fn outward(
    mut output: Box<dyn Output>,
    client: &dyn Client,
    mut unread: Unread<'_>,
) -> Result<Exit, ClientGone> {
    loop {
        let pending = unread.is_pending();
        let said = tokio::select! {
            biased;
            said = output.next() => said,
            () = unread.written(), if pending => continue,
        };
        match said {
            Said::Exit(exit) => return Ok(exit),
            Said::Stdout(data) => {
                unread.written().await;
                client.stdout(data).await?;
            }
            Said::Stderr(data) => {
                unread.written().await;
                client.stderr(data).await?;
            }
        }
    }
}

/// From the client to the program.
pub(super) struct Inward<'a> {
    pub(super) inbox: &'a Inbox,
    pub(super) size: &'a mut watch::Receiver<Size>,
    pub(super) signals: &'a mut mpsc::Receiver<String>,
    pub(super) audit: &'a Recorder,
    pub(super) terminal: bool,
}

impl Inward<'_> {
    /// Pumps until it is dropped: the exit alone ends a program, not the end of its input.
    pub(super) async fn run(self, mut input: Box<dyn Input>) -> Infallible {
        let mut ended = false;
        loop {
            let done = tokio::select! {
                biased;
                Ok(()) = self.size.changed() => {
                    let size = *self.size.borrow_and_update();
                    self.audit.record(Event::Resized { size });
                    input.resize(size).await
                }
                Some(name) = self.signals.recv() => {
                    self.signal(input.as_mut(), name).await;
                    Ok(())
                }
                taken = self.inbox.take(), if !ended => match taken {
                    Taken::Data(data) => input.write(data).await,
                    // A terminal has no end of input: the user types Ctrl-D there. OpenSSH's sshd does the same.
                    Taken::End if self.terminal => {
                        ended = true;
                        Ok(())
                    }
                    Taken::End => {
                        ended = true;
                        input.close().await
                    }
                },
                else => return pending().await,
            };
            if done.is_err() {
                self.inbox.refuse();
                return pending().await;
            }
        }
    }

    async fn signal(&self, input: &mut dyn Input, name: String) {
        self.audit.record(Event::Signalled { name: &name });
        if let Err(refusal) = input.signal(name).await {
            self.audit.record(Event::SignalRefused { refusal: &refusal });
        }
    }
}
