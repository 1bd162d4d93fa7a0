//! The operator's log: every line whole and attributable, none with a secret in it, in a file that can be moved away.

use crate::support::gateway::{Gateway, SOON};
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, accept_all};
use crate::support::world::PASSWORD;
use crate::support::{Setup, World, cluster};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Values that no line may hold.
const CANARIES: [&str; 6] =
    ["canary-metadata", "canary-variable", "canary-file", "canary-client", "canary-typed", "canary-wrong"];

#[podgate_test::multi_thread]
async fn no_secret_is_in_any_line_of_a_whole_session() {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => Reply::Json(json!({"config": {}, "environment": {"PLAIN": {"value": "canary-variable"}}})),
        _ if asked.body["passwordBase64"] == "Y2FuYXJ5LXdyb25n" => Reply::Json(json!({"success": false})),
        _ => Reply::Json(json!({"success": true,
            "metadata": {"token": {"value": "canary-metadata", "sensitive": true}},
            "environment": {"TOKEN": {"value": "canary-variable", "sensitive": true}},
            "files": {"secret": {"value": data_encoding::BASE64.encode(b"canary-file"), "sensitive": true}}})),
    })
    .await;
    let world = Setup::config(script.config()).start().await;
    world.ssh_with_password("alice", "canary-wrong").run("true").await.expect(255);
    let client = world.ssh_with_password("alice", PASSWORD).option("SetEnv=MINE=canary-client LD_X=canary-client");
    let done = client.arg("-tt").stdin("cat secret; echo $PLAIN $MINE canary-typed; exit 3\n").arg("127.0.0.1");
    let done = done.finish().await.expect(3);
    assert!(done.text().contains("canary-file"), "{}", done.text());
    world.ssh().run("cat >/dev/null; exit 4").await.expect(4);
    world.wait_for_pods(0).await;
    let log = world.gateway.log();
    let key = fs::read_to_string(world.folder().join("host")).expect("the host key");
    let key_line = key.lines().nth(2).expect("a line of the key");
    for secret in CANARIES.into_iter().chain([PASSWORD, world.cluster.secret(), key_line]) {
        assert!(!log.contains(secret), "{secret} is in the log");
        let encoded = data_encoding::BASE64.encode(secret.as_bytes());
        assert!(!log.contains(&encoded), "{secret} is in the log, as base64");
    }
    assert!(log.contains("\"level\":\"debug\""));
}

#[podgate_test::multi_thread]
async fn every_line_is_json_and_says_whose_it_is() {
    let world = World::start().await;
    world.ssh().run("exit 5").await.expect(5);
    world.ssh_as("mallory").run("true").await.expect(255);
    world.wait_for_pods(0).await;
    world.gateway.wait_for(|line| line["code"] == "SSH_DISCONNECTED" && line["details"]["username"] == "mallory").await;
    let mut lines = 0;
    for line in world.gateway.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "code", "message"] {
            assert!(line[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {line}");
        }
        let code = line["code"].as_str().expect("a code");
        // The gateway's own.
        if matches!(code, "CORE_CONFINED" | "CORE_DESCRIPTORS" | "SSH_AVAILABLE" | "KUBERNETES_LEASE_HELD" | "LIBRARY")
        {
            continue;
        }
        let details = &line["details"];
        assert!(details["connectionId"].as_str().is_some_and(|id| id.len() == 32), "{line}");
        let remote = details["remoteAddr"].as_str().expect("an address").parse::<SocketAddr>().expect("with a port");
        assert!(remote.ip().is_loopback() && remote.port() != 0, "{line}");
        assert!(code == "SSH_CONNECTED" || details["username"].is_string(), "{line}");
        let after_login = code.starts_with("KUBERNETES_") || code.starts_with("SSH_CHANNEL") || code == "SSH_EXIT";
        assert!(!after_login || details["authenticatedUsername"] == "alice", "{line}");
        lines += 1;
    }
    assert!(lines > 10, "{}", world.gateway.log());
}

/// The lines of a gateway at the default level, but for those of its start: code and details.
async fn connection_lines(world: &World) -> Vec<(String, Value)> {
    world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    let lines = world.gateway.log();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let ours = lines.filter(|line| line["details"]["connectionId"].is_string());
    ours.map(|line| (line["code"].as_str().expect("a code").to_owned(), line["details"].clone())).collect()
}

