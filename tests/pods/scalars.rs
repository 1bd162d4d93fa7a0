//! Pods whose values are of other types than Kubernetes wants, as ContainerSSH's YAML reader took them: from the file, and
//! from a config webhook that read YAML itself.

use super::{pod_of, world_with_pod};
use crate::support::cluster::container;
use crate::support::world::merge;
use crate::support::{Setup, World};
use serde_json::{Value, json};

/// The source of a value is visible both in the pod and in the program.
async fn assert_understood(world: &World) {
    let running = world.ssh().start("echo $PORT; cat");
    running.until_stdout("8080").await;
    let pod = pod_of(world).await;
    for (path, expected) in [
        ("/metadata/annotations/note", json!("false")),
        ("/metadata/labels/version", json!("15")),
        ("/metadata/labels/empty", json!("")),
        ("/spec/containers/0/imagePullPolicy", json!("IfNotPresent")),
    ] {
        assert_eq!(pod.pointer(path), Some(&expected), "{path} of {pod:#}");
    }
}

/// Values that a person left without quotes.
fn pod() -> Value {
    let mut guest = container("shell");
    guest.as_object_mut().expect("a container").remove("imagePullPolicy");
    merge(&mut guest, json!({"ImagePullpolicy": "IfNotPresent", "env": [{"name": "PORT", "value": 8080}]}));
    json!({
        "idleCommand": ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait", 5],
        "metadata": {"annotations": {"note": false}, "Labels": {"version": 15, "empty": null}},
        "spec": {"containers": [guest]},
    })
}

#[podgate_test::multi_thread]
async fn pod_of_the_file_starts_with_what_was_understood_and_a_warning_for_each() {
    let world = world_with_pod(pod()).await;
    assert_understood(&world).await;
    let warned = world.gateway.lines("CORE_CONFIG_NOTICE");
    let keys: Vec<_> = warned.iter().filter_map(|line| line["details"]["key"].as_str()).collect();
    for key in [
        "idleCommand[3]",
        "metadata.annotations.note",
        "metadata.Labels",
        "metadata.Labels.version",
        "metadata.Labels.empty",
        "spec.containers[0].ImagePullpolicy",
        "spec.containers[0].env[0].value",
    ] {
        assert!(keys.contains(&format!("kubernetes.pod.{key}").as_str()), "{key}: {keys:?}");
    }
}

#[podgate_test::multi_thread]
async fn pod_of_an_answer_starts_with_what_was_understood_and_one_warning() {
    let settings = json!({"kubernetes": {"pod": pod()}});
    let world = Setup { users: vec![("alice", settings)], ..Setup::default() }.start().await;
    assert_understood(&world).await;
    let warned = world.gateway.lines("CORE_CONFIG_NOTICE");
    let [line] = warned.as_slice() else { panic!("{warned:?}") };
    let keys = line["details"]["keys"].as_str().expect("what was understood");
    let told = "kubernetes.pod.spec.containers[0].env[0].value is read as if it were in quotes";
    assert!(line["message"].as_str().is_some_and(|text| text.contains("other types")), "{line}");
    assert!(keys.contains(told) && keys.contains("kubernetes.pod.metadata.Labels is read as labels"), "{keys}");
}
