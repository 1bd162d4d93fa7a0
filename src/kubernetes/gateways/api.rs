//! The API calls behind the [`ClusterRequest`]s. They are not counted against the connections' `qps` and `burst`, use a
//! client of their own, and have a deadline well below a Lease's duration.
//!
//! Lists are read as they are now, not from the API server's cache (no `resourceVersion` is sent). Of pods only the
//! metadata is read (`PartialObjectMetadata`).

use super::protocol::{ClusterAnswer, ClusterRequest, LeaseRecord, ObjectVersion, ObservedLease, ObservedPod};
use crate::kubernetes::api::pods::ApiError;
use crate::kubernetes::pod::manifest::{HOME, INSTANCE, Instance, TERM};
use crate::types::{Namespace, causes, time_text};
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;
use url::form_urlencoded::Serializer;

/// The annotation of a Lease with the namespaces in which its instance has pods, separated by commas.
const NAMESPACES: &str = "podgate/namespaces";

/// Prefix of the names of gateways' Leases.
const PREFIX: &str = "podgate-";

/// Limit of the objects in one answer.
const PAGE: &str = "500";

const JSON: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";

/// The part of the Kubernetes API with which gateways watch each other.
pub(super) struct CoordinationApi {
    client: kube::Client,
    home: Namespace,
    call_timeout: Duration,
}

/// One page of a list.
#[derive(Deserialize)]
struct ObjectPage<T> {
    metadata: ListMeta,
    /// Null if a list of metadata is empty.
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
struct ObjectMetadata {
    metadata: ObjectMeta,
}

struct CoordinationCall<'a> {
    method: Method,
    path: String,
    accept: &'static str,
    content: &'static str,
    body: Option<&'a Value>,
}

impl CoordinationApi {
    /// Uses the Leases of the namespace `home`; every call takes at most `call_timeout`.
    pub(super) fn new(client: kube::Client, home: Namespace, call_timeout: Duration) -> Self {
        Self { client, home, call_timeout }
    }

    /// Sends a request, once.
    pub(super) async fn execute(&self, request: ClusterRequest) -> ClusterAnswer {
        let about_leases = matches!(
            request,
            ClusterRequest::CreateLease(_)
                | ClusterRequest::UpdateLease(..)
                | ClusterRequest::ReadLease(_)
                | ClusterRequest::DeleteLease(..)
                | ClusterRequest::ListLeases
        );
        let answer = match request {
            ClusterRequest::CreateLease(record) => self.create(&record).await,
            ClusterRequest::UpdateLease(record, version) => {
                self.write(Method::PUT, self.lease(record.instance), lease_json(&record, Some(&version))).await
            }
            ClusterRequest::ReadLease(instance) => {
                self.send(Method::GET, self.lease(instance), None).await.map(one_lease)
            }
            ClusterRequest::DeleteLease(instance, version) => {
                let (uid, version) = uid_and_version(&version);
                let body = json!({"preconditions": {"uid": uid, "resourceVersion": version}});
                self.delete(self.lease(instance), body).await
            }
            ClusterRequest::ListLeases => {
                self.list(format!("{}?labelSelector={INSTANCE}", self.leases()), JSON).await.map(
                    |leases: Vec<Lease>| ClusterAnswer::Leases(leases.into_iter().filter_map(observed_lease).collect()),
                )
            }
            ClusterRequest::ListPods { namespace, owner } => {
                self.pods(&namespace, &format!("{INSTANCE}={owner}")).await
            }
            ClusterRequest::ListUnknownOwners { namespace, known } => {
                self.pods(&namespace, &unknown_owners(&known)).await
            }
            ClusterRequest::DeletePod(pod) => {
                let body = json!({"preconditions": {"uid": pod.uid, "resourceVersion": &*pod.version.0}});
                self.delete(pod_path(&pod), body).await
            }
            ClusterRequest::RelabelPod(pod, term) => self.relabel(&pod, term).await,
        };
        answer.unwrap_or_else(|error| match error.code() {
            Some(404) => ClusterAnswer::NotFound,
            Some(409) => ClusterAnswer::Conflict,
            _ if error.may_heal() => ClusterAnswer::Failed(error.to_string()),
            // The rights on pods are checked at the start; unknown credentials (401) are not helped by a role.
            Some(403) if about_leases => ClusterAnswer::Refused(format!(
                "{error}; the gateway's role needs get, list, create, update and delete on leases.coordination.k8s.io there"
            )),
            _ => ClusterAnswer::Refused(error.to_string()),
        })
    }

