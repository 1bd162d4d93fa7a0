//! Asciicasts as a gateway makes them: one for each program, which asciinema's player plays.

use super::gateway::{audit, directory, everything, fill_disk, folder, recordings};
use super::key_file;
use crate::configuration::podgate;
use crate::support::Setup;
use crate::support::cluster::on_development;
use crate::support::peer::{answered, to_the_end, until};
use crate::support::world::merge;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use tokio::process::Command;

fn casting(folder: &TempDir, intercept: Value) -> Value {
    let mut config = audit(folder, intercept);
    config["audit"]["format"] = json!("asciinema");
    config
}

/// The lines of a cast; each must be whole.
fn lines(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a cast");
    assert!(text.ends_with('\n'), "{text:?}");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The text of the events of a kind.
fn text(lines: &[Value], kind: &str) -> String {
    let events = lines[1..].iter().filter(|event| event[1] == kind);
    events.map(|event| event[2].as_str().expect("text")).collect()
}

#[podgate_test::multi_thread]
async fn asciicast_that_cannot_begin_stops_the_program_and_not_the_login() {
    let folder = folder();
    let world = Setup::config(casting(&folder, everything())).start().await;
    fs::remove_dir_all(directory(&folder)).expect("a directory");
    let refused = world.ssh().run("echo ran").await.expect(255);
    assert_eq!(refused.text(), "");
    assert!(refused.stderr.contains("the gateway cannot record what happens here"), "{}", refused.stderr);
    world.gateway.wait_for_line("SSH_AUTH_SUCCESSFUL").await;
    let line = world.gateway.wait_for_line("AUDIT_RECORDING_FAILED").await;
    assert!(line["details"]["path"].as_str().expect("a path").ends_with(".cast"), "{line}");
}

#[podgate_test::multi_thread]
async fn each_program_of_a_connection_has_an_asciicast_of_its_own() {
    let folder = folder();
    let world = Setup::config(casting(&folder, everything())).start().await;
    let peer = world.peer("alice").await;
    let (mut first, mut second, silent) = (peer.session().await, peer.session().await, peer.session().await);
    first.request_pty(false, "xterm", 100, 40, 0, 0, &[]).await.expect("a terminal");
    first.exec(true, "echo up; read line; stty size; read line; exit 3").await.expect("a request");
    second.exec(true, "cat; echo failed >&2").await.expect("a request");
    assert!(answered(&mut first).await && answered(&mut second).await);
    // A change before the program runs would be the size in the header.
    until(&mut first, "up").await;
    first.window_change(90, 30, 0, 0).await.expect("a size");
    first.data(&b"one\n"[..]).await.expect("input");
    until(&mut first, "30 90").await;
    second.data(&b"two\n"[..]).await.expect("input");
    second.eof().await.expect("an end");
    assert_eq!(to_the_end(&mut second).await.status, Some(0));
    first.data(&b"\n"[..]).await.expect("input");
    assert_eq!(to_the_end(&mut first).await.status, Some(3));
    drop((first, second, silent, peer));
    world.gateway.wait_for_lines(2, |line| line["code"] == "AUDIT_RECORDED").await;
    let mut paths = recordings(&folder);
    paths.sort();
    assert_eq!(paths.len(), 2, "a channel without a program has none: {paths:?}");
    let (first, second) = (lines(&paths[0]), lines(&paths[1]));
    let header = &first[0];
    assert_eq!([&header["version"], &header["width"], &header["height"]], [2, 100, 40], "{header}");
    assert_eq!(
        (&header["env"]["TERM"], &header["command"]),
        (&json!("xterm"), &json!("echo up; read line; stty size; read line; exit 3"))
    );
    assert!(header["timestamp"].as_i64().expect("a time") > 1_700_000_000);
    assert_eq!(
        (text(&first, "r"), text(&first, "m"), text(&first, "i")),
        ("90x30".into(), "exit status 3".into(), "one\n\n".into())
    );
    assert!(text(&first, "o").contains("30 90\r\n"), "{first:?}");
    // Without a terminal, the user's own begins each line at its start.
    assert_eq!((text(&second, "i"), text(&second, "m")), ("two\n".into(), "exit status 0".into()));
    assert_eq!(text(&second, "o"), "two\r\nfailed\r\n");
    let ran = podgate(&["audit", "verify", "--key", &key_file(), &paths[0], &paths[1]]).await;
    assert_eq!((ran.status, ran.stdout.lines().count()), (Some(0), 2), "{}{}", ran.stdout, ran.stderr);
    let ran = podgate(&["audit", "decode", &paths[1]]).await;
    assert_eq!((ran.status, ran.stdout), (Some(0), fs::read_to_string(&paths[1]).expect("a cast")));
    fs::write(&paths[1], fs::read_to_string(&paths[1]).expect("a cast").replace("two", "TWO")).expect("a cast");
    let ran = podgate(&["audit", "verify", "--key", &key_file(), &paths[1]]).await;
    assert_eq!(ran.status, Some(1), "{}", ran.stdout);
}

#[podgate_test::multi_thread]
async fn forwarded_connection_forges_no_asciicast() {
    let folder = folder();
    if !on_development("the target listens on this machine") {
        return;
    }
    let mut config = casting(&folder, json!({"stdout": true, "stdin": true, "forwarding": true}));
    merge(&mut config, json!({"security": {"forwarding": {"forwardingMode": "enable"}}}));
    let world = Setup::config(config).start().await;
    let served = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = served.local_addr().expect("an address").port();
    let answering = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = served.accept().await.expect("a connection");
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).await.expect("a question");
        stream.write_all(b"forged output").await.expect("an answer");
    });
    let peer = world.peer("alice").await;
    let mut forward =
        peer.handle.channel_open_direct_tcpip("127.0.0.1", port.into(), "127.0.0.1", 1).await.expect("a channel");
    forward.exec(true, "cat /etc/shadow").await.expect("a request");
    assert!(!answered(&mut forward).await);
    forward.data(&b"ping"[..]).await.expect("data");
    until(&mut forward, "forged output").await;
    answering.await.expect("an answer");
    let mut program = peer.session().await;
    program.exec(true, "true").await.expect("a request");
    to_the_end(&mut program).await;
    drop((forward, program, peer));
    world.gateway.wait_for_line("AUDIT_RECORDED").await;
    world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    let paths = recordings(&folder);
    assert_eq!(paths.len(), 1, "{paths:?}");
    assert_eq!(lines(&paths[0])[0]["command"], "true");
}

