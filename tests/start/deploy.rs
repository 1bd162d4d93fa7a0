//! `deploy/kubernetes.yaml`: its parts fit each other, its configuration is whole, and neither the gateway nor a guest gets
//! more of the node than the strictest level of Kubernetes allows.

use crate::support::keys::Key;
use podgate::config::{Config, Files, Format};
use serde_json::{Value, json};
use std::io;
use std::path::Path;

const FILE: &str = include_str!("../../deploy/kubernetes.yaml");

/// The objects of a kind in the file.
fn objects(kind: &str) -> Vec<Value> {
    let documents = FILE.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
    documents.filter(|object| object["kind"] == kind).collect()
}

/// The only object of a kind in the file.
pub(super) fn object(kind: &str) -> Value {
    let mut objects = objects(kind);
    assert_eq!(objects.len(), 1, "{kind}");
    objects.remove(0)
}

/// The gateway's configuration.
fn configuration() -> Value {
    let text = object("ConfigMap")["data"]["config.yaml"].clone();
    serde_saphyr::from_str(text.as_str().expect("a text")).expect("YAML")
}

/// What is mounted into the gateway's container.
struct Mounted {
    host_key: String,
    ca: String,
}

impl Files for Mounted {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("/etc/podgate/hostkeys/ssh_host_ed25519_key") => Ok(self.host_key.clone()),
            Some("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt") => Ok(self.ca.clone()),
            Some("/var/run/secrets/kubernetes.io/serviceaccount/token") => Ok("t.o.k".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

#[test]
fn configuration_is_whole_with_what_is_mounted() {
    let folder = tempfile::tempdir().expect("a folder");
    let host_key = std::fs::read_to_string(Key::make(folder.path(), "host").file).expect("a key");
    let ca = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).expect("a certificate").cert.pem();
    let text = object("ConfigMap")["data"]["config.yaml"].as_str().expect("a text").to_owned();
    let config = Config::parse(&text, Format::Yaml, &Mounted { host_key, ca });
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.notices, []);
}

#[test]
fn parts_name_each_other() {
    let (deployment, role, binding) = (object("Deployment"), object("Role"), object("RoleBinding"));
    let account = object("ServiceAccount")["metadata"].clone();
    let pod = &deployment["spec"]["template"];
    let config = configuration();
    assert_eq!(pod["spec"]["serviceAccountName"], account["name"]);
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    let subject = json!({"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]});
    assert_eq!(binding["subjects"], json!([subject]));
    for object in [&role, &binding] {
        assert_eq!(object["metadata"]["namespace"], config["kubernetes"]["pod"]["metadata"]["namespace"]);
    }
    let names: Vec<Value> = objects("Namespace").into_iter().map(|object| object["metadata"]["name"].clone()).collect();
    assert_eq!(names, [account["namespace"].clone(), role["metadata"]["namespace"].clone()]);
    for object in [&deployment, &object("ConfigMap"), &object("Service")] {
        assert_eq!(object["metadata"]["namespace"], account["namespace"]);
    }
    assert_eq!(object("Service")["spec"]["selector"], pod["metadata"]["labels"]);
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);

    let ports = pod["spec"]["containers"][0]["ports"].as_array().expect("ports");
    let listens = |key: &Value| key.as_str().expect("host:port").rsplit_once(':').expect("host:port").1.to_owned();
    let ports: Vec<String> = ports.iter().map(|port| port["containerPort"].to_string()).collect();
    assert_eq!(ports, [listens(&config["ssh"]["listen"]), listens(&config["health"]["listen"])]);
}

/// What the level `restricted` of the Pod Security Standards asks of a pod's specification.
fn is_restricted(spec: &Value) {
    let whole = &spec["securityContext"];
    assert_eq!((&whole["runAsNonRoot"], &whole["seccompProfile"]), (&json!(true), &json!({"type": "RuntimeDefault"})));
    assert!(whole["runAsUser"].as_u64().is_some_and(|user| user > 0), "{whole}");
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        assert_eq!(spec[field], Value::Null);
    }
    for container in spec["containers"].as_array().expect("containers") {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{container}");
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{container}");
        assert_eq!(context["privileged"], Value::Null, "{container}");
    }
}

#[test]
fn gateway_and_guests_are_restricted() {
    for namespace in objects("Namespace") {
        let level = "pod-security.kubernetes.io/enforce";
        assert_eq!(namespace["metadata"]["labels"][level], "restricted", "{namespace}");
    }
    let gateway = &object("Deployment")["spec"]["template"]["spec"];
    is_restricted(gateway);
    assert_eq!(gateway["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
    is_restricted(&configuration()["kubernetes"]["pod"]["spec"]);
}
