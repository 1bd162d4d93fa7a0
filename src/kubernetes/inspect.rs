//! The inspection at the start finds what would keep logins from being served: a cluster that cannot be reached or is not
//! trusted, credentials that are not accepted, missing rights, a missing namespace, a pod that the API refuses. It changes
//! nothing: the pod of the file is created as a dry run only.
//!
//! A problem that may heal by itself, such as an API that is down, never keeps the gateway from starting. A setting that
//! the file leaves to a config server is not the file's mistake.

mod examination;
mod masking;
mod messages;
mod network_policy;
mod rights;

use super::Backend;
use super::api::client::ClusterClient;
use super::api::pods::ApiError;
use super::pod::manifest;
use crate::settings::{self, PodMode};
use crate::types::Diagnosis;
use futures_util::StreamExt;
use masking::Mask;
use rights::{AccessRight, RightPurpose};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Limit of the whole inspection.
const LIMIT: Duration = Duration::from_secs(10);

/// Limit of the API calls at a time.
const MAX_CONCURRENT: usize = 4;

/// A problem that the operator should know before the first login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartFinding {
    pub severity: Severity,
    /// One line: the key or the right, the problem, and the remedy.
    pub text: String,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// No login can be served, and waiting does not help: the gateway must not start.
    Fatal,
    /// Logins will fail until something changes, or something is missing that protects the cluster.
    Warning,
    /// Everything works, a little worse.
    Notice,
}

/// The settings that the file decides, because no config server can change them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecidedByFile {
    /// Set if it decides `kubernetes.connection`.
    pub connection: bool,
    /// Set if it decides `kubernetes.pod.metadata.namespace`.
    pub namespace: bool,
    /// `kubernetes.pod.spec`; a field that Kubernetes does not know is a mistake in any case.
    pub spec: bool,
}

impl Backend {
    /// Checks that the API answers and accepts the credentials, by a question that needs no right.
    ///
    /// # Errors
    /// One line for the operator.
    pub(crate) async fn reach(&self, settings: &settings::KubernetesSettings) -> Result<(), String> {
        let client = self.shared.clients.get(&settings.cluster, settings.timeouts.http);
        let client = client.map_err(|error| messages::no_client(&error))?;
        let request = http::Request::get("/version").body(Vec::new()).map_err(|error| error.to_string())?;
        match client.kube().request_text(request).await.map_err(ApiError::from) {
            Ok(_version) => Ok(()),
            Err(error) if messages::is_refusal(&error) => Ok(()),
            Err(error) => Err(messages::no_answer(&settings.cluster, &error)),
        }
    }

    /// Examines the cluster of these settings check by check, for at most `limit`; also returns the seconds by which the API
    /// server's clock is ahead.
    pub(crate) async fn examine(
        &self,
        settings: &settings::KubernetesSettings,
        decided: DecidedByFile,
        limit: Duration,
    ) -> (Vec<Diagnosis>, Option<i64>) {
        let client = match self.shared.clients.get(&settings.cluster, settings.timeouts.http) {
            Ok(client) => client,
            Err(error) => return (vec![examination::no_client(&error)], None),
        };
        examination::examine(&Inspection { client, settings, decided }, limit).await
    }

    /// Hides the credentials of a cluster's client in diagnoses.
    pub(crate) fn hide_credentials(&self, cluster: &Arc<settings::Cluster>, limit: Duration, checks: &mut [Diagnosis]) {
        // A client that cannot be made sent nothing.
        let Ok(client) = self.shared.clients.get(cluster, limit) else { return };
        let mask = Mask::of(&client, cluster);
        for check in checks {
            check.detail = mask.applied(&check.detail);
            check.fix = mask.applied(&check.fix);
        }
    }

    /// Finds the problems of logins with these settings. Takes at most 10 s.
    pub(crate) async fn inspect(
        &self,
        settings: &settings::KubernetesSettings,
        decided: DecidedByFile,
    ) -> Vec<StartFinding> {
        let client = match self.shared.clients.get(&settings.cluster, settings.timeouts.http) {
            Ok(client) => client,
            Err(error) => return vec![finding(fatal_if(decided.connection), messages::no_client(&error))],
        };
        let inspection = Inspection { client, settings, decided };
        match timeout(LIMIT, inspection.look()).await {
            Ok(found) => found,
            Err(_elapsed) => vec![finding(Severity::Warning, messages::too_slow(&settings.cluster, LIMIT))],
        }
    }
}

struct Inspection<'a> {
    client: Arc<ClusterClient>,
    settings: &'a settings::KubernetesSettings,
    decided: DecidedByFile,
}

/// A right that is missing, and the API's explanation.
struct MissingRight {
    right: AccessRight,
    reason: String,
}

