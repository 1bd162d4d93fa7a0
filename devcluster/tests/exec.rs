//! Exec and attach: what the channels carry, and how streams end.

use crate::client::{PODS, SOON, cluster, phase, pod, running};
use podgate_devcluster::{DevCluster, Options, Rule, Token};
use serde_json::json;
use std::time::Duration;

const ALL: &str = "stdin=true&stdout=true&stderr=true";
const TTY: &str = "stdin=true&stdout=true&tty=true";

/// Bytes that repeat only after a long time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

#[tokio::test]
async fn what_cannot_be_opened_is_refused_before_the_upgrade() {
    let (_cluster, client) = running("p", None).await;
    let cases = [
        ("nope/exec?command=true&stdout=true", "v5.channel.k8s.io", 404, "pods \"nope\" not found"),
        ("p/exec?command=true", "v5.channel.k8s.io", 400, "at least 1 of stdin, stdout, stderr"),
        ("p/exec?command=true&stdout=true&container=x", "v5.channel.k8s.io", 400, "container x is not valid for pod p"),
        ("p/exec?command=true&stdout=true", "v9.channel.k8s.io", 403, ""),
    ];
    for (path, protocol, code, text) in cases {
        let status = client.channel(&format!("{PODS}/{path}"), protocol).await.err().unwrap();
        assert_eq!(status["code"], code, "{status}");
        let told = status["message"].as_str().or_else(|| status["text"].as_str()).unwrap();
        assert!(told.contains(text), "{status}");
    }
    let none = client.channel(&format!("{PODS}/p/exec?stdout=true"), "v5.channel.k8s.io").await.unwrap();
    let status = none.output.rest().await.status.unwrap();
    assert!(status["message"].as_str().unwrap().ends_with("exec failed: args must not be empty: unknown"), "{status}");
}

#[tokio::test]
async fn exec_needs_get_and_create() {
    let rules = vec![Rule::new("*", "pods"), Rule::new("get", "pods/exec")];
    let limited = Token { token: "limited".into(), user: "eve".into(), rules };
    let cluster = DevCluster::start(Options { tokens: vec![limited], ..Options::default() }).unwrap();
    let client = crate::client::Client::new(&cluster, "limited");
    client.create(&pod("p", None)).await;
    phase(&cluster, "p", "Running").await;
    let refused = client.channel(&format!("{PODS}/p/exec?command=true&stdout=true"), "v5.channel.k8s.io").await;
    let status = refused.err().unwrap();
    assert_eq!(status["code"], 403);
    assert_eq!(status["message"], "pods \"p\" is forbidden: ");
}

#[tokio::test]
async fn exit_codes_and_streams_arrive_apart() {
    let (_cluster, client) = running("p", None).await;
    for (script, code) in [("exit 0", 0), ("exit 1", 1), ("exit 7", 7), ("nope-nope", 127), ("kill -KILL $$", 137)] {
        let script = format!("echo out; echo err >&2; {script}");
        let outcome = client.exec("p", &["sh", "-c", &script], ALL).await.output.rest().await;
        assert_eq!(outcome.code(), Some(code), "{script}: {outcome:?}");
        assert_eq!(outcome.text(), "out\n");
        assert!(String::from_utf8_lossy(&outcome.stderr).starts_with("err\n"));
    }
}

#[tokio::test]
async fn a_missing_program_is_an_internal_error_with_the_runtimes_text() {
    let (_cluster, client) = running("p", None).await;
    for (program, text) in [
        ("nope", "exec: \"nope\": executable file not found in $PATH: unknown"),
        ("/nope", "exec: \"/nope\": stat /nope: no such file or directory: unknown"),
        ("/etc", "exec: \"/etc\": permission denied: unknown"),
        ("", "exec: \"\": executable file not found in $PATH: unknown"),
    ] {
        let status = client.exec("p", &[program], ALL).await.output.rest().await.status.unwrap();
        assert_eq!(status["reason"], "InternalError");
        let message = status["message"].as_str().unwrap();
        assert!(message.contains("OCI runtime exec failed: exec failed") && message.ends_with(text), "{message}");
    }
}

#[tokio::test]
async fn the_first_message_is_empty_and_on_the_lowest_output_channel() {
    let (_cluster, client) = running("p", None).await;
    for (flags, channel) in [("stdout=true&stderr=true", 1), ("stderr=true", 2), ("stdin=true", 3)] {
        let mut exec = client.exec("p", &["true"], flags).await;
        assert_eq!(exec.protocol, "v5.channel.k8s.io");
        assert_eq!(exec.output.next().await.unwrap(), Some((channel, Vec::new())));
        assert_eq!(exec.output.rest().await.code(), Some(0));
    }
}

