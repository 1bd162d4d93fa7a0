//! What an operator's own machinery sees: the health endpoint, the metrics page, the log under a hangup, and a gateway
//! that cannot have what it is to listen on.

mod metrics;
mod monitoring;
mod orders;

use crate::support::gateway::{Gateway, SOON};
use crate::support::leash;
use crate::support::scripted_webhook::{ScriptedWebhook, accept_all};
use crate::support::world::merge;
use crate::support::{Setup, World, held_port};
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

/// A port that is free and stays so: every address of 127.0.0.0/8 is loopback's, and nobody else has this one.
pub fn free() -> SocketAddr {
    let [a, b, c] = rand::random();
    TcpListener::bind((Ipv4Addr::new(127, a, b, c | 2), 0)).and_then(|at| at.local_addr()).expect("a port")
}

/// The whole answer to a GET; `None` where nobody answers.
pub async fn get(address: SocketAddr, path: &str) -> Option<String> {
    ask(address, path, "").await
}

/// The same with more header lines, each with its end.
async fn ask(address: SocketAddr, path: &str, headers: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.expect("an answer in time").ok()?;
    (!answer.is_empty()).then_some(answer)
}

/// Runs the binary with the world's configuration, which must end by itself: its exit status and what it said to people.
async fn run(config: &Path, more: &[&str]) -> (Option<i32>, String) {
    end(leash::program(env!("CARGO_BIN_EXE_podgate")).arg("--config").arg(config).args(more)).await
}

/// Runs a command that ends by itself: its exit status, standard output and standard error.
pub async fn end_of(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.kill_on_drop(true).output();
    let output = timeout(SOON, output).await.expect("it ends by itself").expect("the gateway's binary");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The same of a command.
async fn end(command: &mut Command) -> (Option<i32>, String) {
    let output = command.kill_on_drop(true).output();
    let output = timeout(SOON, output).await.expect("it ends by itself").expect("the gateway's binary");
    let stdout = String::from_utf8(output.stdout).expect("text");
    // The limit of open files and what the process gave up are told before anything else is tried.
    let before = ["CORE_CONFINED", "CORE_DESCRIPTORS", "LIBRARY"].map(|code| format!(r#""code":"{code}""#));
    let served: Vec<&str> = stdout.lines().filter(|line| !before.iter().any(|code| line.contains(code))).collect();
    assert!(served.is_empty(), "it served: {}", served.join("\n"));
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

/// The world's configuration, changed.
fn changed(world: &World, name: &str, change: impl FnOnce(&mut Value)) -> std::path::PathBuf {
    let text = fs::read_to_string(world.folder().join("podgate.json")).expect("a file");
    let mut config = serde_json::from_str(&text).expect("JSON");
    change(&mut config);
    let path = world.folder().join(name);
    fs::write(&path, config.to_string()).expect("a file");
    path
}

#[podgate_test::multi_thread]
async fn listener_that_cannot_be_had_is_named_and_nothing_is_served() {
    let world = World::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    for section in ["ssh", "health", "metrics"] {
        let others = [free(), free(), free()];
        let config = changed(&world, "taken.json", |config| {
            for (key, address) in ["ssh", "health", "metrics"].into_iter().zip(others) {
                config[key]["listen"] = if key == section { taken.clone() } else { address.to_string() }.into();
            }
            config["health"]["enable"] = true.into();
            config["metrics"]["enable"] = true.into();
        });
        let (status, said) = run(&config, &[]).await;
        assert_eq!(status, Some(1), "{said}");
        let expected = format!("{section}.listen: cannot listen on {taken}: ");
        let line: Value = serde_json::from_str(&said).expect("one line of JSON");
        assert!(line["message"].as_str().is_some_and(|text| text.starts_with(&expected)), "{said}");
    }
}

#[podgate_test::multi_thread]
async fn health_follows_the_gateway_and_healthcheck_tells_it() {
    let (nobody, health) = (free(), free());
    let config = json!({"health": {"enable": true, "listen": health.to_string()}});
    let mut world = Setup::config(config).start().await;
    let file = world.folder().join("podgate.json");
    let dead = changed(&world, "dead.json", |config| config["health"]["listen"] = nobody.to_string().into());
    let (status, said) = run(&dead, &["--healthcheck"]).await;
    assert_eq!(status, Some(1));
    assert!(said.starts_with("podgate: healthcheck: no connection"), "{said}");
    let off = changed(&world, "off.json", |config| config["health"]["enable"] = false.into());
    assert_eq!(run(&off, &["--healthcheck"]).await, (Some(0), String::new()));

    world.gateway.wait_for_line("SSH_AVAILABLE").await;
    let answer = get(health, "/any").await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\"ok\""), "{answer}");
    assert_eq!(run(&file, &["--healthcheck"]).await, (Some(0), String::new()));
    // Whatever became of the rest of the file, and of the files that it names.
    let wrong = changed(&world, "wrong.json", |config| {
        let pod = json!({"shelCommand": ["/bin/sh"], "mode": 7});
        let connection = json!({"bearerTokenFile": "/nowhere", "kubeconfig": "/nowhere"});
        config["kubernetes"] = json!({"pod": pod, "connection": connection});
        config["ssh"] = json!({"hostkeys": ["/nowhere"]});
        config["healt"] = json!({});
    });
    assert_eq!(run(&wrong, &["--check-config"]).await.0, Some(64));
    assert_eq!(run(&wrong, &["--healthcheck"]).await, (Some(0), String::new()));
    for change in [json!({"client": {"url": "nonsense"}}), json!({"listen": "x"}), json!({"enable": "maybe"})] {
        let unknown = changed(&world, "unknown.json", |config| merge(&mut config["health"], change.clone()));
        let (status, said) = run(&unknown, &["--healthcheck"]).await;
        assert_eq!(status, Some(1), "{change}: {said}");
        assert!(said.starts_with("podgate: healthcheck: ") && said.contains("health."), "{said}");
    }
    let none = world.folder().join("none.json");
    assert_eq!(run(&none, &["--healthcheck"]).await.0, Some(1));

    // A session whose client does not hurry keeps the gateway from ending at once.
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "cat").await.expect("a request");
    assert!(crate::support::peer::answered(&mut channel).await);
    world.gateway.wait_for_line("SSH_CHANNEL_REQUEST_SUCCESSFUL").await;
    world.gateway.signal("TERM");
    world.gateway.wait_for_line("SERVICE_STOPPING").await;
    let answer = get(health, "/").await.expect("an answer while it ends");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\"not ok\""), "{answer}");
    assert!(world.gateway.ended().await.success());
    assert_eq!(get(health, "/").await, None);
    assert_eq!(run(&file, &["--healthcheck"]).await.0, Some(1));
}

