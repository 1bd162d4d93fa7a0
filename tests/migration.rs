//! From ContainerSSH: its flags, its files of every age, what they are rewritten to, and the hour in which an operator
//! moves over, as `docs/migration.md` has it.

use crate::configuration::{hand_written, minimal, of_the_world, podgate};
use crate::support::World;
use crate::support::client::Client;
use crate::support::cluster::image;
use crate::support::gateway::{Gateway, SOON};
use crate::support::leash;
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, empty_config, success};
use crate::support::world::{PASSWORD, merge};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

const PAGE: &str = include_str!("../docs/migration.md");

#[tokio::test]
async fn file_whose_meaning_cannot_be_kept_is_refused_and_nothing_is_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("old.yaml");
    for (text, told) in [
        ("backend: docker\ndocker: {execution: {mode: session}}\n", "backend: docker is not built yet"),
        ("backend: dockerrun\ndockerrun: {config: {}}\n", "write backend: kubernetes"),
        ("dockerrun: {config: {container: {image: a}}}\n", "backend: is not set, which was Docker"),
        ("backend: sshproxy\nsshproxy: {server: a}\n", "backend: sshproxy is not built yet"),
        (
            "backend: kuberun\nkuberun: {connection: {insecure: true}}\n",
            "kuberun.connection.insecure: certificates are",
        ),
        ("backend: [", "cannot be parsed"),
    ] {
        fs::write(&file, text).expect("a file");
        let ran = podgate(&["migrate", &file.to_string_lossy()]).await;
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(64), ""), "{text}: {}", ran.stderr);
        assert!(ran.stderr.contains(told), "{text}: {}", ran.stderr);
    }
    let ran = podgate(&["migrate"]).await;
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(64), ""));
}

/// A file of 0.3's time, with what that one wrote and what people wrote.
const OLD: &str = "
listen: 127.0.0.1:2022
ssh: {hostkeys: [/etc/containerssh/hostkey], macs: [hmac-sha2-256-etm@openssh.com, hmac-sha2-256, hmac-sha1, hmac-sha1-96]}
auth: {url: 'http://127.0.0.1:8080', timeout: 2s, cacert: '', password: true, pubkey: false}
configserver: {url: ''}
backend: kuberun
dockerrun: {host: 'unix:///var/run/docker.sock', config: {container: {image: a}}}
kuberun:
  connection: {host: kubernetes.default.svc, insecure: false, certFile: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt, timeout: 0s}
  pod:
    namespace: guests
    podSpec: {initcontainers: [], containers: [{name: shell, image: 'a:1', imagepullpolicy: Never, env: []}], restartpolicy: ''}
    disableCommand: true
  timeout: 1m0s
log: {level: info}
";

const REWRITTEN: &str = "\
ssh:
  hostkeys:
  - /etc/containerssh/hostkey
  listen: 127.0.0.1:2022
  macs:
  - hmac-sha2-256-etm@openssh.com
  - hmac-sha2-256
  - hmac-sha1
  - hmac-sha1-96
configserver:
  url: \"\"
auth:
  password:
    method: webhook
    webhook:
      cacert: \"\"
      timeout: 2s
      url: http://127.0.0.1:8080
log:
  level: info
security:
  command:
    mode: disable
  subsystem:
    mode: disable
backend: kubernetes
kubernetes:
  connection:
    cacertFile: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
    host: kubernetes.default.svc
  pod:
    disableAgent: true
    metadata:
      namespace: guests
    mode: session
    shellCommand: []
    spec:
      containers:
      - env: []
        image: a:1
        imagePullPolicy: Never
        name: shell
      initContainers: []
      restartPolicy: \"\"
  timeouts:
    commandStart: 1m0s
    podStart: 1m0s
    podStop: 1m0s
    signal: 1m0s
    window: 1m0s
";

