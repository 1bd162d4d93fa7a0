//! Guests of images that have little: what works in them, and what their users are told of the rest. Only a real cluster
//! has images.

mod guest;

use crate::modes::session;
use crate::support::cluster::on_real;
use crate::support::peer::{answered, to_the_end};
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, success};
use crate::support::world::merge;
use crate::support::{Setup, World};
use russh::Pty;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A `/bin/sh` and the small tools of BusyBox.
const BUSYBOX: &str = "podgate.test/busybox:1";
/// One static program and nothing else. Alone it waits; as `/probe probe CODE WORD…` it says the words and ends with the
/// code.
const SCRATCH: &str = "podgate.test/scratch:1";

/// The configuration of guests of an image, with something merged into `kubernetes.pod`; `None` on the development
/// cluster.
fn guests_of(image: &str, pod: Value) -> Option<Value> {
    if !on_real("its containers have this machine's files, whatever their image is") {
        return None;
    }
    let container = json!({"name": "shell", "image": image, "imagePullPolicy": "Never"});
    let mut whole = json!({"spec": {"containers": [container]}});
    merge(&mut whole, pod);
    Some(json!({"kubernetes": {"pod": whole}}))
}

async fn world(image: &str, pod: Value) -> Option<World> {
    Some(Setup::config(guests_of(image, pod)?).start().await)
}

/// A world of guests of the scratch image, which wait by its program.
async fn scratch(mut pod: Value) -> Option<World> {
    pod["idleCommand"] = json!(["/probe"]);
    world(SCRATCH, pod).await
}

#[podgate_test::multi_thread]
async fn scratch_image_is_refused_where_a_shell_of_it_is_to_wait_or_to_hold_a_program() {
    for (mode, why) in [
        ("connection", ", which its idle command needs"),
        ("session", ", which mode: session needs to hold a program until the session is attached to it"),
    ] {
        let Some(world) = world(SCRATCH, json!({"mode": mode})).await else { return };
        let done = world.ssh().run("true").await.expect(255);
        assert_eq!(done.stderr, format!("podgate: the image {SCRATCH} has no /bin/sh{why}\n"));
        world.wait_for_nothing().await;
    }
}

#[podgate_test::multi_thread]
async fn what_a_scratch_image_lacks_is_127_or_no_subsystem_with_a_line_of_ours() {
    let Some(world) = scratch(json!({"subsystems": {"hosts": "/etc/hosts", "none": "none"}})).await else { return };
    let master = world.master(&[]).await;
    let missing = "podgate: /bin/sh: not found in the container";
    let shell = master.ssh().arg("-T").arg("127.0.0.1").finish().await.expect(127);
    let command = master.ssh().run("id").await.expect(127);
    for done in [shell, command] {
        assert_eq!((done.text().as_str(), done.stderr.as_str()), ("", &*format!("{missing}\n")));
    }
    for (subsystem, told) in [
        ("none", "podgate: none: not found in the container\n"),
        ("hosts", "podgate: /etc/hosts: may not be executed in the container\n"),
    ] {
        let refused = world.ssh().arg("-s").run(subsystem).await.expect(255);
        assert!(refused.text().is_empty() && refused.stderr.starts_with(told), "{}", refused.stderr);
    }
    let person = world.ssh().arg("-tt").arg("127.0.0.1").finish().await.expect(127);
    assert!(person.stderr.lines().any(|line| line == missing), "{:?}", person.stderr);
    drop(master);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn forced_command_in_a_scratch_image_does_not_run_without_what_was_asked_for() {
    let mut config = json!({"security": {"forceCommand": "words"}});
    let Some(guests) = guests_of(SCRATCH, json!({"idleCommand": ["/probe"], "execCommand": ["/probe", "probe", "0"]}))
    else {
        return;
    };
    merge(&mut config, guests);
    let world = Setup::config(config).start().await;
    let done = world.ssh().run("other words").await.expect(255);
    let told = "podgate: SSH_ORIGINAL_COMMAND cannot be passed to the forced command: the image has no env program\n";
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("", told));
}

