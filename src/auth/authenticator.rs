//! Authentication by webhooks: `/password` or `/pubkey`, then `/authz` if it is configured.

use super::attempt::{AuthError, AuthMethod, LoginAttempt, denial_message};
use super::conversation::{AuthStep, Conversation, RunningLogin};
use super::credential::{Credential, OfferedKey};
use super::identity::{Identity, check_user_data};
use crate::telemetry::codes;
use crate::telemetry::metrics::{Question, StepOutcome};
use crate::types::{NamesLeftOut, Secret, Username};
use crate::webhook::{AskOptions, HttpClientConfig, StartFinding, WebhookBuildError, WebhookClient, WebhookError};
use futures_util::future::{BoxFuture, join_all};
use podgate_webhooks::wire::{AuthAnswer, AuthzRequest, Known, PasswordRequest, PublicKeyRequest};
use secrecy::zeroize::Zeroize;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Log message for variables of an answer that are left out.
pub(crate) const ENV_LEFT_OUT: &str = "variables are left out: their names are not valid in a shell";

/// `auth`: only methods that are configured.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Webhook for passwords.
    pub password: Option<AuthWebhook>,
    /// Webhook for keys.
    pub public_key: Option<AuthWebhook>,
    /// Webhook for authorization, asked last.
    pub authz: Option<AuthWebhook>,
}

/// The webhook of one step of a login.
#[derive(Debug, Clone)]
pub struct AuthWebhook {
    pub client: HttpClientConfig,
    /// `authTimeout`: limit of all tries together.
    pub auth_timeout: Duration,
}

/// Log reasons of a denial.
struct DenialReasons {
    /// For a response with `success: false`.
    said: &'static str,
    /// For a response without `success`.
    unsaid: &'static str,
}

const PASSWORD: DenialReasons =
    DenialReasons { said: "the password was refused", unsaid: "the password was refused: the answer has no success" };
const KEY: DenialReasons =
    DenialReasons { said: "the key was refused", unsaid: "the key was refused: the answer has no success" };
const AUTHORIZATION: DenialReasons =
    DenialReasons { said: "authorization was refused", unsaid: "authorization was refused: the answer has no success" };

impl AuthError {
    /// True if it is a denial for want of an answer: the server did not say `success`.
    pub(crate) fn is_without_success(&self) -> bool {
        let unsaid = [PASSWORD, KEY, AUTHORIZATION].map(|reasons| reasons.unsaid);
        matches!(self, Self::Denied { reason, .. } if unsaid.contains(reason))
    }
}

/// Clients of the configured webhooks; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Authenticator {
    password: Option<Arc<LoginWebhook>>,
    public_key: Option<Arc<LoginWebhook>>,
    authz: Option<Arc<LoginWebhook>>,
}

impl Authenticator {
    /// Creates the clients of all configured webhooks.
    ///
    /// # Errors
    /// As [`WebhookClient::new`].
    pub(crate) fn new(config: &AuthConfig) -> Result<Self, WebhookBuildError> {
        Ok(Self {
            password: LoginWebhook::new(config.password.as_ref(), "/password", Question::Password)?,
            public_key: LoginWebhook::new(config.public_key.as_ref(), "/pubkey", Question::PublicKey)?,
            authz: LoginWebhook::new(config.authz.as_ref(), "/authz", Question::Authorization)?,
        })
    }

    /// Sections whose webhook's client cannot be created.
    pub(crate) fn unusable(config: &AuthConfig) -> Vec<(&'static str, WebhookBuildError)> {
        let webhooks = [
            ("auth.password.webhook", &config.password, "/password", Question::Password),
            ("auth.publicKey.webhook", &config.public_key, "/pubkey", Question::PublicKey),
            ("auth.authz.webhook", &config.authz, "/authz", Question::Authorization),
        ];
        let unusable = webhooks.into_iter().filter_map(|(section, webhook, path, question)| {
            Some((section, LoginWebhook::new(webhook.as_ref(), path, question).err()?))
        });
        unusable.collect()
    }

    /// The configured methods, which are offered.
    pub(crate) fn methods(&self) -> Vec<AuthMethod> {
        let password = self.password.as_ref().map(|_| AuthMethod::Password);
        let public_key = self.public_key.as_ref().map(|_| AuthMethod::PublicKey);
        public_key.into_iter().chain(password).collect()
    }

    /// The findings about the webhooks at the start.
    pub(crate) async fn look(&self) -> Vec<StartFinding> {
        let webhooks = self.webhooks();
        let looked = webhooks.iter().map(|(section, client)| client.look(section));
        join_all(looked).await.into_iter().flatten().collect()
    }

