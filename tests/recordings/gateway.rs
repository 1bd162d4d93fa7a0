//! Recordings as a gateway makes them: what they have, and what happens when they cannot be made.

use crate::configuration::podgate;
use crate::recordings::{KEY, key_file};
use crate::support::cluster::on_development;
use crate::support::gateway::Gateway;
use crate::support::peer::{answered, to_the_end};
use crate::support::world::merge;
use crate::support::{Setup, World, agent};
use data_encoding::BASE64;
use russh::Sig;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A folder for recordings, with the key that signs them.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("recordings")).expect("a folder");
    fs::write(folder.path().join("seal"), KEY).expect("a key");
    folder
}

pub fn directory(folder: &TempDir) -> String {
    folder.path().join("recordings").to_string_lossy().into_owned()
}

pub fn audit(folder: &TempDir, intercept: Value) -> Value {
    let key = folder.path().join("seal").to_string_lossy().into_owned();
    json!({"audit": {
        "enable": true, "format": "binary", "storage": "file", "file": {"directory": directory(folder)}, "sealKey": key,
        "intercept": intercept,
    }})
}

pub fn everything() -> Value {
    json!({"stdin": true, "stdout": true, "stderr": true, "forwarding": true})
}

/// The messages of the recording at a path, as `podgate audit decode` prints them.
async fn messages(path: &str) -> Vec<Value> {
    let ran = podgate(&["audit", "decode", path]).await;
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The messages of a connection that is over, whose recording is proven by the hash in the log.
async fn proven(gateway: &Gateway) -> Vec<Value> {
    let line = gateway.wait_for_line("AUDIT_RECORDED").await;
    let of = |name: &str| line["details"][name].as_str().expect("a detail").to_owned();
    assert_eq!(of("sealed"), "true");
    let (path, hash) = (of("path"), of("lastHash"));
    let ran = podgate(&["audit", "verify", "--key", &key_file(), "--hash", &hash, &path]).await;
    assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
    messages(&path).await
}

fn types(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["typeId"].as_str().expect("a type")).collect()
}

fn of_type<'a>(messages: &'a [Value], id: &str) -> Vec<&'a Value> {
    messages.iter().filter(|message| message["typeId"] == id).map(|message| &message["payload"]).collect()
}

/// All the data of a stream.
fn data(messages: &[Value], stream: u64) -> String {
    let pieces = of_type(messages, "io").into_iter().filter(|payload| payload["stream"] == stream);
    let decoded =
        pieces.flat_map(|payload| BASE64.decode(payload["data"].as_str().expect("bytes").as_bytes()).expect("base64"));
    String::from_utf8(decoded.collect()).expect("text")
}

/// The files in the directory, without the chains.
pub fn recordings(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join("recordings")).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path().to_string_lossy().into_owned());
    paths.filter(|path| !path.ends_with(".chain")).collect()
}

#[podgate_test::multi_thread]
async fn connection_whose_recording_cannot_begin_is_refused_unless_best_effort_is_enough() {
    let folder = folder();
    let setup = Setup {
        users: vec![("alice", json!({})), ("bob", json!({"audit": {"onFailure": "required"}}))],
        ..Setup::config(audit(&folder, json!({})))
    };
    let world = setup.start().await;
    // The disk goes.
    fs::remove_dir_all(folder.path().join("recordings")).expect("a directory");
    let refused = world.ssh().run("echo ran").await.expect(255);
    let told = "the gateway cannot record what happens here, and so does not let it happen";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    assert_eq!(refused.text(), "");
    let line = world.gateway.wait_for_line("AUDIT_RECORDING_FAILED").await;
    assert!(line["details"]["reason"].as_str().expect("a reason").contains("No such file"), "{line}");
    let mild = world
        .gateway_with(json!({"audit": {"onFailure": "bestEffort", "file": {"directory": directory_again(&folder)}}}));
    let mild = mild.await;
    fs::remove_dir_all(folder.path().join("recordings")).expect("a directory");
    let served = world.ssh_to(&mild, "alice").run("echo ran").await.expect(0);
    assert_eq!(served.text(), "ran\n");
    let line = mild.wait_for_line("AUDIT_RECORDING_FAILED").await;
    assert_eq!(line["details"]["onFailure"], "bestEffort");
    mild.wait_for_line("SSH_DISCONNECTED").await;
    assert_eq!(mild.lines("AUDIT_RECORDING_FAILED").len(), 1);
    // The config webhook wants more for another.
    let refused = world.ssh_to(&mild, "bob").run("echo ran").await.expect(255);
    assert_eq!(refused.text(), "");
}

