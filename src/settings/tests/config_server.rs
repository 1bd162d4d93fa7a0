//! The config webhook against a real socket: what it is asked, and what its answers make of an identity.

use crate::auth::{ClientFacts, Identity};
use crate::settings::{ConfigClient, ConfigServer, ConfigServerError};
use crate::telemetry::{ConnectionLog, LogFormat, capture};
use crate::types::{ConnectionId, Username};
use crate::webhook::WebhookError;
use crate::webhook::fake::{FakeReply, FakeWebhook};
use serde_json::json;

fn facts() -> ClientFacts {
    ClientFacts {
        connection: ConnectionId::random(),
        remote: "192.0.2.7:52311".parse().unwrap(),
        client_version: "SSH-2.0-test".into(),
    }
}

fn quiet() -> ConnectionLog {
    capture::log(LogFormat::Text).0.connection(ConnectionId::random(), facts().remote)
}

/// An identity with something sensitive about it.
fn identity() -> Identity {
    let known = json!({
        "environment": {"TOKEN": {"value": "s3cret", "sensitive": true}},
        "metadata": {"team": {"value": "a"}},
    });
    let known = serde_json::from_value(known).unwrap();
    Identity::for_test(Username::parse("jo").unwrap(), "jo@example.com", known)
}

async fn fetch(
    transmit_sensitive: bool,
    answer: &'static str,
) -> (Result<Identity, ConfigServerError>, serde_json::Value) {
    fetch_with(&quiet(), transmit_sensitive, answer).await
}

async fn fetch_with(
    log: &ConnectionLog,
    transmit_sensitive: bool,
    answer: &'static str,
) -> (Result<Identity, ConfigServerError>, serde_json::Value) {
    let fake = FakeWebhook::start(move |_, _| FakeReply::Answer(200, answer.into())).await;
    let server =
        ConfigServer { client: fake.block(), transmit_sensitive, exact_values: false, allow_connection: false };
    let mut identity = identity();
    let fetched = ConfigClient::new(&server).unwrap().fetch(&mut identity, &facts(), log).await;
    let asked = fake.asked().remove(0);
    assert_eq!(asked.path, "/hook");
    (fetched.map(|_| identity), asked.body)
}

#[tokio::test]
async fn sensitive_values_reach_the_config_server_only_where_that_is_configured() {
    for transmit in [false, true] {
        let (identity, asked) = fetch(transmit, r#"{"config":{}}"#).await;
        assert_eq!(asked["authenticatedUsername"], "jo@example.com");
        assert_eq!(asked["metadata"]["team"]["value"], "a");
        assert_eq!(asked.to_string().contains("s3cret"), transmit, "{asked}");
        assert_eq!(identity.unwrap().known().environment["TOKEN"].value, "s3cret");
    }
}

#[tokio::test]
async fn config_answer_that_knows_more_is_learned() {
    let answer = r#"{"config":{},"authenticatedUsername":"jo-2","metadata":{"team":{"value":"b"}},
        "environment":{"MORE":{"value":"c"}}}"#;
    let identity = fetch(false, answer).await.0.unwrap();
    assert_eq!(identity.authenticated(), "jo-2");
    assert_eq!(identity.username().as_str(), "jo");
    assert_eq!(identity.known().metadata["team"].value, "b");
    assert_eq!(identity.known().environment.len(), 2);
}

#[tokio::test]
async fn config_answer_with_a_variable_that_cannot_be_set_is_refused() {
    let answer = r#"{"config":{},"environment":{"A":{"value":"s3cret\u0000"}}}"#;
    let error = fetch(false, answer).await.0.expect_err("no such variable");
    let ConfigServerError::Webhook(WebhookError::Malformed(text)) = &error else { panic!("{error}") };
    assert!(text.starts_with("environment: ") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn config_answer_that_is_not_understood_is_an_error_with_one_line_that_names_the_field() {
    for (answer, reason) in [
        ("{}", "config: is missing"),
        (r#"{"config":null}"#, "config: is null"),
        (r#"{"success":true}"#, "config: is missing"),
        (r#"{"config":[]}"#, "config: is not an object"),
        (r#"{"security":{"maxSessions":1}}"#, "security: is not a known field; known here are config, exact, "),
        (r#"{"configuration":{}}"#, "configuration: is not a known field; did you mean config?; config: is missing"),
        (r#"{"Config":{},"exakt":true}"#, "exakt: is not a known field; did you mean exact?"),
        (r#"{"error":"s3cret"}"#, "error: is not a known field"),
        (r#"{"config":{},"success":"false"}"#, "success: is not true or false"),
        (r#"{"config":{},"config":{}}"#, "the key \"config\" is there twice"),
    ] {
        let (log, captured) = capture::log(LogFormat::Text);
        let connection = log.connection(ConnectionId::random(), facts().remote);
        let error = fetch_with(&connection, false, answer).await.0.expect_err(answer);
        assert!(matches!(error, ConfigServerError::Webhook(WebhookError::Malformed(_))), "{answer}: {error}");
        let text = captured.text(&log);
        let told: Vec<&str> = text.lines().filter(|line| line.contains("code=CONFIG_BACKEND_ERROR")).collect();
        assert_eq!(told.len(), 1, "{text}");
        let quoted = reason.replace('"', "\\\"");
        assert!(told[0].contains(reason) || told[0].contains(&quoted), "{reason:?} is not in {text}");
        assert!(!text.contains("s3cret"), "{text}");
        let page = connection.metrics().text().unwrap();
        let counted =
            r#"containerssh_config_server_failures_total{type="hard",retry="0",reason="HTTP_CLIENT_DECODE_FAILED"} 1"#;
        assert!(page.contains(counted), "{page}");
    }
}

#[tokio::test]
async fn config_answer_that_says_no_is_a_denial_whatever_else_it_holds() {
    for (answer, expected) in [
        (r#"{"success":false}"#, None),
        (r#"{"success":false,"config":{},"message":"no\npod"}"#, Some("no pod")),
        (r#"{"Success":false,"config":null,"message":""}"#, None),
    ] {
        let error = fetch(false, answer).await.0.expect_err(answer);
        let ConfigServerError::Denied { message } = error else { panic!("{answer}: {error}") };
        assert_eq!(message.as_deref(), expected, "{answer}");
    }
    assert!(fetch(false, r#"{"success":true,"config":{}}"#).await.0.is_ok());
}

#[tokio::test]
async fn variable_of_a_config_answer_that_a_shell_does_not_allow_is_left_out_with_one_warning() {
    let (log, captured) = capture::log(LogFormat::Text);
    let connection = log.connection(ConnectionId::random(), facts().remote);
    let answer = r#"{"config":{},"environment":{"--split-string=id":{"value":"s3cret"},"X-Y":{"value":"s3cret"},"B":{"value":"1"}}}"#;
    let identity = fetch_with(&connection, false, answer).await.0.unwrap();
    assert_eq!(identity.known().environment.keys().collect::<Vec<_>>(), ["B", "TOKEN"]);
    let text = captured.text(&log);
    assert_eq!(text.matches("not valid in a shell").count(), 1, "{text}");
    assert!(text.contains("X-Y") && !text.contains("s3cret"), "{text}");
}
