//! `backend: kuberun`, until 0.4: a pod for each program, which is Kubernetes in mode session today. Its block becomes
//! the block `kubernetes`, with what kuberun never said because it knew no other way.

use super::migration::{DocumentSource, FileBackend, Migration};
use super::pod_spec;
use crate::schema::changes::{KeyChange, KeyOutcome};
use crate::schema::keys::{self, ConfigKey};
use crate::schema::pem::ACCOUNT_CA;
use crate::schema::section::{switches_verification_off, truth};
use crate::schema::tree::{Tree, get, is_zero, put};
use crate::types::printable;
use podgate_webhooks::text::nearest;
use serde_json::{Value, json};

const POD: [&str; 9] = [
    "namespace",
    "consoleContainerNumber",
    "podSpec",
    "subsystems",
    "disableCommand",
    "agentPath",
    "enableAgent",
    "disableAgent",
    "shellCommand",
];

const STEPS: [&str; 5] = ["podStart", "podStop", "commandStart", "signal", "window"];

/// Puts `kubernetes` in place of `kuberun`, where that is the backend or nothing else can be.
pub(super) fn translate(migration: &mut Migration, whose: DocumentSource) {
    let backend = migration.root_text("backend").map(str::to_owned);
    let block = migration.document.remove("kuberun");
    let is_backend = backend.as_deref() == Some("kuberun");
    let alone = backend.is_none() && block.as_ref().is_some_and(|block| !is_zero(block));
    let meant = match whose {
        DocumentSource::File => is_backend || alone,
        DocumentSource::Answer(over) => is_backend || (alone && over == FileBackend::Kuberun),
    };
    if !meant {
        if block.is_some_and(|block| !is_zero(&block)) {
            migration.gone("kuberun", "has no effect beside another backend");
        }
        return;
    }
    if migration.document.get("kubernetes").is_some_and(|block| !is_zero(block)) {
        if !is_backend {
            migration.refuse(
                "kuberun",
                "is set together with kubernetes, and backend selects none of them; keep one of them",
            );
        }
        migration.gone("kubernetes", "has no effect beside backend: kuberun");
    }
    migration.document.insert("kubernetes".into(), Value::Object(Tree::new()));
    let block = match block {
        Some(Value::Object(block)) => block,
        None => Tree::new(),
        Some(_) => {
            migration.refuse("kuberun", "must be a mapping");
            Tree::new()
        }
    };
    let before = migration.changes.len();
    if is_backend {
        migration.document.insert("backend".into(), "kubernetes".into());
    }
    let implies = matches!(whose, DocumentSource::File | DocumentSource::Answer(FileBackend::Nothing));
    if implies {
        imply(migration);
    }
    KuberunBlock { migration: &mut *migration }.translate(block);
    if whose == DocumentSource::File {
        ask_about_it(migration);
    }
    // The backend is named first.
    if is_backend {
        let said = format!("backend: kubernetes with {}", implied(migration, implies));
        let change = KeyChange { path: "backend".into(), became: KeyOutcome::Says(said) };
        migration.changes.insert(before, change);
    }
}

/// Sets the behaviour that kuberun had without a key: a pod for each program, no agent, and a shell is the image's own command.
fn imply(migration: &mut Migration) {
    put(&mut migration.document, "kubernetes.pod.mode", "session".into());
    put(&mut migration.document, "kubernetes.pod.disableAgent", true.into());
    put(&mut migration.document, "kubernetes.pod.shellCommand", json!([]));
}

/// The keys that the new document has without an old one, in one line.
fn implied(migration: &Migration, implies: bool) -> String {
    let at = |key: &str| get(&migration.document, &format!("kubernetes.pod.{key}"));
    let mut said = vec!["kubernetes.pod.mode: session"];
    if implies && at("disableAgent") == Some(&Value::Bool(true)) {
        said.push("kubernetes.pod.disableAgent: true");
    }
    if implies && at("shellCommand") == Some(&json!([])) {
        said.push("kubernetes.pod.shellCommand: [] (a shell is the image's own command)");
    }
    said.join(", ")
}

