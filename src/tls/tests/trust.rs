//! Trust in certificates; each refused one differs from an accepted one in a single property.

use super::*;
use crate::tls::{ConfigBlock, cause_of, explain};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, date_time_ymd,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const CA: IsCa = IsCa::Ca(BasicConstraints::Unconstrained);

/// A certificate and its key.
struct Made {
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

/// Parameters of `openssl req -x509 -subj /CN=NAME -addext subjectAltName=…`: self-signed, and a CA's.
fn params(name: &str, names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = CA;
    params
}

fn signed(params: &CertificateParams, key: KeyPair) -> Made {
    let certificate = params.self_signed(&key).unwrap();
    Made { pem: certificate.pem(), der: certificate.der().clone(), key }
}

fn made(change: impl FnOnce(&mut CertificateParams)) -> Made {
    let mut params = params("hook", &["hook.example", "127.0.0.1"]);
    change(&mut params);
    signed(&params, KeyPair::generate().unwrap())
}

/// Verdict of a client that trusts `ca` on a server with this certificate.
fn judge(ca: &str, shown: &CertificateDer<'_>, others: &[CertificateDer<'_>], name: &str) -> Result<(), String> {
    let trust = ServerVerifier::new(TrustAnchors::of_pem(ca).unwrap()).unwrap();
    let name = ServerName::try_from(name).unwrap();
    let verified = trust.verify_server_cert(shown, others, &name, &[], UnixTime::now());
    verified.map(drop).map_err(|error| explain(&error, ConfigBlock::Webhook))
}

#[test]
fn certificate_that_is_given_itself_is_refused_for_its_names_time_and_purpose() {
    let (long_ago, then) = (date_time_ymd(2001, 2, 3), date_time_ymd(2020, 2, 29));
    let expired = made(|params| (params.not_before, params.not_after) = (long_ago, then));
    let future = made(|params| params.not_before = date_time_ymd(2190, 1, 1));
    let nameless = made(|params| params.subject_alt_names.clear());
    let clients = made(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let good = made(|_| ());
    for (shown, name, sentence) in [
        (
            &expired,
            "hook.example",
            "a certificate that the server sent expired on 2020-02-29 00:00:00 UTC; renew it (here it is ",
        ),
        (
            &expired,
            "other.example",
            "a certificate that the server sent expired on 2020-02-29 00:00:00 UTC; renew it (here it is ",
        ),
        (
            &future,
            "hook.example",
            "a certificate that the server sent is valid only from 2190-01-01 00:00:00 UTC; here it is ",
        ),
        (
            &good,
            "other.example",
            "the server's certificate is for hook.example and 127.0.0.1, not for other.example; use one of its names in \
             url, or a certificate for other.example",
        ),
        (&good, "127.0.0.2", "the server's certificate is for hook.example and 127.0.0.1, not for 127.0.0.2; "),
        (&good, "hook", "the server's certificate is for hook.example and 127.0.0.1, not for hook; "),
        (
            &nameless,
            "hook",
            "the server's certificate has no subjectAltName, so it is not for hook; make one with that name (openssl: \
             -addext subjectAltName=DNS:hook)",
        ),
        (
            &nameless,
            "::1",
            "the server's certificate has no subjectAltName, so it is not for ::1; make one with that name (openssl: \
             -addext subjectAltName=IP:::1)",
        ),
        (
            &clients,
            "hook.example",
            "the server's certificate is for client authentication alone, not for servers; make one whose \
             extendedKeyUsage has serverAuth",
        ),
    ] {
        let message = judge(&shown.pem, &shown.der, &[], name).expect_err(sentence);
        assert!(message.starts_with(sentence), "{message}");
    }
}

#[test]
fn certificate_that_differs_from_the_given_one_is_refused() {
    let given = made(|_| ());
    let trusted = "(trusted is CN=hook)";
    let remade = signed(&params("hook", &["hook.example"]), KeyPair::from_pem(&given.key.serialize_pem()).unwrap());
    let other_key = made(|_| ());
    let unsigned = made(|params| params.is_ca = IsCa::NoCa);
    for (shown, reason) in
        [(&remade, "its key, other bytes"), (&other_key, "its subject, another key"), (&unsigned, "no CA")]
    {
        let message = judge(&given.pem, &shown.der, &[], "hook.example").expect_err(reason);
        let sentence = format!(
            "the server's certificate (CN=hook) is self-signed and not a trusted one; give this very certificate in \
             cacert {trusted}"
        );
        assert_eq!(message, sentence, "{reason}");
    }
    // One byte of the signature.
    let mut torn = given.der.to_vec();
    *torn.last_mut().unwrap() ^= 1;
    judge(&given.pem, &torn.into(), &[], "hook.example").expect_err("another byte");
    judge(&given.pem, &b"no certificate".to_vec().into(), &[], "hook.example").expect_err("no certificate");
}

#[test]
fn unknown_ca_is_named_with_its_subject() {
    let given = made(|_| ());
    let named = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "Acme");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = CA;
        params
    };
    let (root, middle) = (named("Root"), named("Middle"));
    let (root_key, middle_key, leaf_key) =
        (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root_der = root.self_signed(&root_key).unwrap();
    let root = Issuer::new(root, root_key);
    let middle_der = middle.signed_by(&middle_key, &root).unwrap();
    let middle = Issuer::new(middle, middle_key);
    let mut leaf = params("hook", &["hook.example"]);
    leaf.is_ca = IsCa::NoCa;
    let leaf = leaf.signed_by(&leaf_key, &middle).unwrap();
    let (root_der, middle_der) = (root_der.der().clone(), middle_der.der().clone());
    for (others, signer) in [
        (vec![], "O=Acme,CN=Middle"),
        (vec![middle_der.clone()], "O=Acme,CN=Root"),
        (vec![root_der.clone(), middle_der.clone()], "O=Acme,CN=Root"),
        (vec![root_der.clone()], "O=Acme,CN=Middle"),
    ] {
        let message = judge(&given.pem, leaf.der(), &others, "hook.example").unwrap_err();
        let sentence = format!(
            "the server's certificate (CN=hook) is signed by a CA that is not trusted: {signer}; give that CA's \
             certificate in cacert (trusted is CN=hook)"
        );
        assert_eq!(message, sentence);
    }
}

