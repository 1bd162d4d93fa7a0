//! The mapping of old keys, a row each; refusals first.

use crate::config::Config;
use crate::config::fixture::{MemoryFiles, has, load, minimal, set};
use crate::schema::Format;
use crate::schema::migrate::{Migration, migrate, migrate_text};
use crate::schema::{KeyOutcome, get, put};
use crate::settings::{PodMode, Settings};
use serde_json::{Value, json};

/// A file of kuberun's with one value changed.
fn kuberun(path: &str, value: Value) -> Value {
    let mut tree = json!({
        "auth": {"url": "https://auth.example", "password": true, "pubkey": true},
        "backend": "kuberun", "kuberun": {},
    });
    put(tree.as_object_mut().expect("a mapping"), path, value);
    tree
}

fn migrated(tree: &Value) -> Migration {
    migrate(tree.as_object().expect("a mapping").clone())
}

/// What `podgate migrate` finds.
fn rewritten(tree: &Value) -> Migration {
    migrate_text(&tree.to_string(), Format::Json).expect("parses")
}

fn refused(tree: &Value, path: &str, part: &str) {
    let migration = migrated(tree);
    let found = migration.refusals.iter().any(|error| error.path == path && error.text.contains(part));
    assert!(found, "{tree}: {:?}", migration.refusals);
}

#[test]
fn what_cannot_be_said_exactly_is_refused_with_what_to_do() {
    for (path, value, part) in [
        ("kuberun.connection.insecure", json!(true), "give the cluster's CA"),
        ("kuberun.connection.insecure", json!("yes"), "give the cluster's CA"),
        ("kuberun.connection.hots", json!("a"), "did you mean \"host\"?"),
        ("kuberun.connection", json!([1]), "must be a mapping"),
        ("kuberun.pod.podSpecs", json!({}), "did you mean \"podSpec\"?"),
        ("kuberun.pod.mode", json!("session"), "unknown key"),
        ("kuberun.pod.podSpec", json!("x"), "must be a mapping"),
        ("kuberun.pod.disableCommand", json!("maybe"), "must be true or false"),
        ("kuberun.pod", json!(true), "must be a mapping"),
        ("kuberun.timeouts", json!("1s"), "did you mean \"timeout\"?"),
        ("kuberun", json!([1]), "must be a mapping"),
    ] {
        refused(&kuberun(path, value), path, part);
    }
    let both = kuberun("kuberun.pod", json!({"enableAgent": true, "disableAgent": true}));
    refused(&both, "kuberun.pod.enableAgent", "contradict");
    let forced = set(kuberun("kuberun.pod.disableCommand", json!(true)), "security.forceCommand", json!("/bin/a"));
    refused(&forced, "kuberun.pod.disableCommand", "keep one of them");
    let either = json!({"kuberun": {"timeout": "1s"}, "kubernetes": {"timeouts": {"http": "1s"}}});
    refused(&either, "kuberun", "keep one of them");
    for backend in ["docker", "dockerrun"] {
        let tree = json!({"backend": backend, "dockerrun": {"host": "x"}, "docker": {"connection": {"host": "x"}}});
        refused(&tree, "backend", "write backend: kubernetes");
        assert!(load(&set(set(minimal(), "backend", json!(backend)), "dockerrun.host", json!("x"))).is_err());
    }
    for block in ["docker", "dockerrun"] {
        // ContainerSSH's backend was Docker where nothing was said.
        refused(&json!({block: {"connection": {"host": "x"}}}), "backend", "is not set, which was Docker");
    }
    refused(&json!({"backend": "sshproxy", "sshproxy": {"server": "x"}}), "backend", "sshproxy is not built yet");
    refused(&json!({"auth": {"url": "https://a", "password": false, "pubkey": false}}), "auth.url", "both false");
    let beside =
        json!({"auth": {"url": "https://a", "publicKey": {"method": "webhook", "webhook": {"url": "https://b"}}}});
    refused(&beside, "auth.url", "cannot be combined with auth.publicKey.webhook");
}

/// `(old path, old value, [(new path, new value)])`
type Row = (&'static str, Value, Vec<(&'static str, Value)>);

