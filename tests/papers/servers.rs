//! The servers of the papers: taken out of the page, started, asked, and then used by a gateway for a real login.

use super::{WEBHOOKS, blocks, pods};
use crate::support::cluster::{on_development, soon};
use crate::support::keys::Key;
use crate::support::leash;
use crate::support::world::PASSWORD;
use crate::support::{Setup, World, available};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

const NAME: &str = "alice@example.org";
const IMAGE: &str = "local/guest:2";

/// A server out of the page. It ends with the test.
struct Served {
    url: String,
    _child: Child,
}

impl Served {
    async fn start(command: &mut Command) -> Self {
        command.env("LISTEN", "127.0.0.1:0").kill_on_drop(true);
        // It may log each request on its standard error.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the server");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = timeout(soon(), lines.next_line()).await.expect("a line in time").expect("a line");
        let line = line.expect("a line");
        let url = line.strip_prefix("listening on ").expect("where it listens").trim_end_matches('/').to_owned();
        Self { url, _child: child }
    }

    /// Status and body of the answer to one request.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let address = self.url.strip_prefix("http://").expect("HTTP");
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("a request");
        // A server that refuses a body does not read it.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = timeout(soon(), stream.read_to_end(&mut answer)).await.expect("an answer in time");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

/// A folder with a key, and what a server needs.
struct Bench {
    folder: TempDir,
    key: Key,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = Key::make(folder.path(), "id");
        Self { folder, key }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// The page's users, with the key and an image of this test and with [`PASSWORD`] if there is a hash of it.
    fn users(&self, hash: &str) {
        let page = blocks(WEBHOOKS, "json").into_iter().find(|block| block.contains("\"keys\"")).expect("users");
        let mut users: Value = serde_json::from_str(&page).expect("JSON");
        let alice = &mut users["alice"];
        assert!(alice["password"].is_string() && alice["keys"].is_array() && alice["image"].is_string(), "{page}");
        assert_eq!(alice["name"], NAME);
        alice["password"] = json!(hash);
        alice["keys"] = json!([self.key.public]);
        alice["image"] = json!(IMAGE);
        self.file("users.json", &users.to_string());
    }

