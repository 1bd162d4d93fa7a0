//! The check of a user's certificate (OpenSSH's PROTOCOL.certkeys), by the rules of OpenSSH's server: pure. russh has verified
//! both signatures, the authority's below the certificate and the client's below its request.

use super::key_offer::{self, KeyOfferError, bits};
use crate::auth::IssuedCertificate;
use crate::policy::CertificateLimits;
use ipnet::IpNet;
use podgate_webhooks::wire;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};
use std::net::IpAddr;

/// `valid before` of a certificate that is valid forever.
const FOREVER: u64 = u64::MAX;

/// The extensions that OpenSSH's server knows (auth-options.c); none has a value.
const EXTENSIONS: [&str; 6] = [
    "no-touch-required",
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
];

/// The keys of `ssh.trustedUserCAKeys`; at least one.
#[derive(Debug)]
pub(super) struct TrustedAuthorities(Vec<KeyData>);

/// The facts about a login that a certificate is checked against.
#[derive(Debug, Clone, Copy)]
pub(super) struct CertificateUse<'a> {
    pub username: &'a str,
    /// The client's address; `None` if a proxy did not tell it.
    pub client: Option<IpAddr>,
    /// The time in seconds since 1970.
    pub now: u64,
    /// `ssh.requiredRSASize`, for the authority's key, too.
    pub required_rsa_size: usize,
}

/// The fault of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("the certificate is a host's, not a user's")]
    Host,
    #[error("the certificate's authority {0} is not in ssh.trustedUserCAKeys")]
    Authority(String),
    #[error("the certificate is signed by {0}, which is broken")]
    BrokenSignature(String),
    #[error("the authority's RSA key has less than {0} bits (ssh.requiredRSASize)")]
    ShortAuthorityKey(usize),
    #[error("the certificate is not valid yet")]
    TooEarly,
    #[error("the certificate has expired")]
    Expired,
    #[error("the certificate has no principals")]
    NoPrincipals,
    #[error("the login name is not among the certificate's principals")]
    Principal,
    #[error("the certificate has the critical option {0}, which is not known")]
    UnknownOption(String),
    #[error("the certificate's critical option {0} has a value that is not valid")]
    OptionValue(&'static str),
    #[error("the certificate's extension {0} has a value, and must have none")]
    ExtensionValue(&'static str),
    #[error("{0}, in the certificate")]
    KeyForm(#[from] KeyOfferError),
    #[error("the certificate may not be used from the client's address (source-address)")]
    SourceAddress,
    #[error(
        "the certificate may be used from certain addresses alone (source-address), and the proxy did not tell the client's"
    )]
    UnknownSource,
    /// russh 0.65.1 shows no callback the signature, which has the flag.
    #[error("the certificate requires the verification of its user (verify-required), which cannot be checked")]
    VerifyRequired,
}

impl TrustedAuthorities {
    /// Reads lines of `authorized_keys` without options. `None` if there are none; an error is the index of a line.
    pub(super) fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Option<Self>, usize> {
        let key = |(index, line)| {
            let key = PublicKey::from_openssh(line).ok().map(|key| key.key_data().clone());
            key.filter(|key| key_offer::check_form(key).is_ok()).ok_or(index)
        };
        let keys = lines.enumerate().map(key).collect::<Result<Vec<KeyData>, usize>>()?;
        Ok((!keys.is_empty()).then_some(Self(keys)))
    }

    /// Checks a certificate, and returns the limits that it sets. Whether it is revoked is not asked here.
    ///
    /// # Errors
    /// The first fault, in the order of OpenSSH's server.
    pub(super) fn check(
        &self,
        certificate: &Certificate,
        used: CertificateUse<'_>,
    ) -> Result<CertificateLimits, CertificateError> {
        if !certificate.cert_type().is_user() {
            return Err(CertificateError::Host);
        }
        key_offer::check_form(certificate.public_key())?;
        self.check_authority(certificate, used.required_rsa_size)?;
        let limits = read_options(certificate, used.client)?;
        if used.now < certificate.valid_after() {
            return Err(CertificateError::TooEarly);
        }
        // The end of "forever" is no point in time.
        if used.now >= certificate.valid_before() && certificate.valid_before() != FOREVER {
            return Err(CertificateError::Expired);
        }
        match certificate.valid_principals() {
            [] => Err(CertificateError::NoPrincipals),
            principals if principals.iter().any(|principal| principal == used.username) => Ok(limits),
            _ => Err(CertificateError::Principal),
        }
    }

