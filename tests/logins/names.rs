//! Names of every kind, names that are none and clients that are none: each is told why where it can be told, and the
//! gateway goes on.

use crate::support::peer::to_the_end;
use crate::support::scripted_webhook::{ScriptedWebhook, accept_all};
use crate::support::{Setup, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[podgate_test::multi_thread]
async fn user_name_that_cannot_be_shown_is_refused_with_a_reason_and_the_gateway_goes_on() {
    let world = World::start().await;
    let long = "x".repeat(1025);
    for (name, reason) in [
        (long.as_str(), "is longer than 1024 bytes"),
        ("root\u{200b}", "contains a character that cannot be seen (U+200B)"),
        ("\u{202e}toor", "contains a character that cannot be seen (U+202E)"),
        ("ro\u{9b}ot", "contains a control character"),
    ] {
        let by_password = world.ssh_as_person(name).option("PreferredAuthentications=password");
        for client in [world.ssh_as(name), world.ssh_as_person(name), by_password] {
            let done = client.run("true").await.expect(255);
            assert!(done.stderr.contains(&format!("podgate: the user name {reason}")), "{name:?}: {}", done.stderr);
        }
        let told = format!("username {reason}");
        world.gateway.wait_for(|line| line["details"]["reason"] == told.as_str()).await;
    }
    assert_eq!(world.cluster.requests("create", "pods"), 0);
    world.ssh().run("true").await.expect(0);
}

/// Names that some directory has, or that would do harm where they are not data.
const NAMES: &[&str] = &[
    "team/alice",
    "REALM\\user",
    "alice@example.org",
    "Alice Example",
    " a ",
    "../../etc/passwd",
    "/",
    "-oProxyCommand=id",
    "$(id)`id`'\"",
    "a%2Fb?c#d",
    "Jörg Müller",
    "日本語",
    "אליס",
];

#[podgate_test::multi_thread]
async fn user_name_of_any_characters_reaches_webhooks_log_and_pod_as_it_is() {
    let script = ScriptedWebhook::start(accept_all).await;
    let world = Setup::config(script.config()).start().await;
    let long = "long/".repeat(200);
    for name in NAMES.iter().copied().chain([long.as_str()]) {
        let asked = script.requests().len();
        let peer = world.peer(name).await;
        let mut channel = peer.session().await;
        channel.exec(true, "echo in; exit 7").await.expect("a request");
        let ended = to_the_end(&mut channel).await;
        assert_eq!((ended.stdout.as_str(), ended.status), ("in\n", Some(7)), "{name:?}: {ended:?}");
        let asked = script.requests().split_off(asked);
        assert!(!asked.is_empty() && asked.iter().all(|asked| asked.body["username"] == name), "{name:?}: {asked:?}");
        assert!(asked.iter().all(|asked| ["/pubkey", "/config"].contains(&asked.path.as_str())), "{asked:?}");
        let pods = world.cluster.pods(world.namespace());
        let pod = pods.iter().find(|pod| pod["metadata"]["annotations"]["podgate/username"] == name);
        let label = &pod.expect("the user's pod")["metadata"]["labels"]["containerssh_username"];
        let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
        let label = label.as_str().expect("a label");
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        assert!(label.len() <= 63 && label.chars().all(inner), "{name:?}: {label}");
        assert!(ends(label.chars().next()) && ends(label.chars().last()), "{name:?}: {label}");
        world.gateway.wait_for(|l| l["code"] == "SSH_AUTH_SUCCESSFUL" && l["details"]["username"] == name).await;
        drop(peer);
    }
}

#[podgate_test::multi_thread]
async fn openssh_logs_in_under_a_name_with_a_slash_and_a_realm() {
    let script = ScriptedWebhook::start(accept_all).await;
    let world = Setup::config(script.config()).start().await;
    for name in ["team/alice", "alice@example.org"] {
        world.ssh_as(name).run("true").await.expect(0);
        assert_eq!(script.requests_to("/config").last().expect("a question")["username"], name);
    }
}

#[podgate_test::multi_thread]
async fn garbage_and_a_half_handshake_end_alone() {
    let world = World::start().await;
    let pieces: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0xff; 70_000],
        b"SSH-2.0-half\r\n",
        b"SSH-2.0-lies\r\n\xff\xff\xff\xff\x00aaaaaaaaaaaaaaaa",
    ];
    for piece in pieces {
        let mut stream = TcpStream::connect(world.gateway.address).await.expect("a connection");
        // The gateway may have hung up already.
        let _ = stream.write_all(piece).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    // One that says nothing at all, and stays.
    let silent = TcpStream::connect(world.gateway.address).await.expect("a connection");
    world.ssh().run("true").await.expect(0);
    drop(silent);
    assert_eq!(world.cluster.requests("create", "pods"), 1);
}
