//! `deploy/kubernetes.yaml` and `deploy/webhooks.yaml`: their parts fit each other, the configuration is whole, and neither
//! the gateway nor the webhook server nor a guest gets more of the node than the strictest level of Kubernetes allows.

use crate::support::keys::Key;
use podgate::check_answer;
use podgate::{Config, Files, Format};
use podgate_webhooks::directory::{Directory, Findings, Problem};
use serde_json::{Value, json};
use std::io;
use std::path::Path;

const FILE: &str = include_str!("../../deploy/kubernetes.yaml");
const WEBHOOKS: &str = include_str!("../../deploy/webhooks.yaml");

/// The objects of a kind in the gateway's file.
fn objects(kind: &str) -> Vec<Value> {
    objects_of(FILE, kind)
}

fn objects_of(file: &str, kind: &str) -> Vec<Value> {
    let documents = file.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
    documents.filter(|object| object["kind"] == kind).collect()
}

/// The only object of a kind in the gateway's file.
pub(super) fn object(kind: &str) -> Value {
    object_of(FILE, kind)
}

fn object_of(file: &str, kind: &str) -> Value {
    let mut objects = objects_of(file, kind);
    assert_eq!(objects.len(), 1, "{kind}");
    objects.remove(0)
}

/// The gateway's configuration.
fn configuration() -> Value {
    let text = object("ConfigMap")["data"]["config.yaml"].clone();
    serde_saphyr::from_str(text.as_str().expect("a text")).expect("YAML")
}

/// The files mounted into the gateway's container.
pub(super) struct Mounted {
    pub(super) host_key: String,
    pub(super) ca: String,
}

impl Files for Mounted {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("/etc/podgate/hostkeys/ssh_host_ed25519_key") => Ok(self.host_key.clone()),
            Some("/etc/podgate/webhooks-ca/ca.crt" | "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt") => {
                Ok(self.ca.clone())
            }
            Some("/var/run/secrets/kubernetes.io/serviceaccount/token") => Ok("t.o.k".to_owned()),
            Some("/etc/podgate/audit/audit_key") => Ok(include_str!("../../recording/tests/data/seal").to_owned()),
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
    assert_eq!(ports, [listens(&config["ssh"]["listen"])]);
}

#[test]
fn probes_ask_where_no_other_pod_can_reach() {
    let (config, deployment) = (configuration(), object("Deployment"));
    let listen = config["health"]["listen"].as_str().expect("host:port");
    assert!(listen.starts_with("127.0.0.1:"), "{listen}");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let args = container["args"].as_array().expect("words");
    for (probe, word) in [("startupProbe", "live"), ("readinessProbe", "ready"), ("livenessProbe", "live")] {
        let mut asked = vec![json!("/usr/local/bin/podgate"), json!(format!("--healthcheck={word}"))];
        asked.extend(args.iter().cloned());
        assert_eq!(container[probe]["exec"]["command"], json!(asked), "{probe}");
        assert!(container[probe]["timeoutSeconds"].as_u64().is_some_and(|seconds| seconds > 2), "{probe}");
    }
}

#[test]
fn strangers_reach_ssh_alone_and_guests_reach_nothing_of_the_cluster() {
    let gateway = &object("Deployment")["spec"]["template"];
    let (config, policies) = (configuration(), objects("NetworkPolicy"));
    let of = |namespace: &Value| {
        let found = policies.iter().find(|policy| policy["metadata"]["namespace"] == *namespace);
        &found.expect("a policy")["spec"]
    };
    let policy = of(&object("Deployment")["metadata"]["namespace"]);
    assert_eq!(policy["podSelector"]["matchLabels"], gateway["metadata"]["labels"]);
    let port = &gateway["spec"]["containers"][0]["ports"][0]["containerPort"];
    assert_eq!(policy["ingress"], json!([{"ports": [{"port": port}]}]));
    let guests = of(&config["kubernetes"]["pod"]["metadata"]["namespace"]);
    assert_eq!((&guests["podSelector"], &guests["ingress"]), (&json!({}), &Value::Null));
    assert_eq!(guests["policyTypes"], json!(["Ingress", "Egress"]));

    let (server, policy) = (object_of(WEBHOOKS, "Deployment"), object_of(WEBHOOKS, "NetworkPolicy"));
    assert_eq!(policy["metadata"]["namespace"], server["metadata"]["namespace"]);
    let (pod, policy) = (&server["spec"]["template"], &policy["spec"]);
    assert_eq!(policy["podSelector"]["matchLabels"], pod["metadata"]["labels"]);
    let port = &pod["spec"]["containers"][0]["ports"][0]["containerPort"];
    let from = json!([{"podSelector": {"matchLabels": gateway["metadata"]["labels"]}}]);
    assert_eq!(policy["ingress"], json!([{"from": from, "ports": [{"port": port}]}]));
}

