//! Verification of a server's certificate: a trusted CA signed it, or it is itself, byte for byte, a trusted certificate.
//!
//! The second rule is that of Go's TLS: `openssl req -x509` makes certificates that serve as CA and server at once, which
//! webpki refuses for a server. Names, validity and purpose of such a certificate are checked as for any other, and the
//! server always proves possession of the key.
//!
//! A certificate that is not a CA's is trusted by the second rule alone, as in Go: webpki does not check whether a trust
//! anchor may sign other certificates.

use super::certificate::Parsed;
use super::{PROVIDER, TlsBuildError};
use podgate_http_server::certificate::{CertificatePurpose, check_alone};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_native_certs::ErrorKind;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// The trusted certificates, at least one.
#[derive(Debug)]
pub(super) struct TrustAnchors {
    /// The CAs' certificates; may be empty.
    store: Arc<RootCertStore>,
    /// SHA-256 of every trusted certificate.
    exact: HashSet<[u8; 32]>,
    /// Subjects of the configured certificates; `None` for the machine's.
    named: Option<Vec<String>>,
    /// Subjects of the certificates that are not a CA's.
    leaves: Vec<String>,
}

impl TrustAnchors {
    /// Reads a PEM text.
    ///
    /// # Errors
    /// The text is not PEM, or holds no certificate or an unusable one.
    pub(super) fn of_pem(text: &str) -> Result<Self, TlsBuildError> {
        let (mut store, mut exact, mut named, mut leaves) =
            (RootCertStore::empty(), HashSet::new(), Vec::new(), Vec::new());
        for (index, certificate) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
            let certificate = certificate.map_err(TlsBuildError::CaPem)?;
            let unusable = |source| TlsBuildError::CaCertificate { number: index + 1, source };
            let parsed = Parsed::read(&certificate).map_err(|error| unusable(error.into()))?;
            exact.insert(fingerprint(&certificate));
            named.push(parsed.subject());
            if parsed.is_ca().map_err(|error| unusable(error.into()))? {
                store.add(certificate).map_err(unusable)?;
            } else {
                ParsedCertificate::try_from(&certificate).map_err(unusable)?;
                leaves.push(parsed.subject());
            }
        }
        if exact.is_empty() {
            return Err(TlsBuildError::CaEmpty);
        }
        Ok(Self { store: Arc::new(store), exact, named: Some(named), leaves })
    }

    /// Loads the machine's CA certificates, without the unusable ones.
    ///
    /// # Errors
    /// No usable certificate is installed.
    pub(super) fn of_machine() -> Result<Self, TlsBuildError> {
        let found = rustls_native_certs::load_native_certs();
        let reason = found.errors.into_iter().find_map(|error| match error.kind {
            ErrorKind::Io { inner, path } => Some(format!(" ({}: {inner})", path.display())),
            _ => None,
        });
        let (mut store, mut exact) = (RootCertStore::empty(), HashSet::new());
        for certificate in found.certs {
            match Parsed::read(&certificate).and_then(|parsed| parsed.is_ca()) {
                Ok(is_ca) => {
                    exact.insert(fingerprint(&certificate));
                    store.add_parsable_certificates(is_ca.then_some(certificate));
                }
                Err(_unusable) => {}
            }
        }
        if exact.is_empty() {
            return Err(TlsBuildError::Machine(reason.unwrap_or_default()));
        }
        Ok(Self { store: Arc::new(store), exact, named: None, leaves: Vec::new() })
    }

    fn hold(&self, certificate: &CertificateDer<'_>) -> bool {
        self.exact.contains(&fingerprint(certificate))
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// rustls' verifier with both rules.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    anchors: TrustAnchors,
    /// webpki's verifier; `None` if no CA is trusted.
    chains: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerVerifier {
    pub(super) fn new(anchors: TrustAnchors) -> Result<Self, TlsBuildError> {
        let chains = (!anchors.store.is_empty())
            .then(|| WebPkiServerVerifier::builder_with_provider(anchors.store.clone(), PROVIDER.clone()).build())
            .transpose()
            .map_err(|_no_anchors| TlsBuildError::CaEmpty)?;
        Ok(Self { chains, anchors })
    }

    /// Adds to webpki's error the certificate's subject, issuer and names.
    fn explained(&self, error: Error, shown: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Error {
        use CertificateError::{BadSignature, NotValidForNameContext, Other, UnknownIssuer};
        let (Error::InvalidCertificate(reason), Ok(parsed)) = (&error, Parsed::read(shown)) else { return error };
        match reason {
            NotValidForNameContext { expected, .. } => {
                NotValidForNameContext { expected: expected.clone(), presented: parsed.names() }.into()
            }
            UnknownIssuer => self.unknown(&parsed, others, Namesake::None),
            // Different CAs may share a name: that of a Kubernetes cluster is often "kubernetes".
            BadSignature => self.unknown(&parsed, others, Namesake::OtherKey),
            Other(OtherError(inner))
                if parsed.is_self_signed()
                    && inner.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity) =>
            {
                self.unknown(&parsed, others, Namesake::None)
            }
            _ => error,
        }
    }

    fn unknown(&self, shown: &Parsed, others: &[CertificateDer<'_>], namesake: Namesake) -> Error {
        let others: Vec<Parsed> = others.iter().filter_map(|other| Parsed::read(other).ok()).collect();
        let mut last = shown;
        // A chain has at most as many links as certificates were sent.
        for _ in 0..others.len() {
            let above = others.iter().find(|other| !last.is_self_signed() && last.is_issued_by(other));
            last = above.unwrap_or(last);
        }
        let signer = (!shown.is_self_signed()).then(|| last.issuer());
        let is_leaf = signer.as_ref().is_some_and(|signer| self.anchors.leaves.contains(signer));
        let unknown = UntrustedCertificate {
            subject: shown.subject(),
            signer,
            namesake: if is_leaf && namesake == Namesake::None { Namesake::Leaf } else { namesake },
            trusted: self.anchors.named.clone(),
        };
        CertificateError::Other(OtherError(Arc::new(unknown))).into()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = if self.anchors.hold(end_entity) {
            check_alone(end_entity, CertificatePurpose::Server, now)
                .and_then(|certificate| verify_server_name(&certificate, server_name))
                .map(|()| ServerCertVerified::assertion())
        } else if let Some(chains) = &self.chains {
            chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        } else {
            Err(CertificateError::UnknownIssuer.into())
        };
        verified.map_err(|error| self.explained(error, end_entity, intermediates))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

/// A trusted certificate whose subject is the issuer of a refused one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Namesake {
    None,
    /// A CA's certificate with another key.
    OtherKey,
    /// A certificate that is not a CA's.
    Leaf,
}

/// A server's certificate that is not trusted and has no trusted issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UntrustedCertificate {
    pub(super) subject: String,
    /// Issuer at the top of the chain that the server sent; `None` for a self-signed certificate.
    pub(super) signer: Option<String>,
    pub(super) namesake: Namesake,
    /// Subjects of the configured certificates; `None` if the machine's are trusted.
    pub(super) trusted: Option<Vec<String>>,
}

impl std::error::Error for UntrustedCertificate {}

impl fmt::Display for UntrustedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.signer {
            None => write!(f, "the server's certificate ({}) is self-signed and not a trusted one", self.subject),
            Some(signer) => {
                let of = match self.namesake {
                    Namesake::None => "by a CA that is not trusted",
                    Namesake::OtherKey => "by a CA with the trusted one's name, but another key",
                    Namesake::Leaf => "with a trusted certificate that is no CA's (basicConstraints CA:TRUE)",
                };
                write!(f, "the server's certificate ({}) is signed {of}: {signer}", self.subject)
            }
        }
    }
}
