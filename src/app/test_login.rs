//! `podgate test-login`: the way of a login from its credential to its pod, without a client and without a pod. Every step
//! is the gateway's own function, and what it would log is kept beside its result.
//!
//! Invariants: nothing is created in the cluster (the pod is a dry run), nothing is written to the operator's log or counted
//! in metrics that anybody reads, and no credential is shown.

mod captured;
mod permissions;
mod report;
mod words;

pub use report::{Report, Step, StepResult, Verdict};

use super::BuildError;
use crate::audit::{Event, Recorder, Request as Audited};
use crate::auth::{
    Attempt, AuthError, Authenticator, Awaited, ClientFacts, Credential, Identity, LoginDeadline, Method, Proved,
};
use crate::config::{Config, ConfigServer};
use crate::guest::Refusal;
use crate::kubernetes::client::Clients;
use crate::kubernetes::{Backend, ConnectionFacts, Failed};
use crate::policy::{Asked, Endpoints, Launch, Permit};
use crate::settings::Settings;
use crate::shutdown::Tasks;
use crate::ssh::{AdmissionError, Ending, Origin, ask, offered_key, resolve, told, told_of_offer};
use crate::telemetry::ConnectionLog;
use crate::types::{ConnectionId, Secret, Username, printable};
use crate::webhook::{ConfigClient, ConfigError, WebhookError};
use bytes::Bytes;
use captured::Captured;
use podgate_webhooks::wire::ConfigAnswer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The identification string that webhooks see, by which they can tell a test from a client: `SSH-2.0-`, a version of
/// software, and a comment (RFC 4253 section 4.2).
pub const CLIENT_VERSION: &str = concat!("SSH-2.0-podgate_", env!("CARGO_PKG_VERSION"), " test-login");

/// A login to test.
#[derive(Debug)]
pub struct TestLogin {
    /// The login name, as a client would send it.
    pub user: String,
    /// Credential that the client shows.
    pub shown: Shown,
    /// The config webhook's answer, where its server is not to be asked.
    pub answer: Option<Bytes>,
    /// The client's address.
    pub remote: SocketAddr,
    /// The program that it asks for; `None` is any that it may start.
    pub program: Option<Asked>,
    /// Limit for each server's answer, all tries together.
    pub limit: Duration,
}

/// A credential as the operator gives it.
#[derive(Debug)]
pub enum Shown {
    /// None: the login name is taken as proved.
    Nothing,
    /// A password.
    Password(Secret),
    /// A public key. The private key is taken as proved.
    PublicKey(ShownKey),
}

/// A public key as a client would offer it.
#[derive(Debug)]
pub struct ShownKey(Result<String, String>);

impl ShownKey {
    /// Reads the text of a public key's file; `None` is no public key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        offered_key(text).map(Self)
    }
}

/// Tests a login; each step is handed to `say` when it is done, and each try of a server that failed to `news`, one line.
///
/// # Errors
/// A webhook's client or the log that cannot be made; nothing was asked.
pub async fn test_login(
    config: &Config,
    test: TestLogin,
    say: impl FnMut(&Step) + Send,
    news: impl Fn(&str) + Send + 'static,
) -> Result<Report, BuildError> {
    crate::tls::install();
    let mut walk = Walk::new(config, test, say, news)?;
    let stopped = Box::pin(walk.login()).await.err();
    walk.report.verdict = stopped.map_or(Verdict::Served, |Stopped(verdict)| verdict);
    Ok(walk.report)
}

/// A step that ended the login.
struct Stopped(Verdict);

fn denial(error: &AuthError) -> Verdict {
    match error {
        AuthError::Unavailable { .. } => Verdict::Unavailable,
        AuthError::Denied { .. } | AuthError::Misunderstood { .. } | AuthError::NotConfigured => Verdict::Refused,
    }
}

