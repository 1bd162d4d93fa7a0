//! Errors for bad certificates and keys; verification of servers.

mod messages;
mod openssl;
mod trust;

use super::*;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn certificate() -> (String, Secret) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (cert.pem(), Secret::new(signing_key.serialize_pem()))
}

fn refused(ca: Option<&str>, identity: Option<(&str, &Secret)>) -> TlsBuildError {
    client_config(ca, identity, &TlsOptions { tls12: true, ..TlsOptions::default() }).expect_err("must be refused")
}

#[test]
fn ca_without_a_usable_certificate_is_refused() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    assert!(matches!(refused(Some(""), None), TlsBuildError::CaEmpty));
    assert!(matches!(refused(Some("/etc/ca.crt"), None), TlsBuildError::CaEmpty));
    assert!(matches!(refused(Some(&key), None), TlsBuildError::CaEmpty));
    let (pem, _) = certificate();
    let torn = pem.replace("-----END CERTIFICATE-----", "");
    assert!(matches!(refused(Some(&torn), None), TlsBuildError::CaPem(_)));
    let garbage = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let second = format!("{pem}{garbage}");
    assert!(matches!(refused(Some(&second), None), TlsBuildError::CaCertificate { number: 2, .. }));
}

#[test]
fn identity_that_does_not_fit_together_is_refused() {
    let (pem, key) = certificate();
    let (_, other) = certificate();
    let encrypted = Secret::new("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n");
    assert!(matches!(refused(None, Some((&pem, &other))), TlsBuildError::KeyMismatch));
    assert!(matches!(refused(None, Some(("", &key))), TlsBuildError::CertificateEmpty));
    assert!(matches!(refused(None, Some((&pem, &Secret::new("")))), TlsBuildError::KeyMissing));
    assert!(matches!(refused(None, Some((&pem, &Secret::new(pem.clone())))), TlsBuildError::KeyMissing));
    assert!(matches!(refused(None, Some((&pem, &encrypted))), TlsBuildError::KeyEncrypted));
}

#[test]
fn error_text_holds_no_key_material() {
    let (pem, key) = certificate();
    let torn = Secret::new(key.expose().replace("-----END", "-----TORN"));
    let error = refused(None, Some((&pem, &torn)));
    let body: String = key.expose().lines().nth(1).unwrap().to_owned();
    assert!(!format!("{error} {error:?}").contains(&body));
}

#[test]
fn ca_bundle_and_identity_are_taken() {
    let (first, key) = certificate();
    let (second, _) = certificate();
    let config =
        client_config(Some(&format!("{first}{second}")), Some((&first, &key)), &TlsOptions::default()).unwrap();
    assert!(config.client_auth_cert_resolver.has_certs());
}

#[test]
fn installing_twice_is_harmless() {
    install();
    install();
    assert!(CryptoProvider::get_default().is_some());
}

#[test]
fn choice_is_what_is_offered_and_in_its_order() {
    let options = TlsOptions {
        tls12: true,
        groups: vec![NamedGroup::secp384r1, NamedGroup::X25519, NamedGroup::secp521r1],
        suites: vec![CipherSuite::TLS13_AES_256_GCM_SHA384, CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384],
    };
    let (ca, _) = certificate();
    let config = client_config(Some(&ca), None, &options).unwrap();
    let provider = config.crypto_provider();
    let groups: Vec<_> = provider.kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(groups, [NamedGroup::secp384r1, NamedGroup::X25519]);
    let suites: Vec<_> = provider.cipher_suites.iter().map(|suite| suite.suite()).collect();
    assert_eq!(suites, options.suites);
    assert!(!has_group(NamedGroup::secp521r1) && has_group(NamedGroup::X25519MLKEM768));
    assert!(!has_suite(CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA));
    let free = client_config(Some(&ca), None, &TlsOptions::default()).unwrap();
    assert!(free.crypto_provider().kx_groups.iter().any(|group| group.name() == NamedGroup::X25519MLKEM768));
}

/// The certificate of the first connection may have expired by the second.
#[tokio::test]
async fn server_that_wants_client_certificates_sees_one_on_every_connection() {
    let (pem, key) = certificate();
    for tls12 in [false, true] {
        let options = TlsOptions { tls12, ..TlsOptions::default() };
        let mut client = client_config(Some(&pem), Some((&pem, &key)), &options).unwrap();
        if tls12 {
            let only = ClientConfig::builder_with_provider(PROVIDER.clone());
            let only = only.with_protocol_versions(&[&rustls::version::TLS12]).unwrap().dangerous();
            let trust = ServerVerifier::new(TrustAnchors::of_pem(&pem).unwrap()).unwrap();
            let only = only.with_custom_certificate_verifier(Arc::new(trust));
            client = only.with_client_auth_cert(chain(&pem).unwrap(), private_key(&key).unwrap()).unwrap();
        }
        let client = TlsConnector::from(Arc::new(client));
        let server = TlsAcceptor::from(Arc::new(server_config((&pem, &key), Some(&pem), &options).unwrap()));
        for _ in 0..2 {
            let (near, far) = duplex(64 * 1024);
            let server = server.clone();
            let serving = tokio::spawn(async move {
                let mut stream = server.accept(far).await.unwrap();
                stream.write_all(b"up").await.unwrap();
                stream.shutdown().await.unwrap();
                stream.get_ref().1.handshake_kind()
            });
            let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
            let mut received = String::new();
            client.connect(name, near).await.unwrap().read_to_string(&mut received).await.unwrap();
            assert_eq!((received.as_str(), serving.await.unwrap()), ("up", Some(HandshakeKind::Full)), "{tls12}");
        }
    }
}