#[podgate_test::multi_thread]
async fn file_for_a_scratch_image_is_the_reason_that_no_program_runs() {
    let pod = json!({"idleCommand": ["/probe"], "execCommand": ["/probe", "probe", "0"]});
    let Some(mut config) = guests_of(SCRATCH, pod) else { return };
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => Reply::Json(json!({"config": {}, "files": {"/note": {"value": "aGVsbG8="}}})),
        _ => success(),
    })
    .await;
    merge(&mut config, script.config());
    let world = Setup::config(config).start().await;
    let done = world.ssh().run("ran").await.expect(255);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("", "podgate: the file /note cannot be written\n"));
    let line = world.gateway.wait_for_line("KUBERNETES_FILE_WRITE_FAILED").await;
    let detail = line["details"]["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with("sh: not found in the container"), "{line}");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn program_of_a_scratch_image_says_what_it_has_to_and_its_status_arrives() {
    let commands = json!({"shellCommand": ["/probe", "probe", "0", "in"], "execCommand": ["/probe", "probe", "5"]});
    let Some(world) = scratch(commands).await else { return };
    // Nothing in the image can set a variable: not the client's, and neither of the two that we set.
    let done = world.ssh().option("SetEnv=A=1").run("some  words").await.expect(5);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("some  words\n", ""));
    let line = world.gateway.wait_for_line("KUBERNETES_ENV_LEFT_OUT").await;
    assert_eq!((&line["details"]["variables"], &line["level"]), (&json!("3"), &json!("warning")), "{line}");
    let shell = world.ssh().arg("-T").arg("127.0.0.1").finish().await.expect(0);
    assert_eq!((shell.text().as_str(), shell.stderr.as_str()), ("in\n", ""));
    let person = world.ssh().arg("-tt").arg("127.0.0.1").finish().await.expect(0);
    assert_eq!(person.text(), "in\r\n");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn own_program_of_a_scratch_image_needs_no_shell_in_mode_session() {
    let container = json!({
        "name": "shell", "image": SCRATCH, "imagePullPolicy": "Never", "args": ["probe", "3", "its own words"],
    });
    let pod = json!({"shellCommand": [], "spec": {"containers": [container]}});
    let Some(config) = guests_of(SCRATCH, session(pod)["kubernetes"]["pod"].take()) else { return };
    let world = Setup::config(config).start().await;
    let done = world.ssh().arg("-T").arg("127.0.0.1").finish().await.expect(3);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("its own words\n", ""));
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn sftp_is_not_found_in_a_busybox_image() {
    let Some(world) = world(BUSYBOX, json!({})).await else { return };
    let done = world.ssh().arg("-s").run("sftp").await.expect(255);
    let told = "podgate: /usr/lib/openssh/sftp-server: not found in the container\n";
    assert!(done.text().is_empty() && done.stderr.starts_with(told), "{}", done.stderr);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn status_environment_and_both_streams_of_a_busybox_image_arrive() {
    for (mode, pod) in [("connection", json!({})), ("session", json!({"mode": "session"}))] {
        let Some(world) = world(BUSYBOX, pod).await else { return };
        for status in [0, 42, 255] {
            let client = world.ssh().option("SetEnv=A=$(B) B=x").stdin("through");
            let program = format!("readlink /proc/$$/exe; env | grep -c ^A=; echo \"$A/$B\"; cat >&2; exit {status}");
            let done = client.run(&program).await.expect(status);
            assert_eq!(done.text(), "/bin/busybox\n1\n$(B)/x\n", "{mode}");
            assert_eq!(done.stderr, "through", "{mode}");
        }
        let killed = world.ssh().run("sh -c 'kill -9 $$'; exit $?").await.expect(137);
        assert_eq!(killed.text(), "", "{mode}");
        world.wait_for_nothing().await;
    }
}

#[podgate_test::multi_thread]
async fn person_in_a_busybox_image_has_a_shell_with_their_terminal() {
    let Some(world) = world(BUSYBOX, json!({})).await else { return };
    let mut client = world.ssh().env("TERM", "vt220").arg("-tt").arg("127.0.0.1").launch();
    client.write("echo at-$(tty)-$TERM-$((40 + 2)); sleep 1000\n").await;
    client.until_stdout("-vt220-42").await;
    // The terminal makes a signal of it, which ends the sleep and not the shell.
    client.write("\x03").await;
    client.write("echo after-$?; exit 7\n").await;
    client.until_stdout("after-130").await;
    let done = client.ended().await.expect(7);
    assert!(done.text().contains("at-/dev/pts/"), "{}", done.text());
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn program_of_a_scratch_image_that_ends_as_if_killed_is_told_soon() {
    let commands =
        json!({"execCommand": ["/probe", "probe", "137"], "shellCommand": ["/probe", "probe", "3", "usual"]});
    let Some(world) = scratch(commands).await else { return };
    let master = world.master(&[]).await;
    let (mut usual, mut fastest) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        let begun = Instant::now();
        let done = master.ssh().arg("-T").arg("127.0.0.1").finish().await.expect(3);
        usual = usual.min(begun.elapsed());
        assert_eq!(done.text(), "usual\n");
        let begun = Instant::now();
        let done = master.ssh().run("words").await.expect(137);
        fastest = fastest.min(begun.elapsed());
        assert_eq!((done.text().as_str(), done.stderr.as_str()), ("words\n", ""));
    }
    // The news that a container is gone would be waited for 2 s; that it is not takes another program.
    assert!(fastest < 2 * usual + Duration::from_millis(1900), "{fastest:?}, others {usual:?}");
}

#[podgate_test::multi_thread]
async fn long_command_in_a_scratch_image_is_refused_in_plain_words() {
    let commands = json!({"execCommand": ["/probe", "probe", "5"]});
    let Some(world) = scratch(commands).await else { return };
    world.ssh().run(&"x".repeat(40_000)).await.expect(5);
    let done = world.ssh().run(&"x".repeat(70_000)).await.expect(255);
    let told = "podgate: the command line is too long for an image without /bin/sh\n";
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("", told));
}

