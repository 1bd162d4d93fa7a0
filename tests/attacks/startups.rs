//! Connections that do not log in: half-open, dripping, guessing.

use super::{attacker, closed, connect_from, first_line, greeted, greeting};
use crate::support::minimal_client::{connect, text};
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, accept_all};
use crate::support::world::PASSWORD;
use crate::support::{Setup, World};
use futures_util::future::join_all;
use serde_json::json;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const VERSION: &str = "SSH-2.0-Podgate";
const PER_SOURCE: &str =
    "Not allowed at this time: too many connections from your address are logging in (perSourceMaxStartups)";
const GUESSED: &str = "Not allowed at this time: penalty: failed authentication";

/// Sends a piece of an identification line, and then a byte a second for as long as the server takes them.
pub(super) async fn drip(mut stream: TcpStream) {
    let mut sent = stream.write_all(b"SSH-2.0-").await;
    while sent.is_ok() {
        sleep(Duration::from_secs(1)).await;
        sent = stream.write_all(b"x").await;
    }
}

/// A client that works, from the address that no limit by source concerns.
async fn logs_in(world: &World) {
    let done = world.ssh().run("echo in").await.expect(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", ""));
}

#[podgate_test::multi_thread]
async fn half_open_and_dripping_connections_keep_nobody_out_and_are_closed() {
    let limits = json!({"ssh": {"keyExchangeGraceTime": "5s", "perSourcePenalties": "no", "perSourceMaxStartups": 32}});
    let world = Setup::config(limits).start().await;
    // One source with many connections, and many sources with one.
    let sources: Vec<Ipv4Addr> = (0..90).map(|_| attacker(0)).chain((1..100).map(attacker)).collect();
    let (mut opened, greetings): (Vec<TcpStream>, Vec<String>) =
        greeted(sources, world.gateway.address).await.into_iter().unzip();
    let of_one = &greetings[..90];
    assert_eq!(of_one.iter().filter(|line| *line == VERSION).count(), 32, "{of_one:?}");
    assert_eq!(of_one.iter().filter(|line| *line == PER_SOURCE).count(), 58, "{of_one:?}");
    assert!(greetings[90..].iter().all(|line| line == VERSION), "{greetings:?}");
    logs_in(&world).await;
    let (silent, dripping): (Vec<_>, Vec<_>) = opened.drain(..).enumerate().partition(|(index, _)| index % 2 == 0);
    let dripping: Vec<_> = dripping.into_iter().map(|(_, stream)| tokio::spawn(drip(stream))).collect();
    logs_in(&world).await;
    join_all(silent.into_iter().map(|(_, mut stream)| async move { closed(&mut stream).await })).await;
    join_all(dripping).await;
    assert_eq!(greeting(attacker(0), &world.gateway).await, VERSION, "its connections are over");
    let refused = world.gateway.lines("SSH_CONNECTION_REFUSED");
    assert!(refused.len() <= 2, "{refused:?}");
    logs_in(&world).await;
}

#[podgate_test::multi_thread]
async fn source_that_guesses_is_refused_with_the_penalty_s_name_and_no_other_is() {
    let limits = json!({"ssh": {"perSourcePenalties": "authfail:10m min:15m max:30m"}});
    let world = Setup::config(limits).start().await;
    let bind = format!("BindAddress={}", attacker(0));
    let guess = async || {
        let guessing = world.ssh_with_password("alice", "letmein").option(&bind).arg("127.0.0.1").run("true");
        guessing.await.expect(255).stderr
    };
    for _ in 0..2 {
        let told = guess().await;
        assert!(told.contains("Permission denied"), "{told}");
    }
    world.gateway.wait_for_line("SSH_PENALTY").await;
    assert_eq!(greeting(attacker(0), &world.gateway).await, GUESSED);
    let verbose = world.ssh().option(&bind).arg("-v").run("true").await.expect(255);
    assert!(verbose.stderr.contains(GUESSED), "{}", verbose.stderr);
    assert_eq!(greeting(attacker(1), &world.gateway).await, VERSION);
    logs_in(&world).await;
    let line = world.gateway.wait_for_line("SSH_CONNECTION_REFUSED").await;
    assert_eq!(line["details"]["reason"], "penalty: failed authentication");
    assert!(line["details"]["remoteAddr"].as_str().is_some_and(|from| from.starts_with("127.77.0.1:")), "{line}");
}

#[podgate_test::multi_thread]
async fn guesses_under_another_name_are_not_undone_by_a_login_under_one_s_own() {
    let limits = json!({"ssh": {"perSourcePenalties": "authfail:20m", "perSourcePenaltyExemptList": []}});
    let world = Setup::config(limits).start().await;
    let (mut writer, mut reader, _) = connect(world.gateway.address).await;
    writer.send(&[&[5][..], &text(b"ssh-userauth")].concat()).await.expect("a packet");
    reader.expect(6).await;
    for (user, password) in [("bob", "letmein"), ("alice", PASSWORD)] {
        let login = [&[50][..], &text(user.as_bytes()), &text(b"ssh-connection"), &text(b"password"), &[0]];
        writer.send(&[&login.concat(), &text(password.as_bytes())[..]].concat()).await.expect("a packet");
        reader.expect(51).await;
    }
    let reason = reader.until_closed().await.expect("a reason");
    let sshd_s = "Change of username or service not allowed: (bob,ssh-connection) -> (alice,ssh-connection)";
    assert!(reason.starts_with(&format!("podgate: {sshd_s}")), "{reason:?}");
    let line = world.gateway.wait_for_line("SSH_PENALTY").await;
    assert_eq!(line["details"]["reason"], "penalty: failed authentication");
    assert_eq!(greeting(Ipv4Addr::LOCALHOST, &world.gateway).await, GUESSED);
    assert!(world.gateway.lines("SSH_AUTH_SUCCESSFUL").is_empty());
}

#[podgate_test::multi_thread]
async fn every_way_to_end_without_a_login_has_its_penalty() {
    let limits = json!({"ssh": {
        "keyExchangeGraceTime": "5s",
        "perSourcePenalties": "noauth:20m invaliduser:20m grace-exceeded:20m authfail:20m",
    }});
    let world = Setup::config(limits).start().await;
    let refusal = |cause: &str| format!("Not allowed at this time: penalty: {cause}");
    let penalised = async |number: u32, cause: &str| {
        let source = format!("{}", attacker(number));
        world.gateway.wait_for(|line| line["code"] == "SSH_PENALTY" && line["details"]["remoteAddr"] == *source).await;
        assert_eq!(greeting(attacker(number), &world.gateway).await, refusal(cause));
    };
    let mut late = connect_from(attacker(0), world.gateway.address).await;
    closed(&mut late).await;
    penalised(0, "exceeded LoginGraceTime").await;
    drop(connect_from(attacker(1), world.gateway.address).await);
    penalised(1, "connections without attempting authentication").await;
    let bind = format!("BindAddress={}", attacker(2));
    world.ssh_as("a\u{200b}lice").option(&bind).run("true").await.expect(255);
    penalised(2, "attempts to log in with an invalid user name").await;
    let bind = format!("BindAddress={}", attacker(3));
    world.ssh_as("nobody").option(&bind).run("true").await.expect(255);
    penalised(3, "failed authentication").await;
}

#[podgate_test::multi_thread]
async fn outage_of_a_webhook_is_nobody_s_fault() {
    let hooks = ScriptedWebhook::start(|_| Reply::Raw(500, "", String::new())).await;
    let webhook = json!({"method": "webhook", "webhook": {"url": hooks.url, "authTimeout": "200ms"}});
    let limits = json!({
        "ssh": {"perSourcePenalties": "authfail:20m noauth:20m"},
        "auth": {"password": webhook, "publicKey": webhook},
    });
    let world = Setup::config(limits).start().await;
    let bind = format!("BindAddress={}", attacker(0));
    let done = world.ssh().option(&bind).run("true").await.expect(255);
    assert!(done.stderr.contains("the authentication server"), "{}", done.stderr);
    world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    assert!(world.gateway.lines("SSH_PENALTY").is_empty());
    // This one leaves without a login and is penalised for it: nothing is asked of the log behind it.
    assert_eq!(greeting(attacker(0), &world.gateway).await, VERSION);
}

#[podgate_test::multi_thread]
async fn config_server_that_hangs_holds_no_place_of_the_login() {
    let hooks = ScriptedWebhook::start(|asked| match asked.path.as_str() {
        "/config" => Reply::Hang,
        _ => accept_all(asked),
    })
    .await;
    let mut config = hooks.config();
    config["ssh"] = json!({"maxStartups": 1});
    let world = Setup::config(config).start().await;
    let waiting = world.ssh().start("true");
    timeout(Duration::from_secs(60), hooks.wait_for_requests(2)).await.expect("the config server is asked");
    world.gateway.wait_for(|line| line["code"] == "CONFIG_REQUEST").await;
    let mut second = connect_from(attacker(0), world.gateway.address).await;
    assert_eq!(first_line(&mut second).await, VERSION);
    let third = greeting(attacker(1), &world.gateway).await;
    assert_eq!(third, "Not allowed at this time: too many connections are logging in (maxStartups)");
    waiting.kill().await;
}

#[podgate_test::multi_thread]
async fn wrong_passwords_do_not_extend_the_login() {
    let limits = json!({"ssh": {"loginGraceTime": "3s"}});
    let world = Setup::config(limits).start().await;
    let (mut writer, mut reader, _) = connect(world.gateway.address).await;
    writer.send(&[&[5][..], &text(b"ssh-userauth")].concat()).await.expect("a packet");
    reader.expect(6).await;
    let reason = async {
        // Four refusals of a second each would be one more than the login's time.
        for _ in 0..4 {
            let login = [&[50][..], &text(b"alice"), &text(b"ssh-connection"), &text(b"password"), &[0]];
            if writer.send(&[&login.concat(), &text(b"wrong")[..]].concat()).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        reader.until_closed().await
    };
    let reason = timeout(Duration::from_secs(60), reason).await.expect("the end of the login");
    let reason = reason.expect("a reason");
    assert!(reason.starts_with("podgate: the login took too long"), "{reason:?}");
}
