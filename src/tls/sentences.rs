//! TLS errors for people: the cause in plain words, and the way out with the key to change. No name of a Rust type or
//! variant is in them, except where TLS has no other word for a broken rule; then it is written as words.

use super::trust::{Namesake, Unknown};
use crate::types::printable;
use jiff::Timestamp;
use rustls::{
    AlertDescription, CertificateError, Error, InconsistentKeys, InvalidMessage, OtherError, PeerIncompatible,
};
use rustls_pki_types::{ServerName, UnixTime, pem};
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::Debug;
use std::io;

/// Limit of listed names.
const LISTED: usize = 8;

/// The block of the configuration that a TLS client is made of: its keys are the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// A block of type *HTTP client*.
    Webhook,
    /// `kubernetes.connection`.
    Kubernetes,
}

impl Block {
    /// The sentence for a server that ends the connection amid the handshake.
    #[must_use]
    pub fn hung_up(self) -> String {
        format!("the server closed the connection during the TLS handshake; {}", self.plain())
    }

    fn ca(self) -> &'static str {
        match self {
            Self::Webhook => "cacert",
            Self::Kubernetes => "cacert or cacertFile",
        }
    }

    fn identity(self) -> &'static str {
        match self {
            Self::Webhook => "cert and key",
            Self::Kubernetes => "cert and key, or certFile and keyFile",
        }
    }

    fn other_name(self) -> &'static str {
        match self {
            Self::Webhook => "use one of its names in url",
            Self::Kubernetes => "give one of its names as serverName",
        }
    }

    fn older(self) -> &'static str {
        match self {
            Self::Webhook => "for TLS 1.2 set tlsVersion: \"1.2\"; older versions are not supported",
            Self::Kubernetes => "only TLS 1.2 and 1.3 are supported: update the server",
        }
    }

    fn algorithms(self) -> &'static str {
        match self {
            Self::Webhook => "check tlsVersion, curves and cipher here, and the same settings on the server",
            Self::Kubernetes => "update the server, or the load balancer before it",
        }
    }

    fn plain(self) -> &'static str {
        match self {
            Self::Webhook => "is it the right port, and https there?",
            Self::Kubernetes => "is it the right host and port?",
        }
    }
}

/// A cause, and what to do about it (empty: nothing that is known).
type Told = (Cow<'static, str>, Cow<'static, str>);

fn told(cause: impl Into<Cow<'static, str>>, way: impl Into<Cow<'static, str>>) -> Told {
    (cause.into(), way.into())
}

/// Finds rustls' error behind another.
#[must_use]
pub fn cause_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    behind(error, |_any| true)
}

/// True for a connection that ended before its handshake did.
#[must_use]
pub fn hung_up(error: &(dyn StdError + 'static)) -> bool {
    behind(error, |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof).is_some()
}

/// The first of a type behind an error, itself included. An `io::Error` hides what it holds from `source()`.
fn behind<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static), wanted: fn(&T) -> bool) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<T>().filter(|found| wanted(found)) {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| behind(inner, wanted)) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// The sentence for a TLS client's error.
#[must_use]
pub fn explain(error: &Error, block: Block) -> String {
    let (cause, way) = client(error, block);
    if way.is_empty() { cause.into_owned() } else { format!("{cause}; {way}") }
}

/// The sentence for a handshake that failed.
#[must_use]
pub fn explain_handshake(error: &io::Error, block: Block) -> String {
    match cause_of(error) {
        Some(error) => explain(error, block),
        None if error.kind() == io::ErrorKind::UnexpectedEof => block.hung_up(),
        None => format!("the connection broke during the TLS handshake: {error}"),
    }
}

fn client(error: &Error, block: Block) -> Told {
    match error {
        Error::InvalidCertificate(error) => certificate(error, block),
        Error::AlertReceived(alert) => alerted(*alert, block),
        Error::PeerIncompatible(why) => incompatible(why, block),
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            told("what the server answers is not TLS", block.plain())
        }
        Error::InvalidMessage(why) => told(broken("the server sent a TLS message that is damaged", why), OUTSIDE),
        Error::PeerMisbehaved(why) => told(broken("the server breaks a rule of TLS", why), OUTSIDE),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            told("the server sent a TLS message out of its turn", OUTSIDE)
        }
        Error::DecryptError => told("the server sent a TLS message that cannot be decrypted", OUTSIDE),
        Error::PeerSentOversizedRecord => told("the server sent a TLS message that is too long", OUTSIDE),
        Error::NoCertificatesPresented => told("the server showed no certificate", "give it one"),
        Error::NoApplicationProtocol => told("the server does not speak HTTP/1.1 over TLS", block.plain()),
        Error::FailedToGetCurrentTime => told("this machine does not know the time", "set its clock"),
        Error::FailedToGetRandomBytes => told("this machine gives no random numbers", ""),
        Error::InvalidCertRevocationList(_) => told("a list of revoked certificates cannot be used", ""),
        Error::InconsistentKeys(_) => told("the key does not match the certificate", block.identity()),
        Error::General(text) => told(format!("TLS failed: {}", printable(text, 200)), ""),
        other => told(broken("TLS failed", other), ""),
    }
}