/// Checks a pod's specification against the level `restricted` of the Pod Security Standards.
pub(super) fn is_restricted(spec: &Value) {
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

/// The file's folder in a pod, and the volume that is mounted there.
fn volume_of<'p>(pod: &'p Value, file: &str) -> (&'p str, &'p Value) {
    let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts");
    let folder = |mount: &Value| mount["mountPath"].as_str().expect("a path").to_owned();
    let mount = mounts.iter().find(|mount| file.starts_with(&format!("{}/", folder(mount)))).expect(file);
    assert_eq!((&mount["readOnly"], &mount["subPath"]), (&json!(true), &Value::Null), "{mount}");
    let volumes = pod["volumes"].as_array().expect("volumes");
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("its volume");
    (mount["mountPath"].as_str().expect("a path"), volume)
}

#[test]
fn webhook_server_is_where_the_gateway_asks_and_reads_what_is_mounted() {
    let (deployment, service) = (object_of(WEBHOOKS, "Deployment"), object_of(WEBHOOKS, "Service"));
    let secret = object_of(WEBHOOKS, "Secret");
    let (pod, home) = (&deployment["spec"]["template"], &object("Deployment")["metadata"]["namespace"]);
    for object in [&deployment, &service, &secret] {
        assert_eq!(&object["metadata"]["namespace"], home);
    }
    assert_eq!(service["spec"]["selector"], pod["metadata"]["labels"]);
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
    let (port, container) = (&service["spec"]["ports"][0], &pod["spec"]["containers"][0]);
    let listens = &container["ports"][0];
    assert_eq!((&port["port"], &port["targetPort"]), (&json!(443), &listens["name"]));
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["tcpSocket"]["port"], listens["name"], "{probe}");
    }

    let args: Vec<&str> = container["args"].as_array().expect("words").iter().filter_map(Value::as_str).collect();
    let value = |name: &str| args.iter().find_map(|word| word.strip_prefix(&format!("--{name}="))).expect(name);
    assert_eq!(value("listen"), format!("https://0.0.0.0:{}", listens["containerPort"]));
    for (name, secret, file) in [
        ("config", secret["metadata"]["name"].as_str().expect("a name"), "users.yaml"),
        ("cert", "podgate-webhooks-tls", "tls.crt"),
        ("key", "podgate-webhooks-tls", "tls.key"),
    ] {
        let (folder, volume) = volume_of(&pod["spec"], value(name));
        assert_eq!((value(name), &volume["secret"]["secretName"]), (&*format!("{folder}/{file}"), &json!(secret)));
    }

    // Readable for the group that the container is in.
    assert_eq!(WEBHOOKS.matches("defaultMode: 0440").count(), 2);
    assert_eq!(pod["spec"]["securityContext"]["fsGroup"], 65532);

    let (config, gateway) = (configuration(), object("Deployment"));
    let host = format!(
        "https://{}.{}.svc",
        service["metadata"]["name"].as_str().expect("a name"),
        home.as_str().expect("a name")
    );
    let ca = "/etc/podgate/webhooks-ca/ca.crt";
    assert_eq!(config["auth"]["publicKey"]["webhook"], json!({"url": host, "cacert": ca}));
    assert_eq!(config["configserver"], json!({"url": format!("{host}/config"), "cacert": ca}));
    let (_, volume) = volume_of(&gateway["spec"]["template"]["spec"], ca);
    assert_eq!(volume["configMap"], json!({"name": "podgate-webhooks-ca", "optional": true}));
    for made in [
        "create configmap podgate-webhooks-ca -n podgate --from-file=ca.crt",
        "create secret tls podgate-webhooks-tls -n podgate",
    ] {
        assert!(WEBHOOKS.contains(made), "{made}");
    }
}

#[test]
fn webhook_server_is_restricted() {
    let pod = &object_of(WEBHOOKS, "Deployment")["spec"]["template"]["spec"];
    is_restricted(pod);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    for resource in [&container["resources"]["requests"]["memory"], &container["resources"]["limits"]["memory"]] {
        assert!(resource.is_string(), "{container}");
    }
}

#[test]
fn users_of_the_webhook_server_are_read_without_a_warning() {
    let text = object_of(WEBHOOKS, "Secret")["stringData"]["users.yaml"].as_str().expect("a text").to_owned();
    let check = |settings: &serde_json::Map<String, Value>| {
        let judged = check_answer(settings);
        let problem = |path: String, text: String| Problem { path, text };
        Findings {
            mistakes: judged.mistakes.into_iter().map(|error| problem(error.path, error.text)).collect(),
            warnings: judged.notices.into_iter().map(|notice| problem(notice.path, notice.text)).collect(),
        }
    };
    let directory = Directory::from_yaml_checked(&text, &check).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(directory.warnings(), []);
}
