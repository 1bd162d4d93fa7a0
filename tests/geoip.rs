//! The countries of clients, by a database in MaxMind's format that the test writes.

use crate::operator::{free, get};
use crate::support::cluster::soon;
use crate::support::world::merge;
use crate::support::{Setup, World, leash};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// A text of the format (MaxMind DB, version 2.0).
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    let head = if length < 29 { vec![2 << 5 | length] } else { vec![2 << 5 | 29, length - 29] };
    [head, text.as_bytes().to_vec()].concat()
}

fn pair(key: &str, value: &[u8]) -> Vec<u8> {
    [text(key), value.to_vec()].concat()
}

/// A database in which 127.0.0.0/8 is in a country, and nothing else is anywhere.
fn database(kind: &str, country: &str) -> Vec<u8> {
    const NODES: u32 = 8;
    let mut content = Vec::new();
    for node in 0..NODES {
        let is_set = 127 >> (7 - node) & 1 == 1;
        let next = if node + 1 < NODES { node + 1 } else { NODES + 16 };
        for record in if is_set { [NODES, next] } else { [next, NODES] } {
            content.extend_from_slice(&record.to_be_bytes()[1..]);
        }
    }
    content.extend_from_slice(&[0; 16]);
    content.extend(
        [vec![7 << 5 | 1], pair("country", &[vec![7 << 5 | 1], pair("iso_code", &text(country))].concat())].concat(),
    );
    let short = |number: u8| vec![5 << 5 | 1, number];
    let facts = [
        pair("node_count", &[6 << 5 | 1, 8]),
        pair("record_size", &short(24)),
        pair("ip_version", &short(4)),
        pair("database_type", &text(kind)),
        pair("languages", &[0, 4]),
        pair("binary_format_major_version", &short(2)),
        pair("binary_format_minor_version", &short(0)),
        pair("build_epoch", &[1, 2, 1]),
        pair("description", &[7 << 5]),
    ];
    content.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    content.push(7 << 5 | 9);
    content.extend(facts.concat());
    content
}

/// Puts a file in the place of another, as `geoipupdate` does.
fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("a file");
    fs::rename(new, path).expect("a file in its place");
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("podgate-test-").tempdir().expect("a folder") }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> Value {
        json!({
            "geoip": {"provider": "maxmind", "maxmind-geoip2-file": self.file("countries.mmdb")},
            "events": {"enable": true, "file": self.file("events")},
        })
    }
}

/// Waits until a text has a part. Neither a file nor a page tells that it has changed.
async fn until<T: Future<Output = String>>(what: &str, read: impl Fn() -> T, part: &str) {
    let end = Instant::now() + soon();
    loop {
        let text = read().await;
        if text.contains(part) {
            return;
        }
        assert!(Instant::now() < end, "{what}: {part} is not in\n{text}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The country in the log's line of the newest connection.
fn newest(world: &World) -> Value {
    world.gateway.lines("SSH_CONNECTED").pop().expect("a line")["details"]["country"].clone()
}

#[podgate_test::multi_thread]
async fn file_that_has_no_countries_prevents_the_start_and_the_check_says_why() {
    let place = Place::new();
    let world = World::start().await;
    let file = place.file("countries.mmdb");
    for (content, told) in [
        (&b"no database"[..], "is no database of MaxMind's"),
        (&database("GeoLite2-ASN", "DE"), "is a GeoLite2-ASN, which has no countries"),
    ] {
        fs::write(&file, content).expect("a file");
        let config = world.config_file(json!({"geoip": place.config()["geoip"]}));
        for arguments in [&["--check-config"][..], &[]] {
            let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
            command.arg("--config").arg(&config).args(arguments);
            let ran = command.output().await.expect("podgate");
            let said = String::from_utf8_lossy(&[ran.stderr, ran.stdout].concat()).into_owned();
            assert!(!ran.status.success() && said.contains(told), "{said}");
        }
    }
}

#[podgate_test::multi_thread]
async fn country_is_in_metrics_log_and_events_and_a_new_file_is_taken_without_a_reload() {
    let place = Place::new();
    let file = place.file("countries.mmdb");
    fs::write(&file, database("GeoLite2-Country", "DE")).expect("a file");
    let at = free();
    let mut setup = Setup::config(place.config());
    merge(&mut setup.config, json!({"metrics": {"enable": true, "listen": at.to_string()}}));
    let world = setup.start().await;
    world.ssh().run("true").await.expect(0);
    assert_eq!(newest(&world), "DE");
    until("an event", || async { fs::read_to_string(place.file("events")).expect("events") }, "\"country\":\"DE\"")
        .await;
    for line in [
        "containerssh_ssh_connections_total{country=\"DE\"} 1",
        "containerssh_ssh_successful_handshakes_total{country=\"DE\"} 1",
        "containerssh_ssh_current_connections{country=\"DE\"} 0",
    ] {
        until("the metrics", || async { get(at, "/metrics").await.expect("a page") }, &format!("\n{line}\n")).await;
    }

    replace(&file, b"damaged");
    let told = world.gateway.wait_for(|line| line["code"] == "GEOIP_READ").await;
    assert_eq!(told["level"], "error", "{told}");
    world.ssh().run("true").await.expect(0);
    assert_eq!(newest(&world), "DE");

    replace(&file, &database("GeoLite2-Country", "not a country"));
    world.gateway.wait_for(|line| line["code"] == "GEOIP_READ" && line["level"] == "notice").await;
    world.ssh().run("true").await.expect(0);
    assert_eq!(newest(&world), "XX");
    let refused = world.gateway.lines("GEOIP_READ");
    assert_eq!(refused.len(), 2, "{refused:?}");
}
