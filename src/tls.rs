//! Configurations of every TLS client and server in the gateway. Servers' certificates are always verified, by the given
//! CA or else by the machine's CAs; nothing switches this off. The whole process uses one cryptographic provider
//! (aws-lc-rs).

mod certificate;
mod faults;
mod messages;
mod trial;
mod trust;

pub(crate) use faults::{Fault, IdentityPart, TlsRole, ca_faults, identity_faults};
pub(crate) use messages::{ConfigBlock, cause_of, closed_in_handshake, explain, explain_handshake};
pub(crate) use trial::{TlsTrial, Trial, TrialPart, TrialStep};

use crate::types::Secret;
use messages::{fault, pem_fault};
use podgate_http_server::ClientTrust;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{ALL_KX_GROUPS, default_provider};
use rustls::server::NoServerSessionStorage;
use rustls::{CipherSuite, ClientConfig, NamedGroup, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::{Arc, LazyLock};
use trust::{ServerVerifier, TrustAnchors};

#[cfg(test)]
mod tests;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(default_provider()));

/// A fault that prevents a TLS client or server. The texts name the input to correct and never show its contents.
#[derive(Debug, thiserror::Error)]
pub enum TlsBuildError {
    #[error("the CA certificate is not valid PEM: {}", pem_fault(.0))]
    CaPem(pem::Error),
    #[error("no certificate found in the CA (expected -----BEGIN CERTIFICATE-----)")]
    CaEmpty,
    #[error("CA certificate number {number} cannot be used: {}", fault(source))]
    CaCertificate {
        /// Position in the PEM text, from 1.
        number: usize,
        source: rustls::Error,
    },
    /// The machine has no usable CA certificate. Holds the first file that could not be read, in parentheses, or nothing.
    #[error("this machine has no CA certificates{0}; install the package ca-certificates, or give the CA in cacert")]
    Machine(String),
    #[error("the certificate is not valid PEM: {}", pem_fault(.0))]
    CertificatePem(pem::Error),
    #[error("no certificate found in the certificate (expected -----BEGIN CERTIFICATE-----)")]
    CertificateEmpty,
    #[error("the key is not valid PEM: {}", pem_fault(.0))]
    KeyPem(pem::Error),
    #[error("no private key found in the key (expected -----BEGIN PRIVATE KEY-----)")]
    KeyMissing,
    #[error("the key is encrypted; a key without a passphrase is needed")]
    KeyEncrypted,
    #[error("the key does not match the certificate")]
    KeyMismatch,
    #[error("the certificate and key cannot be used: {}", fault(.0))]
    Identity(rustls::Error),
    /// The provider supports none of the requested protocol versions.
    #[error("TLS cannot be set up: {}", fault(.0))]
    Versions(rustls::Error),
}

/// Makes aws-lc-rs the process's cryptographic provider. `main` calls it first; later calls do nothing.
pub fn install() {
    // An error means that a provider is installed already, and the binary contains only this one.
    drop(default_provider().install_default());
}

/// The TLS versions and algorithms that are offered: never below TLS 1.2, never a suite or group that the provider lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// True to offer TLS 1.2 beside 1.3.
    pub tls12: bool,
    /// Key exchange groups in order of preference; empty means the provider's defaults.
    pub groups: Vec<NamedGroup>,
    /// Cipher suites in order of preference; empty means the provider's defaults.
    pub suites: Vec<CipherSuite>,
}

pub(crate) fn has_group(group: NamedGroup) -> bool {
    ALL_KX_GROUPS.iter().any(|known| known.name() == group)
}

pub(crate) fn has_suite(suite: CipherSuite) -> bool {
    PROVIDER.cipher_suites.iter().any(|known| known.suite() == suite)
}