    /// The gateways whose Leases are not older than twice their duration at `now`.
    pub(super) async fn living(&self, now: Timestamp) -> Result<BTreeSet<Instance>, ApiError> {
        let leases: Vec<Value> = self.list(format!("{}?labelSelector={INSTANCE}", self.leases()), JSON).await?;
        Ok(leases.iter().filter_map(|lease| living_instance(lease, now)).collect())
    }

    async fn create(&self, record: &LeaseRecord) -> Result<ClusterAnswer, ApiError> {
        match self.write(Method::POST, self.leases(), lease_json(record, None)).await {
            // The namespace does not exist.
            Err(error) if error.code() == Some(404) => Ok(ClusterAnswer::Refused(error.to_string())),
            answer => answer,
        }
    }

    async fn write(&self, method: Method, path: String, body: Value) -> Result<ClusterAnswer, ApiError> {
        self.send(method, path, Some(&body)).await.map(one_lease)
    }

    async fn delete(&self, path: String, body: Value) -> Result<ClusterAnswer, ApiError> {
        self.send::<Value>(Method::DELETE, path, Some(&body)).await.map(|_| ClusterAnswer::Done)
    }

    async fn relabel(&self, pod: &ObservedPod, term: u32) -> Result<ClusterAnswer, ApiError> {
        let patch = json!({"metadata": {"uid": pod.uid, "labels": {TERM: term.to_string()}}});
        let call = CoordinationCall {
            method: Method::PATCH,
            path: pod_path(pod),
            accept: JSON,
            content: "application/merge-patch+json",
            body: Some(&patch),
        };
        self.call::<ObjectMetadata>(call).await.map(|_| ClusterAnswer::Done)
    }

    /// Lists the selected pods among those that were made under a Lease of our home namespace.
    async fn pods(&self, namespace: &Namespace, selector: &str) -> Result<ClusterAnswer, ApiError> {
        let selector = format!("{TERM},{HOME}={},{selector}", self.home);
        let query = Serializer::new(String::new()).append_pair("labelSelector", &selector).finish();
        let pods = self.list(format!("/api/v1/namespaces/{namespace}/pods?{query}"), METADATA).await?;
        let pods = pods.into_iter().filter_map(|pod: ObjectMetadata| observed_pod(namespace, pod.metadata)).collect();
        Ok(ClusterAnswer::Pods(pods))
    }

    async fn list<T: DeserializeOwned>(&self, path: String, accept: &'static str) -> Result<Vec<T>, ApiError> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let page =
                Serializer::new(String::new()).append_pair("limit", PAGE).append_pair("continue", &next).finish();
            let path = format!("{path}&{page}");
            let call = CoordinationCall { method: Method::GET, path, accept, content: JSON, body: None };
            let listed: ObjectPage<T> = self.call(call).await?;
            items.extend(listed.items.into_iter().flatten());
            match listed.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(more) => next = more,
                None => return Ok(items),
            }
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Option<&Value>,
    ) -> Result<T, ApiError> {
        self.call(CoordinationCall { method, path, accept: JSON, content: JSON, body }).await
    }

    async fn call<T: DeserializeOwned>(&self, call: CoordinationCall<'_>) -> Result<T, ApiError> {
        let unsendable = |error: &(dyn std::error::Error + 'static)| ApiError::Unsendable(causes(error));
        let body = call.body.map(serde_json::to_vec).transpose().map_err(|error| unsendable(&error))?;
        let request = http::Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(ACCEPT, call.accept)
            .header(CONTENT_TYPE, call.content)
            .body(body.unwrap_or_default())
            .map_err(|error| unsendable(&error))?;
        match timeout(self.call_timeout, self.client.request::<T>(request)).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) => Err(ApiError::Unreachable(format!("no answer within {}", time_text(self.call_timeout)))),
        }
    }

    fn leases(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.home)
    }

    fn lease(&self, instance: Instance) -> String {
        format!("{}/{PREFIX}{instance}", self.leases())
    }
}

