//! The way of finished spans to an OTLP collector: OpenTelemetry's protocol over HTTP, in its binary form.
//!
//! Invariants: spans are sent in batches, one at a time, each within the limit of its client; a batch that cannot be
//! sent is given up, counted, and told once until the next that can; the task ends when no span can come any more.

use crate::telemetry::{Level, Log, SpanQueue, Traces, codes};
use crate::webhook::{AttemptFailure, ConnectionReuse, HttpClientConfig, WebhookBuildError, bounded, http_client};
use bytes::Bytes;
use opentelemetry::{Key, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Limit of the spans in a request.
const BATCH: usize = 512;
/// Longest time that a span waits for others.
const GATHERING: Duration = Duration::from_secs(1);
/// Time of each last batch at the end of the process.
const END: Duration = Duration::from_secs(2);
/// The path below the collector's URL (OTLP/HTTP).
const PATH: &str = "/v1/traces";

/// Time that an unused connection is kept.
const KEPT: Duration = Duration::from_secs(20);

/// The reason of the last failure, by the client.
type LastFailure = Arc<Mutex<Option<AttemptFailure>>>;

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
    failure: LastFailure,
    place: String,
    queue: SpanQueue,
    log: Log,
    has_failed: bool,
}

impl Collector {
    /// Makes the traces, and the task that sends them.
    ///
    /// # Errors
    /// Certificates that cannot be used, or variables of OpenTelemetry's that mean nothing.
    pub(crate) fn new(config: &TracesConfig, log: Log) -> Result<(Traces, Self), CollectorError> {
        let failure = Arc::new(Mutex::new(None));
        let mut exporter = exporter(config, failure.clone())?;
        let resource = resource();
        exporter.set_resource(&resource);
        let share = f64::from(config.sample_percent) / 100.0;
        let (traces, queue) = Traces::new(share, resource, log.metrics().clone());
        let place = config.client.url.shown(PATH);
        Ok((traces, Self { exporter, failure, place, queue, log, has_failed: false }))
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
        let late = async {
            stopping.cancelled().await;
            sleep(END).await;
        };
        let sent = tokio::select! {
            sent = self.exporter.export(batch) => sent.map_err(|error| self.reason(&error)),
            () = late => Err("the process ends".to_owned()),
        };
        self.log.metrics().count_spans(if sent.is_ok() { "sent" } else { "lost" }, spans);
        let has_failed = std::mem::replace(&mut self.has_failed, sent.is_err());
        match sent {
            Err(reason) if !has_failed => {
                let details = [("url", self.place.as_str()), ("reason", &reason)];
                let text = "the collector takes no spans; they are lost until it does";
                self.log.write(codes::TRACES_NOT_SENT, text, &details);
            }
            Ok(()) if has_failed => {
                let text = "the collector takes spans again";
                self.log.write(codes::TRACES_NOT_SENT.at(Level::Notice), text, &[("url", &self.place)]);
            }
            _ => {}
        }
    }

    /// The reason of a failure. The exporter's own error leaves out why there is no connection.
    fn reason(&self, error: &OTelSdkError) -> String {
        self.failure.lock().take().map_or_else(|| error.to_string(), |failure| failure.to_string())
    }
}

/// Makes the exporter of OpenTelemetry, over a client of the gateway's own.
fn exporter(config: &TracesConfig, failure: LastFailure) -> Result<SpanExporter, CollectorError> {
    let HttpClientConfig { url, timeout, .. } = &config.client;
    let client = http_client(&config.client, ConnectionReuse::While(KEPT))?;
    let client = CollectorClient { client, url: url.below(PATH), timeout: *timeout, failure };
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
    failure: LastFailure,
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
            *self.failure.lock() = match &answered {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(AttemptFailure::Status(answer.status().as_u16())),
                Err(failure) => Some(failure.clone()),
            };
            answered.map_err(Into::into)
        })
    }
}