#[podgate_test::multi_thread]
async fn asciicast_has_only_data_that_was_asked_for() {
    let folder = folder();
    let world = Setup::config(casting(&folder, json!({"stdout": true, "stderr": false}))).start().await;
    world.ssh().stdin("typed\n").run("read line; echo shown; echo failed >&2").await.expect(0);
    world.gateway.wait_for_line("AUDIT_RECORDED").await;
    let cast = lines(&recordings(&folder)[0]);
    assert_eq!((text(&cast, "i"), text(&cast, "o")), (String::new(), "shown\r\n".to_owned()));
}

#[podgate_test::multi_thread]
async fn asciicast_of_a_killed_gateway_has_whole_lines_up_to_the_last_input() {
    let folder = folder();
    let world = Setup::config(casting(&folder, everything())).start().await;
    let mut session = world.ssh().start("while read line; do echo got $line; done");
    for n in 0..20 {
        session.write(&format!("{n}\n")).await;
        session.until_stdout(&format!("got {n}\n")).await;
    }
    world.gateway.signal("KILL");
    let mut gateway = world.gateway;
    gateway.ended().await;
    session.end_input();
    session.ended().await;
    let path = recordings(&folder).remove(0);
    let cast = lines(&path);
    assert_eq!(text(&cast, "i"), (0..20).map(|n| format!("{n}\n")).collect::<String>());
    let ran = podgate(&["audit", "verify", "--key", &key_file(), &path]).await;
    assert_eq!(ran.status, Some(2), "{}", ran.stdout);
    assert!(ran.stdout.contains("not sealed") && ran.stdout.contains("signed by"), "{}", ran.stdout);
    // Half a line that a killed write left is not printed.
    let whole = fs::read_to_string(&path).expect("a cast");
    fs::write(&path, format!("{whole}[1.5,\"o\",\"ha")).expect("a cast");
    let ran = podgate(&["audit", "decode", &path]).await;
    assert_eq!((ran.status, ran.stdout), (Some(0), whole), "{}", ran.stderr);
}

