//! The file of events: what was done, as data, for each program and each forward.

use crate::support::client::random_file;
use crate::support::gateway::SOON;
use crate::support::world::merge;
use crate::support::{Setup, World, cluster};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

/// A world with a file of events.
async fn recording(format: &str, more: Value) -> (World, TempDir) {
    let folder = tempfile::Builder::new().prefix("podgate-test-").tempdir().expect("a folder");
    let mut events = json!({"enable": true, "format": format, "file": folder.path().join("events")});
    merge(&mut events, more);
    let config = json!({"events": events, "security": {"forwarding": {"forwardingMode": "enable"}}});
    (Setup::config(config).start().await, folder)
}

/// The events of a file so far.
fn events(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Waits until something is found at a file, which tells nobody that it grows.
async fn found<T>(file: &Path, find: impl Fn() -> Option<T>) -> T {
    let until = Instant::now() + SOON;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < until, "{:#?}", events(file));
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until a file has an event.
async fn event(file: &Path, wanted: impl Fn(&Value) -> bool) -> Value {
    found(file, || events(file).into_iter().find(|event| wanted(event))).await
}

#[podgate_test::multi_thread]
async fn program_is_an_event_with_its_user_pod_command_exit_and_bytes() {
    let (world, folder) = recording("json", json!({})).await;
    let file = folder.path().join("events");
    world.ssh().stdin("12345").run("cat; printf abc >&2; exit 7").await.expect(7);
    let told = event(&file, |event| event["event"] == "program").await;
    for (key, value) in [
        ("username", json!("alice")),
        ("request", json!("exec")),
        ("command", json!("cat; printf abc >&2; exit 7")),
        ("outcome", json!("exited")),
        ("exitStatus", json!(7)),
        ("bytesReceived", json!(5)),
        ("bytesSent", json!(8)),
        ("terminal", json!(false)),
    ] {
        assert_eq!(told[key], value, "{key}: {told}");
    }
    let pod = format!("{}/", world.namespace());
    assert!(told["pod"].as_str().is_some_and(|name| name.starts_with(&pod)), "{told}");
    let connected = world.gateway.wait_for_line("SSH_EXIT").await;
    assert_eq!(told["connectionId"], connected["details"]["connectionId"], "{told}");
    assert_eq!(
        (&connected["details"]["bytesReceived"], &connected["details"]["bytesSent"]),
        (&json!("5"), &json!("8"))
    );
}

#[podgate_test::multi_thread]
async fn command_is_no_part_of_an_event_where_the_operator_does_not_want_it() {
    let (world, folder) = recording("ocsf", json!({"commands": false})).await;
    let file = folder.path().join("events");
    world.ssh().run("true --password=canary").await.expect(0);
    let told = event(&file, |event| event["class_uid"] == 1007).await;
    assert_eq!((&told["exit_code"], &told["status_id"]), (&json!(0), &json!(1)), "{told}");
    assert!(!fs::read_to_string(&file).expect("the file").contains("canary"));
}

#[podgate_test::multi_thread]
async fn what_the_rules_deny_is_an_event_with_the_reason_exactly_once() {
    let folder = tempfile::Builder::new().prefix("podgate-test-").tempdir().expect("a folder");
    let file = folder.path().join("events");
    let off = json!({"mode": "disable"});
    let security = json!({"command": off, "subsystem": off, "forwarding": {"forwardingMode": "disable"}});
    let world = Setup::config(json!({"events": {"enable": true, "file": file}, "security": security})).start().await;
    world.ssh().run("echo canary").await.expect(255);
    world.client("sftp", "-P").option("User=alice").arg("127.0.0.1").finish().await.expect(255);
    world.ssh().arg("-W").arg("127.0.0.1:9").arg("127.0.0.1").finish().await.expect(255);
    event(&file, |event| event["event"] == "forward").await;
    let told = events(&file);
    let parts = |event: &Value| ["request", "command", "subsystem", "target", "outcome"].map(|key| event[key].clone());
    let none = Value::Null;
    assert_eq!(
        told.iter().map(parts).collect::<Vec<_>>(),
        [
            [json!("exec"), json!("echo canary"), none.clone(), none.clone(), json!("notStarted")],
            [json!("subsystem"), none.clone(), json!("sftp"), none.clone(), json!("notStarted")],
            [none.clone(), none.clone(), none, json!("127.0.0.1:9"), json!("refused")],
        ]
    );
    assert!(told.iter().all(|event| event["reason"].is_string()), "{told:#?}");
}

#[podgate_test::multi_thread]
async fn forward_is_an_event_with_its_target_and_bytes_and_a_moved_file_is_followed_by_a_new_one() {
    let (world, folder) = recording("json", json!({})).await;
    let file = folder.path().join("events");
    world.ssh().run("true").await.expect(0);
    event(&file, |event| event["event"] == "program").await;
    fs::rename(&file, folder.path().join("events.1")).expect("a move");
    world.gateway.signal("HUP");
    found(&file, || file.exists().then_some(())).await;
    let echo = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = echo.local_addr().expect("its address").to_string();
    if !cluster::is_development() {
        // Nothing of this machine is in reach of its pods: the refusal is an event.
        world
            .ssh()
            .option("ExitOnForwardFailure=yes")
            .arg("-W")
            .arg(&target)
            .arg("127.0.0.1")
            .finish()
            .await
            .expect(255);
        let told = event(&file, |event| event["event"] == "forward").await;
        assert_eq!((&told["outcome"], &told["target"]), (&json!("refused"), &json!(target)), "{told}");
        return;
    }
    let serving = tokio::spawn(async move {
        let (mut stream, _) = echo.accept().await.expect("a connection");
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.expect("its data");
        stream.write_all(b"answer").await.expect("an answer");
        got
    });
    let done = world.ssh().arg("-W").arg(&target).arg("127.0.0.1").stdin("ask").finish().await.expect(0);
    assert_eq!((done.text().as_str(), serving.await.expect("the peer")), ("answer", b"ask".to_vec()));
    let told = event(&file, |event| event["event"] == "forward").await;
    for (key, value) in [
        ("channelType", json!("direct-tcpip")),
        ("target", json!(target)),
        ("outcome", json!("ended")),
        ("bytesReceived", json!(3)),
        ("bytesSent", json!(6)),
        ("username", json!("alice")),
    ] {
        assert_eq!(told[key], value, "{key}: {told}");
    }
}

#[podgate_test::multi_thread]
async fn every_file_of_sftp_is_an_event_with_its_bytes_and_hash_and_every_change_of_names() {
    let (world, folder) = recording("json", json!({"sftpHash": true})).await;
    let file = folder.path().join("events");
    let (local, data) = random_file(folder.path(), "local", 300_000);
    let local = local.display();
    let batch = format!(
        "mkdir d\nput {local} d/up\nrename d/up d/new\nchmod 640 d/new\nget d/new {local}.back\n-get none\nsymlink new d/link\nrm d/link\nrm d/new\nrmdir d\n"
    );
    let client = world.client("sftp", "-P").option("User=alice").arg("-b").arg("-").arg("127.0.0.1");
    client.stdin(batch).finish().await.expect(0);
    event(&file, |event| event["event"] == "program").await;
    let told: Vec<Value> = events(&file).into_iter().filter(|event| event["event"] == "file").collect();
    let of = |operation: &str, path: &str| {
        let is_it = |event: &&Value| {
            event["operation"] == operation && event["path"].as_str().is_some_and(|told| told.ends_with(path))
        };
        told.iter().find(is_it).unwrap_or_else(|| panic!("{operation} {path}: {told:#?}"))
    };
    let up = of("open", "/d/up");
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(&data));
    assert_eq!((&up["bytesWritten"], &up["sha256"], &up["outcome"]), (&json!(300_000), &json!(hash), &json!("done")));
    let down = of("open", "/d/new");
    assert_eq!(
        (&down["bytesRead"], &down["bytesWritten"], &down["flags"]),
        (&json!(300_000), &json!(0), &json!(["read"]))
    );
    assert!(of("rename", "/d/up")["otherPath"].as_str().is_some_and(|other| other.ends_with("/d/new")));
    assert_eq!(of("setstat", "/d/new")["permissions"], "0640");
    assert_eq!(of("symlink", "d/link")["otherPath"], "new");
    for (operation, path) in [("mkdir", "/d"), ("remove", "/d/link"), ("remove", "/d/new"), ("rmdir", "/d")] {
        assert_eq!(of(operation, path)["outcome"], "done");
    }
    assert!(told.iter().all(|event| event["username"] == "alice" && event["channelId"].is_u64()), "{told:#?}");
}

#[podgate_test::multi_thread]
async fn bytes_that_are_no_sftp_pass_unchanged_and_are_told_once() {
    let folder = tempfile::Builder::new().prefix("podgate-test-").tempdir().expect("a folder");
    let file = folder.path().join("events");
    let config = json!({
        "events": {"enable": true, "file": file},
        "kubernetes": {"pod": {"subsystems": {"sftp": "/bin/cat"}}},
    });
    let world = Setup::config(config).start().await;
    let data = "no SFTP at all, but ten thousand bytes\n".repeat(256);
    let done = world.ssh().arg("-s").stdin(data.clone()).run("sftp").await.expect(0);
    assert!(done.text() == data, "{}", done.text());
    event(&file, |event| event["event"] == "program").await;
    let told: Vec<Value> = events(&file).into_iter().filter(|event| event["event"] == "file").collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["outcome"], "notFollowed");
    world.gateway.wait_for_line("SSH_SFTP_NOT_FOLLOWED").await;
}
