//! Programs as a client sees them: how they end, what they say and where, what they are told.

mod dialogue;
mod greeting;
mod killed;
mod long;
mod modes;
mod terminal;

use crate::support::client::PATIENCE;
use crate::support::peer::{answered, to_the_end, until};
use crate::support::{Setup, World, available};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

#[podgate_test::multi_thread]
async fn every_exit_status_arrives_as_it_is() {
    let world = World::start().await;
    for status in [0, 1, 7, 126, 127, 255] {
        world.ssh().run(&format!("exit {status}")).await.expect(status);
    }
    let missing = world.ssh().run("podgate-no-such-program").await.expect(127);
    assert!(missing.stderr.contains("not found"), "{}", missing.stderr);
    world.ssh().run("/etc/passwd").await.expect(126);
}

#[podgate_test::multi_thread]
async fn killed_program_ends_with_128_and_its_signal() {
    // The Kubernetes API tells the shell's number alone; over the agent's link the signal itself is told.
    let world = Setup::default().plain_exec().start().await;
    for (signal, status) in [("TERM", 143), ("HUP", 129), ("KILL", 137)] {
        world.ssh().run(&format!("kill -{signal} $$")).await.expect(status);
    }
}

#[podgate_test::multi_thread]
async fn shell_that_is_not_there_is_127_with_a_line_of_ours() {
    let pod = json!({"kubernetes": {"pod": {"shellCommand": ["/no/such/shell"]}}});
    let world = Setup::config(pod).start().await;
    let done = world.ssh().arg("127.0.0.1").finish().await.expect(127);
    let told = "podgate: /no/such/shell: not found in the container\n";
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("", told));
    let person = world.ssh().arg("-tt").arg("127.0.0.1").finish().await.expect(127);
    let shown = [person.text(), person.stderr].concat();
    assert!(shown.contains("podgate: /no/such/shell: not found in the container\r\n"), "{shown}");
}

#[podgate_test::multi_thread]
async fn shell_that_may_not_be_run_is_126_with_a_line_of_ours() {
    let pod = json!({"kubernetes": {"pod": {"shellCommand": ["/etc/passwd"]}}});
    let world = Setup::config(pod).start().await;
    let done = world.ssh().arg("127.0.0.1").finish().await.expect(126);
    assert_eq!(done.stderr, "podgate: /etc/passwd: may not be executed in the container\n");
    let person = world.ssh().arg("-tt").arg("127.0.0.1").finish().await.expect(126);
    let shown = [person.text(), person.stderr].concat();
    assert!(shown.contains("podgate: /etc/passwd: may not be executed in the container\r\n"), "{shown}");
}

#[podgate_test::multi_thread]
async fn program_is_found_along_the_path_that_the_client_sends() {
    if !available("/usr/lib/openssh/sftp-server", "openssh-sftp-server") {
        return;
    }
    let pod = json!({"kubernetes": {"pod": {"subsystems": {"sftp": "sftp-server"}}}});
    let world = Setup::config(pod).start().await;
    let missing = world.ssh().arg("-s").run("sftp").await.expect(255);
    assert!(missing.stderr.starts_with("podgate: sftp-server: not found in the container\n"), "{}", missing.stderr);
    let found = world.ssh().option("SetEnv=PATH=/usr/bin:/bin:/usr/lib/openssh").arg("-s").run("sftp").await.expect(0);
    assert_eq!((found.text().as_str(), found.stderr.as_str()), ("", ""));
}

#[podgate_test::multi_thread]
async fn subsystem_that_cannot_run_says_why() {
    let pod = json!({"kubernetes": {"pod": {"subsystems": {"sftp": "/no/such/server"}}}});
    let world = Setup::config(pod).start().await;
    let missing = world.ssh().arg("-s").run("sftp").await.expect(255);
    let told = "podgate: /no/such/server: not found in the container\nsubsystem request failed on channel 0";
    assert!(missing.stderr.starts_with(told), "{}", missing.stderr);
    let unknown = world.ssh().arg("-s").run("netconf").await.expect(255);
    assert!(unknown.stderr.contains("netconf"), "{}", unknown.stderr);
}

#[podgate_test::multi_thread]
async fn standard_error_is_apart_from_standard_output() {
    let world = World::start().await;
    let done = world.ssh().run("echo out; echo err >&2").await.expect(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("out\n", "err\n"));
}

#[podgate_test::multi_thread]
async fn program_sees_the_end_of_its_input() {
    let world = World::start().await;
    let done = world.ssh().stdin("one\ntwo").run("cat; echo; echo over").await.expect(0);
    assert_eq!(done.text(), "one\ntwo\nover\n");
    let nothing = world.ssh().run("cat; echo over").await.expect(0);
    assert_eq!(nothing.text(), "over\n");
}

