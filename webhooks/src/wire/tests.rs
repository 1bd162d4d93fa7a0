//! Bodies as ContainerSSH sends and receives them, and bodies that must not pass.

use super::*;
use serde_json::json;

const ALL_ZERO: &[u8] = include_bytes!("../../tests/data/config-answer-all-zero.json");
const PASSWORD: &[u8] = include_bytes!("../../tests/data/password-answer.json");

fn connection() -> Connection {
    Connection {
        remote_address: "[2001:db8::1]:49152".into(),
        connection_id: "0123456789abcdef0123456789abcdef".into(),
        client_version: "SSH-2.0-OpenSSH_9.6".into(),
        idempotency_key: None,
        username: "foo".into(),
        certificate: None,
        known: Known::default(),
    }
}

fn known() -> Known {
    Known {
        metadata: [("team".into(), Value::plain("x"))].into(),
        environment: [("TOKEN".into(), Value::secret("s3cret"))].into(),
        files: [("/a".into(), File::secret(*b"\x00\xff")), ("/b".into(), File::plain("b"))].into(),
    }
}

#[test]
fn only_an_explicit_yes_is_success() {
    for body in ["{}", r#"{"success":null}"#, r#"{"success":false}"#, r#"{"metadata":{"success":{"value":"true"}}}"#] {
        assert!(AuthAnswer::parse(body.as_bytes()).is_ok_and(|answer| !answer.is_yes()), "{body}");
    }
    assert!(AuthAnswer::parse(b"{\"success\":true}\n").is_ok_and(|answer| answer.is_yes()));
}

