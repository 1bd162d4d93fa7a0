//! Certificates with one fault each, and what the sound ones limit.

use super::*;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::private::Ed25519Keypair;

const NOW: u64 = 1_000;
const CLIENT: &str = "192.0.2.7";

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// A certificate of key 1 by authority 2 for alice from 500 to 2000, with a change.
fn certificate(change: impl FnOnce(&mut Builder)) -> Certificate {
    issue((500, 2_000), |builder| {
        builder.valid_principal("alice").unwrap();
        change(builder);
    })
}

fn issue(times: (u64, u64), change: impl FnOnce(&mut Builder)) -> Certificate {
    issue_as(CertType::User, times, change)
}

fn issue_as(kind: CertType, (after, before): (u64, u64), change: impl FnOnce(&mut Builder)) -> Certificate {
    let mut builder = Builder::new(vec![7; 16], key(1).public_key().key_data().clone(), after, before).unwrap();
    builder.cert_type(kind).unwrap();
    change(&mut builder);
    builder.sign(&key(2)).unwrap()
}

fn option(name: &str, value: &str) -> Certificate {
    certificate(|builder| builder.critical_option(name, value).map(|_| ()).unwrap())
}

fn check_at(certificate: &Certificate, username: &str, now: u64) -> Result<CertificateLimits, CertificateError> {
    let line = key(2).public_key().to_openssh().unwrap();
    let authorities = TrustedAuthorities::read([line.as_str()].into_iter()).unwrap().unwrap();
    let used = CertificateUse { username, client: Some(CLIENT.parse().unwrap()), now, required_rsa_size: 2048 };
    authorities.check(certificate, used)
}

fn check(certificate: &Certificate) -> Result<CertificateLimits, CertificateError> {
    check_at(certificate, "alice", NOW)
}

#[test]
fn certificate_with_a_fault_is_refused_for_it() {
    use CertificateError::{
        Expired, Host, NoPrincipals, OptionValue, Principal, SourceAddress, TooEarly, UnknownOption, VerifyRequired,
    };
    for (certificate, fault) in [
        (issue_as(CertType::Host, (500, 2_000), |builder| builder.valid_principal("alice").map(|_| ()).unwrap()), Host),
        (issue((500, 2_000), |builder| builder.all_principals_valid().map(|_| ()).unwrap()), NoPrincipals),
        (issue((500, 2_000), |builder| builder.valid_principal("Alice").map(|_| ()).unwrap()), Principal),
        (option("no-such", ""), UnknownOption("no-such".to_owned())),
        (option("verify-required", ""), VerifyRequired),
        (option("force-command", ""), OptionValue("force-command")),
        (option("source-address", "192.0.2.8"), SourceAddress),
        (option("source-address", "198.51.100.0/24,2001:db8::/32"), SourceAddress),
        (option("source-address", ""), OptionValue("source-address")),
        (option("source-address", "192.0.2.7,"), OptionValue("source-address")),
        (option("source-address", "192.0.2.7/24"), OptionValue("source-address")),
        (option("source-address", "192.0.2.7, 192.0.2.8"), OptionValue("source-address")),
        (option("source-address", "*"), OptionValue("source-address")),
    ] {
        assert_eq!(check(&certificate), Err(fault));
    }
    let sound = certificate(|_| ());
    for (now, outcome) in
        [(499, Some(TooEarly)), (500, None), (1_999, None), (2_000, Some(Expired)), (u64::MAX, Some(Expired))]
    {
        assert_eq!(check_at(&sound, "alice", now).err(), outcome, "{now}");
    }
    assert_eq!(check_at(&sound, "bob", NOW), Err(Principal));
    let strange = TrustedAuthorities::read([key(3).public_key().to_openssh().unwrap().as_str()].into_iter());
    let used =
        CertificateUse { username: "alice", client: Some(CLIENT.parse().unwrap()), now: NOW, required_rsa_size: 2048 };
    let fault = strange.unwrap().unwrap().check(&sound, used).unwrap_err();
    assert!(matches!(fault, CertificateError::Authority(shown) if shown.starts_with("SHA256:")));
}

#[test]
fn certificate_for_certain_addresses_is_refused_where_the_client_s_is_not_known() {
    let authorities = TrustedAuthorities::read([key(2).public_key().to_openssh().unwrap().as_str()].into_iter());
    let authorities = authorities.unwrap().unwrap();
    let used = CertificateUse { username: "alice", client: None, now: NOW, required_rsa_size: 2048 };
    for (list, fault) in [
        ("192.0.2.7", CertificateError::UnknownSource),
        ("0.0.0.0/0,::/0", CertificateError::UnknownSource),
        ("*", CertificateError::OptionValue("source-address")),
    ] {
        assert_eq!(authorities.check(&option("source-address", list), used), Err(fault), "{list}");
    }
    assert!(authorities.check(&certificate(|_| ()), used).is_ok());
}

