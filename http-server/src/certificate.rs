//! The checks of a certificate that do not need its chain: signing rights, validity period, purpose. A field that cannot be
//! read makes the certificate invalid. Chains, signatures and names are webpki's to check.

use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, ExtendedKeyPurpose};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use x509_cert::time::Time;
use x509_cert::{Certificate, TbsCertificate, Version};

/// The end of a TLS connection that a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificatePurpose {
    /// A TLS server (`serverAuth`).
    Server,
    /// A TLS client (`clientAuth`).
    Client,
}

/// A certificate that was read; nothing about it has been verified.
pub struct X509(Certificate);

impl X509 {
    /// Reads a certificate of any X.509 version.
    ///
    /// # Errors
    /// It is not a certificate in DER (RFC 5280 section 4.1).
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        Certificate::from_der(der).map(Self).map_err(|_malformed| CertificateError::BadEncoding)
    }

    /// The fields that the signature covers (`TBSCertificate`).
    #[must_use]
    pub fn fields(&self) -> &TbsCertificate {
        self.0.tbs_certificate()
    }

    /// True where its key may sign certificates (RFC 5280 sections 4.2.1.3 and 4.2.1.9). Version 1 has no field for that, and
    /// counts as a CA's where it is trusted, as in Go's TLS.
    ///
    /// # Errors
    /// The extensions that say it cannot be read.
    pub fn is_ca(&self) -> Result<bool, CertificateError> {
        if self.fields().version() == Version::V1 {
            return Ok(true);
        }
        let constraints = self.fields().get_extension::<BasicConstraints>();
        let usage = self.fields().get_extension::<KeyUsage>();
        let (Ok(constraints), Ok(usage)) = (constraints, usage) else { return Err(CertificateError::BadEncoding) };
        Ok(constraints.is_some_and(|(_, constraints)| constraints.ca)
            && usage.is_none_or(|(_, usage)| usage.key_cert_sign()))
    }

    /// Checks the validity period (RFC 5280 section 4.1.2.5); both ends are included.
    ///
    /// # Errors
    /// It is not valid yet, or has expired.
    pub fn is_valid_at(&self, time: UnixTime) -> Result<(), CertificateError> {
        let validity = self.fields().validity();
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

    /// Checks the extended key usage (RFC 5280 section 4.2.1.12); a certificate without one is for every purpose.
    ///
    /// # Errors
    /// It is for other purposes only.
    pub fn is_for(&self, purpose: CertificatePurpose) -> Result<(), CertificateError> {
        let usage = self.fields().get_extension::<ExtendedKeyUsage>();
        let Some((_, ExtendedKeyUsage(usage))) = usage.map_err(|_malformed| CertificateError::BadEncoding)? else {
            return Ok(());
        };
        let (wanted, required) = match purpose {
            CertificatePurpose::Server => (ID_KP_SERVER_AUTH, ExtendedKeyPurpose::ServerAuth),
            CertificatePurpose::Client => (ID_KP_CLIENT_AUTH, ExtendedKeyPurpose::ClientAuth),
        };
        if usage.iter().any(|purpose| [wanted, ANY_EXTENDED_KEY_USAGE].contains(purpose)) {
            return Ok(());
        }
        Err(CertificateError::InvalidPurposeContext { required, presented: usage.iter().map(purpose_of).collect() })
    }
}

/// Checks a trusted certificate without a chain: it can be read, is valid at `now`, and is for `purpose`. Its names are not
/// checked.
///
/// # Errors
/// The first check that failed. A critical extension that rustls does not know is one.
pub fn check_alone<'a>(
    der: &'a CertificateDer<'a>,
    purpose: CertificatePurpose,
    now: UnixTime,
) -> Result<ParsedCertificate<'a>, Error> {
    let checked = ParsedCertificate::try_from(der)?;
    let certificate = X509::read(der)?;
    certificate.is_valid_at(now)?;
    certificate.is_for(purpose)?;
    Ok(checked)
}

fn purpose_of(id: &ObjectIdentifier) -> ExtendedKeyPurpose {
    match *id {
        ID_KP_SERVER_AUTH => ExtendedKeyPurpose::ServerAuth,
        ID_KP_CLIENT_AUTH => ExtendedKeyPurpose::ClientAuth,
        other => ExtendedKeyPurpose::Other(other.arcs().filter_map(|arc| usize::try_from(arc).ok()).collect()),
    }
}