/// The directory, made once more.
fn directory_again(folder: &TempDir) -> String {
    fs::create_dir_all(folder.path().join("recordings")).expect("a directory");
    directory(folder)
}

/// Has no file of the gateway's grow beyond so many bytes, as on a disk that is full.
pub fn fill_disk(gateway: &Gateway, bytes: u64) {
    let pid = Pid::from_raw(i32::try_from(gateway.pid()).expect("a pid"));
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    prlimit(pid, Resource::Fsize, limit).expect("a limit");
}

#[podgate_test::multi_thread]
async fn full_disk_ends_a_session_that_must_be_recorded_and_no_other() {
    for (on_failure, status) in [("required", 255), ("bestEffort", 0)] {
        let folder = folder();
        let mut config = audit(&folder, everything());
        config["audit"]["onFailure"] = json!(on_failure);
        let world = Setup::config(config).start().await;
        let mut session = world.ssh().start("echo begun; read line; echo $line; read line");
        session.until_stdout("begun").await;
        fill_disk(&world.gateway, 100);
        session.write("more\n").await;
        let line = world.gateway.wait_for_line("AUDIT_RECORDING_FAILED").await;
        assert!(line["details"]["reason"].as_str().expect("a reason").contains("File too large"), "{line}");
        if status == 0 {
            session.until_stdout("more").await;
            session.end_input();
        }
        let done = session.ended().await;
        // The program has no input that is not recorded.
        assert_eq!(done.text().contains("more"), status == 0, "{}", done.text());
        let told = "podgate: the gateway cannot record what happens here";
        assert_eq!(done.stderr.contains(told), status == 255, "{}", done.stderr);
        assert_eq!(done.status, if status == 0 { 1 } else { status }, "{}", done.stderr);
        let line = world.gateway.wait_for_line("AUDIT_RECORDED").await;
        assert_eq!(line["details"]["sealed"], "false");
        let ran = podgate(&["audit", "verify", "--key", &key_file(), &recordings(&folder)[0]]).await;
        assert_eq!(ran.status, Some(2), "{}", ran.stdout);
    }
}

#[podgate_test::multi_thread]
async fn recording_that_is_removed_or_cut_while_it_is_written_has_failed() {
    for (remove, told) in [(true, "the file was removed"), (false, "the file was changed by somebody else")] {
        let folder = folder();
        let world = Setup::config(audit(&folder, everything())).start().await;
        let mut session = world.ssh().start("echo begun; read line; echo $line");
        session.until_stdout("begun").await;
        let file = &recordings(&folder)[0];
        if remove {
            fs::remove_file(file).expect("gone");
        } else {
            fs::File::options().write(true).open(file).expect("a recording").set_len(20).expect("cut");
        }
        session.write("more\n").await;
        let done = session.ended().await.expect(255);
        assert_eq!(done.text(), "begun\n");
        let line = world.gateway.wait_for_line("AUDIT_RECORDING_FAILED").await;
        assert_eq!(line["details"]["reason"], told, "{line}");
    }
}

