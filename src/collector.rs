//! The way of finished spans to an OTLP collector: OpenTelemetry's protocol over HTTP, in its binary form.
//!
//! Invariants: spans are sent in batches, one at a time, each within the limit of its client with all tries; a batch that cannot be
//! sent is given up, counted, and told once until the next that can; the task ends when no span can come any more.

use crate::telemetry::{Level, Log, SpanQueue, Traces, codes};
use crate::types::printable;
use crate::webhook::{AttemptFailure, ConnectionReuse, HttpClientConfig, WebhookBuildError, bounded, http_client};
use bytes::Bytes;
use opentelemetry::{Key, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use parking_lot::Mutex;
use prost::Message;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Limit of the spans in a request.
const BATCH: usize = 512;
/// Longest time that a span waits for others.
const GATHERING: Duration = Duration::from_secs(1);
/// Time of sending at the end of the process, within that of all tasks.
const END: Duration = Duration::from_secs(5);
/// Limit of a collector's own reason, in characters.
const REASON: usize = 200;
/// The path below the collector's URL (OTLP/HTTP).
const PATH: &str = "/v1/traces";

/// Time that an unused connection is kept.
const KEPT: Duration = Duration::from_secs(20);

/// The collector's last answer, as the client got it: the exporter does not pass it on.
#[derive(Debug, Default)]
struct LastAnswer {
    /// The reason why spans are lost.
    reason: Option<String>,
    /// The number of spans that the collector rejected.
    rejected: usize,
}

type SharedAnswer = Arc<Mutex<LastAnswer>>;

/// The block `traces`, switched on.
#[derive(Debug, Clone)]
pub(crate) struct TracesConfig {
    /// `otlp`: the collector.
    pub(crate) client: HttpClientConfig,
    /// `samplePercent`: the share of the connections that have a trace, 0 to 100.
    pub(crate) sample_percent: u8,
}

/// A collector that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    #[error("traces.otlp: {0}")]
    Client(#[from] WebhookBuildError),
    /// Mostly a value of an `OTEL_*` variable.
    #[error("traces: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// The task that sends spans to one collector.
pub(crate) struct Collector {
    exporter: SpanExporter,
    last: SharedAnswer,
    place: String,
    /// Limit of a batch with all tries.
    timeout: Duration,
    queue: SpanQueue,
    log: Log,
    has_failed: bool,
    /// The time that is left for sending once the process ends.
    end: Duration,
}

impl Collector {
    /// Makes the traces, and the task that sends them.
    ///
    /// # Errors
    /// Certificates that cannot be used, or variables of OpenTelemetry's that mean nothing.
    pub(crate) fn new(config: &TracesConfig, log: Log) -> Result<(Traces, Self), CollectorError> {
        let last = SharedAnswer::default();
        let mut exporter = exporter(config, last.clone())?;
        let resource = resource();
        exporter.set_resource(&resource);
        let share = f64::from(config.sample_percent) / 100.0;
        let (traces, queue) = Traces::new(share, resource, log.metrics().clone());
        let (place, timeout) = (config.client.url.shown(PATH), config.client.timeout);
        Ok((traces, Self { exporter, last, place, timeout, queue, log, has_failed: false, end: END }))
    }

    /// Finds the fault for which the spans of a configuration could not be sent.
    pub(crate) fn fault(config: Option<&TracesConfig>) -> Option<CollectorError> {
        exporter(config?, Arc::default()).err()
    }

    /// Sends spans until none can come any more. Once the process ends, a collector that does not take them is not waited for.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        let mut batch = Vec::new();
        while self.gather(&mut batch, &stopping).await {
            self.send(std::mem::take(&mut batch), &stopping).await;
        }
    }

    /// Waits for a span, and then a moment for others. False once none can come any more.
    async fn gather(&mut self, batch: &mut Vec<SpanData>, stopping: &CancellationToken) -> bool {
        if self.queue.recv_many(batch, BATCH).await == 0 {
            return false;
        }
        let end = sleep(GATHERING);
        tokio::pin!(end);
        while batch.len() < BATCH {
            let more = tokio::select! {
                more = self.queue.recv_many(batch, BATCH - batch.len()) => more,
                () = &mut end => 0,
                () = stopping.cancelled() => 0,
            };
            if more == 0 {
                break;
            }
        }
        true
    }

    async fn send(&mut self, batch: Vec<SpanData>, stopping: &CancellationToken) {
        let spans = batch.len();
        let mut answer = Box::pin(timeout(self.timeout, self.exporter.export(batch)));
        let answered = tokio::select! {
            biased;
            answered = &mut answer => Some(answered),
            () = stopping.cancelled() => {
                let begun = Instant::now();
                let answered = timeout(self.end, &mut answer).await.ok();
                self.end = self.end.saturating_sub(begun.elapsed());
                answered
            }
        };
        drop(answer);
        let last = std::mem::take(&mut *self.last.lock());
        let (lost, reason) = match answered {
            Some(Ok(Ok(()))) => (last.rejected.min(spans), last.reason),
            // The exporter's own error leaves out why there is no connection.
            Some(Ok(Err(error))) => (spans, Some(last.reason.unwrap_or_else(|| error.to_string()))),
            Some(Err(_elapsed)) => (spans, Some(last.reason.unwrap_or_else(|| "no answer in time".to_owned()))),
            None => (spans, Some("the process ends".to_owned())),
        };
        self.log.metrics().count_spans("sent", spans - lost);
        self.log.metrics().count_spans("lost", lost);
        self.tell(reason.filter(|_| lost > 0));
    }

    /// Tells of the first failure, and of the end of failures.
    fn tell(&mut self, reason: Option<String>) {
        let has_failed = std::mem::replace(&mut self.has_failed, reason.is_some());
        match reason {
            Some(reason) if !has_failed => {
                let details = [("url", self.place.as_str()), ("reason", &reason)];
                let text = "the collector does not take all spans; they are lost until it does";
                self.log.write(codes::TRACES_NOT_SENT, text, &details);
            }
            None if has_failed => {
                let text = "the collector takes spans again";
                self.log.write(codes::TRACES_NOT_SENT.at(Level::Notice), text, &[("url", &self.place)]);
            }
            _ => {}
        }
    }
}

/// Makes the exporter of OpenTelemetry, over a client of the gateway's own.
fn exporter(config: &TracesConfig, last: SharedAnswer) -> Result<SpanExporter, CollectorError> {
    let HttpClientConfig { url, timeout, .. } = &config.client;
    let client = http_client(&config.client, ConnectionReuse::While(KEPT))?;
    let client = CollectorClient { client, url: url.below(PATH), timeout: *timeout, last };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        // The client has its own URL, which can be a Unix socket; this one is never used.
        .with_endpoint("http://localhost")
        .with_timeout(*timeout);
    Ok(exporter.build()?)
}

/// The attributes of this process, behind those of `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let builder = || Resource::builder().with_attribute(version.clone());
    let found = builder().build();
    let is_named = found
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if is_named { found } else { builder().with_service_name("podgate").build() }
}

