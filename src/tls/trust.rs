//! Whom the other end of a TLS connection must be: somebody with a certificate of a trusted CA, or with one that is
//! itself, byte for byte, among the trusted ones.
//!
//! The second rule is that of Go's TLS: `openssl req -x509` makes certificates that are a CA's and a server's in one,
//! which webpki refuses as a server's. Names, validity and purpose of such a certificate hold as for any other. The
//! other end always proves that it has the certificate's key.
//!
//! A certificate that is no CA's is trusted by the second rule alone, as in Go: webpki does not ask of a trusted
//! certificate whether its key may sign others.

use super::certificate::{Parsed, Purpose};
use super::{PROVIDER, TlsError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
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
    /// Those that are CAs'; perhaps none.
    store: Arc<RootCertStore>,
    /// SHA-256 of each certificate: which ones they are, without holding them.
    exact: HashSet<[u8; 32]>,
    /// The owners' names, where the operator named the certificates.
    named: Option<Vec<String>>,
    /// The owners' names of those that are no CA's.
    leaves: Vec<String>,
}

impl Anchors {
    /// The certificates of a PEM text.
    ///
    /// # Errors
    /// The text is not PEM, holds no certificate, or one that cannot be used.
    pub(super) fn of_pem(text: &str) -> Result<Self, TlsError> {
        let (mut store, mut exact, mut named, mut leaves) =
            (RootCertStore::empty(), HashSet::new(), Vec::new(), Vec::new());
        for (index, certificate) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
            let certificate = certificate.map_err(TlsError::CaPem)?;
            let unusable = |source| TlsError::CaCertificate { number: index + 1, source };
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
            return Err(TlsError::CaEmpty);
        }
        Ok(Self { store: Arc::new(store), exact, named: Some(named), leaves })
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
            return Err(TlsError::Machine(why.unwrap_or_default()));
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
    /// None where no CA is trusted.
    chains: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerTrust {
    pub(super) fn new(anchors: Anchors) -> Result<Self, TlsError> {
        let chains = (!anchors.store.is_empty())
            .then(|| WebPkiServerVerifier::builder_with_provider(anchors.store.clone(), PROVIDER.clone()).build())
            .transpose()
            .map_err(|_no_anchors| TlsError::CaEmpty)?;
        Ok(Self { chains, anchors })
    }

    /// Says of a refused certificate what webpki does not: whose it is, and its names as people write them.
    fn explained(&self, error: Error, shown: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Error {
        use CertificateError::{BadSignature, NotValidForNameContext, Other, UnknownIssuer};
        let (Error::InvalidCertificate(why), Ok(parsed)) = (&error, Parsed::read(shown)) else { return error };
        match why {
            NotValidForNameContext { expected, .. } => {
                NotValidForNameContext { expected: expected.clone(), presented: parsed.names() }.into()
            }
            UnknownIssuer => self.unknown(&parsed, others, Namesake::None),
            // Many CAs have one name: that of every Kubernetes cluster is often "kubernetes".
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
        // No chain is longer than what was sent.
        for _ in 0..others.len() {
            let above = others.iter().find(|other| !last.is_self_signed() && last.is_issued_by(other));
            last = above.unwrap_or(last);
        }
        let signer = (!shown.is_self_signed()).then(|| last.issuer());
        let is_leaf = signer.as_ref().is_some_and(|signer| self.anchors.leaves.contains(signer));
        let unknown = Unknown {
            subject: shown.subject(),
            signer,
            namesake: if is_leaf && namesake == Namesake::None { Namesake::Leaf } else { namesake },
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

/// Verifies clients.
#[derive(Debug)]
pub(super) struct ClientTrust {
    anchors: Anchors,
    /// None where no CA is trusted.
    chains: Option<Arc<dyn ClientCertVerifier>>,
}

impl ClientTrust {
    pub(super) fn new(anchors: Anchors) -> Result<Self, TlsError> {
        let chains = (!anchors.store.is_empty())
            .then(|| WebPkiClientVerifier::builder_with_provider(anchors.store.clone(), PROVIDER.clone()).build())
            .transpose()
            .map_err(|_no_anchors| TlsError::CaEmpty)?;
        Ok(Self { chains, anchors })
    }
}

impl ClientCertVerifier for ClientTrust {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A client that chooses by these names would keep back a certificate that is trusted itself.
        self.chains
            .as_ref()
            .filter(|_| self.anchors.leaves.is_empty())
            .map_or(&[], |chains| chains.root_hint_subjects())
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
        let chains = self.chains.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        chains.verify_client_cert(end_entity, intermediates, now)
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

/// A trusted certificate with the name of the CA that signed another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Namesake {
    /// There is none.
    None,
    /// A CA's, with another key.
    OtherKey,
    /// One that is no CA's.
    Leaf,
}

/// A server's certificate that neither is trusted nor leads to a certificate that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown {
    /// Its owner.
    pub(super) subject: String,
    /// The CA at the end of what the server sent; none where the server signed its certificate itself.
    pub(super) signer: Option<String>,
    /// The trusted certificate with that CA's name.
    pub(super) namesake: Namesake,
    /// The owners of the configured certificates; none where the machine's are trusted.
    pub(super) trusted: Option<Vec<String>>,
}

impl std::error::Error for Unknown {}

impl fmt::Display for Unknown {
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
