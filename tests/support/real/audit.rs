//! The audit logs of a real cluster's API servers (`audit-1.log`, …): JSON lines, one for each stage of a request.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// What all stages of the request have in common.
    id: String,
    /// `get`, `create`, …
    pub verb: String,
    /// `pods`, `pods/exec`, …
    pub resource: String,
}

/// The requests of the gateways of a test in these namespaces, without those that only try something (dry runs). The
/// cluster's own parts and the test itself ask too: gateways are known by the name with which they introduce themselves.
pub fn read(folder: &Path, namespaces: &[String]) -> BTreeSet<Asked> {
    let mut found = BTreeSet::new();
    let files = std::fs::read_dir(folder).expect("the cluster's folder").map(|entry| entry.expect("a file").path());
    let logs = files.filter(|path| is_log(path)).collect::<Vec<_>>();
    assert!(!logs.is_empty(), "the cluster in {} keeps no audit log", folder.display());
    for log in logs {
        let text = std::fs::read_to_string(log).expect("an audit log");
        let ours = text.lines().filter(|line| namespaces.iter().any(|namespace| line.contains(namespace.as_str())));
        found.extend(ours.filter_map(asked));
    }
    found
}

fn is_log(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("audit-") && name.ends_with(".log")
}

fn asked(line: &str) -> Option<Asked> {
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
    Some(Asked { id: text("/auditID")?.to_owned(), verb: text("/verb")?.to_owned(), resource })
}
