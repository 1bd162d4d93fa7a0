//! The calls behind the [`Request`]s. They go past the connections' `qps` and `burst`, on a client of their own, and each has
//! a deadline well below a Lease's duration.
//!
//! Everything that is listed is listed as it is now, not as some cache remembers it (no `resourceVersion` is sent), and pods
//! without what is not looked at (`PartialObjectMetadata`).

use super::protocol::{Answer, Draft, LeaseSeen, PodSeen, Request, Version};
use crate::kubernetes::api::{ApiError, causes};
use crate::kubernetes::pod::{HOME, INSTANCE, Instance, TERM};
use crate::types::{Namespace, time_text};
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;
use url::form_urlencoded::Serializer;

/// The annotation of a Lease that names the namespaces where its instance has pods, parted by commas.
const NAMESPACES: &str = "podgate/namespaces";

/// What the names of our Leases begin with.
const PREFIX: &str = "podgate-";

/// How many objects one answer may have.
const PAGE: &str = "500";

const JSON: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";

/// The API as gateways use it to look after each other.
pub(super) struct Api {
    client: kube::Client,
    home: Namespace,
    within: Duration,
}

/// A list, as far as it is looked at.
#[derive(Deserialize)]
struct Listed<T> {
    metadata: ListMeta,
    /// Null where a list of metadata is empty.
    items: Option<Vec<T>>,
}

/// An object, as far as it is looked at.
#[derive(Deserialize)]
struct Object {
    metadata: ObjectMeta,
}

/// A call that has no answer.
struct Call<'a> {
    method: Method,
    path: String,
    accept: &'static str,
    content: &'static str,
    body: Option<&'a Value>,
}

impl Api {
    /// Leases are in the namespace `home`; a call takes at most `within`.
    pub(super) fn new(client: kube::Client, home: Namespace, within: Duration) -> Self {
        Self { client, home, within }
    }

    /// Carries a request out, once.
    pub(super) async fn carry_out(&self, request: Request) -> Answer {
        let about_leases = matches!(
            request,
            Request::Create(_) | Request::Update(..) | Request::Read(_) | Request::Forget(..) | Request::ListLeases
        );
        let answer = match request {
            Request::Create(draft) => self.create(&draft).await,
            Request::Update(draft, version) => {
                self.write(Method::PUT, self.lease(draft.instance), lease_json(&draft, Some(&version))).await
            }
            Request::Read(instance) => self.send(Method::GET, self.lease(instance), None).await.map(one_lease),
            Request::Forget(instance, version) => {
                let (uid, version) = object(&version);
                let body = json!({"preconditions": {"uid": uid, "resourceVersion": version}});
                self.delete(self.lease(instance), body).await
            }
            Request::ListLeases => self
                .list(format!("{}?labelSelector={INSTANCE}", self.leases()), JSON)
                .await
                .map(|leases: Vec<Lease>| Answer::Leases(leases.into_iter().filter_map(lease_seen).collect())),
            Request::ListPods { namespace, owner } => self.pods(&namespace, &format!("{INSTANCE}={owner}")).await,
            Request::ListStrangers { namespace, known } => self.pods(&namespace, &strangers(&known)).await,
            Request::DeletePod(pod) => {
                let body = json!({"preconditions": {"uid": pod.uid, "resourceVersion": &*pod.version.0}});
                self.delete(pod_path(&pod), body).await
            }
            Request::TouchPod(pod, term) => self.touch(&pod, term).await,
        };
        answer.unwrap_or_else(|error| match error.code() {
            Some(404) => Answer::Gone,
            Some(409) => Answer::Conflict,
            _ if error.may_heal() => Answer::Failed(error.to_string()),
            // Pods have rights of their own, which the start looks at; who is not known (401) has no use for a role.
            Some(403) if about_leases => Answer::Refused(format!(
                "{error}; the gateway's role needs get, list, create, update and delete on leases.coordination.k8s.io there"
            )),
            _ => Answer::Refused(error.to_string()),
        })
    }

    async fn create(&self, draft: &Draft) -> Result<Answer, ApiError> {
        match self.write(Method::POST, self.leases(), lease_json(draft, None)).await {
            // There is no such namespace.
            Err(error) if error.code() == Some(404) => Ok(Answer::Refused(error.to_string())),
            answer => answer,
        }
    }

    async fn write(&self, method: Method, path: String, body: Value) -> Result<Answer, ApiError> {
        self.send(method, path, Some(&body)).await.map(one_lease)
    }

    async fn delete(&self, path: String, body: Value) -> Result<Answer, ApiError> {
        self.send::<Value>(Method::DELETE, path, Some(&body)).await.map(|_| Answer::Done)
    }

    async fn touch(&self, pod: &PodSeen, term: u32) -> Result<Answer, ApiError> {
        let patch = json!({"metadata": {"uid": pod.uid, "labels": {TERM: term.to_string()}}});
        let call = Call {
            method: Method::PATCH,
            path: pod_path(pod),
            accept: JSON,
            content: "application/merge-patch+json",
            body: Some(&patch),
        };
        self.call::<Object>(call).await.map(|_| Answer::Done)
    }

    /// The pods that were made under a Lease that is where ours is, as far as they are selected.
    async fn pods(&self, namespace: &Namespace, selector: &str) -> Result<Answer, ApiError> {
        let selector = format!("{TERM},{HOME}={},{selector}", self.home);
        let query = Serializer::new(String::new()).append_pair("labelSelector", &selector).finish();
        let pods = self.list(format!("/api/v1/namespaces/{namespace}/pods?{query}"), METADATA).await?;
        let pods = pods.into_iter().filter_map(|pod: Object| pod_seen(namespace, pod.metadata)).collect();
        Ok(Answer::Pods(pods))
    }

