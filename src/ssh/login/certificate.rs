//! The login with an OpenSSH certificate of a trusted authority, and revoked keys.
//!
//! With trusted authorities, no webhook is asked about an offer: russh 0.65.1 shows the offer of a certificate as one of the
//! plain key in it. Every key that could log in is asked for its signature then, and the webhook is asked after that.

use super::{AuthOutcome, AuthRequest, Login, record_offer_refusal};
use crate::audit::{Event, PresentedKey};
use crate::auth::{AuthMethod, OfferedKey, RevokedKeys};
use crate::policy::CertificateLimits;
use crate::ssh::certificate::{self, CertificateUse, TrustedAuthorities};
use crate::ssh::connection::ConnectionError;
use crate::ssh::key_offer::key_line;
use crate::telemetry::codes;
use crate::types::{Username, printable};
use podgate_webhooks::wire;
use russh::Disconnect;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, HashAlg, PublicKey};
use std::time::{SystemTime, UNIX_EPOCH};

/// The reason of a disconnect for the user; which file it is concerns the operator.
const KEYS_UNKNOWN: &str = "no key can log in at present, because the gateway cannot read which keys are revoked";
/// Limit of a path in a message, in characters.
const SHOWN_PATH: usize = 200;

/// A certificate that was checked, of the present attempt.
pub(super) struct PresentedCertificate {
    pub(super) facts: wire::Certificate,
    pub(super) limits: CertificateLimits,
}

/// Describes the key of an attempt for the log.
#[derive(Default)]
pub(super) struct ShownKey {
    pub(super) fingerprint: Option<String>,
    certificate: Option<wire::Certificate>,
}

impl ShownKey {
    pub(super) fn of(key: &KeyData) -> Self {
        Self { fingerprint: Some(key.fingerprint(HashAlg::Sha256).to_string()), certificate: None }
    }

    pub(super) fn presented(&self) -> PresentedKey<'_> {
        PresentedKey { fingerprint: self.fingerprint.as_deref(), certificate: self.certificate.as_ref() }
    }
}

impl Login {
    /// True if certificates can log in.
    pub(super) fn trusts_authorities(&self) -> bool {
        self.context.snapshot.authorities.is_some()
    }

    /// Answers a certificate with a checked signature.
    pub(crate) async fn certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<AuthOutcome, ConnectionError> {
        let snapshot = self.context.snapshot.clone();
        let Some(authorities) = &snapshot.authorities else { return Ok(self.unoffered(user, "certificate").await) };
        let outcome = self.judge_certificate(user, certificate, authorities).await?;
        Ok(self.counted(AuthRequest::Credential, outcome).await)
    }

    async fn judge_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
        authorities: &TrustedAuthorities,
    ) -> Result<AuthOutcome, ConnectionError> {
        self.proved_offer();
        let Some(user) = self.user(user).await else { return Ok(AuthOutcome::Ended) };
        let facts = certificate::facts(certificate);
        let shown = certificate.to_openssh().ok();
        self.context.audit.present(user.as_str(), shown.as_deref(), None);
        self.shown = ShownKey { certificate: facts.clone(), ..ShownKey::of(certificate.public_key()) };
        let used = CertificateUse {
            username: user.as_str(),
            client: self.context.penalised,
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            required_rsa_size: self.context.snapshot.keys.required_rsa_size,
        };
        let limits = match authorities.check(certificate, used) {
            Ok(limits) => limits,
            Err(fault) => return Ok(self.refuse_key(&fault.to_string())),
        };
        let line = key_line(&PublicKey::new(certificate.public_key().clone(), ""));
        let parts = (line, facts, certificate::keys(certificate));
        let (Some(line), Some(facts), Some(keys)) = parts else { return Ok(AuthOutcome::Refused) };
        let refused = self.revoked(|revoked| revoked.has_certificate(certificate::issued(certificate, &keys))).await?;
        if let Some(outcome) = refused {
            return Ok(barred(outcome));
        }
        self.presented = Some(PresentedCertificate { facts, limits });
        self.judge_unasked(&user, &line).await
    }

    /// Judges a key whose signature was checked before a webhook was asked about it.
    pub(super) async fn judge_unasked(&mut self, user: &Username, line: &str) -> Result<AuthOutcome, ConnectionError> {
        let auth = self.context.snapshot.auth.clone();
        let considered = if self.presented.is_some() && !auth.judges_keys() {
            OfferedKey::by_authority(user, line)
        } else {
            let facts = self.context.facts();
            let considered = Box::pin(auth.check_offered_key(self.attempt(&facts, user), line));
            match self.unless_closed(considered).await? {
                Ok(considered) => considered,
                Err(error) => {
                    self.note_conduct(&error);
                    let ending = record_offer_refusal(&self.context.audit, error, self.shown.presented());
                    return Ok(barred(self.refused(ending).await));
                }
            }
        };
        let answer = self.authenticate(user, considered.into_credential()).await?;
        Ok(barred(self.settle(AuthMethod::PublicKey, answer).await))
    }

    /// Refuses a key or a certificate before any webhook is asked.
    pub(super) fn refuse_key(&mut self, reason: &str) -> AuthOutcome {
        let method = AuthMethod::PublicKey;
        self.context.audit.note(Event::AuthFailed { method, reason, message: None, key: self.shown.presented() });
        self.context.conduct.lock().failed = true;
        AuthOutcome::Refused
    }

    /// Asks the list of revoked keys before any webhook is asked. `None` if it knows nothing against a key.
    async fn revoked(
        &mut self,
        is_in: impl FnOnce(&RevokedKeys) -> bool,
    ) -> Result<Option<AuthOutcome>, ConnectionError> {
        let Some(file) = self.context.snapshot.revocation.clone() else { return Ok(None) };
        let loaded = tokio::select! {
            loaded = file.clone().load() => loaded,
            by = self.context.stream.closed() => {
                return Err(self.context.left_by(by, "the file of revoked keys had not been read yet"));
            }
        };
        let path = printable(&file.path().display().to_string(), SHOWN_PATH);
        match loaded {
            Ok(revoked) => {
                file.is_news(None);
                Ok(is_in(&revoked).then(|| self.refuse_key(&format!("the key is revoked ({path})"))))
            }
            Err(error) => {
                let fault = format!("{path} (ssh.revokedKeys) {error}");
                if file.is_news(Some(&fault)) {
                    let text = "every key is refused, because the file of revoked keys cannot be used";
                    self.context.log.write(codes::SSH_REVOKED_KEYS_FAILED, text, &[("reason", &fault)]);
                }
                let method = AuthMethod::PublicKey;
                self.context.audit.note(Event::AuthUnavailable { method, reason: &fault, logged: false });
                // The client did nothing wrong.
                self.context.conduct.lock().ended_here = true;
                self.end(Disconnect::ServiceNotAvailable, KEYS_UNKNOWN).await;
                Ok(Some(AuthOutcome::Ended))
            }
        }
    }

    /// The same for a plain key.
    pub(super) async fn revoked_key(&mut self, key: &PublicKey) -> Result<Option<AuthOutcome>, ConnectionError> {
        let blob = key.to_bytes().ok();
        self.revoked(|revoked| blob.is_none_or(|blob| revoked.has_key(&blob))).await
    }
}

/// The answer to a key with a signature that is refused.
pub(super) fn barred(outcome: AuthOutcome) -> AuthOutcome {
    match outcome {
        AuthOutcome::Ended => AuthOutcome::Barred,
        outcome => outcome,
    }
}
