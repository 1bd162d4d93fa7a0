//! Faults of the certificates and keys that a configuration names, found before anybody connects. Pure: the time is the
//! caller's. Each text is the end of a sentence about the key of the configuration, and never shows the material.

use super::certificate::{Parsed, Purpose};
use super::sentences::{date, fault};
use super::{PROVIDER, TlsError, chain, private_key, unfit};
use crate::types::Secret;
use rustls::CertificateError;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

/// The end of a connection that shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// The part of an identity that a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The certificate chain.
    Certificate,
    /// The private key.
    Key,
}

/// A fault of a certificate or key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The part of the pair that has the fault.
    pub part: Part,
    /// The end of a sentence.
    pub text: String,
    /// TLS does not start with it; otherwise only the other end may refuse it.
    pub fatal: bool,
}

impl Fault {
    fn fatal(part: Part, text: String) -> Self {
        Self { part, text, fatal: true }
    }

    fn warning(text: String) -> Self {
        Self { part: Part::Certificate, text, fatal: false }
    }
}

/// Faults of a certificate chain and its key, PEM texts: what cannot be used, a key of another certificate, and what the
/// other end would refuse at `now`.
#[must_use]
pub fn identity_faults(certificate: &str, key: &Secret, end: End, now: UnixTime) -> Vec<Fault> {
    let certificates = match chain(certificate) {
        Ok(certificates) => certificates,
        Err(error) => return vec![Fault::fatal(Part::Certificate, about(&error))],
    };
    let mut faults = Vec::new();
    for (index, der) in certificates.iter().enumerate() {
        match Parsed::read(der) {
            Ok(parsed) => faults.extend(certificate_faults(&parsed, index + 1, end, now)),
            Err(error) => faults.push(Fault::fatal(
                Part::Certificate,
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
            faults.push(Fault::fatal(Part::Key, about(&error)));
            return faults;
        }
    };
    if let Err(error) = CertifiedKey::from_der(certificates, key, &PROVIDER) {
        let part = match error {
            rustls::Error::InvalidCertificate(_) => Part::Certificate,
            _ => Part::Key,
        };
        faults.push(Fault::fatal(part, about(&unfit(error))));
    }
    faults
}

fn certificate_faults(parsed: &Parsed, number: usize, end: End, now: UnixTime) -> Vec<Fault> {
    let mut faults = Vec::new();
    // What is above the end of the chain is only passed on.
    if number == 1 {
        if parsed.version() != 3 {
            let way_out = match end {
                End::Client => "extendedKeyUsage=clientAuth",
                End::Server => "subjectAltName=DNS:NAME",
            };
            let text = format!(
                "is of X.509 version {}, and TLS takes only version 3; have it signed with an extension, such as \
                 {way_out} (openssl x509 -req -extfile FILE)",
                parsed.version()
            );
            return vec![Fault::fatal(Part::Certificate, text)];
        }
        let (purpose, other) = match end {
            End::Client => (Purpose::Client, "clients (extendedKeyUsage lacks clientAuth): the server may refuse it"),
            End::Server => (Purpose::Server, "servers (extendedKeyUsage lacks serverAuth): clients refuse it"),
        };
        if let Err(CertificateError::InvalidPurposeContext { .. }) = parsed.is_for(purpose) {
            faults.push(Fault::warning(format!("is not for {other}")));
        }
    }
    if let Some(text) = outside(parsed, now) {
        let which =
            if number == 1 { String::new() } else { format!("holds {} as number {number}, which ", parsed.subject()) };
        faults.push(Fault::warning(format!("{which}{text}")));
    }
    faults
}

/// Faults of a CA bundle that can be used all the same.
#[must_use]
pub fn ca_faults(pem: &str, now: UnixTime) -> Vec<Fault> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().collect::<Vec<_>>();
    let mut faults = Vec::new();
    let mut all = Vec::new();
    for (index, der) in certificates.iter().enumerate() {
        match Parsed::read(der).and_then(|parsed| Ok((parsed.is_ca()?, parsed))) {
            Ok(parsed) => all.push(parsed),
            Err(error) => faults.push(Fault::fatal(
                Part::Certificate,
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
    let texts = all.iter().filter_map(|(_, parsed)| Some((parsed, outside(parsed, now)?))).collect::<Vec<_>>();
    // In a bundle of many, one that has expired harms nobody.
    if let Some((parsed, text)) = texts.first().filter(|_| texts.len() == all.len()) {
        faults.push(Fault::warning(format!("holds {}, which {text}", parsed.subject())));
    }
    faults
}

/// That a certificate is not valid at a time.
fn outside(parsed: &Parsed, now: UnixTime) -> Option<String> {
    match parsed.is_valid_at(now) {
        Err(CertificateError::ExpiredContext { not_after, .. }) => Some(format!("expired on {}", date(not_after))),
        Err(CertificateError::NotValidYetContext { not_before, .. }) => {
            Some(format!("is not valid before {}; is the clock right?", date(not_before)))
        }
        _ => None,
    }
}

/// The fault without the name of the part, which the key of the configuration says.
fn about(error: &TlsError) -> String {
    match error {
        TlsError::KeyMismatch => "does not match the certificate".to_owned(),
        TlsError::KeyEncrypted => "is encrypted; it must be a private key without a passphrase".to_owned(),
        TlsError::Identity(source) => format!("cannot be used: {}", fault(source)),
        other => format!("cannot be used: {other}"),
    }
}