fn pod_path(pod: &ObservedPod) -> String {
    // A pod's name is a DNS name: it can stand in a path.
    format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name)
}

/// Label selector of the pods of unknown owners.
fn unknown_owners(known: &BTreeSet<Instance>) -> String {
    let known: Vec<_> = known.iter().map(Instance::to_string).collect();
    format!("{INSTANCE} notin ({})", known.join(","))
}

/// The version of a Lease, with its uid: Kubernetes answers an update without a uid by creating the Lease if it does not
/// exist.
fn lease_version(uid: &str, version: &str) -> ObjectVersion {
    ObjectVersion(format!("{uid} {version}").into())
}

/// Splits the version of a Lease into uid and resourceVersion.
fn uid_and_version(version: &ObjectVersion) -> (&str, &str) {
    version.0.split_once(' ').unwrap_or_default()
}

fn lease_json(record: &LeaseRecord, version: Option<&ObjectVersion>) -> Value {
    let object = version.map(uid_and_version);
    let namespaces: Vec<_> = record.namespaces.iter().map(Namespace::as_str).collect();
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": format!("{PREFIX}{}", record.instance),
            "uid": object.map(|(uid, _)| uid),
            "resourceVersion": object.map(|(_, version)| version),
            "labels": {"app.kubernetes.io/managed-by": "podgate", INSTANCE: record.instance.to_string()},
            "annotations": {NAMESPACES: namespaces.join(",")},
        },
        "spec": {
            "holderIdentity": record.holder.to_string(),
            // Whole seconds, rounded up.
            "leaseDurationSeconds": record.lease_duration.as_secs() + u64::from(record.lease_duration.subsec_nanos() > 0),
            "renewTime": now,
        },
    })
}

/// The gateway of a Lease; `None` if it has not been renewed for two of its durations, or is not a gateway's.
fn living_instance(lease: &Value, now: Timestamp) -> Option<Instance> {
    let instance = Instance::parse(lease.pointer("/metadata/name")?.as_str()?.strip_prefix(PREFIX)?)?;
    // Another holder takes it for dead.
    let holder = Instance::parse(lease.pointer("/spec/holderIdentity")?.as_str()?)?;
    let renewed: Timestamp = lease.pointer("/spec/renewTime")?.as_str()?.parse().ok()?;
    let duration = lease.pointer("/spec/leaseDurationSeconds")?.as_i64()?;
    let is_recent = now.as_second() - renewed.as_second() <= duration.saturating_mul(2);
    (holder == instance && is_recent).then_some(instance)
}

fn one_lease(lease: Lease) -> ClusterAnswer {
    observed_lease(lease)
        .map_or_else(|| ClusterAnswer::Failed("the Lease is not one of ours".to_owned()), ClusterAnswer::Lease)
}

/// Reads a Lease of a gateway; `None` if no gateway wrote it.
fn observed_lease(lease: Lease) -> Option<ObservedLease> {
    let (metadata, spec) = (lease.metadata, lease.spec?);
    let instance = Instance::parse(metadata.name?.strip_prefix(PREFIX)?)?;
    let holder = Instance::parse(&spec.holder_identity?)?;
    let lease_duration = Duration::from_secs(u64::try_from(spec.lease_duration_seconds?).ok()?);
    let namespaces = metadata.annotations.unwrap_or_default().remove(NAMESPACES).unwrap_or_default();
    let namespaces = namespaces.split(',').filter_map(|name| Namespace::parse(name).ok()).collect();
    let record = LeaseRecord { instance, holder, lease_duration, namespaces };
    Some(ObservedLease { record, version: lease_version(&metadata.uid?, &metadata.resource_version?) })
}

