//! The audit logs of a real cluster's API servers (`audit-1.log`, …): JSON lines, one for each stage of a request.

use podgate_devcluster::RequestRecord;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `get`, `create`, …
    pub verb: String,
    /// `pods`, `pods/exec`, …
    pub resource: String,
    /// Empty where it is the whole cluster's.
    pub namespace: String,
    /// What stands after `?` in its URL, as it was sent.
    pub query: String,
}

impl From<RequestRecord> for Asked {
    fn from(record: RequestRecord) -> Self {
        Self { verb: record.verb, resource: record.resource, namespace: record.namespace, query: record.query }
    }
}

/// The requests of the gateways of a test in these namespaces, without those that only try something (dry runs). The
/// cluster's own parts and the test itself ask too: gateways are known by the name with which they introduce themselves.
pub fn read(folder: &Path, namespaces: &[String]) -> Vec<Asked> {
    let text = text(folder);
    let ours = text.lines().filter(|line| namespaces.iter().any(|namespace| line.contains(namespace.as_str())));
    // All stages of a request have one id.
    let by_id: BTreeMap<String, Asked> = ours.filter_map(asked).collect();
    by_id.into_values().collect()
}

/// All of them as they are.
pub fn text(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).expect("the cluster's folder").map(|entry| entry.expect("a file").path());
    let logs = files.filter(|path| is_log(path)).collect::<Vec<_>>();
    assert!(!logs.is_empty(), "the cluster in {} keeps no audit log", folder.display());
    logs.iter().map(|log| std::fs::read_to_string(log).expect("an audit log")).collect()
}

fn is_log(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("audit-") && name.ends_with(".log")
}

fn asked(line: &str) -> Option<(String, Asked)> {
    // The last line may not be whole yet.
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |path: &str| line.pointer(path).and_then(Value::as_str);
    text("/userAgent").filter(|agent| agent.starts_with("podgate"))?;
    text("/requestURI").filter(|uri| !uri.contains("dryRun=All"))?;
    let resource = text("/objectRef/resource")?;
    let resource = match text("/objectRef/subresource") {
        Some(sub) => format!("{resource}/{sub}"),
        None => resource.to_owned(),
    };
    let query = text("/requestURI")?.split_once('?').map_or("", |(_, query)| query).to_owned();
    let namespace = text("/objectRef/namespace").unwrap_or_default().to_owned();
    let verb = text("/verb")?.to_owned();
    Some((text("/auditID")?.to_owned(), Asked { verb, resource, namespace, query }))
}
