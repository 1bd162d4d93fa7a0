//! The login by webhooks: `/password` or `/pubkey`, then `/authz` where there is one.

use super::step::{Answer, Attempt, AuthError, Method};
use super::{Considered, Credential, Identity, message, usable};
use crate::config::{self, AuthWebhook, Level};
use crate::telemetry::metrics::{Outcome, Question};
use crate::types::{NamesLeftOut, Secret, Username};
use crate::webhook::{Call, WebhookBuildError, WebhookClient, WebhookError};
use futures_util::future::join_all;
use podgate_webhooks::wire::{AuthAnswer, AuthzRequest, Known, PasswordRequest, PublicKeyRequest};
use serde::Serialize;
use std::time::Duration;

/// What a login gets beyond a webhook's own limit, so that the reason of a failure still reaches the client.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Log message for variables of an answer that are left out.
pub(crate) const LEFT_OUT: &str = "variables are left out: their names are not valid in a shell";

/// Log reasons of a denial.
struct Refused {
    /// For a response with `success: false`.
    said: &'static str,
    /// For a response without `success`.
    unsaid: &'static str,
}

const PASSWORD: Refused =
    Refused { said: "the password was refused", unsaid: "the password was refused: the answer has no success" };
const KEY: Refused = Refused { said: "the key was refused", unsaid: "the key was refused: the answer has no success" };
const AUTHORIZATION: Refused =
    Refused { said: "authorization was refused", unsaid: "authorization was refused: the answer has no success" };

/// The configured methods, ready to be asked.
#[derive(Debug)]
pub struct Authenticator {
    password: Option<Webhook>,
    public_key: Option<Webhook>,
    authz: Option<Webhook>,
}

impl Authenticator {
    /// Makes the clients of all configured webhooks.
    ///
    /// # Errors
    /// As [`WebhookClient::new`].
    pub fn new(config: &config::Auth) -> Result<Self, WebhookBuildError> {
        Ok(Self {
            password: Webhook::new(config.password.as_ref(), "/password", Question::Password)?,
            public_key: Webhook::new(config.public_key.as_ref(), "/pubkey", Question::PublicKey)?,
            authz: Webhook::new(config.authz.as_ref(), "/authz", Question::Authorization)?,
        })
    }

    /// Every section whose webhook's client cannot be made.
    #[must_use]
    pub fn unusable(config: &config::Auth) -> Vec<(&'static str, WebhookBuildError)> {
        let webhooks = [
            ("auth.password.webhook", &config.password, "/password", Question::Password),
            ("auth.publicKey.webhook", &config.public_key, "/pubkey", Question::PublicKey),
            ("auth.authz.webhook", &config.authz, "/authz", Question::Authorization),
        ];
        let unusable = webhooks.into_iter().filter_map(|(section, webhook, path, question)| {
            Some((section, Webhook::new(webhook.as_ref(), path, question).err()?))
        });
        unusable.collect()
    }

    /// The methods to offer: those that are configured.
    #[must_use]
    pub fn methods(&self) -> Vec<Method> {
        let password = self.password.as_ref().map(|_| Method::Password);
        let public_key = self.public_key.as_ref().map(|_| Method::PublicKey);
        public_key.into_iter().chain(password).collect()
    }

    /// A line about each webhook that cannot be reached.
    pub async fn unreachable(&self) -> Vec<String> {
        let webhooks = [("password", &self.password), ("publicKey", &self.public_key), ("authz", &self.authz)];
        let reached = webhooks.map(|(method, webhook)| async move {
            let client = &webhook.as_ref()?.client;
            let failure = client.reach().await.err()?;
            Some(format!("auth.{method}: {} cannot be reached: {failure}", client.place()))
        });
        join_all(reached).await.into_iter().flatten().collect()
    }

    /// Asks about a key that the client offers. Nothing is proved yet: keep the outcome, and when the signature was
    /// checked and [`Considered::is_about`] says so, give [`Considered::proven`] to [`Authenticator::authenticate`].
    /// `key` is an `authorized_keys` line without options and comment. Dropping the call cancels it.
    ///
    /// # Errors
    /// A no, no answer, or no webhook for keys.
    pub async fn consider_key(&self, attempt: Attempt<'_>, key: &str) -> Result<Considered, AuthError> {
        let webhook = self.public_key.as_ref().ok_or(AuthError::NotConfigured)?;
        attempt.log.name_user(attempt.username.as_str(), None);
        let connection = attempt.facts.connection_as(attempt.username, Known::default());
        let question = PublicKeyRequest { connection, public_key: key.to_owned() };
        let answer = webhook.ask(attempt, &question, &KEY).await?;
        Ok(Considered { username: attempt.username.clone(), key: key.to_owned(), answer })
    }

    /// Takes a credential all the way: a password is asked about, a key was before; authorization comes last. Dropping
    /// the call cancels it.
    ///
    /// # Errors
    /// A no, no answer, or no webhook for passwords.
    pub async fn authenticate(&self, attempt: Attempt<'_>, credential: Credential) -> Result<Answer, AuthError> {
        let proved = self.prove(attempt, credential).await?;
        self.admit(attempt, proved).await.map(Answer::Done)
    }

