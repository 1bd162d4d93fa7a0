//! What webhooks know about a user reaches the programs of every mode, and what is sensitive of it reaches no pod.

use super::{den, own_program, persistent, session};
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, success};
use crate::support::world::merge;
use crate::support::{Setup, World, agent};
use serde_json::{Value, json};

/// The configurations of the three modes, and whether the pod is there already.
fn modes() -> [(&'static str, Value, bool); 4] {
    [
        ("connection", json!({}), false),
        ("session", session(json!({})), false),
        ("persistent, created", persistent(json!({"createMissingPods": true})), false),
        ("persistent, there before", persistent(json!({})), true),
    ]
}

/// A world of that configuration whose config webhook knows this about everybody.
async fn world_that_knows((config, there): (Value, bool), known: Value) -> World {
    let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => {
            let mut answer = json!({"config": {}});
            merge(&mut answer, known.clone());
            Reply::Json(answer)
        }
        _ => success(),
    })
    .await;
    let mut whole = script.config();
    merge(&mut whole, config);
    let mut world = Setup::config(whole).start().await;
    if there {
        world.cluster.create_pod(world.namespace(), den(json!({}))).await;
    }
    world.keep(script);
    world
}

#[podgate_test::multi_thread]
async fn sensitive_values_are_left_out_with_a_warning_and_stand_in_no_pod() {
    for (mode, mut config, there) in modes() {
        let known = json!({
            "environment": {"A": {"value": "plain"}, "TOKEN": {"value": "hidden-1", "sensitive": true}},
            "metadata": {"key": {"value": "hidden-2", "sensitive": true}, "team": {"value": "blue"}},
        });
        let expose = json!({
            "exposeAuthMetadataAsEnv": {"key": "KEY", "team": "TEAM"}, "exposeAuthMetadataAsLabels": {"key": "key"},
            "exposeAuthMetadataAsAnnotations": {"key": "key"},
        });
        merge(&mut config, json!({"kubernetes": {"pod": expose}}));
        // Without an agent there is no way for them.
        merge(&mut config, json!({"kubernetes": {"pod": agent::disabled()}}));
        let world = world_that_knows((config, there), known).await;
        let client = world.ssh().start("echo \"$A/$TOKEN/$KEY/$TEAM\"; cat");
        client.until_stdout("plain///blue\n").await;
        let pods = json!(world.cluster.pods(world.namespace())).to_string();
        assert!(!pods.contains("hidden"), "{mode}: {pods}");
        for name in ["TOKEN", "KEY"] {
            let left = |line: &Value| line["code"] == "KUBERNETES_ENV_LEFT_OUT" && line["details"]["variable"] == name;
            assert_eq!(world.gateway.wait_for(left).await["level"], "warning", "{mode}");
        }
        assert!(!world.gateway.log().contains("hidden"), "{mode}");
    }
}

#[podgate_test::multi_thread]
async fn values_arrive_as_they_are_and_the_clients_own_go_before_them() {
    for (mode, config, there) in modes() {
        let known = json!({"environment": {
            "A": {"value": "$(B) $$ \"two  words\"\nand a line"}, "B": {"value": "webhook"}, "E": {"value": ""},
        }});
        let world = world_that_knows((config, there), known).await;
        let client = world.ssh().option("SetEnv=B=client");
        let done = client.run("printf '%s|' \"$A\" \"$B\" \"${E-unset}\"").await.expect(0);
        assert_eq!(done.text(), "$(B) $$ \"two  words\"\nand a line|client||", "{mode}");
    }
}

#[podgate_test::multi_thread]
async fn metadata_is_a_variable_a_label_and_an_annotation_where_that_is_asked_for() {
    for (mode, mut config, there) in modes() {
        let expose = json!({
            "exposeAuthMetadataAsEnv": {"team": "TEAM", "absent": "ABSENT"},
            "exposeAuthMetadataAsLabels": {"team": "example.com/team"},
            "exposeAuthMetadataAsAnnotations": {"note": "example.com/note"},
        });
        merge(&mut config, json!({"kubernetes": {"pod": expose}}));
        let known = json!({
            "environment": {"TEAM": {"value": "loses"}},
            "metadata": {"team": {"value": "Blue Team"}, "note": {"value": "a: b"}, "other": {"value": "unseen"}},
        });
        let world = world_that_knows((config, there), known).await;
        let client = world.ssh().start("echo \"$TEAM/${ABSENT-unset}\"; cat");
        client.until_stdout("Blue Team/unset\n").await;
        let pod = world.cluster.pods(world.namespace()).remove(0);
        assert!(!pod.to_string().contains("unseen"), "{mode}");
        if !there {
            let metadata = &pod["metadata"];
            assert_eq!(metadata["labels"]["example.com/team"], "Blue-Team", "{mode}");
            assert_eq!(metadata["annotations"]["example.com/team"], "Blue Team", "{mode}");
            assert_eq!(metadata["annotations"]["example.com/note"], "a: b", "{mode}");
        }
    }
}

#[podgate_test::multi_thread]
async fn file_that_cannot_be_written_is_the_reason_that_no_program_runs() {
    for (mode, config, there) in modes() {
        let known = json!({"files": {"/nowhere/at/all": {"value": "aGVsbG8="}}});
        let world = world_that_knows((config, there), known).await;
        let done = world.ssh().run("echo ran").await.expect(255);
        assert_eq!(done.text(), "", "{mode}");
        assert!(done.stderr.contains("podgate: the file /nowhere/at/all cannot be written"), "{mode}: {}", done.stderr);
        if mode == "connection" || mode == "session" {
            world.wait_for_nothing().await;
        }
    }
}

#[podgate_test::multi_thread]
async fn files_are_there_before_the_first_program_for_its_user_alone() {
    for (mode, config, there) in modes() {
        let known = json!({"files": {"a file": {"value": "aGVsbG8AAQo=", "sensitive": true}}});
        let world = world_that_knows((config, there), known).await;
        let done = world.ssh().run("stat -c %a 'a file'; cat 'a file'").await.expect(0);
        assert_eq!(done.stdout, b"600\nhello\0\x01\n", "{mode}");
    }
}

#[podgate_test::multi_thread]
async fn files_of_the_images_own_program_are_there_before_its_session() {
    let known = json!({"files": {"a": {"value": "aGVsbG8K"}}});
    let config = session(own_program("read -r _; cat a; exit 3"));
    let world = world_that_knows((config, false), known).await;
    let done = world.ssh().arg("-T").stdin("\n").arg("127.0.0.1").finish().await.expect(3);
    assert_eq!(done.text(), "hello\n");
}
