//! The fields of a certificate that the gateway reads itself: validity, purpose, and names as people write them. webpki
//! verifies names, signatures and chains; a certificate that cannot be read here is never valid.

use crate::types::printable;
use podgate_http_server::certificate::X509;
use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use x509_cert::Version;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

/// Limit of a displayed name, in characters.
const MAX_NAME: usize = 120;

/// A decoded certificate; nothing about it has been verified.
pub(super) struct Parsed(X509);

impl Deref for Parsed {
    type Target = X509;

    fn deref(&self) -> &X509 {
        &self.0
    }
}

impl Parsed {
    /// Reads a certificate of any X.509 version.
    ///
    /// # Errors
    /// The bytes are not a certificate in DER (RFC 5280 section 4.1).
    pub(super) fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        X509::read(der).map(Self)
    }

    /// The X.509 version, 1 to 3.
    pub(super) fn version(&self) -> u8 {
        match self.fields().version() {
            Version::V1 => 1,
            Version::V2 => 2,
            Version::V3 => 3,
        }
    }

    /// The subject's name in the form of RFC 4514, for display.
    pub(super) fn subject(&self) -> String {
        display_name(self.fields().subject())
    }

    /// The issuer's name in the form of RFC 4514, for display.
    pub(super) fn issuer(&self) -> String {
        display_name(self.fields().issuer())
    }

    /// True if subject and issuer have the same name; the signature is not checked.
    pub(super) fn is_self_signed(&self) -> bool {
        self.fields().subject() == self.fields().issuer()
    }

    /// True if the issuer's name is the subject of `other`; the signature is not checked.
    pub(super) fn is_issued_by(&self, other: &Self) -> bool {
        self.fields().issuer() == other.fields().subject()
    }

    /// DNS names and IP addresses of subjectAltName, as they are written in a URL.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.fields().get_extension::<SubjectAltName>();
        let Ok(Some((_, SubjectAltName(names)))) = names else { return Vec::new() };
        names.iter().filter_map(host_of).collect()
    }
}

fn host_of(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(printable(name.as_str(), MAX_NAME)),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
            four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).to_string())).ok()
        }
        _ => None,
    }
}

fn display_name(name: &Name) -> String {
    let text = printable(&name.to_string(), MAX_NAME);
    if text.is_empty() { "without a subject".to_owned() } else { text }
}
