//! Single requests that OpenSSH's client does not send on demand: each is decided, and a denial is said in the log.

use super::ruled;
use crate::support::peer::{answered, to_the_end};
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, success};
use crate::support::{Setup, World, agent, gateway::Gateway};
use russh::Sig;
use serde_json::{Value, json};

/// Waits for the denial of a request, and shows its reason.
async fn denial(gateway: &Gateway, code: &str, request: &str) -> String {
    let wanted = |line: &Value| line["code"] == code && line["details"]["request"] == request;
    let line = gateway.wait_for(wanted).await;
    line["details"]["reason"].as_str().expect("a reason").to_owned()
}

#[podgate_test::multi_thread]
async fn denied_signal_reaches_no_program_whatever_the_shell_may() {
    let security = json!({"shell": {"mode": "enable"}, "signal": {"mode": "filter", "allow": ["SIGHUP"]}});
    let world = Setup::config(json!({"security": security})).plain_exec().start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "cat; exit 6").await.expect("a request");
    assert!(answered(&mut channel).await);
    channel.signal(Sig::TERM).await.expect("a request");
    let reason = denial(&world.gateway, "SECURITY_SIGNAL_REJECTED", "signal").await;
    assert_eq!(reason, "sending this signal is not allowed");
    // The allowed one is handed on, and who cannot carry it out without an agent says so.
    channel.signal(Sig::HUP).await.expect("a request");
    let line = world.gateway.wait_for(|line| line["details"]["signal"] == "HUP").await;
    assert_eq!(line["code"], "SSH_CHANNEL_REQUEST", "{line}");
    world.gateway.wait_for_line("SSH_CHANNEL_REQUEST_FAILED").await;
    channel.eof().await.expect("an end");
    assert_eq!(to_the_end(&mut channel).await.status, Some(6));
    let signalled = world.gateway.lines("SSH_CHANNEL_REQUEST");
    assert!(signalled.iter().all(|line| line["details"]["signal"] != "TERM"), "{signalled:?}");
}

#[podgate_test::multi_thread]
async fn signal_before_the_start_is_not_kept_for_the_program() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.signal(Sig::TERM).await.expect("a request");
    channel.exec(true, "exit 6").await.expect("a request");
    assert!(answered(&mut channel).await);
    assert_eq!(to_the_end(&mut channel).await.status, Some(6));
    let signalled = world.gateway.lines("SSH_CHANNEL_REQUEST");
    assert!(signalled.iter().all(|line| line["details"]["signal"].is_null()), "{signalled:?}");
}

#[podgate_test::multi_thread]
async fn command_that_is_no_text_is_not_run_as_another_one_without_the_agent() {
    let world = Setup::default().plain_exec().start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, &b"echo \xff ran"[..]).await.expect("a request");
    assert!(answered(&mut channel).await);
    let ended = to_the_end(&mut channel).await;
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(255), ""));
    let why =
        "podgate: a command that is not UTF-8 needs the guest agent, which kubernetes.pod.disableAgent switches off\n";
    assert_eq!(ended.stderr, why);
}

#[podgate_test::multi_thread]
async fn command_that_is_no_text_reaches_the_agent_s_program_and_a_forced_one_as_it_came() {
    for rules in [json!({}), json!({"forceCommand": "printf %s \"$SSH_ORIGINAL_COMMAND\" | od -An -tx1"})] {
        let world = Setup::config(json!({"security": rules, "kubernetes": {"pod": agent::by_default()}})).start().await;
        let peer = world.peer("alice").await;
        let mut channel = peer.session().await;
        channel.exec(true, &b"printf %s '\xc3\xff\xfe' | od -An -tx1"[..]).await.expect("a request");
        assert!(answered(&mut channel).await);
        let ended = to_the_end(&mut channel).await;
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
        let bytes = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(bytes.contains("c3 ff fe"), "{bytes}");
    }
}

#[podgate_test::multi_thread]
async fn ports_that_are_none_are_denied_and_the_connection_goes_on() {
    let rules = json!({"forwarding": {"forwardingMode": "enable", "reverseForwardingMode": "enable"}});
    let world = ruled(rules).await;
    let peer = world.peer("alice").await;
    for port in [0, 65_536, u32::MAX] {
        let opened = peer.handle.channel_open_direct_tcpip("localhost", port, "127.0.0.1", 1).await;
        assert!(opened.is_err(), "{port}");
    }
    assert_eq!(
        denial(&world.gateway, "SECURITY_FORWARDING_REJECTED", "direct-tcpip").await,
        "the address to connect to is not valid"
    );
    assert!(peer.handle.tcpip_forward("localhost", 65_536).await.is_err());
    let reason = denial(&world.gateway, "SECURITY_REVERSE_FORWARDING_REJECTED", "tcpip-forward").await;
    assert_eq!(reason, "the address to listen on is not valid");
    let mut channel = peer.session().await;
    channel.exec(true, "exit 6").await.expect("a request");
    assert_eq!(to_the_end(&mut channel).await.status, Some(6));
}

#[podgate_test::multi_thread]
async fn window_is_resized_whatever_the_rules_deny() {
    let world = ruled(json!({"defaultMode": "disable", "command": {"mode": "enable"}})).await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.window_change(101, 33, 0, 0).await.expect("a request");
    channel.exec(true, "exit 6").await.expect("a request");
    assert!(answered(&mut channel).await);
    assert_eq!(to_the_end(&mut channel).await.status, Some(6));
}

#[podgate_test::multi_thread]
async fn rules_for_variables_are_about_the_client_s_alone() {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => Reply::Json(json!({"config": {"security": {"env": {"mode": "disable"}}},
            "environment": {"STAGE": {"value": "from the webhook"}}})),
        _ => success(),
    })
    .await;
    let world = Setup::config(script.config()).start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.set_env(true, "LANG", "from the client").await.expect("a request");
    assert!(!answered(&mut channel).await);
    channel.exec(true, "echo \"$STAGE,$LANG\"").await.expect("a request");
    assert!(answered(&mut channel).await);
    assert_eq!(to_the_end(&mut channel).await.stdout, "from the webhook,\n");
}
