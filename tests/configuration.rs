//! The gateway's own binary and its configuration: what it says about itself, what it refuses to start with, and what it
//! says about settings that are wrong for one connection.

mod connections;
mod credentials;
mod material;

use crate::support::cluster::image;
use crate::support::gateway::SOON;
use crate::support::keys::Key;
use crate::support::leash;
use crate::support::scripted_webhook::Authority;
use crate::support::world::{PASSWORD, merge};
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::time::timeout;

/// The result of a run of the binary.
pub struct Ran {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the binary, which must end by itself.
pub async fn podgate(arguments: &[&str]) -> Ran {
    let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
    let output = command.args(arguments).kill_on_drop(true).output();
    let output = timeout(SOON, output).await.expect("it ends by itself").expect("the gateway's binary");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Checks a configuration, and shows what it says about it.
async fn check(folder: &Path, config: &str) -> Ran {
    let file = folder.join("checked.yaml");
    fs::write(&file, config).expect("a file");
    podgate(&["--config", &file.to_string_lossy(), "--check-config"]).await
}

/// The smallest configuration that is whole.
pub fn minimal(folder: &Path) -> Value {
    let key = Key::make(folder, "hostkey");
    json!({
        "ssh": {"listen": "127.0.0.1:0", "hostkeys": [key.file]},
        "auth": {"password": {"method": "webhook", "webhook": {"url": "http://127.0.0.1:1"}}},
        "backend": "kubernetes",
        "kubernetes": {"pod": {"disableAgent": true}},
    })
}

#[tokio::test]
async fn command_line_says_what_it_is_and_refuses_what_it_is_not() {
    let ran = podgate(&["--version"]).await;
    assert_eq!((ran.status, ran.stdout), (Some(0), format!("podgate {}\n", env!("CARGO_PKG_VERSION"))));
    let ran = podgate(&["--confg", "x"]).await;
    assert_eq!(ran.status, Some(64));
    assert!(ran.stderr.contains("--config"), "{}", ran.stderr);
    let ran = podgate(&["--config", "/nowhere/podgate.yaml"]).await;
    assert_eq!(ran.status, Some(64));
    assert!(ran.stderr.contains("/nowhere/podgate.yaml"), "{}", ran.stderr);
}

#[tokio::test]
async fn check_names_every_error_of_a_file_in_one_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = minimal(folder.path());
    let wrong = json!({
        "ssh": {"baner": "hello"},
        "auth": {"password": {"webhook": {"timeout": "soon", "insecure": true}}},
        "security": {"maxSessions": "many", "tty": {"mode": "maybe"}},
        "kubernetes": {
            "connection": {"insecure": true},
            "pod": {"metadata": {"namespace": "No_Label"}, "spec": {"containers": []}, "consoleContainerNumber": "one"},
        },
    });
    merge(&mut config, wrong);
    let ran = check(folder.path(), &config.to_string()).await;
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(64), ""));
    for (path, text) in [
        ("ssh.baner", "did you mean \"banner\"?"),
        ("auth.password.webhook.timeout", ""),
        ("auth.password.webhook.insecure", ""),
        ("security.maxSessions", ""),
        ("security.tty.mode", ""),
        ("kubernetes.connection.insecure", ""),
        ("kubernetes.pod.metadata.namespace", "DNS label"),
        ("kubernetes.pod.spec.containers", "at least one container"),
        ("kubernetes.pod.consoleContainerNumber", ""),
    ] {
        let named = ran.stderr.lines().any(|line| line.contains(path) && line.contains(text));
        assert!(named, "{path}: {text:?} is not in\n{}", ran.stderr);
    }
}

