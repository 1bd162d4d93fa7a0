//! Messages for TLS errors: the cause in plain words, and the remedy with the configuration key to change. They contain no
//! Rust names, except for a violated rule that TLS itself does not name: the variant is then written as words.

use super::trust::{Namesake, UntrustedCertificate};
use crate::types::{error_chain, printable};
use jiff::Timestamp;
use rustls::{
    AlertDescription, CertificateError, Error, InconsistentKeys, InvalidMessage, OtherError, PeerIncompatible,
};
use rustls_pki_types::{ServerName, UnixTime, pem};
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::Debug;
use std::io;

/// Names in a list before the rest is only counted.
const MAX_NAMES: usize = 8;

/// The configuration block of a TLS client; remedies name its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigBlock {
    /// A block of type *HTTP client*.
    Webhook,
    /// The configuration block `kubernetes.connection`.
    Kubernetes,
}

impl ConfigBlock {
    /// Message for a server that closes the connection during the handshake.
    pub(crate) fn closed_message(self) -> String {
        format!("the server closed the connection during the TLS handshake; {}", self.endpoint_remedy())
    }

    fn ca_keys(self) -> &'static str {
        match self {
            Self::Webhook => "cacert",
            Self::Kubernetes => "cacert or cacertFile",
        }
    }

    fn identity_keys(self) -> &'static str {
        match self {
            Self::Webhook => "cert and key",
            Self::Kubernetes => "cert and key, or certFile and keyFile",
        }
    }

    fn name_remedy(self) -> &'static str {
        match self {
            Self::Webhook => "use one of its names in url",
            Self::Kubernetes => "give one of its names as serverName",
        }
    }

    fn version_remedy(self) -> &'static str {
        match self {
            Self::Webhook => "for TLS 1.2 set tlsVersion: \"1.2\"; older versions are not supported",
            Self::Kubernetes => "only TLS 1.2 and 1.3 are supported: update the server",
        }
    }

    fn algorithm_remedy(self) -> &'static str {
        match self {
            Self::Webhook => "check tlsVersion, curves and cipher here, and the same settings on the server",
            Self::Kubernetes => "update the server, or the load balancer before it",
        }
    }

    fn endpoint_remedy(self) -> &'static str {
        match self {
            Self::Webhook => "is it the right port, and https there?",
            Self::Kubernetes => "is it the right host and port?",
        }
    }
}

/// A cause and its remedy; the remedy is empty if none is known.
type Advice = (Cow<'static, str>, Cow<'static, str>);

fn advice(cause: impl Into<Cow<'static, str>>, remedy: impl Into<Cow<'static, str>>) -> Advice {
    (cause.into(), remedy.into())
}

/// Finds the rustls error in a chain of sources.
pub(crate) fn cause_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    error_chain(error).find_map(<dyn StdError>::downcast_ref)
}

