//! Command lines beyond what the request for an exec can hold, beside what OpenSSH's sshd makes of them.

use crate::modes::{persistent, session};
use crate::support::cluster::container;
use crate::support::flow::whole;
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, success};
use crate::support::sshd::Sshd;
use crate::support::world::merge;
use crate::support::{Setup, World};
use serde_json::{Value, json};

/// As long as sshd's own longest, with what a shell is told around it.
const BYTES: usize = 120_000;

/// A command that says what it was given, and then what it reads.
fn say(word: &str) -> String {
    format!("printf %s '{}'; cat; exit 7", word.replace('\'', "'\\''"))
}

/// Words of [`BYTES`] bytes as a shell writes them, each with much of what must be escaped somewhere.
fn words() -> [String; 5] {
    let every = |from: u32, to: u32| (from..to).filter_map(char::from_u32).collect::<String>();
    let fill = |text: &str, bytes: usize| {
        let mut word = text.repeat(bytes / text.len());
        word.push_str("\n\n");
        word
    };
    [
        fill(&every(1, 0x20), BYTES - 1000),
        fill("%", BYTES - 1000),
        fill(&every(0x20, 0x24F).replace('\'', ""), BYTES - 2000),
        fill("'\"\\$`", BYTES / 2),
        fill("€\u{1F600}\u{FFFD}", BYTES - 1000),
    ]
}

async fn as_sshd_does(world: &World) {
    let sshd = Sshd::start(world, "SetEnv SHLVL=2\n").await.expect("sshd");
    for word in words() {
        let expected = sshd.ssh(world).stdin("typed\n").run(&say(&word)).await.expect(7);
        assert!(expected.stdout == [word.as_bytes(), b"typed\n"].concat(), "sshd says something else");
        let done = world.ssh().stdin("typed\n").run(&say(&word)).await.expect(7);
        let lengths = (done.stdout.len(), expected.stdout.len());
        assert!(done.stdout == expected.stdout, "{lengths:?} bytes of {:?}", word.chars().next());
        assert_eq!(done.stderr, expected.stderr);
    }
}

#[podgate_test::multi_thread]
async fn command_of_120_kb_of_any_characters_runs_as_with_sshd_and_reads_its_input() {
    if !Sshd::available() {
        return;
    }
    as_sshd_does(&World::start().await).await;
}

#[podgate_test::multi_thread]
async fn command_of_120_kb_runs_in_a_pod_of_its_own_as_with_sshd() {
    if !Sshd::available() {
        return;
    }
    as_sshd_does(&Setup::config(session(json!({}))).start().await).await;
}

#[podgate_test::multi_thread]
async fn command_of_120_kb_runs_on_a_terminal_which_is_then_as_it_was() {
    let world = World::start().await;
    for word in words() {
        let told =
            format!("printf %s '{}' | cksum; stty -a; read -r line; echo \"<$line>\"", word.replace('\'', "'\\''"));
        let mut client = world.ssh().arg("-tt").start(&told);
        // The last word of `stty -a`.
        client.until_stdout("-extproc\r\n").await;
        client.write("typed\n").await;
        client.until_stdout("<typed>").await;
        let done = client.ended().await.expect(0).text();
        let plain = world.ssh().arg("-tt").run("stty -a").await.expect(0).text();
        let sum = world.ssh().stdin(word.as_str()).run("cksum").await.expect(0).text();
        assert_eq!(done, format!("{}\r\n{plain}typed\r\n<typed>\r\n", sum.trim_end()));
    }
}

#[podgate_test::multi_thread]
async fn a_hundred_megabytes_behind_a_long_command_arrive_whole() {
    let world = World::start().await;
    let mut data = vec![0; 100 << 20];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut data);
    let command = format!(": '{}'; cat", "x%'\\''".repeat(15_000));
    let (done, ()) = whole(async || (world.ssh().stdin(data.clone()).run(&command).await, ())).await;
    let done = done.expect(0);
    assert!(done.stdout == data, "{} of {} bytes", done.stdout.len(), data.len());
}

#[podgate_test::multi_thread]
async fn command_that_is_longer_than_linux_takes_is_refused_in_plain_words() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(false, "x".repeat(140_000)).await.expect("a request");
    let ended = crate::support::peer::to_the_end(&mut channel).await;
    let told = "podgate: the command line is too long: Linux takes at most 128 KiB in one argument or variable\n";
    assert_eq!((ended.stderr.as_str(), ended.status), (told, Some(255)));
}

#[podgate_test::multi_thread]
async fn long_command_on_a_terminal_of_an_image_without_stty_says_why_it_does_not_run() {
    let mut bare = container("shell");
    bare["env"] = json!([{"name": "PATH", "value": "/no/such/folder"}]);
    let idle = json!(["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do /bin/sleep 1000 & wait $!; done"]);
    let pod = json!({"kubernetes": {"pod": {"idleCommand": idle, "spec": {"containers": [bare]}}}});
    // The agent needs no stty.
    let world = Setup::config(pod).plain_exec().start().await;
    let command = format!(": '{}'; echo ran", "x".repeat(100_000));
    let refused = world.ssh().arg("-tt").run(&command).await.expect(126);
    assert_eq!(refused.text(), "podgate: the command is too long for a terminal of an image without stty\r\n");
    assert_eq!(world.ssh().run(&command).await.expect(0).text(), "ran\n");
}

#[podgate_test::multi_thread]
async fn environment_of_120_kb_from_a_webhook_reaches_programs_in_every_mode() {
    let value = |number: usize| format!("{number}{}", "'\"%$ \\ü\n".repeat(2600));
    let known: Value = (0..5)
        .map(|number| (format!("V{number}"), json!({"value": value(number)})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let modes = [json!({}), session(json!({})), persistent(json!({"createMissingPods": true}))];
    for config in modes {
        let known = known.clone();
        let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
            "/config" => Reply::Json(json!({"config": {}, "environment": known})),
            _ => success(),
        })
        .await;
        let mut whole = script.config();
        merge(&mut whole, config);
        let mode = whole["kubernetes"]["pod"]["mode"].to_string();
        let mut world = Setup::config(whole).start().await;
        world.keep(script);
        let print = "printf '%s|' \"$V0\" \"$V1\" \"$V2\" \"$V3\" \"$V4\"";
        // Not the values themselves: a runtime may lose what a container's main process says last (docs/configuration.md).
        let done = world.ssh().stdin("in").run(&format!("{print} | cksum; cat")).await.expect(0);
        let expected: String = (0..5).map(|number| value(number) + "|").collect();
        let sum = world.ssh().stdin(expected).run("cksum").await.expect(0).text();
        assert_eq!(done.text(), sum + "in", "{mode}");
    }
}

#[podgate_test::multi_thread]
async fn forced_command_is_told_of_a_long_one() {
    let forced = json!({"security": {"forceCommand": "printf %s \"$SSH_ORIGINAL_COMMAND\" | wc -c; cat"}});
    let world = Setup::config(forced).start().await;
    let done = world.ssh().stdin("in\n").run(&"%".repeat(110_000)).await.expect(0);
    assert_eq!(done.text().split_whitespace().collect::<Vec<_>>(), ["110000", "in"]);
}