/// One login on its way.
struct Walk<'a, S> {
    config: &'a Config,
    test: TestLogin,
    auth: Authenticator,
    server: Option<ConfigClient>,
    backend: Backend,
    captured: Captured,
    log: ConnectionLog,
    audit: Recorder,
    facts: ClientFacts,
    deadline: LoginDeadline,
    awaited: Awaited,
    report: Report,
    say: S,
    began: Instant,
}

impl<'a, S: FnMut(&Step) + Send> Walk<'a, S> {
    fn new(
        config: &'a Config,
        test: TestLogin,
        say: S,
        news: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, BuildError> {
        let of = |section| move |source| BuildError::Webhook { section, source };
        let auth = Authenticator::new(&hurried(&config.auth, test.limit)).map_err(of("auth"))?;
        let client = |server: &ConfigServer| ConfigClient::new(server).map(|client| client.within(test.limit));
        let server = config.configserver.as_ref().map(client).transpose().map_err(of("configserver"))?;
        let (log, captured) = Captured::log(news).map_err(BuildError::Log)?;
        let connection = ConnectionId::random();
        let facts = ClientFacts { connection, remote: test.remote, client_version: CLIENT_VERSION.to_owned() };
        let backend = Backend::new(log.clone(), Tasks::new(), Clients::new(), Arc::new(|_| false));
        let log = log.connection(connection, test.remote);
        let (audit, deadline) = (Recorder::new(log.clone()), LoginDeadline::new(test.limit));
        let report = Report::new(&test, connection);
        let (awaited, began) = (Awaited::default(), Instant::now());
        Ok(Self {
            config,
            test,
            auth,
            server,
            backend,
            captured,
            log,
            audit,
            facts,
            deadline,
            awaited,
            report,
            say,
            began,
        })
    }

    async fn login(&mut self) -> Result<(), Stopped> {
        let user = self.name().await?;
        let identity = self.authenticate(&user).await?;
        self.report.authenticated = Some(identity.authenticated().to_owned());
        let (identity, answer) = self.configuration(identity).await?;
        let settings = self.settings(answer.as_ref()).await?;
        let launch = self.permissions(&settings).await?;
        self.pod(&identity, settings, launch).await
    }

    /// Ends a step that took since the end of the last one.
    async fn end(
        &mut self,
        name: &'static str,
        result: StepResult,
        detail: impl Into<String>,
        reads: Option<&Refusal>,
    ) {
        let step = Step {
            name,
            result,
            took: self.began.elapsed(),
            detail: printable(&detail.into(), report::LINE),
            reads: reads.map(|refusal| format!("podgate: {}", refusal.reason)),
            log: self.captured.take().await,
        };
        (self.say)(&step);
        self.report.steps.push(step);
        self.began = Instant::now();
    }

    async fn name(&mut self) -> Result<Username, Stopped> {
        match Username::parse(&self.test.user) {
            Ok(user) => {
                self.end("login name", StepResult::Ok, user.as_str(), None).await;
                Ok(user)
            }
            Err(invalid) => {
                self.audit.record(Event::BadUsername { reason: &format!("username {invalid}") });
                let refusal = Refusal::new(format!("the user name {invalid}"));
                self.end("login name", StepResult::Refused, invalid.to_string(), Some(&refusal)).await;
                Err(Stopped(Verdict::Refused))
            }
        }
    }

    async fn authenticate(&mut self, user: &Username) -> Result<Identity, Stopped> {
        let shown = std::mem::replace(&mut self.test.shown, Shown::Nothing);
        let shows = match &shown {
            Shown::Nothing => None,
            Shown::Password(_) => Some(Method::Password),
            Shown::PublicKey(_) => Some(Method::PublicKey),
        };
        let offered = self.auth.methods();
        let options = [
            (Method::PublicKey, "public key", "offered; --public-key FILE asks about one"),
            (Method::Password, "password", "offered; --password-stdin asks about one"),
        ];
        for (method, name, option) in options.into_iter().filter(|(method, ..)| shows != Some(*method)) {
            let detail = if offered.contains(&method) { option } else { "not offered" };
            self.end(name, StepResult::Skipped, detail, None).await;
        }
        let method = shows.or(offered.first().copied()).unwrap_or(Method::Password);
        let proved = match shown {
            Shown::Nothing => self.auth.assume(user),
            Shown::Password(password) => {
                let proved = self.auth.prove(self.attempt(user), Credential::Password(password)).await;
                self.proved("password", method, proved).await?
            }
            Shown::PublicKey(key) => self.public_key(user, key).await?,
        };
        self.authorize(user, method, proved).await
    }

    fn attempt<'b>(&'b self, username: &'b Username) -> Attempt<'b> {
        Attempt { facts: &self.facts, username, log: &self.log, deadline: &self.deadline, awaited: &self.awaited }
    }

    async fn public_key(&mut self, user: &Username, ShownKey(key): ShownKey) -> Result<Proved, Stopped> {
        let key = match key {
            Ok(key) => key,
            Err(reason) => {
                self.audit.record(Event::AuthFailed { method: Method::PublicKey, reason: &reason, message: None });
                self.end("public key", StepResult::Refused, reason, None).await;
                return Err(Stopped(Verdict::Refused));
            }
        };
        let considered = match self.auth.consider_key(self.attempt(user), &key).await {
            Ok(considered) => considered,
            Err(error) => {
                let (verdict, detail) = (denial(&error), error.to_string());
                return Err(self.stop("public key", verdict, detail, told_of_offer(&self.audit, error)).await);
            }
        };
        let proved = self.auth.prove(self.attempt(user), considered.proven()).await;
        self.proved("public key", Method::PublicKey, proved).await
    }

    async fn proved(
        &mut self,
        name: &'static str,
        method: Method,
        proved: Result<Proved, AuthError>,
    ) -> Result<Proved, Stopped> {
        match proved {
            Ok(proved) => {
                let detail = format!("the webhook says yes: {}", proved.authenticated());
                self.end(name, StepResult::Ok, detail, None).await;
                Ok(proved)
            }
            Err(error) => Err(self.unauthenticated(name, method, error).await),
        }
    }

    async fn authorize(&mut self, user: &Username, method: Method, proved: Proved) -> Result<Identity, Stopped> {
        let admitted = self.auth.admit(self.attempt(user), proved).await;
        match admitted {
            Ok(identity) if self.auth.authorizes() => {
                let detail = format!("the webhook says yes: {}", identity.authenticated());
                self.end("authorization", StepResult::Ok, detail, None).await;
                Ok(identity)
            }
            Ok(identity) => {
                self.end("authorization", StepResult::Skipped, "auth.authz is not configured", None).await;
                Ok(identity)
            }
            Err(error) => Err(self.unauthenticated("authorization", method, error).await),
        }
    }

    async fn unauthenticated(&mut self, name: &'static str, method: Method, error: AuthError) -> Stopped {
        let (verdict, detail) = (denial(&error), error.to_string());
        let told = told(&self.audit, method, error);
        self.stop(name, verdict, detail, told).await
    }

    async fn stop(&mut self, name: &'static str, verdict: Verdict, detail: String, told: Option<Ending>) -> Stopped {
        let refusal = told.map(|ending| Refusal::new(ending.reason));
        self.end(name, verdict.into(), detail, refusal.as_ref()).await;
        Stopped(verdict)
    }

    async fn configuration(&mut self, mut identity: Identity) -> Result<(Identity, Option<ConfigAnswer>), Stopped> {
        let origin = match (&self.test.answer, &self.server) {
            (Some(answer), _) => Origin::Answer(answer),
            (None, Some(server)) => Origin::Server(server),
            (None, None) => Origin::File,
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
                    Some(answer) => format!("{detail}; it says {}", words::said(answer)),
                    None => detail.to_owned(),
                };
                self.end("configuration", result, detail, None).await;
                Ok((identity, answer))
            }
            Err(error) => Err(self.inadmissible("configuration", &error).await),
        }
    }

    async fn settings(&mut self, answer: Option<&ConfigAnswer>) -> Result<Settings, Stopped> {
        match resolve(&self.config.base, answer, &self.log) {
            Ok(settings) => {
                let pod = &settings.kubernetes.pod;
                let mode = words::mode(&pod.mode);
                let detail = format!("mode {mode}, namespace {}, container {}", pod.namespace, pod.console_name);
                self.end("settings", StepResult::Ok, detail, None).await;
                Ok(settings)
            }
            Err(error) => Err(self.inadmissible("settings", &error).await),
        }
    }

    async fn inadmissible(&mut self, name: &'static str, error: &AdmissionError) -> Stopped {
        let verdict = match error {
            AdmissionError::Config(ConfigError::Webhook(WebhookError::Malformed(_)) | ConfigError::Denied { .. })
            | AdmissionError::Settings(_) => Verdict::Refused,
            AdmissionError::Config(ConfigError::Webhook(_)) => Verdict::Unavailable,
        };
        error.record(&self.audit);
        self.end(name, verdict.into(), error.to_string(), Some(&error.refusal())).await;
        Stopped(verdict)
    }

    /// Checks the rules; the program that is to start.
    async fn permissions(&mut self, settings: &Settings) -> Result<Permit<Launch>, Stopped> {
        let endpoints = Endpoints { client: self.test.remote, server: self.test.remote };
        for permission in permissions::all(settings, endpoints) {
            self.end(permission.name, permission.result, permission.detail, None).await;
        }
        match permissions::launch(settings, self.test.program.take(), endpoints) {
            Ok((launch, detail)) => {
                self.end("program", StepResult::Ok, detail, None).await;
                Ok(launch)
            }
            Err(denied) => {
                self.audit.record(Event::Denied { request: Audited::Program, denied: &denied });
                let refusal = Refusal::new(denied.to_string());
                self.end("program", StepResult::Refused, denied.to_string(), Some(&refusal)).await;
                Err(Stopped(Verdict::Refused))
            }
        }
    }

    async fn pod(&mut self, identity: &Identity, settings: Settings, launch: Permit<Launch>) -> Result<(), Stopped> {
        let mut kubernetes = settings.kubernetes;
        kubernetes.timeouts.http = kubernetes.timeouts.http.min(self.test.limit);
        let (mode, namespace) = (kubernetes.pod.mode.clone(), kubernetes.pod.namespace.to_string());
        let facts = ConnectionFacts { id: self.facts.connection, remote: self.facts.remote, log: self.log.clone() };
        let rehearsal = match self.backend.rehearsal(identity, Arc::new(kubernetes), facts, launch) {
            Ok(rehearsal) => rehearsal,
            Err(refusal) => {
                self.audit.record(Event::ProgramRefused { refusal: &refusal });
                self.end("pod", StepResult::Refused, refusal.reason.clone(), Some(&refusal)).await;
                return Err(Stopped(Verdict::Refused));
            }
        };
        self.report.pod = rehearsal.pod().cloned().map(words::masked);
        if let Some(name) = rehearsal.name() {
            self.end("pod", StepResult::Ok, words::made(name, identity), None).await;
        }
        match rehearsal.dry_run().await {
            Ok(plan) => {
                self.end("dry run", StepResult::Ok, words::planned(plan, &mode, &namespace), None).await;
                Ok(())
            }
            Err(Failed { refusal, unavailable }) => {
                let verdict = if unavailable { Verdict::Unavailable } else { Verdict::Refused };
                self.end("dry run", verdict.into(), refusal.reason.clone(), Some(&refusal)).await;
                Err(Stopped(verdict))
            }
        }
    }
}

/// The same webhooks, none of which is asked for longer than that.
fn hurried(auth: &crate::config::Auth, limit: Duration) -> crate::config::Auth {
    let mut auth = auth.clone();
    for webhook in [&mut auth.password, &mut auth.public_key, &mut auth.authz].into_iter().flatten() {
        webhook.auth_timeout = webhook.auth_timeout.min(limit);
    }
    auth
}
