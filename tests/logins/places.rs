//! Where webhooks can be: HTTPS with a client certificate, and a Unix socket.

use crate::support::scripted_webhook::{Authority, config, serve_at};
use crate::support::world::{PASSWORD, directory, merge};
use crate::support::{Setup, keys::Key};
use podgate_webhooks::server::Listen;
use podgate_webhooks::toolkit::router;
use serde_json::{Value, json};

/// Merges keys into each of the three client blocks.
fn everywhere(config: &mut Value, keys: &Value) {
    for step in ["password", "publicKey"] {
        merge(config, json!({"auth": {step: {"webhook": keys}}}));
    }
    merge(config, json!({"configserver": keys}));
}

fn users() -> axum::Router {
    let folder = tempfile::tempdir().expect("a folder");
    let key = Key::make(folder.path(), "unused");
    router(directory(vec![("alice", json!({}))], &key))
}

#[podgate_test::multi_thread]
async fn https_server_that_wants_a_client_certificate_is_shown_the_configured_one() {
    let authority = Authority::new();
    let url = serve_at(authority.listen("localhost", true), users()).await;
    let (certificate, key) = authority.issue("gateway");

    let mut config = config(&url);
    everywhere(&mut config, &json!({"cacert": authority.pem()}));
    merge(&mut config, json!({"auth": {"publicKey": {"webhook": {"authTimeout": "2s"}}}}));
    let world = Setup::config(config.clone()).start().await;
    let done = world.ssh().run("true").await.expect(255);
    assert!(done.stderr.contains("podgate: the authentication server"), "{}", done.stderr);

    everywhere(&mut config, &json!({"cert": certificate, "key": key}));
    let world = Setup::config(config).start().await;
    assert_eq!(world.ssh_with_password("alice", PASSWORD).run("echo in").await.expect(0).text(), "in\n");
    let done = world.ssh_with_password("alice", "wrong").run("true").await.expect(255);
    assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
    let log = world.gateway.log();
    assert!(!log.contains(key.lines().nth(1).expect("a line of the key")));
}

#[podgate_test::multi_thread]
async fn server_on_a_unix_socket_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = format!("unix:{}", folder.path().join("hook.sock").display());
    serve_at(Listen::parse(&socket, None).expect("a socket"), users()).await;
    let mut config = config(&socket);
    config["configserver"]["url"] = format!("{socket}:/config").into();
    let world = Setup::config(config).start().await;
    assert_eq!(world.ssh_with_password("alice", PASSWORD).run("echo in").await.expect(0).text(), "in\n");
    let done = world.ssh_with_password("alice", "wrong").run("true").await.expect(255);
    assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
}