#[test]
fn compressed_key_or_extension_with_a_value_spoils_a_certificate() {
    use crate::ssh::key_offer::tests::{P256, compressed};
    let of_key = |data: KeyData| {
        let mut builder = Builder::new(vec![7; 16], data, 500, 2_000).unwrap();
        builder.cert_type(CertType::User).unwrap().valid_principal("alice").unwrap();
        builder.sign(&key(2)).unwrap()
    };
    let plain = PublicKey::from_openssh(P256).unwrap().key_data().clone();
    assert!(check(&of_key(plain)).is_ok());
    assert_eq!(check(&of_key(compressed(P256))), Err(CertificateError::KeyForm(KeyOfferError::PointForm)));
    let compressed = PublicKey::new(compressed(P256), "").to_openssh().unwrap();
    assert_eq!(TrustedAuthorities::read([compressed.as_str()].into_iter()).unwrap_err(), 0);
    for name in EXTENSIONS {
        let valued = certificate(|builder| builder.extension(name, "x").map(|_| ()).unwrap());
        assert_eq!(check(&valued), Err(CertificateError::ExtensionValue(name)));
        assert!(check(&certificate(|builder| builder.extension(name, "").map(|_| ()).unwrap())).is_ok());
    }
    assert!(check(&certificate(|builder| builder.extension("its@example.org", "x").map(|_| ()).unwrap())).is_ok());
}

/// Whoever compares keys, in a list of revoked ones or behind a webhook, could not.
#[test]
fn certificate_for_a_key_of_an_unknown_type_is_refused() {
    use russh::keys::ssh_key::public::OpaquePublicKey;
    let algorithm = Algorithm::new("key@example.org").unwrap();
    let unknown = KeyData::Other(OpaquePublicKey::new(vec![1, 2, 3], algorithm));
    let fault = KeyOfferError::Unknown("key@example.org".to_owned());
    assert_eq!(key_offer::check_form(&unknown), Err(fault.clone()));
    let mut builder = Builder::new(vec![7; 16], unknown, 500, 2_000).unwrap();
    builder.cert_type(CertType::User).unwrap().valid_principal("alice").unwrap();
    assert_eq!(check(&builder.sign(&key(2)).unwrap()), Err(CertificateError::KeyForm(fault)));
}

#[test]
fn certificate_limits_what_it_does_not_permit() {
    let none = CertificateLimits {
        force_command: None,
        terminal: false,
        port_forwarding: false,
        agent_forwarding: false,
        x11_forwarding: false,
    };
    assert_eq!(check(&certificate(|_| ())), Ok(none.clone()));
    let permits = |name: &str| check(&certificate(|builder| builder.extension(name, "").map(|_| ()).unwrap())).unwrap();
    assert_eq!(permits("permit-pty"), CertificateLimits { terminal: true, ..none.clone() });
    assert_eq!(permits("permit-port-forwarding"), CertificateLimits { port_forwarding: true, ..none.clone() });
    assert_eq!(permits("permit-agent-forwarding"), CertificateLimits { agent_forwarding: true, ..none.clone() });
    assert_eq!(permits("permit-X11-forwarding"), CertificateLimits { x11_forwarding: true, ..none.clone() });
    assert_eq!(permits("unknown@example.org"), none.clone());
    let forced = CertificateLimits { force_command: Some("id".to_owned()), ..none.clone() };
    assert_eq!(check(&option("force-command", "id")), Ok(forced));
    for list in ["192.0.2.7", "192.0.2.0/24", "2001:db8::/32,192.0.2.7/32"] {
        assert_eq!(check(&option("source-address", list)), Ok(none.clone()), "{list}");
    }
}

#[test]
fn webhooks_are_told_the_numbers_as_they_are() {
    let forever = issue((0, u64::MAX), |builder| {
        builder.serial(u64::MAX).unwrap();
        builder.valid_principal("alice").unwrap();
    });
    let told = facts(&forever).unwrap();
    assert_eq!((told.serial.as_str(), told.valid_after, told.valid_before), ("18446744073709551615", 0, None));
    assert_eq!(told.ca_public_key, key(2).public_key().to_openssh().unwrap().trim());
    assert_eq!(TrustedAuthorities::read(["ssh-ed25519 AAAA"].into_iter()).unwrap_err(), 0);
    assert!(TrustedAuthorities::read([].into_iter()).unwrap().is_none());
}
