//! The server's certificate, and who may connect: everyone, or clients with a certificate of one's own CA.

use crate::text;
use podgate_http_server::ClientTrust;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::NoServerSessionStorage;
use rustls::{Error, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// TLS 1.2 and 1.3 with a certificate, read and checked.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ServerConfig>);

/// Error of reading or using certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The certificate is not PEM.
    #[error("the certificate is not PEM: {}", damage(.0))]
    Certificate(pem::Error),
    /// The key is not PEM, or encrypted.
    #[error("the key is not PEM: {}", damage(.0))]
    Key(pem::Error),
    /// No PEM certificate of a CA.
    #[error("the client CA is not PEM: {}", damage(.0))]
    ClientCa(pem::Error),
    /// A text without any certificate.
    #[error("{0} holds no certificate")]
    Empty(&'static str),
    /// A client CA that cannot be checked against.
    #[error("certificate number {0} of the client CA cannot be used: it is damaged, or no X.509 certificate")]
    Verifier(usize),
    /// Certificate and key that do not go together, and the like.
    #[error("certificate and key cannot be used: {}", unfit(.0))]
    Config(Error),
}

/// Fault of a PEM text; nothing of the text itself.
fn damage(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a line -----END …----- is missing",
        pem::Error::IllegalSectionStart { .. } => "a line that starts with -----BEGIN is damaged",
        pem::Error::Base64Decode(_) => "its base64 is damaged",
        pem::Error::NoItemsFound => "it holds no private key, or one with a passphrase",
        _ => "it is damaged",
    }
}

/// Reason why rustls does not serve under a certificate and key.
fn unfit(error: &Error) -> &'static str {
    match error {
        Error::InconsistentKeys(_) => "the key does not match the certificate",
        Error::InvalidCertificate(_) => "the certificate is damaged, or no X.509 certificate",
        Error::General(_) => "the key is damaged, or not of RSA, ECDSA (P-256, P-384, P-521) or Ed25519",
        _ => "TLS does not accept them",
    }
}

impl Tls {
    /// Reads PEM files: certificate chain, key, and a CA if clients must have a certificate of it.
    ///
    /// # Errors
    /// Files that cannot be read, and what [`Tls::from_pem`] refuses.
    pub fn from_files(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, TlsError> {
        let read =
            |path: &Path| text::read_regular(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
        let client_ca = client_ca.map(read).transpose()?;
        Self::from_pem(read(certificate)?.as_bytes(), read(key)?.as_bytes(), client_ca.as_deref().map(str::as_bytes))
    }

    /// Takes PEM texts: certificate chain, key, and a CA if clients must have a certificate of it (or in it).
    ///
    /// # Errors
    /// What is not PEM, holds no certificate, or does not go together.
    pub fn from_pem(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let chain = certificates(certificate).map_err(TlsError::Certificate)?;
        if chain.is_empty() {
            return Err(TlsError::Empty("the certificate file"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Config)?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let given = certificates(pem).map_err(TlsError::ClientCa)?;
                if given.is_empty() {
                    return Err(TlsError::Empty("the client CA file"));
                }
                let trust =
                    ClientTrust::new(given, provider).map_err(|unusable| TlsError::Verifier(unusable.number))?;
                builder.with_client_cert_verifier(Arc::new(trust))
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Config)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if client_ca.is_some() {
            // A resumed session would take the client's certificate for what it was when the session began.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(self) -> Arc<ServerConfig> {
        self.0
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}
