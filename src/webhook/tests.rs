//! The webhook client against real sockets: every way to fail first.

mod answer_body;
mod once;

use super::fake::{FakeReply, FakeWebhook, yes};
use super::*;
use crate::telemetry::metrics::{MeasuredStep, Question};
use crate::telemetry::{ConnectionLog, Log, LogFormat, capture};
use crate::types::ConnectionId;
use serde_json::json;
use std::time::{Duration, Instant};

/// Far more than any of these takes, far less than a forgotten deadline would.
const SOON: Duration = Duration::from_secs(20);

/// The log of one connection.
fn connection(log: &Log) -> ConnectionLog {
    log.connection(ConnectionId::random(), "192.0.2.7:52311".parse().unwrap())
}

fn quiet() -> ConnectionLog {
    connection(&capture::log(LogFormat::Text).0)
}

/// Asks for any JSON object; the question is one that may be repeated.
async fn ask(block: &HttpClientConfig, limit: Duration) -> Result<serde_json::Value, WebhookError> {
    ask_for(Question::PublicKey, block, limit).await
}

async fn ask_for(
    question: Question,
    block: &HttpClientConfig,
    limit: Duration,
) -> Result<serde_json::Value, WebhookError> {
    let client = WebhookClient::new(block, "/pubkey", question).unwrap();
    let log = quiet();
    let step = log.step(MeasuredStep::Config);
    let call = AskOptions { limit, log: &log, step: &step };
    let parse = |body: &[u8]| serde_json::from_slice(body).map_err(|error| error.to_string());
    client.ask(call, &json!({"a": 1}), parse).await.map(|answered| answered.answer)
}

async fn outcome(script: impl Fn() -> FakeReply + Send + Sync + 'static, limit: Duration) -> (WebhookError, usize) {
    let fake = FakeWebhook::start(move |_, _| script()).await;
    let begun = Instant::now();
    let error = ask(&fake.block(), limit).await.expect_err("must fail");
    assert!(begun.elapsed() < limit + SOON, "took {:?}", begun.elapsed());
    (error, fake.asked().len())
}