#[tokio::test]
async fn old_file_is_rewritten_and_what_changed_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("old.yaml");
    fs::write(&file, OLD).expect("a file");
    let ran = podgate(&["migrate", &file.to_string_lossy()]).await;
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(1), REWRITTEN), "{}", ran.stderr);
    for told in [
        "changed: listen is now ssh.listen",
        "changed: auth.url is now auth.password.webhook.url",
        "changed: auth.pubkey is now a missing auth.publicKey",
        "changed: backend is now backend: kubernetes with kubernetes.pod.mode: session",
        "changed: kuberun.connection.certFile is now kubernetes.connection.cacertFile",
        "changed: kuberun.connection.insecure is left out: certificates are always verified",
        "changed: kuberun.connection.timeout is left out: 0 meant no limit",
        "changed: kuberun.pod.namespace is now kubernetes.pod.metadata.namespace",
        "changed: kuberun.pod.podSpec is now kubernetes.pod.spec",
        "changed: kuberun.pod.disableCommand is now security.command.mode: disable and security.subsystem.mode: disable",
        "changed: kuberun.timeout is now kubernetes.timeouts.podStart, kubernetes.timeouts.podStop",
        "changed: dockerrun is left out",
        "to decide: kubernetes.pod.mode: ",
        "to decide: auth: since 0.4, requests to webhooks use POST",
        "to fix: ssh.hostkeys[0]: cannot read the file \"/etc/containerssh/hostkey\"",
        "comments are not copied",
    ] {
        assert!(ran.stderr.contains(told), "{told:?} is not in\n{}", ran.stderr);
    }
    let again = folder.path().join("new.yaml");
    fs::write(&again, &ran.stdout).expect("a file");
    let twice = podgate(&["migrate", &again.to_string_lossy()]).await;
    assert_eq!((twice.status, twice.stdout), (Some(1), ran.stdout));
    assert!(!twice.stderr.contains("changed: "), "{}", twice.stderr);
}

#[tokio::test]
async fn file_of_a_pod_is_to_be_checked_there_and_is_no_mistake_here() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("old.yaml");
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let mut config = minimal(folder.path());
    let connection = json!({
        "bearerTokenFile": format!("{account}/token"), "cacertFile": format!("{account}/ca.crt"),
    });
    config["kubernetes"]["connection"] = connection;
    fs::write(&file, config.to_string()).expect("a file");
    let ran = podgate(&["migrate", &file.to_string_lossy()]).await;
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(!ran.stdout.is_empty() && !ran.stderr.contains("to fix: "), "{}", ran.stderr);
    for key in ["bearerTokenFile", "cacertFile"] {
        let told =
            format!("to check where the gateway runs: kubernetes.connection.{key}: cannot read the file \"{account}/");
        assert!(ran.stderr.contains(&told), "{told:?} is not in\n{}", ran.stderr);
    }
    let checked = podgate(&["--config", &file.to_string_lossy(), "--check-config"]).await;
    assert_eq!(checked.status, Some(64), "{}", checked.stdout);
    assert!(checked.stderr.contains("Kubernetes mounts it into the gateway's pod"), "{}", checked.stderr);
    // A file of the operator's own is one of this machine.
    config["kubernetes"]["connection"]["cacertFile"] = json!("/nowhere/ca.crt");
    fs::write(&file, config.to_string()).expect("a file");
    let ran = podgate(&["migrate", &file.to_string_lossy()]).await;
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("to fix: kubernetes.connection.cacertFile: cannot read"), "{}", ran.stderr);
}