/// Asks for a path until the answer has this status.
async fn until_status(address: SocketAddr, path: &str, status: &str) {
    let wanted = format!("HTTP/1.1 {status} ");
    let asked = async { while !get(address, path).await.is_some_and(|answer| answer.starts_with(&wanted)) {} };
    timeout(SOON, asked).await.unwrap_or_else(|_| panic!("{path} is never {status}"));
}

#[podgate_test::multi_thread]
async fn gateway_that_cannot_reach_the_api_or_a_webhook_is_not_ready_and_lives() {
    let health = free();
    let config = json!({"health": {"enable": true, "listen": health.to_string(), "checkInterval": "100ms"}});
    let world = Setup::config(config).alone().start().await;
    let file = world.folder().join("podgate.json");
    let changed = async |check: &str, level: &str| {
        let of = |line: &Value| {
            line["code"] == "HEALTH_CHECK_CHANGED" && line["details"]["check"] == check && line["level"] == level
        };
        world.gateway.wait_for(of).await
    };
    until_status(health, "/readyz", "200").await;
    assert_eq!(run(&file, &["--healthcheck=ready"]).await, (Some(0), String::new()));

    world.cluster.api_down().await;
    let line = changed("kubernetes", "warning").await;
    assert!(line["details"]["reason"].as_str().is_some_and(|reason| reason.contains("cannot be reached")), "{line}");
    let answer = get(health, "/readyz?verbose").await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let body: Value = serde_json::from_str(body).expect("JSON");
    let check = |name: &str| body["checks"].as_array().expect("checks").iter().find(|check| check["name"] == name);
    assert_eq!(check("kubernetes").expect("a check")["ok"], false);
    for name in ["gateway", "accept", "auth.password", "auth.publicKey", "configserver"] {
        assert_eq!(check(name), Some(&json!({"name": name, "ok": true})));
    }
    let (status, said) = run(&file, &["--healthcheck=ready"]).await;
    assert_eq!(status, Some(1));
    assert!(said.starts_with("podgate: healthcheck: kubernetes failed: "), "{said}");
    for path in ["/", "/healthz"] {
        let answer = get(health, path).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    assert_eq!(run(&file, &["-healthcheck=live"]).await, (Some(0), String::new()));
    assert_eq!(run(&file, &["--healthcheck"]).await, (Some(0), String::new()));

    world.cluster.api_up().await;
    changed("kubernetes", "notice").await;
    until_status(health, "/readyz", "200").await;
    world.webhooks.stop();
    changed("auth.password", "warning").await;
    until_status(health, "/readyz", "503").await;
}

#[podgate_test::multi_thread]
async fn webhooks_are_not_asked_because_somebody_asks_for_the_health() {
    let health = free();
    let script = ScriptedWebhook::start(accept_all).await;
    let mut config = script.config();
    config["health"] = json!({"enable": true, "listen": health.to_string(), "checkInterval": "1h"});
    let _world = Setup::config(config).start().await;
    until_status(health, "/readyz", "200").await;
    let asked = script.connections();
    for _ in 0..50 {
        get(health, "/readyz?verbose").await.expect("an answer");
    }
    assert_eq!(script.connections(), asked);
}

/// A certificate for an address as `openssl req -x509` makes them, self-signed and a CA's, and its key.
fn self_signed(address: SocketAddr) -> (String, String) {
    let mut params = rcgen::CertificateParams::new([address.ip().to_string()]).expect("names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

#[podgate_test::multi_thread]
async fn self_signed_certificate_is_trusted_where_the_machine_trusts_it_itself() {
    let health = free();
    let ((certificate, key), (other, _)) = (self_signed(health), self_signed(health));
    let config = json!({"health": {
        "enable": true, "listen": health.to_string(), "cert": certificate, "key": key,
        "client": {"url": format!("https://{health}/")},
    }});
    let world = Setup::config(config).start().await;
    world.gateway.wait_for_line("SSH_AVAILABLE").await;
    let check = async |trusted: &str| {
        let store = world.folder().join("machine.pem");
        fs::write(&store, trusted).expect("a file");
        let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
        command.arg("--config").arg(world.folder().join("podgate.json")).arg("--healthcheck");
        end(command.env("SSL_CERT_FILE", store).env_remove("SSL_CERT_DIR")).await
    };
    let (status, said) = check("").await;
    assert_eq!(status, Some(1));
    let none = "this machine has no CA certificates; install the package ca-certificates, or give the CA in cacert";
    assert!(said.contains(none), "{said}");
    let (status, said) = check(&other).await;
    assert_eq!(status, Some(1));
    let another =
        "is self-signed and not a trusted one; give this very certificate in cacert (trusted are this machine's CAs)";
    assert!(said.contains(another), "{said}");
    assert_eq!(check(&format!("{other}{certificate}")).await, (Some(0), String::new()));
}

#[podgate_test::multi_thread]
async fn nothing_listens_beside_ssh_unless_it_is_switched_on() {
    let (health, metrics) = (free(), free());
    let config = json!({"health": {"listen": health.to_string()}, "metrics": {"listen": metrics.to_string()}});
    let _world = Setup::config(config).start().await;
    assert_eq!((get(health, "/").await, get(metrics, "/metrics").await), (None, None));
}

#[podgate_test::multi_thread]
async fn hangup_never_ends_the_gateway_wherever_it_logs() {
    // Standard output has nothing to open again.
    let mut world = World::start().await;
    world.gateway.signal("HUP");
    world.ssh().run("true").await.expect(0);

    // A file whose folder is gone stays in use, and that is said there.
    let folder = world.folder().join("logs");
    fs::create_dir(&folder).expect("a folder");
    let file = folder.join("log");
    restart(&mut world, json!({"destination": "file", "file": file, "level": "info"})).await;
    let kept = fs::File::open(&file).expect("the log");
    fs::remove_dir_all(&folder).expect("gone");
    world.gateway.signal("HUP");
    world.ssh().run("true").await.expect(0);
    let mut log = String::new();
    until(|| {
        use std::io::Seek;
        let mut kept = &kept;
        log.clear();
        kept.rewind().and_then(|()| std::io::Read::read_to_string(&mut kept, &mut log)).expect("the log");
        log.contains("LOG_ROTATE_FAILED") && log.contains("SSH_AUTH_SUCCESSFUL")
    })
    .await;

    // A syslog daemon that is gone is waited for.
    let socket = world.folder().join("dev-log");
    let daemon = UnixDatagram::bind(&socket).expect("a socket");
    restart(&mut world, json!({"destination": "syslog", "level": "info", "syslog": {"destination": socket}})).await;
    drop(daemon);
    fs::remove_file(&socket).expect("gone");
    world.gateway.signal("HUP");
    world.ssh().run("true").await.expect(0);
    let daemon = UnixDatagram::bind(&socket).expect("a socket");
    daemon.set_nonblocking(true).expect("a socket");
    world.gateway.signal("HUP");
    let mut lines = Vec::new();
    until(|| {
        let mut line = [0; 8192];
        while let Ok(length) = daemon.recv(&mut line) {
            lines.push(String::from_utf8_lossy(&line[..length]).into_owned());
        }
        lines.iter().any(|line| line.contains(" ContainerSSH: {\"code\":\"SSH_AUTH_SUCCESSFUL\""))
    })
    .await;
    // `auth` (4) times 8, and info (6).
    let line = lines.iter().find(|line| line.contains("SSH_AUTH_SUCCESSFUL"));
    assert!(line.is_some_and(|line| line.starts_with("<38>")), "{lines:?}");
}

/// Waits until something holds that tells nobody when it does.
async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, waiting).await.expect("in time");
}

/// Starts the world's gateway again, with another log.
async fn restart(world: &mut World, log: Value) {
    let (_held, port) = held_port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let config = changed(world, "restarted.json", |config| {
        config["log"] = log;
        config["ssh"]["listen"] = address.to_string().into();
    });
    world.gateway = Gateway::start_at(&config, address);
    world.know(world.port());
    until(|| std::net::TcpStream::connect(address).is_ok()).await;
}
