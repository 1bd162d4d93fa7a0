//! Webhooks that are not well.

use super::{change, command, examine};
use crate::support::World;
use crate::support::cluster::soon;
use crate::support::scripted_webhook::{
    Authority, Reply, ScriptedWebhook, WebhookRequest, empty_config, serve_at, success,
};
use axum::Router;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::time::timeout;

fn denial() -> Reply {
    Reply::Json(json!({"success": false}))
}

/// A configuration whose webhooks are all this one.
fn asking(world: &World, url: &str) -> std::path::PathBuf {
    let authz = json!({"method": "webhook", "webhook": {"url": url}});
    let mut config = crate::support::scripted_webhook::config(url);
    config["auth"]["authz"] = authz;
    change(world, config)
}

#[podgate_test::multi_thread]
async fn webhook_that_accepts_anybody_fails() {
    let world = World::start().await;
    let easy = ScriptedWebhook::start(
        |asked: &WebhookRequest| {
            if asked.path == "/config" { empty_config() } else { success() }
        },
    );
    let easy = easy.await;
    let examined = examine(&asking(&world, &easy.url), &[]).await;
    examined.assert("webhook-answer", "failed", "auth.password: it accepts anybody");
    examined.assert("webhook-answer", "failed", "auth.publicKey: it accepts anybody");
    examined.assert("webhook-answer", "warning", "it allows a user name that was made up");
    assert_eq!(examined.status, 1, "{}", examined.out);
    let asked = easy.requests_to("/password");
    let [asked] = &asked[..] else { panic!("{asked:?}") };
    assert!(asked["clientVersion"].as_str().is_some_and(|version| version.ends_with(" doctor")), "{asked}");
    assert!(asked["username"].as_str().is_some_and(|name| name.starts_with("podgate-doctor-")), "{asked}");
}

#[podgate_test::multi_thread]
async fn webhook_whose_answer_is_not_understood_fails_with_the_cause() {
    let world = World::start().await;
    let odd = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/password" => Reply::Raw(404, "", "no such page".to_owned()),
        "/pubkey" => Reply::Json(json!({"success": "perhaps"})),
        "/config" => Reply::Json(json!({"settings": {}})),
        _ => denial(),
    });
    let odd = odd.await;
    let examined = examine(&asking(&world, &odd.url), &[]).await;
    examined.assert("webhook-answer", "failed", "the server answered with status 404");
    examined.assert("webhook-answer", "failed", "auth.publicKey: ");
    examined.assert("webhook-answer", "failed", "configserver: ");
    assert_eq!(examined.status, 1, "{}", examined.out);
}

#[podgate_test::multi_thread]
async fn certificate_of_another_ca_and_a_clock_that_is_wrong_are_told() {
    let world = World::start().await;
    let authority = Authority::new();
    let late = || async {
        let date = [(axum::http::header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT")];
        (date, axum::Json(json!({"success": false})))
    };
    let url = serve_at(authority.listen("localhost", false), Router::new().fallback(late)).await;
    let webhook = |ca: String| {
        let block: Value = json!({"webhook": {"url": url, "cacert": ca}});
        json!({"auth": {"password": block, "publicKey": null}})
    };
    let examined = examine(&change(&world, webhook(Authority::new().pem())), &[]).await;
    examined.assert("webhook-tls", "failed", "cannot be reached: TLS: ");
    examined.assert("webhook-answer", "skipped", "cannot be reached");
    let examined = examine(&change(&world, webhook(authority.pem())), &[]).await;
    examined.assert("webhook-tls", "ok", "the certificate for localhost by ");
    examined.assert("webhook-answer", "ok", "it denies a user who was made up");
    examined.assert("clock", "warning", "behind ours");
}

#[podgate_test::multi_thread]
async fn webhook_that_hangs_fails_in_time_and_a_signal_ends_the_run_at_once() {
    let world = World::start().await;
    let hung = ScriptedWebhook::start(|_: &WebhookRequest| Reply::Hang).await;
    let password = json!({"webhook": {"url": hung.url, "authTimeout": "2s"}});
    let file = change(&world, json!({"auth": {"password": password, "publicKey": null}, "configserver": null}));
    let mut child = command(&file, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary");
    hung.wait_for_requests(1).await;
    let id = child.id().expect("it runs").to_string();
    let signalled = crate::support::leash::program("kill").args(["-TERM", &id]).status().await.expect("kill");
    assert!(signalled.success());
    let status = timeout(soon(), child.wait()).await.expect("in time").expect("a status");
    assert_eq!(status.code(), Some(130));
    let examined = examine(&file, &[]).await;
    examined.assert("webhook-answer", "failed", "auth.password: ");
    assert_eq!(examined.status, 1, "{}", examined.out);
}

#[podgate_test::multi_thread]
async fn settings_that_no_login_can_use_fail_as_the_login_does() {
    let world = World::start().await;
    let bogus = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => Reply::Json(json!({"config": {"kubernetes": {"pod": {"metadata": {"namespace": "Not_One"}}}}})),
        _ => denial(),
    });
    let bogus = bogus.await;
    let examined = examine(&asking(&world, &bogus.url), &[]).await;
    examined.assert("webhook-answer", "failed", "configserver: ");
    examined.assert("webhook-answer", "failed", "kubernetes.pod.metadata.namespace");
    assert_eq!(examined.status, 1, "{}", examined.out);
}

#[podgate_test::multi_thread]
async fn answer_without_success_is_no_denial() {
    let world = World::start().await;
    let odd = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => empty_config(),
        "/pubkey" => denial(),
        _ => Reply::Json(json!({})),
    });
    let odd = odd.await;
    let examined = examine(&asking(&world, &odd.url), &[]).await;
    examined.assert("webhook-answer", "warning", "auth.password: its answer has no success");
    examined.assert("webhook-answer", "warning", "auth.authz: its answer has no success");
    examined.assert("webhook-answer", "ok", "it denies a user who was made up");
    assert_eq!(examined.status, 0, "{}", examined.out);
}

#[podgate_test::multi_thread]
async fn remedy_of_a_webhooks_certificate_names_more_than_its_ca() {
    let world = World::start().await;
    let authority = Authority::new();
    let url = serve_at(authority.listen("other.example", false), Router::new()).await;
    let password = json!({"webhook": {"url": url, "cacert": authority.pem()}});
    let config = json!({"auth": {"password": password, "publicKey": null}, "configserver": null});
    let examined = examine(&change(&world, config), &[]).await;
    examined.assert("webhook-tls", "failed", "other.example");
    let fix = examined.of("webhook-tls")[0]["fix"].as_str().expect("text").to_owned();
    assert!(fix.contains("one of the certificate's names in url"), "{fix}");
}
