//! A helper program in a container as the carrier of a link: its standard input is the sending direction, its standard output
//! the receiving one. What it says on standard error goes to the log. Its end is kept for whoever made the carrier: it tells
//! a program that could not start from one that ended.

use crate::guest::{Exit, OutputEvent, Program, ProgramInput, ProgramOutput};
use crate::link::carrier::{CarrierLost, CarrierReceiver, CarrierSender};
use crate::telemetry::{ConnectionLog, codes};
use crate::types::printable;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::sync::Arc;

/// Limit of what a carrier's program says on standard error and the log gets, in bytes.
const COMPLAINTS_MAX: usize = 16 * 1024;
/// Limit of one line about it, in characters.
const COMPLAINT_MAX: usize = 1000;
/// Limit of the standard output that is kept until [`CarrierReport::forget`], in bytes.
const SAID_MAX: usize = 8 * 1024;

/// The two halves of a carrier, and the report of its end.
pub(super) struct ProgramCarrier {
    pub(super) sender: Box<dyn CarrierSender>,
    pub(super) receiver: Box<dyn CarrierReceiver>,
    pub(super) report: CarrierReport,
}

/// The end of a carrier's program, once it has come. Clones are the same report.
#[derive(Debug, Clone)]
pub(super) struct CarrierReport(Arc<Mutex<Reported>>);

#[derive(Debug)]
struct Reported {
    exit: Option<Exit>,
    /// The beginning of standard output, until it is of no use.
    said: Option<BytesMut>,
}