/// Advice where neither end's settings are known to be wrong.
const OUTSIDE: &str = "is there something between that changes the traffic, or a fault in the server's TLS?";

fn certificate(error: &CertificateError, block: Block) -> Told {
    use CertificateError as E;
    match error {
        E::BadEncoding => told("a certificate that the server sent cannot be read", "replace it"),
        E::Expired => told("a certificate that the server sent has expired", "renew it"),
        E::ExpiredContext { time, not_after } => told(
            format!("a certificate that the server sent expired on {}", date(*not_after)),
            format!("renew it (here it is {})", date(*time)),
        ),
        E::NotValidYet => told("a certificate that the server sent is not valid yet", "is the clock here right?"),
        E::NotValidYetContext { time, not_before } => told(
            format!("a certificate that the server sent is valid only from {}", date(*not_before)),
            format!("here it is {}: is the clock right?", date(*time)),
        ),
        E::NotValidForName => told("the server's certificate is for another name", block.other_name()),
        E::NotValidForNameContext { expected, presented } => misnamed(expected, presented, block),
        E::UnknownIssuer => told(
            "the server's certificate is signed by a CA that is not trusted",
            format!("give that CA's certificate in {}", block.ca()),
        ),
        E::BadSignature => told("a signature of the server or its CA is wrong", OUTSIDE),
        E::InvalidPurpose => told("the server's certificate is not for servers", SERVER_USAGE),
        E::InvalidPurposeContext { presented, .. } => {
            let purposes = list(presented.iter().map(ToString::to_string), "and");
            told(format!("the server's certificate is for {purposes} alone, not for servers"), SERVER_USAGE)
        }
        E::UnhandledCriticalExtension => told(UNKNOWN_EXTENSION, "make one without it"),
        E::Revoked => told("a certificate that the server sent is revoked", "replace it"),
        E::UnknownRevocationStatus | E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            told("it is not known whether the server's certificate is revoked", "")
        }
        E::InvalidOcspResponse => told("the server's proof that its certificate is not revoked is wrong", ""),
        E::ApplicationVerificationFailure => told("the server's certificate is not accepted", ""),
        E::Other(OtherError(inner)) => other(inner.as_ref(), block),
        E::UnsupportedSignatureAlgorithmContext { .. } | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            told(WEAK, STRONG)
        }
        other => told(broken("the server's certificate cannot be verified", other), ""),
    }
}

const SERVER_USAGE: &str = "make one whose extendedKeyUsage has serverAuth";
const UNKNOWN_EXTENSION: &str = "a certificate that the server sent has a critical extension that is not known here";
const WEAK: &str = "the server's certificate has a signature or a key of a kind that is not supported";
const STRONG: &str =
    "use RSA of 2048 bits or more, ECDSA on P-256, P-384 or P-521, or Ed25519, with SHA-256 and better";

