//! The users' file, and what the directory says to each request.

use super::*;
use crate::wire::{File, Value};
use serde_json::json;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
const OTHER_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4g";

/// The password is `hunter2`, at the least cost that argon2 takes.
const FILE: &str = r#"
defaults:
  metadata: {site: here}
  environment: {EDITOR: vi, TEAM: none}
  settings:
    backend: kubernetes
    kubernetes: {pod: {metadata: {namespace: guests}, spec: {containers: [{name: shell, image: "debian:13"}]}}}
users:
  alice:
    passwordHash: "HASH"
    authenticatedUsername: alice@example.com
    authorizedKeys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f alice at home
    metadata: {cost: {value: "7", sensitive: true}}
    environment: {TEAM: blue}
    files:
      /home/alice/.netrc: {text: "machine x", sensitive: true}
      /data/zero: {base64: "AP8="}
    settings:
      kubernetes: {pod: {metadata: {namespace: blue}}}
      security: {maxSessions: 0}
  bob:
    authorizedKeys: |
      # two of them

      ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4g
  carol: {}
"#;

fn directory() -> Directory {
    let params = argon2::Params::new(8, 1, 1, None).expect("the least cost");
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let hash = argon2::PasswordHasher::hash_password(&argon2, b"hunter2").expect("a hash");
    Directory::from_yaml(&FILE.replace("HASH", &hash.to_string())).expect("a file without mistakes")
}

fn from(username: &str) -> Connection {
    Connection { username: username.into(), ..Connection::default() }
}

