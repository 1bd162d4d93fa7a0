//! The one way to a TLS client or server. Servers' certificates are always verified: by the given CA, else by the
//! machine's own. There is no switch against it, and one cryptographic provider (aws-lc-rs) for the whole process.

mod certificate;
mod material;
mod sentences;
mod trust;

pub use material::{End, Fault, Part, ca_faults, identity_faults};
pub use sentences::{Block, cause_of, explain, explain_handshake, hung_up};

use crate::types::Secret;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{ALL_KX_GROUPS, default_provider};
use rustls::server::NoServerSessionStorage;
use rustls::{CipherSuite, ClientConfig, NamedGroup, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sentences::{fault, pem_fault};
use std::sync::{Arc, LazyLock};
use trust::{Anchors, ClientTrust, ServerTrust};

#[cfg(test)]
mod tests;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(default_provider()));

/// Why a TLS client or server cannot be made. The texts name what to mend, never the material itself.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA text is not PEM.
    #[error("the CA certificate is not valid PEM: {}", pem_fault(.0))]
    CaPem(pem::Error),
    /// The CA text has no certificate in it.
    #[error("no certificate found in the CA (expected -----BEGIN CERTIFICATE-----)")]
    CaEmpty,
    /// One of the CA certificates cannot be read.
    #[error("CA certificate number {number} cannot be used: {}", fault(source))]
    CaCertificate {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The machine has no CA certificate that can be used; with the file that cannot be read.
    #[error("this machine has no CA certificates{0}; install the package ca-certificates, or give the CA in cacert")]
    Machine(String),
    /// The certificate's text is not PEM.
    #[error("the certificate is not valid PEM: {}", pem_fault(.0))]
    CertificatePem(pem::Error),
    /// The certificate's text has no certificate in it.
    #[error("no certificate found in the certificate (expected -----BEGIN CERTIFICATE-----)")]
    CertificateEmpty,
    /// The key's text is not PEM.
    #[error("the key is not valid PEM: {}", pem_fault(.0))]
    KeyPem(pem::Error),
    /// The key's text has no private key in it.
    #[error("no private key found in the key (expected -----BEGIN PRIVATE KEY-----)")]
    KeyMissing,
    /// The key is protected by a passphrase.
    #[error("the key is encrypted; a key without a passphrase is needed")]
    KeyEncrypted,
    /// The key is not the certificate's.
    #[error("the key does not match the certificate")]
    KeyMismatch,
    /// The certificate and key cannot be used for another reason.
    #[error("the certificate and key cannot be used: {}", fault(.0))]
    Identity(rustls::Error),
    /// The provider has none of the wanted protocol versions.
    #[error("TLS cannot be set up: {}", fault(.0))]
    Versions(rustls::Error),
}

/// Makes aws-lc-rs the process's cryptographic provider. Called first in `main`; later calls do nothing.
pub fn install() {
    // An error means that one is installed already, and there is no other than ours in the binary.
    drop(default_provider().install_default());
}

/// What of TLS is offered. Never less than TLS 1.2, never a suite or group that the provider does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Whether TLS 1.2 is taken beside 1.3.
    pub tls12: bool,
    /// The key exchange groups in order; empty is the provider's own choice.
    pub groups: Vec<NamedGroup>,
    /// The cipher suites in order; empty is the provider's own choice.
    pub suites: Vec<CipherSuite>,
}

/// Whether the provider has a key exchange group.
#[must_use]
pub fn has_group(group: NamedGroup) -> bool {
    ALL_KX_GROUPS.iter().any(|known| known.name() == group)
}

/// Whether the provider has a cipher suite.
#[must_use]
pub fn has_suite(suite: CipherSuite) -> bool {
    PROVIDER.cipher_suites.iter().any(|known| known.suite() == suite)
}

fn provider(choice: &Choice) -> Arc<CryptoProvider> {
    if choice.groups.is_empty() && choice.suites.is_empty() {
        return PROVIDER.clone();
    }
    let mut provider = CryptoProvider::clone(&PROVIDER);
    if !choice.groups.is_empty() {
        let find = |group: &NamedGroup| ALL_KX_GROUPS.iter().copied().find(|known| known.name() == *group);
        provider.kx_groups = choice.groups.iter().filter_map(find).collect();
    }
    if !choice.suites.is_empty() {
        let find = |suite: &CipherSuite| PROVIDER.cipher_suites.iter().copied().find(|known| known.suite() == *suite);
        provider.cipher_suites = choice.suites.iter().filter_map(find).collect();
    }
    Arc::new(provider)
}

/// A TLS client's configuration: what `choice` says. `ca` is PEM text, one certificate or more, of CAs or of the server
/// itself; without it the machine's own are trusted. `identity` is the client's certificate chain and its key, PEM texts.
///
/// # Errors
/// Says which of the texts is wrong, and how.
pub fn client_config(
    ca: Option<&str>,
    identity: Option<(&str, &Secret)>,
    choice: &Choice,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider(choice))
        .with_protocol_versions(versions(choice))
        .map_err(TlsError::Versions)?;
    let anchors = ca.map_or_else(Anchors::of_machine, Anchors::of_pem)?;
    // rustls calls every verifier but its own dangerous; this one adds a rule to that.
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(ServerTrust::new(anchors)?));
    let Some((certificate, key)) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    builder.with_client_auth_cert(chain(certificate)?, private_key(key)?).map_err(unfit)
}

/// A TLS server's configuration: what `choice` says, for HTTP/1.1. `identity` is its certificate chain
/// and key, PEM texts. With `client_ca` (PEM text) only clients that show a certificate of it, or one that is in it, are
/// served.
///
/// # Errors
/// Says which of the texts is wrong, and how.
pub fn server_config(
    identity: (&str, &Secret),
    client_ca: Option<&str>,
    choice: &Choice,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider(choice))
        .with_protocol_versions(versions(choice))
        .map_err(TlsError::Versions)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => builder.with_client_cert_verifier(Arc::new(ClientTrust::new(Anchors::of_pem(pem)?)?)),
    };
    let (certificate, key) = identity;
    let mut config = builder.with_single_cert(chain(certificate)?, private_key(key)?).map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if client_ca.is_some() {
        // A resumed session would take the client's certificate for what it was when the session began.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn versions(choice: &Choice) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    if choice.tls12 { &BOTH } else { &BOTH[..1] }
}

fn unfit(error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch,
        error => TlsError::Identity(error),
    }
}

fn chain(text: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(TlsError::CertificatePem)?;
    if chain.is_empty() { Err(TlsError::CertificateEmpty) } else { Ok(chain) }
}

fn private_key(text: &Secret) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = text.expose();
    // PKCS#8 says it in the marker, the older forms in a header.
    if text.contains("ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::KeyEncrypted);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::KeyMissing,
        error => TlsError::KeyPem(error),
    })
}