    /// Checks a credential: a password is asked about, a key was before. The first half of
    /// [`Authenticator::authenticate`].
    ///
    /// # Errors
    /// A no, no answer, or no webhook for passwords.
    pub async fn prove(&self, attempt: Attempt<'_>, credential: Credential) -> Result<Proved, AuthError> {
        attempt.log.name_user(attempt.username.as_str(), None);
        let answer = match credential {
            Credential::Password(password) => self.check_password(attempt, &password).await?,
            Credential::PublicKey(key) if key.0.username == *attempt.username => key.0.answer,
            Credential::PublicKey(_) => {
                let reason = "the key is another login name's";
                return Err(AuthError::Denied { reason, message: None });
            }
        };
        Ok(Proved(Identity {
            username: attempt.username.clone(),
            authenticated: answer.authenticated_username.unwrap_or_else(|| attempt.username.as_str().to_owned()),
            known: answer.known,
        }))
    }

    /// Takes a login name as proved where no credential is shown, for `podgate test-login`: nobody gets a pod by it.
    #[must_use]
    pub fn assume(&self, username: &Username) -> Proved {
        let authenticated = username.as_str().to_owned();
        Proved(Identity { username: username.clone(), authenticated, known: Known::default() })
    }

    /// Asks for authorization, where it is configured. The second half of [`Authenticator::authenticate`].
    ///
    /// # Errors
    /// A no, or no answer.
    pub async fn admit(&self, attempt: Attempt<'_>, Proved(mut identity): Proved) -> Result<Identity, AuthError> {
        self.authorize(attempt, &mut identity).await?;
        attempt.log.name_user(attempt.username.as_str(), Some(identity.authenticated()));
        Ok(identity)
    }

    /// Tells if `/authz` is asked.
    #[must_use]
    pub fn authorizes(&self) -> bool {
        self.authz.is_some()
    }

    async fn check_password(&self, attempt: Attempt<'_>, password: &Secret) -> Result<AuthAnswer, AuthError> {
        let webhook = self.password.as_ref().ok_or(AuthError::NotConfigured)?;
        let connection = attempt.facts.connection_as(attempt.username, Known::default());
        let question = PasswordRequest { connection, password: password.expose().as_bytes().to_vec() };
        webhook.ask(attempt, &question, &PASSWORD).await
    }

    /// Asks whether the identity may come in. Values marked sensitive stay here; a name or value in the answer wins.
    async fn authorize(&self, attempt: Attempt<'_>, identity: &mut Identity) -> Result<(), AuthError> {
        let Some(webhook) = &self.authz else { return Ok(()) };
        let question = AuthzRequest {
            connection: attempt.facts.connection_as(attempt.username, identity.known.without_sensitive()),
            authenticated_username: Some(identity.authenticated.clone()),
        };
        let answer = webhook.ask(attempt, &question, &AUTHORIZATION).await?;
        identity.learn(answer.authenticated_username, answer.known);
        Ok(())
    }
}

/// A user whose credential was good and who is not authorized yet: no [`Identity`].
#[derive(Debug)]
pub struct Proved(Identity);

impl Proved {
    /// The authenticator's name for the user.
    #[must_use]
    pub fn authenticated(&self) -> &str {
        self.0.authenticated()
    }
}

/// One webhook of a login.
#[derive(Debug)]
struct Webhook {
    client: WebhookClient,
    limit: Duration,
    question: Question,
}

impl Webhook {
    fn new(
        webhook: Option<&AuthWebhook>,
        path: &'static str,
        question: Question,
    ) -> Result<Option<Self>, WebhookBuildError> {
        let make = |webhook: &AuthWebhook| {
            let client = WebhookClient::new(&webhook.client, path, question)?;
            Ok(Self { client, limit: webhook.auth_timeout, question })
        };
        webhook.map(make).transpose()
    }

    /// Asks; only an explicit yes is returned.
    async fn ask(
        &self,
        attempt: Attempt<'_>,
        question: &(impl Serialize + Sync),
        refused: &Refused,
    ) -> Result<AuthAnswer, AuthError> {
        attempt.awaited.set(self.question == Question::Authorization);
        attempt.deadline.allow(self.limit.saturating_add(AFTERWARDS));
        let metrics = attempt.log.metrics();
        let timer = metrics.step(self.question.step());
        let call = Call { limit: self.limit, log: attempt.log };
        let answered = match self.client.ask(call, question, parse).await {
            Ok(answered) => answered,
            Err(error) => {
                timer.end(Outcome::Failed);
                return Err(self.unavailable(&error));
            }
        };
        let (answer, left_out) = answered.answer;
        metrics.answered(self.question, answered.retried, answer.is_yes());
        timer.end(if answer.is_yes() { Outcome::Success } else { Outcome::Refused });
        let url = [("url", self.client.place())];
        if answer.is_yes() {
            attempt.log.write(Level::Debug, "AUTH_SUCCESSFUL", "the webhook allowed the login", &url);
            if let Some(names) = left_out.shown() {
                let details = [url[0], ("variables", &*names)];
                attempt.log.write(Level::Warning, "AUTH_ENV_LEFT_OUT", LEFT_OUT, &details);
            }
            return Ok(answer);
        }
        attempt.log.write(Level::Debug, "AUTH_FAILED", "the webhook denied the login", &url);
        let reason = if answer.success.is_some() { refused.said } else { refused.unsaid };
        Err(AuthError::Denied { reason, message: message(answer.message.as_deref()) })
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

/// The answer, and the variables of it that nobody gets.
fn parse(body: &[u8]) -> Result<(AuthAnswer, NamesLeftOut), String> {
    let mut answer = AuthAnswer::parse(body).map_err(|error| error.to_string())?;
    let mut left_out = NamesLeftOut::default();
    if answer.is_yes() {
        left_out = usable(answer.authenticated_username.as_deref(), &mut answer.known)?;
    }
    Ok((answer, left_out))
}