#[tokio::test]
async fn check_names_a_host_key_that_nobody_can_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = minimal(folder.path());
    let none = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    config["ssh"]["hostkeys"].as_array_mut().expect("a list").push(json!(none));
    let ran = check(folder.path(), &config.to_string()).await;
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(64), ""));
    assert!(ran.stderr.contains("ssh.hostkeys[1]: not a usable private key"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hostkeys[0]"), "{}", ran.stderr);
}

#[tokio::test]
async fn check_finds_without_a_cluster_what_a_strict_api_server_would_refuse() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = minimal(folder.path());
    let container = json!({
        "name": "shell", "image": "i", "imagePullPolice": "Always", "imagepullpolicy": "Always", "command": "sleep",
        "env": [{"name": "PORT", "value": 8080}, {"name": "VERSION", "value": 1.0}], "ports": [{"containerPort": "80"}],
    });
    merge(
        &mut config,
        json!({"kubernetes": {"pod": {"spec": {"containers": [container]}, "metadata": {"label": {}}}}}),
    );
    let ran = check(folder.path(), &config.to_string()).await;
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(64), ""));
    let first = "kubernetes.pod.spec.containers[0]";
    for line in [
        "kubernetes.pod.metadata.label: is unknown to Kubernetes (up to 1.37); did you mean \"labels\"?".to_owned(),
        format!("{first}.command: must be a list, not a string"),
        format!("{first}.env[1].value: is read as if it were in quotes"),
        format!("{first}.imagePullPolice: is unknown to Kubernetes (up to 1.37); did you mean \"imagePullPolicy\"?"),
        format!("{first}.ports[0].containerPort: must be an integer, not a string"),
    ] {
        assert!(ran.stderr.lines().any(|told| told.starts_with(&line)), "{line:?} is not in\n{}", ran.stderr);
    }
    assert_eq!(ran.stderr.lines().count(), 6, "{}", ran.stderr);
}

#[tokio::test]
async fn check_says_what_it_understood_of_a_pod_that_containerssh_took() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = minimal(folder.path());
    config.as_object_mut().expect("a mapping").remove("kubernetes");
    let pod = "
kubernetes:
  pod:
    disableAgent: yes
    idleCommand: [sleep, 3600]
    metadata:
      annotations: {note: false}
    spec:
      containers:
      - name: shell
        image: i
        imagePullpolicy: Never
        tty: yes
        env:
        - name: PORT
          value: 8080
";
    let mut file = String::new();
    for (key, value) in config.as_object().expect("a mapping") {
        file.push_str(&format!("{key}: {value}\n"));
    }
    let ran = check(folder.path(), &(file + pod)).await;
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
    let written = "is read as if it were in quotes";
    for (path, told) in [
        ("disableAgent", "is read as true"),
        ("idleCommand[1]", written),
        ("metadata.annotations.note", written),
        ("spec.containers[0].env[0].value", written),
        ("spec.containers[0].imagePullpolicy", "is read as imagePullPolicy"),
        ("spec.containers[0].tty", "is read as true"),
    ] {
        let line = format!("warning: kubernetes.pod.{path}: {told}\n");
        assert!(ran.stdout.contains(&line), "{line:?} is not in\n{}", ran.stdout);
    }
    assert!(ran.stdout.ends_with("the configuration is valid\n"), "{}", ran.stdout);
}

#[tokio::test]
async fn check_of_a_good_file_lists_what_has_no_effect() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = minimal(folder.path());
    merge(&mut config, json!({"configserver": {"timeout": "2s"}}));
    let ran = check(folder.path(), &config.to_string()).await;
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.contains("no effect: configserver.url"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("the configuration is valid\n"), "{}", ran.stdout);
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_start_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    for (change, told) in [
        (json!({"ssh": {"hostkeys": null}}), "ssh-keygen -t ed25519"),
        (json!({"ssh": {"hostkeys": ["/nowhere/key"]}}), "/nowhere/key"),
        (json!({"backend": "podman"}), "backend"),
        (json!({"backend": "docker"}), "docker"),
        (json!({"backend": null}), "backend"),
        (json!({"auth": {"password": null}}), "no way to log in"),
        (json!({"auth": {"password": {"webhook": {"url": "http://auth.example"}}}}), "allowPlaintext"),
        (
            json!({"auth": {"password": {"webhook": {"url": "https://auth.example", "insecureSkipVerify": true}}}}),
            "insecureSkipVerify",
        ),
        (json!({"kubernetes": {"pod": {"mode": "persistent"}}}), "kubernetes.pod.metadata.name"),
        (json!({"geoip": {"provider": "maxmind", "maxmind-geoip2-file": "/nowhere"}}), "geoip.maxmind-geoip2-file"),
    ] {
        let mut config = minimal(folder.path());
        merge(&mut config, change.clone());
        let ran = check(folder.path(), &config.to_string()).await;
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(64), ""), "{change}: {}", ran.stderr);
        assert!(ran.stderr.contains(told), "{told:?} is not in {}", ran.stderr);
    }
}

