//! Values that tests of what reads settings start from.

use super::{Cluster, ExposedMetadata, KubernetesSettings, PodMode, PodSettings, Timeouts};
use crate::types::{ContainerName, Namespace};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

pub(crate) fn kubernetes() -> KubernetesSettings {
    KubernetesSettings {
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
        pod: PodSettings {
            mode: PodMode::Connection,
            namespace: Namespace::parse("default").unwrap(),
            metadata: object(json!({"namespace": "default", "generateName": "containerssh-"})),
            spec: object(json!({"containers": [{"name": "shell", "image": "guest:1"}]})),
            console: 0,
            console_name: ContainerName::parse("shell").unwrap(),
            idle_command: None,
            shell_command: Some(vec!["/bin/bash".into()]),
            exec_command: vec!["/bin/sh".into(), "-c".into()],
            subsystems: BTreeMap::from([("sftp".into(), "/usr/lib/openssh/sftp-server".into())]),
            agent_sftp: true,
            agent_path: "/usr/bin/containerssh-agent".into(),
            agent_path_is_set: false,
            agent_image: None,
            agent_push: true,
            disable_agent: true,
            expose: ExposedMetadata::default(),
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
