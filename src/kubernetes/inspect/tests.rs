//! The inspection against a development cluster that knows roles.

use super::*;
use crate::kubernetes::api::client::Clients;
use crate::kubernetes::fixtures;
use crate::settings::{InlineOrFile, KubernetesSettings};
use crate::shutdown::Tasks;
use crate::telemetry::capture;
use crate::types::Secret;
use podgate_devcluster::{DevCluster, Options, RequestFailure, Rule, Token};

const SETTLED: DecidedByFile = DecidedByFile { connection: true, namespace: true, spec: true };
const OPEN: DecidedByFile = DecidedByFile { connection: false, namespace: false, spec: false };

/// A cluster, and the settings of a gateway whose account has a role in it.
struct Stand {
    cluster: DevCluster,
    settings: KubernetesSettings,
    backend: Backend,
}

fn backend() -> Backend {
    let (log, _) = capture::log(crate::telemetry::LogFormat::Ljson);
    Backend::new(log, Tasks::new(), Clients::new(), Arc::new(|_| true))
}

impl Stand {
    fn new() -> Self {
        crate::tls::install();
        let cluster = DevCluster::start(Options::default()).unwrap();
        let mut settings = fixtures::settings();
        Arc::make_mut(&mut settings.cluster).host = format!("https://{}", cluster.host()).parse().unwrap();
        Arc::make_mut(&mut settings.cluster).ca = Some(InlineOrFile::Inline(Secret::new(cluster.ca_pem())));
        Arc::make_mut(&mut settings.cluster).bearer_token = Some(InlineOrFile::Inline(Secret::new("t-gate")));
        let stand = Self { cluster, settings, backend: backend() };
        stand.role_without(|_, _| false);
        stand
    }

    fn role_without(&self, left_out: impl Fn(&str, &str) -> bool) {
        let rules =
            rights::needed(&self.settings.pod.mode).into_iter().map(|right| (right.verb, right.resource.to_string()));
        let rules = rules.filter(|(verb, resource)| !left_out(verb, resource));
        let rules = rules.map(|(verb, resource)| Rule::new(verb, &resource).within("default")).collect();
        self.cluster.faults().set_token(Token { token: "t-gate".into(), user: "gate".into(), rules });
    }

    async fn found(&self, decided: DecidedByFile) -> Vec<(Severity, String)> {
        let found = self.backend.inspect(&self.settings, decided).await;
        found.into_iter().map(|finding| (finding.severity, finding.text)).collect()
    }
}

#[podgate_test::multi_thread]
async fn every_missing_right_is_named_with_account_and_namespace() {
    let mut stand = Stand::new();
    let name = crate::types::PodName::parse("den").unwrap();
    let modes = [
        PodMode::Connection,
        PodMode::Session,
        PodMode::Persistent { name: name.clone(), create_missing: true, shared: false },
        PodMode::Persistent { name, create_missing: false, shared: true },
    ];
    for mode in modes {
        stand.settings.pod.mode = mode;
        every_missing_right_is_named(&stand).await;
    }
}

async fn every_missing_right_is_named(stand: &Stand) {
    stand.role_without(|_, _| false);
    assert_eq!(stand.found(SETTLED).await, []);
    for right in rights::needed(&stand.settings.pod.mode) {
        stand.role_without(|verb, resource| (verb, resource) == (right.verb, &right.resource.to_string()));
        let (severity, lost) = match right.need {
            RightPurpose::Serve => (Severity::Fatal, "no login can be served"),
            RightPurpose::Files => {
                (Severity::Warning, "files that a webhook sends cannot be written, and a login with them is refused")
            }
            RightPurpose::Log => (Severity::Notice, "the output of a program that ends at once can be lost"),
            RightPurpose::Reasons => {
                (Severity::Notice, "the reason that a user sees for a pod that does not start is less exact")
            }
            RightPurpose::Sweep => (Severity::Warning, "the pods of a gateway that is killed stay"),
            RightPurpose::Wake => {
                (Severity::Warning, "a gateway that was suspended for long can lose pods when it continues")
            }
        };
        let AccessRight { verb, resource, .. } = right;
        let text = format!(
            "User \"gate\" cannot {verb} resource \"{resource}\" in API group {:?} in the namespace \"default\": {lost}",
            resource.group
        );
        assert_eq!(stand.found(SETTLED).await, [(severity, text)]);
    }
    assert!(stand.cluster.state().all_pods().is_empty());
}

