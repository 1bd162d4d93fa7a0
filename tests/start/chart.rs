//! The chart of `deploy/chart` without a cluster: what it refuses, and that it makes of values a configuration that is whole,
//! objects that fit each other, and the rights of the modes alone. `deploy/kubernetes.yaml` has the objects that it makes.

use super::deploy::{Mounted, is_restricted};
use crate::support::available;
use crate::support::helm::{Helm, objects};
use crate::support::keys::Key;
use crate::support::role::Rights;
use podgate::{Config, Format};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PLAIN: &str = include_str!("../../deploy/kubernetes.yaml");

fn helm() -> Option<Helm> {
    available("helm", "helm (the program of tests/kubernetes under that name)").then(|| Helm::new(None))
}

/// Values with which the chart renders without a cluster.
fn whole() -> Value {
    json!({
        "hostKeys": {"existingSecret": "podgate-hostkey"},
        "config": {"auth": {"publicKey": {"method": "webhook", "webhook": {"url": "https://users.example"}}}},
    })
}

/// The values with others over them.
fn with(more: &Value) -> Value {
    let mut values = whole();
    crate::support::world::merge(&mut values, more.clone());
    values
}

#[podgate_test::multi_thread]
async fn rendering_that_would_make_secrets_anew_or_serve_nobody_is_refused() {
    let Some(helm) = helm() else { return };
    let config = whole()["config"].clone();
    for (values, told) in [
        (json!({"hostKeys": {"existingSecret": "k"}}), "config.auth: who are the users?"),
        (
            json!({"config": config.clone()}),
            "would make the host key anew at each rendering; create a Secret and name it in hostKeys.existingSecret",
        ),
        (json!({"hostKeys": {"existingSecret": "k"}, "webhooks": {"enabled": true}}), "webhooks.users: has no user"),
        (
            json!({"hostKeys": {"existingSecret": "k"}, "webhooks": {"enabled": true, "users": {"alice": {}}}}),
            "name it in webhooks.existingTlsSecret",
        ),
        (with(&json!({"guests": {"namespace": "podgate"}})), "must not be the gateway's own namespace"),
        (
            with(&json!({"config": {"ssh": {"listen": "0.0.0.0:22"}}})),
            "config.ssh.listen: the container's port is 2222",
        ),
        (
            with(&json!({"config": {"kubernetes": {"pod": {"metadata": {"namespace": "other"}}}}})),
            "use guests.namespace, which also grants the permissions there",
        ),
        (with(&json!({"metrics": {"serviceMonitor": {"enabled": true}}})), "needs metrics.enabled"),
        (with(&json!({"recordings": {"enabled": true}})), "recordings.existingClaim: name the PersistentVolumeClaim"),
        (with(&json!({"replica": 3})), "replica"),
        (with(&json!({"replicas": 0})), "replicas"),
        (with(&json!({"guests": {"namespace": "Guests"}})), "namespace"),
        (with(&json!({"config": {"kubernetes": {"pod": {"mode": "sesion"}}}})), "mode"),
        (with(&json!({"terminationGracePeriodSeconds": 5})), "terminationGracePeriodSeconds"),
        (with(&json!({"service": {"externalTrafficPolicy": "local"}})), "externalTrafficPolicy"),
    ] {
        let file = helm.values("values.json", &values);
        let done = helm.render(&[&file], &[]).await;
        assert!(done.status != 0 && done.stderr.contains(told), "{values}: {done:?}");
    }
}

/// Removes the parts that differ from rendering to file and say nothing: the labels of Helm.
fn plain(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        for label in
            ["helm.sh/chart", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"]
        {
            map.remove(label);
        }
        map.remove("helm.sh/resource-policy");
        map.values_mut().for_each(plain);
        map.retain(|key, value| key != "annotations" || value.as_object().is_none_or(|map| !map.is_empty()));
        if let Some(text) = map.get("config.yaml").and_then(Value::as_str) {
            let config = serde_saphyr::from_str(text).expect("YAML");
            map.insert("config.yaml".to_owned(), config);
        }
    } else if let Some(list) = value.as_array_mut() {
        list.iter_mut().for_each(plain);
    }
}

