//! The client's environment: nothing in it gets past a rule, or becomes an argument of anything.

use super::ruled;
use crate::support::World;
use crate::support::client::Client;
use serde_json::json;

/// Everything that somebody might try.
const TRICKS: [&str; 7] = [
    "--split-string=sh -c 'echo PWNED'",
    "-S=sh -c 'echo PWNED'",
    "LD_PRELOAD=/nowhere.so",
    "SSH_ORIGINAL_COMMAND=PWNED",
    "BASH_ENV=/proc/self/environ",
    "ENV=/proc/self/environ",
    "SSH_CONNECTION=PWNED",
];

/// A client that tries all of it.
fn tricky(world: &World) -> Client {
    // Each of OpenSSH's values is one variable; it takes all of them from one option.
    let list = TRICKS.map(|trick| format!("\"{}\"", trick.replace('"', ""))).join(" ");
    world.ssh().option(&format!("SetEnv={list}"))
}

#[podgate_test::multi_thread]
async fn tricks_reach_no_program() {
    let world = World::start().await;
    let done = tricky(&world).run("env").await.expect(0);
    let shown = done.text();
    assert!(!shown.contains("PWNED"), "{shown}");
    for name in ["LD_PRELOAD", "BASH_ENV", "ENV", "SSH_ORIGINAL_COMMAND", "--split-string", "-S"] {
        assert!(!shown.lines().any(|line| line.starts_with(&format!("{name}="))), "{name}: {shown}");
    }
    let connection = shown.lines().find_map(|line| line.strip_prefix("SSH_CONNECTION=")).expect("SSH_CONNECTION");
    assert!(connection.starts_with("127.0.0.1 ") && connection.ends_with(&format!(" {}", world.port())));
    assert!(done.stderr.is_empty(), "{}", done.stderr);
    for reason in ["made of letters, digits and '_'", "cannot be set by the client"] {
        let named = |line: &serde_json::Value| {
            line["code"] == "SECURITY_ENV_REJECTED" && line["details"]["reason"].as_str().unwrap_or("").contains(reason)
        };
        world.gateway.wait_for(named).await;
    }
}

#[podgate_test::multi_thread]
async fn tricks_do_not_get_past_a_forced_command() {
    let world = ruled(json!({"forceCommand": "echo \"asked: $SSH_ORIGINAL_COMMAND\"; echo \"path: $PATH\""})).await;
    let done = tricky(&world).run("true").await.expect(0);
    assert!(done.text().starts_with("asked: true\n"), "{}", done.text());
    let done = world.ssh().option("SetEnv=PATH=/tmp/evil IFS=/").run("true").await.expect(0);
    assert!(!done.text().contains("evil"), "{}", done.text());
}

#[podgate_test::multi_thread]
async fn restricted_command_gets_no_variable_but_the_harmless_and_the_named() {
    let world = ruled(json!({
        "command": {"mode": "filter", "allow": ["echo \"$PATH,$LC_ALL,$STAGE\""]}, "env": {"allow": ["STAGE"]},
    }))
    .await;
    let client = world.ssh().option("SetEnv=PATH=/evil:/bin:/usr/bin LC_ALL=C STAGE=blue");
    let done = client.run("echo \"$PATH,$LC_ALL,$STAGE\"").await.expect(0);
    assert!(done.text().ends_with(",C,blue\n") && !done.text().contains("evil"), "{}", done.text());
}

#[podgate_test::multi_thread]
async fn environment_modes_are_obeyed() {
    for (rule, expected) in [
        (json!({}), "a/b\n"),
        (json!({"deny": ["B"]}), "a/\n"),
        (json!({"mode": "filter", "allow": ["B"]}), "/b\n"),
        (json!({"mode": "disable"}), "/\n"),
    ] {
        let world = ruled(json!({ "env": rule })).await;
        let done = world.ssh().option("SetEnv=A=a B=b").run("echo \"$A/$B\"").await.expect(0);
        assert_eq!(done.text(), expected, "{rule}");
    }
}
