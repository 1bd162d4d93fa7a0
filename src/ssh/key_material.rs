//! The keys and certificates of the section `ssh`, read as SSH's: host keys, host certificates, trusted authorities, and the
//! file of revoked keys.

use super::certificate::TrustedAuthorities;
use super::host_key_directory::{self, HostKeyFileError};
use super::key_offer::bits;
use super::revocation::{RevocationError, RevocationFile};
use crate::config::{HostKey, PublicText, SshConfig};
use crate::telemetry::{Log, codes};
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey, decode_secret_key};
use std::path::PathBuf;
use std::sync::Arc;

/// The error of a key or certificate that cannot be used; the origin is the place in the configuration that names it.
#[derive(Debug, thiserror::Error)]
pub enum KeyMaterialError {
    #[error("{origin}: not a usable private key (PEM, without a passphrase): {source}")]
    HostKey {
        origin: String,
        #[source]
        source: russh::keys::Error,
    },
    #[error("ssh.hostkeyDirectory: {0}")]
    HostKeyFile(#[source] Box<HostKeyFileError>),
    #[error("{origin}: not a certificate: {source}")]
    Certificate {
        origin: String,
        #[source]
        source: russh::keys::ssh_key::Error,
    },
    #[error("{origin}: a user's certificate, not a host's (it is made with ssh-keygen -h)")]
    UserCertificate { origin: String },
    #[error("{origin}: the certificate is for none of the host keys")]
    StrangeCertificate { origin: String },
    #[error("{origin}: not a public key")]
    Authority { origin: String },
    #[error("ssh.revokedKeys: the file {0}")]
    RevokedKeys(#[source] RevocationError),
}

impl KeyMaterialError {
    fn of_directory(error: HostKeyFileError) -> Self {
        Self::HostKeyFile(Box::new(error))
    }
}

/// Reads all of it and returns every error.
pub(crate) fn unusable_keys(ssh: &SshConfig) -> Vec<KeyMaterialError> {
    let host_keys = present_host_keys(ssh).into_iter().filter_map(Result::err).collect::<Vec<_>>();
    // A certificate for a key that cannot be used has no fault of its own.
    let certificates = if host_keys.is_empty() { host_certificates(ssh).err() } else { None };
    let rest = certificates.into_iter().chain(authorities(ssh).err()).chain(revocation(ssh).err());
    host_keys.into_iter().chain(rest).collect()
}

/// Finds keys and certificates that can be read and are of no use at the time `now`, in seconds since 1970: where the
/// configuration names each, and what is wrong with it.
pub(crate) fn useless_keys(ssh: &SshConfig, now: u64) -> Vec<(String, String)> {
    let required = ssh.required_rsa_size;
    let authorities = ssh.trusted_user_ca_keys.iter().filter_map(|PublicText { origin, text }| {
        let length = bits(PublicKey::from_openssh(text).ok()?.key_data().rsa()?.n());
        let short =
            || format!("has {length} bits, and ssh.requiredRSASize is {required}: its certificates are refused");
        (length < required).then(|| (origin.clone(), short()))
    });
    let certificates = ssh.host_certificates.iter().filter_map(|PublicText { origin, text }| {
        let certificate = Certificate::from_openssh(text).ok()?;
        let fault = match (certificate.valid_after(), certificate.valid_before()) {
            (after, _) if now < after => "is not valid yet",
            // The end of "forever" is no point in time.
            (_, before) if now >= before && before != u64::MAX => "has expired",
            _ => return None,
        };
        Some((origin.clone(), format!("the host certificate {fault}: clients do not accept it")))
    });
    authorities.chain(certificates).collect()
}

/// Finds the fault for which the directory of the host keys, or a key in it, could not be made. Makes nothing.
pub(crate) fn unusable_directory(ssh: &SshConfig) -> Option<KeyMaterialError> {
    host_key_directory::fault(ssh.host_key_directory.as_ref()?).map(KeyMaterialError::of_directory)
}

/// The files of the directory of host keys, which no other key of the configuration names.
pub(crate) fn host_key_files(ssh: &SshConfig) -> Vec<PathBuf> {
    ssh.host_key_directory.as_deref().into_iter().flat_map(host_key_directory::files).collect()
}

/// Makes the host keys that are not there yet where the configuration says so, and logs each.
///
/// # Errors
/// A key that cannot be made, and one that is there and cannot be used.
pub(crate) fn make_host_keys(ssh: &SshConfig, log: &Log) -> Result<(), KeyMaterialError> {
    let Some(directory) = &ssh.host_key_directory else { return Ok(()) };
    for (file, key) in host_key_directory::make_missing(directory).map_err(KeyMaterialError::of_directory)? {
        let (file, key) = (file.to_string_lossy(), fingerprint(&key));
        log.write(codes::SSH_HOST_KEY_MADE, "a host key was made", &[("file", &*file), ("hostKey", &key)]);
    }
    Ok(())
}

/// Formats a key's fingerprint and kind as `ssh-keygen -l` does: `SHA256:… (ED25519)`.
pub(super) fn fingerprint(key: &PrivateKey) -> String {
    let algorithm = key.algorithm();
    let kind = match &algorithm {
        Algorithm::Ed25519 => "ED25519",
        Algorithm::Ecdsa { .. } => "ECDSA",
        Algorithm::Rsa { .. } => "RSA",
        other => other.as_str(),
    };
    format!("{} ({kind})", key.fingerprint(HashAlg::Sha256))
}

/// The fingerprint and kind of each host key that can be used, as [`fingerprint`] formats them.
pub(crate) fn host_key_fingerprints(ssh: &SshConfig) -> Vec<String> {
    present_host_keys(ssh).into_iter().flatten().map(|key| fingerprint(&key)).collect()
}

/// Reads the host keys.
///
/// # Errors
/// A key that cannot be used, and a directory without keys.
pub(super) fn host_keys(ssh: &SshConfig) -> Result<Vec<PrivateKey>, KeyMaterialError> {
    let keys = present_host_keys(ssh).into_iter().collect::<Result<Vec<_>, _>>()?;
    match &ssh.host_key_directory {
        Some(directory) if keys.is_empty() => {
            Err(KeyMaterialError::of_directory(HostKeyFileError::Empty(directory.clone())))
        }
        _ => Ok(keys),
    }
}

/// Reads each host key of the configuration, and of its directory those that were made.
fn present_host_keys(ssh: &SshConfig) -> Vec<Result<PrivateKey, KeyMaterialError>> {
    let made = ssh.host_key_directory.as_deref().map(host_key_directory::existing).unwrap_or_default();
    let made = made.into_iter().map(|key| key.map_err(KeyMaterialError::of_directory));
    ssh.host_keys.iter().map(host_key).chain(made).collect()
}

fn host_key(key: &HostKey) -> Result<PrivateKey, KeyMaterialError> {
    decode_secret_key(key.pem.expose(), None)
        .map_err(|source| KeyMaterialError::HostKey { origin: key.origin.clone(), source })
}

/// Reads the host certificates, each of which is for one of the host keys.
pub(super) fn host_certificates(ssh: &SshConfig) -> Result<Vec<Certificate>, KeyMaterialError> {
    let keys = present_host_keys(ssh).into_iter().collect::<Result<Vec<PrivateKey>, _>>()?;
    let read = |PublicText { origin, text }: &PublicText| {
        let origin = origin.clone();
        let certificate = match Certificate::from_openssh(text) {
            Ok(certificate) => certificate,
            Err(source) => return Err(KeyMaterialError::Certificate { origin, source }),
        };
        if !certificate.cert_type().is_host() {
            return Err(KeyMaterialError::UserCertificate { origin });
        }
        let has_key = keys.iter().any(|key| key.public_key().key_data() == certificate.public_key());
        if has_key { Ok(certificate) } else { Err(KeyMaterialError::StrangeCertificate { origin }) }
    };
    ssh.host_certificates.iter().map(read).collect()
}

/// Reads the keys of the authorities whose certificates log users in; `None` if there are none.
pub(super) fn authorities(ssh: &SshConfig) -> Result<Option<TrustedAuthorities>, KeyMaterialError> {
    let keys = &ssh.trusted_user_ca_keys;
    TrustedAuthorities::read(keys.iter().map(|key| key.text.as_str())).map_err(|index| KeyMaterialError::Authority {
        origin: keys.get(index).map(|key| key.origin.clone()).unwrap_or_default(),
    })
}

/// Reads the file of revoked keys; `None` if there is none.
pub(super) fn revocation(ssh: &SshConfig) -> Result<Option<Arc<RevocationFile>>, KeyMaterialError> {
    let file = ssh.revoked_keys.clone().map(RevocationFile::new);
    if let Some(file) = &file {
        file.read().map_err(KeyMaterialError::RevokedKeys)?;
    }
    Ok(file.map(Arc::new))
}
