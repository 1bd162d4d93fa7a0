//! `podgate test-login`: performs a login from its credential to its pod, without a client and without a pod. Every step
//! calls the gateway's own function and keeps the lines that it would log.
//!
//! Invariants: nothing is created in the cluster (the pod is a dry run), nothing is written to the operator's log or to
//! served metrics, and no credential is shown.

mod descriptions;
mod permissions;
mod report;
pub(super) mod step_log;

pub(crate) use report::{LoginReport, StepResult};
pub use report::{LoginStep, LoginVerdict};

use super::BuildError;
use crate::audit::{Event, PresentedKey, Recorder, RequestKind as Audited};
use crate::auth::{
    AuthConfig, AuthError, AuthMethod, Authenticator, AwaitedServer, ClientFacts, Credential, Identity, LoginAttempt,
    LoginDeadline, ProvenUser,
};
use crate::config::Config;
use crate::guest::{Arrival, OutputBudget, Refusal};
use crate::kubernetes::{Backend, Clients, DryRunError};
use crate::policy::{ConnectionEndpoints, Permit, ProgramRequest, ProgramSpec};
use crate::settings::{BackendSettings, ConfigClient, ConfigServer, ConfigServerError, KubernetesSettings, Settings};
use crate::shutdown::Tasks;
use crate::ssh::{
    AdmissionError, ConfigOrigin, LoginDisconnect, ask, is_public_key, offered_key, record_offer_refusal,
    record_refusal, resolve,
};
use crate::telemetry::ConnectionLog;
use crate::types::{ConnectionId, Secret, Username, printable};
use crate::webhook::WebhookError;
use bytes::Bytes;
use podgate_webhooks::wire::ConfigAnswer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use step_log::StepLog;

/// Identification string by which webhooks can tell a test from a client: `SSH-2.0-`, a software version, and a comment
/// (RFC 4253 section 4.2).
pub(crate) const CLIENT_VERSION: &str = concat!("SSH-2.0-podgate_", env!("CARGO_PKG_VERSION"), " test-login");

/// Parameters of a tested login.
#[derive(Debug)]
pub struct TestLogin {
    /// Login name as a client would send it.
    pub user: String,
    pub credential: TestCredential,
    /// The config webhook's answer; `None` asks the webhook's server.
    pub answer: Option<Bytes>,
    /// Client address that the webhooks and the log get.
    pub remote: SocketAddr,
    /// Requested program; `None` stands for any that the user may start.
    pub program: Option<ProgramRequest>,
    /// Limit for each server's answer, including retries.
    pub limit: Duration,
}

/// A credential as the operator gives it.
#[derive(Debug)]
pub enum TestCredential {
    /// No credential; the login name counts as proven.
    None,
    Password(Secret),
    /// A public key; possession of the private key counts as proven.
    PublicKey(TestPublicKey),
}

/// The text of a public key file.
#[derive(Debug)]
pub struct TestPublicKey(String);

impl TestPublicKey {
    /// Parses the text of a public key file; `None` if it is not a public key.
    pub fn parse(text: &str) -> Option<Self> {
        is_public_key(text).then(|| Self(text.to_owned()))
    }
}

/// Tests a login. Calls `on_step` after every step, and `on_retry` with one line for every failed try of a server.
///
/// # Errors
/// A webhook's client or the log cannot be created; no server was asked.
pub async fn test_login(
    config: &Config,
    test: TestLogin,
    on_step: impl FnMut(&LoginStep) + Send,
    on_retry: impl Fn(&str) + Send + 'static,
) -> Result<LoginReport, BuildError> {
    crate::tls::install();
    let mut run = LoginRun::new(config, test, on_step, on_retry)?;
    let stopped = Box::pin(run.login()).await.err();
    run.report.verdict = stopped.map_or(LoginVerdict::Served, |LoginStopped(verdict)| verdict);
    Ok(run.report)
}

/// The verdict of a step that ended the login.
struct LoginStopped(LoginVerdict);

fn verdict_of(error: &AuthError) -> LoginVerdict {
    match error {
        AuthError::Unavailable { .. } => LoginVerdict::Unavailable,
        AuthError::Denied { .. } | AuthError::Misunderstood { .. } | AuthError::NotConfigured => LoginVerdict::Refused,
    }
}

/// State of a running test.
struct LoginRun<'a, S> {
    config: &'a Config,
    test: TestLogin,
    auth: Authenticator,
    server: Option<ConfigClient>,
    backend: Backend,
    step_log: StepLog,
    log: ConnectionLog,
    audit: Recorder,
    facts: ClientFacts,
    deadline: LoginDeadline,
    awaited: AwaitedServer,
    report: LoginReport,
    on_step: S,
    step_began: Instant,
}

