//! A program's input whose steps have the deadlines of `timeouts.window` and `timeouts.signal`. What is late is given up
//! and logged; the program goes on.

use crate::config::Level;
use crate::guest::{Input, InputClosed, Program, Refusal};
use crate::settings::Timeouts;
use crate::telemetry::ConnectionLog;
use crate::types::Size;
use bytes::BytesMut;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::timeout;

/// The program with these deadlines.
pub(super) fn program(program: Program, timeouts: &Timeouts, log: &ConnectionLog) -> Program {
    let input = Timed { inner: program.input, window: timeouts.window, signal: timeouts.signal, log: log.clone() };
    Program { input: Box::new(input), output: program.output }
}

struct Timed {
    inner: Box<dyn Input>,
    window: Duration,
    signal: Duration,
    log: ConnectionLog,
}

impl Input for Timed {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.inner.write(data)
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.inner.close()
    }

    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move {
            timeout(self.window, self.inner.resize(size)).await.unwrap_or_else(|_elapsed| {
                let text = "The terminal's size was not delivered in time (timeouts.window)";
                self.log.write(Level::Warning, "KUBERNETES_EXEC_RESIZE_FAILED", text, &[]);
                Ok(())
            })
        })
    }

    fn signal(&mut self, name: String) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            timeout(self.signal, self.inner.signal(name)).await.unwrap_or_else(|_elapsed| {
                Err(Refusal::new("the signal was not delivered in time").detail("timeouts.signal"))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;
    use crate::guest::{Output, Said};
    use crate::kubernetes::samples;
    use crate::telemetry::capture;
    use crate::types::ConnectionId;
    use std::future::pending;
    use tokio::time::Instant;

    /// A container that takes nothing.
    struct Stuck;

    impl Input for Stuck {
        fn write(&mut self, _: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
            Box::pin(async { Ok(()) })
        }

        fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
            Box::pin(async { Ok(()) })
        }

        fn resize(&mut self, _: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
            Box::pin(pending())
        }

        fn signal(&mut self, _: String) -> BoxFuture<'_, Result<(), Refusal>> {
            Box::pin(pending())
        }
    }

    impl Output for Stuck {
        fn next(&mut self) -> BoxFuture<'_, Said> {
            Box::pin(pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn size_and_signal_that_do_not_arrive_are_given_up_at_their_own_deadline() {
        let (log, captured) = capture::log(LogFormat::Ljson);
        let connection = log.connection(ConnectionId::random(), ([127, 0, 0, 1], 5).into());
        let mut timeouts = samples::settings().timeouts;
        (timeouts.window, timeouts.signal) = (Duration::from_secs(3), Duration::from_secs(7));
        let stuck = Program { input: Box::new(Stuck), output: Box::new(Stuck) };
        let mut program = program(stuck, &timeouts, &connection);
        let start = Instant::now();
        assert_eq!(program.input.resize(Size::default()).await, Ok(()));
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        let refusal = program.input.signal("TERM".into()).await.unwrap_err();
        assert_eq!(
            (&*refusal.reason, start.elapsed()),
            ("the signal was not delivered in time", Duration::from_secs(10))
        );
        assert_eq!(program.input.write(BytesMut::new()).await, Ok(()));
        assert!(captured.text(&log).contains("KUBERNETES_EXEC_RESIZE_FAILED"));
    }
}
