//! One JSON line for each request: who asked, from where, what came of it and why. Never a password, a key or a setting.
//!
//! Always true: a request never waits for its line to be written. Lines that nobody takes are dropped, and counted in the
//! line that follows.

mod lines;

pub use lines::Lines;

use crate::toolkit::{self, Decide, Decision, NoConfig, Refusal};
use crate::wire::{AuthzRequest, ConfigAnswer, ConfigRequest, Connection};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use serde_json::{Value, json};

/// Texts that clients make up are cut at this many characters, and all others too.
const TEXT_LIMIT: usize = 255;

/// The webhooks of a decider ([`toolkit::router`]), with a line for each request: decided, or refused before that.
pub fn router<D: Decide>(decider: D, lines: Lines) -> Router {
    let journal = Journal { decider, lines: lines.clone() };
    toolkit::router(journal).layer(from_fn(move |request: Request, next: Next| {
        let lines = lines.clone();
        async move {
            let path = cut(request.uri().path());
            let response = next.run(request).await;
            if let Some(Refusal { status, reason }) = response.extensions().get() {
                let status = status.as_u16();
                lines.write(json!({"path": path, "decision": "refused", "status": status, "reason": cut(reason)}));
            }
            response
        }
    }))
}

/// A decider whose decisions are written down.
struct Journal<D> {
    decider: D,
    lines: Lines,
}

impl<D> Journal<D> {
    fn note(&self, path: &str, connection: &Connection, decision: &Decision) {
        let (text, reason, name) = match decision {
            Decision::Deny(reason) => ("deny", Some(reason.as_ref()), None),
            Decision::Allow(grant) => ("allow", None, grant.authenticated_username.as_deref()),
            Decision::Unavailable(reason) => ("unavailable", Some(reason.as_str()), None),
        };
        self.lines.write(line(path, connection, text, reason, name));
    }
}

fn line(path: &str, connection: &Connection, decision: &str, reason: Option<&str>, name: Option<&str>) -> Value {
    let mut line = json!({
        "path": path,
        "decision": decision,
        "username": cut(&connection.username),
        "remoteAddress": cut(&connection.remote_address),
        "connectionId": cut(&connection.connection_id),
    });
    if let Some(key) = &connection.idempotency_key {
        line["idempotencyKey"] = json!(cut(key));
    }
    if let Some(reason) = reason {
        line["reason"] = json!(cut(reason));
    }
    if let Some(name) = name {
        line["authenticatedUsername"] = json!(cut(name));
    }
    line
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_LIMIT).collect()
}

impl<D: Decide> Decide for Journal<D> {
    async fn password(&self, connection: &Connection, password: &[u8]) -> Decision {
        let decision = self.decider.password(connection, password).await;
        self.note("/password", connection, &decision);
        decision
    }

    async fn public_key(&self, connection: &Connection, key: &str) -> Decision {
        let decision = self.decider.public_key(connection, key).await;
        self.note("/pubkey", connection, &decision);
        decision
    }

    async fn authorize(&self, request: &AuthzRequest) -> Decision {
        let decision = self.decider.authorize(request).await;
        self.note("/authz", &request.connection, &decision);
        decision
    }

    async fn config(&self, request: &ConfigRequest) -> Result<ConfigAnswer, NoConfig> {
        let answer = self.decider.config(request).await;
        let (decision, reason) = match &answer {
            Ok(_) => ("answer", None),
            Err(NoConfig::Refused(reason)) => ("deny", Some(reason.as_ref())),
            Err(NoConfig::Unavailable(reason)) => ("unavailable", Some(reason.as_str())),
        };
        let name = request.authenticated_username.as_deref();
        self.lines.write(line("/config", &request.connection, decision, reason, name));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use lines::tests::Sink;

    struct Nobody;
    impl Decide for Nobody {}

    /// The line that is written for one request.
    async fn line_of(path: &str, body: String) -> (String, Value) {
        let sink = Sink::default();
        let (lines, writer) = Lines::start(sink.clone()).expect("a writer");
        let service = TowerToHyperService::new(router(Nobody, lines));
        let request =
            Request::post(path).header("Idempotency-Key", "\"8e03\"").body(Body::from(body)).expect("a request");
        drop(service.call(request).await);
        drop(service);
        assert!(writer.finish());
        let text = sink.text();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line = serde_json::from_str(&text).expect("JSON");
        (text, line)
    }

    #[tokio::test]
    async fn denial_is_one_line_without_the_password_whatever_the_name_holds() {
        let name = format!("a\n\u{1b}{}", "b".repeat(300));
        let body = json!({"username": name, "remoteAddress": "192.0.2.7:9", "connectionId": "c", "passwordBase64": "aHVudGVyMg=="});
        let (text, line) = line_of("/password", body.to_string()).await;
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg") && !text.contains('\u{1b}'), "{text}");
        assert_eq!((&line["path"], &line["decision"]), (&json!("/password"), &json!("deny")));
        assert_eq!((&line["remoteAddress"], &line["connectionId"]), (&json!("192.0.2.7:9"), &json!("c")));
        assert_eq!(line["idempotencyKey"], "8e03");
        assert_eq!(line["reason"], "this server does not support this request");
        assert_eq!(line["username"].as_str().map(|name| name.chars().count()), Some(TEXT_LIMIT));
    }

    #[tokio::test]
    async fn request_that_is_refused_before_a_decision_is_one_line_too() {
        for (path, body, status, reason) in [
            ("/password", "hunter2".to_owned(), 400, "the body is not the request"),
            ("/password", r#"{"username":"a","passwordBase64":"hunter2!"}"#.into(), 400, "passwordBase64"),
            ("/authz", "x".repeat(5 << 20), 413, "length limit"),
            ("/hunter", "{}".into(), 404, "no such webhook"),
        ] {
            let (text, line) = line_of(path, body).await;
            assert_eq!((&line["path"], &line["status"]), (&json!(path), &json!(status)), "{text}");
            assert!(line["reason"].as_str().is_some_and(|said| said.contains(reason)), "{text}");
            assert!(line["decision"] == "refused" && !text.contains("hunter2"), "{text}");
        }
    }
}
