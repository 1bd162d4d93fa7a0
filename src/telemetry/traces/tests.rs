//! The spans of a connection, as they come out of the queue.

use super::super::metrics::StepOutcome;
use super::super::{Level, Log, LogFormat};
use super::*;
use crate::telemetry::metrics::MeasuredStep;

fn log(share: f64) -> (Log, SpanQueue) {
    let log = Log::to_sink(Level::Debug, LogFormat::Text, std::io::sink()).unwrap();
    let (traces, queue) = Traces::new(share, Resource::builder_empty().build(), log.metrics().clone());
    log.change_traces(Some(traces));
    (log, queue)
}

fn spans(queue: &mut SpanQueue) -> Vec<SpanData> {
    std::iter::from_fn(|| queue.try_recv().ok()).collect()
}

fn text(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map_or_else(String::new, |attribute| attribute.value.to_string())
}

const REMOTE: ([u8; 4], u16) = ([192, 0, 2, 7], 1);

#[test]
fn steps_and_programs_are_children_of_their_connection() {
    let (log, mut queue) = log(1.0);
    let connection = log.connection(ConnectionId::random(), REMOTE.into());
    connection.name_user("alice", Some("alice@example.org"));
    connection.step(MeasuredStep::Config).end(StepOutcome::Refused);
    let run = |end| TracedProgram {
        kind: "exec".to_owned(),
        terminal: false,
        duration: Duration::from_secs(5),
        bytes: (1, 2),
        end,
    };
    connection.trace_program(|| run(TracedEnd::Status(3)));
    connection.trace_program(|| run(TracedEnd::Lost("the stream broke".to_owned())));
    connection.end_trace(Some("limit"));
    connection.end_trace(None);
    let all = spans(&mut queue);
    let names: Vec<_> = all.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["config", "program", "program", "connection"]);
    let [step, ended, lost, whole] = &all[..] else { panic!("{names:?}") };
    for span in [step, ended, lost] {
        assert_eq!(span.parent_span_id, whole.span_context.span_id());
        assert_eq!(span.span_context.trace_id(), whole.span_context.trace_id());
    }
    assert_eq!((text(step, "podgate.outcome"), &step.span_kind), ("refused".to_owned(), &SpanKind::Client));
    assert_eq!(text(ended, "process.exit.code"), "3");
    assert_eq!(ended.end_time.duration_since(ended.start_time).unwrap(), Duration::from_secs(5));
    assert_eq!((&ended.status, &lost.status), (&Status::Unset, &Status::error("the stream broke")));
    assert_eq!(text(whole, "user.name"), "alice");
    assert_eq!(text(whole, "podgate.authenticated_username"), "alice@example.org");
    assert_eq!(text(whole, "podgate.end"), "limit");
}

#[test]
fn whole_connection_is_left_out_or_none_of_it() {
    let (log, mut queue) = log(0.0);
    let connection = log.connection(ConnectionId::random(), REMOTE.into());
    let step = connection.step(MeasuredStep::Password);
    // Who is asked is told that this trace is kept by nobody.
    assert!(step.traceparent().is_some_and(|header| header.ends_with("-00")));
    drop(step);
    connection.end_trace(None);
    assert_eq!(spans(&mut queue).len(), 0);
}

#[test]
fn connection_without_traces_asks_with_no_header() {
    let log = Log::to_sink(Level::Debug, LogFormat::Text, std::io::sink()).unwrap();
    let connection = log.connection(ConnectionId::random(), REMOTE.into());
    assert_eq!(connection.step(MeasuredStep::Password).traceparent(), None);
}

#[test]
fn span_that_finds_the_queue_full_is_lost_and_counted() {
    let (log, mut queue) = log(1.0);
    let connection = log.connection(ConnectionId::random(), REMOTE.into());
    (0..QUEUE + 3).for_each(|_| drop(connection.step(MeasuredStep::Exec)));
    assert_eq!(spans(&mut queue).len(), QUEUE);
    let page = log.metrics().text().unwrap();
    assert!(page.contains("podgate_trace_spans_total{result=\"lost\"} 3"), "{page}");
}

#[test]
fn long_texts_are_cut() {
    let (log, mut queue) = log(1.0);
    let connection = log.connection(ConnectionId::random(), REMOTE.into());
    connection.name_user(&"é".repeat(10_000), None);
    connection.end_trace(Some(&"x".repeat(10_000)));
    let all = spans(&mut queue);
    assert_eq!(text(&all[0], "user.name").chars().count(), TEXT);
    assert_eq!(text(&all[0], "podgate.end").len(), TEXT);
}
