//! What a bad certificate or key is told as, and that a server is always verified.

use super::*;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

fn certificate() -> (String, Secret) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (cert.pem(), Secret::new(signing_key.serialize_pem()))
}

fn refused(ca: Option<&str>, identity: Option<(&str, &Secret)>) -> TlsError {
    client_config(ca, identity, true).expect_err("must be refused")
}

#[test]
fn ca_without_a_usable_certificate_is_refused() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    assert!(matches!(refused(Some(""), None), TlsError::CaEmpty));
    assert!(matches!(refused(Some("/etc/ca.crt"), None), TlsError::CaEmpty));
    assert!(matches!(refused(Some(&key), None), TlsError::CaEmpty));
    let (pem, _) = certificate();
    let torn = pem.replace("-----END CERTIFICATE-----", "");
    assert!(matches!(refused(Some(&torn), None), TlsError::CaPem(_)));
    let garbage = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let second = format!("{pem}{garbage}");
    assert!(matches!(refused(Some(&second), None), TlsError::CaCertificate { number: 2, .. }));
}

#[test]
fn identity_that_does_not_fit_together_is_refused() {
    let (pem, key) = certificate();
    let (_, other) = certificate();
    let encrypted = Secret::new("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n");
    assert!(matches!(refused(None, Some((&pem, &other))), TlsError::KeyMismatch));
    assert!(matches!(refused(None, Some(("", &key))), TlsError::CertificateEmpty));
    assert!(matches!(refused(None, Some((&pem, &Secret::new("")))), TlsError::KeyMissing));
    assert!(matches!(refused(None, Some((&pem, &Secret::new(pem.clone())))), TlsError::KeyMissing));
    assert!(matches!(refused(None, Some((&pem, &encrypted))), TlsError::KeyEncrypted));
}

#[test]
fn error_text_holds_no_key_material() {
    let (pem, key) = certificate();
    let torn = Secret::new(key.expose().replace("-----END", "-----XXX"));
    let error = refused(None, Some((&pem, &torn)));
    let body: String = key.expose().lines().nth(1).unwrap().to_owned();
    assert!(!format!("{error} {error:?}").contains(&body));
}

#[test]
fn ca_bundle_and_identity_are_taken() {
    let (first, key) = certificate();
    let (second, _) = certificate();
    let config = client_config(Some(&format!("{first}{second}")), Some((&first, &key)), false).unwrap();
    assert!(config.client_auth_cert_resolver.has_certs());
}

#[test]
fn installing_twice_is_harmless() {
    install();
    install();
    assert!(CryptoProvider::get_default().is_some());
}
