//! A certificate as far as we read it ourselves: when it is valid, what it is for, and its names as people write them.
//! Names, signatures and chains are webpki's to judge; what cannot be read here is never valid.

use crate::types::printable;
use rustls::{CertificateError, ExtendedKeyPurpose};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::net::{Ipv4Addr, Ipv6Addr};
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::time::Time;
use x509_cert::{Certificate, Version};

/// The longest name that is shown, in characters.
const SHOWN: usize = 120;

/// The end of a connection that a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A server's.
    Server,
    /// A client's.
    Client,
}

/// A certificate that was read; nothing about it has been verified.
pub(super) struct Parsed(Certificate);

impl Parsed {
    /// Reads a certificate of any X.509 version.
    ///
    /// # Errors
    /// It is not a certificate in DER (RFC 5280 section 4.1).
    pub(super) fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        Certificate::from_der(der).map(Self).map_err(|_malformed| CertificateError::BadEncoding)
    }

    /// The X.509 version, 1 to 3.
    pub(super) fn version(&self) -> u8 {
        match self.0.tbs_certificate().version() {
            Version::V1 => 1,
            Version::V2 => 2,
            Version::V3 => 3,
        }
    }

    /// The owner's name (RFC 4514), for people.
    pub(super) fn subject(&self) -> String {
        shown(self.0.tbs_certificate().subject())
    }

    /// The name of the CA that signed it, for people.
    pub(super) fn issuer(&self) -> String {
        shown(self.0.tbs_certificate().issuer())
    }

    /// True where owner and CA have the same name.
    pub(super) fn is_self_signed(&self) -> bool {
        self.0.tbs_certificate().subject() == self.0.tbs_certificate().issuer()
    }

    /// True where it names `other` as its CA.
    pub(super) fn is_issued_by(&self, other: &Self) -> bool {
        self.0.tbs_certificate().issuer() == other.0.tbs_certificate().subject()
    }

    /// True where its key may sign certificates (RFC 5280 sections 4.2.1.3 and 4.2.1.9). Version 1 has no field for that, and
    /// is taken as a CA's where it is trusted, as Go's TLS does.
    ///
    /// # Errors
    /// The extensions that say it cannot be read.
    pub(super) fn is_ca(&self) -> Result<bool, CertificateError> {
        let certificate = self.0.tbs_certificate();
        if certificate.version() == Version::V1 {
            return Ok(true);
        }
        let constraints = certificate.get_extension::<BasicConstraints>();
        let usage = certificate.get_extension::<KeyUsage>();
        let (Ok(constraints), Ok(usage)) = (constraints, usage) else { return Err(CertificateError::BadEncoding) };
        Ok(constraints.is_some_and(|(_, constraints)| constraints.ca)
            && usage.is_none_or(|(_, usage)| usage.key_cert_sign()))
    }

    /// Checks the time (RFC 5280 section 4.1.2.5); both ends are included.
    ///
    /// # Errors
    /// It is not valid yet, or not any more.
    pub(super) fn is_valid_at(&self, time: UnixTime) -> Result<(), CertificateError> {
        let validity = self.0.tbs_certificate().validity();
        let at = |time: Time| UnixTime::since_unix_epoch(time.to_unix_duration());
        let (not_before, not_after) = (at(validity.not_before), at(validity.not_after));
        if time < not_before {
            return Err(CertificateError::NotValidYetContext { time, not_before });
        }
        if time > not_after {
            return Err(CertificateError::ExpiredContext { time, not_after });
        }
        Ok(())
    }

    /// Checks the extended key usage (RFC 5280 section 4.2.1.12); without one a certificate is for everything.
    ///
    /// # Errors
    /// It is for other purposes alone.
    pub(super) fn is_for(&self, purpose: Purpose) -> Result<(), CertificateError> {
        let usage = self.0.tbs_certificate().get_extension::<ExtendedKeyUsage>();
        let Some((_, ExtendedKeyUsage(usage))) = usage.map_err(|_malformed| CertificateError::BadEncoding)? else {
            return Ok(());
        };
        let (wanted, required) = match purpose {
            Purpose::Server => (ID_KP_SERVER_AUTH, ExtendedKeyPurpose::ServerAuth),
            Purpose::Client => (ID_KP_CLIENT_AUTH, ExtendedKeyPurpose::ClientAuth),
        };
        if usage.iter().any(|purpose| [wanted, ANY_EXTENDED_KEY_USAGE].contains(purpose)) {
            return Ok(());
        }
        Err(CertificateError::InvalidPurposeContext { required, presented: usage.iter().map(purpose_of).collect() })
    }

    /// The DNS names and addresses that it is for, as they are written in a URL.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.0.tbs_certificate().get_extension::<SubjectAltName>();
        let Ok(Some((_, SubjectAltName(names)))) = names else { return Vec::new() };
        names.iter().filter_map(host_of).collect()
    }
}

fn purpose_of(id: &ObjectIdentifier) -> ExtendedKeyPurpose {
    match *id {
        ID_KP_SERVER_AUTH => ExtendedKeyPurpose::ServerAuth,
        ID_KP_CLIENT_AUTH => ExtendedKeyPurpose::ClientAuth,
        other => ExtendedKeyPurpose::Other(other.arcs().filter_map(|arc| usize::try_from(arc).ok()).collect()),
    }
}

fn host_of(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(printable(name.as_str(), SHOWN)),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
            four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).to_string())).ok()
        }
        _ => None,
    }
}

fn shown(name: &Name) -> String {
    let text = printable(&name.to_string(), SHOWN);
    if text.is_empty() { "without a subject".to_owned() } else { text }
}