#[podgate_test::multi_thread]
async fn long_command_runs_in_a_busybox_image_with_and_without_a_terminal() {
    let Some(world) = world(BUSYBOX, json!({})).await else { return };
    let command = format!("printf %s '{}' | wc -c; read -r line; echo \"<$line>\"; exit 6", "%ü".repeat(38_000));
    for (flag, expected) in [("-T", "114000\n<typed>\n"), ("-tt", "114000\r\ntyped\r\n<typed>\r\n")] {
        let mut client = world.ssh().arg(flag).start(&command);
        client.until_stdout("114000").await;
        client.write("typed\n").await;
        assert_eq!(client.ended().await.expect(6).text(), expected, "{flag}");
    }
}

#[podgate_test::multi_thread]
async fn terminal_in_a_busybox_image_has_the_clients_modes() {
    for pod in [json!({}), json!({"mode": "session"})] {
        let Some(world) = world(BUSYBOX, pod).await else { return };
        let peer = world.peer("alice").await;
        let mut channel = peer.session().await;
        let modes = [(Pty::VINTR, 24), (Pty::VDISCARD, 11), (Pty::ECHO, 0), (Pty::IXON, 0), (Pty::IUTF8, 1)];
        channel.request_pty(true, "xterm", 80, 24, 0, 0, &modes).await.expect("a request");
        assert!(answered(&mut channel).await);
        channel.exec(false, "stty -a").await.expect("a request");
        let ended = to_the_end(&mut channel).await;
        for word in ["intr = ^X;", "-echo ", "-ixon ", " iutf8"] {
            assert!(ended.stdout.contains(word), "no {word:?} in {}", ended.stdout);
        }
    }
}
