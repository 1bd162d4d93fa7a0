//! The SSH side of a login: the credentials of the client, the state between a key's offer and its proof, and the answers.
//! Nothing here is an [`Identity`] before the authenticator made one.

mod certificate;
mod outcome;

use super::conduct::LoginConduct;
use super::connection::{ConnectionContext, ConnectionError};
use super::key_offer::{self, key_line};
use super::transport;
use crate::audit::{Event, PresentedKey, Recorder, Unrecorded};
use crate::auth::{
    AuthError, AuthMethod, AuthStep, AwaitedServer, ClientFacts, Credential, Identity, LoginAttempt, OfferedKey,
};
use crate::policy::CertificateLimits;
use crate::types::{Secret, Username, printable, quoted};
use certificate::{PresentedCertificate, ShownKey, barred};
use outcome::{AuthOutcome, AuthRequest, FailureCount};
use russh::Disconnect;
use russh::keys::{Algorithm, PublicKey};
use russh::server::Auth;
use std::future::Future;
use std::sync::Arc;

/// Limit of the keys that are offered without a proof. russh does not count offers that it accepted.
const OFFERS: usize = 32;
/// Limit of a user name in a message, in characters.
const SHOWN_NAME: usize = 64;

/// The login of one connection.
pub(super) struct Login {
    context: Arc<ConnectionContext>,
    /// The user name of the connection's first request, to which the login is bound.
    user: Option<Username>,
    considered: Option<OfferedKey>,
    /// The key of the present attempt, for the log.
    shown: ShownKey,
    /// The fingerprint of a key that was accepted and that nothing has proved yet.
    unproved: Option<String>,
    /// The certificate of the present attempt.
    presented: Option<PresentedCertificate>,
    identity: Option<(Identity, Option<CertificateLimits>)>,
    ended: bool,
    offers: usize,
    failures: FailureCount,
    awaited: AwaitedServer,
}

impl Login {
    pub(super) fn new(context: Arc<ConnectionContext>) -> Self {
        let (failures, awaited) = (FailureCount::default(), AwaitedServer::default());
        Self {
            context,
            user: None,
            considered: None,
            shown: ShownKey::default(),
            unproved: None,
            presented: None,
            identity: None,
            ended: false,
            offers: 0,
            failures,
            awaited,
        }
    }

    /// Takes the client's identity, which is there once an attempt was accepted, and the limits of its certificate.
    pub(super) fn take_identity(&mut self) -> Option<(Identity, Option<CertificateLimits>)> {
        self.identity.take()
    }

    /// Answers a request without a credential, by which clients learn the methods. An invalid user name ends the login here
    /// already, before the client asks for a credential.
    pub(super) async fn none(&mut self, user: &str) -> AuthOutcome {
        let outcome = if self.user(user).await.is_some() { AuthOutcome::Refused } else { AuthOutcome::Ended };
        self.counted(AuthRequest::None, outcome).await
    }

    /// Answers a request by a method that is not offered.
    pub(super) async fn unoffered(&mut self, user: &str, method: &'static str) -> AuthOutcome {
        let outcome = if self.user(user).await.is_some() {
            self.context.audit.note(Event::NotOffered { method });
            AuthOutcome::Refused
        } else {
            AuthOutcome::Ended
        };
        self.counted(AuthRequest::Credential, outcome).await
    }

    /// Answers a request with a password.
    pub(super) async fn password(&mut self, user: &str, password: &str) -> Result<AuthOutcome, ConnectionError> {
        let outcome = self.judge_password(user, password).await?;
        Ok(self.counted(AuthRequest::Credential, outcome).await)
    }

    async fn judge_password(&mut self, user: &str, password: &str) -> Result<AuthOutcome, ConnectionError> {
        let Some(user) = self.user(user).await else { return Ok(AuthOutcome::Ended) };
        let password = Secret::new(password);
        self.context.audit.present(user.as_str(), None, Some(&password));
        if self.context.audit.record_effect(Event::AuthAttempt { method: AuthMethod::Password }).await.is_err() {
            return Ok(self.unrecorded().await);
        }
        let credential = Credential::Password(password);
        let answer = self.authenticate(&user, credential).await?;
        Ok(self.settle(AuthMethod::Password, answer).await)
    }