#[test]
fn another_ca_of_the_trusted_name_is_named_as_such() {
    let mut ca = params("kubernetes", &[]);
    ca.is_ca = CA;
    let key = KeyPair::generate().unwrap();
    let (trusted, issuer) = (signed(&ca, KeyPair::generate().unwrap()), Issuer::new(ca, key));
    let mut leaf = params("kube-apiserver", &["hook.example"]);
    leaf.is_ca = IsCa::NoCa;
    let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    let message = judge(&trusted.pem, leaf.der(), &[], "hook.example").unwrap_err();
    let sentence = "the server's certificate (CN=kube-apiserver) is signed by a CA with the trusted one's name, but \
                    another key: CN=kubernetes; give that CA's certificate in cacert (trusted is CN=kubernetes)";
    assert_eq!(message, sentence);
}

#[test]
fn certificate_of_a_ca_is_a_server_only_where_it_is_given_itself() {
    let mut ca = params("root", &[]);
    ca.is_ca = CA;
    let key = KeyPair::generate().unwrap();
    let root = signed(&ca, KeyPair::from_pem(&key.serialize_pem()).unwrap());
    let issuer = Issuer::new(ca, key);
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = params("hook", &["hook.example"]).signed_by(&leaf_key, &issuer).unwrap();
    let message = judge(&root.pem, leaf.der(), &[], "hook.example").unwrap_err();
    let sentence = "the server's certificate is a CA's (basicConstraints CA:TRUE); it is accepted only if it is itself \
                    in cacert";
    assert_eq!(message, sentence);
    judge(&leaf.pem(), leaf.der(), &[], "hook.example").unwrap();
    judge(&format!("{}{}", root.pem, leaf.pem()), leaf.der(), &[], "hook.example").unwrap();
}

