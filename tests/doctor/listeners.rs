//! What the gateway listens on: taken by another process, by another key, or by the running gateway.

use super::{Examined, change, examine};
use crate::operator::free;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;

#[track_caller]
fn assert_of(examined: &Examined, key: &str, result: &str, text: &str) {
    let found = examined.of("listeners").into_iter().find(|check| check["subject"] == key).expect(key);
    let detail = found["detail"].as_str().expect("text");
    assert!(found["result"] == result && detail.contains(text), "{key} is not {result} with {text:?}: {found:#?}");
}

fn endpoints(health: &str, metrics: &str, socket: &Path) -> Value {
    json!({
        "health": {"enable": true, "listen": health}, "metrics": {"enable": true, "listen": metrics},
        "admin": {"socket": socket},
    })
}

#[podgate_test::multi_thread]
async fn endpoint_that_cannot_be_had_fails_as_the_start_does() {
    let world = World::start().await;
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("an address").to_string();
    let socket = world.folder().join("missing/admin.sock");
    let examined = examine(&change(&world, endpoints(&taken, "127.0.0.1:0", &socket)), &[]).await;
    assert_of(&examined, "health.listen", "failed", "health.listen: cannot listen on 127.0.0.1:");
    assert_of(&examined, "metrics.listen", "ok", "is free");
    assert_of(&examined, "admin.socket", "failed", "No such file or directory");
    assert_eq!(examined.status, 1, "{}", examined.out);
    let examined = examine(&change(&world, endpoints("127.0.0.1:0", &taken, &world.folder().join("a"))), &[]).await;
    assert_of(&examined, "metrics.listen", "failed", "cannot listen on 127.0.0.1:");
    assert_of(&examined, "admin.socket", "ok", "is free");
    assert_eq!(examined.status, 1, "{}", examined.out);
    // Nobody listens there, and the gateway would be its own rival.
    let taken = free().to_string();
    let mut both = endpoints("127.0.0.1:0", &taken, &world.folder().join("a"));
    both["ssh"] = json!({"listen": taken});
    let examined = examine(&change(&world, both), &[]).await;
    assert_of(&examined, "metrics.listen", "failed", "ssh.listen takes it");
    assert_eq!(examined.status, 1, "{}", examined.out);
}

#[podgate_test::multi_thread]
async fn endpoints_of_the_running_gateway_are_known_as_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock");
    let (health, metrics) = (free().to_string(), free().to_string());
    let world = Setup::config(endpoints(&health, &metrics, &socket)).start().await;
    let ssh = json!({"ssh": {"listen": world.gateway.address.to_string()}});
    let examined = examine(&change(&world, ssh), &[]).await;
    for key in ["ssh.listen", "health.listen", "metrics.listen", "admin.socket"] {
        assert_of(&examined, key, "ok", "a gateway listens on ");
    }
    assert_eq!(examined.status, 0, "{}", examined.out);
}