fn moves(old: &'static str, value: Value, new: &'static str) -> Row {
    (old, value.clone(), vec![(new, value)])
}

fn rows() -> Vec<Row> {
    let steps = ["podStart", "podStop", "commandStart", "signal", "window"];
    let steps = steps.map(|step| &*format!("kubernetes.timeouts.{step}").leak());
    let mut rows = vec![
        (
            "backend",
            json!("kuberun"),
            vec![("backend", json!("kubernetes")), ("kubernetes.pod.mode", json!("session"))],
        ),
        moves("kuberun.connection.timeout", json!("9s"), "kubernetes.timeouts.http"),
        ("kuberun.timeout", json!("1m30s"), steps.iter().map(|step| (*step, json!("1m30s"))).collect()),
        moves("kuberun.pod.namespace", json!("guests"), "kubernetes.pod.metadata.namespace"),
        moves("kuberun.pod.consoleContainerNumber", json!(1), "kubernetes.pod.consoleContainerNumber"),
        moves("kuberun.pod.subsystems", json!({"sftp": "/s"}), "kubernetes.pod.subsystems"),
        moves("kuberun.pod.agentPath", json!("/agent"), "kubernetes.pod.agentPath"),
        moves("kuberun.pod.shellCommand", json!(["/bin/zsh"]), "kubernetes.pod.shellCommand"),
        moves("kuberun.pod.disableAgent", json!(true), "kubernetes.pod.disableAgent"),
        ("kuberun.pod.enableAgent", json!(true), vec![("kubernetes.pod.disableAgent", json!(false))]),
        ("kuberun.pod.enableAgent", json!(false), vec![("kubernetes.pod.disableAgent", json!(true))]),
        (
            "kuberun.pod.disableCommand",
            json!(true),
            vec![("security.command.mode", json!("disable")), ("security.subsystem.mode", json!("disable"))],
        ),
        ("listen", json!("127.0.0.1:2022"), vec![("ssh.listen", json!("127.0.0.1:2022"))]),
        (
            "auth.timeout",
            json!("3s"),
            vec![("auth.password.webhook.timeout", json!("3s")), ("auth.publicKey.webhook.timeout", json!("3s"))],
        ),
        ("auth.pubkey", json!(true), vec![("auth.publicKey.method", json!("webhook"))]),
    ];
    for (key, value) in [
        ("host", json!("10.0.0.1:6443")),
        ("path", json!("/api")),
        ("username", json!("u")),
        ("password", json!("p")),
        ("serverName", json!("k8s")),
        ("certFile", json!("/c")),
        ("keyFile", json!("/k")),
        ("cacertFile", json!("/ca")),
        ("cert", json!("-----C")),
        ("key", json!("-----K")),
        ("cacert", json!("-----CA")),
        ("bearerToken", json!("t")),
        ("bearerTokenFile", json!("/t")),
        ("qps", json!(7.5)),
        ("burst", json!(20)),
    ] {
        let at = |block: &str| -> &'static str { format!("{block}.connection.{key}").leak() };
        rows.push(moves(at("kuberun"), value, at("kubernetes")));
    }
    rows
}

#[test]
fn each_old_key_becomes_what_the_table_says_and_is_named() {
    for (old, value, new) in rows() {
        let migration = migrated(&kuberun(old, value.clone()));
        assert!(migration.refusals.is_empty(), "{old}: {:?}", migration.refusals);
        for (path, value) in &new {
            assert_eq!(get(&migration.document, path), Some(value), "{old}");
        }
        assert_eq!(get(&migration.document, "kuberun"), None);
        assert_eq!(get(&migration.document, "kubernetes.pod.mode"), Some(&json!("session")), "{old}");
        let told = migration.changes.iter().find(|change| change.path == old).unwrap_or_else(|| panic!("{old}"));
        let (path, _) = new.last().expect("a new key");
        assert!(told.to_string().contains(path), "{told}");
        let warnings = migration.notices();
        let block = old.split('.').next().expect("a block").replace("backend", "kuberun");
        let named: Vec<_> = warnings.iter().filter(|notice| notice.warn && notice.path == block).collect();
        assert!(named.len() == 1 && named[0].text.contains(&told.to_string()), "{old}: {warnings:?}");
    }
}