#[tokio::test]
async fn refused_file_is_told_with_everything_else_that_is_refused_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("old.yaml");
    let mut config = minimal(folder.path());
    merge(
        &mut config,
        json!({
            "backend": "docker", "docker": {"execution": {"mode": "session"}}, "audit": {"enable": true, "storage": "s3"},
            "auth": {
                "password": {"webhook": {"insecure": true}},
                "keyboardInteractive": {"method": "oauth2", "oauth2": {"provider": "github"}},
            },
        }),
    );
    fs::write(&file, config.to_string()).expect("a file");
    let ran = podgate(&["migrate", &file.to_string_lossy()]).await;
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(64), ""), "{}", ran.stderr);
    for told in [
        "\nbackend: docker is not built yet",
        "to fix: audit.storage: ",
        "to fix: auth.password.webhook.insecure: certificates are always verified",
        "to fix: auth.keyboardInteractive",
    ] {
        assert!(ran.stderr.contains(told), "{told:?} is not in\n{}", ran.stderr);
    }
    for empty in ["", "# nothing\n", "{}"] {
        fs::write(&file, empty).expect("a file");
        let ran = podgate(&["migrate", &file.to_string_lossy()]).await;
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(64), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("the file is empty: there is nothing to rewrite"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn what_was_read_of_a_pod_is_told_and_written_as_it_was_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("old.yaml");
    let old = "\
ssh: {hostkeys: [/etc/containerssh/hostkey]}
backend: kubernetes
kubernetes:
  pod:
    idleCommand: [sleep, 3600]
    metadata: {labels: {version: 1.10}}
    spec:
      containers:
      - {name: shell, image: a, TTY: yes, env: [{name: PORT, value: 8080}], comand: [a]}
";
    fs::write(&file, old).expect("a file");
    let ran = podgate(&["migrate", &file.to_string_lossy()]).await;
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    let first = "kubernetes.pod.spec.containers[0]";
    for told in [
        "changed: kubernetes.pod.idleCommand[1] is read as if it were in quotes".to_owned(),
        format!("changed: {first}.TTY is read as tty\n"),
        format!("changed: {first}.TTY is read as true\n"),
        format!("changed: {first}.env[0].value is read as if it were in quotes"),
        "to decide: kubernetes.pod.metadata.labels.version: is read as if it were in quotes".to_owned(),
        format!("to fix: {first}.comand: is unknown to Kubernetes (up to 1.37); did you mean \"command\"?\n"),
    ] {
        assert!(ran.stderr.contains(&told), "{told:?} is not in\n{}", ran.stderr);
    }
    for line in
        ["    - \"3600\"\n", "        version: \"1.10\"\n", "          value: \"8080\"\n", "        tty: true\n"]
    {
        assert!(ran.stdout.contains(line), "{line:?} is not in\n{}", ran.stdout);
    }
    let again = folder.path().join("new.yaml");
    fs::write(&again, &ran.stdout).expect("a file");
    let twice = podgate(&["migrate", &again.to_string_lossy()]).await;
    assert_eq!((twice.status, twice.stdout), (Some(1), ran.stdout));
    assert!(!twice.stderr.contains("changed: ") && !twice.stderr.contains("to decide: "), "{}", twice.stderr);
}

#[tokio::test]
async fn containersshs_flags_are_taken_with_one_dash() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = minimal(folder.path());
    merge(&mut config, json!({"kubernetes": {"connection": {"bearerToken": "s3cret"}}}));
    let file = folder.path().join("config.yaml");
    fs::write(&file, config.to_string()).expect("a file");
    let file = file.to_string_lossy();
    let dumped = podgate(&["-config", &file, "-dump-config"]).await;
    assert_eq!((dumped.status, dumped.stderr.as_str()), (Some(0), ""));
    assert!(
        dumped.stdout.contains("podStart: 1m0s") && dumped.stdout.contains("bearerToken: masked"),
        "{}",
        dumped.stdout
    );
    let again = folder.path().join("dumped.yaml");
    fs::write(&again, &dumped.stdout).expect("a file");
    let checked = podgate(&[&format!("-config={}", again.display()), "--check-config"]).await;
    assert_eq!(
        (checked.status, checked.stdout.as_str()),
        (Some(0), "the configuration is valid\n"),
        "{}",
        checked.stderr
    );
    let licences = podgate(&["-licenses"]).await;
    let text = concat!(include_str!("../LICENSE"), include_str!("../THIRD-PARTY.txt"));
    assert_eq!((licences.status, licences.stdout.as_str()), (Some(0), text));
    let missing = podgate(&["-dump-config", "-config", "/nowhere/config.yaml"]).await;
    assert_eq!((missing.status, missing.stdout.as_str()), (Some(64), ""));
}

/// A host key as ContainerSSH makes it, or in another form of PEM.
async fn host_key(folder: &Path, arguments: &[&str]) -> (String, String) {
    let file = folder.join(format!("hostkey{}", arguments.concat()));
    let mut make = leash::program("ssh-keygen");
    make.args(arguments).args(["-q", "-N", "", "-f"]).arg(&file);
    assert!(make.status().await.expect("ssh-keygen").success());
    let public = fs::read_to_string(file.with_extension("pub")).expect("the public key");
    (fs::read_to_string(&file).expect("the key"), public)
}

