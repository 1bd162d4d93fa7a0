//! The login with an OpenSSH certificate of a trusted authority, and revoked keys.
//!
//! With trusted authorities, no webhook is asked about an offer: russh 0.65.1 shows the offer of a certificate as one of the
//! plain key in it. Every key that could log in is asked for its signature then, and the webhook is asked after that.

use super::{AuthOutcome, AuthRequest, Login, record_offer_refusal};
use crate::audit::Event;
use crate::auth::{AuthMethod, OfferedKey};
use crate::policy::CertificateLimits;
use crate::ssh::certificate::{self, CertificateUse, TrustedAuthorities};
use crate::ssh::connection::ConnectionError;
use crate::ssh::key_offer::key_line;
use crate::types::Username;
use podgate_webhooks::wire;
use russh::keys::{Certificate, PublicKey};
use std::time::{SystemTime, UNIX_EPOCH};

/// A certificate that was checked, of the present attempt.
pub(super) struct PresentedCertificate {
    pub(super) facts: wire::Certificate,
    pub(super) limits: CertificateLimits,
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
        let Some(user) = self.user(user).await else { return Ok(AuthOutcome::Ended) };
        let used = CertificateUse {
            username: user.as_str(),
            client: self.context.endpoints.client.ip(),
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            required_rsa_size: self.context.snapshot.required_rsa_size,
        };
        let limits = match authorities.check(certificate, used) {
            Ok(limits) => limits,
            Err(fault) => return Ok(self.refuse_key(&fault.to_string())),
        };
        let line = key_line(&PublicKey::new(certificate.public_key().clone(), ""));
        let parts = (line, certificate::facts(certificate), certificate::keys(certificate));
        let (Some(line), Some(facts), Some(keys)) = parts else { return Ok(AuthOutcome::Refused) };
        if let Some(fault) =
            self.revoked(|revoked| revoked.has_certificate(certificate::issued(certificate, &keys))).await
        {
            return Ok(self.refuse_key(&fault));
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
                    let ending = record_offer_refusal(&self.context.audit, error);
                    return Ok(match self.refused(ending).await {
                        AuthOutcome::Ended => AuthOutcome::Barred,
                        outcome => outcome,
                    });
                }
            }
        };
        let answer = self.authenticate(user, considered.into_credential()).await?;
        Ok(match self.settle(AuthMethod::PublicKey, answer).await {
            AuthOutcome::Ended => AuthOutcome::Barred,
            outcome => outcome,
        })
    }

    /// Refuses a key or a certificate before any webhook is asked.
    pub(super) fn refuse_key(&mut self, reason: &str) -> AuthOutcome {
        let method = AuthMethod::PublicKey;
        self.context.audit.note(Event::AuthFailed { method, reason, message: None });
        self.context.conduct.lock().failed = true;
        AuthOutcome::Refused
    }

    /// The reason why a key is refused as revoked.
    pub(super) async fn revoked(&self, is_in: impl FnOnce(&crate::auth::RevokedKeys) -> bool) -> Option<String> {
        let file = self.context.snapshot.revocation.clone()?;
        let path = file.path().display().to_string();
        match file.load().await {
            Ok(revoked) => is_in(&revoked).then(|| format!("the key is revoked ({path})")),
            Err(error) => Some(format!("every key is refused, because {path} (ssh.revokedKeys) {error}")),
        }
    }

    /// The same for a plain key.
    pub(super) async fn revoked_key(&self, key: &PublicKey) -> Option<String> {
        self.context.snapshot.revocation.as_ref()?;
        let blob = key.to_bytes().ok();
        self.revoked(|revoked| blob.is_none_or(|blob| revoked.has_key(&blob))).await
    }
}