/// Sentence for an error without a variant in rustls.
fn other(error: &(dyn StdError + 'static), block: Block) -> Told {
    use webpki::Error as E;
    if let Some(unknown) = error.downcast_ref::<Unknown>() {
        return (unknown.to_string().into(), unknown_way(unknown, block).into());
    }
    match error.downcast_ref::<E>() {
        Some(E::CaUsedAsEndEntity) => told(
            "the server's certificate is a CA's (basicConstraints CA:TRUE)",
            format!("it is accepted only if it is itself in {}", block.ca()),
        ),
        Some(E::EndEntityUsedAsCa) => {
            told("a certificate that signed the server's is no CA's", "make it with basicConstraints CA:TRUE")
        }
        Some(E::UnsupportedCertVersion) => told(
            "the server's certificate has no subjectAltName (it is of an X.509 version before 3)",
            "make one with openssl req -x509 -addext subjectAltName=DNS:…",
        ),
        Some(E::UnsupportedCriticalExtension) => told(UNKNOWN_EXTENSION, "make one without it"),
        Some(E::NameConstraintViolation) => {
            told("the server's certificate has a name that its CA may not give", "ask the CA for another")
        }
        Some(E::PathLenConstraintViolated) => {
            told("there are more CAs between the server's certificate and the trusted one than that one allows", "")
        }
        Some(E::EmptyEkuExtension) => told("the server's certificate is for nothing at all", SERVER_USAGE),
        Some(E::CertDistrusted) => told("the key of the server's certificate is known to be unsafe", "make another"),
        Some(why) => told(broken("the server's certificate cannot be verified", why), ""),
        None => told("the server's certificate cannot be verified", ""),
    }
}

fn unknown_way(unknown: &Unknown, block: Block) -> String {
    let wanted = match (&unknown.signer, unknown.namesake) {
        (None, _) => "this very certificate",
        (Some(_), Namesake::Leaf) => "a CA's certificate, or the server's own,",
        (Some(_), Namesake::None | Namesake::OtherKey) => "that CA's certificate",
    };
    let trusted = match &unknown.trusted {
        Some(named) => format!("trusted is {}", list(named.iter().map(String::clone), "and")),
        None => "trusted are this machine's CAs".to_owned(),
    };
    format!("give {wanted} in {} ({trusted})", block.ca())
}

fn misnamed(expected: &ServerName<'_>, presented: &[String], block: Block) -> Told {
    let expected = expected.to_str();
    if presented.is_empty() {
        let kind = if expected.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
        return told(
            format!("the server's certificate has no subjectAltName, so it is not for {expected}"),
            format!("make one with that name (openssl: -addext subjectAltName={kind}:{expected})"),
        );
    }
    let names = list(presented.iter().map(|name| printable(name, 120)), "and");
    told(
        format!("the server's certificate is for {names}, not for {expected}"),
        format!("{}, or a certificate for {expected}", block.other_name()),
    )
}

fn alerted(alert: AlertDescription, block: Block) -> Told {
    use AlertDescription as A;
    match alert {
        A::ProtocolVersion => told("the server does not support the TLS versions that Podgate uses", block.older()),
        A::HandshakeFailure | A::InsufficientSecurity => {
            told("the server found no TLS version, cipher suite or curve in common", block.algorithms())
        }
        A::CertificateRequired | A::NoCertificate => {
            told("the server wants a client certificate", format!("give one in {}", block.identity()))
        }
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied => told(
            format!("the server does not accept the client certificate ({})", alert_name(alert)),
            format!("look at {}, and at the CA that the server asks for", block.identity()),
        ),
        A::UnrecognisedName => told("the server knows no host of that name", block.other_name()),
        other => told(format!("the server ended TLS with the alert \"{}\"", alert_name(other)), "its log may say why"),
    }
}

/// An alert's name (RFC 8446 section 6), or its number.
fn alert_name(alert: AlertDescription) -> String {
    let name = words(&alert);
    if name.starts_with("alert description") { u8::from(alert).to_string() } else { name }
}

fn incompatible(why: &PeerIncompatible, block: Block) -> Told {
    use PeerIncompatible as P;
    match why {
        P::ServerTlsVersionIsDisabledByOurConfig | P::Tls12NotOffered | P::Tls12NotOfferedOrEnabled => {
            told("the server uses an older TLS version than Podgate", block.older())
        }
        P::ServerDoesNotSupportTls12Or13 => told("the server speaks neither TLS 1.2 nor 1.3", "update the server"),
        P::NoCipherSuitesInCommon | P::NoKxGroupsInCommon | P::NoSignatureSchemesInCommon => {
            told("the server found no TLS version, cipher suite or curve in common", block.algorithms())
        }
        P::NoCertificateRequestSignatureSchemesInCommon => {
            told("the server does not accept a client certificate with a key of this kind", block.identity())
        }
        other => told(broken("the server's TLS lacks what is needed here", other), "update the server"),
    }
}

/// A text with a broken rule in words behind it.
fn broken(text: &str, rule: &impl Debug) -> String {
    format!("{text} ({})", words(rule))
}

/// The words of a variant's name, without what it holds.
fn words(variant: &impl Debug) -> String {
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

fn list(names: impl ExactSizeIterator<Item = String>, last: &str) -> String {
    let more = names.len().saturating_sub(LISTED);
    let mut names: Vec<String> = names.take(LISTED).collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((end, others)) => format!("{} {last} {end}", others.join(", ")),
    }
}

/// A time for people, UTC to the second.
pub(super) fn date(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(
        || "a day beyond the calendar".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// Fault of a PEM text; nothing of the text itself.
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

/// Fault of a configured certificate or key.
pub(super) fn fault(error: &Error) -> Cow<'static, str> {
    match error {
        Error::InvalidCertificate(CertificateError::BadEncoding) => "it is damaged, or no X.509 certificate".into(),
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            match inner.downcast_ref::<webpki::Error>() {
                Some(webpki::Error::UnsupportedCertVersion) => "its X.509 version is not 3".into(),
                Some(why) => words(why).into(),
                None => "it is damaged".into(),
            }
        }
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => "the key does not match the certificate".into(),
        Error::General(_) => format!("the key is damaged or of another kind; {STRONG}").into(),
        other => client(other, Block::Webhook).0,
    }
}