#[podgate_test::multi_thread]
async fn nothing_is_found_where_nothing_is_wrong_and_nothing_is_changed() {
    let stand = Stand::new();
    assert_eq!(stand.found(SETTLED).await, []);
    assert!(stand.cluster.state().all_pods().is_empty());
    let asked = stand.cluster.state().request_log();
    assert!(asked.iter().any(|request| request.verb == "create" && request.resource == "pods" && request.dry_run));
}

#[podgate_test::multi_thread]
async fn account_without_any_role_is_told_a_line_a_resource() {
    let stand = Stand::new();
    stand.role_without(|_, _| true);
    let lines: Vec<String> = stand.found(SETTLED).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    let first = "User \"gate\" cannot create, get, list, watch, delete resource \"pods\" in API group \"\" in the namespace \
                 \"default\": no login can be served; is it the right namespace, and is the role bound there?";
    assert_eq!(lines[0], first);
    assert!(lines[1].starts_with("User \"gate\" cannot get, create resource \"pods/exec\" "), "{lines:?}");
}

#[podgate_test::multi_thread]
async fn namespace_that_a_config_server_may_choose_is_no_reason_not_to_start() {
    let stand = Stand::new();
    stand.role_without(|_, resource| resource == "pods");
    let found = stand.found(DecidedByFile { namespace: false, ..SETTLED }).await;
    assert!(!found.is_empty() && found.iter().all(|(severity, _)| *severity == Severity::Warning), "{found:?}");
}

#[podgate_test::multi_thread]
async fn cluster_that_does_not_tell_rights_is_not_guessed_about() {
    let stand = Stand::new();
    stand.cluster.faults().questions_about_oneself(false);
    let text = "the gateway may not query its permissions, a missing one is reported at the first login: \
                selfsubjectaccessreviews.authorization.k8s.io is forbidden: User \"gate\" cannot create resource \
                \"selfsubjectaccessreviews\" in API group \"authorization.k8s.io\" at the cluster scope";
    assert_eq!(stand.found(SETTLED).await, [(Severity::Warning, text.to_owned())]);
}

#[podgate_test::multi_thread]
async fn credentials_and_certificates_that_are_not_accepted_are_fatal() {
    let mut stand = Stand::new();
    let host = stand.cluster.host();
    stand.cluster.faults().revoke_token("t-gate");
    let text = format!(
        "kubernetes.connection.bearerToken: https://{host} does not accept the credentials; are they expired, \
         or another cluster's? A new token in bearerToken needs a restart, one in the file of bearerTokenFile does not"
    );
    assert_eq!(stand.found(SETTLED).await, [(Severity::Fatal, text.clone())]);
    assert_eq!(stand.found(OPEN).await, [(Severity::Warning, text)]);

    let other = DevCluster::start(Options::default()).unwrap();
    Arc::make_mut(&mut stand.settings.cluster).ca = Some(InlineOrFile::Inline(Secret::new(other.ca_pem())));
    let found = stand.found(SETTLED).await;
    let text = format!(
        "kubernetes.connection: https://{host} cannot be reached securely: the server's certificate (CN=kube-apiserver) \
         is signed by a CA with the trusted one's name, but another key: CN=podgate-devcluster CA; give that CA's certificate in cacert or \
         cacertFile (trusted is CN=podgate-devcluster CA)"
    );
    assert!(matches!(&found[..], [(Severity::Fatal, told)] if told.starts_with(&text)), "{found:?}");
}

