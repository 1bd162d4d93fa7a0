//! `kubernetes.connection.kubeconfig`: the current context of a kubeconfig file instead of the other keys. It is read
//! once, at start-up, and becomes those keys. Fields that weaken or hide the connection (unverified TLS, plain http,
//! programs for credentials, impersonation) are refused by name.

use super::cluster::host_url;
use crate::schema::keys::{self, ConfigKey, Effect};
use crate::schema::{ConfigReport, Files, Format, document, kind, pem};
use crate::types::{printable, quoted};
use data_encoding::BASE64;
use podgate_webhooks::text::text;
use serde_json::{Map, Value};
use std::path::Path;

const PATH: &str = "kubernetes.connection.kubeconfig";

/// Fields of a cluster or a user that must be strings, as in Kubernetes' own client library.
const TEXTS: [&str; 13] = [
    "server",
    "tls-server-name",
    "proxy-url",
    "certificate-authority",
    "certificate-authority-data",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "token",
    "tokenFile",
    "username",
    "password",
];

/// Replaces `kubeconfig` by the keys of the file's current context.
pub(crate) fn expand(sections: &mut Map<String, Value>, files: &dyn Files, report: &ConfigReport) {
    let connection = sections
        .get_mut("kubernetes")
        .and_then(|kubernetes| kubernetes.get_mut("connection"))
        .and_then(Value::as_object_mut);
    let Some(connection) = connection else { return };
    let Some(path) = connection.get("kubeconfig").and_then(Value::as_str).filter(|path| !path.is_empty()) else {
        return;
    };
    let path = path.to_owned();
    let mut conflict = false;
    let is_replaced = |key: &&ConfigKey| matches!(key.effect, Effect::Target | Effect::Credential);
    for key in keys::of_section("kubernetes.connection").filter(is_replaced) {
        if connection.get(key.name()).and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
            conflict = true;
            report.error(&key.path, "cannot be combined with kubeconfig; keep one of them");
        }
    }
    if let Some(warning) = pem::exposed(&path, files) {
        report.warning(PATH, &warning);
    }
    match current_context(&path, files) {
        Ok(keys) if !conflict => {
            connection.remove("kubeconfig");
            connection.extend(keys);
        }
        Ok(_) => {}
        Err(errors) => errors.into_iter().for_each(|error| report.error(PATH, error)),
    }
}

/// Translates the current context to keys of `kubernetes.connection`.
fn current_context(path: &str, files: &dyn Files) -> Result<Map<String, Value>, Vec<String>> {
    let one = |error: String| vec![error];
    let text = files.read(Path::new(path)).map_err(|error| one(pem::unreadable(path, &error)))?;
    let config = document::parse(&text, Format::Yaml).map_err(|error| one(error.to_string()))?;
    let name = text_of(&config, "current-context").ok_or_else(|| one("has no current-context".into()))?;
    let context = named(&config, "contexts", "context", name).map_err(one)?;
    let cluster_name = text_of(context, "cluster").ok_or_else(|| one("the current context has no cluster".into()))?;
    let cluster = named(&config, "clusters", "cluster", cluster_name).map_err(one)?;
    let mut reading =
        ContextReader { base: Path::new(path).parent().unwrap_or(Path::new("")), keys: Map::new(), errors: Vec::new() };
    reading.cluster(cluster, &entry("cluster", cluster_name));
    if let Some(user_name) = text_of(context, "user") {
        let user = named(&config, "users", "user", user_name).map_err(one)?;
        reading.user(user, &entry("user", user_name));
    }
    if reading.errors.is_empty() { Ok(reading.keys) } else { Err(reading.errors) }
}

fn entry(kind: &str, name: &str) -> String {
    format!("{kind} {}", quoted(&printable(name, 64)))
}

fn text_of<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Finds an entry of a kubeconfig's list by its name.
fn named<'a>(
    config: &'a Map<String, Value>,
    list: &str,
    part: &str,
    name: &str,
) -> Result<&'a Map<String, Value>, String> {
    config
        .get(list)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
        .and_then(|entry| entry.get(part))
        .and_then(Value::as_object)
        .ok_or_else(|| format!("has no {}", entry(part, name)))
}

