//! Something that answers in the place of the API server.

use super::{Examined, change, examine};
use crate::support::World;
use crate::support::scripted_webhook::{Authority, serve_at};
use axum::Router;
use axum::http::{HeaderMap, Uri, header};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The token of the gateway; no word of a page begins like it.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.cG9kZ2F0ZS1kb2N0b3I.c2lnbmF0dXJl";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const HTML: &str = "text/html";
const JSON: &str = "application/json";

/// The configuration of a gateway whose API server is a router, and which has no webhook.
async fn before(world: &World, router: Router, credentials: Value) -> std::path::PathBuf {
    let authority = Authority::new();
    let host = serve_at(authority.listen("localhost", false), router).await;
    let mut connection = json!({"host": host, "cacert": authority.pem(), "bearerToken": null});
    crate::support::world::merge(&mut connection, credentials);
    let webhooks = json!({"auth": {"publicKey": null, "authz": null}, "configserver": null});
    let mut config = json!({"kubernetes": {"connection": connection}});
    crate::support::world::merge(&mut config, webhooks);
    change(world, config)
}

async fn answering(world: &World, (status, kind, body): (u16, &'static str, &'static str)) -> Examined {
    let status = axum::http::StatusCode::from_u16(status).expect("a status");
    let router = Router::new().fallback(move || async move { (status, [(header::CONTENT_TYPE, kind)], body) });
    examine(&before(world, router, json!({"bearerToken": TOKEN})).await, &[]).await
}

#[podgate_test::multi_thread]
async fn only_an_api_server_refuses_or_accepts_credentials() {
    let world = World::start().await;
    let refused = r#"{"kind": "Status", "status": "Failure", "reason": "Unauthorized", "message": "no", "code": 401}"#;
    let forbidden = r#"{"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403}"#;
    let examined = answering(&world, (401, JSON, refused)).await;
    examined.assert("api-credentials", "failed", "does not accept the credentials");
    assert!(examined.of("api-credentials")[0]["fix"].as_str().is_some_and(|fix| fix.contains("a new token")));
    let no_api = "does not answer as an API server";
    for (answer, result, text, status) in [
        ((401, HTML, "<h1>Log in</h1>"), "failed", no_api, 1),
        ((502, HTML, "<h1>Bad Gateway</h1>"), "failed", no_api, 1),
        ((503, JSON, "{}"), "failed", no_api, 1),
        ((302, HTML, "<a href=/login>"), "failed", no_api, 1),
        ((403, HTML, "<h1>Forbidden</h1>"), "warning", no_api, 1),
        ((403, JSON, r#"{"reason": "Forbidden"}"#), "warning", no_api, 1),
        ((200, JSON, "{}"), "warning", no_api, 1),
        ((200, HTML, "<h1>It works</h1>"), "warning", no_api, 1),
        ((403, JSON, forbidden), "ok", "the API server takes the credentials", 1),
    ] {
        let examined = answering(&world, answer).await;
        examined.assert("api-credentials", result, text);
        let fix = examined.of("api-credentials")[0]["fix"].as_str().expect("text").to_owned();
        assert!(!fix.contains("token"), "{answer:?}: {fix}");
        assert_eq!(examined.status, status, "{answer:?}: {}", examined.out);
    }
}

#[podgate_test::multi_thread]
async fn api_that_hangs_has_refused_no_credentials() {
    let world = World::start().await;
    let router = Router::new().fallback(std::future::pending::<()>);
    let credentials = json!({"bearerToken": TOKEN});
    let file = before(&world, router, credentials).await;
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file).expect("a file")).expect("JSON");
    config["kubernetes"]["timeouts"]["http"] = json!("500ms");
    fs::write(&file, config.to_string()).expect("a file");
    let examined = examine(&file, &[]).await;
    examined.assert("api-credentials", "failed", "cannot be reached");
    examined.assert("permissions", "skipped", "does not take the gateway's requests");
    let fix = examined.of("api-credentials")[0]["fix"].as_str().expect("text").to_owned();
    assert!(fix.contains("look at the API server") && !fix.contains("token"), "{fix}");
    assert_eq!(examined.status, 1, "{}", examined.out);
}