/// True if the peer closed the connection before the handshake was complete.
pub(crate) fn closed_in_handshake(error: &(dyn StdError + 'static)) -> bool {
    let mut io_errors = error_chain(error).filter_map(<dyn StdError>::downcast_ref::<io::Error>);
    io_errors.any(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// Message for a TLS client's error.
pub(crate) fn explain(error: &Error, block: ConfigBlock) -> String {
    let (cause, remedy) = explain_error(error, block);
    if remedy.is_empty() { cause.into_owned() } else { format!("{cause}; {remedy}") }
}

/// Message for a failed handshake.
pub(crate) fn explain_handshake(error: &io::Error, block: ConfigBlock) -> String {
    match cause_of(error) {
        Some(error) => explain(error, block),
        None if error.kind() == io::ErrorKind::UnexpectedEof => block.closed_message(),
        None => format!("the connection broke during the TLS handshake: {error}"),
    }
}

fn explain_error(error: &Error, block: ConfigBlock) -> Advice {
    match error {
        Error::InvalidCertificate(error) => certificate(error, block),
        Error::AlertReceived(alert) => alert_received(*alert, block),
        Error::PeerIncompatible(reason) => incompatible(reason, block),
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            advice("what the server answers is not TLS", block.endpoint_remedy())
        }
        Error::InvalidMessage(reason) => {
            advice(with_rule("the server sent a TLS message that is damaged", reason), MIDDLEBOX)
        }
        Error::PeerMisbehaved(reason) => advice(with_rule("the server breaks a rule of TLS", reason), MIDDLEBOX),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            advice("the server sent a TLS message out of its turn", MIDDLEBOX)
        }
        Error::DecryptError => advice("the server sent a TLS message that cannot be decrypted", MIDDLEBOX),
        Error::PeerSentOversizedRecord => advice("the server sent a TLS message that is too long", MIDDLEBOX),
        Error::NoCertificatesPresented => advice("the server showed no certificate", "give it one"),
        Error::NoApplicationProtocol => advice("the server does not speak HTTP/1.1 over TLS", block.endpoint_remedy()),
        Error::FailedToGetCurrentTime => advice("this machine does not know the time", "set its clock"),
        Error::FailedToGetRandomBytes => advice("this machine gives no random numbers", ""),
        Error::InvalidCertRevocationList(_) => advice("a list of revoked certificates cannot be used", ""),
        Error::InconsistentKeys(_) => advice("the key does not match the certificate", block.identity_keys()),
        Error::General(text) => advice(format!("TLS failed: {}", printable(text, 200)), ""),
        other => advice(with_rule("TLS failed", other), ""),
    }
}

/// Remedy for a fault that the settings of neither side explain.
const MIDDLEBOX: &str = "is there something between that changes the traffic, or a fault in the server's TLS?";

fn certificate(error: &CertificateError, block: ConfigBlock) -> Advice {
    use CertificateError as E;
    match error {
        E::BadEncoding => advice("a certificate that the server sent cannot be read", "replace it"),
        E::Expired => advice("a certificate that the server sent has expired", "renew it"),
        E::ExpiredContext { time, not_after } => advice(
            format!("a certificate that the server sent expired on {}", date(*not_after)),
            format!("renew it (here it is {})", date(*time)),
        ),
        E::NotValidYet => advice("a certificate that the server sent is not valid yet", "is the clock here right?"),
        E::NotValidYetContext { time, not_before } => advice(
            format!("a certificate that the server sent is valid only from {}", date(*not_before)),
            format!("here it is {}: is the clock right?", date(*time)),
        ),
        E::NotValidForName => advice("the server's certificate is for another name", block.name_remedy()),
        E::NotValidForNameContext { expected, presented } => wrong_name(expected, presented, block),
        E::UnknownIssuer => advice(
            "the server's certificate is signed by a CA that is not trusted",
            format!("give that CA's certificate in {}", block.ca_keys()),
        ),
        E::BadSignature => advice("a signature of the server or its CA is wrong", MIDDLEBOX),
        E::InvalidPurpose => advice("the server's certificate is not for servers", ADD_SERVER_AUTH),
        E::InvalidPurposeContext { presented, .. } => {
            let purposes = name_list(presented.iter().map(ToString::to_string), "and");
            advice(format!("the server's certificate is for {purposes} alone, not for servers"), ADD_SERVER_AUTH)
        }
        E::UnhandledCriticalExtension => advice(UNKNOWN_EXTENSION, "make one without it"),
        E::Revoked => advice("a certificate that the server sent is revoked", "replace it"),
        E::UnknownRevocationStatus | E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            advice("it is not known whether the server's certificate is revoked", "")
        }
        E::InvalidOcspResponse => advice("the server's proof that its certificate is not revoked is wrong", ""),
        E::ApplicationVerificationFailure => advice("the server's certificate is not accepted", ""),
        E::Other(OtherError(inner)) => explain_other(inner.as_ref(), block),
        E::UnsupportedSignatureAlgorithmContext { .. } | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            advice(UNSUPPORTED_ALGORITHM, SUPPORTED_ALGORITHMS)
        }
        other => advice(with_rule("the server's certificate cannot be verified", other), ""),
    }
}

const ADD_SERVER_AUTH: &str = "make one whose extendedKeyUsage has serverAuth";
const UNKNOWN_EXTENSION: &str = "a certificate that the server sent has a critical extension that is not known here";
const UNSUPPORTED_ALGORITHM: &str = "the server's certificate has a signature or a key of a kind that is not supported";
const SUPPORTED_ALGORITHMS: &str =
    "use RSA of 2048 bits or more, ECDSA on P-256, P-384 or P-521, or Ed25519, with SHA-256 and better";

