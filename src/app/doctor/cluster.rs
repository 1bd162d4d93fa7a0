//! The checks of the cluster, with the settings of the file or of one user.

use super::pod::PodTarget;
use super::{Caller, QUESTION};
use crate::app::startup_checks::{decided, kubernetes_of_file};
use crate::app::test_login::with_limit;
use crate::auth::{AuthConfig, Authenticator, Identity};
use crate::config::Config;
use crate::kubernetes::inspect::DecidedByFile;
use crate::kubernetes::{Backend, Clients};
use crate::settings::{BackendSettings, ConfigClient, GatewayHome, KubernetesSettings, Settings};
use crate::shutdown::Tasks;
use crate::ssh::{ConfigOrigin, ask, resolve};
use crate::types::{CheckResult, Diagnosis, DoctorCheck, RunningCheck, Username};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Limit of one call of the API.
const CALL: Duration = Duration::from_secs(5);
/// Limit of all checks of the cluster.
const CLUSTER: Duration = Duration::from_secs(15);

/// The name for which a pod is tried that is no user's.
const NOBODY: &str = "podgate-doctor";
/// The checks without which nothing can be created.
const NEEDED: [DoctorCheck; 4] =
    [DoctorCheck::ApiName, DoctorCheck::ApiTcp, DoctorCheck::ApiTls, DoctorCheck::ApiCredentials];

/// The checks of the cluster, the seconds by which the API server's clock is ahead, and the pod that can be tried.
#[derive(Default)]
pub(super) struct ClusterExamined {
    pub(super) checks: Vec<Diagnosis>,
    pub(super) clock: Option<(String, i64)>,
    pub(super) target: Option<PodTarget>,
}

/// Examines the cluster.
pub(super) async fn examine(config: &Config, user: Option<&str>) -> ClusterExamined {
    let Some(caller) = Caller::new() else { return ClusterExamined::default() };
    let (mut checks, found, decided) = match user {
        Some(user) => {
            let (check, found) = of_user(config, user, &caller).await;
            (vec![check], found, DecidedByFile { connection: true, namespace: true, spec: true })
        }
        None => {
            let found = match kubernetes_of_file(config) {
                Some(settings) => nobody(&caller).await.map(|identity| (identity, settings)),
                None => None,
            };
            (of_file(config), found, decided(config))
        }
    };
    let Some((identity, mut settings)) = found else { return ClusterExamined { checks, ..Default::default() } };
    settings.timeouts.http = settings.timeouts.http.min(CALL);
    let backend = Backend::new(caller.all.clone(), Tasks::new(), Clients::new(), Arc::new(|_| false));
    let (examined, ahead) = backend.examine(&settings, decided, CLUSTER).await;
    let home = GatewayHome::of(&config.base);
    let is_usable = examined.iter().all(|it| it.result != CheckResult::Failed || !NEEDED.contains(&it.check));
    checks.extend(examined);
    if let Some(home) = home.as_ref().filter(|_| is_usable) {
        let looked = backend.find_orphans(home, &settings, ahead.unwrap_or_default());
        checks.extend(timeout(CALL, looked).await.ok());
    }
    let clusters = home.iter().map(|home| &home.cluster).chain([&settings.cluster]);
    clusters.for_each(|cluster| backend.hide_credentials(cluster, settings.timeouts.http, &mut checks));
    let clock = ahead.map(|ahead| ("kubernetes.connection".to_owned(), ahead));
    let target = is_usable.then_some(PodTarget { identity, settings, home, caller });
    ClusterExamined { checks, clock, target }
}

/// The identity of a pod that is no user's. Nobody logs in as it.
async fn nobody(caller: &Caller) -> Option<Identity> {
    let webhooks = AuthConfig { password: None, public_key: None, authz: None };
    let (auth, user) = (Authenticator::new(&webhooks).ok()?, Username::parse(NOBODY).ok()?);
    auth.authorize(caller.attempt(&user), auth.assume(&user)).await.ok()
}

/// Tells what is not examined without a user.
fn of_file(config: &Config) -> Vec<Diagnosis> {
    if config.configserver.is_none() && kubernetes_of_file(config).is_some() {
        return Vec::new();
    }
    let running = RunningCheck::begin(DoctorCheck::User, "configserver");
    let detail = match kubernetes_of_file(config) {
        Some(_) => "what the config server changes for a user is not examined",
        None => "the file alone has no complete pod or connection: the cluster is not examined",
    };
    vec![running.skipped(detail, "name a user with --user NAME, whose settings are then examined")]
}

/// Asks for the settings of a user, as a login would after the credential.
async fn of_user(config: &Config, name: &str, caller: &Caller) -> (Diagnosis, Option<(Identity, KubernetesSettings)>) {
    let running = RunningCheck::begin(DoctorCheck::User, name);
    match settings_of(config, name, caller).await {
        Ok((identity, settings)) => {
            let BackendSettings::Kubernetes(kubernetes) = settings.backend;
            let text = format!("{} gets a pod in the namespace {}", identity.authenticated(), kubernetes.pod.namespace);
            (running.ok(text), Some((identity, kubernetes)))
        }
        Err(reason) => {
            let cause = caller.reason().await.filter(|cause| !reason.contains(cause.as_str()));
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            let fix = format!("podgate test-login {name} shows each step of this login");
            (running.failed(format!("{reason}{cause}"), fix), None)
        }
    }
}

async fn settings_of(config: &Config, name: &str, caller: &Caller) -> Result<(Identity, Settings), String> {
    let user = Username::parse(name).map_err(|invalid| format!("the user name {invalid}"))?;
    let auth = Authenticator::new(&with_limit(&config.auth, QUESTION)).map_err(|error| error.to_string())?;
    let proven = auth.assume(&user);
    let mut identity = auth.authorize(caller.attempt(&user), proven).await.map_err(|error| error.to_string())?;
    let server = config.configserver.as_ref().map(ConfigClient::new).transpose().map_err(|error| error.to_string())?;
    let server = server.map(|server| server.within(QUESTION));
    let origin = server.as_ref().map_or(ConfigOrigin::File, ConfigOrigin::Server);
    let answer = ask(origin, &mut identity, &caller.facts, &caller.log).await.map_err(|error| error.to_string())?;
    let settings = resolve(&config.base, answer.as_ref(), &caller.log).map_err(|error| error.to_string())?;
    Ok((identity, settings))
}