/// Reads a pod that was made under a Lease; `None` for others and for one that is being deleted.
fn observed_pod(namespace: &Namespace, metadata: ObjectMeta) -> Option<ObservedPod> {
    if metadata.deletion_timestamp.is_some() {
        return None;
    }
    let labels = metadata.labels?;
    Some(ObservedPod {
        namespace: namespace.clone(),
        name: metadata.name?,
        uid: metadata.uid?,
        version: ObjectVersion(metadata.resource_version?.into()),
        owner: Instance::parse(labels.get(INSTANCE)?)?,
        term: labels.get(TERM)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_is_read_back_as_it_was_written_and_nothing_else_is_one() {
        let namespaces = ["a", "b"].map(|name| Namespace::parse(name).unwrap()).into();
        let (instance, holder) = (Instance::random(), Instance::random());
        let record = LeaseRecord { instance, holder, lease_duration: Duration::from_millis(2500), namespaces };
        let mut value = lease_json(&record, Some(&lease_version("u", "7")));
        assert!(value["spec"]["renewTime"].as_str().is_some_and(|time| time.len() == 27), "{value}");
        let read = |value: &Value| observed_lease(serde_json::from_value(value.clone()).unwrap());
        let lease_duration = Duration::from_secs(3);
        let record = LeaseRecord { lease_duration, ..record };
        assert_eq!(read(&value), Some(ObservedLease { record, version: lease_version("u", "7") }));
        for (pointer, other) in [
            ("/metadata/name", json!("podgate")),
            ("/metadata/name", json!("podgate-0")),
            ("/spec/holderIdentity", json!("someone")),
            ("/spec/leaseDurationSeconds", json!(-1)),
        ] {
            let before = std::mem::replace(value.pointer_mut(pointer).unwrap(), other);
            assert_eq!(read(&value), None, "{pointer}");
            *value.pointer_mut(pointer).unwrap() = before;
        }
    }

    #[test]
    fn gateway_whose_lease_is_old_does_not_live() {
        let instance = Instance::random();
        let record = LeaseRecord {
            instance,
            holder: instance,
            lease_duration: Duration::from_secs(30),
            namespaces: BTreeSet::new(),
        };
        let mut lease = lease_json(&record, None);
        lease["spec"]["renewTime"] = json!("2026-01-01T00:00:00.000000Z");
        let at = |text: &str| living_instance(&lease, text.parse().unwrap());
        assert_eq!(at("2026-01-01T00:01:00Z"), Some(instance));
        assert_eq!(at("2026-01-01T00:01:01Z"), None);
        assert_eq!(living_instance(&json!({"metadata": {"name": "other"}}), Timestamp::now()), None);
    }

    #[test]
    fn only_a_pod_made_under_a_lease_that_is_not_going_is_seen() {
        let namespace = Namespace::parse("lab").unwrap();
        let owner = Instance::random();
        let pod = json!({
            "name": "p", "uid": "u", "resourceVersion": "3", "labels": {INSTANCE: owner.to_string(), TERM: "2"},
        });
        let seen = |value: &Value| observed_pod(&namespace, serde_json::from_value(value.clone()).unwrap());
        assert!(seen(&pod).is_some_and(|pod| (pod.owner, pod.term) == (owner, 2)));
        let mut going = pod.clone();
        going["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let mut unleased = pod.clone();
        unleased["labels"] = json!({INSTANCE: owner.to_string()});
        let mut strange = pod;
        strange["labels"][INSTANCE] = json!("me");
        for pod in [going, unleased, strange] {
            assert_eq!(seen(&pod), None, "{pod}");
        }
    }
}
