//! What a client is told before it is anybody: the version, the methods, the banner.

use crate::support::world::PASSWORD;
use crate::support::{Setup, World};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

#[podgate_test::multi_thread]
async fn server_version_is_sent_as_it_is_written() {
    let world = Setup::config(json!({"ssh": {"serverVersion": "SSH-2.0-Our Own 1.0"}})).start().await;
    let stream = TcpStream::connect(world.gateway.address).await.expect("a connection");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.expect("the identification line");
    assert_eq!(line, "SSH-2.0-Our Own 1.0\r\n");
}

#[podgate_test::multi_thread]
async fn banner_is_shown_before_the_login() {
    let world = Setup::config(json!({"ssh": {"banner": "Be nice.\nTwo lines.\n"}})).start().await;
    let done = world.ssh().arg("-v").run("true").await.expect(0);
    assert!(done.stderr.replace('\r', "").contains("Be nice.\nTwo lines.\n"), "{:?}", done.stderr);
    let peer = world.peer("alice").await;
    assert_eq!(*peer.banner.lock(), "Be nice.\nTwo lines.\n");
}

#[podgate_test::multi_thread]
async fn only_configured_methods_are_offered() {
    let world = World::start().await;
    let nothing = world.ssh().option("PreferredAuthentications=none").run("true").await.expect(255);
    assert!(
        nothing.stderr.contains("(password,publickey)") || nothing.stderr.contains("(publickey,password)"),
        "{}",
        nothing.stderr
    );
    let keys_only = Setup::config(json!({"auth": {"password": {"method": ""}}})).start().await;
    let refused = keys_only.ssh_with_password("alice", PASSWORD).run("true").await.expect(255);
    assert!(refused.stderr.contains("(publickey)"), "{}", refused.stderr);
    keys_only.ssh().run("true").await.expect(0);
}