#[test]
fn silence_of_an_old_file_is_said_aloud() {
    let migration = migrated(&kuberun("kuberun.timeout", json!("60s")));
    for (path, value) in [
        ("kubernetes.pod.mode", json!("session")),
        ("kubernetes.pod.disableAgent", json!(true)),
        ("kubernetes.pod.shellCommand", json!([])),
        ("backend", json!("kubernetes")),
    ] {
        assert_eq!(get(&migration.document, path), Some(&value), "{path}");
    }
    assert!(migration.decisions.iter().any(|decision| decision.path == "kubernetes.pod.mode"));
    // An agent needs a shell to start; without one ContainerSSH took the file no more than we take the image's command.
    let agent = migrated(&kuberun("kuberun.pod.enableAgent", json!(true)));
    assert_eq!(get(&agent.document, "kubernetes.pod.shellCommand"), None);
    assert!(agent.decisions.iter().any(|decision| decision.path == "kubernetes.pod.shellCommand"));
}

#[test]
fn zeros_of_a_written_file_say_nothing() {
    let zeros = json!({
        "connection": {"host": "", "insecure": false, "timeout": "0s", "certFile": "", "qps": 0},
        "pod": {"namespace": "", "podSpec": {"containers": null, "volumes": []}, "disableCommand": false, "shellCommand": []},
        "timeout": 0,
    });
    let migration = migrated(&kuberun("kuberun", zeros));
    let expected = json!({"pod": {"mode": "session", "disableAgent": true, "shellCommand": []}});
    assert_eq!(migration.document.get("kubernetes"), Some(&expected));
    assert_eq!(migration.document.get("security"), None);
    assert!(migration.refusals.is_empty(), "{:?}", migration.refusals);
}

#[test]
fn service_accounts_ca_is_a_ca_and_not_a_certificate() {
    let ca = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
    for (connection, expected) in [
        (json!({"certFile": ca}), json!({"cacertFile": ca})),
        (json!({"certFile": ca, "cacertFile": "/own.crt"}), json!({"cacertFile": "/own.crt"})),
        (json!({"certFile": ca, "keyFile": "/k"}), json!({"certFile": ca, "keyFile": "/k"})),
    ] {
        let migration = migrated(&kuberun("kuberun.connection", connection));
        assert_eq!(get(&migration.document, "kubernetes.connection"), Some(&expected));
    }
}

#[test]
fn metadata_and_spec_are_whole_and_spelled_as_kubernetes_spells_them() {
    let written = json!({
        "initcontainers": [{"name": "i", "image": "i", "imagepullpolicy": "Never"}],
        "containers": [{
            "name": "shell", "image": "a", "volumemounts": [{"name": "v", "mountpath": "/v", "readonly": true}],
            "securitycontext": {"runasuser": 0, "allowprivilegeescalation": false},
            "resources": {"limits": {"cpu": {"format": "DecimalSI"}, "memory": "1Gi"}, "requests": {}},
            "livenessprobe": {"handler": {"tcpsocket": {"port": {"type": 0, "intval": 80, "strval": ""}}}, "periodseconds": 5},
            "env": [{"name": "A", "value": ""}], "envfrom": [{"configmapref": {"localobjectreference": {"name": "c"}}}],
        }],
        "volumes": [{"name": "v", "volumesource": {"hostpath": {"path": "/x"}, "emptydir": null}}],
        "nodeselector": {"hostname": "n", "readonly": "y"}, "restartpolicy": "Always", "deprecatedserviceaccount": "s",
        "hostnetwork": false, "overhead": {},
    });
    let spec = json!({
        "initContainers": [{"name": "i", "image": "i", "imagePullPolicy": "Never"}],
        "containers": [{
            "name": "shell", "image": "a", "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}],
            "securityContext": {"runAsUser": 0, "allowPrivilegeEscalation": false},
            "resources": {"limits": {"memory": "1Gi"}},
            "livenessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 5},
            "env": [{"name": "A", "value": ""}], "envFrom": [{"configMapRef": {"name": "c"}}],
        }],
        "volumes": [{"name": "v", "hostPath": {"path": "/x"}, "emptyDir": null}],
        "nodeSelector": {"hostname": "n", "readonly": "y"}, "restartPolicy": "Never", "serviceAccount": "s",
        "hostNetwork": false,
    });
    let migration = migrated(&kuberun("kuberun.pod.podSpec", written));
    assert_eq!(get(&migration.document, "kubernetes.pod.spec"), Some(&spec));
    let lost = "kubernetes.pod.spec.containers[0].resources.limits.cpu";
    assert!(migration.decisions.iter().any(|decision| decision.path == lost), "{:?}", migration.decisions);
    let again = migrated(&kuberun("kuberun.pod.podSpec", spec.clone()));
    assert!(again.decisions.iter().all(|decision| !decision.path.starts_with("kubernetes.pod.spec")));
    assert_eq!(get(&again.document, "kubernetes.pod.spec"), Some(&spec), "Kubernetes' own spelling stays");
    // Everything of a newer file stays as it is.
    let newer = set(minimal(), "kubernetes.pod", json!({"metadata": {"labels": {"a": "b"}}, "spec": spec}));
    let migration = migrated(&newer);
    assert_eq!(Value::Object(migration.document), newer);
    assert!(migration.changes.is_empty() && migration.decisions.is_empty());
}

