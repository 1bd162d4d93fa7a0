//! Messages for every TLS error that an operator can see.

mod variants;

use crate::tls::messages::{ConfigBlock, explain, explain_handshake, fault, pem_fault};
use crate::tls::trust::{Namesake, UntrustedCertificate};
use rustls::{
    AlertDescription, CertRevocationListError, CertificateError, Error, ExtendedKeyPurpose, InconsistentKeys,
    InvalidMessage, OtherError, PeerMisbehaved,
};
use rustls_pki_types::{ServerName, UnixTime, pem};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use variants::{INCOMPATIBLE, MESSAGES, MISBEHAVED, WEBPKI};

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> CertificateError {
    CertificateError::Other(OtherError(Arc::new(error)))
}

/// Reasons for refusing a certificate, without fields.
const REFUSED: &[CertificateError] = &[
    CertificateError::BadEncoding,
    CertificateError::Expired,
    CertificateError::NotValidYet,
    CertificateError::Revoked,
    CertificateError::UnhandledCriticalExtension,
    CertificateError::UnknownIssuer,
    CertificateError::UnknownRevocationStatus,
    CertificateError::ExpiredRevocationList,
    CertificateError::BadSignature,
    CertificateError::NotValidForName,
    CertificateError::InvalidPurpose,
    CertificateError::InvalidOcspResponse,
    CertificateError::ApplicationVerificationFailure,
];

/// Reasons for refusing a certificate, with fields.
fn refused_with_details() -> Vec<CertificateError> {
    use CertificateError as E;
    let (time, expected) = (at(1_000_000_000), ServerName::try_from("a.example").unwrap().to_owned());
    let purposes = vec![ExtendedKeyPurpose::ClientAuth, ExtendedKeyPurpose::Other(vec![1, 3, 6])];
    let (id, other_id) = (vec![42], vec![43]);
    vec![
        E::ExpiredContext { time, not_after: at(0) },
        E::ExpiredContext { time, not_after: at(u64::MAX) },
        E::NotValidYetContext { time, not_before: at(2_000_000_000) },
        E::ExpiredRevocationListContext { time, next_update: at(0) },
        E::UnsupportedSignatureAlgorithmContext { signature_algorithm_id: id.clone(), supported_algorithms: vec![] },
        E::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: id,
            public_key_algorithm_id: other_id,
        },
        E::InvalidPurposeContext { required: ExtendedKeyPurpose::ServerAuth, presented: purposes },
        E::NotValidForNameContext { expected: expected.clone(), presented: vec![] },
        E::NotValidForNameContext { expected, presented: vec!["b.example".into(), "10.0.0.1".into()] },
        other(io::Error::other("IoError")),
        other(webpki::Error::CertExpired { time, not_after: time }),
    ]
}

fn unknown() -> Vec<CertificateError> {
    let unknown = |signer: Option<&str>, namesake, trusted| {
        other(UntrustedCertificate { subject: "CN=a".into(), signer: signer.map(Into::into), namesake, trusted })
    };
    vec![
        unknown(None, Namesake::None, None),
        unknown(Some("CN=b"), Namesake::None, Some(vec!["CN=c".into(), "CN=d".into()])),
        unknown(Some("CN=b"), Namesake::OtherKey, Some(vec!["CN=b".into()])),
        unknown(Some("CN=b"), Namesake::Leaf, Some(vec!["CN=b".into()])),
        unknown(Some("CN=b"), Namesake::None, Some((0..40).map(|number| format!("CN={number}")).collect())),
    ]
}

fn others() -> [Error; 17] {
    [
        Error::InappropriateMessage { expect_types: vec![], got_type: rustls::ContentType::Alert },
        Error::InappropriateHandshakeMessage { expect_types: vec![], got_type: rustls::HandshakeType::Finished },
        Error::InvalidEncryptedClientHello(rustls::EncryptedClientHelloError::SniRequired),
        Error::NoCertificatesPresented,
        Error::UnsupportedNameType,
        Error::DecryptError,
        Error::EncryptError,
        Error::InvalidCertRevocationList(CertRevocationListError::BadSignature),
        Error::General("something that the library says".into()),
        Error::FailedToGetCurrentTime,
        Error::FailedToGetRandomBytes,
        Error::HandshakeNotComplete,
        Error::PeerSentOversizedRecord,
        Error::NoApplicationProtocol,
        Error::BadMaxFragmentSize,
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch),
        Error::Other(OtherError(Arc::new(io::Error::other("IoError")))),
    ]
}

fn errors() -> Vec<Error> {
    let refused = REFUSED.iter().cloned().chain(refused_with_details()).chain(unknown());
    let webpki = WEBPKI.iter().map(|error| other(error.clone()));
    let mut errors: Vec<Error> = refused.chain(webpki).map(Error::from).collect();
    errors.extend((0..=255).map(|number| Error::AlertReceived(AlertDescription::from(number))));
    errors.extend(MESSAGES.iter().map(|error| Error::from(*error)));
    errors.extend(INCOMPATIBLE.iter().cloned().map(Error::from));
    errors.extend(MISBEHAVED.iter().cloned().map(Error::from));
    errors.extend(others());
    errors
}