#[podgate_test::multi_thread]
async fn program_that_closes_its_input_is_still_heard_to_its_end() {
    let world = World::start().await;
    let command = "head -c 5; exec <&-; echo; echo more; exit 3";
    let done = world.ssh().stdin(vec![b'x'; 64 << 10]).run(command).await.expect(3);
    assert_eq!(done.text(), "xxxxx\nmore\n");
    // containerd does not tell the end of a program while more of its input is unread than a pipe takes.
    let mut client = world.ssh().arg("127.0.0.1").arg(command).spawn();
    let mut input = client.stdin.take().expect("a pipe");
    let upload = tokio::spawn(async move { input.write_all(&vec![b'x'; 8 << 20]).await });
    let mut said = [0; 11];
    let hearing = client.stdout.as_mut().expect("a pipe").read_exact(&mut said);
    timeout(PATIENCE, hearing).await.expect("in time").expect("the output");
    assert_eq!(&said, b"xxxxx\nmore\n");
    client.kill().await.expect("a kill");
    upload.abort();
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn empty_command_and_commands_with_quotes_run_in_a_shell() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "").await.expect("a request");
    assert!(answered(&mut channel).await);
    assert_eq!(to_the_end(&mut channel).await.status, Some(0));
    let done = world.ssh().run(r#"printf '%s|' "a  b" 'c"d' "$((1+2))" ü"#).await.expect(0);
    assert_eq!(done.text(), "a  b|c\"d|3|ü|");
}

#[podgate_test::multi_thread]
async fn shell_reads_commands_from_its_input() {
    let world = World::start().await;
    let done = world.ssh().stdin("echo one\nexit 5\n").arg("127.0.0.1").finish().await.expect(5);
    assert_eq!(done.text(), "one\n");
}

#[podgate_test::multi_thread]
async fn program_knows_its_client_and_what_the_client_set() {
    let world = World::start().await;
    let show = r#"echo "$LANG|$LC_X|$GREETING|$SSH_CLIENT|$SSH_CONNECTION|${TERM-none}""#;
    let client = world.ssh().option("SendEnv=LANG").env("LANG", "de_DE.UTF-8").option("SetEnv=GREETING=\"a b\"");
    let done = client.run(show).await.expect(0);
    let text = done.text();
    let fields: Vec<&str> = text.trim_end().split('|').collect();
    assert_eq!((fields[0], fields[1], fields[2]), ("de_DE.UTF-8", "", "a b"));
    let of_client: Vec<&str> = fields[3].split(' ').collect();
    let of_connection: Vec<&str> = fields[4].split(' ').collect();
    let port = world.port().to_string();
    assert_eq!(of_client, ["127.0.0.1", of_client[1], &port]);
    assert_eq!(of_connection, ["127.0.0.1", of_client[1], "127.0.0.1", &port]);
    assert!(of_client[1].parse::<u16>().is_ok_and(|port| port > 0), "{text}");
    assert_eq!(fields[5], "none");
}

#[podgate_test::multi_thread]
async fn two_users_are_in_two_pods_and_see_nothing_of_each_other() {
    let world = World::start().await;
    let script = "hostname=$HOSTNAME; touch \"file-of-$1\"; echo $hostname; ls; read -r line";
    let (alice, bob) = (world.peer("alice").await, world.peer("bob").await);
    let (mut first, mut second) = (alice.session().await, bob.session().await);
    for (channel, user) in [(&mut first, "alice"), (&mut second, "bob")] {
        channel.exec(true, format!("set -- {user}; {script}")).await.expect("a request");
        assert!(answered(channel).await);
    }
    let seen_by_alice = until(&mut first, "file-of-").await;
    let seen_by_bob = until(&mut second, "file-of-").await;
    assert!(!seen_by_alice.contains("file-of-bob"), "{seen_by_alice}");
    assert!(!seen_by_bob.contains("file-of-alice"), "{seen_by_bob}");
    assert_ne!(seen_by_alice.lines().next(), seen_by_bob.lines().next());
    let pods = world.cluster.pods(world.namespace());
    let mut owners: Vec<String> =
        pods.iter().map(|pod| pod["metadata"]["labels"]["containerssh_username"].to_string()).collect();
    owners.sort();
    assert_eq!(owners, ["\"alice\"", "\"bob\""], "{pods:?}");
    drop((first, second, alice, bob));
    world.wait_for_pods(0).await;
}
