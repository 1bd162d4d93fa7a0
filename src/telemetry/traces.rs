//! Traces: a span for each connection, for each step of its login and for each program, in OpenTelemetry's terms.
//!
//! Invariants: a span that is over goes through one queue, which has a limit and for which nobody waits; what finds no place is
//! counted. No span has a credential, a command or a variable's value, and each text in it is cut. All spans of a connection
//! have one trace, and are all kept or all left out.

use super::countries::Country;
use super::metrics::Metrics;
use crate::types::ConnectionId;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanLimits, SpanProcessor};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// Limit of spans that wait to be sent. Each takes at most about 4 KiB.
const QUEUE: usize = 2048;
/// Limit of a text, in characters.
const TEXT: usize = 256;
/// The instrumentation scope.
const SCOPE: &str = "podgate";

/// The maker of the traces of connections.
#[derive(Debug)]
pub(crate) struct Traces {
    tracer: SdkTracer,
}

/// The spans that are over, for whoever sends them. It ends when nobody can add to it any more.
pub(crate) type SpanQueue = mpsc::Receiver<SpanData>;

/// A program that is over, for its span.
#[derive(Debug, Clone)]
pub(crate) struct TracedProgram {
    /// `shell`, `exec` or the subsystem's name.
    pub(crate) kind: String,
    pub(crate) terminal: bool,
    pub(crate) duration: Duration,
    /// The bytes of its input, and of its output.
    pub(crate) bytes: (u64, u64),
    pub(crate) end: TracedEnd,
}

/// The end of a program.
#[derive(Debug, Clone)]
pub(crate) enum TracedEnd {
    Status(u8),
    /// A signal by its name without SIG.
    Signal(String),
    /// Nobody knows how it ended; the text is the reason.
    Lost(String),
    /// The client left before.
    Left,
}

impl Traces {
    /// Makes the traces of a share of the connections (0 to 1), and the queue of their spans.
    pub(crate) fn new(share: f64, resource: Resource, metrics: Metrics) -> (Self, SpanQueue) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let limits = SpanLimits { max_events_per_span: 0, max_links_per_span: 0, ..SpanLimits::default() };
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
            .with_span_limits(limits)
            .with_resource(resource)
            .with_span_processor(QueuedSpans { sender, metrics })
            .build();
        (Self { tracer: provider.tracer(SCOPE) }, queue)
    }

    /// Begins the trace of a connection.
    pub(super) fn begin(&self, id: ConnectionId, remote: SocketAddr, country: Option<Country>) -> ConnectionTrace {
        let mut attributes = vec![
            KeyValue::new("podgate.connection.id", id.to_string()),
            KeyValue::new("client.address", remote.ip().to_canonical().to_string()),
            KeyValue::new("client.port", i64::from(remote.port())),
            KeyValue::new("network.protocol.name", "ssh"),
        ];
        attributes.extend(country.map(|country| KeyValue::new("geo.country.iso_code", country.code())));
        let builder = self.tracer.span_builder("connection").with_kind(SpanKind::Server).with_attributes(attributes);
        let connection = builder.start_with_context(&self.tracer, &Context::new());
        let context = Context::new().with_remote_span_context(connection.span_context().clone());
        ConnectionTrace { tracer: self.tracer.clone(), context, connection: Mutex::new(Some(connection)) }
    }
}

/// The trace of one connection.
#[derive(Debug)]
pub(super) struct ConnectionTrace {
    tracer: SdkTracer,
    /// The parent of the steps and of the programs.
    context: Context,
    /// The span of the whole connection, until it is over.
    connection: Mutex<Option<Span>>,
}

impl ConnectionTrace {
    /// Begins the span of a step.
    pub(super) fn step(&self, name: &'static str, asks: bool) -> StepSpan {
        let kind = if asks { SpanKind::Client } else { SpanKind::Internal };
        StepSpan(self.tracer.span_builder(name).with_kind(kind).start_with_context(&self.tracer, &self.context))
    }

    /// Makes the span of a program that is over.
    pub(super) fn program(&self, program: &TracedProgram) {
        let TracedProgram { kind, terminal, duration, bytes: (input, output), end } = program;
        let now = SystemTime::now();
        let mut attributes = vec![
            KeyValue::new("podgate.program.kind", cut(kind)),
            KeyValue::new("process.interactive", *terminal),
            KeyValue::new("podgate.program.bytes_in", signed(*input)),
            KeyValue::new("podgate.program.bytes_out", signed(*output)),
        ];
        let mut status = Status::Unset;
        match end {
            TracedEnd::Status(code) => attributes.push(KeyValue::new("process.exit.code", i64::from(*code))),
            TracedEnd::Signal(name) => attributes.push(KeyValue::new("podgate.program.signal", cut(name))),
            TracedEnd::Lost(reason) => status = Status::error(cut(reason)),
            TracedEnd::Left => attributes.push(KeyValue::new("podgate.program.left", true)),
        }
        let builder = self.tracer.span_builder("program").with_kind(SpanKind::Internal).with_attributes(attributes);
        let begun = now.checked_sub(*duration).unwrap_or(now);
        let mut span = builder.with_start_time(begun).start_with_context(&self.tracer, &self.context);
        span.set_status(status);
        span.end_with_timestamp(now);
    }

    /// Ends the connection's span, with what is known of its user and the reason of its end that is not the client's wish.
    pub(super) fn end(&self, (name, authenticated): (Option<&str>, Option<&str>), reason: Option<&str>) {
        let Some(mut span) = self.connection.lock().take() else { return };
        for (key, name) in [("user.name", name), ("podgate.authenticated_username", authenticated)] {
            span.set_attributes(name.map(|name| KeyValue::new(key, cut(name))));
        }
        if let Some(reason) = reason {
            span.set_attribute(KeyValue::new("podgate.end", cut(reason)));
        }
        span.end();
    }
}

/// The span of a step, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct StepSpan(Span);

impl StepSpan {
    /// The header `traceparent` of a request of this step (W3C Trace Context, version 00).
    pub(super) fn traceparent(&self) -> String {
        traceparent(self.0.span_context())
    }

    /// Notes the outcome, by a word of this program.
    pub(super) fn outcome(&mut self, outcome: &'static str, is_failure: bool) {
        self.0.set_attribute(KeyValue::new("podgate.outcome", outcome));
        if is_failure {
            self.0.set_status(Status::error(""));
        }
    }
}

fn traceparent(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8() & 1)
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The end of a span's way through this process: the queue.
#[derive(Debug)]
struct QueuedSpans {
    sender: mpsc::Sender<SpanData>,
    metrics: Metrics,
}

impl SpanProcessor for QueuedSpans {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.sender.try_send(span).is_err() {
            self.metrics.count_spans("lost", 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
