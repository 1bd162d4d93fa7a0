//! Logins against a webhook server on a real socket: refusals first.

mod conversations;

use super::*;
use crate::telemetry::{ConnectionLog, Log, LogFormat, capture};
use crate::types::{ConnectionId, Secret, Username};
use crate::webhook::fake::{FakeReply, FakeRequest, FakeWebhook, yes};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
const KEY: &str = "ssh-ed25519 AAAA";
const PASSWORD: &str = "hunter2";

/// A connection, and what it logs.
struct Client {
    facts: ClientFacts,
    username: Username,
    log: Log,
    awaited: AwaitedServer,
    connection: ConnectionLog,
    captured: capture::CapturedLog,
    deadline: LoginDeadline,
}

impl Client {
    fn new(username: &str) -> Self {
        let facts = ClientFacts {
            connection: ConnectionId::random(),
            remote: "[::ffff:192.0.2.7]:52311".parse().unwrap(),
            client_version: "SSH-2.0-test".into(),
        };
        let (log, captured) = capture::log(LogFormat::Ljson);
        let connection = log.connection(facts.connection, facts.remote);
        let username = Username::parse(username).unwrap();
        Self {
            facts,
            username,
            log,
            awaited: AwaitedServer::default(),
            connection,
            captured,
            deadline: LoginDeadline::new(SOON),
        }
    }

    fn attempt(&self) -> LoginAttempt<'_> {
        LoginAttempt {
            facts: &self.facts,
            username: &self.username,
            certificate: None,
            log: &self.connection,
            deadline: &self.deadline,
            awaited: &self.awaited,
        }
    }
}

fn password() -> Credential {
    Credential::Password(Secret::new(PASSWORD))
}

fn answer(body: Value) -> FakeReply {
    FakeReply::Answer(200, body.to_string())
}

/// One server for all three webhooks.
fn all(fake: &FakeWebhook) -> Authenticator {
    let webhook = || Some(AuthWebhook { client: fake.block(), auth_timeout: SOON });
    Authenticator::new(&AuthConfig { password: webhook(), public_key: webhook(), authz: webhook() }).unwrap()
}

fn without_authz(fake: &FakeWebhook) -> Authenticator {
    let webhook = || Some(AuthWebhook { client: fake.block(), auth_timeout: SOON });
    Authenticator::new(&AuthConfig { password: webhook(), public_key: webhook(), authz: None }).unwrap()
}

/// The only round of a login by webhooks.
async fn log_in(
    auth: &Authenticator,
    attempt: LoginAttempt<'_>,
    credential: Credential,
) -> Result<AuthStep, AuthError> {
    auth.begin(credential).next(attempt, Vec::new()).await
}

fn done(outcome: Result<AuthStep, AuthError>) -> Identity {
    match outcome {
        Ok(AuthStep::Done(identity)) => identity,
        other => panic!("no identity: {other:?}"),
    }
}

fn paths(fake: &FakeWebhook) -> Vec<String> {
    fake.asked().into_iter().map(|asked| asked.path).collect()
}

#[tokio::test]
async fn only_configured_methods_are_offered_and_served() {
    let fake = FakeWebhook::start(|_, _| yes()).await;
    let client = Client::new("jo");
    let webhook = || Some(AuthWebhook { client: fake.block(), auth_timeout: SOON });
    let none = Authenticator::new(&AuthConfig { password: None, public_key: None, authz: webhook() }).unwrap();
    assert!(none.methods().is_empty());
    assert_eq!(log_in(&none, client.attempt(), password()).await.unwrap_err(), AuthError::NotConfigured);
    assert_eq!(none.check_offered_key(client.attempt(), KEY).await.unwrap_err(), AuthError::NotConfigured);
    assert!(fake.asked().is_empty());
    assert_eq!(all(&fake).methods(), [AuthMethod::PublicKey, AuthMethod::Password]);
    let passwords = Authenticator::new(&AuthConfig { password: webhook(), public_key: None, authz: None }).unwrap();
    assert_eq!(passwords.methods(), [AuthMethod::Password]);
}

#[tokio::test]
async fn anything_but_an_explicit_yes_makes_no_identity() {
    for body in [r#"{"success":false}"#, "{}", r#"{"success":null}"#, r#"{"authenticatedUsername":"jo"}"#] {
        let fake = FakeWebhook::start(move |_, _| FakeReply::Answer(200, body.into())).await;
        let (client, auth) = (Client::new("jo"), all(&fake));
        let outcome = log_in(&auth, client.attempt(), password()).await;
        assert!(matches!(outcome, Err(AuthError::Denied { .. })), "{body}: {outcome:?}");
        let outcome = auth.check_offered_key(client.attempt(), KEY).await;
        assert!(matches!(outcome, Err(AuthError::Denied { .. })), "{body}: {outcome:?}");
        assert!(!paths(&fake).contains(&"/hook/authz".into()), "authorization before authentication");
    }
}