/// Asserts that a text contains no Rust name and no `Debug` output.
#[track_caller]
fn plain(text: &str) {
    // Names of X.509 and of the configuration, and the abbreviations of TLS.
    let known = ["basicConstraints", "subjectAltName", "extendedKeyUsage", "serverAuth", "tlsVersion", "serverName"];
    let known = [&known[..], &["cacertFile", "certFile", "keyFile", "CAs", "CA's"]].concat();
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !known.contains(word)) {
        let inner: Vec<char> = word.chars().collect();
        let is_camel = inner.windows(2).any(|pair| pair[0].is_lowercase() && pair[1].is_uppercase());
        assert!(!is_camel, "{word} in: {text}");
    }
    for mark in ["::", "{", "}", "[", "]", "Some", "None", "0x", "\\", "()", "; ;", "  "] {
        assert!(!text.contains(mark), "{mark} in: {text}");
    }
    let begins = text.starts_with(char::is_lowercase) || text.starts_with("TLS ");
    assert!(begins && !text.ends_with([';', ' ', ':']), "{text}");
}

#[test]
fn no_tls_error_shows_a_name_of_rust() {
    let errors = errors();
    assert!(errors.len() > 460, "{}", errors.len());
    for error in &errors {
        for block in [ConfigBlock::Webhook, ConfigBlock::Kubernetes] {
            plain(&explain(error, block));
            plain(&explain_handshake(&io::Error::new(io::ErrorKind::InvalidData, error.clone()), block));
        }
        plain(&fault(error));
    }
    for error in [
        pem::Error::MissingSectionEnd { end_marker: b"-----END CERTIFICATE-----".to_vec() },
        pem::Error::IllegalSectionStart { line: b"-----BEGIN x".to_vec() },
        pem::Error::Base64Decode("InvalidCharacter(7)".into()),
        pem::Error::NoItemsFound,
        pem::Error::SectionTooLarge,
    ] {
        plain(&pem_fault(&error));
    }
}

#[test]
fn alerts_name_the_key_to_change() {
    use AlertDescription as A;
    let alert = Error::AlertReceived;
    for (error, webhook, kubernetes) in [
        (
            alert(A::ProtocolVersion),
            "the server does not support the TLS versions that Podgate uses; for TLS 1.2 set tlsVersion: \"1.2\"; \
             older versions are not supported",
            "the server does not support the TLS versions that Podgate uses; only TLS 1.2 and 1.3 are supported: \
             update the server",
        ),
        (
            alert(A::CertificateRequired),
            "the server wants a client certificate; give one in cert and key",
            "the server wants a client certificate; give one in cert and key, or certFile and keyFile",
        ),
        (
            alert(A::UnknownCA),
            "the server does not accept the client certificate (unknown CA); look at cert and key, and at the CA that the \
             server asks for",
            "the server does not accept the client certificate (unknown CA); look at cert and key, or certFile and keyFile, \
             and at the CA that the server asks for",
        ),
        (
            alert(A::from(200)),
            "the server ended TLS with the alert \"200\"; its log may say why",
            "the server ended TLS with the alert \"200\"; its log may say why",
        ),
        (
            alert(A::DecodeError),
            "the server ended TLS with the alert \"decode error\"; its log may say why",
            "the server ended TLS with the alert \"decode error\"; its log may say why",
        ),
    ] {
        assert_eq!(explain(&error, ConfigBlock::Webhook), webhook);
        assert_eq!(explain(&error, ConfigBlock::Kubernetes), kubernetes);
    }
}

#[test]
fn causes_and_ways_out_are_those_of_the_block() {
    for (error, webhook, kubernetes) in [
        (
            InvalidMessage::InvalidContentType.into(),
            "what the server answers is not TLS; is it the right port, and https there?",
            "what the server answers is not TLS; is it the right host and port?",
        ),
        (
            PeerMisbehaved::SelectedTls12UsingTls13VersionExtension.into(),
            "the server breaks a rule of TLS (selected tls12 using tls13 version extension); is there something between \
             that changes the traffic, or a fault in the server's TLS?",
            "the server breaks a rule of TLS (selected tls12 using tls13 version extension); is there something between \
             that changes the traffic, or a fault in the server's TLS?",
        ),
        (
            CertificateError::UnknownIssuer.into(),
            "the server's certificate is signed by a CA that is not trusted; give that CA's certificate in cacert",
            "the server's certificate is signed by a CA that is not trusted; give that CA's certificate in cacert or \
             cacertFile",
        ),
        (
            CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("10.0.0.1").unwrap(),
                presented: (0..20).map(|number| format!("n{number}")).collect(),
            }
            .into(),
            "the server's certificate is for n0, n1, n2, n3, n4, n5, n6, n7 and 12 more, not for 10.0.0.1; use one of its \
             names in url, or a certificate for 10.0.0.1",
            "the server's certificate is for n0, n1, n2, n3, n4, n5, n6, n7 and 12 more, not for 10.0.0.1; give one of its \
             names as serverName, or a certificate for 10.0.0.1",
        ),
    ] {
        assert_eq!(explain(&error, ConfigBlock::Webhook), webhook);
        assert_eq!(explain(&error, ConfigBlock::Kubernetes), kubernetes);
    }
    let eof = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
    let sentence = "the server closed the connection during the TLS handshake; is it the right host and port?";
    assert_eq!(explain_handshake(&eof, ConfigBlock::Kubernetes), sentence);
}
