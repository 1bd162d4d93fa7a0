//! What would keep logins from being served, found before the first one: a cluster that is not reached or not trusted,
//! credentials that are not accepted, missing rights, a namespace that is not there, a pod that the API does not take.
//! It asks, and changes nothing: the pod of the file is created as a dry run only.
//!
//! What may heal by itself never keeps the gateway from starting, an API that is away included. What the file leaves to
//! a config server is not the file's mistake.

mod rights;
mod words;

use super::Backend;
use super::api::ApiError;
use super::client::ClusterClient;
use super::pod;
use crate::settings::{self, Mode};
use futures_util::StreamExt;
use rights::{Need, Right};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long all questions together may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Questions under way at a time.
const AT_ONCE: usize = 4;

/// Something that the operator should know before the first login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it means.
    pub weight: Weight,
    /// One line: the key or the right, what is wrong, what to do.
    pub text: String,
}

/// What a finding means for the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// No login can be served, and waiting does not help: the gateway is not to start.
    Fatal,
    /// Logins will fail until something changes, or something is missing that protects the cluster.
    Warning,
    /// Everything works, a little worse.
    Notice,
}

/// What of the settings is the file's last word, because no config server can say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// `kubernetes.connection`.
    pub connection: bool,
    /// `kubernetes.pod.metadata.namespace`.
    pub namespace: bool,
    /// `kubernetes.pod.spec`; a field that Kubernetes does not know is a mistake in any case.
    pub spec: bool,
}

impl Backend {
    /// Looks for what would keep logins with these settings from being served. Takes at most 10 s.
    pub async fn inspect(&self, settings: &settings::Kubernetes, settled: Settled) -> Vec<Finding> {
        let client = match self.shared.clients.get(&settings.cluster, settings.timeouts.http) {
            Ok(client) => client,
            Err(error) => return vec![finding(fatal_if(settled.connection), words::no_client(&error))],
        };
        let inspection = Inspection { client, settings, settled };
        match timeout(LIMIT, inspection.look()).await {
            Ok(found) => found,
            Err(_elapsed) => vec![finding(Weight::Warning, words::too_slow(&settings.cluster, LIMIT))],
        }
    }
}

struct Inspection<'a> {
    client: Arc<ClusterClient>,
    settings: &'a settings::Kubernetes,
    settled: Settled,
}

/// A right that is missing, and what the API said beside the no.
struct Missing {
    right: Right,
    why: String,
}

impl Inspection<'_> {
    async fn look(&self) -> Vec<Finding> {
        let account = match self.account().await {
            Ok(account) => account,
            Err(error) => return vec![self.no_answer(&error)],
        };
        let missing = match self.missing().await {
            Ok(missing) => missing,
            Err(error) if words::is_refusal(&error) => {
                let unknown = finding(Weight::Warning, words::unknown(&error));
                return [unknown].into_iter().chain(self.trial().await).collect();
            }
            Err(error) => return vec![self.no_answer(&error)],
        };
        let mut found = self.tell(&missing, account.as_deref());
        // An account that lacks a right would be told the same again.
        if missing.iter().all(|missing| missing.right.need != Need::Serve) {
            found.extend(self.trial().await);
        }
        found
    }

    fn no_answer(&self, error: &ApiError) -> Finding {
        let weight = if error.may_heal() { Weight::Warning } else { fatal_if(self.settled.connection) };
        finding(weight, words::no_answer(&self.settings.cluster, error))
    }

    /// Who we are to the cluster, where it tells.
    async fn account(&self) -> Result<Option<String>, ApiError> {
        let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        match self.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &asked).await {
            Ok(answer) => Ok(answer.pointer("/status/userInfo/username").and_then(Value::as_str).map(str::to_owned)),
            Err(error) if words::is_refusal(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn missing(&self) -> Result<Vec<Missing>, ApiError> {
        let mut answers = futures_util::stream::iter(rights::needed(&self.settings.pod.mode))
            .map(|right| self.asked(right))
            .buffered(AT_ONCE);
        let mut missing = Vec::new();
        while let Some(answer) = answers.next().await {
            missing.extend(answer?);
        }
        Ok(missing)
    }

    async fn asked(&self, right: Right) -> Result<Option<Missing>, ApiError> {
        let review = right.review(self.settings.pod.namespace.as_str());
        let answer = self.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await?;
        if answer.pointer("/status/allowed") == Some(&Value::Bool(true)) {
            return Ok(None);
        }
        let why = answer.pointer("/status/evaluationError").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Some(Missing { right, why }))
    }

    /// A line for each resource that lacks something, and each thing that it is needed for.
    fn tell(&self, missing: &[Missing], account: Option<&str>) -> Vec<Finding> {
        let bare = missing.len() == rights::needed(&self.settings.pod.mode).len();
        let mut found = Vec::new();
        for lacking in
            missing.chunk_by(|one, next| (one.right.resource, one.right.need) == (next.right.resource, next.right.need))
        {
            let Some(first) = lacking.first() else { continue };
            let weight = match first.right.need {
                Need::Serve => fatal_if(self.settled.namespace),
                Need::Reasons | Need::Log => Weight::Notice,
                Need::Files | Need::Sweep | Need::Wake => Weight::Warning,
            };
            let mut text = words::missing(lacking, account, &self.settings.pod.namespace);
            if bare && found.is_empty() {
                text.push_str(words::BARE);
            }
            found.push(finding(weight, text));
        }
        found
    }

    /// The API's judgement on the pod of the file.
    async fn trial(&self) -> Option<Finding> {
        if matches!(self.settings.pod.mode, Mode::Persistent { create_missing: false, .. }) {
            // No pod is created.
            return None;
        }
        let manifest = match pod::trial(self.settings) {
            Ok(manifest) => manifest,
            Err(error) => return Some(finding(fatal_if(self.settled.spec), error.to_string())),
        };
        let namespace = &self.settings.pod.namespace;
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict");
        let error = self.post(&path, &manifest).await.err()?;
        let weight = match words::judge(&error) {
            words::Judgement::Fine => return None,
            words::Judgement::MayHeal => Weight::Warning,
            words::Judgement::NoNamespace => fatal_if(self.settled.namespace),
            words::Judgement::Wrong => fatal_if(self.settled.spec),
            words::Judgement::Nonsense => Weight::Fatal,
        };
        Some(finding(weight, words::refused(&error, &self.settings.cluster)))
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| ApiError::Unsendable(error.to_string()))?;
        let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json").body(body);
        let request = request.map_err(|error| ApiError::Unsendable(error.to_string()))?;
        self.client.kube().request(request).await.map_err(ApiError::from)
    }
}

fn finding(weight: Weight, text: String) -> Finding {
    Finding { weight, text }
}

fn fatal_if(settled: bool) -> Weight {
    if settled { Weight::Fatal } else { Weight::Warning }
}

#[cfg(test)]
mod tests;
