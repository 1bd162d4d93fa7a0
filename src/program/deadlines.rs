//! The deadlines `timeouts.window` and `timeouts.signal` of a program's input. A late step is given up and logged; the
//! program goes on.

use crate::guest::{InputClosed, Program, ProgramControl, ProgramInput, Refusal};
use crate::policy::{Permit, SendSignal};
use crate::settings::Timeouts;
use crate::telemetry::{ConnectionLog, codes};
use crate::types::Size;
use bytes::BytesMut;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::timeout;

/// Adds the deadlines to a program.
pub(crate) fn with_deadlines(program: Program, timeouts: &Timeouts, log: &ConnectionLog) -> Program {
    let deadlines = Deadlines { window: timeouts.window, signal: timeouts.signal, log: log.clone() };
    let input = InputWithDeadlines { inner: program.input, deadlines };
    Program { input: Box::new(input), output: program.output }
}

#[derive(Clone)]
struct Deadlines {
    window: Duration,
    signal: Duration,
    log: ConnectionLog,
}

impl Deadlines {
    async fn resized(&self, resizing: BoxFuture<'_, Result<(), InputClosed>>) -> Result<(), InputClosed> {
        timeout(self.window, resizing).await.unwrap_or_else(|_elapsed| {
            let text = "the terminal's size was not delivered in time (timeouts.window)";
            self.log.write(codes::KUBERNETES_EXEC_RESIZE_FAILED, text, &[]);
            Ok(())
        })
    }

    async fn signalled(&self, signalling: BoxFuture<'_, Result<(), Refusal>>) -> Result<(), Refusal> {
        timeout(self.signal, signalling).await.unwrap_or_else(|_elapsed| {
            Err(Refusal::new("the signal was not delivered in time").detail("timeouts.signal"))
        })
    }
}

struct InputWithDeadlines {
    inner: Box<dyn ProgramInput>,
    deadlines: Deadlines,
}

struct ControlWithDeadlines {
    inner: Box<dyn ProgramControl>,
    deadlines: Deadlines,
}

impl ProgramControl for ControlWithDeadlines {
    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(self.deadlines.resized(self.inner.resize(size)))
    }

    fn signal(&mut self, signal: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(self.deadlines.signalled(self.inner.signal(signal)))
    }
}

impl ProgramInput for InputWithDeadlines {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.inner.write(data)
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.inner.close()
    }

    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(self.deadlines.resized(self.inner.resize(size)))
    }

    fn signal(&mut self, signal: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(self.deadlines.signalled(self.inner.signal(signal)))
    }

    fn control(&mut self) -> Option<Box<dyn ProgramControl>> {
        let inner = self.inner.control()?;
        Some(Box::new(ControlWithDeadlines { inner, deadlines: self.deadlines.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{OutputEvent, ProgramOutput};
    use crate::policy::Rules;
    use crate::settings::fixture;
    use crate::telemetry::{LogFormat, capture};
    use crate::types::ConnectionId;
    use std::future::pending;
    use tokio::time::Instant;

    /// A container that takes nothing.
    struct Stuck;

    impl ProgramInput for Stuck {
        fn write(&mut self, _: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
            Box::pin(async { Ok(()) })
        }

        fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
            Box::pin(async { Ok(()) })
        }

        fn resize(&mut self, _: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
            Box::pin(pending())
        }

        fn signal(&mut self, _: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
            Box::pin(pending())
        }
    }

    impl ProgramOutput for Stuck {
        fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
            Box::pin(pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn size_and_signal_that_do_not_arrive_are_given_up_at_their_own_deadline() {
        let (log, captured) = capture::log(LogFormat::Ljson);
        let connection = log.connection(ConnectionId::random(), ([127, 0, 0, 1], 5).into());
        let mut timeouts = fixture::kubernetes().timeouts;
        (timeouts.window, timeouts.signal) = (Duration::from_secs(3), Duration::from_secs(7));
        let stuck = Program { input: Box::new(Stuck), output: Box::new(Stuck) };
        let mut program = with_deadlines(stuck, &timeouts, &connection);
        let start = Instant::now();
        assert_eq!(program.input.resize(Size::default()).await, Ok(()));
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        let signal = Rules::default().decide(SendSignal { name: "TERM".to_owned() }).unwrap();
        let refusal = program.input.signal(signal).await.unwrap_err();
        assert_eq!(
            (&*refusal.reason, start.elapsed()),
            ("the signal was not delivered in time", Duration::from_secs(10))
        );
        assert_eq!(program.input.write(BytesMut::new()).await, Ok(()));
        assert!(captured.text(&log).contains("KUBERNETES_EXEC_RESIZE_FAILED"));
    }
}