fn ask_about_it(migration: &mut Migration) {
    let text = "session starts a pod for each program, as kuberun did. connection is quicker (one pod a connection), but runs \
                idleCommand in place of the image's own command: if that command restricts users, set shellCommand \
                and security.* before you change it";
    migration.decide("kubernetes.pod.mode", text);
    let text = "since 0.4, requests to webhooks use POST; a server for 0.3 expects GET (docs/webhooks.md describes the requests)";
    migration.decide("auth", text);
}

/// The block, key by key.
struct KuberunBlock<'m> {
    migration: &'m mut Migration,
}

impl KuberunBlock<'_> {
    fn translate(mut self, block: Tree) {
        for (key, value) in block {
            match (key.as_str(), value) {
                ("connection", Value::Object(values)) => self.connection(values),
                ("pod", Value::Object(values)) => self.pod(values),
                ("timeout", value) => self.timeout(value),
                ("connection" | "pod", value) if is_zero(&value) => {}
                (key @ ("connection" | "pod"), _) => {
                    self.migration.refuse(format!("kuberun.{key}"), "must be a mapping");
                }
                (key, value) => self.unknown("kuberun", key, &value, &["connection", "pod", "timeout"]),
            }
        }
    }

    fn connection(&mut self, mut values: Tree) {
        let known: Vec<&str> = keys::of_section("kubernetes.connection")
            .map(ConfigKey::name)
            .filter(|name| *name != "kubeconfig")
            .collect();
        for (key, value) in std::mem::take(&mut values) {
            let path = format!("kuberun.connection.{key}");
            if known.contains(&key.as_str()) {
                if !is_zero(&value) {
                    let to = format!("kubernetes.connection.{key}");
                    put(&mut self.migration.document, &to, value);
                    self.migration.moved(path, &[&to]);
                }
            } else if key == "timeout" {
                self.http_timeout(path, value);
            } else {
                self.unknown("kuberun.connection", &key, &value, &known);
            }
        }
        self.account_ca();
    }

    /// kuberun's default named the CA of the service account where the client's certificate belongs.
    fn account_ca(&mut self) {
        let at = |key: &str| get(&self.migration.document, &format!("kubernetes.connection.{key}"));
        let misplaced = at("certFile").and_then(Value::as_str) == Some(ACCOUNT_CA)
            && ["cert", "key", "keyFile"].iter().all(|key| at(key).is_none());
        let has_ca = at("cacert").or(at("cacertFile")).is_some();
        let Some(Value::Object(connection)) =
            self.migration.document.get_mut("kubernetes").and_then(|block| block.get_mut("connection"))
        else {
            return;
        };
        if !misplaced {
            return;
        }
        connection.remove("certFile");
        if !has_ca {
            connection.insert("cacertFile".into(), ACCOUNT_CA.into());
        }
        let path = "kuberun.connection.certFile";
        self.migration.changes.retain(|change| change.path != path);
        if has_ca {
            self.migration.gone(path, "it is a CA, and the CA is already set");
        } else {
            self.migration.moved(path, &["kubernetes.connection.cacertFile"]);
        }
    }

    fn http_timeout(&mut self, path: String, value: Value) {
        if is_zero(&value) {
            self.migration.gone(path, "0 meant no limit; the default limit of an API request is 15s");
        } else {
            put(&mut self.migration.document, "kubernetes.timeouts.http", value);
            self.migration.moved(path, &["kubernetes.timeouts.http"]);
        }
    }

    fn timeout(&mut self, value: Value) {
        if is_zero(&value) {
            return;
        }
        let paths = STEPS.map(|step| format!("kubernetes.timeouts.{step}"));
        paths.iter().for_each(|path| put(&mut self.migration.document, path, value.clone()));
        self.migration.moved("kuberun.timeout", &paths.each_ref().map(String::as_str));
    }

    fn pod(&mut self, values: Tree) {
        let mut agent: Option<bool> = None;
        for (key, value) in values {
            // Go's library writes what has no tag by its field's name, and reads every case.
            let Some(known) = POD.iter().find(|known| known.eq_ignore_ascii_case(&key)) else {
                self.unknown("kuberun.pod", &key, &value, &POD);
                continue;
            };
            let path = format!("kuberun.pod.{key}");
            match *known {
                "disableCommand" => self.disable_command(path, &value),
                "enableAgent" | "disableAgent" => {
                    let Some(flag) = self.flag(&path, &value) else { continue };
                    let on = flag == (*known == "enableAgent");
                    if agent.is_some_and(|agent| agent != on) {
                        self.migration.refuse(path, "enableAgent and disableAgent contradict each other; keep one");
                        continue;
                    }
                    agent = Some(on);
                    put(&mut self.migration.document, "kubernetes.pod.disableAgent", (!on).into());
                    self.migration.says(path, format!("kubernetes.pod.disableAgent: {}", !on));
                }
                "podSpec" => self.spec(&path, value),
                _ if is_zero(&value) => {}
                "namespace" => self.to(path, "kubernetes.pod.metadata.namespace", value),
                known => self.to(path, &format!("kubernetes.pod.{known}"), value),
            }
        }
        self.shell_with_agent();
    }

    fn to(&mut self, path: String, to: &str, value: Value) {
        put(&mut self.migration.document, to, value);
        self.migration.moved(path, &[to]);
    }

    fn flag(&mut self, path: &str, value: &Value) -> Option<bool> {
        let flag = if value.is_null() { Some(false) } else { truth(value) };
        if flag.is_none() {
            self.migration.refuse(path, "must be true or false");
        }
        flag
    }

    /// 0.3 refused commands and subsystems alike.
    fn disable_command(&mut self, path: String, value: &Value) {
        if self.flag(&path, value) != Some(true) {
            return;
        }
        if get(&self.migration.document, "security.forceCommand").is_some_and(|command| !is_zero(command)) {
            let text =
                "cannot be combined with security.forceCommand, which is run as a command itself; keep one of them";
            self.migration.refuse(path, text);
            return;
        }
        for step in ["command", "subsystem"] {
            put(&mut self.migration.document, &format!("security.{step}.mode"), "disable".into());
        }
        self.migration.says(path, "security.command.mode: disable and security.subsystem.mode: disable");
    }

    /// An agent that starts programs needs one to start.
    fn shell_with_agent(&mut self) {
        let at = |key: &str| get(&self.migration.document, &format!("kubernetes.pod.{key}"));
        let agent = at("disableAgent") == Some(&Value::Bool(false));
        if !agent || at("shellCommand").is_some_and(|command| !is_zero(command)) {
            return;
        }
        if let Some(Value::Object(pod)) =
            self.migration.document.get_mut("kubernetes").and_then(|block| block.get_mut("pod"))
        {
            pod.remove("shellCommand");
        }
        let text = "a shell is /bin/bash: with the agent, the image's own command is not run (ContainerSSH asked for a \
                    shellCommand here). Name the shell, or set disableAgent: true for the image's own command";
        self.migration.decide("kubernetes.pod.shellCommand", text);
    }

    fn spec(&mut self, path: &str, value: Value) {
        let Value::Object(mut spec) = value else {
            if !value.is_null() {
                self.migration.refuse(path, "must be a mapping");
            }
            return;
        };
        for (at, lost) in pod_spec::spell(&mut spec) {
            self.migration.decide(format!("kubernetes.pod.spec{at}"), lost);
        }
        if spec.get("restartPolicy").is_some_and(|policy| !is_zero(policy) && policy != "Never") {
            spec.insert("restartPolicy".into(), "Never".into());
            self.migration.says(format!("{path}.restartPolicy"), "Never, because kuberun replaced every other value");
        }
        if spec.is_empty() || spec.values().all(is_zero) {
            return;
        }
        put(&mut self.migration.document, "kubernetes.pod.spec", Value::Object(spec));
        self.migration.moved(path, &["kubernetes.pod.spec"]);
    }

    fn unknown(&mut self, section: &str, key: &str, value: &Value, known: &[&str]) {
        let path = format!("{section}.{}", printable(key, 64));
        if switches_verification_off(key) {
            if truth(value) == Some(false) || value.is_null() {
                self.migration.gone(path, "certificates are always verified");
            } else {
                let text = "certificates are always verified; give the cluster's CA (cacertFile or cacert, and serverName \
                            where its certificate has another name)";
                self.migration.refuse(path, text);
            }
            return;
        }
        match nearest(key, known.iter().copied()) {
            Some(near) => self.migration.refuse(path, format!("unknown key; did you mean \"{near}\"?")),
            None => self.migration.refuse(path, "unknown key"),
        }
    }
}