fn grant(decision: Decision) -> Grant {
    match decision {
        Decision::Allow(grant) => grant,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_is_not_listed_or_has_no_password_is_denied() {
    let directory = directory();
    for (user, password, reason) in [
        ("mallory", "hunter2", UNLISTED),
        ("", "hunter2", UNLISTED),
        ("Alice", "hunter2", UNLISTED),
        ("bob", "", "the user has no password"),
        ("carol", "hunter2", "the user has no password"),
        ("carol", "", "the user has no password"),
    ] {
        let decision = directory.password(&from(user), password.as_bytes()).await;
        assert_eq!(decision, Decision::deny(reason), "{user} {password}");
    }
    for password in ["", "hunter", "hunter22", "hunter2\0", "HASH"] {
        let decision = directory.password(&from("alice"), password.as_bytes()).await;
        assert_eq!(decision, Decision::deny("the password is wrong"), "{password}");
    }
}

#[tokio::test]
async fn another_users_key_is_denied() {
    let directory = directory();
    let (nothing, no_key) = [KeyError::Empty, KeyError::Form].map(|error| format!("what was offered {error}")).into();
    for (user, key, reason) in [
        ("alice", OTHER_KEY, "the key is none of the user's"),
        ("bob", KEY, "the key is none of the user's"),
        ("carol", KEY, "the key is none of the user's"),
        ("mallory", KEY, UNLISTED),
        ("alice", "", &nothing),
        ("alice", "x", &no_key),
    ] {
        let decision = directory.public_key(&from(user), key).await;
        assert_eq!(decision, Decision::deny(reason.to_owned()), "{user} {key}");
    }
}

#[tokio::test]
async fn user_under_another_name_is_neither_authorized_nor_configured() {
    let directory = directory();
    for (user, name, reason) in [
        ("mallory", None, UNLISTED),
        ("alice", Some("bob"), OTHER_NAME),
        ("alice", Some("alice"), OTHER_NAME),
        ("bob", Some("alice"), OTHER_NAME),
    ] {
        let name = name.map(str::to_owned);
        let request = AuthzRequest { connection: from(user), authenticated_username: name.clone() };
        assert_eq!(directory.authorize(&request).await, Decision::deny(reason), "{request:?}");
        let request = ConfigRequest { connection: from(user), authenticated_username: name };
        let denial = Denial { reason: reason.into(), message: Some(reason.to_owned()) };
        assert_eq!(directory.config(&request).await, Err(NoConfig::Refused(denial)));
    }
}

#[tokio::test]
async fn right_password_brings_name_and_entries_over_the_defaults() {
    let grant = grant(directory().password(&from("alice"), b"hunter2").await);
    assert_eq!(grant.authenticated_username.as_deref(), Some("alice@example.com"));
    let known = grant.known;
    let metadata = [("site".into(), Value::plain("here")), ("cost".into(), Value::secret("7"))];
    assert_eq!(known.metadata, metadata.into());
    let environment = [("EDITOR".into(), Value::plain("vi")), ("TEAM".into(), Value::plain("blue"))];
    assert_eq!(known.environment, environment.into());
    let files =
        [("/home/alice/.netrc".into(), File::secret("machine x")), ("/data/zero".into(), File::plain([0, 0xff]))];
    assert_eq!(known.files, files.into());
}

#[tokio::test]
async fn listed_key_is_enough_and_the_login_name_is_the_default_name() {
    let directory = directory();
    assert_eq!(
        grant(directory.public_key(&from("alice"), KEY).await).authenticated_username.as_deref(),
        Some("alice@example.com")
    );
    assert_eq!(
        grant(directory.public_key(&from("bob"), OTHER_KEY).await).authenticated_username.as_deref(),
        Some("bob")
    );
}

#[tokio::test]
async fn users_settings_are_laid_over_the_defaults_and_exact() {
    let directory = directory();
    let request = |user: &str, name: Option<&str>| ConfigRequest {
        connection: from(user),
        authenticated_username: name.map(str::to_owned),
    };
    let answer = directory.config(&request("alice", Some("alice@example.com"))).await.expect("an answer");
    assert!(answer.exact);
    let config = Json::Object(answer.config);
    assert_eq!(config.pointer("/kubernetes/pod/metadata/namespace"), Some(&json!("blue")));
    assert_eq!(config.pointer("/kubernetes/pod/spec/containers/0/image"), Some(&json!("debian:13")));
    assert_eq!(config.pointer("/security/maxSessions"), Some(&json!(0)));

    let answer = directory.config(&request("carol", None)).await.expect("an answer");
    assert_eq!(Json::Object(answer.config).pointer("/kubernetes/pod/metadata/namespace"), Some(&json!("guests")));
}

#[tokio::test]
async fn directory_can_be_made_in_code() {
    let user = User::with_password("fresh").expect("a hash");
    let user = user.settings(json!({"backend": "kubernetes"})).expect("settings");
    let directory = Directory::new().user("demo", user);
    assert_eq!(directory.password(&from("demo"), b"stale").await, Decision::deny("the password is wrong"));
    let grant = grant(directory.password(&from("demo"), b"fresh").await);
    assert_eq!(grant.authenticated_username.as_deref(), Some("demo"));
    assert!(!format!("{directory:?}").contains("argon2"));
}

#[test]
fn every_mistake_of_a_file_is_reported_by_its_path_and_none_is_quoted() {
    let text = r#"
version: 1
defaults: {pasword: s3cret, environment: {N: 1}, settings: {kubernets: {}, ssh: {}}}
users:
  "a\tb": {}
  "": {}
  alice:
    password: s3cret
    passwordHash: s3cret
    authenticatedUsername: ""
    authorizedKeys: [s3cret, 7, 'command="x" ssh-ed25519 AAAA']
    metadata: {m: {value: s3cret, secret: true}, n: {sensitive: yes please}}
    files: {/a: {}, /b: {base64: "s3cret!"}, /c: {text: a, base64: YQ==}}
    settings: []
  bob: 7
  carol: {authorizedKeys: "\n\nssh-rsa s3cret"}
  dave: {authenticatedUsername: "s3cret\tx"}
"#;
    let problems = Directory::from_yaml(text).expect_err("mistakes");
    let paths: Vec<&str> = problems.list().iter().map(|problem| problem.path.as_str()).collect();
    for expected in [
        "version",
        "defaults.pasword",
        "defaults.environment.N",
        "defaults.settings.kubernets",
        "users.a\tb",
        "users.",
        "users.alice.password",
        "users.alice.passwordHash",
        "users.alice.authenticatedUsername",
        "users.alice.authorizedKeys[0]",
        "users.alice.authorizedKeys[1]",
        "users.alice.authorizedKeys[2]",
        "users.alice.metadata.m.secret",
        "users.alice.metadata.n.sensitive",
        "users.alice.metadata.n",
        "users.alice.files./a",
        "users.alice.files./b.base64",
        "users.alice.files./c",
        "users.alice.settings",
        "users.bob",
        "users.carol.authorizedKeys, line 3",
        "users.dave.authenticatedUsername",
    ] {
        assert!(paths.contains(&expected), "{expected} is missing in\n{problems}");
    }
    assert_eq!(problems.to_string().lines().count(), problems.list().len());
    assert!(!problems.to_string().contains("s3cret"), "{problems}");
}

/// A file with one user. YAML's short form of a key ends at 1024 characters, this one does not.
fn one_user(name: &str) -> String {
    let name = json!(name);
    format!("users:\n  ? {name}\n  : {{authorizedKeys: [{KEY}], authenticatedUsername: {name}}}\n")
}

#[tokio::test]
async fn every_name_that_a_gateway_can_send_may_stand_in_a_file() {
    for name in ["team/alice", "REALM\\alice", "alice@example.org", "a b", "null", "7", "日本", &"x".repeat(1024)] {
        let directory = Directory::from_yaml(&one_user(name)).expect(name);
        let grant = grant(directory.public_key(&from(name), KEY).await);
        assert_eq!(grant.authenticated_username.as_deref(), Some(name));
    }
    let problems = Directory::from_yaml(&one_user(&"x".repeat(1025))).expect_err("too long");
    assert_eq!(problems.list().len(), 2, "{problems}");
}

#[test]
fn login_names_are_those_that_the_gateway_asks_about() {
    // YAML takes longer keys than 1024 characters only behind a question mark.
    let long = |length| format!("users:\n  ? {}\n  : {{}}\n", "a".repeat(length));
    for text in ["users: {'': {}}", "users: {' ': {}}", "users: {\"a\\nb\": {}}", &long(1025)] {
        let problems = Directory::from_yaml(text).expect_err(text);
        assert!(problems.to_string().contains("is no login name"), "{problems}");
    }
    for text in ["users: {team/alice: {}}", "users: {'realm\\bob': {}}", "users: {c@d.example: {}}", &long(1024)] {
        Directory::from_yaml(text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
    }
}

#[test]
fn what_is_no_yaml_is_one_mistake_that_shows_nothing_of_it() {
    for text in [
        "users: {a: s3cret",
        "- s3cret\nusers: x",
        "users: {}\nusers: {}",
        r#"users: "s3cret \q""#,
        "users: !!binary s3cret",
    ] {
        let problems = Directory::from_yaml(text).expect_err(text);
        assert!(!problems.to_string().contains("s3cret"), "{problems}");
    }
    assert!(Directory::from_yaml("users: {}").is_ok());
    assert!(Directory::from_yaml("").is_err_and(|problems| problems.list()[0].text == "is not an object"));
}

#[tokio::test]
async fn variable_whose_name_no_shell_allows_is_left_out_with_a_warning() {
    let text = r#"
defaults: {environment: {A B: s3cret, "": s3cret, OK: x}}
users: {alice: {environment: {X-Y: s3cret, "--split-string=id": s3cret, 1A: s3cret}, authorizedKeys: [KEY]}}
"#;
    let directory = Directory::from_yaml(&text.replace("KEY", KEY)).expect("users");
    let paths: Vec<&str> = directory.warnings().iter().map(|warning| warning.path.as_str()).collect();
    let environment = "users.alice.environment";
    let expected = ["--split-string=id", "1A", "X-Y"].map(|name| format!("{environment}.{name}"));
    assert_eq!(paths[..2], ["defaults.environment.", "defaults.environment.A B"]);
    assert_eq!(paths[2..], expected);
    assert!(directory.warnings().iter().all(|warning| !warning.text.contains("s3cret")));
    let known = grant(directory.public_key(&from("alice"), KEY).await).known;
    assert_eq!(known.environment.keys().collect::<Vec<_>>(), ["OK"]);
}

#[test]
fn one_document_is_read_and_two_are_refused_in_plain_words() {
    for text in [
        "users: {}\n---\n",
        "users: {}\n---\n# nothing\n",
        "---\nusers: {}\n...\n",
        "%YAML 1.2\n---\nusers: {}\n",
        "---\n---\nusers: {}\n",
        "\u{feff}users: {}\n",
        "\u{feff}---\nusers: {}\n---\n",
    ] {
        assert!(Directory::from_yaml(text).is_ok(), "{text:?}");
    }
    for (text, count) in [("users: {}\n---\nusers: {}\n", 2), ("users: {}\n---\na: 1\n---\nb: s3cret\n", 3)] {
        let problems = Directory::from_yaml(text).expect_err(text).to_string();
        assert!(problems.contains(&format!("has {count} YAML documents")), "{problems}");
        assert!(!problems.contains("::") && !problems.contains("from_") && !problems.contains("s3cret"), "{problems}");
    }
}

/// The keys that may stand at a place of the file, by what is said to a key that nobody meant.
fn keys_at(file: &str) -> Vec<String> {
    let problems = Directory::from_yaml(file).expect_err(file);
    let unknown: Vec<&str> = problems
        .list()
        .iter()
        .filter_map(|problem| problem.text.strip_prefix("unknown key; known here are "))
        .collect();
    assert_eq!(unknown.len(), 1, "{file}: {problems}");
    unknown[0].split(", ").map(str::to_owned).collect()
}

#[test]
fn page_names_every_key_of_the_file_and_no_other() {
    let mut known = std::collections::BTreeSet::new();
    for (below, file) in [
        ("", "{Q: 1, users: {}}"),
        ("defaults.", "{defaults: {Q: 1}, users: {}}"),
        ("users.NAME.", "{users: {a: {Q: 1}}}"),
        ("users.NAME.metadata.KEY.", "{users: {a: {metadata: {m: {value: x, Q: 1}}}}}"),
        ("users.NAME.environment.KEY.", "{users: {a: {environment: {M: {value: x, Q: 1}}}}}"),
        ("users.NAME.files.PATH.", "{users: {a: {files: {/m: {text: x, Q: 1}}}}}"),
    ] {
        known.extend(keys_at(file).into_iter().map(|key| format!("{below}{key}")));
    }
    let page = include_str!("../../../docs/webhooks.md");
    let (_, section) = page.split_once("\n### Keys of the file\n").expect("the section");
    let section = section.split("\n### ").next().expect("its text");
    let mut documented = std::collections::BTreeSet::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (keys, _) = row.split_once(" | ").expect("a row");
        for key in keys.split(", ") {
            assert!(documented.insert(key.trim_matches('`').to_owned()), "{key} is there twice");
        }
    }
    assert_eq!(documented, known);
    let (_, row) = section.split_once("| `users.NAME.settings` |").expect("a row");
    for section in ["backend", "kubernetes", "security", "log"] {
        assert!(settings::SECTIONS.contains(&section) && row.contains(&format!("`{section}")), "{section}");
    }
}

#[test]
fn key_that_is_nearly_right_is_told_with_the_one_that_was_meant() {
    for (file, expected) in [
        ("{user: {}, users: {}}", "user: unknown key; did you mean \"users\"?"),
        ("{users: {a: {password_hash: x}}}", "users.a.password_hash: unknown key; did you mean \"passwordHash\"?"),
        ("{users: {a: {setings: {}}}}", "users.a.setings: unknown key; did you mean \"settings\"?"),
        (
            "{users: {a: {settings: {kubernets: {}}}}}",
            "users.a.settings.kubernets: unknown key; did you mean \"kubernetes\"?",
        ),
        (
            "{users: {a: {files: {/b: {txt: one, text: two}}}}}",
            "users.a.files./b.txt: unknown key; did you mean \"text\"?",
        ),
    ] {
        assert_eq!(Directory::from_yaml(file).expect_err(file).to_string(), expected);
    }
}

#[test]
fn value_that_no_variable_and_path_that_no_file_can_have_are_mistakes() {
    for (file, expected) in [
        (r#"{users: {a: {environment: {B: "s3cret\0"}}}}"#, "users.a.environment.B: has a NUL character"),
        (r#"{users: {a: {files: {"": {text: s3cret}}}}}"#, "users.a.files.: is not a path"),
    ] {
        let said = Directory::from_yaml(file).expect_err(file).to_string();
        assert!(said.starts_with(expected) && !said.contains("s3cret"), "{said}");
    }
}