#[podgate_test::multi_thread]
async fn what_happens_on_a_connection_is_in_its_recording() {
    let folder = folder();
    let world = Setup::config(audit(&folder, everything())).start().await;
    let told = world.gateway.wait_for_line("AUDIT_ENABLED").await;
    assert_eq!((&told["details"]["format"], &told["details"]["signed"]), (&json!("binary"), &json!("true")), "{told}");
    let ssh = world.ssh().option("SetEnv=LC_PODGATE=yes").stdin("typed\n");
    let done = ssh.run("cat; echo failed >&2; exit 3").await.expect(3);
    assert_eq!(done.text(), "typed\n");
    let messages = proven(&world.gateway).await;
    let ids: Vec<_> = types(&messages).into_iter().filter(|id| *id != "io" && *id != "close_write").collect();
    assert_eq!(ids[..3], ["connect", "auth_pubkey", "auth_pubkey_successful"]);
    // The handshake's has no name in ContainerSSH.
    assert_eq!(ids[3..6], ["invalid", "new_channel_successful", "setenv"]);
    assert_eq!(ids[ids.len() - 4..], ["exec", "exit", "close", "disconnect"]);
    assert_eq!(of_type(&messages, "connect"), [&json!({"remoteAddr": "127.0.0.1", "country": "XX"})]);
    let offered = of_type(&messages, "auth_pubkey")[0];
    assert!(offered["username"] == "alice" && offered["key"].as_str().expect("a key").starts_with("ssh-ed25519 "));
    let program = of_type(&messages, "exec")[0];
    assert_eq!(program["program"], "cat; echo failed >&2; exit 3");
    let variables = of_type(&messages, "setenv");
    assert!(variables.iter().any(|set| set["name"] == "LC_PODGATE" && set["value"] == "yes"), "{variables:?}");
    assert_eq!(of_type(&messages, "exit"), [&json!({"exitStatus": 3})]);
    assert_eq!([0, 1, 2].map(|stream| data(&messages, stream)), ["typed\n", "typed\n", "failed\n"]);
    let channels: Vec<_> = messages.iter().map(|message| message["channelId"].clone()).collect();
    assert!(channels[0].is_null() && channels[4] == channels[ids.len() - 4], "{channels:?}");
}

#[podgate_test::multi_thread]
async fn requests_without_an_effect_stand_in_the_recording_as_failed() {
    let folder = folder();
    let world = Setup::config(audit(&folder, json!({}))).start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.signal(Sig::INT).await.expect("a signal");
    channel.exec(true, "read line; exit 3").await.expect("a request");
    assert!(answered(&mut channel).await);
    channel.exec(true, "echo harmless").await.expect("a request");
    assert!(!answered(&mut channel).await);
    channel.set_env(true, "LATE", "yes").await.expect("a request");
    assert!(!answered(&mut channel).await);
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.expect("a request");
    assert!(!answered(&mut channel).await);
    channel.agent_forward(true).await.expect("a request");
    assert!(!answered(&mut channel).await);
    channel.eof().await.expect("an end");
    assert_eq!(to_the_end(&mut channel).await.status, Some(3));
    assert!(peer.handle.tcpip_forward("localhost", 0).await.is_err());
    drop((channel, peer));
    let messages = proven(&world.gateway).await;
    let failed: Vec<_> = of_type(&messages, "request_failed").iter().map(|payload| &payload["requestId"]).collect();
    let number = |id: &str, at: usize| &of_type(&messages, id)[at]["requestId"];
    let requests =
        [number("signal", 0), number("exec", 1), number("setenv", 0), number("pty", 0), number("auth-agent-req", 0)];
    assert!(requests.iter().all(|request| request.is_u64()), "{messages:#?}");
    assert_eq!(failed[..5], requests, "{messages:#?}");
    // That of the connection has no number of its own in its message: it is the next one.
    let next = json!(number("auth-agent-req", 0).as_u64().map(|last| last + 1));
    assert_eq!((failed.len(), failed[5]), (6, &next), "{messages:#?}");
    assert_eq!(of_type(&messages, "exit").len(), 1);
}