/// Advice for an error that rustls only wraps.
fn explain_other(error: &(dyn StdError + 'static), block: ConfigBlock) -> Advice {
    use webpki::Error as E;
    if let Some(unknown) = error.downcast_ref::<UntrustedCertificate>() {
        return (unknown.to_string().into(), untrusted_remedy(unknown, block).into());
    }
    match error.downcast_ref::<E>() {
        Some(E::CaUsedAsEndEntity) => advice(
            "the server's certificate is a CA's (basicConstraints CA:TRUE)",
            format!("it is accepted only if it is itself in {}", block.ca_keys()),
        ),
        Some(E::EndEntityUsedAsCa) => {
            advice("a certificate that signed the server's is no CA's", "make it with basicConstraints CA:TRUE")
        }
        Some(E::UnsupportedCertVersion) => advice(
            "the server's certificate has no subjectAltName (it is of an X.509 version before 3)",
            "make one with openssl req -x509 -addext subjectAltName=DNS:…",
        ),
        Some(E::UnsupportedCriticalExtension) => advice(UNKNOWN_EXTENSION, "make one without it"),
        Some(E::NameConstraintViolation) => {
            advice("the server's certificate has a name that its CA may not give", "ask the CA for another")
        }
        Some(E::PathLenConstraintViolated) => {
            advice("there are more CAs between the server's certificate and the trusted one than that one allows", "")
        }
        Some(E::EmptyEkuExtension) => advice("the server's certificate is for nothing at all", ADD_SERVER_AUTH),
        Some(E::CertDistrusted) => advice("the key of the server's certificate is known to be unsafe", "make another"),
        Some(reason) => advice(with_rule("the server's certificate cannot be verified", reason), ""),
        None => advice("the server's certificate cannot be verified", ""),
    }
}

fn untrusted_remedy(unknown: &UntrustedCertificate, block: ConfigBlock) -> String {
    let wanted = match (&unknown.signer, unknown.namesake) {
        (None, _) => "this very certificate",
        (Some(_), Namesake::Leaf) => "a CA's certificate, or the server's own,",
        (Some(_), Namesake::None | Namesake::OtherKey) => "that CA's certificate",
    };
    let trusted = match &unknown.trusted {
        Some(named) => format!("trusted is {}", name_list(named.iter().map(String::clone), "and")),
        None => "trusted are this machine's CAs".to_owned(),
    };
    format!("give {wanted} in {} ({trusted})", block.ca_keys())
}

fn wrong_name(expected: &ServerName<'_>, presented: &[String], block: ConfigBlock) -> Advice {
    let expected = expected.to_str();
    if presented.is_empty() {
        let kind = if expected.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
        return advice(
            format!("the server's certificate has no subjectAltName, so it is not for {expected}"),
            format!("make one with that name (openssl: -addext subjectAltName={kind}:{expected})"),
        );
    }
    let names = name_list(presented.iter().map(|name| printable(name, 120)), "and");
    advice(
        format!("the server's certificate is for {names}, not for {expected}"),
        format!("{}, or a certificate for {expected}", block.name_remedy()),
    )
}

fn alert_received(alert: AlertDescription, block: ConfigBlock) -> Advice {
    use AlertDescription as A;
    match alert {
        A::ProtocolVersion => {
            advice("the server does not support the TLS versions that Podgate uses", block.version_remedy())
        }
        A::HandshakeFailure | A::InsufficientSecurity => {
            advice("the server found no TLS version, cipher suite or curve in common", block.algorithm_remedy())
        }
        A::CertificateRequired | A::NoCertificate => {
            advice("the server wants a client certificate", format!("give one in {}", block.identity_keys()))
        }
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied => advice(
            format!("the server does not accept the client certificate ({})", alert_name(alert)),
            format!("look at {}, and at the CA that the server asks for", block.identity_keys()),
        ),
        A::UnrecognisedName => advice("the server knows no host of that name", block.name_remedy()),
        other => {
            advice(format!("the server ended TLS with the alert \"{}\"", alert_name(other)), "its log may say why")
        }
    }
}

/// An alert's name (RFC 8446 section 6), or its number.
fn alert_name(alert: AlertDescription) -> String {
    let name = variant_words(&alert);
    if name.starts_with("alert description") { u8::from(alert).to_string() } else { name }
}

fn incompatible(reason: &PeerIncompatible, block: ConfigBlock) -> Advice {
    use PeerIncompatible as P;
    match reason {
        P::ServerTlsVersionIsDisabledByOurConfig | P::Tls12NotOffered | P::Tls12NotOfferedOrEnabled => {
            advice("the server uses an older TLS version than Podgate", block.version_remedy())
        }
        P::ServerDoesNotSupportTls12Or13 => advice("the server speaks neither TLS 1.2 nor 1.3", "update the server"),
        P::NoCipherSuitesInCommon | P::NoKxGroupsInCommon | P::NoSignatureSchemesInCommon => {
            advice("the server found no TLS version, cipher suite or curve in common", block.algorithm_remedy())
        }
        P::NoCertificateRequestSignatureSchemesInCommon => {
            advice("the server does not accept a client certificate with a key of this kind", block.identity_keys())
        }
        other => advice(with_rule("the server's TLS lacks what is needed here", other), "update the server"),
    }
}

/// Appends the violated rule in words, in parentheses.
fn with_rule(text: &str, rule: &impl Debug) -> String {
    format!("{text} ({})", variant_words(rule))
}

/// Splits a variant's name into lower-case words, keeping abbreviations and leaving out its fields.
fn variant_words(variant: &impl Debug) -> String {
    let name = format!("{variant:?}");
    let name: Vec<char> = name.chars().take_while(char::is_ascii_alphanumeric).collect();
    let mut words = String::new();
    for (at, &letter) in name.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| name.get(at));
        let after = name.get(at + 1);
        let begins = letter.is_uppercase()
            && (before.is_some_and(|c| !c.is_uppercase()) || after.is_some_and(|c| c.is_lowercase()));
        if begins && at > 0 {
            words.push(' ');
        }
        let initial = before.is_some_and(|c| c.is_uppercase()) || after.is_some_and(|c| c.is_uppercase());
        words.push(if initial { letter } else { letter.to_ascii_lowercase() });
    }
    words
}

