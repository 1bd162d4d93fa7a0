//! What `deploy/kubernetes.yaml` grants where it is edited for mode session: each verb more than mode connection has is in the
//! paper, is missed at the start and at the login that needs it, and there is none beside.

use super::Desk;
use super::role::{Right, assert_served, of_bob, quick, use_everything, used};
use crate::modes::{own_program, session};
use crate::support::cluster::Access;
use crate::support::role::Rights;
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, success};
use crate::support::world::merge;
use crate::support::{Setup, World};
use podgate::{Config, Files, Format};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The rights that the mode needs besides the role.
fn beside() -> BTreeSet<Right> {
    Rights::session().each().difference(&Rights::gateway().each()).cloned().collect()
}

#[test]
fn paper_has_a_row_for_each_right_of_the_mode() {
    let paper = include_str!("../../docs/kubernetes.md");
    let section =
        paper.split("## Other pod modes").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(cells);
    let rights: BTreeSet<Right> = rows.map(|cells| (cells[2].clone(), cells[1].clone())).collect();
    assert_eq!(rights, beside());
}

#[podgate_test::multi_thread]
async fn each_right_of_the_mode_is_missed_at_the_start() {
    let desk = Desk::new().await;
    let session = json!({"kubernetes": {"pod": {"mode": "session"}}});
    for (verb, resource) in beside() {
        desk.cluster.grant(&Rights::session().without(&verb, &resource)).await;
        if resource == "pods/attach" {
            let line = desk.cannot(&verb, &resource, "") + "no login can be served";
            assert_eq!(desk.start_fails(session.clone()).await, [line]);
        } else {
            let line = desk.cannot(&verb, &resource, "") + "the output of a program that ends at once can be lost";
            assert_eq!(desk.start_tells(session.clone(), "KUBERNETES_INSPECTED").await["message"], line);
        }
    }
}

/// Logins of dave, whose program ends at once: now and then it is attached to before, and its log is not needed.
const MORE: usize = 20;

/// A world of mode session whose gateway has the role that was edited for it, and finds nothing missing. A file is to be in
/// the pods of carol, and those of dave run their own program; bob's miss a volume.
async fn world_with_the_role() -> World {
    let script =
        ScriptedWebhook::start(|asked: &WebhookRequest| match (asked.path.as_str(), asked.body["username"].as_str()) {
            ("/config", Some("bob")) => Reply::Json(json!({"config": of_bob()})),
            ("/config", Some("carol")) => Reply::Json(json!({"config": {}, "files": {"note": {"value": "aGVsbG8K"}}})),
            ("/config", Some("dave")) => {
                Reply::Json(json!({"config": {"kubernetes": {"pod": own_program("echo done; exit 7")}}, "exact": true}))
            }
            ("/config", _) => Reply::Json(json!({"config": {}})),
            _ => success(),
        })
        .await;
    let mut config = quick("60s");
    merge(&mut config, session(json!({})));
    merge(&mut config, script.config());
    let mut world = Setup { access: Access::Rights(Rights::session()), ..Setup::config(config) }.start().await;
    assert_served(&world).await;
    world.keep(script);
    world
}

#[podgate_test::multi_thread]
async fn each_right_of_the_mode_is_needed_for_a_login_that_fails_without_it() {
    let world = world_with_the_role().await;
    let attach = "podgate: the gateway may not use pods/attach (needs get and create)\n";
    let file = "podgate: the file note cannot be written\n";
    let log = "podgate: the program ended before it could be attached to, and its log cannot be read\n";
    for (verb, resource, user, told) in [
        ("get", "pods/attach", "alice", attach),
        ("create", "pods/attach", "alice", attach),
        ("get", "pods/exec", "carol", file),
        ("create", "pods/exec", "carol", file),
        ("get", "pods/log", "dave", log),
    ] {
        world.cluster.grant(&Rights::session().without(verb, resource)).await;
        let mut done = world.ssh_as(user).arg("-T").arg("127.0.0.1").finish().await;
        for _ in 0..MORE {
            if user != "dave" || done.status != 7 {
                break;
            }
            done = world.ssh_as(user).arg("-T").arg("127.0.0.1").finish().await;
        }
        let done = done.expect(255);
        assert_eq!((done.text().as_str(), done.stderr.as_str()), ("", told), "{verb} {resource}");
    }
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn everything_of_the_mode_together_uses_every_right_and_no_other() {
    let mut world = world_with_the_role().await;
    use_everything(&world, &Rights::session()).await;
    assert_eq!(world.ssh_as("carol").run("cat note").await.expect(0).text(), "hello\n");
    for _ in 0..MORE {
        let done = world.ssh_as("dave").arg("-T").arg("127.0.0.1").finish().await.expect(7);
        assert_eq!(done.text(), "done\n");
        if world.cluster.api_requests().iter().any(|request| request.resource == "pods/log") {
            break;
        }
    }
    assert_eq!(used(&mut world).await, Rights::session().each());
}

/// No file is there: what names one is told as unreadable, and nothing else is wrong.
struct Nothing;

impl Files for Nothing {
    fn read(&self, _path: &std::path::Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

#[test]
fn edited_file_is_in_the_mode_and_nothing_else_changed() {
    let edited = crate::support::role::for_session(include_str!("../../deploy/kubernetes.yaml"));
    let documents = edited.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
    let map = documents.into_iter().find(|object| object["kind"] == "ConfigMap").expect("a configuration");
    let text = map["data"]["config.yaml"].as_str().expect("a text");
    let config: Value = serde_saphyr::from_str(text).expect("YAML");
    assert_eq!(config["kubernetes"]["pod"]["mode"], "session");
    let errors = Config::parse(text, Format::Yaml, &Nothing).expect_err("no files");
    assert!(errors.0.iter().all(|error| error.text.contains("cannot read the file")), "{errors}");
}
