//! Mode session: every program is the main process of a pod of its own.

use super::{own_program, session, session_world};
use crate::support::cluster::{Access, on_development};
use crate::support::peer::{answered, to_the_end, until};
use crate::support::role::Rights;
use crate::support::{Setup, available};
use serde_json::json;
use std::time::Duration;

#[podgate_test::multi_thread]
async fn program_that_cannot_be_had_is_refused_before_there_is_a_pod() {
    let world = session_world(json!({})).await;
    let done = world.ssh().arg("-s").run("netconf").await.expect(255);
    assert!(done.stderr.starts_with("podgate: the subsystem netconf is not available here\n"), "{}", done.stderr);
    assert_eq!(world.cluster.requests("create", "pods"), 0);
}

#[podgate_test::multi_thread]
async fn program_that_cannot_be_started_is_127_or_126_with_a_line_of_ours() {
    let world = session_world(json!({"subsystems": {"a": "/no/such", "b": "/etc/passwd", "c": "no-such"}})).await;
    for (name, status, told) in [
        ("a", 127, "podgate: /no/such: not found in the container\n"),
        ("b", 126, "podgate: /etc/passwd: may not be executed in the container\n"),
        ("c", 127, "podgate: no-such: not found in the container\n"),
    ] {
        let done = world.ssh().arg("-s").run(name).await.expect(status);
        assert_eq!((done.text().as_str(), done.stderr.as_str()), ("", told));
    }
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn stream_that_is_cut_is_not_success() {
    if !on_development("streams are cut at a word") {
        return;
    }
    let world = session_world(json!({})).await;
    let client = world.ssh().start("echo up; sleep 1000");
    client.until_stdout("up").await;
    world.cluster.faults().cut_streams();
    let done = client.ended().await.expect(255);
    assert_eq!(
        (done.text().as_str(), done.stderr.as_str()),
        ("up\n", "podgate: the connection to the container was lost\n")
    );
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn pod_that_ends_under_its_program_ends_that_alone_and_says_why() {
    let world = session_world(json!({})).await;
    let master = world.master(&[]).await;
    let mut other = master.ssh().start("echo up; cat");
    other.until_stdout("up").await;
    let others = world.pod().await;
    let doomed = master.ssh().start("trap '' TERM; echo up; sleep 1000");
    doomed.until_stdout("up").await;
    let pod = world.pods().into_iter().find(|pod| *pod != others).expect("a second pod");
    assert!(world.cluster.delete_pod(world.namespace(), &pod, Duration::from_secs(1)));
    assert_eq!(doomed.ended().await.expect(255).stderr, "podgate: the pod was deleted\n");
    other.write("still here").await;
    other.until_stdout("still here").await;
    drop((other, master));
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn memory_that_runs_out_is_told_and_not_an_exit_status() {
    if !on_development("memory runs out at a word") {
        return;
    }
    let world = session_world(json!({})).await;
    let client = world.ssh().start("echo up; sleep 1000");
    client.until_stdout("up").await;
    assert!(world.cluster.faults().oom_kill(world.namespace(), &world.pod().await, "shell"));
    assert_eq!(client.ended().await.expect(255).stderr, "podgate: the container shell ran out of memory\n");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn status_and_every_byte_of_both_streams_arrive() {
    let world = session_world(json!({})).await;
    for status in [0, 1, 42, 255] {
        let done = world.ssh().run(&format!("echo first; echo error >&2; exit {status}")).await.expect(status);
        assert_eq!((done.text().as_str(), done.stderr.as_str()), ("first\n", "error\n"));
    }
    let done = world.ssh().run("head -c 3000000 /dev/zero; exit 3").await.expect(3);
    assert_eq!(done.stdout.len(), 3_000_000);
    let sent = vec![b'x'; 300_000];
    let done = world.ssh().stdin(sent.clone()).run("cat; exit 7").await.expect(7);
    assert_eq!(done.stdout.len(), sent.len());
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn command_arrives_as_it_was_typed() {
    let world = session_world(json!({"execCommand": ["/bin/sh", "-c"]})).await;
    let command = "A=$$; [ $A = $$ ] && echo \"$(echo in) $(HOME) '$HOME' $$(HOME)\" 2>/dev/null; echo \"a  b\" \\$";
    let done = world.ssh().run(&format!("HOME=h; {command}")).await.expect(0);
    assert!(done.text().ends_with("a  b $\n") && done.text().starts_with("in "), "{}", done.text());
    assert!(done.text().contains("'h'"), "{}", done.text());
    let done = world.ssh().option("SetEnv=A=$(B) B=x C=$$C").run("printf '%s\\n' \"$A\" \"$B\" \"$C\"").await.expect(0);
    assert_eq!(done.text(), "$(B)\nx\n$$C\n");
}

#[podgate_test::multi_thread]
async fn forced_command_knows_what_was_asked_for() {
    let mut config = session(json!({}));
    config["security"] = json!({"forceCommand": "echo \"asked: $SSH_ORIGINAL_COMMAND\""});
    let world = Setup::config(config).start().await;
    assert_eq!(world.ssh().run("rm -rf $HOME").await.expect(0).text(), "asked: rm -rf $HOME\n");
}

#[podgate_test::multi_thread]
async fn shell_takes_what_is_typed_and_a_person_sees_nothing_of_the_gate() {
    let world = session_world(json!({})).await;
    let shell = world.ssh().arg("-T").stdin("echo in-$((40 + 2)); exit 4\n").arg("127.0.0.1").finish().await.expect(4);
    assert_eq!(shell.text(), "in-42\n");
    let done = world.ssh().arg("-tt").env("TERM", "vt220").run("test -t 0 && echo $TERM; exit 5").await.expect(5);
    assert_eq!(done.text(), "vt220\r\n");
}

#[podgate_test::multi_thread]
async fn terminal_has_its_size_from_the_start_and_as_it_changes() {
    let world = session_world(json!({})).await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.request_pty(true, "xterm", 91, 27, 0, 0, &[]).await.expect("a request");
    assert!(answered(&mut channel).await);
    channel.exec(true, "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done").await.expect("a request");
    assert!(answered(&mut channel).await);
    until(&mut channel, "27 91\r\n").await;
    channel.window_change(100, 30, 0, 0).await.expect("a request");
    until(&mut channel, "30 100\r\n").await;
    channel.data(&b"\x03"[..]).await.expect("data");
    assert_eq!(to_the_end(&mut channel).await.status, Some(130));
    drop(peer);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn signal_without_an_agent_is_said_in_the_log_and_harms_nothing() {
    let world = session_world(json!({})).await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "echo up; cat; exit 6").await.expect("a request");
    assert!(answered(&mut channel).await);
    until(&mut channel, "up").await;
    channel.signal(russh::Sig::TERM).await.expect("a request");
    world.gateway.wait_for_line("SSH_CHANNEL_REQUEST_FAILED").await;
    channel.eof().await.expect("an end");
    assert_eq!(to_the_end(&mut channel).await.status, Some(6));
}

#[podgate_test::multi_thread]
async fn second_session_of_a_connection_has_a_pod_of_its_own_and_each_goes_with_its_program() {
    let world = session_world(json!({})).await;
    let peer = world.peer("alice").await;
    assert_eq!(world.pods(), Vec::<String>::new(), "nothing runs yet");
    let (mut first, mut second) = (peer.session().await, peer.session().await);
    for channel in [&mut first, &mut second] {
        channel.exec(true, "echo up; cat; exit 3").await.expect("a request");
        assert!(answered(channel).await);
        until(channel, "up").await;
    }
    world.wait_for_pods(2).await;
    first.close().await.expect("a close");
    world.wait_for_pods(1).await;
    second.data(&b"again"[..]).await.expect("data");
    until(&mut second, "again").await;
    second.eof().await.expect("an end");
    assert_eq!(to_the_end(&mut second).await.status, Some(3));
    // The connection goes on without a pod.
    world.wait_for_nothing().await;
    let mut third = peer.session().await;
    third.exec(true, "exit 4").await.expect("a request");
    assert!(answered(&mut third).await);
    assert_eq!(to_the_end(&mut third).await.status, Some(4));
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn client_that_leaves_while_its_pod_starts_leaves_nothing() {
    let world = Setup::unschedulable(session(json!({}))).start().await;
    let client = world.ssh().start("true");
    world.pod().await;
    client.kill().await;
    world.wait_for_nothing().await;
    assert_eq!(world.gateway.lines("KUBERNETES_POD_WAIT_FAILED").len(), 0);
}

#[podgate_test::multi_thread]
async fn person_sees_what_is_waited_for_and_can_end_the_wait() {
    let world = Setup::unschedulable(session(json!({}))).start().await;
    let mut client = world.ssh().arg("-tt").arg("127.0.0.1").launch();
    client.until_stderr("podgate: waiting: no node takes the pod yet").await;
    client.write("\x03").await;
    client.ended().await.expect(130);
    world.wait_for_nothing().await;
    let mut client = world.ssh().arg("-tt").arg("127.0.0.1").launch();
    client.until_stderr("podgate: waiting: no node takes the pod yet").await;
    world.schedule().await;
    client.write("echo in-$((40 + 2)); exit 3\n").await;
    client.until_stdout("in-42").await;
    client.ended().await.expect(3);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn program_that_was_waited_for_sees_no_byte_that_is_not_its_own() {
    let world = Setup::unschedulable(session(json!({}))).start().await;
    let client = world.ssh().start("echo in");
    world.wait_for_event("FailedScheduling").await;
    world.schedule().await;
    let done = client.ended().await.expect(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", ""));
}

#[podgate_test::multi_thread]
async fn images_sftp_server_is_a_program_like_another() {
    if !available("sftp", "openssh-client") || !available("/usr/lib/openssh/sftp-server", "openssh-sftp-server") {
        return;
    }
    let world = session_world(json!({})).await;
    let (file, content) = crate::support::client::random_file(world.folder(), "up", 1_000_000);
    let back = world.folder().join("back");
    let batch = format!("put {} there\nget there {}\n", file.display(), back.display());
    let done = world.client("sftp", "-P").option("User=alice").arg("-b").arg("-").arg("127.0.0.1").stdin(batch);
    done.finish().await.expect(0);
    assert!(std::fs::read(back).expect("the file") == content, "another file came back");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn images_own_program_is_talked_to() {
    let world = session_world(own_program("while read -r line; do echo \"got $line\"; done; exit 9")).await;
    let done = world.ssh().arg("-T").stdin("a\nb\n").arg("127.0.0.1").finish().await.expect(9);
    assert_eq!(done.text(), "got a\ngot b\n");
    assert_eq!(world.ssh().run("echo a command").await.expect(0).text(), "a command\n");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn images_own_program_that_ended_before_is_told_by_its_log_and_its_status() {
    for status in [0, 7] {
        let world = session_world(own_program(&format!("printf 'done\\nno newline'; exit {status}"))).await;
        let done = world.ssh().arg("-T").arg("127.0.0.1").finish().await.expect(status);
        assert_eq!((done.text().as_str(), done.stderr.as_str()), ("done\nno newline", ""));
        world.wait_for_nothing().await;
    }
}

#[podgate_test::multi_thread]
async fn gateway_needs_the_rights_of_the_mode_and_says_which() {
    let access = Access::Rights(Rights::session());
    let world = Setup { access, ..Setup::config(session(json!({}))) }.start().await;
    assert!(world.gateway.lines("KUBERNETES_INSPECTED").is_empty(), "{}", world.gateway.log());
    world.ssh().run("exit 3").await.expect(3);
    world.cluster.grant(&Rights::gateway()).await;
    let done = world.ssh().run("true").await.expect(255);
    assert_eq!(done.stderr, "podgate: the gateway may not use pods/attach (needs get and create)\n");
    world.wait_for_nothing().await;
}
