//! Targets for the fuzzer (feature `fuzzing`): what a client can make of its keys and certificates, and of the packets before
//! its login; never in the gateway.

mod client;
mod packets;

pub(crate) use packets::packets;

use super::certificate::{CertificateUse, TrustedAuthorities, facts, issued, keys};
use super::key_offer::{KeyRules, check, key_line};
use crate::auth::RevokedKeys;
use russh::keys::{Algorithm, Certificate, PublicKey};

/// The authority of the seeds, whose private key nobody has.
const AUTHORITY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPvPslMXuv40+zMTLiL54129HfQ9AaowDY6Hai+w1d+d";
/// The user and the time of every login.
const USER: &str = "alice";
const NOW: u64 = 1_900_000_000;
const RSA_SIZE: usize = 2048;

/// Two bytes with the length of a key or certificate in wire format, then this, then a file of revoked keys. Goes through the
/// checks in the order of a login.
pub(crate) fn certificates(data: &[u8]) {
    let Some((&[high, low], rest)) = data.split_first_chunk() else { return };
    let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
    let (offered, list) = rest.split_at(length);
    let revoked = RevokedKeys::parse(list).ok();
    offered_key(offered);
    let Ok(certificate) = Certificate::from_bytes(offered) else { return };
    let Ok(Some(authorities)) = TrustedAuthorities::read([AUTHORITY].into_iter()) else { unreachable!("an authority") };
    let client = Some([192, 0, 2, 1].into());
    let used = CertificateUse { username: USER, client, now: NOW, required_rsa_size: RSA_SIZE };
    let Ok(limits) = authorities.check(&certificate, used) else { return };
    assert!(certificate.cert_type().is_user());
    assert!(certificate.valid_principals().iter().any(|principal| principal == USER));
    assert!(certificate.valid_after() <= NOW && NOW <= certificate.valid_before());
    assert!(certificate.critical_options().len() <= 2, "there are no more that are known");
    assert_eq!(limits.force_command.as_ref(), certificate.critical_options().get("force-command"));
    let (Some(facts), Some(keys)) = (facts(&certificate), keys(&certificate)) else { return };
    assert!(serde_json::to_vec(&facts).is_ok());
    assert!(facts.valid_after <= NOW && facts.valid_before.is_none_or(|before| NOW < before));
    let issued = || issued(&certificate, &keys);
    if let Some(revoked) = &revoked {
        let has_key = revoked.has_key(&keys.0) || revoked.has_key(&keys.1);
        assert!(!has_key || revoked.has_certificate(issued()));
    }
    // However the client writes its key, a list with the key or the authority knows it.
    for key in [certificate.public_key(), certificate.signature_key()] {
        // russh takes no signature of a key whose type it does not know.
        if matches!(key.algorithm(), Algorithm::Other(_)) {
            continue;
        }
        let Some(line) = key_line(&PublicKey::new(key.clone(), "")) else { continue };
        let Ok(list) = RevokedKeys::parse(line.as_bytes()) else { unreachable!("{line} is not read back") };
        assert!(list.has_certificate(issued()), "{line}");
    }
}

fn offered_key(offered: &[u8]) {
    let Ok(key) = PublicKey::from_bytes(offered) else { return };
    let algorithms =
        ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512"];
    let algorithms = algorithms.into_iter().chain(["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"]);
    let accepted: Vec<Algorithm> = algorithms.filter_map(|name| Algorithm::new(name).ok()).collect();
    let rules = KeyRules { required_rsa_size: RSA_SIZE, accepted };
    let taken: Vec<_> = rules.accepted.iter().filter(|algorithm| check(&key, algorithm, &rules).is_ok()).collect();
    assert!(taken.len() <= 1, "{taken:?}");
    let (false, Some(line), Ok(blob)) = (taken.is_empty(), key_line(&key), key.to_bytes()) else { return };
    let Ok(list) = RevokedKeys::parse(line.as_bytes()) else { unreachable!("{line} is not read back") };
    assert!(list.has_key(&blob), "{line}");
}