#[podgate_test::multi_thread]
async fn start_that_fails_is_told_in_a_sentence_and_ends_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (change, told) in [
        (json!({"ssh": {"listen": address}}), format!("ssh.listen: cannot listen on {address}: ")),
        (
            json!({"log": {"destination": "file", "file": "/nowhere/log"}}),
            "log.file: /nowhere/log cannot be opened: ".into(),
        ),
        (
            json!({"log": {"destination": "syslog", "syslog": {"destination": "/nowhere/log"}}}),
            "log.syslog.destination: /nowhere/log cannot be written to: ".into(),
        ),
    ] {
        let mut config = minimal(folder.path());
        merge(&mut config, change);
        let file = folder.path().join("podgate.json");
        fs::write(&file, config.to_string()).expect("a file");
        let ran = podgate(&["--config", &file.to_string_lossy()]).await;
        assert_eq!(ran.status, Some(1), "{}", ran.stderr);
        let line: Value = serde_json::from_str(&ran.stderr).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr));
        assert_eq!((&line["level"], &line["code"]), (&json!("crit"), &json!("CORE_START_FAILED")));
        assert!(line["message"].as_str().is_some_and(|text| text.starts_with(&told)), "{line}");
        config["log"]["format"] = json!("text");
        fs::write(&file, config.to_string()).expect("a file");
        let ran = podgate(&["--config", &file.to_string_lossy()]).await;
        assert!(ran.stderr.contains(&format!("\tcrit\t{told}")) && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    }
}

#[tokio::test]
async fn check_finds_directories_that_the_start_could_not_use_and_makes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    fs::write(path("file"), "").expect("a file");
    let keys = |directory: &str| json!({"ssh": {"hostkeys": null, "hostkeyDirectory": path(directory)}});
    let log = |file: &str| json!({"log": {"destination": "file", "file": path(file)}});
    for (change, told) in [
        (keys("none/keys"), Some(format!("the directory {:?} is not there; make it (mkdir -p)", path("none")))),
        (keys("file"), Some("cannot be used: ".to_owned())),
        (keys("file/keys"), Some("cannot be used: ".to_owned())),
        (log("none/log"), Some(format!("is the directory {} there?", path("none")))),
        (log(""), Some("cannot be opened: ".to_owned())),
        (keys("keys"), None),
        (log("log"), None),
    ] {
        let mut config = minimal(folder.path());
        merge(&mut config, change);
        let file = folder.path().join("podgate.json");
        fs::write(&file, config.to_string()).expect("a file");
        let ran = podgate(&["--config", &file.to_string_lossy(), "--check-config"]).await;
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.status, Some(if told.is_some() { 64 } else { 0 }), "{said}");
        assert!(told.is_none_or(|told| said.contains(&told)), "{said}");
    }
    assert!(!folder.path().join("keys").exists() && !folder.path().join("log").exists());
}

#[podgate_test::multi_thread]
async fn check_and_start_find_every_key_that_is_not_its_certificates_and_end_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, other) = (Authority::new(), Authority::new());
    let ((certificate, _), (_, key)) = (ours.issue("localhost"), other.issue("localhost"));
    let client = json!({"url": "https://localhost:1", "cacert": ours.pem(), "cert": certificate, "key": key});
    let mut config = minimal(folder.path());
    merge(
        &mut config,
        json!({
            "auth": {"password": {"method": "webhook", "webhook": client}, "authz": {"method": "webhook", "webhook": client}},
            "configserver": client,
            "metrics": {"enable": true, "listen": "127.0.0.1:0", "cert": certificate, "key": key},
        }),
    );
    let file = folder.path().join("podgate.json");
    fs::write(&file, config.to_string()).expect("a file");
    let file = file.to_string_lossy();
    let check = podgate(&["--config", &file, "--check-config"]).await;
    let start = podgate(&["--config", &file]).await;
    assert_eq!((check.status, &check.stderr), (Some(64), &start.stderr));
    assert_eq!(start.status, check.status);
    for section in ["auth.password.webhook", "auth.authz.webhook", "configserver", "metrics"] {
        let told = format!("{section}.key: does not match the certificate");
        assert!(check.stderr.contains(&told), "{told:?} is not in\n{}", check.stderr);
    }
}