#[podgate_test::multi_thread]
async fn plain_manifest_has_the_objects_that_the_chart_makes() {
    let Some(helm) = helm() else { return };
    let values = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes.values.yaml");
    let (mut made, mut file) = (helm.template(&[values], &[]).await, objects(PLAIN));
    for objects in [&mut made, &mut file] {
        objects.iter_mut().for_each(plain);
        objects.sort_by_key(|object| {
            [&object["kind"], &object["metadata"]["namespace"], &object["metadata"]["name"]].map(Value::to_string)
        });
    }
    assert_eq!(made.len(), file.len());
    for (made, file) in made.iter().zip(&file) {
        assert_eq!(made, file, "the chart's {made:#}\nthe file's {file:#}");
    }
}

/// The values that an operator may set, each on its own.
fn choices() -> Vec<Value> {
    let (_, paper) = include_str!("../../docs/kubernetes.md").split_once("\n## The chart\n").expect("the section");
    let example = paper.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    vec![
        json!({}),
        serde_saphyr::from_str(example).expect("YAML"),
        json!({"config": {"kubernetes": {"pod": {"mode": "session"}}}, "replicas": 5, "service": {"type": "NodePort", "nodePort": 30022}}),
        json!({
            "config": {"kubernetes": {"pod": {"mode": "persistent", "metadata": {"name": "work"}, "createMissingPods": true}}},
            "configInSecret": true,
            "metrics": {"enabled": true, "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}}, "prometheusRule": {"enabled": true}, "dashboard": {"enabled": true}},
        }),
        json!({
            "guests": {"moreNamespaces": ["blue", "green"], "moreModes": ["session", "persistent"]},
            "service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"], "annotations": {"example.com/a": "b"}},
            "networkPolicy": {"gatewayEgress": [{"ports": [{"port": 443}]}], "guests": {"moreEgress": [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}]}},
            "imagePullSecrets": ["pull"], "image": {"digest": format!("sha256:{}", "0".repeat(64))},
            "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "high",
            "affinity": {"nodeAffinity": {}}, "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a"]}],
            "extraEnv": [{"name": "A", "value": "b"}], "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"},
            "extraVolumes": [{"name": "x", "emptyDir": {}}], "extraVolumeMounts": [{"name": "x", "mountPath": "/x"}],
            "serviceAccount": {"annotations": {"example.com/role": "x"}},
        }),
        json!({
            "recordings": {"enabled": true, "existingClaim": "recordings", "sealKeySecret": "audit"},
            "config": {"audit": {"format": "asciinema", "intercept": {"stdout": true}}},
        }),
        json!({"webhooks": {"enabled": true, "existingTlsSecret": "tls", "caConfigMap": "ca", "users": {"alice": {"authorizedKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0pVm5sEBn7sBq9FMcHGVKmbLBrKwDjIVqXxoEPjUvn alice"]}}}}),
        json!({"config": {"ssh": {"listeners": [{"address": "0.0.0.0:2222", "proxyProtocol": "required", "trustedProxies": ["10.0.0.1"]}]}}}),
    ]
}

fn of<'o>(objects: &'o [Value], kind: &str) -> Vec<&'o Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The texts of a field in a list.
fn each(list: &Value, field: &str) -> BTreeSet<String> {
    list.as_array().expect("a list").iter().map(|entry| entry[field].to_string()).collect()
}

/// The gateway's configuration, wherever it is kept.
fn configuration(made: &[Value]) -> &str {
    let text = |map: &Value| map["data"]["config.yaml"].is_string() || map["stringData"]["config.yaml"].is_string();
    let map = made.iter().find(|object| text(object)).expect("a configuration");
    map["data"]["config.yaml"].as_str().or(map["stringData"]["config.yaml"].as_str()).expect("a text")
}

#[podgate_test::multi_thread]
async fn values_make_a_configuration_that_is_whole() {
    let Some(helm) = helm() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let host_key = std::fs::read_to_string(Key::make(folder.path(), "host").file).expect("a key");
    let ca = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).expect("a certificate").cert.pem();
    let files = Mounted { host_key, ca };
    for choice in choices() {
        let file = helm.values("values.json", &with(&choice));
        let made = helm.template(&[&file], &[]).await;
        let config = Config::parse(configuration(&made), Format::Yaml, &files);
        let config = config.unwrap_or_else(|errors| panic!("{choice}: {errors}"));
        assert_eq!(config.notices, [], "{choice}");
    }
}

