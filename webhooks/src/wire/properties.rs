//! What holds of every body, not only of those in the tables.

use super::*;
use data_encoding::BASE64;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

/// A text that no name holds, so that an error which quotes a value is found out.
const SECRET: &str = "s3cr3t-v4lue";

/// Any JSON whose texts all hold [`SECRET`], with the contract's names among the others.
fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        Just(json!(SECRET)),
        Just(json!(BASE64.encode(SECRET.as_bytes()))),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::from),
            btree_map(name(), inner, 0..8).prop_map(|map| Json::Object(Map::from_iter(map))),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    const NAMES: [&str; 18] = [
        "message",
        "success",
        "Success",
        "exact",
        "config",
        "username",
        "Username",
        "authenticatedUsername",
        "passwordBase64",
        "publicKey",
        "metadata",
        "environment",
        "files",
        "value",
        "VALUE",
        "sensitive",
        "remoteAddress",
        "connectionId",
    ];
    prop_oneof![4 => proptest::sample::select(&NAMES[..]).prop_map(str::to_owned), 1 => ".{0,8}"]
}

fn known() -> impl Strategy<Value = Known> {
    let value = || (any::<String>(), any::<bool>()).prop_map(|(value, sensitive)| Value { value, sensitive });
    let file = (vec(any::<u8>(), 0..64), any::<bool>()).prop_map(|(value, sensitive)| File { value, sensitive });
    let map = (btree_map(".*", value(), 0..4), btree_map(".*", value(), 0..4), btree_map(".*", file, 0..4));
    map.prop_map(|(metadata, environment, files)| Known { metadata, environment, files })
}

fn connection() -> impl Strategy<Value = Connection> {
    let texts = (".*", ".*", ".*", ".*");
    (texts, proptest::option::of(certificate()), known()).prop_map(|(texts, certificate, known)| {
        let (remote_address, connection_id, client_version, username) = texts;
        Connection {
            remote_address,
            connection_id,
            client_version,
            username,
            certificate,
            known,
            idempotency_key: None,
        }
    })
}

fn certificate() -> impl Strategy<Value = Certificate> {
    let options = || btree_map(".*", ".*", 0..3);
    let times = (any::<u64>(), proptest::option::of(any::<u64>()));
    let texts = (".*", any::<u64>(), vec(".*", 0..3), ".*", ".*");
    (texts, times, options(), options()).prop_map(|(texts, times, critical_options, extensions)| {
        let (key_id, serial, principals, ca_public_key, ca_fingerprint) = texts;
        let (valid_after, valid_before) = times;
        let serial = serial.to_string();
        Certificate {
            key_id,
            serial,
            principals,
            valid_after,
            valid_before,
            ca_public_key,
            ca_fingerprint,
            critical_options,
            extensions,
        }
    })
}

/// The text of an error, if it is one.
fn complaint<T>(read: serde_json::Result<T>) -> String {
    read.err().map(|error| error.to_string()).unwrap_or_default()
}

proptest! {
    #[test]
    fn bytes_never_panic_and_are_never_a_yes(body in vec(any::<u8>(), 0..256)) {
        prop_assert!(!AuthAnswer::parse(&body).is_ok_and(|answer| answer.is_yes()));
        prop_assert!(!ConfigReply::parse(&body).is_ok_and(|reply| reply.given().is_some()));
        let _ = serde_json::from_slice::<PasswordRequest>(&body);
    }

    #[test]
    fn answer_is_a_yes_only_where_it_says_success(body in json()) {
        let yes = AuthAnswer::parse(body.to_string().as_bytes()).is_ok_and(|answer| answer.is_yes());
        let said: Vec<&Json> = body.as_object().into_iter().flatten()
            .filter(|(name, _)| name.eq_ignore_ascii_case("success")).map(|(_, value)| value).collect();
        if yes {
            prop_assert_eq!(said, [&json!(true)]);
        }
    }

    #[test]
    fn no_complaint_quotes_a_value(body in json()) {
        let body = body.to_string();
        let encoded = BASE64.encode(SECRET.as_bytes());
        for text in [
            complaint(AuthAnswer::parse(body.as_bytes())),
            complaint(ConfigReply::parse(body.as_bytes())),
            complaint(serde_json::from_str::<PasswordRequest>(&body)),
            complaint(serde_json::from_str::<PublicKeyRequest>(&body)),
            complaint(serde_json::from_str::<AuthzRequest>(&body)),
            complaint(serde_json::from_str::<ConfigRequest>(&body)),
        ] {
            prop_assert!(!text.contains(SECRET) && !text.contains(&encoded), "{}", text);
        }
    }

    #[test]
    fn questions_arrive_as_they_were_sent(
        connection in connection(), password in vec(any::<u8>(), 0..64), name in ".+", public_key in ".*",
    ) {
        let sent = PasswordRequest { connection: connection.clone(), password };
        let text = serde_json::to_string(&sent).expect("JSON");
        prop_assert!(serde_json::from_str::<PasswordRequest>(&text).expect("a question") == sent);
        let sent = PublicKeyRequest { connection: connection.clone(), public_key };
        let text = serde_json::to_string(&sent).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<PublicKeyRequest>(&text).expect("a question"), sent);
        let sent = ConfigRequest { connection, authenticated_username: Some(name) };
        let text = serde_json::to_string(&sent).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<ConfigRequest>(&text).expect("a question"), sent);
    }

    #[test]
    fn answers_arrive_as_they_were_sent(
        success: Option<bool>, name in proptest::option::of(".+"), message in proptest::option::of(".+"), known in known(),
        exact: bool,
    ) {
        let (authenticated_username, denial) = (name.clone(), ConfigDenial::new(message.clone()));
        let sent = AuthAnswer { success, message, authenticated_username, known: known.clone() };
        let text = serde_json::to_vec(&sent).expect("JSON");
        prop_assert_eq!(AuthAnswer::parse(&text).expect("an answer"), sent);
        let config = Map::from_iter([("backend".to_owned(), json!("kubernetes"))]);
        let given = ConfigReply::Given(ConfigAnswer { config, exact, authenticated_username: name, known });
        for sent in [given, ConfigReply::Denied(denial)] {
            let text = serde_json::to_vec(&sent).expect("JSON");
            prop_assert!(ConfigReply::parse(&text).expect("an answer") == sent);
        }
    }

    #[test]
    fn base64_is_read_back_with_line_ends_in_it_and_means_one_thing(bytes in vec(any::<u8>(), 0..64), at in any::<usize>()) {
        let mut text = BASE64.encode(&bytes);
        let at = at % (text.len() + 1);
        text.insert_str(at, "\r\n");
        prop_assert_eq!(known::decode_base64(&text), Some(bytes));
    }

    #[test]
    fn what_is_read_as_base64_is_the_encoding_of_its_bytes(text in "[A-Za-z0-9+/=\\-_ \n]{0,24}") {
        if let Some(bytes) = known::decode_base64(&text) {
            prop_assert_eq!(BASE64.encode(&bytes), text.replace('\n', ""));
        }
    }
}

#[test]
fn encodings_behind_one_another_are_no_base64() {
    assert_eq!(known::decode_base64("YQ=="), Some(b"a".to_vec()));
    assert_eq!(known::decode_base64("YQ==Yg=="), None);
}