fn codes(lines: &[(String, Value)]) -> Vec<&str> {
    lines.iter().map(|(code, _)| code.as_str()).collect()
}

/// The level of a file that states none.
fn default_level() -> Setup {
    Setup::config(json!({"log": {"level": null}}))
}

#[podgate_test::multi_thread]
async fn default_level_tells_a_refused_login_in_one_line() {
    let world = default_level().start().await;
    world.ssh_with_password("mallory", "wrong").run("true").await.expect(255);
    let lines = connection_lines(&world).await;
    assert_eq!(codes(&lines).first(), Some(&"SSH_AUTH_FAILED"), "{lines:?}");
    assert!(lines[0].1["reason"].is_string() && lines[0].1["username"] == "mallory", "{lines:?}");
    assert_eq!(codes(&lines).last(), Some(&"SSH_DISCONNECTED"), "{lines:?}");
}

#[podgate_test::multi_thread]
async fn default_level_tells_a_session_from_login_to_end() {
    let world = default_level().start().await;
    let start = world.gateway.wait_for_line("SSH_AVAILABLE").await;
    let fingerprint = std::process::Command::new("ssh-keygen").arg("-lf").arg(world.folder().join("host")).output();
    let fingerprint = String::from_utf8(fingerprint.expect("ssh-keygen").stdout).expect("text");
    let hash = fingerprint.split(' ').nth(1).expect("a fingerprint");
    assert_eq!(start["details"]["hostKeys"], format!("{hash} (ED25519)"), "{start}");

    world.ssh().option("SetEnv=LD_PRELOAD=x").run("echo canary-command; exit 5").await.expect(5);
    world.wait_for_pods(0).await;
    let lines = connection_lines(&world).await;
    let told = [
        "SSH_AUTH_SUCCESSFUL",
        "SECURITY_ENV_REJECTED",
        "KUBERNETES_POD_READY",
        "SSH_CHANNEL_REQUEST_SUCCESSFUL",
        "SSH_EXIT",
        "SSH_DISCONNECTED",
    ];
    let mut sorted = codes(&lines);
    // The first guest of an image has one more, if it may have an agent.
    let ways = sorted.iter().filter(|code| **code == "AGENT_WAY").count();
    assert_eq!(ways, usize::from(cluster::is_development()), "{lines:?}");
    sorted.retain(|code| *code != "AGENT_WAY");
    // The pod may be ready before the client asks for anything.
    sorted.sort_unstable();
    let mut expected = told;
    expected.sort_unstable();
    assert_eq!(sorted, expected, "{lines:?}");
    let of = |code: &str| &lines.iter().find(|line| line.0 == code).expect("the line").1;
    assert!(of("KUBERNETES_POD_READY")["podName"].is_string());
    assert_eq!(of("SSH_CHANNEL_REQUEST_SUCCESSFUL")["request"], "exec");
    assert_eq!(of("SSH_EXIT")["status"], "5");
    assert!(of("SSH_EXIT")["duration"].as_str().is_some_and(|text| text.ends_with('s')));
    let bytes = |label: &str| of("SSH_DISCONNECTED")[label].as_str().and_then(|text| text.parse::<u64>().ok());
    assert!(bytes("bytesReceived") > Some(1000) && bytes("bytesSent") > Some(1000), "{lines:?}");
    assert!(!world.gateway.log().contains("canary-command"), "a command may hold a secret");
}

#[podgate_test::multi_thread]
async fn default_level_tells_the_end_of_a_program_whose_client_left() {
    let world = default_level().start().await;
    let client = world.ssh().start("echo up; cat");
    client.until_stdout("up").await;
    client.kill().await;
    world.gateway.wait_for_line("SSH_PROGRAM_LEFT").await;
    let lines = connection_lines(&world).await;
    let of = |code: &str| lines.iter().filter(|line| line.0 == code).collect::<Vec<_>>();
    assert_eq!((of("SSH_PROGRAM_LEFT").len(), of("SSH_EXIT").len()), (1, 0), "{lines:?}");
    assert!(of("SSH_PROGRAM_LEFT")[0].1["duration"].as_str().is_some_and(|text| text.ends_with('s')), "{lines:?}");
}