    /// The sections of the configured webhooks with their clients.
    pub(crate) fn webhooks(&self) -> Vec<(&'static str, WebhookClient)> {
        let webhooks =
            [("auth.password", &self.password), ("auth.publicKey", &self.public_key), ("auth.authz", &self.authz)];
        let configured = webhooks.into_iter().filter_map(|(section, webhook)| Some((section, webhook.as_ref()?)));
        configured.map(|(section, webhook)| (section, webhook.client.clone())).collect()
    }

    /// True if a webhook is asked about keys.
    pub(crate) fn judges_keys(&self) -> bool {
        self.public_key.is_some()
    }

    /// Asks about a key that the client offers; nothing is proved yet. After the signature of a key that
    /// [`OfferedKey::matches`] was checked, pass [`OfferedKey::into_credential`] to [`Authenticator::begin`]. `key` is an
    /// `authorized_keys` line without options and comment. Dropping the call cancels it.
    ///
    /// # Errors
    /// A no, no answer, or no webhook for keys.
    pub(crate) async fn check_offered_key(
        &self,
        attempt: LoginAttempt<'_>,
        key: &str,
    ) -> Result<OfferedKey, AuthError> {
        let webhook = self.public_key.as_ref().ok_or(AuthError::NotConfigured)?;
        attempt.log.name_user(attempt.username.as_str(), None);
        let mut connection = attempt.facts.connection_as(attempt.username, Known::default());
        connection.certificate = attempt.certificate.cloned();
        let question = PublicKeyRequest { connection, public_key: key.to_owned() };
        let answer = webhook.ask(attempt, &question, &KEY).await?;
        Ok(OfferedKey { username: attempt.username.clone(), key: key.to_owned(), answer })
    }

    /// Begins a login with a credential: a password is asked about, a key already was; authorization comes last.
    #[must_use]
    pub(crate) fn begin(&self, credential: Credential) -> RunningLogin {
        RunningLogin::new(WebhookConversation { authenticator: self.clone(), credential: Some(credential) })
    }

    /// Checks a credential: a password is asked about, a key already was. First half of the login that
    /// [`Authenticator::begin`] begins.
    ///
    /// # Errors
    /// A no, no answer, or no webhook for passwords.
    pub(crate) async fn check_credential(
        &self,
        attempt: LoginAttempt<'_>,
        credential: Credential,
    ) -> Result<ProvenUser, AuthError> {
        attempt.log.name_user(attempt.username.as_str(), None);
        let answer = match credential {
            Credential::Password(password) => self.check_password(attempt, &password).await?,
            Credential::PublicKey(key) if key.0.username == *attempt.username => key.0.answer,
            Credential::PublicKey(_) => {
                let reason = "the key is another login name's";
                return Err(AuthError::Denied { reason, message: None });
            }
        };
        let identity = Identity::new(attempt.username.clone(), answer.authenticated_username, answer.known);
        Ok(ProvenUser(identity.with_certificate(attempt.certificate.cloned())))
    }

    /// Takes a login name as proved without a credential, for `podgate test-login`, which creates no pod.
    pub(crate) fn assume(&self, username: &Username) -> ProvenUser {
        ProvenUser(Identity::new(username.clone(), None, Known::default()))
    }

    /// Asks for authorization if it is configured. Second half of the login that [`Authenticator::begin`] begins.
    ///
    /// # Errors
    /// A no, or no answer.
    pub(crate) async fn authorize(
        &self,
        attempt: LoginAttempt<'_>,
        ProvenUser(mut identity): ProvenUser,
    ) -> Result<Identity, AuthError> {
        self.ask_authz(attempt, &mut identity).await?;
        attempt.log.name_user(attempt.username.as_str(), Some(identity.authenticated()));
        Ok(identity)
    }

    /// True if `/authz` is configured.
    pub(crate) fn authorizes(&self) -> bool {
        self.authz.is_some()
    }

    async fn check_password(&self, attempt: LoginAttempt<'_>, password: &Secret) -> Result<AuthAnswer, AuthError> {
        let webhook = self.password.as_ref().ok_or(AuthError::NotConfigured)?;
        let connection = attempt.facts.connection_as(attempt.username, Known::default());
        let question = PasswordRequest { connection, password: password.expose().as_bytes().to_vec() };
        let question = WipedQuestion(question);
        webhook.ask(attempt, &question.0, &PASSWORD).await
    }

    /// Asks whether the identity is authorized. Values marked sensitive are not sent; the answer's name and values take
    /// precedence.
    async fn ask_authz(&self, attempt: LoginAttempt<'_>, identity: &mut Identity) -> Result<(), AuthError> {
        let Some(webhook) = &self.authz else { return Ok(()) };
        let mut connection = attempt.facts.connection_as(attempt.username, identity.known().without_sensitive());
        connection.certificate = identity.certificate().cloned();
        let question = AuthzRequest { connection, authenticated_username: Some(identity.authenticated().to_owned()) };
        let answer = webhook.ask(attempt, &question, &AUTHORIZATION).await?;
        identity.merge(answer.authenticated_username, answer.known);
        Ok(())
    }
}

