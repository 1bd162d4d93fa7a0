//! The cluster check by check, for `podgate doctor`: the way to the API server, its version, the account and its rights, the
//! pod in a dry run, and the way of an exec. It asks and judges as the inspection at the start does, and tells what is well,
//! too.

mod call;

use super::network_policy;
use super::rights;
use super::{Inspection, Severity, messages};
use crate::kubernetes::api::client::ClientError;
use crate::kubernetes::api::exec::{ExecError, ExecRequest, ExecVerb};
use crate::kubernetes::api::pods::ApiError;
use crate::kubernetes::pod::manifest;
use crate::settings::PodMode;
use crate::tls::{TrialPart, TrialStep};
use crate::types::{CheckResult, Diagnosis, DoctorCheck, PodName, RunningCheck, printable};
use call::{Answer, CallError, call};
use http::header::WARNING;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// The section that the checks are about.
const CONNECTION: &str = "kubernetes.connection";
/// Limit of one step of the connection.
const STEP: Duration = Duration::from_secs(5);
/// Days before a certificate's end from which on it is a warning. Clusters renew theirs themselves.
const SOON: i64 = 7;
/// The oldest minor version that has what the gateway needs (docs/kubernetes.md).
const OLDEST: u32 = 30;
const SLOW_API: &str = "look at the API server and the network between";
const NO_API: &str = "is kubernetes.connection.host the API server itself? A proxy before it must pass requests and their credentials on";
/// The checks behind the connection, which need it.
const BEHIND: [DoctorCheck; 6] = [
    DoctorCheck::ApiVersion,
    DoctorCheck::ApiCredentials,
    DoctorCheck::Permissions,
    DoctorCheck::PodAdmission,
    DoctorCheck::ExecUpgrade,
    DoctorCheck::NetworkPolicies,
];

/// The diagnosis of a connection that cannot be used.
pub(super) fn no_client(error: &ClientError) -> Diagnosis {
    let check = RunningCheck::begin(DoctorCheck::ApiCredentials, CONNECTION);
    check.failed(messages::no_client(error), "correct this key or file")
}

/// Makes every check, for at most `limit`; also returns the seconds by which the API server's clock is ahead.
pub(super) async fn examine(inspection: &Inspection<'_>, limit: Duration) -> (Vec<Diagnosis>, Option<i64>) {
    let mut examination = Examination { inspection, done: Vec::new(), ahead: None };
    if timeout(limit, examination.run()).await.is_err() {
        let text = messages::too_slow(&inspection.settings.cluster, limit);
        examination.rest(of_unfinished(&examination.done), &text, SLOW_API);
    }
    (examination.done, examination.ahead)
}

/// The result of all checks that were not made in time. Logins work where every answer comes, however late.
fn of_unfinished(done: &[Diagnosis]) -> CheckResult {
    let answers = done.iter().any(|done| done.check == DoctorCheck::ApiCredentials);
    if answers { CheckResult::Warning } else { CheckResult::Failed }
}

struct Examination<'a> {
    inspection: &'a Inspection<'a>,
    done: Vec<Diagnosis>,
    /// Seconds by which the API server's clock is ahead.
    ahead: Option<i64>,
}