    /// A login by key, then, if the server takes passwords, one by password; each refused before it succeeds.
    async fn log_in(self, server: Value, passwords: bool, image: &str) {
        if !on_development("the servers choose images that no registry has") {
            return;
        }
        let mut world = Setup::config(server).start().await;
        world.key = self.key;
        refused(&world, world.ssh_as("mallory")).await;
        logs_in(&world, world.ssh(), image).await;
        if passwords {
            refused(&world, world.ssh_with_password("alice", "wrong")).await;
            logs_in(&world, world.ssh_with_password("alice", PASSWORD), image).await;
        }
    }
}

async fn refused(world: &World, client: crate::support::client::Client) {
    let done = client.run("true").await.expect(255);
    assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
    assert!(world.pods().is_empty());
}

async fn logs_in(world: &World, client: crate::support::client::Client, image: &str) {
    let mut running = client.start("echo hello; cat; exit 7");
    running.until_stdout("hello").await;
    world.wait_for_pods(1).await;
    let pods = world.cluster.pods(world.namespace());
    assert_eq!(pods[0]["spec"]["containers"][0]["image"], image, "{pods:?}");
    running.end_input();
    running.ended().await.expect(7);
    world.wait_for_pods(0).await;
}

/// The gateway's configuration for a server that is to be asked for everything.
fn asks(url: &str) -> Value {
    let webhook = json!({"method": "webhook", "webhook": {"url": url}});
    json!({
        "auth": {"password": webhook, "publicKey": webhook, "authz": webhook},
        "configserver": {"url": format!("{url}/config")},
    })
}

/// Checks the answers that every server of the page must give, in any language.
async fn answers_as_the_page_says(served: &Served, key: &Key, image: &str) {
    let no = json!({"success": false});
    // "wrong", then the empty password
    for (user, password) in [("alice", "d3Jvbmc="), ("alice", ""), ("mallory", "d3Jvbmc="), ("mallory", "")] {
        let body = json!({"username": user, "passwordBase64": password}).to_string();
        assert_eq!(served.ask("POST", "/password", &body).await, (200, no.clone()), "{body}");
    }
    for (user, offered) in [("alice", "ssh-ed25519 AAAA"), ("alice", ""), ("mallory", key.public.as_str())] {
        let body = json!({"username": user, "publicKey": offered}).to_string();
        assert_eq!(served.ask("POST", "/pubkey", &body).await, (200, no.clone()), "{body}");
    }
    let body = json!({"username": "alice", "authenticatedUsername": "mallory"}).to_string();
    assert_eq!(served.ask("POST", "/authz", &body).await, (200, no));
    assert_eq!(served.ask("POST", "/config", &body).await.0, 403);
    for (method, path, body, status) in [
        ("POST", "/password", "not JSON", 400),
        ("POST", "/password", r#"{"username": "alice", "passwordBase64": "!"}"#, 400),
        ("POST", "/pubkey", r#"{"username": 7}"#, 400),
        ("POST", "/nowhere", "{}", 404),
    ] {
        assert_eq!(served.ask(method, path, body).await.0, status, "{method} {path} {body}");
    }
    assert_ne!(served.ask("GET", "/config", "").await.0, 200);
    let long = json!({"username": "alice", "publicKey": key.public, "metadata": "x".repeat(5 << 20)}).to_string();
    assert_ne!(served.ask("POST", "/pubkey", &long).await.0, 200);

    let password = data_encoding::BASE64.encode(PASSWORD.as_bytes());
    for (path, body) in [
        ("/password", json!({"username": "alice", "passwordBase64": password})),
        ("/pubkey", json!({"username": "alice", "publicKey": key.public})),
    ] {
        let (status, said) = served.ask("POST", path, &body.to_string()).await;
        assert_eq!(
            (status, &said["success"], &said["authenticatedUsername"]),
            (200, &json!(true), &json!(NAME)),
            "{path}"
        );
    }
    let body = json!({"username": "alice", "authenticatedUsername": NAME}).to_string();
    let (status, said) = served.ask("POST", "/authz", &body).await;
    assert_eq!((status, &said["success"]), (200, &json!(true)), "{said}");
    let (status, said) = served.ask("POST", "/config", &body).await;
    assert_eq!((status, &said["exact"]), (200, &json!(true)), "{said}");
    assert_eq!(said["config"]["kubernetes"]["pod"]["image"], image, "{said}");
    pods::assert_admitted(&[(served.url.clone(), pods::pod_of_answer(&said))]).await;
}

/// The page's command's hash of [`PASSWORD`]. Without a terminal, the command reads standard input.
async fn hashed() -> String {
    let command = blocks(WEBHOOKS, "sh").into_iter().find(|block| block.contains("pbkdf2")).expect("the command");
    let mut sh = leash::program("setsid");
    let child = sh.args(["--wait", "sh", "-c", &command]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.stderr(Stdio::null()).spawn().expect("setsid");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(format!("{PASSWORD}\n").as_bytes()).await.expect("the password");
    drop(stdin);
    let output = child.wait_with_output().await.expect("its end");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn block(language: &str) -> String {
    let mut found = blocks(WEBHOOKS, language);
    assert_eq!(found.len(), 1, "{language}");
    found.remove(0)
}

#[podgate_test::multi_thread]
async fn server_in_rust_decides_a_login() {
    // Cargo builds the examples beside the tests.
    let example = Path::new(env!("CARGO_BIN_EXE_podgate")).with_file_name("examples").join("minimal");
    assert!(example.exists(), "it is built by `cargo test --workspace`");
    let bench = Bench::new();
    let mut command = leash::program(example);
    let served = Served::start(command.env("PASSWORD", PASSWORD).env("KEY", &bench.key.public)).await;
    answers_as_the_page_says(&served, &bench.key, "debian:bookworm-slim").await;
    bench.log_in(asks(&served.url), true, "debian:bookworm-slim").await;
}

#[podgate_test::multi_thread]
async fn server_in_python_decides_a_login() {
    if !available("python3", "python3") {
        return;
    }
    let bench = Bench::new();
    bench.users(&hashed().await);
    let mut command = leash::program("python3");
    command.arg(bench.file("server.py", &block("python"))).current_dir(bench.folder.path());
    let served = Served::start(&mut command).await;
    answers_as_the_page_says(&served, &bench.key, IMAGE).await;
    bench.log_in(asks(&served.url), true, IMAGE).await;
}

#[podgate_test::multi_thread]
async fn server_in_go_decides_a_login() {
    if !available("go", "Go 1.24 or newer") || !available("python3", "python3") {
        return;
    }
    let bench = Bench::new();
    bench.users(&hashed().await);
    bench.file("server.go", &block("go"));
    // Nothing of it comes over the network.
    let mut build = leash::program("go");
    build.args(["build", "-o", "server", "server.go"]).current_dir(bench.folder.path());
    build.env("GOPROXY", "off").env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
    assert!(build.status().await.expect("go").success());
    let mut command = leash::program(bench.folder.path().join("server"));
    let served = Served::start(command.current_dir(bench.folder.path())).await;
    answers_as_the_page_says(&served, &bench.key, IMAGE).await;
    bench.log_in(asks(&served.url), true, IMAGE).await;
}

#[tokio::test]
#[ignore = "needs OPA, which PODGATE_TEST_OPA names"]
async fn policy_of_opa_decides_a_login() {
    let bench = Bench::new();
    bench.users("");
    bench.file("policy.rego", &block("rego"));
    let program = std::env::var_os("PODGATE_TEST_OPA").expect("PODGATE_TEST_OPA");
    let socket = bench.folder.path().join("opa.sock");
    let mut opa = leash::program(program);
    let _opa = opa
        .args(["run", "--server", "--addr", &format!("unix://{}", socket.display()), "policy.rego", "users:users.json"])
        .current_dir(bench.folder.path())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("OPA");
    // The gateway asks again until it is there, so nobody has to wait for it.
    let url = format!("unix:{}:/v0/data/podgate", socket.display());
    let server = asks(&url);
    bench.log_in(server, false, IMAGE).await;
}