#[tokio::test]
async fn status_below_500_is_final() {
    for status in [201, 202, 204, 400, 401, 403, 404, 408, 429] {
        let (error, tries) = outcome(move || FakeReply::Answer(status, r#"{"success":true}"#.into()), SOON).await;
        assert!(matches!(error, WebhookError::Final(AttemptFailure::Status(s)) if s == status), "{error}");
        assert_eq!(tries, 1, "{status}");
    }
}

#[tokio::test]
async fn redirect_is_refused_and_said() {
    let target = FakeWebhook::start(|_, _| yes()).await;
    let WebhookUrl::Http(url) = target.block().url else { panic!("a URL") };
    let answer = format!("HTTP/1.1 307 x\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n");
    let answer: &'static str = answer.leak();
    let (error, tries) = outcome(move || FakeReply::Raw(answer), SOON).await;
    assert!(matches!(error, WebhookError::Final(AttemptFailure::Redirect(307))), "{error}");
    assert!(error.to_string().contains("redirect"));
    assert_eq!((tries, target.asked().len()), (1, 0));
}

#[tokio::test]
async fn huge_body_is_given_up_announced_or_not() {
    let announced = || FakeReply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n");
    for (error, tries) in [outcome(announced, SOON).await, outcome(|| FakeReply::Endless, SOON).await] {
        assert!(matches!(error, WebhookError::Final(AttemptFailure::TooLarge(_))), "{error}");
        assert_eq!(tries, 1);
    }
}

#[tokio::test]
async fn body_at_the_limit_is_taken() {
    let body = format!("\"{}\"", "x".repeat(client::BODY_LIMIT - 2));
    let fake = FakeWebhook::start(move |_, _| FakeReply::Answer(200, body.clone())).await;
    assert!(ask(&fake.block(), SOON).await.is_ok());
}

#[test]
fn memory_of_a_long_question_never_grows() {
    let body = super::client::encoded_in_place(&json!({"passwordBase64": "x".repeat(100_000)})).unwrap();
    assert_eq!((body.len(), body.capacity()), (100_021, 100_021));
}

/// The log's lines about a question that fails at `block`.
async fn told_of_failure(block: &HttpClientConfig) -> String {
    let (log, captured) = capture::log(LogFormat::Text);
    let connection = connection(&log);
    let client = WebhookClient::new(block, "/password", Question::Password).unwrap();
    let step = connection.step(MeasuredStep::Config);
    let call = AskOptions { limit: Duration::from_millis(500), log: &connection, step: &step };
    client.ask(call, &json!({}), |_| Ok(())).await.expect_err("no answer");
    captured.text(&log)
}

#[tokio::test]
async fn status_is_told_as_an_answer_with_its_likely_cause() {
    for (status, cause) in
        [(401, "it wants credentials"), (404, "is the path of the URL right?"), (405, "takes no POST")]
    {
        let fake = FakeWebhook::start(move |_, _| FakeReply::Answer(status, String::new())).await;
        let text = told_of_failure(&fake.block()).await;
        assert!(text.contains("the webhook answered with an error") && !text.contains("gave no answer"), "{text}");
        assert!(text.contains(&format!("status {status}; ")) && text.contains(cause), "{text}");
    }
}

#[tokio::test]
async fn http_where_tls_is_spoken_and_the_other_way_round_is_told() {
    let tls = FakeWebhook::start_tls("localhost", |_, _| yes()).await;
    let WebhookUrl::Http(mut url) = tls.block().url else { panic!("a URL") };
    url.set_scheme("http").unwrap();
    let block = HttpClientConfig { url: WebhookUrl::Http(url), ..tls.block() };
    let hint = "; is it https? the URL says http";
    let text = told_of_failure(&block).await;
    assert!(text.contains(hint), "{text}");
    let client = WebhookClient::new(&block, "/password", Question::Password).unwrap();
    assert!(client.reach().await.expect_err("TLS").ends_with(hint));
    // As nginx and Go's server say it; and a server that is no web server at all.
    for reply in [
        || FakeReply::Answer(400, "plain HTTP was sent to an HTTPS port".into()),
        || FakeReply::Raw("SSH-2.0-x\r\n\r\n"),
    ] {
        let fake = FakeWebhook::start(move |_, _| reply()).await;
        let text = told_of_failure(&fake.block()).await;
        assert!(text.contains(hint), "{text}");
    }
    let fake = FakeWebhook::start(|_, _| FakeReply::Answer(403, String::new())).await;
    let text = told_of_failure(&fake.block()).await;
    assert!(!text.contains("https"), "{text}");
    assert!(text.contains("the webhook answered with an error"), "{text}");

    let plain = FakeWebhook::start(|_, _| yes()).await;
    let WebhookUrl::Http(mut url) = plain.block().url else { panic!("a URL") };
    url.set_scheme("https").unwrap();
    let text = told_of_failure(&HttpClientConfig { url: WebhookUrl::Http(url), ..tls.block() }).await;
    assert!(text.contains("; is it the right port, and https there?"), "{text}");
}

#[test]
fn number_of_tries_is_told_in_plain_english() {
    for (tries, text) in
        [(1, "gave up after 1 try: no answer in time"), (2, "gave up after 2 tries: no answer in time")]
    {
        assert_eq!(WebhookError::GaveUp { tries, last: AttemptFailure::TimedOut }.to_string(), text);
    }
}

#[tokio::test]
async fn malformed_body_is_final() {
    for (body, reason) in [("", "it is empty"), ("{", "EOF"), ("<html>", "it is HTML"), ("{}{}", "trailing")] {
        let (error, tries) = outcome(move || FakeReply::Answer(200, body.into()), SOON).await;
        assert!(matches!(&error, WebhookError::Malformed(text) if text.contains(reason)), "{error}");
        assert_eq!(tries, 1);
    }
}

#[tokio::test]
async fn content_encoding_that_was_not_asked_for_is_named() {
    for encoding in ["gzip", "br", "deflate, gzip"] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: 2\r\n\r\n{{}}");
        let answer: &'static str = answer.leak();
        let (error, tries) = outcome(move || FakeReply::Raw(answer), SOON).await;
        assert!(matches!(&error, WebhookError::Final(AttemptFailure::Encoded(name)) if name == encoding), "{error}");
        assert!(error.to_string().contains(&format!("the content encoding {encoding:?}")), "{error}");
        assert_eq!((error.predicate(), tries), ("gives an answer that is not understood", 1));
    }
    let twice =
        "HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}";
    let (error, _) = outcome(move || FakeReply::Raw(twice), SOON).await;
    assert!(
        matches!(&error, WebhookError::Final(AttemptFailure::Encoded(name)) if name == "identity, gzip"),
        "{error}"
    );
    for plain in [
        "HTTP/1.1 200 OK\r\ncontent-encoding: Identity\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-encoding:\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-encoding: identity, identity\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let fake = FakeWebhook::start(move |_, _| FakeReply::Raw(plain)).await;
        assert!(ask(&fake.block(), SOON).await.is_ok(), "{plain}");
    }
}

#[tokio::test]
async fn byte_order_mark_of_an_answer_is_skipped() {
    let fake = FakeWebhook::start(|_, _| FakeReply::Answer(200, "\u{feff}{\"success\":true}".into())).await;
    assert_eq!(ask(&fake.block(), SOON).await.unwrap()["success"], true);
}

#[tokio::test]
async fn server_that_is_down_is_tried_until_the_limit() {
    // Bound and not listening: it refuses, and no other test is given its port.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", held.local_addr().unwrap());
    let fake = FakeWebhook::start(|_, _| yes()).await;
    let block = HttpClientConfig { url: WebhookUrl::Http(url.parse().unwrap()), ..fake.block() };
    let begun = Instant::now();
    let error = ask(&block, Duration::from_millis(700)).await.expect_err("nobody is there");
    assert!(matches!(error, WebhookError::GaveUp { tries: 2.., last: AttemptFailure::Unreachable(_) }), "{error}");
    assert!((Duration::from_millis(600)..SOON).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(!error.to_string().contains("http://"), "{error}");
}

#[tokio::test]
async fn slow_server_costs_one_try_after_the_other() {
    let fake = FakeWebhook::start(|at, _| if at == 0 { FakeReply::Hang } else { yes() }).await;
    let block = HttpClientConfig { timeout: Duration::from_secs(1), ..fake.block() };
    assert!(ask(&block, SOON).await.is_ok());
    assert_eq!(fake.asked().len(), 2);
    fake.hung_up().await;
}

#[tokio::test]
async fn limit_ends_a_try_that_would_have_longer() {
    let fake = FakeWebhook::start(|_, _| FakeReply::Hang).await;
    let block = HttpClientConfig { timeout: Duration::from_secs(600), ..fake.block() };
    let begun = Instant::now();
    let error = ask(&block, Duration::from_millis(500)).await.expect_err("the server hangs");
    assert!(matches!(error, WebhookError::GaveUp { tries: 1, last: AttemptFailure::TimedOut }), "{error}");
    assert!(begun.elapsed() < SOON);
    fake.hung_up().await;
}

#[tokio::test]
async fn body_that_stops_half_way_is_no_answer() {
    let half = || FakeReply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"success\":true}");
    let (error, _) = outcome(half, Duration::from_millis(1500)).await;
    assert!(matches!(error, WebhookError::GaveUp { last: AttemptFailure::TimedOut, .. }), "{error}");
}

#[tokio::test]
async fn failing_server_that_recovers_is_asked_again() {
    let fake = FakeWebhook::start(|at, _| match at {
        0 => FakeReply::Answer(500, String::new()),
        1 => FakeReply::Close,
        2 => FakeReply::Answer(503, "{}".into()),
        _ => yes(),
    })
    .await;
    assert_eq!(ask(&fake.block(), SOON).await.unwrap()["success"], true);
    assert_eq!(fake.asked().len(), 4);
}

#[tokio::test]
async fn wrong_ca_is_final() {
    let (fake, other) =
        (FakeWebhook::start_tls("localhost", |_, _| yes()).await, FakeWebhook::start_tls("x", |_, _| yes()).await);
    let block = HttpClientConfig { ca: other.block().ca, ..fake.block() };
    let begun = Instant::now();
    let error = ask(&block, Duration::from_secs(60)).await.expect_err("the certificate is not to be trusted");
    assert!(matches!(error, WebhookError::Final(AttemptFailure::Tls(_))), "{error}");
    assert!(begun.elapsed() < SOON && fake.asked().is_empty());
}

#[tokio::test]
async fn wrong_host_name_is_final() {
    let fake = FakeWebhook::start_tls("other.example", |_, _| yes()).await;
    let error = ask(&fake.block(), SOON).await.expect_err("the certificate is for another host");
    let sentence = "TLS: the server's certificate is for other.example, not for localhost; use one of its names in url, \
                    or a certificate for localhost";
    assert_eq!(error.to_string(), sentence);
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn self_signed_certificate_is_taken_where_it_is_given_itself() {
    let (fake, other) =
        (FakeWebhook::start_self_signed(|_, _| yes()).await, FakeWebhook::start_self_signed(|_, _| yes()).await);
    let block = HttpClientConfig { ca: other.block().ca, ..fake.block() };
    let error = ask(&block, SOON).await.expect_err("another certificate is given");
    assert!(error.to_string().contains("is self-signed and not a trusted one; give this very certificate in cacert"));
    assert!(fake.asked().is_empty());
    ask(&fake.block(), SOON).await.unwrap();
}

#[tokio::test]
async fn server_that_wants_a_certificate_is_shown_the_configured_one() {
    let (fake, identity) = FakeWebhook::start_mutual(|_, _| yes()).await;
    let error = ask(&fake.block(), Duration::from_secs(60)).await.expect_err("a certificate is wanted");
    assert!(matches!(error, WebhookError::Final(AttemptFailure::Tls(_))), "{error}");
    assert_eq!(error.to_string(), "TLS: the server wants a client certificate; give one in cert and key");
    assert!(fake.asked().is_empty());
    let block = HttpClientConfig { identity: Some(identity), ..fake.block() };
    ask(&block, SOON).await.unwrap();
}

#[tokio::test]
async fn server_without_tls_is_never_asked_where_tls_is_wanted() {
    let fake = FakeWebhook::start(|_, _| yes()).await;
    let WebhookUrl::Http(mut url) = fake.block().url else { panic!("a URL") };
    url.set_scheme("https").unwrap();
    let tls = FakeWebhook::start_tls("127.0.0.1", |_, _| yes()).await;
    let block = HttpClientConfig { url: WebhookUrl::Http(url), ca: tls.block().ca, ..fake.block() };
    let error = ask(&block, Duration::from_secs(2)).await.expect_err("this is not TLS");
    assert!(fake.asked().is_empty(), "{error}");
    assert!(error.to_string().contains("is it the right port, and https there?"), "{error}");
}

#[tokio::test]
async fn right_certificate_is_accepted_and_one_connection_serves_many_calls() {
    let tls = FakeWebhook::start_tls("localhost", |_, _| yes()).await;
    let plain = FakeWebhook::start(|_, _| yes()).await;
    let log = quiet();
    for fake in [tls, plain] {
        let client = WebhookClient::new(&fake.block(), "/pubkey", Question::PublicKey).unwrap();
        for _ in 0..20 {
            let step = log.step(MeasuredStep::Config);
            let call = AskOptions { limit: SOON, log: &log, step: &step };
            client.ask(call, &json!({}), |_| Ok(())).await.unwrap();
        }
        assert_eq!((fake.asked().len(), fake.connections()), (20, 1));
    }
}

#[tokio::test]
async fn request_is_what_servers_expect() {
    let fake = FakeWebhook::start(|_, _| yes()).await;
    ask(&fake.block(), SOON).await.unwrap();
    let asked = fake.asked().remove(0);
    assert_eq!((asked.path.as_str(), asked.body), ("/hook/pubkey", json!({"a": 1})));
    for header in ["content-type: application/json", "accept: application/json", "accept-encoding: identity"] {
        assert!(asked.headers.iter().any(|line| line == header), "{:?}", asked.headers);
    }
    let agent = concat!("user-agent: podgate/", env!("CARGO_PKG_VERSION"));
    assert!(asked.headers.iter().any(|line| line == agent), "{:?}", asked.headers);
}

#[tokio::test]
async fn unix_socket_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeWebhook::start_unix(&dir.path().join("hook.sock"), |_, _| yes());
    ask(&fake.block(), SOON).await.unwrap();
    assert_eq!(fake.asked()[0].path, "/hook/pubkey");
    assert!(WebhookClient::new(&fake.block(), "", Question::Config).unwrap().place().ends_with("hook.sock:/hook"));
}

#[tokio::test]
async fn dropped_call_is_cancelled() {
    let fake = FakeWebhook::start(|_, _| FakeReply::Hang).await;
    let block = HttpClientConfig { timeout: Duration::from_secs(600), ..fake.block() };
    let call = tokio::spawn(async move { ask(&block, Duration::from_secs(600)).await });
    while fake.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    call.abort();
    fake.hung_up().await;
}

#[tokio::test]
async fn first_failed_try_is_a_warning_and_the_end_is_an_error() {
    let fake = FakeWebhook::start(|at, _| FakeReply::Answer(if at == 0 { 500 } else { 403 }, "s3cret".into())).await;
    let (log, captured) = capture::log(LogFormat::Text);
    let connection = connection(&log);
    let client = WebhookClient::new(&fake.block(), "/authz", Question::Authorization).unwrap();
    let step = connection.step(MeasuredStep::Config);
    let call = AskOptions { limit: SOON, log: &connection, step: &step };
    client.ask(call, &json!({"passwordBase64": "s3cret"}), |_| Ok(())).await.expect_err("403");
    let text = captured.text(&log);
    let levels: Vec<_> = text.lines().map(|line| line.split('\t').nth(1).unwrap()).collect();
    assert_eq!(levels, ["debug", "warning", "error"], "{text}");
    assert!(text.lines().all(|line| line.contains(client.place())), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    let page = log.metrics().text().unwrap();
    for line in [
        r#"requests_total{authtype="authorization",retry="0"} 1"#,
        r#"requests_total{authtype="authorization",retry="1"} 1"#,
        r#"failures_total{type="soft",authtype="authorization",retry="0",reason="AUTH_INVALID_STATUS"} 1"#,
        r#"failures_total{type="hard",authtype="authorization",retry="1",reason="AUTH_INVALID_STATUS"} 1"#,
    ] {
        assert!(page.contains(&format!("\ncontainerssh_auth_server_{line}\n")), "{line}: {page}");
    }
}