/// A text in pieces none of which may be shown.
#[track_caller]
fn assert_hidden(examined: &Examined, secret: &str) {
    for piece in secret.as_bytes().windows(12).map(|piece| std::str::from_utf8(piece).expect("ASCII")) {
        assert!(!examined.out.contains(piece), "{piece} of what was sent is in {}", examined.out);
    }
    for check in &examined.checks {
        let detail = check["detail"].as_str().expect("text");
        assert!(!detail.contains(|c: char| c.is_control()), "{detail:?}");
        assert!(detail.chars().count() <= 2000, "{detail}");
    }
}

/// Sends back what it got, after `before` characters, in a page or in a `Status` of Kubernetes.
fn echo(before: usize, asked: &Arc<AtomicUsize>) -> Router {
    let asked = Arc::clone(asked);
    Router::new().fallback(move |uri: Uri, headers: HeaderMap| async move {
        let sent = headers.get(header::AUTHORIZATION).and_then(|sent| sent.to_str().ok()).unwrap_or_default();
        asked.fetch_add(usize::from(!sent.is_empty()), Ordering::SeqCst);
        let bare = sent.rsplit(' ').next().unwrap_or_default();
        let text = format!("\u{1b}[31m{}{bare} is no good\r\nAuthorization: {sent}\u{7}", "x".repeat(before));
        let is_review = uri.path() == REVIEWS;
        let status =
            json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": text, "code": 403});
        let answer = if is_review { status.to_string() } else { text };
        let kind = if is_review { JSON } else { HTML };
        (axum::http::StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, kind)], answer)
    })
}

#[podgate_test::multi_thread]
async fn credentials_that_a_proxy_sends_back_are_not_shown() {
    let world = World::start().await;
    let file = world.folder().join("token");
    fs::write(&file, TOKEN).expect("a file");
    let of_file = |file: &Path| json!({"bearerTokenFile": file});
    let basic = json!({"username": "gateway", "password": "correct horse battery staple"});
    let encoded = data_encoding::BASE64.encode(b"gateway:correct horse battery staple");
    for (credentials, secret) in
        [(json!({"bearerToken": TOKEN}), TOKEN), (of_file(&file), TOKEN), (basic, encoded.as_str())]
    {
        // Whatever is cut, it is cut within the token once.
        for before_it in [0, 180, 390, 1980] {
            let asked = Arc::default();
            let file = before(&world, echo(before_it, &asked), credentials.clone()).await;
            let examined = examine(&file, &[]).await;
            assert!(asked.load(Ordering::SeqCst) > 1, "it was asked with the credentials: {}", examined.out);
            assert_eq!(examined.status, 1, "{}", examined.out);
            assert_hidden(&examined, secret);
        }
    }
}

#[podgate_test::multi_thread]
async fn run_ends_within_its_bound_when_nothing_answers() {
    let world = World::start().await;
    let hung = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = hung.local_addr().expect("an address");
    // The limits of questions are the file's here; the others are the command's own. Each connection is taken and kept open, and nothing is said on it.
    let kept = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = hung.accept().await {
            kept.push(stream);
        }
    });
    let mut config = crate::support::scripted_webhook::config(&format!("http://{at}"));
    for method in ["password", "publicKey"] {
        config["auth"][method]["webhook"]["authTimeout"] = json!("2s");
    }
    config["configserver"] = Value::Null;
    config["auth"]["authz"] = json!({"method": "webhook", "webhook": {"url": format!("https://{at}")}});
    config["kubernetes"] = json!({"connection": {"host": format!("https://{at}")}});
    config["ssh"] = json!({"listen": at.to_string()});
    let file = change(&world, config);
    let began = std::time::Instant::now();
    let examined = examine(&file, &["--pod"]).await;
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    examined.assert("webhook-answer", "failed", "auth.password: ");
    examined.assert("webhook-answer", "skipped", "the server cannot be reached");
    examined.assert("api-tls", "failed", "no answer within 5s");
    examined.assert("api-credentials", "skipped", "the API server cannot be reached");
    examined.assert("pod-start", "skipped", "the cluster cannot be used");
    assert_eq!(examined.status, 1, "{}", examined.out);
    kept.abort();
}

/// The bound of the page.
const BOUND: std::time::Duration = std::time::Duration::from_secs(60);