impl Examination<'_> {
    async fn run(&mut self) {
        if !self.connection().await {
            let fix = "mend the connection to the API server first";
            self.rest(CheckResult::Skipped, "the API server cannot be reached", fix);
            return;
        }
        self.version().await;
        if !self.credentials().await {
            let fix = "mend what failed above first";
            self.rest(CheckResult::Skipped, "the API server does not take the gateway's requests", fix);
            return;
        }
        self.permissions().await;
        self.admission().await;
        self.upgrade().await;
        self.policies().await;
    }

    /// Tells the same of every check that was not made.
    fn rest(&mut self, result: CheckResult, detail: &str, fix: &str) {
        for check in
            BEHIND.into_iter().filter(|check| self.done.iter().all(|done| done.check != *check)).collect::<Vec<_>>()
        {
            let running = RunningCheck::begin(check, self.subject(check));
            self.done.push(match result {
                CheckResult::Failed => running.failed(detail, fix),
                CheckResult::Warning => running.warning(detail, fix),
                _ => running.skipped(detail, fix),
            });
        }
    }

    fn subject(&self, check: DoctorCheck) -> String {
        match check {
            DoctorCheck::Permissions
            | DoctorCheck::PodAdmission
            | DoctorCheck::ExecUpgrade
            | DoctorCheck::NetworkPolicies => self.inspection.settings.pod.namespace.to_string(),
            _ => CONNECTION.to_owned(),
        }
    }

    fn begin(&self, check: DoctorCheck) -> RunningCheck {
        RunningCheck::begin(check, self.subject(check))
    }

    /// Connects. A step that fails is told in the words of the start.
    async fn connection(&mut self) -> bool {
        let cluster = &self.inspection.settings.cluster;
        for TrialStep { part, took, result, days } in self.inspection.client.trial().run(STEP).await {
            let (check, fix) = match part {
                TrialPart::Name => (DoctorCheck::ApiName, "correct kubernetes.connection.host, or the gateway's DNS"),
                TrialPart::Tcp => (
                    DoctorCheck::ApiTcp,
                    "correct kubernetes.connection.host, or open the way there (firewall, NetworkPolicy of the gateway)",
                ),
                TrialPart::Tls => (
                    DoctorCheck::ApiTls,
                    "do what the line says: the cluster's CA belongs in kubernetes.connection.cacertFile, one of the \
                     certificate's names in serverName",
                ),
            };
            let running = self.begin(check);
            let diagnosis = match &result {
                Ok(text) if days.is_some_and(|days| days < SOON) => {
                    running.warning(text, "renew the API server's certificate (kubeadm certs renew apiserver)")
                }
                Ok(text) => running.ok(text),
                Err(reason) => {
                    let error = match part {
                        TrialPart::Tls => ApiError::Untrusted(reason.clone()),
                        TrialPart::Name | TrialPart::Tcp => ApiError::Unreachable(reason.clone()),
                    };
                    running.failed(messages::no_answer(cluster, &error), fix)
                }
            };
            self.done.push(Diagnosis { took, ..diagnosis });
        }
        self.done.iter().all(|done| done.result != CheckResult::Failed)
    }

    async fn version(&mut self) {
        let running = self.begin(DoctorCheck::ApiVersion);
        let diagnosis = match self.call(Method::GET, "/version", None).await {
            Ok(Answer { body: version, .. }) => {
                let text = |key: &str| version.get(key).and_then(Value::as_str).unwrap_or_default();
                let shown = printable(text("gitVersion"), 80);
                match minor(text("major"), text("minor")) {
                    Some(minor) if minor < OLDEST => running.failed(
                        format!("Kubernetes {shown} is too old: Podgate needs 1.{OLDEST} or newer"),
                        "update the cluster",
                    ),
                    Some(_) => running.ok(format!("Kubernetes {shown}; 1.{OLDEST} or newer is needed")),
                    None => running.warning(
                        format!("the server does not tell which Kubernetes it is ({shown})"),
                        "is kubernetes.connection.host the API server?",
                    ),
                }
            }
            Err(CallError::Foreign { code, page }) => {
                running.warning(self.no_api(&CallError::page(code, &page)), NO_API)
            }
            Err(CallError::Api(error)) => {
                let fix = if messages::is_refusal(&error) {
                    "let the account read /version (system:discovery)"
                } else {
                    SLOW_API
                };
                running.warning(messages::no_answer(&self.inspection.settings.cluster, &error), fix)
            }
        };
        self.done.push(diagnosis);
    }

    /// Asks for the account. Only the API server itself can accept or refuse the credentials.
    async fn credentials(&mut self) -> bool {
        let running = self.begin(DoctorCheck::ApiCredentials);
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let answer = self.call(Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews", Some(&review)).await;
        let cluster = &self.inspection.settings.cluster;
        let diagnosis = match answer {
            Ok(Answer { body, .. }) => match body.pointer("/status/userInfo/username").and_then(Value::as_str) {
                Some(account) => running.ok(format!("the API server knows the gateway as {}", printable(account, 200))),
                None => running.warning(self.no_api("it names no account"), NO_API),
            },
            // A proxy can refuse this path alone.
            Err(CallError::Foreign { code: code @ 402..=499, page }) => {
                running.warning(self.no_api(&CallError::page(code, &page)), NO_API)
            }
            Err(CallError::Foreign { code, page }) => {
                running.failed(self.no_api(&CallError::page(code, &page)), NO_API)
            }
            Err(CallError::Api(error)) if messages::is_refusal(&error) => {
                running.ok("the API server takes the credentials")
            }
            Err(CallError::Api(error)) => {
                let fix = if error.code() == Some(401) { messages::renew(cluster) } else { SLOW_API.to_owned() };
                running.failed(messages::no_answer(cluster, &error), fix)
            }
        };
        let goes_on = diagnosis.result != CheckResult::Failed;
        self.done.push(diagnosis);
        goes_on
    }

    /// Describes an answer that is not the API server's.
    fn no_api(&self, said: &str) -> String {
        let cluster = &self.inspection.settings.cluster;
        format!("kubernetes.connection.host: {} does not answer as an API server: {said}", messages::host(cluster))
    }

    async fn permissions(&mut self) {
        let running = self.begin(DoctorCheck::Permissions);
        let settings = self.inspection.settings;
        let grant =
            "grant exactly these verbs by the Role of deploy/kubernetes.yaml or of the chart, in this namespace";
        let missing = match self.inspection.missing().await {
            Ok(missing) => missing,
            Err(error) if messages::is_refusal(&error) => {
                let fix = "let the account create selfsubjectaccessreviews (system:basic-user)";
                return self.done.push(running.skipped(messages::unknown(&error), fix));
            }
            Err(error) => {
                let fix = "look at the API server";
                return self.done.push(running.failed(messages::no_answer(&settings.cluster, &error), fix));
            }
        };
        if missing.is_empty() {
            let count = rights::needed(&settings.pod.mode).len();
            return self.done.push(running.ok(format!("the account has all {count} permissions that the mode needs")));
        }
        let account = self.inspection.account().await.ok().flatten();
        for finding in self.inspection.findings(&missing, account.as_deref()) {
            self.done.push(judged(&running, finding.severity, &finding.text, grant));
        }
    }

    /// Tries the pod, and tells the API server's warnings, by which it announces among others that Pod Security will refuse it.
    async fn admission(&mut self) {
        let running = self.begin(DoctorCheck::PodAdmission);
        let settings = self.inspection.settings;
        if matches!(settings.pod.mode, PodMode::Persistent { create_missing: false, .. }) {
            let fix = "nothing is to be done: in mode persistent without createMissingPods others create the pods";
            return self.done.push(running.skipped("the gateway creates no pods", fix));
        }
        let pod = match manifest::trial(settings) {
            Ok(pod) => pod,
            Err(error) => return self.done.push(running.failed(error.to_string(), "correct this key")),
        };
        let namespace = &settings.pod.namespace;
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict");
        match self.call(Method::POST, &path, Some(&pod)).await {
            Ok(Answer { headers, .. }) => {
                let warnings = warnings(&headers);
                if warnings.is_empty() {
                    self.done.push(running.ok("the API takes the pod in a dry run, without a warning"));
                }
                let fix = "change kubernetes.pod as the warning says; it can become a refusal";
                let told = |warning| running.warning(format!("the API takes the pod and warns: {warning}"), fix);
                self.done.extend(warnings.iter().map(told));
            }
            // Its text can hold what the pod holds.
            Err(CallError::Foreign { code, .. }) => {
                self.done.push(running.failed(self.no_api(&format!("status {code} to the pod")), NO_API));
            }
            Err(CallError::Api(error)) => {
                let judgement = messages::judge(&error);
                if judgement == messages::DryRunJudgement::Fine {
                    return self.done.push(running.ok("another pod has the name that is configured; the API knows it"));
                }
                let text = messages::refused(&error, &settings.cluster);
                // A refusal that may heal is one for now, unless only the dry run is refused.
                let severity = match judgement {
                    messages::DryRunJudgement::MayHeal if !error.is_of_dry_run() => Severity::Fatal,
                    judgement => self.inspection.severity(judgement),
                };
                self.done.push(judged(&running, severity, &text, fix_of(judgement)));
            }
        }
    }

    /// Asks for an exec in a pod that does not exist. The API server's own answer is "not found"; what comes from elsewhere is
    /// a proxy's.
    async fn upgrade(&mut self) {
        let running = self.begin(DoctorCheck::ExecUpgrade);
        let settings = self.inspection.settings;
        let Ok(pod) = PodName::parse(&format!("podgate-doctor-{:08x}", rand::random::<u32>())) else { return };
        let verb = if settings.pod.mode == PodMode::Session { ExecVerb::Attach } else { ExecVerb::Exec };
        let argv = if verb == ExecVerb::Exec { vec!["true".to_owned()] } else { Vec::new() };
        let (namespace, container) = (&settings.pod.namespace, &settings.pod.console_name);
        let request = ExecRequest { verb, namespace, pod: &pod, container, argv: &argv, tty: None };
        let proxies = "let the load balancer or proxy before the API server pass WebSockets (Connection: Upgrade) and the path \
                       of exec through, or name the API server itself in kubernetes.connection.host";
        let diagnosis = match self.inspection.client.exec(&request, STEP).await {
            Err(ExecError::PodGone(_)) => running.ok("the API server itself answers a request for an exec"),
            Err(error @ ExecError::Forbidden { .. }) => {
                running.failed(error.to_string(), "grant get and create on pods/exec (in mode session, pods/attach)")
            }
            Err(error) => running.failed(format!("an exec does not reach the API server: {error}"), proxies),
            Ok(_stream) => running.failed("a pod that does not exist gives an exec: this is no API server", proxies),
        };
        self.done.push(diagnosis);
    }

    /// Reads the rules on what guests send.
    async fn policies(&mut self) {
        let running = self.begin(DoctorCheck::NetworkPolicies);
        let namespace = &self.inspection.settings.pod.namespace;
        let path = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
        let pod = manifest::trial(self.inspection.settings).unwrap_or_default();
        let diagnosis = match self.call(Method::GET, &path, None).await {
            Ok(Answer { body: list, .. }) => {
                let items = list.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                match network_policy::egress(items, &pod) {
                    network_policy::Egress::Open => running.ok("no NetworkPolicy limits what guests send"),
                    network_policy::Egress::Limited(names) => {
                        running.ok(format!("guests may send what these NetworkPolicies allow: {}", names.join(", ")))
                    }
                    network_policy::Egress::Closed(names) => running.warning(
                        format!("NetworkPolicies close all that guests send, names too: {}", names.join(", ")),
                        "if that is not meant, allow port 53 and what users need, as deploy/kubernetes.yaml does",
                    ),
                }
            }
            Err(error) => {
                let reason = match error.into_api() {
                    ApiError::Refused { message, .. } => message,
                    other => other.to_string(),
                };
                let fix = "grant list on networkpolicies.networking.k8s.io there for the time of this check";
                running.skipped(format!("the NetworkPolicies cannot be read: {reason}"), fix)
            }
        };
        self.done.push(diagnosis);
    }

    async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, CallError> {
        call(&self.inspection.client.kube(), (method, path, body), &mut self.ahead).await
    }
}