#[podgate_test::multi_thread]
async fn full_disk_ends_a_session_that_must_have_an_asciicast_and_no_other() {
    for (on_failure, goes_on) in [("required", false), ("bestEffort", true)] {
        let folder = folder();
        let mut config = casting(&folder, everything());
        config["audit"]["onFailure"] = json!(on_failure);
        let world = Setup::config(config).start().await;
        let mut session = world.ssh().start("echo begun; read line; echo $line; read line; exit 7");
        session.until_stdout("begun").await;
        fill_disk(&world.gateway, 100);
        session.write("more\n").await;
        let line = world.gateway.wait_for_line("AUDIT_RECORDING_FAILED").await;
        assert!(line["details"]["reason"].as_str().expect("a reason").contains("File too large"), "{line}");
        if goes_on {
            session.until_stdout("more").await;
            session.end_input();
        }
        let done = session.ended().await;
        assert_eq!(
            (done.text().contains("more"), done.status),
            (goes_on, if goes_on { 7 } else { 255 }),
            "{}",
            done.stderr
        );
    }
}

#[podgate_test::multi_thread]
async fn configuration_of_asciicasts_tells_what_they_cannot_have() {
    let folder = folder();
    let world = Setup::default().start().await;
    for (intercept, told) in [
        (json!({"stdin": true}), "warning: audit.intercept.stdout: is not true: the asciicasts show nothing"),
        (json!({"stdout": true, "passwords": true}), "warning: audit.intercept.passwords: has no effect"),
        (json!({"stdout": true, "forwarding": true}), "warning: audit.intercept.forwarding: has no effect"),
        (json!({"stdout": true}), "the configuration is valid"),
    ] {
        let file = world.config_file(casting(&folder, intercept.clone()));
        let ran = podgate(&["--config", &file.to_string_lossy(), "--check-config"]).await;
        assert_eq!(
            (ran.status, ran.stdout.contains(told)),
            (Some(0), true),
            "{intercept}: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
}

#[podgate_test::multi_thread]
#[ignore = "takes asciinema's player of PODGATE_TEST_PLAYER, Node and Chromium: see .ci/long"]
async fn asciicast_plays_in_the_player_of_asciinema() {
    let player = std::env::var("PODGATE_TEST_PLAYER").expect("asciinema-player.min.js");
    let folder = folder();
    let mut config = casting(&folder, everything());
    merge(&mut config, json!({"audit": {"onFailure": "required"}}));
    let world = Setup::config(config).start().await;
    let mut session =
        world.ssh().arg("-tt").start("read line; printf 'gr\\303\\274n \\033[1mbold\\033[0m\\n'; read line; exit 3");
    session.write("typed\n").await;
    session.until_stdout("bold").await;
    session.write("\n").await;
    session.ended().await.expect(3);
    world.gateway.wait_for_line("AUDIT_RECORDED").await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/player/play.js");
    let played =
        Command::new("node").arg(script).arg(player).arg(&recordings(&folder)[0]).output().await.expect("node");
    assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stderr));
    let played: Value = serde_json::from_slice(&played.stdout).expect("JSON");
    let names: Vec<_> = played["events"].as_array().expect("events").iter().map(|event| &event[0]).collect();
    assert_eq!(names.last(), Some(&&json!("ended")), "{played}");
    assert!(names.contains(&&json!("input")), "{played}");
    let marker =
        played["events"].as_array().expect("events").iter().find(|event| event[0] == "marker").expect("a mark");
    assert_eq!(marker[1]["label"], "exit status 3");
    let shown: Vec<_> = played["shown"].as_array().expect("lines").iter().filter_map(Value::as_str).collect();
    assert!(shown.contains(&"grün bold"), "{shown:?}");
}
