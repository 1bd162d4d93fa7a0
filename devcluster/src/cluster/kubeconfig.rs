//! The kubeconfig that a client needs, as JSON (which is YAML too): CA embedded, one token, nothing read from elsewhere.

use data_encoding::BASE64;
use serde_json::{Value, json};

/// A kubeconfig for one user.
pub(crate) fn kubeconfig(host: &str, ca_pem: &str, token: &str) -> String {
    let config: Value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "devcluster",
        "clusters": [{
            "name": "devcluster",
            "cluster": {
                "server": format!("https://{host}"),
                "certificate-authority-data": BASE64.encode(ca_pem.as_bytes()),
            },
        }],
        "users": [{"name": "devcluster", "user": {"token": token}}],
        "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": "devcluster", "namespace": "default"}}],
    });
    format!("{config:#}\n")
}
