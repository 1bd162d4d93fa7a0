//! The keys and certificates of the section `ssh`, read as SSH's: host keys, host certificates, trusted authorities, and the
//! file of revoked keys.

use super::certificate::TrustedAuthorities;
use super::revocation::{RevocationError, RevocationFile};
use crate::config::{HostKey, PublicText, SshConfig};
use russh::keys::{Certificate, PrivateKey, decode_secret_key};
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
    #[error("{origin}: not a certificate: {source}")]
    Certificate {
        origin: String,
        #[source]
        source: russh::keys::ssh_key::Error,
    },
    #[error("{origin}: a user's certificate, not a host's (it is made with ssh-keygen -h)")]
    UserCertificate { origin: String },
    #[error("{origin}: the certificate is for none of ssh.hostkeys")]
    StrangeCertificate { origin: String },
    #[error("{origin}: not a public key")]
    Authority { origin: String },
    #[error("ssh.revokedKeys: the file {0}")]
    RevokedKeys(#[source] RevocationError),
}

/// Reads all of it and returns every error.
pub(crate) fn unusable_keys(ssh: &SshConfig) -> Vec<KeyMaterialError> {
    let host_keys = ssh.host_keys.iter().filter_map(|key| host_key(key).err()).collect::<Vec<_>>();
    // A certificate for a key that cannot be used has no fault of its own.
    let certificates = if host_keys.is_empty() { host_certificates(ssh).err() } else { None };
    let rest = certificates.into_iter().chain(authorities(ssh).err()).chain(revocation(ssh).err());
    host_keys.into_iter().chain(rest).collect()
}

/// Reads a host key.
pub(super) fn host_key(key: &HostKey) -> Result<PrivateKey, KeyMaterialError> {
    decode_secret_key(key.pem.expose(), None)
        .map_err(|source| KeyMaterialError::HostKey { origin: key.origin.clone(), source })
}

/// Reads the host certificates, each of which is for one of the host keys.
pub(super) fn host_certificates(ssh: &SshConfig) -> Result<Vec<Certificate>, KeyMaterialError> {
    let keys = ssh.host_keys.iter().map(host_key).collect::<Result<Vec<PrivateKey>, _>>()?;
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