/// Asserts that a Deployment is restricted, and that its selector, Services and volumes are its pod's.
fn assert_whole(deployment: &Value, made: &[Value]) {
    let pod = &deployment["spec"]["template"];
    is_restricted(&pod["spec"]);
    let labels = pod["metadata"]["labels"].as_object().expect("labels");
    let selects = |selector: &Value| {
        selector.as_object().expect("labels").iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    assert!(selects(&deployment["spec"]["selector"]["matchLabels"]), "{deployment}");
    let services = of(made, "Service").into_iter().filter(|service| selects(&service["spec"]["selector"]));
    let reached = services.flat_map(|service| each(&service["spec"]["ports"], "targetPort")).collect::<BTreeSet<_>>();
    let container = &pod["spec"]["containers"][0];
    assert_eq!(each(&container["ports"], "name"), reached, "{deployment}");
    assert_eq!(each(&pod["spec"]["volumes"], "name"), each(&container["volumeMounts"], "name"), "{deployment}");
}

#[podgate_test::multi_thread]
async fn values_make_objects_that_fit() {
    let Some(helm) = helm() else { return };
    for choice in choices() {
        let file = helm.values("values.json", &with(&choice));
        let made = helm.template(&[&file], &[]).await;
        let deployments = of(&made, "Deployment");
        deployments.iter().for_each(|deployment| assert_whole(deployment, &made));
        let gateway = deployments.iter().find(|it| it["metadata"]["name"] == "podgate").expect("the gateway");
        for budget in of(&made, "PodDisruptionBudget") {
            assert_eq!(budget["spec"]["selector"], gateway["spec"]["selector"]);
        }
        for service in of(&made, "Service") {
            let outside = service["spec"]["type"].as_str().is_some_and(|kind| kind != "ClusterIP");
            let policy = if outside { json!("Local") } else { Value::Null };
            assert_eq!(service["spec"]["externalTrafficPolicy"], policy, "{choice}");
        }
        let name = |object: &Value| {
            [&object["kind"], &object["metadata"]["namespace"], &object["metadata"]["name"]].map(Value::to_string)
        };
        let names: BTreeSet<_> = made.iter().map(name).collect();
        assert_eq!(names.len(), made.len(), "{names:?}");
        let (roles, bindings) = (of(&made, "Role").len(), of(&made, "RoleBinding").len());
        let namespaces = if choice["guests"].is_null() { 1 } else { 3 };
        assert_eq!((roles, bindings), (namespaces, namespaces), "{choice}");
    }
}

#[podgate_test::multi_thread]
async fn lint_finds_nothing_in_the_chart() {
    let Some(helm) = helm() else { return };
    let chart = Helm::chart().display().to_string();
    for choice in choices() {
        let file = helm.values("values.json", &with(&choice));
        let done = helm.run(&["lint", "--strict", &chart, "--namespace", "podgate", "-f", &file]).await.expect(0);
        assert!(!done.text().contains("[WARNING]") && !done.text().contains("[ERROR]"), "{done:?}");
    }
}

/// The rights in the first Role of a rendering.
async fn granted(helm: &Helm, choice: &Value) -> BTreeSet<(String, String)> {
    let file = helm.values("values.json", &with(choice));
    let made = helm.template(&[&file], &["--show-only", "templates/access.yaml"]).await;
    Rights::of_role(of(&made, "Role")[0]).each()
}

#[podgate_test::multi_thread]
async fn role_has_the_rights_of_the_modes_alone() {
    let Some(helm) = helm() else { return };
    let pod = |pod: Value| json!({"config": {"kubernetes": {"pod": pod}}});
    let persistent = |more: Value| {
        let mut choice = json!({"mode": "persistent", "metadata": {"name": "work"}});
        crate::support::world::merge(&mut choice, more);
        pod(choice)
    };
    assert_eq!(granted(&helm, &json!({})).await, Rights::gateway().each());
    assert_eq!(granted(&helm, &pod(json!({"mode": "session"}))).await, Rights::session().each());
    assert_eq!(granted(&helm, &json!({"guests": {"moreModes": ["session"]}})).await, Rights::session().each());
    let claims = Rights::gateway().without("create", "pods").each();
    let without = |rights: &BTreeSet<(String, String)>, verb: &str| {
        rights.iter().filter(|right| **right != (verb.to_owned(), "pods".to_owned())).cloned().collect::<BTreeSet<_>>()
    };
    let claims = without(&claims, "delete");
    assert_eq!(granted(&helm, &persistent(json!({}))).await, claims);
    assert_eq!(granted(&helm, &persistent(json!({"shared": true}))).await, without(&claims, "patch"));
    let creates = Rights::gateway().without("delete", "pods").each();
    assert_eq!(granted(&helm, &persistent(json!({"createMissingPods": true}))).await, creates);
    assert_eq!(granted(&helm, &json!({"guests": {"moreModes": ["persistent"]}})).await, Rights::gateway().each());
}