impl Inspection<'_> {
    async fn look(&self) -> Vec<StartFinding> {
        let account = match self.account().await {
            Ok(account) => account,
            Err(error) => return vec![self.no_answer(&error)],
        };
        let missing = match self.missing().await {
            Ok(missing) => missing,
            Err(error) if messages::is_refusal(&error) => {
                let unknown = finding(Severity::Warning, messages::unknown(&error));
                return [unknown].into_iter().chain(self.trial().await).collect();
            }
            Err(error) => return vec![self.no_answer(&error)],
        };
        let mut found = self.findings(&missing, account.as_deref());
        // The dry run would find a missing right again.
        if missing.iter().all(|missing| missing.right.need != RightPurpose::Serve) {
            found.extend(self.trial().await);
        }
        found
    }

    fn no_answer(&self, error: &ApiError) -> StartFinding {
        let severity = if error.may_heal() { Severity::Warning } else { fatal_if(self.decided.connection) };
        finding(severity, messages::no_answer(&self.settings.cluster, error))
    }

    /// Returns the user that the gateway is to the cluster, if the API tells.
    async fn account(&self) -> Result<Option<String>, ApiError> {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        match self.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await {
            Ok(answer) => Ok(answer.pointer("/status/userInfo/username").and_then(Value::as_str).map(str::to_owned)),
            Err(error) if messages::is_refusal(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn missing(&self) -> Result<Vec<MissingRight>, ApiError> {
        let mut answers = futures_util::stream::iter(rights::needed(&self.settings.pod.mode))
            .map(|right| self.check_right(right))
            .buffered(MAX_CONCURRENT);
        let mut missing = Vec::new();
        while let Some(answer) = answers.next().await {
            missing.extend(answer?);
        }
        Ok(missing)
    }

    async fn check_right(&self, right: AccessRight) -> Result<Option<MissingRight>, ApiError> {
        let review = right.review(self.settings.pod.namespace.as_str());
        let answer = self.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await?;
        if answer.pointer("/status/allowed") == Some(&Value::Bool(true)) {
            return Ok(None);
        }
        let reason = answer.pointer("/status/evaluationError").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Some(MissingRight { right, reason }))
    }

    /// Makes one finding for each resource and each purpose.
    fn findings(&self, missing: &[MissingRight], account: Option<&str>) -> Vec<StartFinding> {
        let bare = missing.len() == rights::needed(&self.settings.pod.mode).len();
        let mut found = Vec::new();
        for lacking in
            missing.chunk_by(|one, next| (one.right.resource, one.right.need) == (next.right.resource, next.right.need))
        {
            let Some(first) = lacking.first() else { continue };
            let severity = match first.right.need {
                RightPurpose::Serve => fatal_if(self.decided.namespace),
                RightPurpose::Reasons | RightPurpose::Log => Severity::Notice,
                RightPurpose::Files | RightPurpose::Sweep | RightPurpose::Wake => Severity::Warning,
            };
            let mut text = messages::missing(lacking, account, &self.settings.pod.namespace);
            if bare && found.is_empty() {
                text.push_str(messages::BARE);
            }
            found.push(finding(severity, text));
        }
        found
    }

    /// Creates the pod of the file as a dry run.
    async fn trial(&self) -> Option<StartFinding> {
        if matches!(self.settings.pod.mode, PodMode::Persistent { create_missing: false, .. }) {
            // No pod is created.
            return None;
        }
        let manifest = match manifest::trial(self.settings) {
            Ok(manifest) => manifest,
            Err(error) => return Some(finding(fatal_if(self.decided.spec), error.to_string())),
        };
        let namespace = &self.settings.pod.namespace;
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict");
        let error = self.post(&path, &manifest).await.err()?;
        let judgement = messages::judge(&error);
        let found = || finding(self.severity(judgement), messages::refused(&error, &self.settings.cluster));
        (judgement != messages::DryRunJudgement::Fine).then(found)
    }

    /// The severity of a pod that is refused.
    fn severity(&self, judgement: messages::DryRunJudgement) -> Severity {
        match judgement {
            messages::DryRunJudgement::Fine => Severity::Notice,
            messages::DryRunJudgement::MayHeal => Severity::Warning,
            messages::DryRunJudgement::NoNamespace => fatal_if(self.decided.namespace),
            messages::DryRunJudgement::Wrong => fatal_if(self.decided.spec),
            messages::DryRunJudgement::Nonsense => Severity::Fatal,
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| ApiError::Unsendable(error.to_string()))?;
        let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json").body(body);
        let request = request.map_err(|error| ApiError::Unsendable(error.to_string()))?;
        self.client.kube().request(request).await.map_err(ApiError::from)
    }
}

fn finding(severity: Severity, text: String) -> StartFinding {
    StartFinding { severity, text }
}

fn fatal_if(decided: bool) -> Severity {
    if decided { Severity::Fatal } else { Severity::Warning }
}

#[cfg(test)]
mod tests;