#[tokio::test]
async fn stdin_closes_alone_in_v5_and_not_in_v4() {
    let (_cluster, client) = running("p", None).await;
    let mut exec = client.exec("p", &["sh", "-c", "cat; echo after"], ALL).await;
    exec.input.stdin(b"hello\n").await.unwrap();
    exec.input.close_stdin().await;
    let outcome = exec.output.rest().await;
    assert_eq!((outcome.text().as_str(), outcome.code()), ("hello\nafter\n", Some(0)));

    let path = format!("{PODS}/p/exec?command=cat&{ALL}");
    let mut exec = client.channel(&path, "v4.channel.k8s.io").await.unwrap();
    assert_eq!(exec.protocol, "v4.channel.k8s.io");
    exec.input.close_stdin().await;
    exec.input.stdin(b"still open").await.unwrap();
    exec.output.until("still open").await;
}

#[tokio::test]
async fn pings_are_answered() {
    let (_cluster, client) = running("p", None).await;
    let mut exec = client.exec("p", &["cat"], ALL).await;
    exec.output.next().await.unwrap();
    exec.input.frame(9, b"are you there").await.unwrap();
    assert_eq!(exec.output.next().await.unwrap(), Some((b'p', b"are you there".to_vec())));
}

#[tokio::test]
async fn a_program_that_leaves_much_unread_is_not_said_to_have_ended() {
    let (_cluster, client) = running("p", None).await;
    let mut exec = client.exec("p", &["true"], ALL).await;
    exec.input.stdin(&noise(100_000)).await.unwrap();
    assert_eq!(exec.output.rest().await.code(), Some(0));
    let told = "until [ -e go ]; do sleep 0.02; done; echo ended";
    let mut exec = client.exec("p", &["sh", "-c", told], ALL).await;
    for piece in noise(1_000_000).chunks(60_000) {
        exec.input.stdin(piece).await.unwrap();
    }
    assert_eq!(client.exec("p", &["touch", "go"], ALL).await.output.rest().await.code(), Some(0));
    exec.output.until("ended\n").await;
    let told = tokio::time::timeout(std::time::Duration::from_secs(1), exec.output.next()).await;
    assert!(told.is_err(), "{told:?}");
}

#[tokio::test]
async fn a_terminal_has_a_size_that_can_change_and_no_stderr() {
    let (_cluster, client) = running("p", None).await;
    let mut exec = client.exec("p", &["sh"], TTY).await;
    exec.input.resize(101, 33).await;
    exec.input.stdin(b"PS1=; stty -echo; stty size; test -t 2 && echo on err >&2; echo rea''dy\n").await.unwrap();
    let seen = exec.output.until("ready").await;
    assert!(seen.contains("33 101\r\n") && seen.contains("on err\r\n"), "{seen:?}");
    exec.input.resize(120, 44).await;
    exec.input.stdin(b"stty size; exit 3\n").await.unwrap();
    let outcome = exec.output.rest().await;
    assert!(outcome.text().contains("44 120\r\n"), "{outcome:?}");
    assert_eq!(outcome.code(), Some(3));
}

#[tokio::test]
async fn fifty_megabytes_arrive_unchanged_both_ways_at_once() {
    let (_cluster, client) = running("p", None).await;
    let sent = noise(50 << 20);
    let mut exec = client.exec("p", &["cat"], ALL).await;
    let upload = async {
        for chunk in sent.chunks(60_000) {
            exec.input.stdin(chunk).await.unwrap();
        }
        exec.input.close_stdin().await;
    };
    let (outcome, ()) = tokio::join!(exec.output.rest(), upload);
    assert_eq!(outcome.code(), Some(0));
    assert!(outcome.stdout == sent, "{} of {} bytes", outcome.stdout.len(), sent.len());
}

#[tokio::test]
async fn a_large_frame_is_one_message() {
    let (_cluster, client) = running("p", None).await;
    let sent = noise(3 << 20);
    let mut exec = client.exec("p", &["cat"], ALL).await;
    let upload = async {
        exec.input.stdin(&sent).await.unwrap();
        exec.input.close_stdin().await;
    };
    let (outcome, ()) = tokio::join!(exec.output.rest(), upload);
    assert!(outcome.stdout == sent);
}

#[tokio::test]
async fn a_reader_that_waits_holds_the_program_back_and_loses_nothing() {
    let (cluster, client) = running("p", None).await;
    let script = "head -c 40000000 /dev/zero; echo done > \"$HOME/done\"";
    let exec = client.exec("p", &["sh", "-c", script], ALL).await;
    cluster.wait_until(|state| state.open_streams() == 1, SOON).await.unwrap();
    // That nothing happens cannot be awaited.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let done =
        cluster.scratch_dir().join(&cluster.state().pods("default")[0]["metadata"]["uid"].as_str().unwrap()[..8]);
    let done = done.join("shell/done");
    assert!(!done.exists(), "the program wrote 40 MB that nobody read");
    let outcome = exec.output.rest().await;
    assert_eq!((outcome.stdout.len(), outcome.code()), (40_000_000, Some(0)));
    assert!(done.exists());
}

