//! The pods of the papers: a namespace that enforces the level `restricted`, as those of `deploy/kubernetes.yaml` do, admits
//! the pod of every example, of a file or of an answer over that file's configuration.

use super::{DOCS, Machine, README, WEBHOOKS, blocks, whole, yaml};
use crate::support::World;
use crate::support::world::merge;
use podgate::{Config, FileSections, Format, pod_spec};
use podgate_webhooks::directory::Directory;
use podgate_webhooks::toolkit::Decide;
use podgate_webhooks::wire::{ConfigAnswer, ConfigReply, ConfigRequest};
use serde_json::{Value, json};

const MANIFEST: &str = include_str!("../../deploy/kubernetes.yaml");

/// The gateway's configuration in the manifest.
fn manifest() -> Value {
    let documents = MANIFEST.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
    let mut maps = documents.filter(|object| object["kind"] == "ConfigMap");
    let map = maps.next().expect("the configuration");
    serde_saphyr::from_str(map["data"]["config.yaml"].as_str().expect("a text")).expect("YAML")
}

fn base(config: &Value) -> FileSections {
    let config = Config::parse(&config.to_string(), Format::Json, &Machine::new());
    config.unwrap_or_else(|errors| panic!("{errors}")).base
}

fn pod(base: &FileSections, answer: Option<&ConfigAnswer>) -> Value {
    let spec = pod_spec(base, answer).unwrap_or_else(|errors| panic!("{errors}"));
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "example"}, "spec": spec,
    })
}

/// The pod of an answer over the manifest's configuration.
pub(super) fn pod_of_answer(answer: &Value) -> Value {
    let reply = ConfigReply::parse(answer.to_string().as_bytes()).expect("an answer");
    pod(&base(&manifest()), Some(&reply.given().expect("a yes")))
}

/// The answers to all users of a `users.yaml`.
async fn answers_of_users(file: &str) -> Vec<ConfigAnswer> {
    let directory = Directory::from_yaml(file).unwrap_or_else(|problems| panic!("{problems}\n{file}"));
    let users: Value = serde_saphyr::from_str(file).expect("YAML");
    let mut answers = Vec::new();
    for (name, user) in users["users"].as_object().expect("users") {
        let called = user["authenticatedUsername"].as_str().unwrap_or(name);
        let request = json!({"username": name, "authenticatedUsername": called});
        let request: ConfigRequest = serde_json::from_value(request).expect("a question");
        answers.push(directory.config(&request).await.expect("an answer"));
    }
    answers
}

/// The pod of a file's example. One that says nothing of a pod's specification is laid over the manifest's, and so is one
/// that is a part of a file.
fn pod_of_file(example: &str) -> Value {
    let mut part: Value = serde_saphyr::from_str(example).expect("YAML");
    // In values of the chart, the file is one of them.
    if part["config"].is_object() {
        part = part["config"].take();
    }
    if part["kubernetes"]["pod"]["spec"].is_null() {
        let mut config = manifest();
        let mut changes = json!({});
        merge(&mut changes, part);
        // Whoever is asked, and by which key the gateway is known, is not the pod's concern.
        changes.as_object_mut().expect("a mapping").retain(|key, _| key == "kubernetes");
        drop(changes["kubernetes"].as_object_mut().map(|kubernetes| kubernetes.remove("connection")));
        merge(&mut config, changes);
        return pod(&base(&config), None);
    }
    let text = if example.contains("hostkeys") { example.to_owned() } else { whole(example) };
    let config = Config::parse(&text, Format::Yaml, &Machine::new());
    pod(&config.unwrap_or_else(|errors| panic!("{errors}\n{text}")).base, None)
}

/// Every example with a pod: what it is, and the pod.
async fn examples() -> Vec<(String, Value)> {
    let mut found = vec![("the manifest".to_owned(), pod(&base(&manifest()), None))];
    for page in [README].into_iter().chain(DOCS) {
        for block in yaml(page) {
            if block.contains("users:") {
                let answers = answers_of_users(&block).await;
                let pods = answers.iter().map(|answer| (block.clone(), pod(&base(&manifest()), Some(answer))));
                found.extend(pods);
            } else if block.contains("kubernetes:") {
                found.push((block.clone(), pod_of_file(&block)));
            }
        }
        for block in blocks(page, "json") {
            let json: Value = serde_json::from_str(&block).unwrap_or_else(|error| panic!("{error}\n{block}"));
            if json.get("config").is_some() {
                found.push((block, pod_of_answer(&json)));
            }
        }
    }
    found
}

/// A world whose namespace enforces the level.
async fn restricted() -> World {
    let world = World::start().await;
    world.cluster.restrict(world.namespace()).await;
    world
}

/// Asserts that the level admits the pods, and that it is enforced.
pub(super) async fn assert_admitted(pods: &[(String, Value)]) {
    let world = restricted().await;
    let bare = json!({"config": {"kubernetes": {"pod": {"spec": {"containers": [{"name": "shell", "image": "x"}]}}}}});
    let refusal = world.cluster.refuses(world.namespace(), &pod_of_answer(&bare)).await.expect("a refusal");
    assert!(refusal.contains("violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation"), "{refusal}");
    for (example, pod) in pods {
        assert_eq!(world.cluster.refuses(world.namespace(), pod).await, None, "{example}\n{pod:#}");
    }
}

#[podgate_test::multi_thread]
async fn pods_of_all_examples_are_admitted_by_the_manifests_namespace() {
    let examples = examples().await;
    assert!(examples.len() >= 12, "{}", examples.len());
    assert_admitted(&examples).await;
}

#[podgate_test::multi_thread]
async fn no_example_sends_a_list_of_containers_where_it_means_one_thing() {
    let mut answers = Vec::new();
    for block in blocks(WEBHOOKS, "yaml").into_iter().filter(|block| block.contains("users:")) {
        answers.extend(answers_of_users(&block).await.into_iter().map(|answer| Value::Object(answer.config)));
    }
    for block in blocks(WEBHOOKS, "json") {
        answers.extend(serde_json::from_str::<Value>(&block).expect("JSON").get("config").cloned());
    }
    assert!(answers.len() >= 3, "{answers:?}");
    for answer in answers {
        assert_eq!(answer.pointer("/kubernetes/pod/spec/containers"), None, "{answer}");
    }
}
