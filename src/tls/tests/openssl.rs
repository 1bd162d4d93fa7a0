//! Certificates as people make them with the `openssl` program.

use super::*;
use crate::tls::{ConfigBlock, explain};
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::{ServerName, UnixTime};
use std::path::Path;
use std::process::Command;

fn openssl(folder: &Path, arguments: &str) -> bool {
    let Ok(output) = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output() else {
        assert!(std::env::var_os("PODGATE_TEST_ALL").is_none(), "openssl is missing: install openssl");
        eprintln!("passed by: openssl is missing; install openssl");
        return false;
    };
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

/// Verdict of a client with `crt.pem` as `cacert` on a server with that certificate.
fn judge(folder: &Path, name: &str) -> Result<(), String> {
    let pem = std::fs::read_to_string(folder.join("crt.pem")).unwrap();
    let trust = ServerVerifier::new(TrustAnchors::of_pem(&pem).unwrap()).unwrap();
    let shown = chain(&pem).unwrap().remove(0);
    let verified = trust.verify_server_cert(&shown, &[], &ServerName::try_from(name).unwrap(), &[], UnixTime::now());
    verified.map(drop).map_err(|error| explain(&error, ConfigBlock::Webhook))
}

const SUBJECT: &str = "-nodes -days 30 -keyout key.pem -out crt.pem -subj /CN=localhost";
const NAMES: &str = "-addext subjectAltName=DNS:localhost,IP:127.0.0.1";

#[test]
fn self_signed_certificates_as_openssl_makes_them_are_taken_for_their_names() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-256", "ed25519"] {
        for more in ["", "-addext basicConstraints=critical,CA:FALSE", "-addext extendedKeyUsage=serverAuth"] {
            if !openssl(folder.path(), &format!("req -x509 -newkey {kind} {SUBJECT} {NAMES} {more}")) {
                return;
            }
            let message = judge(folder.path(), "other.example").expect_err("another name");
            let sentence = "the server's certificate is for localhost and 127.0.0.1, not for other.example; ";
            assert!(message.starts_with(sentence), "{kind} {more}: {message}");
            for name in ["localhost", "127.0.0.1"] {
                judge(folder.path(), name).unwrap_or_else(|message| panic!("{kind} {more}: {message}"));
            }
        }
    }
}

#[test]
fn certificate_with_a_common_name_alone_is_told_with_the_line_that_makes_a_better_one() {
    let folder = tempfile::tempdir().unwrap();
    if !openssl(folder.path(), &format!("req -x509 -newkey ed25519 {SUBJECT}")) {
        return;
    }
    let message = judge(folder.path(), "localhost").expect_err("no names");
    let sentence = "the server's certificate has no subjectAltName, so it is not for localhost; make one with that name \
                    (openssl: -addext subjectAltName=DNS:localhost)";
    assert_eq!(message, sentence);
}

#[test]
fn certificate_of_x509_version_1_is_told_to_have_no_names() {
    let folder = tempfile::tempdir().unwrap();
    let request = "req -newkey rsa:2048 -nodes -keyout key.pem -out csr.pem -subj /CN=localhost";
    if !openssl(folder.path(), request) {
        return;
    }
    // OpenSSL up to 3.3 makes version 1 here; a later one, version 3 without names.
    openssl(folder.path(), "x509 -req -in csr.pem -signkey key.pem -days 30 -out crt.pem");
    let message = judge(folder.path(), "localhost").expect_err("no names");
    assert!(message.starts_with("the server's certificate has no subjectAltName"), "{message}");
    assert!(message.contains("-addext subjectAltName=DNS:"), "{message}");
}
