//! Which clients are served where a client CA is given: those with a certificate of it, or with one that is itself, byte
//! for byte, in its text.
//!
//! The second rule is that of Go's TLS, and the gateway's: `openssl req -x509` makes certificates that are a CA's and a
//! client's in one, which webpki refuses as a client's. Validity and purpose hold as for any other, and the client always
//! proves that it has the key. A certificate that is no CA's is trusted by this rule alone, as in Go: webpki does not ask
//! of a trusted certificate whether its key may sign others.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_CLIENT_AUTH};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use x509_cert::time::Time;
use x509_cert::{Certificate, Version};

/// Verifies clients.
#[derive(Debug)]
pub(super) struct Clients {
    given: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    /// None where no CA is given.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    /// The names of the CAs, where there are no other certificates: a client that chooses by them would keep back one that
    /// is given itself.
    hints: Vec<DistinguishedName>,
}

impl Clients {
    /// Trusts these certificates.
    ///
    /// # Errors
    /// The number, counted from 1, of one that cannot be used.
    pub(super) fn new(given: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Self, usize> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in given.iter().enumerate() {
            let usable = match is_ca(certificate) {
                Ok(true) => roots.add(certificate.clone()),
                Ok(false) => ParsedCertificate::try_from(certificate).map(drop),
                Err(error) => Err(error.into()),
            };
            usable.map_err(|_unusable| index + 1)?;
        }
        let hints = if roots.len() == given.len() { roots.subjects() } else { Vec::new() };
        // No CA, no chains.
        let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().ok();
        Ok(Self { given, provider, chains, hints })
    }
}

/// True where a certificate's key may sign others (RFC 5280 sections 4.2.1.3 and 4.2.1.9). Version 1 has no field for that,
/// and is a CA's where it is given, as for Go's TLS.
fn is_ca(certificate: &CertificateDer<'_>) -> Result<bool, CertificateError> {
    let malformed = |_| CertificateError::BadEncoding;
    let parsed = Certificate::from_der(certificate).map_err(malformed)?;
    let parsed = parsed.tbs_certificate();
    let constraints = parsed.get_extension::<BasicConstraints>().map_err(malformed)?;
    let usage = parsed.get_extension::<KeyUsage>().map_err(malformed)?;
    let may_sign = constraints.is_some_and(|(_, constraints)| constraints.ca)
        && usage.is_none_or(|(_, usage)| usage.key_cert_sign());
    Ok(may_sign || parsed.version() == Version::V1)
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
            return on_its_own(end_entity, now).map(|()| ClientCertVerified::assertion());
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
        let clients = Clients::new(vec![given.clone()], Arc::new(default_provider())).unwrap();
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
            let clients = Clients::new(vec![given], Arc::new(default_provider())).unwrap();
            assert!(clients.client_auth_mandatory());
            assert_eq!(clients.root_hint_subjects().is_empty(), !is_ca);
        }
    }
}