#[podgate_test::multi_thread]
async fn api_that_is_away_or_ill_does_not_keep_the_gateway_from_starting() {
    let mut stand = Stand::new();
    let host = stand.cluster.host();
    stand.cluster.faults().fail_requests("create", "selfsubjectreviews", 1, RequestFailure::Unavailable);
    let text = format!("https://{host} answers with an error (503): apiserver is shutting down; logins may fail");
    assert_eq!(stand.found(SETTLED).await, [(Severity::Warning, text)]);
    stand.cluster.faults().fail_requests("create", "pods", 1, RequestFailure::Drop);
    let found = stand.found(SETTLED).await;
    assert!(matches!(&found[..], [(Severity::Warning, _)]), "{found:?}");
    stand.cluster.faults().api_down().await;
    stand.backend = backend();
    let text = format!(
        "kubernetes.connection.host: https://{host} cannot be reached: Connection refused (os error 111); is it the \
         right host and port? Logins fail until it answers"
    );
    assert_eq!(stand.found(SETTLED).await, [(Severity::Warning, text)]);
}

#[podgate_test::multi_thread]
async fn pod_that_is_not_taken_is_fatal_where_it_is_the_files_and_cannot_heal() {
    let mut stand = Stand::new();
    stand.cluster.faults().quota(Some(0));
    let found = stand.found(SETTLED).await;
    assert!(matches!(&found[..], [(Severity::Warning, told)] if told.contains("exceeded quota")), "{found:?}");
    stand.cluster.faults().quota(None);

    stand.cluster.faults().deny_pods(Some("images come from our registry only"));
    let text = "kubernetes.pod: the pod is refused: admission webhook \"policy.devcluster.local\" denied the request: \
                images come from our registry only";
    assert_eq!(stand.found(SETTLED).await, [(Severity::Fatal, text.to_owned())]);
    assert_eq!(stand.found(OPEN).await, [(Severity::Warning, text.to_owned())]);
    stand.cluster.faults().deny_pods(None);

    stand.settings.pod.spec.insert("noSuchField".into(), json!(1));
    let text = "kubernetes.pod: the pod is refused: Pod in version \"v1\" cannot be handled as a Pod: strict decoding \
                error: unknown field \"spec.noSuchField\"";
    assert_eq!(stand.found(OPEN).await, [(Severity::Fatal, text.to_owned())]);
    stand.settings.pod.spec.remove("noSuchField");

    let nowhere = crate::types::Namespace::parse("nowhere").unwrap();
    stand.settings.pod.namespace = nowhere;
    let rules = vec![Rule::new("*", "*")];
    stand.cluster.faults().set_token(Token { token: "t-gate".into(), user: "gate".into(), rules });
    let text = "kubernetes.pod.metadata.namespace: namespaces \"nowhere\" not found".to_owned();
    assert_eq!(stand.found(SETTLED).await, [(Severity::Fatal, text.clone())]);
    assert_eq!(stand.found(OPEN).await, [(Severity::Warning, text)]);
}

#[test]
fn refusals_of_a_trial_are_judged_by_what_they_say() {
    for (code, message, judgement) in [
        (
            400,
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal",
            messages::DryRunJudgement::Nonsense,
        ),
        (400, "admission webhook \"x\" does not support dry run", messages::DryRunJudgement::MayHeal),
        (400, "admission webhook \"x\" denied the request", messages::DryRunJudgement::Wrong),
        (403, "violates PodSecurity \"restricted:latest\"", messages::DryRunJudgement::Wrong),
        (
            403,
            "unable to create new content in namespace x because it is being terminated",
            messages::DryRunJudgement::MayHeal,
        ),
        (404, "namespaces \"x\" not found", messages::DryRunJudgement::NoNamespace),
        (409, "pods \"x\" already exists", messages::DryRunJudgement::Fine),
        (422, "Pod \"x\" is invalid", messages::DryRunJudgement::Wrong),
        (429, "slowly", messages::DryRunJudgement::MayHeal),
        (500, "etcd", messages::DryRunJudgement::MayHeal),
    ] {
        let error = ApiError::Refused { code, reason: String::new(), message: message.into(), retry_after: None };
        assert_eq!(messages::judge(&error), judgement, "{code} {message}");
    }
}
