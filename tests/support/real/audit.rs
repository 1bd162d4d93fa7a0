//! The audit logs of a real cluster's API servers (`audit-1.log`, …): JSON lines, one for each stage of a request.

use podgate_devcluster::RequestRecord;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A request.
#[derive(Debug, Clone)]
pub struct ApiRequest {
    /// `get`, `create`, …
    pub verb: String,
    /// `pods`, `pods/exec`, …
    pub resource: String,
    /// Empty where it is the whole cluster's.
    pub namespace: String,
    /// The query of its URL, as it was sent.
    pub query: String,
}

impl From<RequestRecord> for ApiRequest {
    fn from(record: RequestRecord) -> Self {
        Self { verb: record.verb, resource: record.resource, namespace: record.namespace, query: record.query }
    }
}

/// The requests of a test's gateways, without those that only try something (dry runs): wherever they went, where a
/// gateway has the service account; of the gateways that are the administrator, as other tests' are, those in these
/// namespaces.
pub fn read(folder: &Path, account: &str, namespaces: &[String]) -> Vec<ApiRequest> {
    select(&text(folder), account, namespaces)
}

fn select(log: &str, account: &str, namespaces: &[String]) -> Vec<ApiRequest> {
    // Most lines are another test's, and need not be parsed.
    let names = || namespaces.iter().map(String::as_str).chain([account]);
    let ours = log.lines().filter(|line| names().any(|name| line.contains(name)));
    // All stages of a request have one id.
    let by_id: BTreeMap<String, ApiRequest> = ours.filter_map(|line| asked(line, account, namespaces)).collect();
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

fn asked(line: &str, account: &str, namespaces: &[String]) -> Option<(String, ApiRequest)> {
    // The last line may not be whole yet.
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |path: &str| line.pointer(path).and_then(Value::as_str);
    let namespace = text("/objectRef/namespace").unwrap_or_default().to_owned();
    // The test itself is the administrator, too, and introduces itself by another name.
    let administrator = text("/userAgent").is_some_and(|agent| agent.starts_with("podgate"));
    let ours = text("/user/username") == Some(account) || administrator && namespaces.contains(&namespace);
    if !ours {
        return None;
    }
    text("/requestURI").filter(|uri| !uri.contains("dryRun=All"))?;
    let resource = text("/objectRef/resource")?;
    let resource = match text("/objectRef/subresource") {
        Some(sub) => format!("{resource}/{sub}"),
        None => resource.to_owned(),
    };
    let query = text("/requestURI")?.split_once('?').map_or("", |(_, query)| query).to_owned();
    let verb = text("/verb")?.to_owned();
    Some((text("/auditID")?.to_owned(), ApiRequest { verb, resource, namespace, query }))
}

#[test]
fn requests_for_the_whole_cluster_are_their_accounts() {
    let line = |user: &str, agent: &str, id: &str, namespace: Value| {
        let object = serde_json::json!({"resource": "pods", "namespace": namespace});
        let line = serde_json::json!({"auditID": id, "user": {"username": user}, "userAgent": agent, "verb": "list",
            "requestURI": "/api/v1/pods?limit=7", "objectRef": object});
        format!("{line}\n")
    };
    let account = "system:serviceaccount:shells-1:gateway";
    let log = [
        line("admin", "test", "a", serde_json::json!("shells-1")),
        line("admin", "podgate/1", "b", serde_json::json!("shells-2")),
        line("admin", "podgate/1", "c", serde_json::json!("shells-1")),
        line("system:serviceaccount:shells-2:gateway", "podgate/1", "d", Value::Null),
        line(account, "podgate/1", "e", Value::Null),
        line(account, "podgate/1", "e", Value::Null),
    ];
    let seen = select(&log.concat(), account, &["shells-1".to_owned()]);
    let namespaces: Vec<_> = seen.iter().map(|asked| asked.namespace.as_str()).collect();
    assert_eq!(namespaces, ["shells-1", ""]);
    assert!(seen.iter().all(|asked| asked.query == "limit=7"), "{seen:?}");
}