#[tokio::test]
async fn answer_without_success_is_a_denial_that_says_so_in_its_reason() {
    for (body, reason) in [
        (r#"{"success":false}"#, "the password was refused"),
        ("{}", "the password was refused: the answer has no success"),
        (r#"{"success":null}"#, "the password was refused: the answer has no success"),
    ] {
        let fake = FakeWebhook::start(move |_, _| FakeReply::Answer(200, body.into())).await;
        let client = Client::new("jo");
        let error = log_in(&all(&fake), client.attempt(), password()).await.unwrap_err();
        assert_eq!(error, AuthError::Denied { reason, message: None }, "{body}");
    }
}

#[tokio::test]
async fn message_of_a_denial_is_one_printable_line_of_at_most_400_characters() {
    let long = "x".repeat(1000);
    let cut = format!("{}…", "x".repeat(399));
    for (text, expected) in [
        ("expired", Some("expired")),
        (r"two\nlines\u001b[31m\u202e", Some("two lines[31m")),
        (long.as_str(), Some(cut.as_str())),
        ("", None),
        (r" \u200b\n", None),
    ] {
        let body = format!(r#"{{"success":false,"message":"{text}"}}"#);
        let fake = FakeWebhook::start(move |_, _| FakeReply::Answer(200, body.clone())).await;
        let client = Client::new("jo");
        let error = log_in(&all(&fake), client.attempt(), password()).await.unwrap_err();
        let AuthError::Denied { message, .. } = error else { panic!("{error}") };
        assert_eq!(message.as_deref(), expected);
    }
}

#[tokio::test]
async fn webhook_without_an_answer_is_no_denial_and_says_why() {
    for (reply, reason) in [
        (|| FakeReply::Answer(400, "{}".into()), "the authentication server answers with an error"),
        (|| FakeReply::Answer(200, "{".into()), "the authentication server gives an answer that is not understood"),
        (
            || FakeReply::Answer(200, r#"{"success":"true"}"#.into()),
            "the authentication server gives an answer that is not understood",
        ),
        (
            || FakeReply::Answer(200, r#"{"success":true,"environment":{"S":{"value":"\u0000"}}}"#.into()),
            "the authentication server gives an answer that is not understood",
        ),
        (
            || FakeReply::Answer(200, r#"{"success":true,"group":"staff"}"#.into()),
            "the authentication server gives an answer that is not understood",
        ),
        (
            || FakeReply::Answer(200, r#"{"success":false,"message":["no"]}"#.into()),
            "the authentication server gives an answer that is not understood",
        ),
        (
            || FakeReply::Answer(200, r#"{"success":true,"success":true}"#.into()),
            "the authentication server gives an answer that is not understood",
        ),
        (|| FakeReply::Endless, "the authentication server gives an answer that is too large"),
    ] as [(fn() -> FakeReply, &str); 8]
    {
        let fake = FakeWebhook::start(move |_, _| reply()).await;
        let client = Client::new("jo");
        let error = log_in(&all(&fake), client.attempt(), password()).await.unwrap_err();
        let misunderstood = reason.ends_with("not understood");
        let reason = reason.to_owned();
        let expected =
            if misunderstood { AuthError::Misunderstood { reason } } else { AuthError::Unavailable { reason } };
        assert_eq!(error, expected);
        assert!(client.captured.text(&client.log).contains("AUTH_BACKEND_ERROR"));
    }
}

#[tokio::test]
async fn authorization_says_the_last_word() {
    let refusing = |_: usize, asked: &FakeRequest| answer(json!({"success": !asked.path.ends_with("/authz")}));
    let fake = FakeWebhook::start(refusing).await;
    let (client, auth) = (Client::new("jo"), all(&fake));
    let outcome = log_in(&auth, client.attempt(), password()).await;
    assert_eq!(outcome.unwrap_err(), AuthError::Denied { reason: "authorization was refused", message: None });
    let considered = auth.check_offered_key(client.attempt(), KEY).await.unwrap();
    let outcome = log_in(&auth, client.attempt(), considered.into_credential()).await;
    assert_eq!(outcome.unwrap_err(), AuthError::Denied { reason: "authorization was refused", message: None });
    assert_eq!(paths(&fake), ["/hook/password", "/hook/authz", "/hook/pubkey", "/hook/authz"]);

    let broken = |_: usize, asked: &FakeRequest| {
        if asked.path.ends_with("/authz") { FakeReply::Answer(403, "{}".into()) } else { yes() }
    };
    let fake = FakeWebhook::start(broken).await;
    let outcome = log_in(&all(&fake), client.attempt(), password()).await;
    let reason = "the authorization server answers with an error".to_owned();
    assert_eq!(outcome.unwrap_err(), AuthError::Unavailable { reason });
}

#[tokio::test]
async fn offered_key_is_asked_about_once_and_authorized_after_the_proof() {
    let fake = FakeWebhook::start(|_, _| yes()).await;
    let (client, auth) = (Client::new("jo"), all(&fake));
    let considered = auth.check_offered_key(client.attempt(), KEY).await.unwrap();
    assert_eq!(paths(&fake), ["/hook/pubkey"], "authorization before the proof");
    assert!(considered.matches(&client.username, KEY));
    assert!(!considered.matches(&client.username, "ssh-ed25519 BBBB"));
    assert!(!considered.matches(&Username::parse("root").unwrap(), KEY));
    let identity = done(log_in(&auth, client.attempt(), considered.into_credential()).await);
    assert_eq!(identity.authenticated(), "jo");
    assert_eq!(paths(&fake), ["/hook/pubkey", "/hook/authz"]);
    assert_eq!(fake.asked()[0].body["publicKey"], KEY);
}

#[tokio::test]
async fn key_of_one_login_name_is_no_credential_for_another() {
    let fake = FakeWebhook::start(|_, _| yes()).await;
    let auth = all(&fake);
    let considered = auth.check_offered_key(Client::new("jo").attempt(), KEY).await.unwrap();
    let outcome = log_in(&auth, Client::new("root").attempt(), considered.into_credential()).await;
    assert!(matches!(outcome, Err(AuthError::Denied { .. })), "{outcome:?}");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn missing_or_empty_name_is_the_login_name_and_authorization_keeps_the_one_there_is() {
    for (first, authz, expected) in [
        (json!({}), json!({}), "jo"),
        (json!({"authenticatedUsername": ""}), json!({"authenticatedUsername": ""}), "jo"),
        (json!({"authenticatedUsername": "jo@x"}), json!({}), "jo@x"),
        (json!({"authenticatedUsername": "jo@x"}), json!({"authenticatedUsername": ""}), "jo@x"),
        (json!({"authenticatedUsername": "jo@x"}), json!({"authenticatedUsername": "jo@y"}), "jo@y"),
        (json!({}), json!({"authenticatedUsername": "jo@y"}), "jo@y"),
    ] {
        let (one, two) = (first.clone(), authz.clone());
        let fake = FakeWebhook::start(move |at, _| {
            let mut body = if at == 0 { one.clone() } else { two.clone() };
            body["success"] = true.into();
            answer(body)
        })
        .await;
        let client = Client::new("jo");
        let identity = done(log_in(&all(&fake), client.attempt(), password()).await);
        assert_eq!(identity.authenticated(), expected, "{first} {authz}");
        let asked = first["authenticatedUsername"].as_str().filter(|name| !name.is_empty()).unwrap_or("jo");
        assert_eq!(fake.asked()[1].body["authenticatedUsername"], asked);
    }
}

#[tokio::test]
async fn what_is_known_grows_without_sending_secrets_on() {
    let fake = FakeWebhook::start(|_, asked| {
        if asked.path.ends_with("/authz") {
            return answer(json!({"success": true, "metadata": {"team": {"value": "b"}}}));
        }
        answer(json!({
            "success": true,
            "metadata": {"team": {"value": "a"}, "kept": {"value": "c"}},
            "environment": {"TOKEN": {"value": "s3cret", "sensitive": true}},
            "files": {"/key": {"value": "czNjcmV0", "sensitive": true}},
        }))
    })
    .await;
    let client = Client::new("jo");
    let identity = done(log_in(&all(&fake), client.attempt(), password()).await);
    assert_eq!(identity.known().metadata["team"].value, "b");
    assert_eq!(identity.known().metadata["kept"].value, "c");
    assert_eq!(identity.known().environment["TOKEN"].value, "s3cret");
    assert_eq!(identity.known().files["/key"].value, b"s3cret");
    let sent = fake.asked()[1].body.to_string();
    assert!(sent.contains("\"kept\"") && !sent.contains("s3cret") && !sent.contains("czNjcmV0"), "{sent}");
}

#[tokio::test]
async fn variable_that_a_shell_does_not_allow_is_left_out_with_one_warning_and_the_login_goes_on() {
    let fake = FakeWebhook::start(|_, asked| {
        let name = if asked.path.ends_with("/authz") { "a.b" } else { "X-Y" };
        let entry = json!({"value": "s3cret"});
        answer(json!({"success": true, "environment": {name: entry, "-S": entry, "TEAM": {"value": "blue"}}}))
    })
    .await;
    let client = Client::new("jo");
    let identity = done(log_in(&all(&fake), client.attempt(), password()).await);
    assert_eq!(identity.known().environment.keys().collect::<Vec<_>>(), ["TEAM"]);
    let text = client.captured.text(&client.log);
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let warned: Vec<_> = lines.filter(|line| line["code"] == "AUTH_ENV_LEFT_OUT").collect();
    let names: Vec<_> = warned.iter().map(|line| line["details"]["variables"].as_str().unwrap()).collect();
    assert_eq!(names, [r#""-S", "X-Y""#, r#""-S", "a.b""#], "one for each answer");
    assert!(warned.iter().all(|line| line["level"] == "warning") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn what_a_failed_attempt_brought_is_forgotten() {
    let fake = FakeWebhook::start(|at, asked| {
        let leak = json!({"metadata": {"leak": {"value": "x"}}, "environment": {"LEAK": {"value": "x"}}});
        let mut body = if asked.path.ends_with("/authz") { json!({}) } else { leak };
        // The first password is refused; the key is accepted, but never proved.
        body["success"] = (at > 0).into();
        if at == 2 {
            body = json!({"success": true});
        }
        answer(body)
    })
    .await;
    let (client, auth) = (Client::new("jo"), all(&fake));
    assert!(log_in(&auth, client.attempt(), password()).await.is_err());
    let offered = auth.check_offered_key(client.attempt(), KEY).await.unwrap();
    let identity = done(log_in(&auth, client.attempt(), password()).await);
    drop(offered);
    assert!(identity.known().is_empty(), "{:?}", identity.known());
    let asked = fake.asked();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|asked| !asked.body.to_string().contains("leak")), "{asked:?}");
}

#[tokio::test]
async fn request_carries_the_facts_and_the_password_in_base64() {
    let fake = FakeWebhook::start(|_, _| yes()).await;
    let client = Client::new("jo");
    done(log_in(&without_authz(&fake), client.attempt(), password()).await);
    let expected = json!({
        "remoteAddress": "192.0.2.7:52311",
        "connectionId": client.facts.connection.to_string(),
        "clientVersion": "SSH-2.0-test",
        "username": "jo",
        "passwordBase64": "aHVudGVyMg==",
    });
    assert_eq!(fake.asked()[0].body, expected);
}

#[tokio::test]
async fn log_tells_the_steps_and_no_secret() {
    let fake = FakeWebhook::start(|at, _| match at {
        0 => answer(json!({"success": true, "environment": {"T": {"value": "s3cret", "sensitive": true}}})),
        1 => FakeReply::Answer(500, PASSWORD.into()),
        _ => answer(json!({"success": false})),
    })
    .await;
    let client = Client::new("jo");
    assert!(log_in(&all(&fake), client.attempt(), password()).await.is_err());
    let text = client.captured.text(&client.log);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<_> = lines.iter().map(|line| line["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["AUTH", "AUTH_SUCCESSFUL", "AUTH", "AUTH_BACKEND_ERROR", "AUTH_FAILED"]);
    for line in &lines {
        let level = if line["code"] == "AUTH_BACKEND_ERROR" { "warning" } else { "debug" };
        assert_eq!((&line["level"], &line["details"]["username"]), (&json!(level), &json!("jo")));
        assert!(line["details"]["url"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    }
    for secret in [PASSWORD, "aHVudGVyMg", "s3cret"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn login_outlasts_the_webhook_that_it_waits_for() {
    let fake = FakeWebhook::start(|_, _| FakeReply::Hang).await;
    let webhook = AuthWebhook { client: fake.block(), auth_timeout: Duration::from_millis(400) };
    let config = AuthConfig { password: Some(webhook), public_key: None, authz: None };
    let auth = Authenticator::new(&config).unwrap();
    let client = Client { deadline: LoginDeadline::new(Duration::from_millis(100)), ..Client::new("jo") };
    tokio::select! {
        biased;
        outcome = log_in(&auth, client.attempt(), password()) => {
            let reason = "the authentication server does not answer in time".to_owned();
            assert_eq!(outcome.unwrap_err(), AuthError::Unavailable { reason });
        }
        () = client.deadline.passed() => panic!("the login ended before its reason was known"),
    }
}