#[test]
fn amounts_that_were_lost_are_left_out_wherever_they_stand_and_those_that_were_set_are_told() {
    let of_cpu = |divisor: &Value| json!({"resourcefieldref": {"resource": "limits.cpu", "divisor": divisor}});
    let written = json!({
        "containers": [{"name": "shell", "image": "a", "env": [
            {"name": "A", "valuefrom": of_cpu(&json!({"format": ""}))},
            {"name": "B", "valuefrom": of_cpu(&json!({"format": "DecimalSI"}))},
            {"name": "C", "valuefrom": of_cpu(&json!("1m"))},
        ]}],
        "volumes": [{"name": "v", "volumesource": {"emptydir": {"medium": "Memory", "sizelimit": {"format": "BinarySI"}}}}],
    });
    let migration = migrated(&kuberun("kuberun.pod.podSpec", written));
    let spec = get(&migration.document, "kubernetes.pod.spec").expect("a specification");
    let expected = [json!({"resource": "limits.cpu"}), json!({"resource": "limits.cpu"})];
    let expected = expected.into_iter().chain([json!({"resource": "limits.cpu", "divisor": "1m"})]);
    for (index, expected) in expected.enumerate() {
        assert_eq!(spec["containers"][0]["env"][index]["valueFrom"]["resourceFieldRef"], expected);
    }
    assert_eq!(spec["volumes"], json!([{"name": "v", "emptyDir": {"medium": "Memory"}}]));
    let told = migration.decisions.iter().filter(|decision| decision.text.contains("was lost"));
    let told: Vec<&str> = told.map(|decision| decision.path.as_str()).collect();
    let expected = ["containers[0].env[1].valueFrom.resourceFieldRef.divisor", "volumes[0].emptyDir.sizeLimit"];
    assert_eq!(told, expected.map(|path| format!("kubernetes.pod.spec.{path}")));
}

#[test]
fn blocks_of_another_backend_are_left_out_by_name() {
    for (backend, block) in [("kubernetes", "kuberun"), ("kubernetes", "dockerrun"), ("kuberun", "kubernetes")] {
        let tree = json!({"backend": backend, block: {"connection": {"host": "h"}}});
        let migration = migrated(&tree);
        let gone = migration.changes.iter().find(|change| change.path == block).expect(block);
        assert!(matches!(&gone.became, KeyOutcome::Gone(why) if why.contains("no effect")), "{gone}");
        assert_eq!(get(&migration.document, "kubernetes.connection.host"), None, "{backend} {block}");
        let told = migration.notices();
        assert!(told.iter().any(|notice| notice.path == block && !notice.warn), "{told:?}");
    }
}