#[podgate_test::multi_thread]
async fn port_that_the_guest_chose_is_recorded() {
    let folder = folder();
    let mut config = audit(&folder, json!({}));
    merge(&mut config, json!({"security": {"forwarding": {"reverseForwardingMode": "enable"}}}));
    merge(&mut config, json!({"kubernetes": {"pod": agent::by_default()}}));
    let world = Setup::config(config).start().await;
    let peer = world.peer("alice").await;
    let port = peer.handle.tcpip_forward("localhost", 0).await.expect("a port");
    assert!(peer.handle.cancel_tcpip_forward("localhost", 1).await.is_err());
    drop(peer);
    let messages = proven(&world.gateway).await;
    let ports: Vec<_> = of_type(&messages, "forward_tcpip").iter().map(|payload| &payload["BindPort"]).collect();
    assert_eq!(ports, [&json!(0), &json!(port)]);
    let failed = of_type(&messages, "request_failed");
    assert_eq!(failed, [&json!({"requestId": 2, "reason": "there is no such listener"})]);
}

#[podgate_test::multi_thread]
async fn reason_for_which_the_gateway_ends_a_connection_is_recorded() {
    let folder = folder();
    let world = Setup::config(audit(&folder, json!({}))).start().await;
    let mut session = world.ssh().start("echo begun; read line");
    session.until_stdout("begun").await;
    world.gateway.signal("TERM");
    let messages = proven(&world.gateway).await;
    session.end_input();
    let done = session.ended().await;
    let ended = of_type(&messages, "connection_ended");
    assert_eq!(ended, [&json!({"reason": "the server is shutting down"})], "{messages:#?}");
    assert!(done.stderr.contains("the server is shutting down"), "{}", done.stderr);
}

#[podgate_test::multi_thread]
async fn only_data_that_was_asked_for_is_recorded() {
    let folder = folder();
    let world = Setup::config(audit(&folder, json!({"stdout": true, "stderr": false}))).start().await;
    world.ssh().stdin("typed\n").run("read line; echo shown; echo failed >&2").await.expect(0);
    let messages = proven(&world.gateway).await;
    assert_eq!([0, 1, 2].map(|stream| data(&messages, stream)), ["", "shown\n", ""]);
}

#[podgate_test::multi_thread]
async fn terminal_is_recorded_with_its_size_and_what_it_shows() {
    let folder = folder();
    let world = Setup::config(audit(&folder, json!({"stdout": true}))).start().await;
    let done = world.ssh().arg("-tt").run("stty size; echo $TERM").await.expect(0);
    let messages = proven(&world.gateway).await;
    let terminal = of_type(&messages, "pty")[0];
    let size = format!("{} {}\r\n", terminal["rows"], terminal["columns"]);
    let shown = format!("{size}{}\r\n", terminal["term"].as_str().expect("a name"));
    assert_eq!((done.text(), data(&messages, 1)), (shown.clone(), shown));
}

#[podgate_test::multi_thread]
async fn forwarded_connection_is_recorded_with_its_target_and_data() {
    let folder = folder();
    if !on_development("the target listens on this machine") {
        return;
    }
    let mut config = audit(&folder, json!({"forwarding": true}));
    merge(&mut config, json!({"security": {"forwarding": {"forwardingMode": "enable"}}}));
    let world = Setup::config(config).start().await;
    let served = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = served.local_addr().expect("an address").port();
    let answering = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = served.accept().await.expect("a connection");
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).await.expect("a question");
        stream.write_all(b"pong").await.expect("an answer");
    });

    let done = world.ssh().arg("-W").arg(format!("127.0.0.1:{port}")).arg("127.0.0.1").stdin("ping").finish().await;
    assert_eq!(done.expect(0).text(), "pong");
    answering.await.expect("an answer");
    let messages = proven(&world.gateway).await;
    let asked = of_type(&messages, "new_channel_direct_tcpip")[0];
    assert_eq!((&asked["HostToConnect"], &asked["PortToConnect"]), (&json!("127.0.0.1"), &json!(port)));
    assert_eq!([0, 1].map(|stream| data(&messages, stream)), ["ping", "pong"]);
}

#[podgate_test::multi_thread]
async fn password_is_recorded_only_if_it_is_asked_for() {
    for (passwords, recorded) in [(false, ""), (true, "no such")] {
        let folder = folder();
        let world = Setup::config(audit(&folder, json!({"passwords": passwords}))).start().await;
        world.ssh_with_password("alice", "no such").run("true").await.expect(255);
        let messages = proven(&world.gateway).await;
        for id in ["auth_password", "auth_password_failed"] {
            let attempt = of_type(&messages, id)[0];
            let password = json!(BASE64.encode(recorded.as_bytes()));
            assert_eq!((&attempt["username"], &attempt["password"]), (&json!("alice"), &password), "{id}");
        }
    }
}