    /// Answers an offer of a key, which the client has not signed with yet; a refusal spares it the signature.
    pub(super) async fn offered(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> Result<AuthOutcome, ConnectionError> {
        let outcome = self.judge_offer(user, key, algorithm).await?;
        Ok(self.counted(AuthRequest::Credential, outcome).await)
    }

    async fn judge_offer(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> Result<AuthOutcome, ConnectionError> {
        let Some(user) = self.user(user).await else { return Ok(AuthOutcome::Ended) };
        self.shown = ShownKey::of(key.key_data());
        let Some(line) = key_line(key) else { return Ok(AuthOutcome::Refused) };
        self.context.audit.present(user.as_str(), Some(&line), None);
        self.offers += 1;
        if self.offers > OFFERS {
            self.context.conduct.lock().failed = true;
            self.context.audit.note(Event::LimitHit { limit: "keys offered without a proof" });
            self.end(Disconnect::NoMoreAuthMethodsAvailable, "too many keys were offered").await;
            return Ok(AuthOutcome::Ended);
        }
        if let Err(bad) = key_offer::check(key, algorithm, &self.context.snapshot.keys) {
            return Ok(self.refuse_key(&bad.to_string()));
        }
        if let Some(outcome) = self.revoked_key(key).await? {
            return Ok(outcome);
        }
        if self.context.audit.record_effect(Event::AuthAttempt { method: AuthMethod::PublicKey }).await.is_err() {
            return Ok(self.unrecorded().await);
        }
        self.considered = None;
        if self.trusts_authorities() {
            return Ok(self.accept_offer());
        }
        let facts = self.context.facts();
        let considered = Box::pin(self.context.snapshot.auth.check_offered_key(self.attempt(&facts, &user), &line));
        match self.unless_closed(considered).await? {
            Ok(considered) => {
                self.considered = Some(considered);
                Ok(self.accept_offer())
            }
            Err(error) => {
                self.note_conduct(&error);
                let ending = record_offer_refusal(&self.context.audit, error, self.shown.presented());
                Ok(self.refused(ending).await)
            }
        }
    }

    /// Answers a key with a checked signature. It is trusted from here on if it is the key of the last accepted offer.
    pub(super) async fn proven(&mut self, user: &str, key: &PublicKey) -> Result<AuthOutcome, ConnectionError> {
        let outcome = self.judge_proof(user, key).await?;
        Ok(self.counted(AuthRequest::Credential, outcome).await)
    }

    async fn judge_proof(&mut self, user: &str, key: &PublicKey) -> Result<AuthOutcome, ConnectionError> {
        self.proved_offer();
        let Some(user) = self.user(user).await else { return Ok(AuthOutcome::Ended) };
        self.shown = ShownKey::of(key.key_data());
        let Some(line) = key_line(key) else { return Ok(AuthOutcome::Refused) };
        self.context.audit.present(user.as_str(), Some(&line), None);
        // It may have been revoked since it was offered.
        if let Some(outcome) = self.revoked_key(key).await? {
            self.considered = None;
            return Ok(barred(outcome));
        }
        if self.trusts_authorities() {
            return self.judge_unasked(&user, &line).await;
        }
        let Some(considered) = self.considered.take().filter(|considered| considered.matches(&user, &line)) else {
            return Ok(AuthOutcome::Refused);
        };
        let answer = self.authenticate(&user, considered.into_credential()).await?;
        Ok(barred(self.settle(AuthMethod::PublicKey, answer).await))
    }

    async fn authenticate(
        &self,
        user: &Username,
        credential: Credential,
    ) -> Result<Result<AuthStep, AuthError>, ConnectionError> {
        let facts = self.context.facts();
        let mut login = self.context.snapshot.auth.begin(credential);
        let answer = Box::pin(login.next(self.attempt(&facts, user), Vec::new()));
        self.unless_closed(answer).await
    }

    fn attempt<'a>(&'a self, facts: &'a ClientFacts, username: &'a Username) -> LoginAttempt<'a> {
        LoginAttempt {
            facts,
            username,
            certificate: self.presented.as_ref().map(|presented| &presented.facts),
            log: &self.context.log,
            deadline: &self.context.deadline,
            awaited: &self.awaited,
        }
    }

