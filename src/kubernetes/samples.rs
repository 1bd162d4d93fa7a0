//! Values that the tests of this backend start from.

use super::pod::Instance;
use crate::auth::Identity;
use crate::settings::{Cluster, Expose, Kubernetes, Mode, Pod, Timeouts};
use crate::types::{ContainerName, Namespace, Username};
use podgate_webhooks::wire;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

pub(super) fn settings() -> Kubernetes {
    Kubernetes {
        cluster: Arc::new(Cluster {
            host: url::Url::parse("https://127.0.0.1:1").unwrap(),
            server_name: None,
            ca: None,
            client_certificate: None,
            bearer_token: None,
            basic: None,
            qps_milli: 0,
            burst: 10,
            from_webhook: false,
        }),
        pod: Pod {
            mode: Mode::Connection,
            namespace: Namespace::parse("default").unwrap(),
            metadata: object(json!({"namespace": "default", "generateName": "containerssh-"})),
            spec: object(json!({"containers": [{"name": "shell", "image": "guest:1"}]})),
            console: 0,
            console_name: ContainerName::parse("shell").unwrap(),
            idle_command: None,
            shell_command: Some(vec!["/bin/bash".into()]),
            exec_command: vec!["/bin/sh".into(), "-c".into()],
            subsystems: BTreeMap::from([("sftp".into(), "/usr/lib/openssh/sftp-server".into())]),
            agent_path: "/usr/bin/containerssh-agent".into(),
            disable_agent: true,
            expose: Expose::default(),
            lost: Vec::new(),
        },
        timeouts: Timeouts {
            pod_start: Duration::from_secs(20),
            pod_stop: Duration::from_secs(20),
            command_start: Duration::from_secs(10),
            signal: Duration::from_secs(10),
            window: Duration::from_secs(10),
            http: Duration::from_secs(5),
        },
    }
}

pub(super) fn identity(authenticated: &str) -> Identity {
    identity_with(authenticated, wire::Known::default())
}

pub(super) fn identity_with(authenticated: &str, known: wire::Known) -> Identity {
    Identity::for_test(Username::parse("login").unwrap(), authenticated, known)
}

pub(super) fn instance() -> Instance {
    Instance::random()
}
