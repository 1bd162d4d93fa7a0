//! One event a request, and nothing in it that is secret.

use super::capture::{Capture, Written};
use super::*;
use axum::body::Body;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::json;

struct Nobody;
impl Decide for Nobody {}

/// The events that are written for one request.
async fn events_of(method: Method, path: &str, body: String) -> Vec<Written> {
    let journal = Capture::new();
    let service = TowerToHyperService::new(router(Nobody, Arc::clone(&journal) as Arc<dyn Journal>));
    let request = Request::builder().method(method).uri(path).header("Idempotency-Key", "\"8e03\"");
    drop(service.call(request.body(Body::from(body)).expect("a request")).await);
    journal.take()
}

/// The only event of a request.
async fn event_of(path: &str, body: String) -> Written {
    let mut events = events_of(Method::POST, path, body).await;
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

#[tokio::test]
async fn denial_is_one_event_without_the_password_whatever_the_name_holds() {
    let name = "b".repeat(300);
    let body = json!({"username": name, "remoteAddress": "192.0.2.7:9", "connectionId": "c", "passwordBase64": "aHVudGVyMg=="});
    let event = event_of("/password", body.to_string()).await;
    let text = format!("{event:?}");
    assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
    assert_eq!((event.level, event.code), (JournalLevel::Info, "WEBHOOKS_DENIED"));
    let expected = [
        ("connectionId", "c"),
        ("remoteAddr", "192.0.2.7:9"),
        ("username", &name[..TEXT_LIMIT]),
        ("path", "/password"),
        ("reason", "this server does not support this request"),
        ("idempotencyKey", "8e03"),
    ];
    let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(event.details, expected.into());
}

#[tokio::test]
async fn request_that_is_refused_before_a_decision_is_one_event_too() {
    for (path, body, status, reason) in [
        ("/password", "hunter2".to_owned(), "400", "the body is not the request"),
        ("/password", r#"{"username":"a","passwordBase64":"hunter2!"}"#.into(), "400", "passwordBase64"),
        ("/authz", "x".repeat(5 << 20), "413", "length limit"),
        ("/hunter", "{}".into(), "404", "no such webhook"),
    ] {
        let event = event_of(path, body).await;
        let text = format!("{event:?}");
        assert_eq!((event.level, event.code), (JournalLevel::Warning, "WEBHOOKS_REQUEST_REFUSED"), "{text}");
        assert_eq!((event.details["path"].as_str(), event.details["status"].as_str()), (path, status), "{text}");
        assert!(event.details["reason"].contains(reason) && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn look_of_a_gateway_whether_the_server_is_there_is_not_a_refused_request() {
    for path in ["/password", "/pubkey", "/authz", "/config", "/elsewhere"] {
        let events = events_of(Method::HEAD, path, String::new()).await;
        assert!(
            events.iter().all(|event| event.level == JournalLevel::Debug && event.code == "WEBHOOKS_REACHED"),
            "{events:?}"
        );
    }
    let events = events_of(Method::GET, "/password", String::new()).await;
    assert_eq!(events.iter().map(|event| event.code).collect::<Vec<_>>(), ["WEBHOOKS_REQUEST_REFUSED"]);
}