/// The HTTP client of a collector.
#[derive(Debug)]
struct CollectorClient {
    client: reqwest::Client,
    url: url::Url,
    timeout: Duration,
    last: SharedAnswer,
}

impl CollectorClient {
    async fn post(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, AttemptFailure> {
        let (head, body) = request.into_parts();
        let request = self.client.post(self.url.clone()).headers(head.headers).timeout(self.timeout).body(body);
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answered = http::Response::new(bounded(response).await?);
        // The exporter heeds `Retry-After`.
        (*answered.status_mut(), *answered.headers_mut()) = (status, headers);
        Ok(answered)
    }
}

impl LastAnswer {
    /// The answer to a request that was taken: the collector may have rejected some of its spans.
    fn of(body: &[u8]) -> Self {
        let response = ExportTraceServiceResponse::decode(body).unwrap_or_default();
        let Some(partial) = response.partial_success else { return Self::default() };
        let rejected = usize::try_from(partial.rejected_spans).unwrap_or_default();
        let reason = format!("it rejected {rejected} spans: {}", printable(&partial.error_message, REASON));
        Self { reason: Some(reason), rejected }
    }

    fn failed(failure: &AttemptFailure) -> Self {
        Self { reason: Some(failure.to_string()), rejected: 0 }
    }
}

impl HttpClient for CollectorClient {
    fn send_bytes<'client, 'call>(
        &'client self,
        request: http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, HttpError>> + Send + 'call>>
    where
        'client: 'call,
        Self: 'call,
    {
        Box::pin(async move {
            let answered = self.post(request).await;
            *self.last.lock() = match &answered {
                Ok(answer) if answer.status().is_success() => LastAnswer::of(answer.body()),
                Ok(answer) => LastAnswer::failed(&AttemptFailure::Status(answer.status().as_u16())),
                Err(failure) => LastAnswer::failed(failure),
            };
            answered.map_err(Into::into)
        })
    }
}