fn provider(options: &TlsOptions) -> Arc<CryptoProvider> {
    if options.groups.is_empty() && options.suites.is_empty() {
        return PROVIDER.clone();
    }
    let mut provider = CryptoProvider::clone(&PROVIDER);
    if !options.groups.is_empty() {
        let find = |group: &NamedGroup| ALL_KX_GROUPS.iter().copied().find(|known| known.name() == *group);
        provider.kx_groups = options.groups.iter().filter_map(find).collect();
    }
    if !options.suites.is_empty() {
        let find = |suite: &CipherSuite| PROVIDER.cipher_suites.iter().copied().find(|known| known.suite() == *suite);
        provider.cipher_suites = options.suites.iter().filter_map(find).collect();
    }
    Arc::new(provider)
}

/// Builds a TLS client's configuration. `ca` is PEM text with one or more certificates, of CAs or of the server itself;
/// without it the machine's CAs are trusted. `identity` is the client's certificate chain and key, both PEM.
///
/// # Errors
/// Names the text that is wrong and its fault.
pub(crate) fn client_config(
    ca: Option<&str>,
    identity: Option<(&str, &Secret)>,
    options: &TlsOptions,
) -> Result<ClientConfig, TlsBuildError> {
    let builder = ClientConfig::builder_with_provider(provider(options))
        .with_protocol_versions(versions(options))
        .map_err(TlsBuildError::Versions)?;
    let anchors = ca.map_or_else(TrustAnchors::of_machine, TrustAnchors::of_pem)?;
    // rustls calls any custom verifier dangerous; this one extends the standard verification by one rule.
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(ServerVerifier::new(anchors)?));
    let Some((certificate, key)) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    builder.with_client_auth_cert(chain(certificate)?, private_key(key)?).map_err(identity_error)
}

/// Builds a TLS server's configuration for HTTP/1.1. `identity` is its certificate chain and key, both PEM. `client_ca`
/// (PEM) admits only clients with a certificate that it signed or contains.
///
/// # Errors
/// Names the text that is wrong and its fault.
pub(crate) fn server_config(
    identity: (&str, &Secret),
    client_ca: Option<&str>,
    options: &TlsOptions,
) -> Result<ServerConfig, TlsBuildError> {
    let builder = ServerConfig::builder_with_provider(provider(options))
        .with_protocol_versions(versions(options))
        .map_err(TlsBuildError::Versions)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => builder.with_client_cert_verifier(Arc::new(client_trust(pem)?)),
    };
    let (certificate, key) = identity;
    let mut config = builder.with_single_cert(chain(certificate)?, private_key(key)?).map_err(identity_error)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if client_ca.is_some() {
        // A resumed session would not verify the client's certificate again, which may have expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn client_trust(pem: &str) -> Result<ClientTrust, TlsBuildError> {
    let given =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(TlsBuildError::CaPem)?;
    if given.is_empty() {
        return Err(TlsBuildError::CaEmpty);
    }
    ClientTrust::new(given, PROVIDER.clone())
        .map_err(|unusable| TlsBuildError::CaCertificate { number: unusable.number, source: unusable.source })
}

fn versions(options: &TlsOptions) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    if options.tls12 { &BOTH } else { &BOTH[..1] }
}

fn identity_error(error: rustls::Error) -> TlsBuildError {
    match error {
        rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => TlsBuildError::KeyMismatch,
        error => TlsBuildError::Identity(error),
    }
}

fn chain(text: &str) -> Result<Vec<CertificateDer<'static>>, TlsBuildError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(TlsBuildError::CertificatePem)?;
    if chain.is_empty() { Err(TlsBuildError::CertificateEmpty) } else { Ok(chain) }
}

fn private_key(text: &Secret) -> Result<PrivateKeyDer<'static>, TlsBuildError> {
    let text = text.expose();
    // PKCS#8 marks encryption in the PEM label, the older forms in a header.
    if text.contains("ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsBuildError::KeyEncrypted);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsBuildError::KeyMissing,
        error => TlsBuildError::KeyPem(error),
    })
}
