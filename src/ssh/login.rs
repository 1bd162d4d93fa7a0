//! The login as the SSH side sees it: which credential came, what is remembered between a key's offer and its proof, and
//! what the client hears. Nothing here is an [`Identity`] before the authenticator made one.

mod failures;

use super::Shared;
use super::ended::ConnectionError;
use super::offer;
use crate::audit::{Event, Recorder};
use crate::auth::{Answer, Attempt, AuthError, Awaited, ClientFacts, Considered, Credential, Identity, Method};
use crate::types::{Secret, Username};
use failures::{Failures, Request};
use russh::Disconnect;
use russh::keys::{Algorithm, PublicKey};
use std::future::Future;
use std::sync::Arc;

pub(super) use failures::MOST as MOST_FAILURES;

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted,
    Refused,
    /// This was right, and one of these must follow.
    More(Vec<Method>),
    /// This leads nowhere, and the client is to know why: the connection ends, and a disconnect that says it is on its
    /// way.
    Ended,
    /// The key was right, and leads nowhere: otherwise as [`Outcome::Ended`].
    Barred,
}

/// Keys that may be offered without a proof: russh does not count what it said yes to.
const OFFERS: usize = 32;

/// One connection's login.
pub(super) struct Login {
    shared: Arc<Shared>,
    considered: Option<Considered>,
    identity: Option<Identity>,
    ended: bool,
    offers: usize,
    failures: Failures,
    awaited: Awaited,
}

impl Login {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (failures, awaited) = (Failures::default(), Awaited::default());
        Self { shared, considered: None, identity: None, ended: false, offers: 0, failures, awaited }
    }

    /// Who the client is, once an attempt was accepted.
    pub(super) fn take_identity(&mut self) -> Option<Identity> {
        self.identity.take()
    }

    /// A request without a credential, by which clients learn the methods. A name that is none is told here already: no
    /// credential of its has to be asked for.
    pub(super) async fn none(&mut self, user: &str) -> Outcome {
        let outcome = if self.user(user).await.is_some() { Outcome::Refused } else { Outcome::Ended };
        self.counted(Request::None, outcome).await
    }

    /// A request by a method that is not offered.
    pub(super) async fn unoffered(&mut self, user: &str, method: &'static str) -> Outcome {
        let outcome = if self.user(user).await.is_some() {
            self.shared.audit.record(Event::NotOffered { method });
            Outcome::Refused
        } else {
            Outcome::Ended
        };
        self.counted(Request::Credential, outcome).await
    }

    /// A password attempt.
    pub(super) async fn password(&mut self, user: &str, password: &str) -> Result<Outcome, ConnectionError> {
        let outcome = self.judge_password(user, password).await?;
        Ok(self.counted(Request::Credential, outcome).await)
    }

    async fn judge_password(&mut self, user: &str, password: &str) -> Result<Outcome, ConnectionError> {
        let Some(user) = self.user(user).await else { return Ok(Outcome::Ended) };
        self.shared.audit.record(Event::AuthAttempt { method: Method::Password });
        let credential = Credential::Password(Secret::new(password));
        let answer = self.authenticate(&user, credential).await?;
        Ok(self.settle(Method::Password, answer).await)
    }

    /// A key that the client has not signed with yet: asked about, so that it is spared the signature.
    pub(super) async fn offered(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> Result<Outcome, ConnectionError> {
        let outcome = self.judge_offer(user, key, algorithm).await?;
        Ok(self.counted(Request::Credential, outcome).await)
    }

    async fn judge_offer(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> Result<Outcome, ConnectionError> {
        let Some(user) = self.user(user).await else { return Ok(Outcome::Ended) };
        let Some(line) = key_line(key) else { return Ok(Outcome::Refused) };
        self.offers += 1;
        if self.offers > OFFERS {
            self.shared.audit.record(Event::LimitHit { limit: "keys offered without a proof" });
            self.end(Disconnect::NoMoreAuthMethodsAvailable, "too many keys were offered").await;
            return Ok(Outcome::Ended);
        }
        if let Err(bad) = offer::check(key, algorithm) {
            let reason = bad.to_string();
            let method = Method::PublicKey;
            self.shared.audit.record(Event::AuthFailed { method, reason: &reason, message: None });
            return Ok(Outcome::Refused);
        }
        self.shared.audit.record(Event::AuthAttempt { method: Method::PublicKey });
        self.considered = None;
        let facts = self.shared.facts();
        let considered = Box::pin(self.shared.snapshot.auth.consider_key(self.attempt(&facts, &user), &line));
        match self.unless_closed(considered).await? {
            Ok(considered) => {
                self.considered = Some(considered);
                Ok(Outcome::Accepted)
            }
            Err(error) => {
                let told = told_of_offer(&self.shared.audit, error);
                Ok(self.refused(told).await)
            }
        }
    }

    /// A key whose signature was checked: trusted from here on, if it is the one that was asked about.
    pub(super) async fn proven(&mut self, user: &str, key: &PublicKey) -> Result<Outcome, ConnectionError> {
        let outcome = self.judge_proof(user, key).await?;
        Ok(self.counted(Request::Credential, outcome).await)
    }

    async fn judge_proof(&mut self, user: &str, key: &PublicKey) -> Result<Outcome, ConnectionError> {
        let Some(user) = self.user(user).await else { return Ok(Outcome::Ended) };
        let Some(line) = key_line(key) else { return Ok(Outcome::Refused) };
        let Some(considered) = self.considered.take().filter(|considered| considered.is_about(&user, &line)) else {
            return Ok(Outcome::Refused);
        };
        let answer = self.authenticate(&user, considered.proven()).await?;
        Ok(match self.settle(Method::PublicKey, answer).await {
            Outcome::Ended => Outcome::Barred,
            outcome => outcome,
        })
    }

    async fn authenticate(
        &self,
        user: &Username,
        credential: Credential,
    ) -> Result<Result<Answer, AuthError>, ConnectionError> {
        let facts = self.shared.facts();
        let answer = Box::pin(self.shared.snapshot.auth.authenticate(self.attempt(&facts, user), credential));
        self.unless_closed(answer).await
    }

    fn attempt<'a>(&'a self, facts: &'a ClientFacts, username: &'a Username) -> Attempt<'a> {
        Attempt { facts, username, log: &self.shared.log, deadline: &self.shared.deadline, awaited: &self.awaited }
    }

    async fn settle(&mut self, method: Method, answer: Result<Answer, AuthError>) -> Outcome {
        match answer {
            Ok(Answer::Done(identity)) => {
                self.shared.audit.record(Event::AuthSucceeded { method });
                self.identity = Some(identity);
                Outcome::Accepted
            }
            Ok(Answer::More(methods)) => Outcome::More(methods),
            // Questions can be asked in keyboard-interactive alone, which nothing offers.
            Ok(Answer::Ask(_)) => Outcome::Refused,
            Err(error) => {
                let told = told(&self.shared.audit, method, error);
                self.refused(told).await
            }
        }
    }

    /// The outcome, counted: the failure that is one too many ends the connection, as OpenSSH's server does.
    async fn counted(&mut self, request: Request, outcome: Outcome) -> Outcome {
        if self.failures.count(request, &outcome) && !self.ended {
            self.shared.audit.record(Event::LimitHit { limit: "failed attempts to log in" });
            self.end(Disconnect::ProtocolError, "Too many authentication failures").await;
        }
        outcome
    }

    /// A refusal carries no text: where there is a reason that the client is to read, it ends the connection.
    async fn refused(&mut self, told: Option<Ending>) -> Outcome {
        let Some(Ending { code, reason }) = told else { return Outcome::Refused };
        self.end(code, &reason).await;
        Outcome::Ended
    }

    /// The login name, parsed. There is none where the name is not one, or where the login has ended.
    async fn user(&mut self, user: &str) -> Option<Username> {
        if self.ended {
            return None;
        }
        match Username::parse(user) {
            Ok(user) => {
                self.shared.log.name_user(user.as_str(), None);
                Some(user)
            }
            Err(invalid) => {
                let reason = format!("username {invalid}");
                self.shared.audit.record(Event::BadUsername { reason: &reason });
                self.end(Disconnect::IllegalUserName, &format!("the user name {invalid}")).await;
                None
            }
        }
    }

    /// Ends the login behind the answer to the present request.
    async fn end(&mut self, code: Disconnect, reason: &str) {
        self.considered = None;
        self.ended = true;
        self.shared.line.pair();
        self.shared.disconnect(code, reason).await;
    }

    /// The client's disconnect cancels what it made us ask.
    async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Result<T, ConnectionError> {
        tokio::select! {
            result = work => Ok(result),
            by = self.shared.line.closed() => Err(self.shared.left_by(by, self.awaited.reason())),
        }
    }
}

