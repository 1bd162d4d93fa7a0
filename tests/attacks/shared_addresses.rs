//! People behind one address: a school, an office, a load balancer that hides its clients.

use super::{attacker, connect_from, greeted, greeting};
use crate::support::scripted_webhook::{ScriptedWebhook, accept_all};
use crate::support::{Setup, World};
use futures_util::future::join_all;
use serde_json::json;

#[podgate_test::multi_thread]
async fn two_hundred_people_behind_one_address_log_in_at_once_and_keep_nobody_out() {
    let patient = json!({"ssh": {"keyExchangeGraceTime": "10m", "loginGraceTime": "10m"}});
    let world = Setup::config(patient).start().await;
    let school = attacker(0);
    // All of them are at their passwords.
    let typing = greeted([school; 200], world.gateway.address).await;
    assert!(typing.iter().all(|(_, line)| line == "SSH-2.0-Podgate"), "{typing:?}");
    let bind = format!("BindAddress={school}");
    let login = world.ssh_as_person("alice").option(&bind).option("PreferredAuthentications=password");
    assert_eq!(login.run("echo in").await.expect(0).text(), "in\n");
    // A source has a quarter of all places, however many it wants; another one has its own.
    let further = greeted([school; 60], world.gateway.address).await;
    assert!(further.iter().any(|(_, line)| line.starts_with("Not allowed at this time: too many")), "{further:?}");
    assert_eq!(greeting(attacker(1), &world.gateway).await, "SSH-2.0-Podgate");
}

/// Logs in by a key from an address, as one person after the other.
async fn log_in(world: &World, people: impl Iterator<Item = usize>) {
    let bind = format!("BindAddress={}", attacker(0));
    let logins = people.map(|person| world.ssh_as(&format!("person-{person}")).option(&bind).run("true"));
    for done in join_all(logins).await {
        done.expect(0);
    }
}

#[podgate_test::multi_thread]
async fn address_of_many_users_that_is_refused_is_named_in_one_warning() {
    let hooks = ScriptedWebhook::start(accept_all).await;
    let mut config = hooks.config();
    config["ssh"] = json!({
        "keyExchangeGraceTime": "10m",
        "loginGraceTime": "10m",
        "perSourcePenalties": "noauth:20m authfail:1s",
    });
    let world = Setup::config(config).start().await;
    log_in(&world, 0..8).await;
    assert!(world.gateway.lines("SSH_SHARED_ADDRESS").is_empty(), "it is not refused");
    for _ in 0..2 {
        drop(connect_from(attacker(0), world.gateway.address).await);
    }
    let line = world.gateway.wait_for_line("SSH_SHARED_ADDRESS").await;
    assert_eq!(line["details"]["remoteAddr"], attacker(0).to_string());
    assert_eq!((line["level"].as_str(), line["details"]["identities"].as_str()), (Some("warning"), Some("8")));
    assert!(greeting(attacker(0), &world.gateway).await.contains("penalty"), "{line}");
    assert_eq!(world.gateway.lines("SSH_SHARED_ADDRESS").len(), 1);
}
