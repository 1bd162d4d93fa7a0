//! The server's certificate, and who may connect: everyone, or clients with a certificate of one's own CA.

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// TLS 1.2 and 1.3 with a certificate, read and checked.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ServerConfig>);

/// Why certificates are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No PEM certificate.
    #[error("the certificate is not PEM")]
    Certificate(#[source] pem::Error),
    /// No PEM key.
    #[error("the key is not PEM")]
    Key(#[source] pem::Error),
    /// No PEM certificate of a CA.
    #[error("the client CA is not PEM")]
    ClientCa(#[source] pem::Error),
    /// A text without any certificate.
    #[error("{0} holds no certificate")]
    Empty(&'static str),
    /// A client CA that cannot be checked against.
    #[error("the client CA cannot be used")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// Certificate and key that do not go together, and the like.
    #[error("certificate and key cannot be used")]
    Config(#[source] rustls::Error),
}

impl Tls {
    /// Reads PEM files: certificate chain, key, and a CA if clients must have a certificate of it.
    ///
    /// # Errors
    /// Files that cannot be read, and what [`Tls::from_pem`] refuses.
    pub fn from_files(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, TlsError> {
        let read = |path: &Path| fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
        let client_ca = client_ca.map(read).transpose()?;
        Self::from_pem(&read(certificate)?, &read(key)?, client_ca.as_deref())
    }

    /// Takes PEM texts: certificate chain, key, and a CA if clients must have a certificate of it.
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
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(TlsError::Verifier)?)
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

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(TlsError::ClientCa)? {
        roots.add(certificate).map_err(TlsError::Config)?;
    }
    if roots.is_empty() { Err(TlsError::Empty("the client CA file")) } else { Ok(roots) }
}