impl<'a, S: FnMut(&LoginStep) + Send> LoginRun<'a, S> {
    fn new(
        config: &'a Config,
        test: TestLogin,
        on_step: S,
        on_retry: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, BuildError> {
        let error_in = |section| move |source| BuildError::Webhook { section, source };
        let auth = Authenticator::new(&with_limit(&config.auth, test.limit)).map_err(error_in("auth"))?;
        let client = |server: &ConfigServer| ConfigClient::new(server).map(|client| client.within(test.limit));
        let server = config.configserver.as_ref().map(client).transpose().map_err(error_in("configserver"))?;
        let (log, step_log) = StepLog::log(on_retry).map_err(BuildError::Log)?;
        let connection = ConnectionId::random();
        let facts = ClientFacts { connection, remote: test.remote, client_version: CLIENT_VERSION.to_owned() };
        let backend = Backend::new(log.clone(), Tasks::new(), Clients::new(), Arc::new(|_| false));
        let log = log.connection(connection, test.remote);
        let (audit, deadline) = (Recorder::new(log.clone()), LoginDeadline::new(test.limit));
        let report = LoginReport::new(&test, connection);
        let (awaited, step_began) = (AwaitedServer::default(), Instant::now());
        Ok(Self {
            config,
            test,
            auth,
            server,
            backend,
            step_log,
            log,
            audit,
            facts,
            deadline,
            awaited,
            report,
            on_step,
            step_began,
        })
    }

    async fn login(&mut self) -> Result<(), LoginStopped> {
        let user = self.name().await?;
        let identity = self.authenticate(&user).await?;
        self.report.authenticated = Some(identity.authenticated().to_owned());
        let (identity, answer) = self.configuration(identity).await?;
        let settings = self.settings(answer.as_ref()).await?;
        let permit = self.permissions(&settings).await?;
        self.pod(&identity, settings, permit).await
    }

    /// Reports a step, which began at the end of the previous one.
    async fn finish_step(
        &mut self,
        name: &'static str,
        result: StepResult,
        detail: impl Into<String>,
        reads: Option<&Refusal>,
    ) {
        let step = LoginStep {
            name,
            result,
            took: self.step_began.elapsed(),
            detail: printable(&detail.into(), report::MAX_DETAIL),
            reads: reads.map(|refusal| format!("podgate: {}", refusal.reason)),
            log: self.step_log.take().await,
        };
        (self.on_step)(&step);
        self.report.steps.push(step);
        self.step_began = Instant::now();
    }

    async fn name(&mut self) -> Result<Username, LoginStopped> {
        match Username::parse(&self.test.user) {
            Ok(user) => {
                self.finish_step("login name", StepResult::Ok, user.as_str(), None).await;
                Ok(user)
            }
            Err(invalid) => {
                self.audit.note(Event::BadUsername { reason: &format!("username {invalid}") });
                let refusal = Refusal::new(format!("the user name {invalid}"));
                self.finish_step("login name", StepResult::Refused, invalid.to_string(), Some(&refusal)).await;
                Err(LoginStopped(LoginVerdict::Refused))
            }
        }
    }

    async fn authenticate(&mut self, user: &Username) -> Result<Identity, LoginStopped> {
        let credential = std::mem::replace(&mut self.test.credential, TestCredential::None);
        let given = match &credential {
            TestCredential::None => None,
            TestCredential::Password(_) => Some(AuthMethod::Password),
            TestCredential::PublicKey(_) => Some(AuthMethod::PublicKey),
        };
        let offered = self.auth.methods();
        let options = [
            (AuthMethod::PublicKey, "public key", "offered; --public-key FILE asks about one"),
            (AuthMethod::Password, "password", "offered; --password-stdin asks about one"),
        ];
        for (method, name, option) in options.into_iter().filter(|(method, ..)| given != Some(*method)) {
            let detail = if offered.contains(&method) { option } else { "not offered" };
            self.finish_step(name, StepResult::Skipped, detail, None).await;
        }
        let method = given.or(offered.first().copied()).unwrap_or(AuthMethod::Password);
        let proved = match credential {
            TestCredential::None => self.auth.assume(user),
            TestCredential::Password(password) => {
                let proved = self.auth.check_credential(self.attempt(user), Credential::Password(password)).await;
                self.report_proof("password", method, proved).await?
            }
            TestCredential::PublicKey(key) => self.public_key(user, key).await?,
        };
        self.authorize(user, method, proved).await
    }

    fn attempt<'b>(&'b self, username: &'b Username) -> LoginAttempt<'b> {
        LoginAttempt {
            facts: &self.facts,
            username,
            certificate: None,
            log: &self.log,
            deadline: &self.deadline,
            awaited: &self.awaited,
        }
    }

    async fn public_key(
        &mut self,
        user: &Username,
        TestPublicKey(text): TestPublicKey,
    ) -> Result<ProvenUser, LoginStopped> {
        let unreadable = || Err("not a public key".to_owned());
        let key = match offered_key(&text, &self.config.ssh).unwrap_or_else(unreadable) {
            Ok(key) => key,
            Err(reason) => {
                let key = PresentedKey::default();
                self.audit.note(Event::AuthFailed {
                    method: AuthMethod::PublicKey,
                    reason: &reason,
                    message: None,
                    key,
                });
                self.finish_step("public key", StepResult::Refused, reason, None).await;
                return Err(LoginStopped(LoginVerdict::Refused));
            }
        };
        let accepted = match self.auth.check_offered_key(self.attempt(user), &key).await {
            Ok(accepted) => accepted,
            Err(error) => {
                let (verdict, detail) = (verdict_of(&error), error.to_string());
                return Err(self
                    .stop(
                        "public key",
                        verdict,
                        detail,
                        record_offer_refusal(&self.audit, error, PresentedKey::default()),
                    )
                    .await);
            }
        };
        let proved = self.auth.check_credential(self.attempt(user), accepted.into_credential()).await;
        self.report_proof("public key", AuthMethod::PublicKey, proved).await
    }

    async fn report_proof(
        &mut self,
        name: &'static str,
        method: AuthMethod,
        proved: Result<ProvenUser, AuthError>,
    ) -> Result<ProvenUser, LoginStopped> {
        match proved {
            Ok(proved) => {
                let detail = format!("the webhook says yes: {}", proved.authenticated());
                self.finish_step(name, StepResult::Ok, detail, None).await;
                Ok(proved)
            }
            Err(error) => Err(self.auth_failed(name, method, error).await),
        }
    }

    async fn authorize(
        &mut self,
        user: &Username,
        method: AuthMethod,
        proved: ProvenUser,
    ) -> Result<Identity, LoginStopped> {
        let admitted = self.auth.authorize(self.attempt(user), proved).await;
        match admitted {
            Ok(identity) if self.auth.authorizes() => {
                let detail = format!("the webhook says yes: {}", identity.authenticated());
                self.finish_step("authorization", StepResult::Ok, detail, None).await;
                Ok(identity)
            }
            Ok(identity) => {
                self.finish_step("authorization", StepResult::Skipped, "auth.authz is not configured", None).await;
                Ok(identity)
            }
            Err(error) => Err(self.auth_failed("authorization", method, error).await),
        }
    }

    async fn auth_failed(&mut self, name: &'static str, method: AuthMethod, error: AuthError) -> LoginStopped {
        let (verdict, detail) = (verdict_of(&error), error.to_string());
        let disconnect = record_refusal(&self.audit, (method, PresentedKey::default()), error);
        self.stop(name, verdict, detail, disconnect).await
    }

    async fn stop(
        &mut self,
        name: &'static str,
        verdict: LoginVerdict,
        detail: String,
        disconnect: Option<LoginDisconnect>,
    ) -> LoginStopped {
        let refusal = disconnect.map(|disconnect| Refusal::new(disconnect.reason));
        self.finish_step(name, verdict.into(), detail, refusal.as_ref()).await;
        LoginStopped(verdict)
    }

    async fn configuration(
        &mut self,
        mut identity: Identity,
    ) -> Result<(Identity, Option<ConfigAnswer>), LoginStopped> {
        let origin = match (&self.test.answer, &self.server) {
            (Some(answer), _) => ConfigOrigin::Answer(answer),
            (None, Some(server)) => ConfigOrigin::Server(server),
            (None, None) => ConfigOrigin::File,
        };
        let answer = ask(origin, &mut identity, &self.facts, &self.log).await;
        match answer {
            Ok(answer) => {
                let (result, detail) = match (&answer, &self.test.answer) {
                    (None, _) => (StepResult::Skipped, "configserver is not configured: the file is all"),
                    (Some(_), Some(_)) => (StepResult::Ok, "the answer that was given is understood"),
                    (Some(_), None) => (StepResult::Ok, "the webhook's answer is understood"),
                };
                let detail = match &answer {
                    Some(answer) => format!("{detail}; it says {}", descriptions::sections(answer)),
                    None => detail.to_owned(),
                };
                self.finish_step("configuration", result, detail, None).await;
                Ok((identity, answer))
            }
            Err(error) => Err(self.admission_failed("configuration", &error).await),
        }
    }

    async fn settings(&mut self, answer: Option<&ConfigAnswer>) -> Result<Settings, LoginStopped> {
        match resolve(&self.config.base, answer, &self.log) {
            Ok(settings) => {
                let BackendSettings::Kubernetes(KubernetesSettings { pod, .. }) = &settings.backend;
                let mode = descriptions::pod_mode(&pod.mode);
                let detail = format!("mode {mode}, namespace {}, container {}", pod.namespace, pod.console_name);
                self.finish_step("settings", StepResult::Ok, detail, None).await;
                Ok(settings)
            }
            Err(error) => Err(self.admission_failed("settings", &error).await),
        }
    }

    async fn admission_failed(&mut self, name: &'static str, error: &AdmissionError) -> LoginStopped {
        let verdict = match error {
            AdmissionError::Config(
                ConfigServerError::Webhook(WebhookError::Malformed(_)) | ConfigServerError::Denied { .. },
            )
            | AdmissionError::Settings(_) => LoginVerdict::Refused,
            AdmissionError::Config(ConfigServerError::Webhook(_)) => LoginVerdict::Unavailable,
        };
        error.record(&self.audit);
        self.finish_step(name, verdict.into(), error.to_string(), Some(&error.refusal())).await;
        LoginStopped(verdict)
    }

    /// Reports every permission and returns the permit for the program.
    async fn permissions(&mut self, settings: &Settings) -> Result<Permit<ProgramSpec>, LoginStopped> {
        let endpoints = ConnectionEndpoints { client: self.test.remote, server: self.test.remote };
        for permission in permissions::all(settings, endpoints) {
            self.finish_step(permission.name, permission.result, permission.detail, None).await;
        }
        let wanted = self.test.program.take();
        match permissions::launch(settings, wanted.clone(), endpoints) {
            Ok((permit, detail)) => {
                self.finish_step("program", StepResult::Ok, detail, None).await;
                Ok(permit)
            }
            Err(denied) => {
                let request = Audited::Program(wanted.as_ref().unwrap_or(&ProgramRequest::Shell));
                self.audit.note(Event::Denied { request, denied: &denied });
                let refusal = Refusal::new(denied.to_string());
                self.finish_step("program", StepResult::Refused, denied.to_string(), Some(&refusal)).await;
                Err(LoginStopped(LoginVerdict::Refused))
            }
        }
    }

    async fn pod(
        &mut self,
        identity: &Identity,
        settings: Settings,
        permit: Permit<ProgramSpec>,
    ) -> Result<(), LoginStopped> {
        let BackendSettings::Kubernetes(mut kubernetes) = settings.backend;
        kubernetes.timeouts.http = kubernetes.timeouts.http.min(self.test.limit);
        let (mode, namespace) = (kubernetes.pod.mode.clone(), kubernetes.pod.namespace.to_string());
        let arrival = Arrival {
            id: self.facts.connection,
            remote: self.facts.remote,
            identity: identity.clone(),
            settings: BackendSettings::Kubernetes(kubernetes),
            log: self.log.clone(),
            output: OutputBudget::unlimited(),
        };
        let request = permit.request().request.clone();
        let dry_run = match self.backend.prepare_dry_run(arrival, permit) {
            Ok(dry_run) => dry_run,
            Err(refusal) => {
                self.audit.note(Event::ProgramRefused { request: &request, refusal: &refusal });
                self.finish_step("pod", StepResult::Refused, refusal.reason.clone(), Some(&refusal)).await;
                return Err(LoginStopped(LoginVerdict::Refused));
            }
        };
        self.report.pod = dry_run.pod().cloned().map(descriptions::masked_pod);
        if let Some(name) = dry_run.name() {
            self.finish_step("pod", StepResult::Ok, descriptions::prepared_pod(name, identity), None).await;
        }
        match dry_run.run().await {
            Ok(plan) => {
                self.finish_step("dry run", StepResult::Ok, descriptions::pod_plan(plan, &mode, &namespace), None)
                    .await;
                Ok(())
            }
            Err(DryRunError { refusal, unavailable }) => {
                let verdict = if unavailable { LoginVerdict::Unavailable } else { LoginVerdict::Refused };
                self.finish_step("dry run", verdict.into(), refusal.reason.clone(), Some(&refusal)).await;
                Err(LoginStopped(verdict))
            }
        }
    }
}

/// Caps the time limit of every webhook.
pub(super) fn with_limit(auth: &AuthConfig, limit: Duration) -> AuthConfig {
    let mut auth = auth.clone();
    for webhook in [&mut auth.password, &mut auth.public_key, &mut auth.authz].into_iter().flatten() {
        webhook.auth_timeout = webhook.auth_timeout.min(limit);
    }
    auth
}
