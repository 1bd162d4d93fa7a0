//! The checks of the cluster, with the settings of the file or of one user.

use super::{Caller, QUESTION};
use crate::app::startup_checks::{decided, kubernetes_of_file};
use crate::app::test_login::with_limit;
use crate::auth::{Authenticator, Identity};
use crate::config::Config;
use crate::kubernetes::inspect::DecidedByFile;
use crate::kubernetes::{Backend, Clients};
use crate::settings::{BackendSettings, ConfigClient, KubernetesSettings, Settings};
use crate::shutdown::Tasks;
use crate::ssh::{ConfigOrigin, ask, resolve};
use crate::types::{Diagnosis, DoctorCheck, RunningCheck, Username};
use std::sync::Arc;
use std::time::Duration;

/// Limit of one call of the API.
const CALL: Duration = Duration::from_secs(5);
/// Limit of all checks of the cluster.
const CLUSTER: Duration = Duration::from_secs(20);

/// Examines the cluster; also returns the seconds by which the API server's clock is ahead.
pub(super) async fn examine(config: &Config, user: Option<&str>) -> (Vec<Diagnosis>, Option<(String, i64)>) {
    let Some(caller) = Caller::new() else { return (Vec::new(), None) };
    let (mut checks, settings, decided) = match user {
        Some(user) => {
            let (check, settings) = of_user(config, user, &caller).await;
            let decided = DecidedByFile { connection: true, namespace: true, spec: true };
            (vec![check], settings.map(|(_, settings)| settings), decided)
        }
        None => (of_file(config), kubernetes_of_file(config), decided(config)),
    };
    let Some(mut settings) = settings else { return (checks, None) };
    settings.timeouts.http = settings.timeouts.http.min(CALL);
    let backend = Backend::new(caller.all.clone(), Tasks::new(), Clients::new(), Arc::new(|_| false));
    let (examined, ahead) = backend.examine(&settings, decided, CLUSTER).await;
    checks.extend(examined);
    (checks, ahead.map(|ahead| ("kubernetes.connection".to_owned(), ahead)))
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