/// The file that ContainerSSH wrote back, its addresses, names and files those of a world, its host key one like its own.
fn written_back(world: &World, key: &str) -> String {
    let folder = world.folder();
    let sample = of_the_world(world, include_str!("data/config-written-back.yaml"))
        .replace(
            "(here: a PKCS#1 PEM block, \"BEGIN RSA PRIVATE KEY\", 4096 bits)",
            &key.trim_end().replace('\n', "\n          "),
        )
        .replace("exposeAuthMetadataAsEnv: null", "exposeAuthMetadataAsEnv: null\n        disableAgent: true");
    let sample = if world.connection["cert"].is_string() {
        sample
    } else {
        sample
            .replace("certFile: /etc/containerssh/admin.crt", "certFile: \"\"")
            .replace("keyFile: /etc/containerssh/admin.key", "keyFile: \"\"")
            .replace("bearerTokenFile: \"\"", "bearerTokenFile: /etc/containerssh/token")
    };
    ["ca.crt", "admin.crt", "admin.key", "token"].iter().fold(sample, |sample, name| {
        sample.replace(&format!("/etc/containerssh/{name}"), &folder.join(name).to_string_lossy())
    })
}

#[podgate_test::multi_thread]
async fn written_back_sample_serves_a_login() {
    let mut world = World::start().await;
    let (key, public) = host_key(world.folder(), &["-t", "rsa", "-b", "4096", "-m", "PEM"]).await;
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----"), "{key}");
    let file = world.folder().join("written-back.yaml");
    fs::write(&file, written_back(&world, &key)).expect("a file");
    world.gateway = Gateway::start(&file).await;
    let warnings: Vec<_> = world.gateway.lines("CORE_CONFIG_NOTICE");
    assert!(warnings.is_empty(), "{warnings:?}");
    fs::write(world.known_hosts(), format!("[127.0.0.1]:{} {public}", world.port())).expect("known_hosts");
    assert_eq!(world.ssh_with_password("alice", PASSWORD).run("echo in").await.expect(0).text(), "in\n");
}

#[podgate_test::multi_thread]
async fn host_keys_are_taken_inline_in_every_form() {
    for arguments in [
        &["-t", "rsa", "-b", "2048", "-m", "PKCS8"][..],
        &["-t", "rsa", "-b", "2048"],
        &["-t", "ed25519"],
        &["-t", "ecdsa", "-m", "PEM"],
    ] {
        let mut world = World::start().await;
        let (key, public) = host_key(world.folder(), arguments).await;
        let mut config = crate::support::world::usual_config(
            (&world.connection, world.namespace()),
            &world.key,
            &world.webhooks.url,
        );
        config["ssh"]["hostkeys"] = json!([format!("\n{}", key.trim_end().replace('\n', "\r\n"))]);
        let file = world.folder().join("inline.json");
        fs::write(&file, config.to_string()).expect("a file");
        world.gateway = Gateway::start(&file).await;
        fs::write(world.known_hosts(), format!("[127.0.0.1]:{} {public}", world.port())).expect("known_hosts");
        assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n", "{arguments:?}");
    }
}

/// A file of kuberun's for a world.
fn kuberun(world: &World) -> Value {
    let mut connection = world.connection.clone();
    merge(&mut connection, json!({"insecure": false, "timeout": "0s", "qps": 5}));
    json!({
        "listen": "127.0.0.1:0", "log": {"level": "info"},
        "ssh": {"hostkeys": [world.folder().join("host")]},
        "auth": {"url": world.webhooks.url, "timeout": "2s", "cacert": "", "password": true, "pubkey": true},
        "backend": "kuberun",
        "kuberun": {"connection": connection, "timeout": "1m0s", "pod": {
            "namespace": world.namespace(), "consoleContainerNumber": 0, "disableCommand": false,
            "podSpec": {"initcontainers": [], "containers": [{
                "name": "shell", "image": image(), "imagepullpolicy": "IfNotPresent", "volumemounts": [], "env": [],
            }], "restartpolicy": "Always"},
        }},
    })
}