    async fn settle(&mut self, method: AuthMethod, answer: Result<AuthStep, AuthError>) -> AuthOutcome {
        match answer {
            Ok(AuthStep::Done(identity)) => {
                let key = self.shown.presented();
                if self.context.audit.record_effect(Event::AuthSucceeded { method, key }).await.is_err() {
                    return self.unrecorded().await;
                }
                self.identity = Some((identity, self.presented.take().map(|presented| presented.limits)));
                AuthOutcome::Accepted
            }
            Ok(AuthStep::More(methods)) => AuthOutcome::More(methods),
            // Questions can be asked in keyboard-interactive alone, which nothing offers.
            Ok(AuthStep::Ask(_)) => AuthOutcome::Refused,
            Err(error) => {
                self.note_conduct(&error);
                let ending = record_refusal(&self.context.audit, (method, self.shown.presented()), error);
                self.refused(ending).await
            }
        }
    }

    /// The answer to a request.
    pub(super) fn answer(&self, outcome: AuthOutcome) -> Auth {
        match outcome {
            AuthOutcome::Accepted => Auth::Accept,
            // If the login has ended, a disconnect with the reason follows this refusal.
            AuthOutcome::Refused | AuthOutcome::Ended => Auth::Reject {
                proceed_with_methods: Some(self.context.snapshot.methods.clone()),
                partial_success: false,
            },
            // A client that hears "right, but not enough" goes on with its keys, and reads the disconnect then. A client that
            // was refused and had nothing more to offer would leave before.
            AuthOutcome::Barred => Auth::Reject {
                proceed_with_methods: Some(self.context.snapshot.methods.clone()),
                partial_success: true,
            },
            AuthOutcome::More(methods) => {
                Auth::Reject { proceed_with_methods: Some(transport::methods(&methods)), partial_success: true }
            }
        }
    }

    /// The answer to an offered key. A client whose login has ended is asked for its proof: one that was refused and had
    /// nothing more to offer would leave before it reads the disconnect with the reason, which follows. A proof that comes all
    /// the same is refused.
    pub(super) fn answer_offer(&self, outcome: AuthOutcome) -> Auth {
        match outcome {
            AuthOutcome::Ended => Auth::Accept,
            AuthOutcome::Accepted | AuthOutcome::Refused | AuthOutcome::More(_) | AuthOutcome::Barred => {
                self.answer(outcome)
            }
        }
    }

    /// Notes what an attempt that failed says about the client.
    fn note_conduct(&self, error: &AuthError) {
        let mut conduct = self.context.conduct.lock();
        match error {
            AuthError::Denied { .. } if self.awaited.is_authorization() => conduct.refused = true,
            AuthError::Denied { .. } | AuthError::NotConfigured => conduct.failed = true,
            AuthError::Unavailable { .. } | AuthError::Misunderstood { .. } => conduct.ended_here = true,
        }
    }

    /// Ends a login whose steps cannot be recorded.
    async fn unrecorded(&mut self) -> AuthOutcome {
        self.context.conduct.lock().ended_here = true;
        self.end(Disconnect::ServiceNotAvailable, &Unrecorded.to_string()).await;
        AuthOutcome::Ended
    }

    /// Counts the outcome. The failure that is one too many ends the connection, as in OpenSSH's server.
    async fn counted(&mut self, request: AuthRequest, outcome: AuthOutcome) -> AuthOutcome {
        if self.failures.count(request, &outcome) && !self.ended {
            self.context.conduct.lock().failed = true;
            self.context.audit.note(Event::LimitHit { limit: "failed attempts to log in" });
            self.end(Disconnect::ProtocolError, "Too many authentication failures").await;
        }
        outcome
    }

    /// Turns a refusal into an outcome. SSH's refusal carries no text, so a reason for the client ends the connection.
    async fn refused(&mut self, ending: Option<LoginDisconnect>) -> AuthOutcome {
        let Some(LoginDisconnect { code, reason }) = ending else { return AuthOutcome::Refused };
        self.end(code, &reason).await;
        AuthOutcome::Ended
    }

    /// Parses the login name. `None` if it is not valid, is not that of the first request, or the login has ended.
    async fn user(&mut self, user: &str) -> Option<Username> {
        self.presented = None;
        self.note_unproved();
        self.shown = ShownKey::default();
        if self.ended {
            return None;
        }
        if let Some(first) = self.user.clone() {
            if first.as_str() == user {
                return Some(first);
            }
            self.change_of_name(&first, user).await;
            return None;
        }
        match Username::parse(user) {
            Ok(user) => {
                self.context.log.name_user(user.as_str(), None);
                self.context.audit.present(user.as_str(), None, None);
                self.user = Some(user.clone());
                Some(user)
            }
            Err(invalid) => {
                self.context.conduct.lock().invalid_user = true;
                let reason = format!("username {invalid}");
                self.context.audit.note(Event::BadUsername { reason: &reason });
                self.end(Disconnect::IllegalUserName, &format!("the user name {invalid}")).await;
                None
            }
        }
    }

