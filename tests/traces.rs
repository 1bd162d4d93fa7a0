//! Traces, as a collector gets them: what of a connection is a span, and that no collector is in a login's way.

use crate::operator::{free, get};
use crate::support::cluster::soon;
use crate::support::scripted_webhook::{ScriptedWebhook, accept_all, config};
use crate::support::world::merge;
use crate::support::{Setup, World, leash};
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as AnyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

/// A collector in the test.
struct Collector {
    url: String,
    /// The bodies of all requests.
    bodies: watch::Receiver<Vec<Bytes>>,
    /// The status of its answers. With 503, it asks for patience; with [`REJECTS`], it takes the request and no span.
    status: Arc<AtomicU16>,
}

/// Stands for a request that is taken, all of whose spans are rejected.
const REJECTS: u16 = 0;

impl Collector {
    async fn start() -> Self {
        let (sender, bodies) = watch::channel(Vec::new());
        let status = Arc::new(AtomicU16::new(200));
        let answers = status.clone();
        let taken = move |body: Bytes| async move {
            let spans = spans(std::slice::from_ref(&body)).len();
            sender.send_modify(|bodies: &mut Vec<Bytes>| bodies.push(body));
            match answers.load(Ordering::SeqCst) {
                REJECTS => (StatusCode::OK, [("retry-after", "0")], rejected(spans)),
                status => (StatusCode::from_u16(status).expect("a status"), [("retry-after", "60")], Vec::new()),
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/otlp", listener.local_addr().expect("an address"));
        let router = axum::Router::new().route("/otlp/v1/traces", post(taken));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, bodies, status }
    }

    /// The spans so far.
    fn spans(&self) -> Vec<Span> {
        spans(&self.bodies.borrow())
    }

    /// Waits until the spans satisfy `wanted`.
    async fn wait(&self, wanted: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let mut bodies = self.bodies.clone();
        let came = timeout(soon(), bodies.wait_for(|bodies| wanted(&spans(bodies)))).await.map(drop);
        came.unwrap_or_else(|_elapsed| panic!("{:#?}", self.spans()));
        self.spans()
    }

    /// Waits until a connection is over, and returns its spans.
    async fn connection(&self) -> Vec<Span> {
        self.wait(|spans| spans.iter().any(|span| span.name == "connection")).await
    }

    fn config(&self) -> Value {
        json!({"traces": {"enable": true, "otlp": {"url": self.url}}})
    }
}

/// The body of an answer that rejects so many spans.
fn rejected(spans: usize) -> Vec<u8> {
    let rejected_spans = i64::try_from(spans).expect("a number");
    let partial = ExportTracePartialSuccess { rejected_spans, error_message: "too old".to_owned() };
    ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec()
}

fn requests(bodies: &[Bytes]) -> Vec<ExportTraceServiceRequest> {
    bodies.iter().map(|body| ExportTraceServiceRequest::decode(&body[..]).expect("a request of OTLP")).collect()
}

fn spans(bodies: &[Bytes]) -> Vec<Span> {
    let resources = requests(bodies).into_iter().flat_map(|request| request.resource_spans);
    resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

/// An attribute as text; empty where there is none.
fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(AnyValue::StringValue(text)) => text.clone(),
        Some(AnyValue::IntValue(number)) => number.to_string(),
        Some(AnyValue::BoolValue(flag)) => flag.to_string(),
        _ => String::new(),
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span {name}: {spans:#?}"));
    assert!(found.next().is_none(), "more than one span {name}: {spans:#?}");
    span
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// A world whose webhooks are a script's, and whose spans go to the collector.
async fn traced(collector: &Collector) -> World {
    let webhooks = ScriptedWebhook::start(accept_all).await;
    let mut settings = webhooks.config();
    merge(&mut settings, collector.config());
    let mut world = Setup::config(settings).start().await;
    world.keep(webhooks);
    world
}

#[podgate_test::multi_thread]
async fn denied_login_is_a_trace_with_the_refusal_and_no_program() {
    let collector = Collector::start().await;
    let world = Setup::config(collector.config()).start().await;
    world.ssh_as("mallory").run("true").await.expect(255);
    let spans = collector.connection().await;
    let step = named(&spans, "pubkey");
    assert_eq!(attribute(&step.attributes, "podgate.outcome"), "refused");
    assert_eq!(attribute(&named(&spans, "connection").attributes, "user.name"), "mallory");
    assert!(spans.iter().all(|span| !["program", "config", "pod_create"].contains(&&*span.name)), "{spans:#?}");
}

#[podgate_test::multi_thread]
async fn each_step_and_program_is_a_span_of_its_connection_and_webhooks_can_go_on_with_the_trace() {
    let collector = Collector::start().await;
    let webhooks = ScriptedWebhook::start(accept_all).await;
    let mut settings = config(&webhooks.url);
    merge(&mut settings, collector.config());
    let world = Setup::config(settings).start().await;
    let secrets = ["canary-command", "canary-input", "canary-value"];
    let client = world.ssh().arg("-oSetEnv=LC_CANARY=canary-value").stdin("canary-input");
    client.run("cat >/dev/null; : canary-command; exit 7").await.expect(7);
    let spans = collector.connection().await;
    let whole = named(&spans, "connection");
    for name in
        ["handshake", "pubkey", "config", "pod_create", "pod_ready", "pod_prepare", "exec", "first_program", "program"]
    {
        let span = named(&spans, name);
        assert_eq!(hex(&span.parent_span_id), hex(&whole.span_id), "{name}");
        assert_eq!(hex(&span.trace_id), hex(&whole.trace_id), "{name}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        if name != "program" {
            assert_eq!(attribute(&span.attributes, "podgate.outcome"), "success", "{name}");
        }
    }
    assert_eq!(hex(&whole.parent_span_id), "");
    assert_eq!(attribute(&whole.attributes, "user.name"), "alice");
    assert_eq!(attribute(&whole.attributes, "client.address"), "127.0.0.1");
    let line = world.gateway.wait_for_line("SSH_EXIT").await;
    assert_eq!(line["details"]["connectionId"], attribute(&whole.attributes, "podgate.connection.id"), "{line}");
    let program = &named(&spans, "program").attributes;
    for (key, value) in [
        ("podgate.program.kind", "exec"),
        ("process.exit.code", "7"),
        ("process.interactive", "false"),
        ("podgate.program.bytes_in", "12"),
    ] {
        assert_eq!(attribute(program, key), value, "{key}");
    }
    for (path, step) in [("/pubkey", "pubkey"), ("/config", "config")] {
        let span = named(&spans, step);
        let header = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
        let asked = webhooks.requests().into_iter().filter(|asked| asked.path == path);
        assert!(asked.into_iter().any(|asked| asked.traceparent.as_deref() == Some(&header)), "{header}");
    }
    let bodies = collector.bodies.borrow().clone();
    let resource = requests(&bodies).remove(0).resource_spans.remove(0).resource.expect("a resource");
    assert_eq!(attribute(&resource.attributes, "service.name"), "podgate");
    for secret in secrets {
        let holds = |body: &Bytes| body.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!bodies.iter().any(holds), "{secret} is in a span");
    }
}

#[podgate_test::multi_thread]
async fn collector_that_refuses_is_told_once_costs_no_login_and_is_told_when_it_is_back() {
    let collector = Collector::start().await;
    collector.status.store(400, Ordering::SeqCst);
    let world = traced(&collector).await;
    for logins in 1..=2 {
        world.ssh().run("true").await.expect(0);
        let over = |spans: &[Span]| spans.iter().filter(|span| span.name == "connection").count() == logins;
        collector.wait(over).await;
    }
    let told = world.gateway.wait_for_line("TRACES_NOT_SENT").await;
    assert_eq!(told["level"], "warning", "{told}");
    assert_eq!(told["details"]["reason"], "the server answered with status 400", "{told}");
    collector.status.store(200, Ordering::SeqCst);
    world.ssh().run("true").await.expect(0);
    world.gateway.wait_for_lines(2, |line| line["code"] == "TRACES_NOT_SENT").await;
    let lines = world.gateway.lines("TRACES_NOT_SENT");
    let levels: Vec<_> = lines.iter().map(|line| line["level"].as_str().unwrap_or_default()).collect();
    assert_eq!(levels, ["warning", "notice"]);
}

#[podgate_test::multi_thread]
async fn spans_that_the_collector_rejects_are_lost_and_told() {
    let collector = Collector::start().await;
    collector.status.store(REJECTS, Ordering::SeqCst);
    let at = free();
    let mut settings = collector.config();
    merge(&mut settings, json!({"metrics": {"enable": true, "listen": at.to_string()}}));
    let world = Setup::config(settings).start().await;
    world.ssh_as("mallory").run("true").await.expect(255);
    let told = world.gateway.wait_for_line("TRACES_NOT_SENT").await;
    let reason = told["details"]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("it rejected ") && reason.ends_with(" spans: too old"), "{told}");
    let page = get(at, "/metrics").await.expect("a page");
    assert!(page.contains("podgate_trace_spans_total{result=\"sent\"} 0\n"), "{page}");
}

#[podgate_test::multi_thread]
async fn collector_that_asks_for_patience_holds_up_neither_logins_nor_the_end() {
    let collector = Collector::start().await;
    collector.status.store(503, Ordering::SeqCst);
    let config = json!({"traces": {"otlp": {"timeout": "1h"}}});
    let mut settings = collector.config();
    merge(&mut settings, config);
    let setup = Setup::config(settings);
    let mut world = setup.start().await;
    // More of them than the runtime has threads.
    for _ in 0..4 {
        timeout(soon(), world.ssh_as("mallory").run("true")).await.expect("in time").expect(255);
        collector.wait(|spans| !spans.is_empty()).await;
    }
    world.gateway.signal("TERM");
    let ended = timeout(soon(), world.gateway.ended()).await.expect("it ends in time");
    assert!(ended.success());
    assert!(!world.gateway.log().contains("gave up waiting"), "{}", world.gateway.log());
}

#[podgate_test::multi_thread]
async fn spans_that_are_there_are_sent_before_the_process_ends() {
    let collector = Collector::start().await;
    let mut world = traced(&collector).await;
    let client = world.ssh().start("echo up; cat");
    client.until_stdout("up").await;
    world.gateway.signal("TERM");
    assert!(world.gateway.ended().await.success());
    let spans = collector.spans();
    named(&spans, "connection");
    let program = named(&spans, "program");
    let status = program.status.as_ref().expect("a status");
    assert_eq!(status.message, "the server is shutting down", "{program:#?}");
}

#[podgate_test::multi_thread]
async fn connections_that_are_not_sampled_send_nothing_and_tell_webhooks_so() {
    let collector = Collector::start().await;
    let webhooks = ScriptedWebhook::start(accept_all).await;
    let mut settings = config(&webhooks.url);
    merge(&mut settings, collector.config());
    merge(&mut settings, json!({"traces": {"samplePercent": 0}}));
    let mut world = Setup::config(settings).start().await;
    world.ssh().run("true").await.expect(0);
    world.gateway.signal("TERM");
    assert!(world.gateway.ended().await.success());
    assert_eq!(collector.bodies.borrow().len(), 0);
    let headers: Vec<_> = webhooks.requests().into_iter().map(|asked| asked.traceparent).collect();
    let is_off = |header: &Option<String>| header.as_ref().is_some_and(|header| header.ends_with("-00"));
    assert!(headers.len() >= 2 && headers.iter().all(is_off), "{headers:?}");
}

#[tokio::test]
#[ignore = "needs OpenTelemetry's Collector of tests/traces/collector, which PODGATE_TEST_COLLECTOR names"]
async fn collector_of_opentelemetry_takes_the_spans_and_passes_them_on() {
    let behind = Collector::start().await;
    let folder = tempfile::Builder::new().prefix("podgate-test-").tempdir().expect("a folder");
    let (socket, config) = (folder.path().join("otlp.sock"), folder.path().join("collector.yaml"));
    let settings = json!({
        "receivers": {"otlp": {"protocols": {"http": {"transport": "unix", "endpoint": socket}}}},
        "exporters": {"otlphttp": {"endpoint": behind.url, "compression": "none", "tls": {"insecure": true}}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlphttp"]}},
        },
    });
    std::fs::write(&config, settings.to_string()).expect("a file");
    let program = std::env::var_os("PODGATE_TEST_COLLECTOR").expect("PODGATE_TEST_COLLECTOR");
    let mut collector = leash::program(program);
    let _collector = collector.arg("--config").arg(&config).kill_on_drop(true).spawn().expect("the collector");
    // Its socket tells nobody that it is there.
    let listening = async {
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(soon(), listening).await.expect("a collector that listens");
    let traces = json!({"enable": true, "otlp": {"url": format!("unix:{}", socket.display())}});
    let world = Setup::config(json!({"traces": traces})).start().await;
    world.ssh().run("exit 7").await.expect(7);
    let spans = behind.connection().await;
    assert_eq!(attribute(&named(&spans, "program").attributes, "process.exit.code"), "7");
    assert!(world.gateway.lines("TRACES_NOT_SENT").is_empty());
}