#[podgate_test::multi_thread]
async fn kuberuns_file_and_an_answer_in_its_words_serve_logins() {
    let strict =
        json!({"backend": "kuberun", "kuberun": {"connection": {"host": ""}, "pod": {"disableCommand": true}}});
    let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
        "/config" if asked.body["username"] == "bob" => Reply::Json(json!({"config": strict})),
        "/config" => empty_config(),
        _ => success(),
    })
    .await;
    let mut world = World::start().await;
    let mut config = kuberun(&world);
    config["configserver"] = script.config()["configserver"].clone();
    world.keep(script);
    let file = world.folder().join("kuberun.json");
    fs::write(&file, config.to_string()).expect("a file");
    world.gateway = Gateway::start(&file).await;
    let warned = world.gateway.lines("CORE_CONFIG_NOTICE");
    let keys: Vec<_> = warned.iter().map(|line| line["details"]["key"].as_str().expect("a key")).collect();
    assert_eq!(keys, ["auth", "kuberun", "listen"]);
    world.know(world.port());
    let refused = world.ssh_as("bob").run("echo in").await;
    assert!(refused.status != 0 && refused.text().is_empty(), "{refused:?}");
    let told = world.gateway.wait_for(|line| line["details"]["keys"].is_string()).await;
    assert!(told["details"]["keys"].as_str().expect("a text").contains("kuberun.pod.disableCommand is now"), "{told}");
    assert_eq!(world.ssh().run("echo in; exit 3").await.expect(3).text(), "in\n");
    world.wait_for_nothing().await;
}

/// A folder of programs with these names: the gateway's own binary, and an `ssh` that knows the world.
fn programs(world: &World) -> String {
    let folder = world.folder().join("bin");
    fs::create_dir(&folder).expect("a folder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_podgate"), folder.join("podgate")).expect("a link");
    let ssh = format!(
        "#!/bin/sh\nPATH=${{PATH#*:}} exec ssh -F none -o IdentitiesOnly=yes -o IdentityFile={} -o IdentityAgent=none -o \
         UserKnownHostsFile={} -o StrictHostKeyChecking=yes -o LogLevel=ERROR \"$@\"\n",
        world.key.file.display(),
        world.known_hosts().display()
    );
    fs::write(folder.join("ssh"), ssh).expect("a program");
    fs::set_permissions(folder.join("ssh"), fs::Permissions::from_mode(0o755)).expect("its mode");
    format!("{}:{}", folder.display(), std::env::var("PATH").expect("PATH"))
}

/// A command line as it stands in the page.
fn command(line: &str, world: &World, path: &str) -> Command {
    let mut command = leash::program("/bin/sh");
    command.args(["-c", &format!("exec {line}")]).current_dir(world.folder()).env("PATH", path);
    command
}

#[podgate_test::multi_thread]
async fn operators_hour_ends_in_a_login_after_at_most_five_commands() {
    let world = World::start().await;
    // An operator has a file of 0.6 and the webhooks. Only the port is chosen by the system here.
    fs::write(world.folder().join("config.yaml"), hand_written(&world)).expect("a file");
    let path = programs(&world);

    let hour =
        PAGE.split("## Migration steps").nth(1).and_then(|rest| rest.split("```sh\n").nth(1)).expect("the commands");
    let lines: Vec<_> = hour.split("```").next().expect("their end").lines().collect();
    assert!(lines.len() <= 5, "{lines:?}");
    let (mut server, mut seen, mut port) = (None, String::new(), String::new());
    for line in lines {
        // The page's gateway is elsewhere and on the usual port.
        let line = line.replace("-p 2222", &format!("-p {port}")).replace("gateway.example", "127.0.0.1");
        let client = Client::of(command(&line, &world, &path));
        if line == "podgate --config podgate.yaml" {
            let mut child = client.spawn();
            let mut log = BufReader::new(child.stdout.take().expect("a pipe")).lines();
            let listening = async {
                while let Some(line) = log.next_line().await.expect("its log") {
                    let line: Value = serde_json::from_str(&line).expect("JSON");
                    if line["code"] == "SSH_AVAILABLE" {
                        return line["details"]["address"].as_str().expect("an address").to_owned();
                    }
                }
                panic!("the gateway ended");
            };
            let address = timeout(SOON, listening).await.expect("it listens");
            port = address.rsplit(':').next().expect("a port").to_owned();
            world.know(port.parse().expect("a port"));
            server = Some((child, log));
        } else {
            let done = client.stdin("echo in $((40 + 2))\n").finish().await.expect(0);
            seen.extend([done.text(), done.stderr]);
        }
    }
    assert!(seen.contains("the configuration is valid") && seen.ends_with("in 42\n"), "{seen}");
    let (mut server, _log) = server.expect("the page starts the gateway");
    server.kill().await.expect("its end");
}