fn judged(running: &RunningCheck, severity: Severity, text: &str, fix: &str) -> Diagnosis {
    match severity {
        Severity::Fatal => running.failed(text, fix),
        Severity::Warning | Severity::Notice => running.warning(text, fix),
    }
}

fn fix_of(judgement: messages::DryRunJudgement) -> &'static str {
    match judgement {
        messages::DryRunJudgement::Fine => "",
        messages::DryRunJudgement::MayHeal => {
            "make room in the quota or the LimitRange, or let the cluster's admission webhook take dry runs"
        }
        messages::DryRunJudgement::NoNamespace => "create the namespace, or correct kubernetes.pod.metadata.namespace",
        messages::DryRunJudgement::Wrong => {
            "change kubernetes.pod so that the namespace's rules admit it (docs/kubernetes.md, Required permissions), or take \
             a namespace with other rules"
        }
        messages::DryRunJudgement::Nonsense => "correct or remove this field of kubernetes.pod.spec",
    }
}

/// The texts of headers `Warning`, as the API server writes them: `299 - "text"`.
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all(WARNING).iter().filter_map(|value| value.to_str().ok());
    let text = |value: &str| {
        let text = value.splitn(3, ' ').nth(2).unwrap_or(value).trim();
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        printable(&text.replace("\\\"", "\"").replace("\\\\", "\\"), 1000)
    };
    all.map(text).collect()
}

