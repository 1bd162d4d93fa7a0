//! Which algorithm may be offered with which key.

use super::*;
use crate::schema::keys;
use russh::keys::ssh_key::Mpint;
use russh::keys::ssh_key::public::{EcdsaPublicKey, KeyData, RsaPublicKey, SkEcdsaSha2NistP256};

/// One key of each kind, and the algorithms that it may be used with.
const KEYS: &[(&str, &[&str])] = &[
    ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBZlzpY84VBuhFbQeqvuAQrl1kaY9o8msyMNRJyFhJGz", &["ssh-ed25519"]),
    (
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA5I7gAClItmwsRgc2eRoWuXcJLm\
     0N6Yn4JUKOo+U1QiAczVsz07IqgsrePzjmbOGZNPydAxt+SztY1NFmcgZaM=",
        &["ecdsa-sha2-nistp256"],
    ),
    (
        "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBL5f8p9zenS9+rkzF7/gwEPFcFLW\
     qaGsjHDrco8D51TkxtVQXevrq4WsLXKw2iLtuSi3I1f5+nycU19c/CNIXckDAaJDKU0dTq2raWQqG6lM29zxjbqaMp1PsU0YexXA\
     Qg==",
        &["ecdsa-sha2-nistp384"],
    ),
    (
        "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAA/nG4Fg9X0CcgO3l3cyiY86yFB\
     iif2sjiM33kUZyAZHyEnHabkr802UFQGq2IT+OZqBK6pZayfTnMtAbEXKkMbLgFHmbICkQUBgiG45+inyWW6FWFKYfX8mCQqYqPw\
     tcM+b+YY9ZpYDNaKv0mfQV7GLJj0UIJBEayvuiE8awZc1VFhnw==",
        &["ecdsa-sha2-nistp521"],
    ),
    (
        "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIBZlzpY84VBuhFbQeqvuAQrl1kaY9\
     o8msyMNRJyFhJGzAAAABHNzaDo=",
        &["sk-ssh-ed25519@openssh.com"],
    ),
    (
        "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyN\
     TYAAABBBA5I7gAClItmwsRgc2eRoWuXcJLm0N6Yn4JUKOo+U1QiAczVsz07IqgsrePzjmbOGZNPydAxt+SztY1NFmcgZaMAAAAEc\
     3NoOg==",
        &["sk-ecdsa-sha2-nistp256@openssh.com"],
    ),
    (
        "ssh-dss AAAAB3NzaC1kc3MAAACBALTIqe9rUpwTL2jcq7sEMoA3PC58Dq7FPRelV/s8JPdpXz0ncCFdlMccGiPJskPDzosjvBj1\
     kzXHX56NzFPWTpavTcm3QfkGdYQFBa4XipmaSb4LdoLy/9VZYm8mw92KHSpjbXYS+b+iOMrcQ4o3T++8x8n8d0yNM5jTMvYZFJIz\
     AAAAFQCH9WlA/kRc/AOsW6YhF5YFaxtzCQAAAIEAneYaL4jwm/OJowlsRE9A/3GgmcLes5NuYn/lHcEWBWmj2yrnfte64H1l0QXI\
     9BnZBxioFpXWmQwcMReiBbDIEE8HgiJ44XQsBx3fRMZMVlPCNyuTRTaRR8Fhh2T4TCA7sMo4KALAuY7jXJNTS7JvNlodBw44b0Bd\
     +4zRPJjwk5cAAACAfL051uZDdzQyVUmhdgnXidqJGzKxnTbeAU9+5W0MqLZ2aaQvY683IDqJkYVFteLJHoVDhxbmih+pgvFZheJl\
     HDhpAnbQeWRU0AC4VcVor4b7kh8pD3hmNXw/ohUgVOr03EbVjIK4g+wjRBNn8itDmW7xR3rYM2voygqOZaRE7xs=",
        &[],
    ),
];

/// Algorithms that a client may name: real ones, broken ones, and one that nobody has heard of.
const ALGORITHMS: &[&str] = &[
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-256",
    "rsa-sha2-512",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
    "ssh-dss",
    "made-up@example.org",
];

/// Every algorithm, and RSA keys of at least so many bits.
fn all(required_rsa_size: usize) -> KeyRules {
    let names = keys::default("ssh.pubkeyAcceptedAlgorithms").and_then(|names| names.as_array()).unwrap();
    let accepted = names.iter().map(|name| Algorithm::new(name.as_str().unwrap()).unwrap()).collect();
    KeyRules { required_rsa_size, accepted }
}

/// These algorithms alone.
fn only(names: &[&str]) -> KeyRules {
    KeyRules { required_rsa_size: 2048, accepted: names.iter().map(|name| Algorithm::new(name).unwrap()).collect() }
}

fn accepted(key: &PublicKey, rules: &KeyRules) -> Vec<&'static str> {
    let fits = |name: &&str| check(key, &Algorithm::new(name).unwrap(), rules).is_ok();
    ALGORITHMS.iter().copied().filter(fits).collect()
}

/// A key with a modulus of so many bits; nobody has to know its factors.
fn rsa(bits: usize) -> PublicKey {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] >>= (8 - bits % 8) % 8;
    let number = |bytes: &[u8]| Mpint::from_positive_bytes(bytes);
    PublicKey::new(KeyData::Rsa(RsaPublicKey::new(number(&[1, 0, 1]), number(&modulus)).unwrap()), "")
}

#[test]
fn key_is_taken_with_its_own_algorithms_alone() {
    for (line, algorithms) in KEYS {
        assert_eq!(accepted(&PublicKey::from_openssh(line).unwrap(), &all(2048)), *algorithms, "{line}");
    }
    assert_eq!(accepted(&rsa(2048), &all(2048)), ["rsa-sha2-256", "rsa-sha2-512"]);
}