#[podgate_test::multi_thread]
async fn connection_without_an_attempt_to_log_in_leaves_no_file() {
    let folder = folder();
    let world = Setup::config(audit(&folder, everything())).start().await;
    drop(tokio::net::TcpStream::connect(world.gateway.address).await.expect("a connection"));
    world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    assert_eq!(recordings(&folder), Vec::<String>::new());
}

/// Kills the gateway when the log has that line, and returns the recording.
async fn killed_at(code: &str, command: &str) -> Vec<Value> {
    let folder = folder();
    let world = Setup::config(audit(&folder, everything())).start().await;
    let mut session = world.ssh().start(command);
    world.gateway.wait_for_line(code).await;
    world.gateway.signal("KILL");
    let mut gateway = world.gateway;
    gateway.ended().await;
    session.end_input();
    session.ended().await;
    let path = recordings(&folder).remove(0);
    let ran = podgate(&["audit", "verify", "--key", &key_file(), &path]).await;
    assert_eq!(ran.status, Some(2), "{}", ran.stdout);
    assert!(ran.stdout.contains("not sealed") && ran.stdout.contains("signed by"), "{}", ran.stdout);
    messages(&path).await
}

#[podgate_test::multi_thread]
async fn recording_of_a_killed_gateway_has_every_effect_that_happened() {
    for (code, last) in [
        ("SSH_AUTH_SUCCESSFUL", "auth_pubkey_successful"),
        ("KUBERNETES_POD_CREATE", "invalid"),
        ("SSH_CHANNEL_REQUEST_SUCCESSFUL", "exec"),
    ] {
        let messages = killed_at(code, "read line").await;
        assert!(types(&messages).contains(&last), "{code}: {:?}", types(&messages));
    }
}

#[podgate_test::multi_thread]
async fn configuration_that_records_nothing_or_nowhere_is_told() {
    let folder = folder();
    let world = World::start().await;
    let check = |change: Value| {
        let file = world.config_file(change);
        async move { podgate(&["--config", &file.to_string_lossy(), "--check-config"]).await }
    };
    let with = |section: Value| {
        let mut config = audit(&folder, everything());
        merge(&mut config["audit"], section);
        config
    };
    let missing = folder.path().join("missing");
    fs::write(folder.path().join("none"), "no key").expect("a file");
    let none = folder.path().join("none").to_string_lossy().into_owned();
    for (section, told) in [
        (json!({"file": {"directory": missing.to_string_lossy()}}), "audit.file.directory: "),
        (json!({"sealKey": none}), "audit.sealKey: holds no private key"),
        (json!({"sealKey": missing.to_string_lossy()}), "audit.sealKey: "),
        (json!({"storage": "s3"}), "audit.storage: s3 is not built yet"),
        (json!({"onFailure": "never"}), "audit.onFailure: "),
    ] {
        let ran = check(with(section.clone())).await;
        assert_eq!((ran.status, ran.stderr.contains(told)), (Some(64), true), "{section}: {}", ran.stderr);
    }
    for (section, told) in [
        (json!({"enable": false}), "no effect: audit.enable: is not true"),
        (json!({"sealKey": null}), "warning: audit.sealKey: is not set: whoever can write to the directory can change"),
        (json!({"format": "none"}), "warning: audit.format: is none: nothing is recorded"),
        (json!({"storage": "none"}), "warning: audit.storage: is none: nothing is recorded"),
        (json!({}), "the configuration is valid"),
    ] {
        let ran = check(with(section.clone())).await;
        assert_eq!((ran.status, ran.stdout.contains(told)), (Some(0), true), "{section}: {}{}", ran.stdout, ran.stderr);
    }
    assert!(Path::new(&directory(&folder)).read_dir().expect("a directory").next().is_none());
}