    async fn list<T: DeserializeOwned>(&self, path: String, accept: &'static str) -> Result<Vec<T>, ApiError> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let page =
                Serializer::new(String::new()).append_pair("limit", PAGE).append_pair("continue", &next).finish();
            let path = format!("{path}&{page}");
            let call = Call { method: Method::GET, path, accept, content: JSON, body: None };
            let listed: Listed<T> = self.call(call).await?;
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
        self.call(Call { method, path, accept: JSON, content: JSON, body }).await
    }

    async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ApiError> {
        let unsendable = |error: &dyn std::error::Error| ApiError::Unsendable(causes(error));
        let body = call.body.map(serde_json::to_vec).transpose().map_err(|error| unsendable(&error))?;
        let request = http::Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(ACCEPT, call.accept)
            .header(CONTENT_TYPE, call.content)
            .body(body.unwrap_or_default())
            .map_err(|error| unsendable(&error))?;
        match timeout(self.within, self.client.request::<T>(request)).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) => Err(ApiError::Unreachable(format!("no answer within {}", time_text(self.within)))),
        }
    }

    fn leases(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.home)
    }

    fn lease(&self, instance: Instance) -> String {
        format!("{}/{PREFIX}{instance}", self.leases())
    }
}

fn pod_path(pod: &PodSeen) -> String {
    // A pod's name is a DNS name: it can stand in a path.
    format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name)
}

/// Pods of nobody who is known.
fn strangers(known: &BTreeSet<Instance>) -> String {
    let known: Vec<_> = known.iter().map(Instance::to_string).collect();
    format!("{INSTANCE} notin ({})", known.join(","))
}

/// The version of a Lease, with what tells it from another of its name: of an update that names no uid, Kubernetes makes
/// a Lease that is not there.
fn lease_version(uid: &str, version: &str) -> Version {
    Version(format!("{uid} {version}").into())
}

/// The uid and the resourceVersion.
fn object(version: &Version) -> (&str, &str) {
    version.0.split_once(' ').unwrap_or_default()
}

fn lease_json(draft: &Draft, version: Option<&Version>) -> Value {
    let object = version.map(object);
    let namespaces: Vec<_> = draft.namespaces.iter().map(Namespace::as_str).collect();
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": format!("{PREFIX}{}", draft.instance),
            "uid": object.map(|(uid, _)| uid),
            "resourceVersion": object.map(|(_, version)| version),
            "labels": {"app.kubernetes.io/managed-by": "podgate", INSTANCE: draft.instance.to_string()},
            "annotations": {NAMESPACES: namespaces.join(",")},
        },
        "spec": {
            "holderIdentity": draft.holder.to_string(),
            // In whole seconds: rather too many than too few.
            "leaseDurationSeconds": draft.lasts.as_secs() + u64::from(draft.lasts.subsec_nanos() > 0),
            "renewTime": now,
        },
    })
}

fn one_lease(lease: Lease) -> Answer {
    lease_seen(lease).map_or_else(|| Answer::Failed("the Lease is not one of ours".to_owned()), Answer::Lease)
}

/// What is not as we write it is none of ours.
fn lease_seen(lease: Lease) -> Option<LeaseSeen> {
    let (metadata, spec) = (lease.metadata, lease.spec?);
    let instance = Instance::parse(metadata.name?.strip_prefix(PREFIX)?)?;
    let holder = Instance::parse(&spec.holder_identity?)?;
    let lasts = Duration::from_secs(u64::try_from(spec.lease_duration_seconds?).ok()?);
    let namespaces = metadata.annotations.unwrap_or_default().remove(NAMESPACES).unwrap_or_default();
    let namespaces = namespaces.split(',').filter_map(|name| Namespace::parse(name).ok()).collect();
    let says = Draft { instance, holder, lasts, namespaces };
    Some(LeaseSeen { says, version: lease_version(&metadata.uid?, &metadata.resource_version?) })
}

/// A pod that is going already is none.
fn pod_seen(namespace: &Namespace, metadata: ObjectMeta) -> Option<PodSeen> {
    if metadata.deletion_timestamp.is_some() {
        return None;
    }
    let labels = metadata.labels?;
    Some(PodSeen {
        namespace: namespace.clone(),
        name: metadata.name?,
        uid: metadata.uid?,
        version: Version(metadata.resource_version?.into()),
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
        let draft = Draft { instance, holder, lasts: Duration::from_millis(2500), namespaces };
        let mut value = lease_json(&draft, Some(&lease_version("u", "7")));
        assert!(value["spec"]["renewTime"].as_str().is_some_and(|time| time.len() == 27), "{value}");
        let read = |value: &Value| lease_seen(serde_json::from_value(value.clone()).unwrap());
        let lasts = Duration::from_secs(3);
        let says = Draft { lasts, ..draft };
        assert_eq!(read(&value), Some(LeaseSeen { says, version: lease_version("u", "7") }));
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
    fn only_a_pod_made_under_a_lease_that_is_not_going_is_seen() {
        let namespace = Namespace::parse("lab").unwrap();
        let owner = Instance::random();
        let pod = json!({
            "name": "p", "uid": "u", "resourceVersion": "3", "labels": {INSTANCE: owner.to_string(), TERM: "2"},
        });
        let seen = |value: &Value| pod_seen(&namespace, serde_json::from_value(value.clone()).unwrap());
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