    /// Accepts the offer of the present key, until its proof.
    fn accept_offer(&mut self) -> AuthOutcome {
        self.context.conduct.lock().unproved += 1;
        self.unproved.clone_from(&self.shown.fingerprint);
        AuthOutcome::Accepted
    }

    /// Takes note of a signature that is right.
    fn proved_offer(&mut self) {
        if self.unproved.take().is_some() {
            self.context.conduct.lock().unproved -= 1;
        }
    }

    /// Records that the last accepted key was not proved: russh refuses a wrong signature by itself. The first may be that of
    /// an agent that did not sign.
    fn note_unproved(&mut self) {
        if self.unproved.is_none() || self.context.conduct.lock().unproved < LoginConduct::UNPROVED {
            self.unproved = None;
            return;
        }
        let fingerprint = self.unproved.take();
        let key = PresentedKey { fingerprint: fingerprint.as_deref(), certificate: None };
        let reason = "the client did not prove that it has the key (no signature, or a wrong one)";
        self.context.audit.note(Event::AuthFailed { method: AuthMethod::PublicKey, reason, message: None, key });
    }

    /// Ends a login whose user name changes, as sshd does and in its words: guesses under other names before a login under
    /// one's own would have no penalty.
    async fn change_of_name(&mut self, first: &Username, other: &str) {
        self.context.conduct.lock().failed = true;
        let (first, other) = (printable(first.as_str(), SHOWN_NAME), printable(other, SHOWN_NAME));
        let reason = format!("username changed from {} to {}", quoted(&first), quoted(&other));
        self.context.audit.note(Event::BadUsername { reason: &reason });
        let reason =
            format!("Change of username or service not allowed: ({first},ssh-connection) -> ({other},ssh-connection)");
        self.end(Disconnect::ProtocolError, &reason).await;
    }

    /// Ends the login, right after the answer to the present request.
    async fn end(&mut self, code: Disconnect, reason: &str) {
        self.considered = None;
        self.ended = true;
        self.context.stream.pair();
        self.context.disconnect(code, reason).await;
    }

    /// Runs a question to a webhook when it gets a place, until the client's disconnect.
    async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Result<T, ConnectionError> {
        let placed = async {
            // The wait is not the client's doing.
            let waiting = self.context.deadline.pause();
            let _place = self.context.entrance.webhook_place(self.context.endpoints.client.ip()).await;
            drop(waiting);
            work.await
        };
        tokio::select! {
            result = placed => Ok(result),
            by = self.context.stream.closed() => Err(self.context.left_by(by, self.awaited.reason())),
        }
    }
}

/// The disconnect that ends a login.
#[derive(Debug)]
pub(crate) struct LoginDisconnect {
    code: Disconnect,
    /// One line for the user.
    pub(crate) reason: String,
}

/// Records a refusal. Returns the disconnect if the connection ends for it.
pub(crate) fn record_refusal(
    audit: &Recorder,
    (method, key): (AuthMethod, PresentedKey<'_>),
    error: AuthError,
) -> Option<LoginDisconnect> {
    match error {
        AuthError::Denied { reason, message } => {
            audit.note(Event::AuthFailed { method, reason, message: message.as_deref(), key });
            message.map(|reason| LoginDisconnect { code: Disconnect::NoMoreAuthMethodsAvailable, reason })
        }
        AuthError::NotConfigured => {
            audit.note(Event::AuthUnavailable { method, reason: &error.to_string(), logged: false });
            None
        }
        AuthError::Unavailable { reason } | AuthError::Misunderstood { reason } => {
            audit.note(Event::AuthUnavailable { method, reason: &reason, logged: true });
            Some(LoginDisconnect { code: Disconnect::ServiceNotAvailable, reason })
        }
    }
}

/// Records the refusal of an offered key. The next key may be accepted, so a denial's message is only in the log.
pub(crate) fn record_offer_refusal(
    audit: &Recorder,
    error: AuthError,
    key: PresentedKey<'_>,
) -> Option<LoginDisconnect> {
    let denied = matches!(error, AuthError::Denied { .. });
    record_refusal(audit, (AuthMethod::PublicKey, key), error).filter(|_| !denied)
}