#[test]
fn rsa_key_that_is_shorter_than_required_is_refused() {
    let sha512 = Algorithm::new("rsa-sha2-512").unwrap();
    for (bits, required, accepted) in [
        (768, 1024, false),
        (1023, 1024, false),
        (1024, 1024, true),
        (1024, 2048, false),
        (2047, 2048, false),
        (4096, 4096, true),
    ] {
        let result = if accepted { Ok(()) } else { Err(KeyOfferError::ShortRsaKey { bits, required }) };
        assert_eq!(check(&rsa(bits), &sha512, &all(required)), result, "{bits}");
    }
}

#[test]
fn algorithm_that_the_operator_does_not_want_is_refused() {
    let without_fido = all(2048).accepted.into_iter().filter(|algorithm| !algorithm.as_str().starts_with("sk-"));
    let without_fido = KeyRules { required_rsa_size: 2048, accepted: without_fido.collect() };
    for (line, algorithms) in KEYS {
        let key = PublicKey::from_openssh(line).unwrap();
        let left: Vec<_> = algorithms.iter().copied().filter(|name| !name.starts_with("sk-")).collect();
        assert_eq!(accepted(&key, &without_fido), left, "{line}");
        assert_eq!(accepted(&key, &only(&[])), [""; 0], "{line}");
    }
    assert_eq!(accepted(&rsa(2048), &only(&["ssh-ed25519", "rsa-sha2-512"])), ["rsa-sha2-512"]);
    let told = check(&rsa(2048), &Algorithm::new("rsa-sha2-256").unwrap(), &only(&["rsa-sha2-512"])).unwrap_err();
    assert_eq!(told.to_string(), "the algorithm rsa-sha2-256 is not in ssh.pubkeyAcceptedAlgorithms");
    let file = rsa(2048).to_openssh().unwrap();
    assert!(offered(&file, &only(&["rsa-sha2-512"])).unwrap().is_ok());
    assert!(offered(&file, &only(&["ssh-ed25519"])).unwrap().is_err());
}

#[test]
fn refusals_name_the_algorithm_and_the_key() {
    let told =
        |algorithm: &str| check(&rsa(2048), &Algorithm::new(algorithm).unwrap(), &all(2048)).unwrap_err().to_string();
    assert_eq!(told("made-up@example.org"), "the algorithm made-up@example.org is not accepted");
    assert!(told("ssh-rsa").contains("ssh-rsa (SHA-1)") && told("ssh-dss").contains("ssh-dss"));
    assert_eq!(told("ssh-ed25519"), "the algorithm ssh-ed25519 does not fit a key of type ssh-rsa");
}

#[test]
fn file_of_a_public_key_is_what_a_client_would_offer() {
    for text in ["", "ssh-ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\nAA\n-----END OPENSSH PRIVATE KEY-----\n"] {
        assert_eq!(offered(text, &all(2048)), None, "{text:?}");
    }
    for (line, algorithms) in KEYS {
        let offered = offered(&format!("{line} jo@example.org\n"), &all(2048)).expect("a key");
        assert_eq!(offered.ok().as_deref(), Some(*line).filter(|_| !algorithms.is_empty()), "{line}");
    }
    let short = offered(&rsa(768).to_openssh().unwrap(), &all(2048)).expect("a key");
    assert_eq!(short, Err("the RSA key has 768 bits, and ssh.requiredRSASize is 2048".to_owned()));
}

/// A key whose point is compressed: of a P-256 key or that of a security key.
pub(in crate::ssh) fn compressed(line: &str) -> KeyData {
    let point = |key: &[u8]| {
        let (x, y) = key[1..].split_at((key.len() - 1) / 2);
        [&[2 | (y.last().unwrap() & 1)], x].concat()
    };
    match PublicKey::from_openssh(line).unwrap().key_data() {
        KeyData::Ecdsa(key) => KeyData::Ecdsa(EcdsaPublicKey::from_sec1_bytes(&point(key.as_sec1_bytes())).unwrap()),
        KeyData::SkEcdsaSha2NistP256(key) => {
            let EcdsaPublicKey::NistP256(point) =
                EcdsaPublicKey::from_sec1_bytes(&point(key.ec_point().as_bytes())).unwrap()
            else {
                unreachable!("a point of P-256")
            };
            KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(point, key.application()))
        }
        _ => panic!("no point: {line}"),
    }
}

/// A key of P-256.
pub(in crate::ssh) const P256: &str = KEYS[1].0;

#[test]
fn compressed_point_is_refused_though_it_is_the_same_key() {
    let with_points = KEYS.iter().filter(|(line, _)| line.contains("ecdsa"));
    let mut checked = 0;
    for (line, algorithms) in with_points {
        let algorithm = Algorithm::new(algorithms[0]).unwrap();
        assert_eq!(check(&PublicKey::from_openssh(line).unwrap(), &algorithm, &all(2048)), Ok(()));
        assert_eq!(check(&compressed(line).into(), &algorithm, &all(2048)), Err(KeyOfferError::PointForm), "{line}");
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[test]
fn certificate_under_the_name_of_its_key_is_refused() {
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;
    use russh::keys::ssh_key::private::Ed25519Keypair;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[1; 32]));
    let mut builder = Builder::new(vec![7; 16], key.public_key().key_data().clone(), 0, u64::MAX).unwrap();
    builder.all_principals_valid().unwrap();
    let certificate = KeyData::Certificate(Box::new(builder.sign(&key).unwrap()));
    let algorithm = Algorithm::Ed25519;
    assert_eq!(check(key.public_key(), &algorithm, &all(2048)), Ok(()));
    assert_eq!(check(&certificate.into(), &algorithm, &all(2048)), Err(KeyOfferError::Certificate));
}