#[test]
fn field_that_is_not_known_is_no_answer_and_the_nearest_known_one_is_named() {
    for (body, reason) in [
        (r#"{"config":{}}"#, "config: is not a known field; known here are success, message, "),
        (r#"{"data":{"success":true}}"#, "data: is not a known field; known here are success, "),
        (r#"{"result":{"success":true}}"#, "result: is not a known field; known here are success, "),
        (r#"{"sucess":true}"#, "sucess: is not a known field; did you mean success?"),
        (r#"{"success":true,"environments":{}}"#, "environments: is not a known field; did you mean environment?"),
        (r#"{"success":true,"AuthenticatedUser":""}"#, "authenticateduser: is not a known field"),
        (r#"{"success":true,"exact":true}"#, "exact: is not a known field"),
        (
            r#"{"success":true,"files":{"/a":{"content":"YQ=="}}}"#,
            "files: /a: content: is not a known field; known here are value, s",
        ),
        (
            r#"{"success":true,"metadata":{"a":{"vaule":"b"}}}"#,
            "metadata: a: vaule: is not a known field; did you mean value?",
        ),
        (r#"{"success":true,"a\u001b\n":1}"#, "a\\u{1b}\\n: is not a known field"),
        (r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}"#, "; and 2 more"),
    ] {
        let error = AuthAnswer::parse(body.as_bytes()).expect_err(body).to_string();
        assert!(error.contains(reason), "{reason:?} is not in {error:?}");
    }
    let long = format!(r#"{{"{}":1}}"#, "x".repeat(100_000));
    assert!(AuthAnswer::parse(long.as_bytes()).is_err_and(|error| error.to_string().len() < 400));
}

#[test]
fn message_is_read_in_both_answers_and_written_where_there_is_one() {
    let answer = AuthAnswer::parse(br#"{"success":false,"message":"expired"}"#).expect("an answer");
    assert_eq!(answer, AuthAnswer::no(Some("expired".into())));
    assert_eq!(serde_json::to_value(&answer).ok(), Some(json!({"success": false, "message": "expired"})));
    assert_eq!(serde_json::to_value(AuthAnswer::no(None)).ok(), Some(json!({"success": false})));
    let reply = ConfigReply::parse(br#"{"success":false,"message":"no pod"}"#).expect("an answer");
    assert_eq!(reply, ConfigReply::Denied(ConfigDenial::new(Some("no pod".into()))));
    assert_eq!(serde_json::to_value(&reply).ok(), Some(json!({"success": false, "message": "no pod"})));
    for body in [r#"{"success":false,"message":["s3cret"]}"#, r#"{"success":false,"message":1}"#] {
        for error in [AuthAnswer::parse(body.as_bytes()).err(), ConfigReply::parse(body.as_bytes()).err()] {
            assert!(error.is_some_and(|error| error.to_string().starts_with("message: is not a string")), "{body}");
        }
    }
}

#[test]
fn config_answer_needs_its_config_unless_it_says_no() {
    for body in ["{}", r#"{"success":true}"#, r#"{"exact":true}"#] {
        let error = ConfigReply::parse(body.as_bytes()).expect_err(body).to_string();
        assert!(error.starts_with("config: is missing"), "{error}");
    }
    let error = ConfigReply::parse(br#"{"config":null}"#).expect_err("null").to_string();
    assert!(error.starts_with("config: is null"), "{error}");
    assert!(ConfigReply::parse(br#"{"success":false}"#).is_ok_and(|reply| reply.given().is_none()));
    assert!(ConfigReply::parse(br#"{"success":true,"config":{}}"#).is_ok_and(|reply| reply.given().is_some()));
}

#[test]
fn what_is_no_answer_is_an_error_that_quotes_nothing() {
    for body in [
        "",
        "s3cret",
        r#""s3cret""#,
        "[]",
        "null",
        "{",
        r#"{"success":"s3cret"}"#,
        r#"{"success":1}"#,
        r#"{"success":true}{"success":false}"#,
        r#"{"success":false,"SUCCESS":true}"#,
        r#"{"success":true,"authenticatedUsername":{"a":"s3cret"}}"#,
        r#"{"success":true,"environment":"s3cret"}"#,
        r#"{"success":true,"environment":{"TOKEN":"s3cret"}}"#,
        r#"{"success":true,"environment":{"TOKEN":{"value":["s3cret"]}}}"#,
        r#"{"success":true,"environment":{"TOKEN":{"value":"s3cret","sensitive":"yes"}}}"#,
        r#"{"success":true,"files":{"/a":{"value":"s3cret!"}}}"#,
        r#"{"success":true,"files":{"/a":{"value":"YQ"}}}"#,
    ] {
        let error = AuthAnswer::parse(body.as_bytes()).expect_err(body).to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
    let error = AuthAnswer::parse(br#"{"environment":{"TOKEN":"x"}}"#).expect_err("a bare string").to_string();
    assert!(error.starts_with("environment: TOKEN: is not an object"), "{error}");
    assert!(ConfigReply::parse(br#"{"config":"s3cret"}"#).is_err_and(|e| !e.to_string().contains("s3cret")));
}

#[test]
fn names_of_a_hostile_answer_are_short_and_printable_in_its_error() {
    let name = "\u{1b}[31m\u{202e}\n".repeat(1000);
    for answer in [
        serde_json::json!({"metadata": {name.as_str(): 5}}),
        serde_json::json!({format!("{name}a"): 1, format!("{name}A"): 2}),
        serde_json::json!({name.as_str(): 1}),
    ] {
        let error = AuthAnswer::parse(answer.to_string().as_bytes()).expect_err("no answer").to_string();
        assert!(error.len() < 1024 && !error.contains(['\u{1b}', '\n', '\u{202e}']), "{error}");
    }
    for answer in ["null", "[]", "\"yes\"", "true", "1"] {
        let error = AuthAnswer::parse(answer.as_bytes()).expect_err("no answer").to_string();
        assert!(error.starts_with("it is not a JSON object"), "{error}");
    }
}

#[test]
fn echoed_request_fields_are_accepted_whatever_they_hold() {
    for value in [r#""<nil>:0""#, r#""""#, r#"":22""#, "null", "7", "{}"] {
        let body = format!(
            r#"{{"remoteAddress":{value},"connectionId":{value},"clientVersion":{value},"username":{value},"success":true}}"#
        );
        assert!(AuthAnswer::parse(body.as_bytes()).is_ok_and(|answer| answer.is_yes()), "{body}");
        let body = body.replace("\"success\":true", "\"config\":{}");
        assert!(ConfigReply::parse(body.as_bytes()).is_ok(), "{body}");
    }
}

#[test]
fn null_maps_and_entries_and_an_empty_name_are_absent() {
    let body = br#"{"success":true,"authenticatedUsername":"","metadata":null,"environment":{"A":null},
        "files":{"/a":{"value":null,"sensitive":null}}}"#;
    let expected = AuthAnswer {
        success: Some(true),
        message: None,
        authenticated_username: None,
        known: Known { files: [("/a".into(), File::default())].into(), ..Known::default() },
    };
    assert_eq!(AuthAnswer::parse(body).ok(), Some(expected));
}

#[test]
fn field_names_of_answers_match_in_any_case_but_names_of_entries_do_not_change() {
    let body =
        br#"{"Success":true,"AuthenticatedUserName":"Bar","Environment":{"Path":{"Value":"x","SENSITIVE":true}}}"#;
    let answer = AuthAnswer::parse(body).expect("an answer");
    assert!(answer.is_yes());
    assert_eq!(answer.authenticated_username.as_deref(), Some("Bar"));
    assert_eq!(answer.known.environment, [("Path".into(), Value::secret("x"))].into());
    let answer = ConfigReply::parse(br#"{"CONFIG":{"Backend":"x"},"Exact":true}"#).expect("an answer");
    assert_eq!(serde_json::to_value(&answer).ok(), Some(json!({"config": {"Backend": "x"}, "exact": true})));
}

#[test]
fn recorded_answers_are_understood() {
    let answer = AuthAnswer::parse(PASSWORD).expect("a recorded answer");
    assert!(answer.is_yes() && answer.known.is_empty());
    assert_eq!(answer.authenticated_username.as_deref(), Some("foo"));

    let answer = ConfigReply::parse(ALL_ZERO).expect("a recorded answer").given().expect("a yes");
    assert!(!answer.exact && answer.known.is_empty() && answer.authenticated_username.is_none());
    assert_eq!(answer.config.get("backend"), Some(&json!("")));
    assert_eq!(answer.config.len(), 13);
}

#[test]
fn requests_have_the_literal_field_names() {
    let request = PasswordRequest { connection: connection(), password: vec![0, 0xff, b'a'] };
    assert_eq!(
        serde_json::to_value(&request).ok(),
        Some(json!({
            "remoteAddress": "[2001:db8::1]:49152",
            "connectionId": "0123456789abcdef0123456789abcdef",
            "clientVersion": "SSH-2.0-OpenSSH_9.6",
            "username": "foo",
            "passwordBase64": "AP9h",
        }))
    );
    let request = PublicKeyRequest { connection: connection(), public_key: "ssh-ed25519 AAAA".into() };
    assert_eq!(serde_json::to_value(&request).expect("JSON")["publicKey"], "ssh-ed25519 AAAA");

    let connection = Connection { known: known(), ..connection() };
    let request = AuthzRequest { connection, authenticated_username: Some("bar".into()) };
    let json = serde_json::to_value(&request).expect("JSON");
    assert_eq!(json["authenticatedUsername"], "bar");
    assert_eq!(json["metadata"], json!({"team": {"value": "x", "sensitive": false}}));
    assert_eq!(json["environment"], json!({"TOKEN": {"value": "s3cret", "sensitive": true}}));
    assert_eq!(json["files"]["/a"], json!({"value": "AP8=", "sensitive": true}));
}

#[test]
fn empty_authenticated_name_is_not_sent() {
    let request = ConfigRequest { connection: connection(), authenticated_username: None };
    let json = serde_json::to_value(&request).expect("JSON");
    assert_eq!(json.as_object().map(serde_json::Map::len), Some(4), "{json}");
}

#[test]
fn requests_are_read_as_they_are_written() {
    let connection = Connection { known: known(), ..connection() };
    let password = PasswordRequest { connection: connection.clone(), password: b"b\xe4r".to_vec() };
    let key = PublicKeyRequest { connection: connection.clone(), public_key: "ssh-rsa A".into() };
    let authz = AuthzRequest { connection: connection.clone(), authenticated_username: Some("bar".into()) };
    let config = ConfigRequest { connection, authenticated_username: None };
    assert_eq!(reread(&password), password);
    assert_eq!(reread(&key), key);
    assert_eq!(reread(&authz), authz);
    assert_eq!(reread(&config), config);
}

fn reread<T: Serialize + serde::de::DeserializeOwned>(message: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(message).expect("JSON")).expect("what was written")
}

#[test]
fn request_without_name_or_credential_is_an_error() {
    for body in [
        r#"{"username":"foo"}"#,
        r#"{"passwordBase64":"YQ=="}"#,
        r#"{"username":"foo","passwordBase64":null}"#,
        r#"{"username":"foo","passwordBase64":"s3cret!"}"#,
        r#"{"username":"foo","PasswordBase64":"YQ=="}"#,
    ] {
        let error = serde_json::from_str::<PasswordRequest>(body).expect_err(body).to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
    let request: PasswordRequest =
        serde_json::from_str(r#"{"username":"foo","passwordBase64":"","later":1,"metadata":null}"#).expect("a request");
    assert_eq!(request.connection.username, "foo");
    assert!(request.password.is_empty());
}

#[test]
fn later_entries_win_and_sensitive_ones_stay_here() {
    let mut first = known();
    first.merge(Known {
        metadata: [("team".into(), Value::plain("y")), ("more".into(), Value::secret("z"))].into(),
        ..Known::default()
    });
    assert_eq!(first.metadata.get("team"), Some(&Value::plain("y")));
    assert_eq!(first.environment.len(), 1);

    let public = first.without_sensitive();
    assert_eq!(public.metadata, [("team".into(), Value::plain("y"))].into());
    assert!(public.environment.is_empty());
    assert_eq!(public.files.keys().collect::<Vec<_>>(), ["/b"]);
}

#[test]
fn debug_shows_no_password_no_sensitive_value_and_no_file() {
    let connection = Connection { known: known(), ..connection() };
    let shown = format!("{:?}", PasswordRequest { connection, password: b"hunter2".to_vec() });
    for secret in ["hunter2", "s3cret", "104, 117", "255"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("foo") && shown.contains("\"x\""), "{shown}");
}

#[test]
fn key_that_stands_there_twice_is_no_answer_and_no_request() {
    for body in [
        r#"{"success": false, "success": true}"#,
        r#"{"success": true, "success": true}"#,
        r#"{"success": true, "environment": {"A": {"value": "s3cret"}, "A": {"value": "s3cret"}}}"#,
        r#"{"success": true, "environment": {"A": {"value": "s3cret", "value": "s3cret"}}}"#,
        r#"{"success": true, "unknown": [{"a": "s3cret", "a": 1}]}"#,
    ] {
        let error = AuthAnswer::parse(body.as_bytes()).expect_err(body).to_string();
        assert!(error.contains("is there twice") && !error.contains("s3cret"), "{error}");
    }
    let body = r#"{"config": {"security": {"maxSessions": 1, "maxSessions": -1}}}"#;
    assert!(ConfigReply::parse(body.as_bytes()).is_err());
    let body = r#"{"username": "root", "username": "alice", "passwordBase64": ""}"#;
    assert!(serde_json::from_str::<PasswordRequest>(body).is_err());
}