#[test]
fn silence_about_the_backend_is_docker_only_where_nobody_else_can_name_one() {
    for tree in [
        json!({"docker": {"connection": {"host": "x"}}, "configserver": {"url": "https://c.example"}}),
        json!({"docker": {"connection": {"host": "x"}}, "kubernetes": {"connection": {"host": "x"}}}),
        json!({"docker": {"connection": {"host": "", "cacert": ""}}}),
        json!({}),
    ] {
        assert!(migrated(&tree).refusals.is_empty(), "{tree}");
    }
}

#[test]
fn what_kuberun_never_said_is_told_with_its_backend() {
    let told = |tree: &Value| {
        let migration = migrated(tree);
        migration.changes.iter().find(|change| change.path == "backend").expect("backend").to_string()
    };
    let silent = told(&kuberun("kuberun.timeout", json!("60s")));
    assert!(
        silent.contains("mode: session, kubernetes.pod.disableAgent: true, kubernetes.pod.shellCommand: []"),
        "{silent}"
    );
    let agent = told(&kuberun("kuberun.pod.enableAgent", json!(true)));
    assert_eq!(agent, "backend is now backend: kubernetes with kubernetes.pod.mode: session");
}

#[test]
fn mistakes_that_are_left_are_told_in_todays_words() {
    let tree = set(kuberun("kuberun.timeout", json!("soon")), "auth.gssapi.method", json!("kerberos"));
    let left: Vec<String> = rewritten(&tree).mistakes().iter().map(ToString::to_string).collect();
    for told in ["ssh.hostkeys: is empty", "kubernetes.timeouts.podStart: ", "auth.gssapi.method: "] {
        assert!(left.iter().any(|line| line.starts_with(told)), "{told}: {left:?}");
    }
}

#[test]
fn words_that_mean_something_else_today_are_for_a_person() {
    for (path, value, part) in [
        ("security.maxSessions", json!(0), "no limit"),
        ("security.maxSessions", json!(5), "open at once"),
        ("security.signal.mode", json!("filter"), "security.shell.mode"),
        ("log.level", json!("emerg"), "notice"),
        ("auth.password.webhook.timeout", json!("2s"), "sent only once"),
        ("auth.password.webhook.timeout", json!(2_000_000_000_u64), "sent only once"),
    ] {
        let migration = rewritten(&set(minimal(), path, value));
        let told = migration.decisions.iter().any(|decision| decision.path == path && decision.text.contains(part));
        assert!(told, "{path}: {:?}", migration.decisions);
    }
    let migration = rewritten(&set(minimal(), "ssh.clientAliveCountMax", json!(0)));
    assert_eq!(get(&migration.document, "ssh.clientAliveCountMax"), None);
    let zero = set(minimal(), "kubernetes.timeouts", json!({"podStart": "0s", "http": 0, "window": "5s"}));
    let migration = rewritten(&set(zero, "auth.password.webhook.timeout", json!("0s")));
    assert_eq!(get(&migration.document, "kubernetes.timeouts"), Some(&json!({"window": "5s"})));
    assert!(
        migration.changes.iter().any(|change| change.to_string().contains("its default, which is 15s here")),
        "{migration:?}"
    );
    assert!(load(&Value::Object(migration.document)).is_ok());
    let silent = json!({"auth": {"url": "https://a"}});
    assert!(rewritten(&silent).decisions.iter().any(|decision| decision.path == "auth.publicKey"));
    assert!(rewritten(&minimal()).decisions.is_empty());
    for time in ["0s", "10s", "1m"] {
        assert!(
            rewritten(&set(minimal(), "auth.password.webhook.timeout", json!(time))).decisions.is_empty(),
            "{time}"
        );
    }
}

#[test]
fn recordings_of_an_old_file_are_explained_where_they_differ() {
    let told = |audit: Value| {
        let mut tree = minimal();
        tree["audit"] = audit;
        let migration = rewritten(&tree);
        let paths = migration.decisions.iter().map(|decision| decision.path.clone());
        paths.filter(|path| path.starts_with("audit")).collect::<Vec<_>>()
    };
    let without_password = ["audit.intercept.passwords", "audit.onFailure"];
    assert_eq!(told(json!({"enable": true, "format": "binary", "storage": "file"})), without_password);
    assert_eq!(
        told(json!({"enable": true, "format": "asciinema", "intercept": {"passwords": true}})),
        ["audit.onFailure", "audit.format"]
    );
    let decided =
        json!({"enable": true, "format": "binary", "onFailure": "required", "intercept": {"passwords": true}});
    for silent in [decided, json!({"enable": false, "format": "binary"}), json!({"enable": true})] {
        assert_eq!(told(silent), Vec::<String>::new());
    }
}

