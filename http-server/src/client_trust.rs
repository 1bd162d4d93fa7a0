//! Clients that are served where a client CA is given: those with a certificate of that CA, or with a certificate that is
//! itself, byte for byte, among the given ones.
//!
//! The second rule is that of Go's TLS: `openssl req -x509` makes certificates that are both a CA's and a client's, which
//! webpki refuses as a client's. Validity and purpose are checked as for any other, and the client always proves that it
//! has the key. A certificate that is not a CA's is trusted by this rule alone, as in Go: webpki does not check that a
//! trusted certificate's key may sign others.

use crate::certificate::{CertificatePurpose, X509, check_alone};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;

/// A given certificate that cannot be trusted, because it is damaged or not an X.509 certificate.
#[derive(Debug)]
pub struct UnusableCertificate {
    /// Position among the given ones, from 1.
    pub number: usize,
    /// Fault that rustls or the DER parser found.
    pub source: Error,
}

/// A verifier of TLS clients. A client without a certificate is refused.
#[derive(Debug)]
pub struct ClientTrust {
    given: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    /// Absent where no CA is given.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    /// The names of the CAs; empty where another certificate is given too: a client that chooses its certificate by these
    /// names would keep back one that is given itself.
    hints: Vec<DistinguishedName>,
}

impl ClientTrust {
    /// Makes a verifier that trusts these certificates.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub fn new(
        given: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, UnusableCertificate> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in given.iter().enumerate() {
            let usable = match X509::read(certificate).and_then(|parsed| parsed.is_ca()) {
                Ok(true) => roots.add(certificate.clone()),
                Ok(false) => ParsedCertificate::try_from(certificate).map(drop),
                Err(error) => Err(error.into()),
            };
            usable.map_err(|source| UnusableCertificate { number: index + 1, source })?;
        }
        let hints = if roots.len() == given.len() { roots.subjects() } else { Vec::new() };
        // Fails without a CA.
        let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().ok();
        Ok(Self { given, provider, chains, hints })
    }
}

impl ClientCertVerifier for ClientTrust {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.given.iter().any(|given| given == end_entity) {
            return check_alone(end_entity, CertificatePurpose::Client, now)
                .map(|_checked| ClientCertVerified::assertion());
        }
        let chains = self.chains.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        chains.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        date_time_ymd,
    };
    use rustls::crypto::aws_lc_rs::default_provider;

    /// As `openssl req -x509` makes them: self-signed, and a CA's.
    fn made(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["gateway".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        params.self_signed(key).unwrap().der().clone()
    }

    fn judge(given: &CertificateDer<'static>, shown: &CertificateDer<'_>) -> Result<(), Error> {
        let trust = ClientTrust::new(vec![given.clone()], Arc::new(default_provider())).unwrap();
        trust.verify_client_cert(shown, &[], UnixTime::now()).map(drop)
    }

    #[test]
    fn client_is_taken_with_a_certificate_that_is_given_itself_and_no_other() {
        let key = KeyPair::generate().unwrap();
        let expired = made(&key, |params| params.not_after = date_time_ymd(2020, 1, 1));
        let future = made(&key, |params| params.not_before = date_time_ymd(2190, 1, 1));
        let servers = made(&key, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        for (wrong, why) in [(&expired, "expired"), (&future, "not valid yet"), (&servers, "a server's")] {
            judge(wrong, wrong).expect_err(why);
        }
        let given = made(&key, |_| ());
        judge(&given, &made(&key, |params| params.subject_alt_names.clear())).expect_err("its key, other bytes");
        judge(&given, &made(&KeyPair::generate().unwrap(), |_| ())).expect_err("its subject, another key");
        judge(&given, &given).unwrap();
        let clients = made(&key, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
        judge(&clients, &clients).unwrap();
    }

    #[test]
    fn certificate_that_is_no_ca_vouches_for_itself_alone() {
        let ca = IsCa::Ca(BasicConstraints::Unconstrained);
        for (constraints, usage, is_ca) in [
            (IsCa::NoCa, KeyUsagePurpose::DigitalSignature, false),
            (IsCa::ExplicitNoCa, KeyUsagePurpose::DigitalSignature, false),
            (ca, KeyUsagePurpose::DigitalSignature, false),
            (ca, KeyUsagePurpose::KeyCertSign, true),
        ] {
            let mut params = CertificateParams::new(["gateway".to_owned()]).unwrap();
            (params.is_ca, params.key_usages) = (constraints, vec![usage]);
            let key = KeyPair::generate().unwrap();
            let given = params.self_signed(&key).unwrap().der().clone();
            let other = CertificateParams::new(["other".to_owned()]).unwrap();
            let other = other.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params, key)).unwrap();
            assert_eq!(judge(&given, other.der()).is_ok(), is_ca);
            judge(&given, &given).unwrap();
            let trust = ClientTrust::new(vec![given], Arc::new(default_provider())).unwrap();
            assert!(trust.client_auth_mandatory());
            assert_eq!(trust.root_hint_subjects().is_empty(), !is_ca);
        }
    }
}
