//! Which clients are served where a client CA is given: those with a certificate of it, or with one that is itself, byte
//! for byte, in its text.
//!
//! The second rule is that of Go's TLS, and the gateway's: `openssl req -x509` makes certificates that are a CA's and a
//! client's in one, which webpki refuses as a client's. Validity and purpose hold as for any other, and the client always
//! proves that it has the key.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_CLIENT_AUTH};
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::time::Time;

/// Verifies clients.
#[derive(Debug)]
pub(super) struct Clients {
    given: Vec<CertificateDer<'static>>,
    chains: Arc<dyn ClientCertVerifier>,
}

impl Clients {
    /// Trusts these certificates, whose CAs are `roots`.
    pub(super) fn new(
        given: Vec<CertificateDer<'static>>,
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { given, chains })
    }
}

/// Checks a given certificate on its own: it can be read, is valid now, and a client's.
fn on_its_own(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    // Refuses critical extensions that nobody here knows.
    ParsedCertificate::try_from(certificate)?;
    let parsed = Certificate::from_der(certificate).map_err(|_malformed| CertificateError::BadEncoding)?;
    let parsed = parsed.tbs_certificate();
    let at = |time: Time| UnixTime::since_unix_epoch(time.to_unix_duration());
    let (not_before, not_after) = (at(parsed.validity().not_before), at(parsed.validity().not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    let usage = parsed.get_extension::<ExtendedKeyUsage>().map_err(|_malformed| CertificateError::BadEncoding)?;
    let allows =
        |usage: &ExtendedKeyUsage| usage.0.iter().any(|id| [ID_KP_CLIENT_AUTH, ANY_EXTENDED_KEY_USAGE].contains(id));
    // Without this extension a certificate is for everything (RFC 5280 section 4.2.1.12).
    if usage.is_none_or(|(_, usage)| allows(&usage)) { Ok(()) } else { Err(CertificateError::InvalidPurpose.into()) }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.chains.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.given.iter().any(|given| given == end_entity) {
            return on_its_own(end_entity, now).map(|()| ClientCertVerified::assertion());
        }
        self.chains.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
    use rustls::crypto::aws_lc_rs::default_provider;

    /// As `openssl req -x509` makes them: self-signed, and a CA's.
    fn made(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["gateway".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        params.self_signed(key).unwrap().der().clone()
    }

    fn judge(given: &CertificateDer<'static>, shown: &CertificateDer<'_>) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add(given.clone()).unwrap();
        let clients = Clients::new(vec![given.clone()], roots, Arc::new(default_provider())).unwrap();
        clients.verify_client_cert(shown, &[], UnixTime::now()).map(drop)
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
}