#[podgate_test::multi_thread]
async fn login_that_fails_with_its_webhook_is_told_at_the_first_try_and_an_abandoned_one_says_what_it_waited_for() {
    let mut setup = default_level();
    setup.config["auth"] =
        json!({"password": {"webhook": {"url": "http://127.0.0.1:1", "timeout": "300ms", "authTimeout": "900ms"}}});
    let world = setup.start().await;
    world.ssh_with_password("alice", PASSWORD).run("true").await.expect(255);
    let lines = connection_lines(&world).await;
    let told = codes(&lines).into_iter().filter(|code| *code != "SSH_DISCONNECTED").collect::<Vec<_>>();
    assert_eq!(told, ["AUTH_BACKEND_ERROR"; 2], "the first try and all of them: {lines:?}");
    let levels = world.gateway.lines("AUTH_BACKEND_ERROR");
    assert_eq!((&levels[0]["level"], &levels[1]["level"]), (&json!("warning"), &json!("error")));

    let servers = [("/password", "authentication"), ("/authz", "authorization"), ("/config", "configuration")];
    for (before, (slow, server)) in servers.into_iter().enumerate() {
        let script = ScriptedWebhook::start(
            move |asked: &WebhookRequest| if asked.path == slow { Reply::Hang } else { accept_all(asked) },
        )
        .await;
        let mut setup = default_level();
        let webhook = json!({"method": "webhook", "webhook": {"url": script.url}});
        setup.config["auth"] = json!({"password": webhook, "authz": webhook});
        setup.config["configserver"] = json!({"url": format!("{}/config", script.url)});
        let world = setup.start().await;
        let client = world.ssh_with_password("alice", PASSWORD).start("true");
        script.wait_for_requests(before + 1).await;
        client.kill().await;
        let line = world.gateway.wait_for_line("SSH_LOGIN_ABANDONED").await;
        let reason = format!("the {server} server had not answered yet");
        assert_eq!(line["details"]["reason"], reason, "{line}");
    }
}

/// Waits until a file holds a text.
async fn holds(path: &std::path::Path, text: &str) -> String {
    let until = Instant::now() + SOON;
    loop {
        let found = fs::read_to_string(path).unwrap_or_default();
        if found.contains(text) {
            return found;
        }
        assert!(Instant::now() < until, "{text:?} is not in {}: {found}", path.display());
        // A file tells nobody that it has grown.
        sleep(Duration::from_millis(20)).await;
    }
}

#[podgate_test::multi_thread]
async fn log_file_that_was_moved_away_is_opened_again_at_hangup() {
    let mut world = World::start().await;
    let (file, moved) = (world.folder().join("log"), world.folder().join("log.1"));
    let path = world.folder().join("podgate.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).expect("a file")).expect("JSON");
    config["log"] = json!({"level": "info", "format": "text", "destination": "file", "file": file});
    fs::write(&path, config.to_string()).expect("a file");
    world.gateway = Gateway::start_at(&path, world.gateway.address);
    let first = holds(&file, "code=SSH_AVAILABLE").await;
    let line = first.lines().find(|line| line.contains("SSH_AVAILABLE")).expect("the line");
    let fields: Vec<_> = line.split('\t').collect();
    assert_eq!(fields[1], "info", "{line}");
    let address = fields[2].strip_prefix("the SSH server is listening (code=SSH_AVAILABLE address=");
    let address = address.and_then(|rest| rest.split(' ').next()).expect("the line");
    world.gateway.address = address.parse().expect("an address");
    world.know(world.port());

    fs::rename(&file, &moved).expect("moved");
    world.gateway.signal("HUP");
    let until = Instant::now() + SOON;
    while !file.exists() {
        assert!(Instant::now() < until, "no file came");
        // A folder tells nobody that a file came.
        sleep(Duration::from_millis(20)).await;
    }
    world.ssh().run("true").await.expect(0);
    let second = holds(&file, "code=SSH_AUTH_SUCCESSFUL").await;
    assert!(second.contains("username=alice"), "{second}");
    assert!(!fs::read_to_string(&moved).expect("the old file").contains("SSH_AUTH_SUCCESSFUL"));
}