/// A question whose password is wiped at its end, also if nobody waits for the answer any more.
struct WipedQuestion(PasswordRequest);

impl Drop for WipedQuestion {
    fn drop(&mut self) {
        self.0.password.zeroize();
    }
}

/// A user with a good credential who is not authorized yet; not an [`Identity`].
#[derive(Debug)]
pub(crate) struct ProvenUser(Identity);

impl ProvenUser {
    /// The authenticator's name for the user.
    pub(crate) fn authenticated(&self) -> &str {
        self.0.authenticated()
    }
}

/// A login by webhooks, which takes one round.
struct WebhookConversation {
    authenticator: Authenticator,
    /// Taken by the round.
    credential: Option<Credential>,
}

impl Conversation for WebhookConversation {
    fn next<'a>(&'a mut self, attempt: LoginAttempt<'a>, _: Vec<Secret>) -> BoxFuture<'a, Result<AuthStep, AuthError>> {
        let credential = self.credential.take();
        Box::pin(async move {
            let denied = AuthError::Denied { reason: "the credential was already judged", message: None };
            let proven = self.authenticator.check_credential(attempt, credential.ok_or(denied)?).await?;
            self.authenticator.authorize(attempt, proven).await.map(AuthStep::Done)
        })
    }
}

/// The client of one webhook.
#[derive(Debug)]
struct LoginWebhook {
    client: WebhookClient,
    limit: Duration,
    question: Question,
}

impl LoginWebhook {
    fn new(
        webhook: Option<&AuthWebhook>,
        path: &'static str,
        question: Question,
    ) -> Result<Option<Arc<Self>>, WebhookBuildError> {
        let make = |webhook: &AuthWebhook| {
            let client = WebhookClient::new(&webhook.client, path, question)?;
            Ok(Arc::new(Self { client, limit: webhook.auth_timeout, question }))
        };
        webhook.map(make).transpose()
    }

    /// Asks the webhook. Returns only an explicit yes.
    async fn ask(
        &self,
        attempt: LoginAttempt<'_>,
        question: &(impl Serialize + Sync),
        refused: &DenialReasons,
    ) -> Result<AuthAnswer, AuthError> {
        attempt.awaited.set(self.question == Question::Authorization);
        let metrics = attempt.log.metrics();
        let timer = attempt.log.step(self.question.step());
        let call = AskOptions { limit: self.limit, log: attempt.log, step: &timer };
        let pause = attempt.deadline.pause();
        let answered = self.client.ask(call, question, parse).await;
        drop(pause);
        let answered = match answered {
            Ok(answered) => answered,
            Err(error) => {
                timer.end(StepOutcome::Failed);
                return Err(self.unavailable(&error));
            }
        };
        let (answer, left_out) = answered.answer;
        let country = attempt.log.country().unwrap_or_default();
        metrics.count_answer(self.question, answered.retried, answer.is_yes(), country);
        timer.end(if answer.is_yes() { StepOutcome::Success } else { StepOutcome::Refused });
        let url = [("url", self.client.place())];
        if answer.is_yes() {
            attempt.log.write(codes::AUTH_SUCCESSFUL, "the webhook allowed the login", &url);
            if let Some(names) = left_out.shown() {
                let details = [url[0], ("variables", &*names)];
                attempt.log.write(codes::AUTH_ENV_LEFT_OUT, ENV_LEFT_OUT, &details);
            }
            return Ok(answer);
        }
        attempt.log.write(codes::AUTH_FAILED, "the webhook denied the login", &url);
        let reason = if answer.success.is_some() { refused.said } else { refused.unsaid };
        Err(AuthError::Denied { reason, message: denial_message(answer.message.as_deref()) })
    }

    fn unavailable(&self, error: &WebhookError) -> AuthError {
        let kind = match self.question {
            Question::Authorization => "authorization",
            Question::Password | Question::PublicKey | Question::Config => "authentication",
        };
        let reason = format!("the {kind} server {}", error.predicate());
        match error {
            WebhookError::Malformed(_) => AuthError::Misunderstood { reason },
            _ => AuthError::Unavailable { reason },
        }
    }
}

/// Parses an answer. Also returns the names of its variables that are left out.
fn parse(body: &[u8]) -> Result<(AuthAnswer, NamesLeftOut), String> {
    let mut answer = AuthAnswer::parse(body).map_err(|error| error.to_string())?;
    let mut left_out = NamesLeftOut::default();
    if answer.is_yes() {
        left_out = check_user_data(answer.authenticated_username.as_deref(), &mut answer.known)?;
    }
    Ok((answer, left_out))
}