/// The minor version of Kubernetes 1; that of a later major is greater than all of them. Providers write `30+`.
fn minor(major: &str, minor: &str) -> Option<u32> {
    let digits = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok();
    match digits(major)? {
        0 => Some(0),
        1 => digits(minor),
        _ => Some(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn slow_api_that_answers_is_no_failure() {
        let done = |check| RunningCheck::begin(check, CONNECTION).ok("it is well");
        assert_eq!(of_unfinished(&[]), CheckResult::Failed);
        assert_eq!(of_unfinished(&[done(DoctorCheck::ApiTls), done(DoctorCheck::ApiVersion)]), CheckResult::Failed);
        assert_eq!(
            of_unfinished(&[done(DoctorCheck::ApiVersion), done(DoctorCheck::ApiCredentials)]),
            CheckResult::Warning
        );
    }

    #[test]
    fn version_of_a_provider_is_read() {
        for (version, expected) in [
            (("1", "29"), Some(29)),
            (("1", "30+"), Some(30)),
            (("1", "36"), Some(36)),
            (("2", "0"), Some(u32::MAX)),
            (("0", "9"), Some(0)),
            (("", ""), None),
            (("1", "x"), None),
        ] {
            assert_eq!(minor(version.0, version.1), expected, "{version:?}");
        }
    }

    #[test]
    fn warnings_are_read_without_their_frame() {
        let mut headers = HeaderMap::new();
        for value in [r#"299 - "would violate \"restricted\"""#, r#"299 - "unknown field "a"""#, "odd"] {
            headers.append(WARNING, HeaderValue::from_static(value));
        }
        assert_eq!(warnings(&headers), [r#"would violate "restricted""#, r#"unknown field "a""#, "odd"]);
    }
}
