//! Faults of configured certificates and keys, found before any connection. Pure: the caller passes the time. Each text
//! continues a sentence that begins with the configuration's key, and never shows the contents of a certificate or key.

use super::certificate::Parsed;
use super::messages::{date, fault};
use super::{PROVIDER, TlsBuildError, chain, identity_error, private_key};
use crate::types::Secret;
use podgate_http_server::certificate::CertificatePurpose;
use rustls::CertificateError;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

/// The side of a TLS connection that presents a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsRole {
    Client,
    Server,
}

/// One half of a certificate chain and its private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdentityPart {
    Certificate,
    Key,
}

/// A finding about a certificate or key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub part: IdentityPart,
    /// Continuation of a sentence that begins with the key of the configuration.
    pub text: String,
    /// True if TLS cannot start; otherwise only the peer may refuse the certificate.
    pub fatal: bool,
}

impl Fault {
    fn fatal(part: IdentityPart, text: String) -> Self {
        Self { part, text, fatal: true }
    }

    fn warning(text: String) -> Self {
        Self { part: IdentityPart::Certificate, text, fatal: false }
    }
}

/// Faults of a certificate chain and its key (both PEM): unusable parts, a key of another certificate, and everything that
/// the peer would refuse at `now`.
pub(crate) fn identity_faults(certificate: &str, key: &Secret, role: TlsRole, now: UnixTime) -> Vec<Fault> {
    let certificates = match chain(certificate) {
        Ok(certificates) => certificates,
        Err(error) => return vec![Fault::fatal(IdentityPart::Certificate, key_error_text(&error))],
    };
    let mut faults = Vec::new();
    for (index, der) in certificates.iter().enumerate() {
        match Parsed::read(der) {
            Ok(parsed) => faults.extend(certificate_faults(&parsed, index + 1, role, now)),
            Err(error) => faults.push(Fault::fatal(
                IdentityPart::Certificate,
                format!("cannot be used: its certificate number {}: {}", index + 1, fault(&error.into())),
            )),
        }
    }
    if faults.iter().any(|fault| fault.fatal) {
        return faults;
    }
    let key = match private_key(key) {
        Ok(key) => key,
        Err(error) => {
            faults.push(Fault::fatal(IdentityPart::Key, key_error_text(&error)));
            return faults;
        }
    };
    if let Err(error) = CertifiedKey::from_der(certificates, key, &PROVIDER) {
        let part = match error {
            rustls::Error::InvalidCertificate(_) => IdentityPart::Certificate,
            _ => IdentityPart::Key,
        };
        faults.push(Fault::fatal(part, key_error_text(&identity_error(error))));
    }
    faults
}

fn certificate_faults(parsed: &Parsed, number: usize, role: TlsRole, now: UnixTime) -> Vec<Fault> {
    let mut faults = Vec::new();
    // Version and purpose matter for the end entity alone; the other certificates are only passed on.
    if number == 1 {
        if parsed.version() != 3 {
            let remedy = match role {
                TlsRole::Client => "extendedKeyUsage=clientAuth",
                TlsRole::Server => "subjectAltName=DNS:NAME",
            };
            let text = format!(
                "is of X.509 version {}, and TLS takes only version 3; have it signed with an extension, such as \
                 {remedy} (openssl x509 -req -extfile FILE)",
                parsed.version()
            );
            return vec![Fault::fatal(IdentityPart::Certificate, text)];
        }
        let (purpose, other) = match role {
            TlsRole::Client => {
                (CertificatePurpose::Client, "clients (extendedKeyUsage lacks clientAuth): the server may refuse it")
            }
            TlsRole::Server => {
                (CertificatePurpose::Server, "servers (extendedKeyUsage lacks serverAuth): clients refuse it")
            }
        };
        if let Err(CertificateError::InvalidPurposeContext { .. }) = parsed.is_for(purpose) {
            faults.push(Fault::warning(format!("is not for {other}")));
        }
    }
    if let Some(text) = outside_validity(parsed, now) {
        let which =
            if number == 1 { String::new() } else { format!("holds {} as number {number}, which ", parsed.subject()) };
        faults.push(Fault::warning(format!("{which}{text}")));
    }
    faults
}

/// Faults of a CA bundle (PEM): unusable certificates, and warnings about a bundle that can be used all the same.
pub(crate) fn ca_faults(pem: &str, now: UnixTime) -> Vec<Fault> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().collect::<Vec<_>>();
    let mut faults = Vec::new();
    let mut all = Vec::new();
    for (index, der) in certificates.iter().enumerate() {
        match Parsed::read(der).and_then(|parsed| Ok((parsed.is_ca()?, parsed))) {
            Ok(parsed) => all.push(parsed),
            Err(error) => faults.push(Fault::fatal(
                IdentityPart::Certificate,
                format!("cannot be used: its certificate number {}: {}", index + 1, fault(&error.into())),
            )),
        }
    }
    let leaf = all.iter().map(|(_, parsed)| parsed).find(|parsed| !parsed.is_self_signed());
    if let Some(leaf) = leaf.filter(|_| !all.iter().any(|(is_ca, _)| *is_ca)) {
        faults.push(Fault::warning(format!(
            "holds no CA's certificate, so only the very certificate {} is trusted, until it is renewed; the CA that signed \
             it is {}",
            leaf.subject(),
            leaf.issuer()
        )));
    }
    let texts = all.iter().filter_map(|(_, parsed)| Some((parsed, outside_validity(parsed, now)?))).collect::<Vec<_>>();
    // An expired certificate does no harm while another one in the bundle is valid.
    if let Some((parsed, text)) = texts.first().filter(|_| texts.len() == all.len()) {
        faults.push(Fault::warning(format!("holds {}, which {text}", parsed.subject())));
    }
    faults
}

/// Text for a certificate that is not valid at `now`.
fn outside_validity(parsed: &Parsed, now: UnixTime) -> Option<String> {
    match parsed.is_valid_at(now) {
        Err(CertificateError::ExpiredContext { not_after, .. }) => Some(format!("expired on {}", date(not_after))),
        Err(CertificateError::NotValidYetContext { not_before, .. }) => {
            Some(format!("is not valid before {}; is the clock right?", date(not_before)))
        }
        _ => None,
    }
}

/// The error's text without the name of the part, which the configuration's key already gives.
fn key_error_text(error: &TlsBuildError) -> String {
    match error {
        TlsBuildError::KeyMismatch => "does not match the certificate".to_owned(),
        TlsBuildError::KeyEncrypted => "is encrypted; it must be a private key without a passphrase".to_owned(),
        TlsBuildError::Identity(source) => format!("cannot be used: {}", fault(source)),
        other => format!("cannot be used: {other}"),
    }
}