#[test]
fn new_listen_wins_over_the_old_one() {
    let migration = migrated(&json!({"listen": "127.0.0.1:1", "ssh": {"listen": "127.0.0.1:2"}}));
    assert_eq!(Value::Object(migration.document), json!({"ssh": {"listen": "127.0.0.1:2"}}));
}

#[test]
fn mistakes_in_an_old_file_are_named_where_they_stand() {
    let tree = kuberun("kuberun.connection.host", json!("http://10.0.0.1"));
    let tree = set(tree, "kuberun.pod.podSpec.containers", json!([{"name": "A", "image": "a"}]));
    let tree = set(set(tree, "kuberun.timeout", json!("soon")), "auth.timeout", json!("soon"));
    let tree = set(tree, "ssh", json!({"hostkeys": ["/etc/podgate/hostkey"]}));
    let errors = load(&tree).expect_err("mistakes");
    for (path, part) in [
        ("kuberun.connection.host", "plain http"),
        ("kuberun.pod.podSpec.containers[0].name", "DNS label"),
        ("kuberun.timeout", "is not a duration"),
        ("auth.timeout", "is not a duration"),
    ] {
        assert!(has(&errors, path, part), "{path}: {errors}");
        assert_eq!(errors.0.iter().filter(|error| error.path == path).count(), 1, "{errors}");
    }
    let errors = load(&kuberun("kuberun.connection.insecure", json!(true))).expect_err("insecure");
    assert!(has(&errors, "kuberun.connection.insecure", "always verified"), "{errors}");
}

#[test]
fn kuberuns_whole_file_loads_and_warns_once_a_block() {
    let tree =
        kuberun("kuberun.pod", json!({"namespace": "n", "podSpec": {"containers": [{"name": "a", "image": "i"}]}}));
    let tree = set(set(tree, "listen", json!("127.0.0.1:1")), "ssh.hostkeys", json!(["/etc/podgate/hostkey"]));
    let config = load(&tree).unwrap_or_else(|errors| panic!("{errors}"));
    let warned: Vec<_> = config.notices.iter().filter(|notice| notice.warn).map(|notice| &*notice.path).collect();
    assert_eq!(warned, ["auth", "kuberun", "listen"]);
    let pod = Settings::resolve(&config.base, None).unwrap_or_else(|errors| panic!("{errors}")).kubernetes().pod;
    assert_eq!((pod.mode, pod.shell_command, pod.disable_agent), (PodMode::Session, None, true));
}

#[test]
fn file_and_its_migration_are_the_same_configuration() {
    let tree = json!({
        "listen": "127.0.0.1:1", "ssh": {"hostkeys": ["/etc/podgate/hostkey"]},
        "auth": {"url": "https://auth.example", "authTimeout": "5s", "pubkey": false, "password": true},
        "log": {"level": "info"}, "security": {"maxSessions": 3}, "backend": "kubernetes",
        "kubernetes": {"pod": {"spec": {"containers": [{"name": "a", "image": "b"}]}}},
    });
    let old = load(&tree).unwrap_or_else(|errors| panic!("{errors}"));
    let migration = rewritten(&tree);
    let new = Config::parse(&migration.to_yaml(), Format::Yaml, &MemoryFiles::new());
    let new = new.unwrap_or_else(|errors| panic!("{errors}\n{}", migration.to_yaml()));
    assert!(new.notices.is_empty(), "{:?}", new.notices);
    let shown = |config: Config| format!("{:?}", Config { notices: Vec::new(), ..config });
    assert_eq!(shown(old), shown(new));
    let twice = migrate_text(&migration.to_yaml(), Format::Yaml).expect("parses");
    assert_eq!((twice.changes.len(), &twice.document), (0, &migration.document));
}