#[tokio::test]
async fn a_lost_client_closes_stdin_and_does_not_kill() {
    let (cluster, client) = running("p", None).await;
    let mut exec = client.exec("p", &["sh", "-c", "echo $$ > pid; echo up; cat; touch over; sleep 300"], ALL).await;
    exec.output.until("up").await;
    drop(exec);
    cluster.wait_until(|state| state.open_streams() == 0, SOON).await.unwrap();
    let check = "until test -e over; do sleep 0.02; done; kill -0 \"$(cat pid)\"";
    let outcome = client.exec("p", &["sh", "-c", check], ALL).await.output.rest().await;
    assert_eq!(outcome.code(), Some(0), "{outcome:?}");
}

#[tokio::test]
async fn a_lost_client_leaves_a_terminals_program_alone() {
    let (cluster, client) = running("p", None).await;
    let mut exec = client.exec("p", &["sh", "-c", "echo $$ > pid; echo up; cat; touch over"], TTY).await;
    exec.output.until("up").await;
    drop(exec);
    cluster.wait_until(|state| state.open_streams() == 0, SOON).await.unwrap();
    let check = "sleep 0.2; test ! -e over && kill -0 \"$(cat pid)\"";
    let outcome = client.exec("p", &["sh", "-c", check], ALL).await.output.rest().await;
    assert_eq!(outcome.code(), Some(0), "{outcome:?}");
}

#[tokio::test]
async fn cut_streams_end_without_a_status() {
    let (cluster, client) = running("p", None).await;
    let mut exec = client.exec("p", &["sh", "-c", "echo up; sleep 300"], ALL).await;
    exec.output.until("up").await;
    cluster.faults().cut_streams();
    assert_eq!(exec.output.rest().await.code(), None);

    cluster.faults().cut_streams_after(Some(1_000_000));
    let outcome = client.exec("p", &["head", "-c", "50000000", "/dev/zero"], ALL).await.output.rest().await;
    assert_eq!(outcome.code(), None);
    assert!(outcome.stdout.len() <= 1_000_000, "{}", outcome.stdout.len());
    cluster.faults().cut_streams_after(None);
    let outcome = client.exec("p", &["head", "-c", "2000000", "/dev/zero"], ALL).await.output.rest().await;
    assert_eq!((outcome.stdout.len(), outcome.code()), (2_000_000, Some(0)));
}

#[tokio::test]
async fn attach_speaks_to_the_first_process_and_always_succeeds() {
    let (cluster, client) = cluster();
    let mut gated = pod("p", Some("read word; echo \"got $word\"; echo err >&2; cat; exit 3"));
    gated["spec"]["containers"][0]["stdin"] = json!(true);
    gated["spec"]["containers"][0]["stdinOnce"] = json!(true);
    client.create(&gated).await;
    phase(&cluster, "p", "Running").await;
    let mut exec = client.channel(&format!("{PODS}/p/attach?{ALL}"), "v5.channel.k8s.io").await.unwrap();
    exec.input.stdin(b"go\nmore").await.unwrap();
    exec.input.close_stdin().await;
    let outcome = exec.output.rest().await;
    assert_eq!((outcome.code(), outcome.stderr.as_slice()), (Some(0), &b"err\n"[..]));
    let pod = phase(&cluster, "p", "Failed").await;
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    let log = client.text(&format!("{PODS}/p/log")).await;
    assert!(log.contains("got go\n") && log.contains("err\n") && log.contains("more"), "{log}");
    for (late, told) in [
        ("attach?", "container shell not found in pod p_default"),
        ("exec?command=true&", "container not found (\"shell\")"),
    ] {
        let refused = client.channel(&format!("{PODS}/p/{late}{ALL}"), "v5.channel.k8s.io").await.err().unwrap();
        assert_eq!(refused, json!({"code": 500, "text": told}));
    }
}

#[tokio::test]
async fn attach_to_a_terminal_resizes_it() {
    let (cluster, client) = cluster();
    let mut terminal = pod("p", Some("stty -echo; while read line; do stty size; done"));
    terminal["spec"]["containers"][0]["stdin"] = json!(true);
    terminal["spec"]["containers"][0]["tty"] = json!(true);
    client.create(&terminal).await;
    phase(&cluster, "p", "Running").await;
    let mut exec = client.channel(&format!("{PODS}/p/attach?{TTY}"), "v5.channel.k8s.io").await.unwrap();
    exec.input.resize(90, 20).await;
    exec.input.stdin(b"x\n").await.unwrap();
    exec.output.until("20 90\r\n").await;
}