    fn check_authority(&self, certificate: &Certificate, required_rsa_size: usize) -> Result<(), CertificateError> {
        let authority = certificate.signature_key();
        if !self.0.contains(authority) {
            return Err(CertificateError::Authority(authority.fingerprint(HashAlg::Sha256).to_string()));
        }
        let algorithm = certificate.signature().algorithm();
        if matches!(algorithm, Algorithm::Dsa | Algorithm::Rsa { hash: None }) {
            return Err(CertificateError::BrokenSignature(algorithm.to_string()));
        }
        match authority.rsa() {
            Some(rsa) if bits(rsa.n()) < required_rsa_size => {
                Err(CertificateError::ShortAuthorityKey(required_rsa_size))
            }
            _ => Ok(()),
        }
    }
}

/// Reads the critical options, all of which must be known, and the extensions, of which some are.
fn read_options(certificate: &Certificate, client: Option<IpAddr>) -> Result<CertificateLimits, CertificateError> {
    let mut force_command = None;
    for (name, value) in certificate.critical_options().iter() {
        match name.as_str() {
            "force-command" if value.is_empty() || value.contains('\0') => {
                return Err(CertificateError::OptionValue("force-command"));
            }
            "force-command" => force_command = Some(value.clone()),
            "source-address" => check_source(value, client)?,
            "verify-required" => return Err(CertificateError::VerifyRequired),
            other => return Err(CertificateError::UnknownOption(crate::types::printable(other, 64))),
        }
    }
    let has_value = |name: &&str| certificate.extensions().get(*name).is_some_and(|value| !value.is_empty());
    if let Some(name) = EXTENSIONS.into_iter().find(has_value) {
        return Err(CertificateError::ExtensionValue(name));
    }
    let permits = |name: &str| certificate.extensions().contains_key(name);
    Ok(CertificateLimits {
        force_command,
        terminal: permits("permit-pty"),
        port_forwarding: permits("permit-port-forwarding"),
        agent_forwarding: permits("permit-agent-forwarding"),
        x11_forwarding: permits("permit-X11-forwarding"),
    })
}

/// Checks the client's address against addresses and networks with commas between them. As in OpenSSH's server, one that is
/// not valid spoils them all.
fn check_source(list: &str, client: Option<IpAddr>) -> Result<(), CertificateError> {
    let network = |entry: &str| match entry.parse::<IpNet>() {
        Ok(network) => Some(network).filter(|network| network.addr() == network.network()),
        Err(_) => entry.parse::<IpAddr>().ok().map(IpNet::from),
    };
    let networks = list.split(',').map(network).collect::<Option<Vec<IpNet>>>();
    let networks = networks.ok_or(CertificateError::OptionValue("source-address"))?;
    let client = client.ok_or(CertificateError::UnknownSource)?.to_canonical();
    let is_within = networks.iter().any(|network| network.contains(&client));
    if is_within { Ok(()) } else { Err(CertificateError::SourceAddress) }
}

/// The certificate as webhooks are told of it.
pub(super) fn facts(certificate: &Certificate) -> Option<wire::Certificate> {
    let authority = certificate.signature_key();
    let options = |options: &russh::keys::ssh_key::certificate::OptionsMap| options.0.clone();
    Some(wire::Certificate {
        key_id: certificate.key_id().to_owned(),
        serial: certificate.serial().to_string(),
        principals: certificate.valid_principals().to_vec(),
        valid_after: certificate.valid_after(),
        valid_before: Some(certificate.valid_before()).filter(|before| *before != FOREVER),
        ca_public_key: key_offer::key_line(&PublicKey::new(authority.clone(), ""))?,
        ca_fingerprint: authority.fingerprint(HashAlg::Sha256).to_string(),
        critical_options: options(certificate.critical_options()),
        extensions: options(certificate.extensions()),
    })
}

/// The keys of a certificate in their wire encoding: the user's and the authority's.
pub(super) fn keys(certificate: &Certificate) -> Option<(Vec<u8>, Vec<u8>)> {
    let encode = |key: &KeyData| PublicKey::new(key.clone(), "").to_bytes().ok();
    Some((encode(certificate.public_key())?, encode(certificate.signature_key())?))
}

/// The parts of a certificate by which it can be revoked.
pub(super) fn issued<'a>(certificate: &'a Certificate, keys: &'a (Vec<u8>, Vec<u8>)) -> IssuedCertificate<'a> {
    IssuedCertificate { key: &keys.0, authority: &keys.1, serial: certificate.serial(), key_id: certificate.key_id() }
}

#[cfg(test)]
mod tests;
