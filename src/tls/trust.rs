//! Whom the other end of a TLS connection must be: somebody with a certificate of a trusted CA, or with one that is
//! itself, byte for byte, among the trusted ones.
//!
//! The second rule is that of Go's TLS: `openssl req -x509` makes certificates that are a CA's and a server's in one,
//! which webpki refuses as a server's. Names, validity and purpose of such a certificate hold as for any other. The
//! other end always proves that it has the certificate's key.

use super::certificate::{Parsed, Purpose};
use super::{PROVIDER, TlsError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_native_certs::ErrorKind;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// The certificates that are trusted; at least one.
#[derive(Debug)]
pub(super) struct Anchors {
    store: Arc<RootCertStore>,
    /// SHA-256 of each certificate: which ones they are, without holding them.
    exact: HashSet<[u8; 32]>,
    /// The owners' names, where the operator named the certificates.
    named: Option<Vec<String>>,
}

impl Anchors {
    /// The certificates of a PEM text.
    ///
    /// # Errors
    /// The text is not PEM, holds no certificate, or one that cannot be used.
    pub(super) fn of_pem(text: &str) -> Result<Self, TlsError> {
        let (mut store, mut exact, mut named) = (RootCertStore::empty(), HashSet::new(), Vec::new());
        for (index, certificate) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
            let certificate = certificate.map_err(TlsError::CaPem)?;
            exact.insert(fingerprint(&certificate));
            named.extend(Parsed::read(&certificate).map(|parsed| parsed.subject()));
            store.add(certificate).map_err(|source| TlsError::CaCertificate { number: index + 1, source })?;
        }
        if store.is_empty() {
            return Err(TlsError::CaEmpty);
        }
        Ok(Self { store: Arc::new(store), exact, named: Some(named) })
    }

    /// The machine's own, but for those that cannot be used.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn of_machine() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let why = found.errors.into_iter().find_map(|error| match error.kind {
            ErrorKind::Io { inner, path } => Some(format!(" ({}: {inner})", path.display())),
            _ => None,
        });
        let exact = found.certs.iter().map(fingerprint).collect();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            return Err(TlsError::Machine(why.unwrap_or_default()));
        }
        Ok(Self { store: Arc::new(store), exact, named: None })
    }

    fn hold(&self, certificate: &CertificateDer<'_>) -> bool {
        self.exact.contains(&fingerprint(certificate))
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// Checks a trusted certificate on its own, but for the name: it can be read, is valid now, and for this purpose.
fn on_its_own<'a>(
    certificate: &'a CertificateDer<'a>,
    purpose: Purpose,
    now: UnixTime,
) -> Result<ParsedCertificate<'a>, Error> {
    // Refuses versions without names, and critical extensions that nobody here knows.
    let checked = ParsedCertificate::try_from(certificate)?;
    let parsed = Parsed::read(certificate)?;
    parsed.is_valid_at(now)?;
    parsed.is_for(purpose)?;
    Ok(checked)
}

/// Verifies servers.
#[derive(Debug)]
pub(super) struct ServerTrust {
    anchors: Anchors,
    chains: Arc<WebPkiServerVerifier>,
}

impl ServerTrust {
    pub(super) fn new(anchors: Anchors) -> Result<Self, TlsError> {
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::clone(&anchors.store), PROVIDER.clone());
        Ok(Self { chains: chains.build().map_err(|_no_anchors| TlsError::CaEmpty)?, anchors })
    }

    /// Says of a refused certificate what webpki does not: whose it is, and its names as people write them.
    fn explained(&self, error: Error, shown: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Error {
        use CertificateError::{BadSignature, NotValidForNameContext, Other, UnknownIssuer};
        let (Error::InvalidCertificate(why), Ok(parsed)) = (&error, Parsed::read(shown)) else { return error };
        match why {
            NotValidForNameContext { expected, .. } => {
                NotValidForNameContext { expected: expected.clone(), presented: parsed.names() }.into()
            }
            UnknownIssuer => self.unknown(&parsed, others, false),
            // Many CAs have one name: that of every Kubernetes cluster is often "kubernetes".
            BadSignature => self.unknown(&parsed, others, true),
            Other(OtherError(inner))
                if parsed.is_self_signed()
                    && inner.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity) =>
            {
                self.unknown(&parsed, others, false)
            }
            _ => error,
        }
    }

    fn unknown(&self, shown: &Parsed, others: &[CertificateDer<'_>], namesake: bool) -> Error {
        let others: Vec<Parsed> = others.iter().filter_map(|other| Parsed::read(other).ok()).collect();
        let mut last = shown;
        // No chain is longer than what was sent.
        for _ in 0..others.len() {
            let above = others.iter().find(|other| !last.is_self_signed() && last.is_issued_by(other));
            last = above.unwrap_or(last);
        }
        let unknown = Unknown {
            subject: shown.subject(),
            signer: (!shown.is_self_signed()).then(|| last.issuer()),
            namesake,
            trusted: self.anchors.named.clone(),
        };
        CertificateError::Other(OtherError(Arc::new(unknown))).into()
    }
}

impl ServerCertVerifier for ServerTrust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = if self.anchors.hold(end_entity) {
            on_its_own(end_entity, Purpose::Server, now)
                .and_then(|certificate| verify_server_name(&certificate, server_name))
                .map(|()| ServerCertVerified::assertion())
        } else {
            self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        verified.map_err(|error| self.explained(error, end_entity, intermediates))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Verifies clients.
#[derive(Debug)]
pub(super) struct ClientTrust {
    anchors: Anchors,
    chains: Arc<dyn ClientCertVerifier>,
}

impl ClientTrust {
    pub(super) fn new(anchors: Anchors) -> Result<Self, TlsError> {
        let chains = WebPkiClientVerifier::builder_with_provider(Arc::clone(&anchors.store), PROVIDER.clone());
        Ok(Self { chains: chains.build().map_err(|_no_anchors| TlsError::CaEmpty)?, anchors })
    }
}

impl ClientCertVerifier for ClientTrust {
    fn offer_client_auth(&self) -> bool {
        self.chains.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.anchors.hold(end_entity) {
            return on_its_own(end_entity, Purpose::Client, now).map(|_checked| ClientCertVerified::assertion());
        }
        self.chains.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// A server's certificate that neither is trusted nor leads to a certificate that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown {
    /// Its owner.
    pub(super) subject: String,
    /// The CA at the end of what the server sent; none where the server signed its certificate itself.
    pub(super) signer: Option<String>,
    /// Whether a trusted certificate has that CA's name and another key.
    pub(super) namesake: bool,
    /// The owners of the configured certificates; none where the machine's are trusted.
    pub(super) trusted: Option<Vec<String>>,
}

impl std::error::Error for Unknown {}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.signer {
            Some(signer) if self.namesake => write!(
                f,
                "the server's certificate ({}) is signed by a CA with the trusted one's name, but another key: {signer}",
                self.subject
            ),
            Some(signer) => {
                write!(f, "the server's certificate ({}) is signed by a CA that is not trusted: {signer}", self.subject)
            }
            None => write!(f, "the server's certificate ({}) is self-signed and not a trusted one", self.subject),
        }
    }
}