#[test]
fn certificate_that_is_no_ca_vouches_for_itself_alone() {
    let signs = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa, CA] {
        let mut given = params("hook", &["hook.example"]);
        given.is_ca = is_ca;
        signs(&mut given);
        let key = KeyPair::generate().unwrap();
        let trusted = signed(&given, KeyPair::from_pem(&key.serialize_pem()).unwrap());
        let issuer = Issuer::new(given, key);
        let mut other = params("other", &["other.example", "hook.example"]);
        other.is_ca = IsCa::NoCa;
        let other = other.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        let another = signed(&params("another", &[]), KeyPair::generate().unwrap());
        let bundle = format!("{}{}", another.pem, trusted.pem);
        for ca in [&trusted.pem, &bundle] {
            for name in ["other.example", "hook.example"] {
                judge(ca, other.der(), std::slice::from_ref(&trusted.der), name).expect_err(name);
                let message = judge(ca, other.der(), &[], name).expect_err(name);
                let sentence = "the server's certificate (CN=other) is signed with a trusted certificate that is no \
                                CA's (basicConstraints CA:TRUE): CN=hook; give a CA's certificate, or the server's \
                                own, in cacert (trusted is CN=";
                assert!(message.starts_with(sentence), "{is_ca:?}: {message}");
            }
            judge(ca, &trusted.der, &[], "hook.example").unwrap();
        }
    }
}

#[test]
fn certificate_that_is_given_itself_is_taken_with_each_of_its_names() {
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa, CA, IsCa::Ca(BasicConstraints::Constrained(0))] {
        for usage in [vec![], vec![ExtendedKeyUsagePurpose::ServerAuth], vec![ExtendedKeyUsagePurpose::Any]] {
            let shown = made(|params| (params.is_ca, params.extended_key_usages) = (is_ca, usage.clone()));
            for name in ["hook.example", "127.0.0.1"] {
                judge(&shown.pem, &shown.der, &[], name).unwrap();
                let bundle = format!("{}{}{}", made(|_| ()).pem, shown.pem, made(|_| ()).pem);
                judge(&bundle, &shown.der, &[made(|_| ()).der], name).unwrap();
            }
        }
    }
}

/// Presents a certificate with any key, matching or not.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Performs a handshake and returns the client's verdict.
async fn handshake(ca: &str, tls12: bool, server: ServerConfig) -> Result<(), String> {
    let client = client_config(Some(ca), None, &TlsOptions { tls12, ..TlsOptions::default() }).unwrap();
    let (near, far) = duplex(64 * 1024);
    let serving = tokio::spawn(async move {
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(far).await?;
        stream.write_all(b"up").await?;
        stream.shutdown().await
    });
    let name = ServerName::try_from("hook.example").unwrap();
    let outcome = match TlsConnector::from(Arc::new(client)).connect(name, near).await {
        Ok(mut stream) => {
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "up");
            Ok(())
        }
        Err(error) => Err(explain(cause_of(&error).expect("TLS"), ConfigBlock::Webhook)),
    };
    assert_eq!(serving.await.unwrap().is_ok(), outcome.is_ok());
    outcome
}

#[tokio::test]
async fn certificate_without_its_key_is_refused_and_with_it_taken_in_both_versions() {
    let (given, thief) = (made(|_| ()), KeyPair::generate().unwrap());
    for tls12 in [false, true] {
        for (key, is_right) in [(&thief, false), (&given.key, true)] {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let key = PROVIDER.key_provider.load_private_key(key).unwrap();
            let shows = Shows(Arc::new(CertifiedKey::new(vec![given.der.clone()], key)));
            let only: &[_] = if tls12 { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
            let server = ServerConfig::builder_with_provider(PROVIDER.clone()).with_protocol_versions(only).unwrap();
            let server = server.with_no_client_auth().with_cert_resolver(Arc::new(shows));
            let outcome = handshake(&given.pem, tls12, server).await;
            if is_right {
                outcome.unwrap();
            } else {
                let message = outcome.expect_err("another key");
                assert!(message.starts_with("a signature of the server or its CA is wrong"), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn server_of_an_older_version_is_told_with_the_key_to_change() {
    let given = made(|_| ());
    let key = Secret::new(given.key.serialize_pem());
    let only = ServerConfig::builder_with_provider(PROVIDER.clone()).with_protocol_versions(&[&rustls::version::TLS12]);
    let server = only.unwrap().with_no_client_auth();
    let server = server.with_single_cert(chain(&given.pem).unwrap(), private_key(&key).unwrap()).unwrap();
    let message = handshake(&given.pem, false, server).await.expect_err("no version in common");
    let sentence = "the server does not support the TLS versions that Podgate uses; for TLS 1.2 set tlsVersion: \
                    \"1.2\"; older versions are not supported";
    assert_eq!(message, sentence);
}