impl CarrierReport {
    /// The program's end; `None` as long as its stream stands.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.0.lock().exit.clone()
    }

    /// True if the beginning of the program's standard output has these bytes.
    pub(super) fn has_said(&self, bytes: &[u8]) -> bool {
        let reported = self.0.lock();
        reported.said.as_ref().is_some_and(|said| said.windows(bytes.len()).any(|piece| piece == bytes))
    }

    /// Keeps nothing of the standard output any more.
    pub(super) fn forget(&self) {
        self.0.lock().said = None;
    }

    fn hear(&self, data: &[u8]) {
        if let Some(said) = &mut self.0.lock().said {
            let room = SAID_MAX.saturating_sub(said.len());
            said.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
}

/// Makes a carrier of a running program, whose output so far is `first`.
pub(super) fn carrier(program: Program, first: Bytes, log: ConnectionLog) -> ProgramCarrier {
    let report = CarrierReport(Arc::new(Mutex::new(Reported { exit: None, said: Some(BytesMut::new()) })));
    let receiver =
        ProgramReceiver { output: program.output, first, report: report.clone(), log, complained: 0, lost: None };
    ProgramCarrier { sender: Box::new(ProgramSender(program.input)), receiver: Box::new(receiver), report }
}

/// Says how a helper program ended, for the log.
pub(super) fn exit_text(exit: &Exit) -> String {
    match exit {
        Exit::Status(status) => format!("its program ended with the status {status}"),
        Exit::Signal { name, .. } => format!("its program was ended by SIG{name}"),
        Exit::Lost(refusal) => refusal.detail.clone().unwrap_or_else(|| refusal.reason.clone()),
    }
}

struct ProgramSender(Box<dyn ProgramInput>);

impl CarrierSender for ProgramSender {
    fn send(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), CarrierLost>> {
        let written = self.0.write(data);
        Box::pin(async move { written.await.map_err(|closed| CarrierLost(closed.to_string())) })
    }
}

struct ProgramReceiver {
    output: Box<dyn ProgramOutput>,
    /// The bytes that came before the carrier was made.
    first: Bytes,
    report: CarrierReport,
    log: ConnectionLog,
    complained: usize,
    lost: Option<CarrierLost>,
}

impl ProgramReceiver {
    fn complain(&mut self, text: &[u8]) {
        if self.complained < COMPLAINTS_MAX {
            self.complained += text.len();
            let text = printable(&String::from_utf8_lossy(text), COMPLAINT_MAX);
            self.log.write(
                codes::AGENT_COMPLAINT,
                "the guest's agent writes to its standard error",
                &[("text", &text)],
            );
        }
    }

    fn end(&mut self, exit: Exit) -> CarrierLost {
        let text = exit_text(&exit);
        self.report.0.lock().exit = Some(exit);
        CarrierLost(text)
    }
}

impl CarrierReceiver for ProgramReceiver {
    fn next(&mut self) -> BoxFuture<'_, Result<Bytes, CarrierLost>> {
        Box::pin(async move {
            if !self.first.is_empty() {
                return Ok(std::mem::take(&mut self.first));
            }
            loop {
                if let Some(lost) = &self.lost {
                    return Err(lost.clone());
                }
                match self.output.next().await {
                    OutputEvent::Stdout(data) => {
                        self.report.hear(&data);
                        return Ok(data);
                    }
                    OutputEvent::Stderr(text) => self.complain(&text),
                    OutputEvent::End => {}
                    OutputEvent::Exit(exit) => self.lost = Some(self.end(exit)),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{InputClosed, Refusal};
    use crate::policy::{Permit, SendSignal};
    use crate::telemetry::{LogFormat, capture};
    use crate::types::{ConnectionId, Size};
    use std::collections::VecDeque;
    use std::future::{pending, ready};

    struct TakesNothing;

    impl ProgramInput for TakesNothing {
        fn write(&mut self, _: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
            Box::pin(ready(Err(InputClosed)))
        }

        fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
            Box::pin(ready(Ok(())))
        }

        fn resize(&mut self, _: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
            Box::pin(ready(Ok(())))
        }

        fn signal(&mut self, _: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
            Box::pin(pending())
        }
    }

    struct Says(VecDeque<OutputEvent>);

    impl ProgramOutput for Says {
        fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
            let next = self.0.pop_front();
            Box::pin(async move {
                match next {
                    Some(event) => event,
                    None => pending().await,
                }
            })
        }
    }

    #[tokio::test]
    async fn end_is_told_again_and_reported_and_complaints_are_bounded_lines_of_the_log() {
        let (log, captured) = capture::log(LogFormat::Ljson);
        let connection = log.connection(ConnectionId::random(), ([127, 0, 0, 1], 5).into());
        let events = [
            OutputEvent::Stderr(Bytes::from_static(b"first\x1b[31m\n")),
            OutputEvent::Stderr(Bytes::from(vec![b'x'; COMPLAINTS_MAX])),
            OutputEvent::Stderr(Bytes::from_static(b"too much")),
            OutputEvent::Stdout(Bytes::from_static(b"data")),
            OutputEvent::Exit(Exit::Status(1)),
        ];
        let program = Program { input: Box::new(TakesNothing), output: Box::new(Says(events.into())) };
        let mut carrier = carrier(program, Bytes::from_static(b"before"), connection);
        assert_eq!(carrier.receiver.next().await, Ok(Bytes::from_static(b"before")));
        assert!(!carrier.report.has_said(b"at"));
        assert_eq!(carrier.receiver.next().await, Ok(Bytes::from_static(b"data")));
        assert_eq!((carrier.report.has_said(b"at"), carrier.report.exit()), (true, None));
        carrier.report.forget();
        assert!(!carrier.report.has_said(b"at"));
        for _ in 0..2 {
            let lost = CarrierLost("its program ended with the status 1".to_owned());
            assert_eq!(carrier.receiver.next().await, Err(lost));
        }
        assert_eq!(carrier.report.exit(), Some(Exit::Status(1)));
        assert!(carrier.sender.send(BytesMut::from(&b"x"[..])).await.is_err());
        let logged = captured.text(&log);
        assert!(logged.contains("first[31m") && !logged.contains("too much"), "{logged}");
    }
}
