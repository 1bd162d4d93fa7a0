//! Lists and KRLs of ssh-keygen's, and what is neither.

use super::*;

/// `ssh-keygen -k` with serials 5, 100-110, even ones from 300 to 312 and 340, the key id `stolen`, key B, and the sums of
/// C (SHA-1) and D (SHA-256).
const KRL: &[u8] = include_bytes!("../../../tests/fuzz/seeds/revoked-keys/krl");
/// The keys A and C, a comment and an empty line.
const LIST: &[u8] = include_bytes!("../../../tests/fuzz/seeds/revoked-keys/list");

const CA: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIPRYBGCDy7ZNEbe84MVMRd4BN+51azdnWI3ntzuhWHhR";
const CA2: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIIkAz1wmJi86/pVFus8jHGHl3IR0h9P7NQPxpXp+uUYi";
const A: &str = "AAAAC3NzaC1lZDI1NTE5AAAAILmIXDIsqaPl/a0jZPgosvmTzu0wCtmPa0SpdxtdKo+p";
const B: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIBI94NLzXqPSDg/a5E78eQx1pMe5eGuBLGJ0AByURggC";
const C: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIGfd1JJrdouzwv0Fq4SsOLvaQK0l169I4ZAHf1Qlgu+y";
const D: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIPv7bFS+OdwcDOnnxsAxMfcHDPX2nITvnTQNu/LuQzar";

fn key(text: &str) -> Vec<u8> {
    BASE64.decode(text.as_bytes()).expect("base64")
}

fn issued(revoked: &RevokedKeys, user: &str, authority: &str, serial: u64, key_id: &str) -> bool {
    let (user, authority) = (key(user), key(authority));
    revoked.has_certificate(IssuedCertificate { key: &user, authority: &authority, serial, key_id })
}

#[test]
fn krl_revokes_what_ssh_keygen_says_that_it_revokes() {
    let revoked = RevokedKeys::parse(KRL).expect("a KRL");
    assert_eq!([A, B, C, D, CA].map(|text| revoked.has_key(&key(text))), [false, true, true, true, false]);
    for (serial, is_revoked) in [
        (0, false),
        (4, false),
        (5, true),
        (6, false),
        (99, false),
        (100, true),
        (110, true),
        (111, false),
        (299, false),
        (300, true),
        (301, false),
        (302, true),
        (312, true),
        (313, false),
        (339, false),
        (340, true),
        (341, false),
        (348, false),
        (u64::MAX, false),
    ] {
        assert_eq!(issued(&revoked, A, CA, serial, "a"), is_revoked, "{serial}");
        assert!(!issued(&revoked, A, CA2, serial, "a"), "another authority's {serial}");
    }
    assert!(issued(&revoked, A, CA, 1, "stolen") && !issued(&revoked, A, CA2, 1, "stolen"));
    assert!(issued(&revoked, B, CA2, 1, "a"), "a certificate of a revoked key");
}

#[test]
fn list_revokes_keys_and_the_certificates_of_and_by_them() {
    let revoked = RevokedKeys::parse(LIST).expect("a list");
    assert_eq!([A, B, C, D].map(|text| revoked.has_key(&key(text))), [true, false, true, false]);
    assert!(issued(&revoked, A, CA, 1, "a") && issued(&revoked, B, C, 1, "b") && !issued(&revoked, B, CA, 1, "b"));
    assert_eq!(RevokedKeys::parse(b""), Ok(RevokedKeys::default()));
}

#[test]
fn serial_0_is_of_an_authority_that_counts_none_and_is_never_revoked() {
    let revoked = RevokedCertificates { serials: vec![0..=9], ..RevokedCertificates::default() };
    assert!(!revoked.has_serial(0) && revoked.has_serial(9) && !revoked.has_serial(10));
    assert!(revoked.contains(IssuedCertificate { key: b"k", authority: b"any", serial: 1, key_id: "" }));
}

#[test]
fn what_is_not_understood_to_its_end_is_an_error() {
    for (text, error) in [
        ("ssh-ed25519", RevokedKeysError::Line(1)),
        ("# one\nalice", RevokedKeysError::Line(2)),
        ("ssh-ed25519 AAAA", RevokedKeysError::Line(1)),
        (&format!("ssh-rsa {A}"), RevokedKeysError::Line(1)),
        (&format!("\nno-pty ssh-ed25519 {A}"), RevokedKeysError::Line(2)),
    ] {
        assert_eq!(RevokedKeys::parse(text.as_bytes()), Err(error), "{text}");
    }
    assert_eq!(RevokedKeys::parse(b"\xff"), Err(RevokedKeysError::NotText));
    // Between its header and its end, a KRL is whole only behind a section.
    let whole: Vec<usize> = (60..KRL.len()).filter(|end| RevokedKeys::parse(&KRL[..*end]).is_ok()).collect();
    assert_eq!(whole.len(), 3, "{whole:?}");
    assert_eq!(RevokedKeys::parse(&KRL[..20]), Err(RevokedKeysError::Damaged));
    let header = [MAGIC, &[0, 0, 0, 1], &[0; 24], &[0; 8]].concat();
    assert_eq!(RevokedKeys::parse(&header), Ok(RevokedKeys::default()));
    let extension = |critical| [&[255, 0, 0, 0, 10, 0, 0, 0, 1, b'x', critical][..], &[0; 4]].concat();
    for (section, outcome) in [
        (vec![4], Err(RevokedKeysError::Signed)),
        (vec![9, 0, 0, 0, 0], Err(RevokedKeysError::Section(9))),
        (extension(1), Err(RevokedKeysError::Section(255))),
        (extension(0), Ok(RevokedKeys::default())),
        (vec![3, 0, 0, 0, 5, 0, 0, 0, 1, 7], Err(RevokedKeysError::Damaged)),
    ] {
        assert_eq!(RevokedKeys::parse(&[&header[..], &section].concat()), outcome, "{section:?}");
    }
    let mut other = KRL.to_vec();
    other[11] = 2;
    assert_eq!(RevokedKeys::parse(&other), Err(RevokedKeysError::Version(2)));
}