fn name_list(names: impl ExactSizeIterator<Item = String>, last: &str) -> String {
    let more = names.len().saturating_sub(MAX_NAMES);
    let mut names: Vec<String> = names.take(MAX_NAMES).collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((end, others)) => format!("{} {last} {end}", others.join(", ")),
    }
}

/// Formats a time for messages: UTC, to the second.
pub(super) fn date(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(
        || "a day beyond the calendar".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// Describes a fault of a PEM text without showing the text.
pub(super) fn pem_fault(error: &pem::Error) -> Cow<'static, str> {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a line -----END …----- is missing".into(),
        pem::Error::IllegalSectionStart { .. } => "a line that starts with -----BEGIN is damaged".into(),
        pem::Error::Base64Decode(_) => "its base64 is damaged".into(),
        pem::Error::NoItemsFound => "it holds nothing of the kind".into(),
        pem::Error::SectionTooLarge => "it is too large".into(),
        pem::Error::Io(error) => error.to_string().into(),
        _ => "it is damaged".into(),
    }
}

/// Describes a fault of a configured certificate or key.
pub(super) fn fault(error: &Error) -> Cow<'static, str> {
    match error {
        Error::InvalidCertificate(CertificateError::BadEncoding) => "it is damaged, or no X.509 certificate".into(),
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            match inner.downcast_ref::<webpki::Error>() {
                Some(webpki::Error::UnsupportedCertVersion) => "its X.509 version is not 3".into(),
                Some(reason) => variant_words(reason).into(),
                None => "it is damaged".into(),
            }
        }
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => "the key does not match the certificate".into(),
        Error::General(_) => format!("the key is damaged or of another kind; {SUPPORTED_ALGORITHMS}").into(),
        other => explain_error(other, ConfigBlock::Webhook).0,
    }
}