/// A sample with a world's addresses and names. The files of the world's cluster are in its folder then: `ca.crt`, and
/// `admin.crt` with `admin.key` or `token`.
pub fn of_the_world(world: &World, sample: &str) -> String {
    let connection = |key: &str| world.connection[key].as_str().expect("a text");
    let keys = [("cacert", "ca.crt"), ("cert", "admin.crt"), ("key", "admin.key"), ("bearerToken", "token")];
    for (key, name) in keys.into_iter().filter(|(key, _)| world.connection[key].is_string()) {
        let file = world.folder().join(name);
        fs::write(&file, connection(key)).expect("a file");
        fs::set_permissions(file, Permissions::from_mode(0o600)).expect("a mode");
    }
    sample
        .replace("127.0.0.1:2222", "127.0.0.1:0")
        .replace("http://127.0.0.1:8080", &world.webhooks.url)
        .replace("10.99.0.2:6443", connection("host"))
        .replace("namespace: default", &format!("namespace: {}", world.namespace()))
        .replace("local/guest:1", image())
}

/// The hand-written sample, its addresses, names and files those of a world.
pub fn hand_written(world: &World) -> String {
    let folder = world.folder();
    let sample = of_the_world(world, include_str!("data/config-hand-written.yaml"))
        .replace("/etc/containerssh/hostkey", &folder.join("host").to_string_lossy())
        .replace("mode: connection", "mode: connection\n    disableAgent: true");
    let sample = if world.connection["cert"].is_string() {
        sample
    } else {
        sample
            .replace("    certFile: /etc/containerssh/admin.crt\n", "")
            .replace("keyFile: /etc/containerssh/admin.key", "bearerTokenFile: /etc/containerssh/token")
    };
    sample.replace("/etc/containerssh", &folder.to_string_lossy())
}

#[podgate_test::multi_thread]
async fn hand_written_sample_serves_a_login() {
    let mut world = World::start().await;
    let file = world.folder().join("hand-written.yaml");
    fs::write(&file, hand_written(&world)).expect("a file");
    world.serve_from(&file).await;
    assert_eq!(world.ssh_with_password("alice", PASSWORD).run("echo in").await.expect(0).text(), "in\n");
}

#[tokio::test]
async fn written_back_sample_is_refused_only_for_what_it_names_on_this_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = check(folder.path(), include_str!("data/config-written-back.yaml")).await;
    assert_eq!(ran.status, Some(64));
    // Its host key was left out, and its certificates are files of another machine.
    for line in ran.stderr.lines().skip(1) {
        let named = ["ssh.hostkeys[0]", "cacertFile", "certFile", "keyFile"].iter().any(|key| line.contains(key));
        assert!(named, "{line}");
    }
}

#[podgate_test::multi_thread]
async fn banner_and_version_are_sent_as_they_are_written() {
    let world = Setup::config(json!({"ssh": {"banner": "Hello, stranger\n", "serverVersion": "SSH-2.0-Own_1.0 x"}}));
    let world = world.start().await;
    let done = world.ssh().arg("-v").run("true").await.expect(0);
    assert!(done.stderr.contains("Hello, stranger"), "{}", done.stderr);
    let mut stream = tokio::net::TcpStream::connect(world.gateway.address).await.expect("a connection");
    let mut line = vec![0; 19];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut line).await.expect("a line");
    assert_eq!(String::from_utf8_lossy(&line), "SSH-2.0-Own_1.0 x\r\n");
}