/// A disconnect that ends a login.
#[derive(Debug)]
pub(crate) struct Ending {
    code: Disconnect,
    /// One line for the user.
    pub(crate) reason: String,
}

/// Records a refusal. The disconnect, where the connection ends for it.
pub(crate) fn told(audit: &Recorder, method: Method, error: AuthError) -> Option<Ending> {
    match error {
        AuthError::Denied { reason, message } => {
            audit.record(Event::AuthFailed { method, reason, message: message.as_deref() });
            message.map(|reason| Ending { code: Disconnect::NoMoreAuthMethodsAvailable, reason })
        }
        AuthError::NotConfigured => {
            audit.record(Event::AuthUnavailable { method, reason: &error.to_string(), logged: false });
            None
        }
        AuthError::Unavailable { reason } | AuthError::Misunderstood { reason } => {
            audit.record(Event::AuthUnavailable { method, reason: &reason, logged: true });
            Some(Ending { code: Disconnect::ServiceNotAvailable, reason })
        }
    }
}

/// As [`told`], of a key that was offered: the next one may be accepted, so that a denial's message is only in the log.
pub(crate) fn told_of_offer(audit: &Recorder, error: AuthError) -> Option<Ending> {
    let denied = matches!(error, AuthError::Denied { .. });
    told(audit, Method::PublicKey, error).filter(|_| !denied)
}

/// The key as one `authorized_keys` line without options and comment.
pub(super) fn key_line(key: &PublicKey) -> Option<String> {
    let bare = PublicKey::new(key.key_data().clone(), "");
    bare.to_openssh().ok().map(|line| line.trim().to_owned())
}