struct ContextReader<'a> {
    /// Directory of the kubeconfig, for relative file names.
    base: &'a Path,
    keys: Map<String, Value>,
    errors: Vec<String>,
}

impl ContextReader<'_> {
    /// Reports fields that are not strings, which would be ignored otherwise.
    fn texts(&mut self, map: &Map<String, Value>, who: &str) {
        for (key, value) in map.iter().filter(|(key, value)| TEXTS.contains(&key.as_str()) && !value.is_string()) {
            self.errors.push(format!("{who}: {key} must be a string, not {}; put it in quotes", kind(value)));
        }
    }

    fn cluster(&mut self, cluster: &Map<String, Value>, who: &str) {
        self.texts(cluster, who);
        if cluster.get("insecure-skip-tls-verify").is_some_and(|value| *value != Value::Bool(false)) {
            let text =
                "insecure-skip-tls-verify is refused: certificates are always verified; give certificate-authority";
            self.errors.push(format!("{who}: {text}"));
        }
        if text_of(cluster, "proxy-url").is_some() {
            self.errors.push(format!("{who}: proxy-url is not supported"));
        }
        match text_of(cluster, "server") {
            Some(server) => match host_url(server) {
                Ok(_) => self.set("host", server.to_owned()),
                Err(why) => self.errors.push(format!("{who}: server {why}")),
            },
            None => self.errors.push(format!("{who}: has no server")),
        }
        if let Some(name) = text_of(cluster, "tls-server-name") {
            self.set("serverName", name.to_owned());
        }
        self.data_or_file(cluster, who, ("certificate-authority", "cacert", "cacertFile"));
    }

    fn user(&mut self, user: &Map<String, Value>, who: &str) {
        self.texts(user, who);
        if let Some(exec) = user.get("exec") {
            let command = exec.get("command").and_then(Value::as_str).unwrap_or_default();
            let text = "is refused: no program is run for credentials; use a token, tokenFile or certificate";
            let text = format!("{text}, as in the file that deploy/kubeconfig writes");
            self.errors.push(format!("{who}: the exec plugin {} {text}", quoted(&printable(command, 64))));
        }
        if let Some(provider) = user.get("auth-provider") {
            let name = provider.get("name").and_then(Value::as_str).unwrap_or_default();
            let text =
                "is refused; use a token, tokenFile or certificate, as in the file that deploy/kubeconfig writes";
            self.errors.push(format!("{who}: the auth-provider {} {text}", quoted(&printable(name, 64))));
        }
        for key in ["as", "as-uid", "as-groups", "as-user-extra"] {
            if user.contains_key(key) {
                self.errors.push(format!("{who}: {key} (impersonation) is not supported"));
            }
        }
        self.data_or_file(user, who, ("client-certificate", "cert", "certFile"));
        self.data_or_file(user, who, ("client-key", "key", "keyFile"));
        // The file takes precedence over the token, as in Kubernetes' own client library.
        if let Some(file) = text_of(user, "tokenFile") {
            self.set_file("bearerTokenFile", file);
        } else if let Some(token) = text_of(user, "token") {
            self.set("bearerToken", token.to_owned());
        }
        for key in ["username", "password"] {
            if let Some(text) = text_of(user, key) {
                self.set(key, text.to_owned());
            }
        }
    }

    /// Reads `NAME-data` in base64, else the file that `NAME` names.
    fn data_or_file(&mut self, map: &Map<String, Value>, who: &str, (name, inline, file): (&str, &str, &str)) {
        let data_key = format!("{name}-data");
        if let Some(data) = text_of(map, &data_key) {
            let flat: String = data.split_ascii_whitespace().collect();
            match BASE64.decode(flat.as_bytes()).ok().and_then(|bytes| text(&bytes).ok().map(str::to_owned)) {
                Some(text) => self.set(inline, text),
                None => self.errors.push(format!("{who}: {data_key} is not PEM in base64")),
            }
        } else if let Some(path) = text_of(map, name) {
            self.set_file(file, path);
        }
    }

    fn set_file(&mut self, key: &str, path: &str) {
        self.set(key, self.base.join(path).to_string_lossy().into_owned());
    }

    fn set(&mut self, key: &str, text: String) {
        self.keys.insert(key.to_owned(), Value::String(text));
    }
}
