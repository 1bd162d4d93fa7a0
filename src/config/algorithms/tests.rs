//! Lists of algorithms: what each comes to, and what is said about the rest.

use crate::config::AlgorithmList;
use crate::config::fixture::{has, with};
use crate::config::{Cipher, Config, Kex, Mac};
use serde_json::json;

/// What is warned of at a start, and that each is about that key.
fn warnings(config: &Config, path: &str) -> Vec<String> {
    let warnings = config.notices.iter().filter(|notice| notice.warn);
    warnings.inspect(|notice| assert_eq!(notice.path, path)).map(|notice| notice.text.clone()).collect()
}

#[test]
fn key_exchanges_are_obeyed_as_written_but_for_containersshs_default_which_is_added_to_ours() {
    use Kex::{Curve25519, Curve25519Libssh, MlKem768X25519, NistP256, NistP384, NistP521};
    let ours = [MlKem768X25519, Curve25519, Curve25519Libssh];
    let theirs = ["curve25519-sha256@libssh.org", "ecdh-sha2-nistp521", "ecdh-sha2-nistp384", "ecdh-sha2-nistp256"];
    let mut reordered = theirs;
    reordered.reverse();
    for (names, held) in [
        (json!([]), ours.to_vec()),
        (json!(theirs), [&ours[..], &[NistP521, NistP384, NistP256]].concat()),
        (json!(reordered), vec![NistP256, NistP384, NistP521, Curve25519Libssh]),
        (json!(theirs[..3]), vec![Curve25519Libssh, NistP521, NistP384]),
        (json!(["ecdh-sha2-nistp256"]), vec![NistP256]),
        (json!(["curve25519-sha256", "ecdh-sha2-nistp256", "curve25519-sha256"]), vec![Curve25519, NistP256]),
    ] {
        let config = with("ssh.kex", names.clone()).expect("loads");
        assert_eq!(config.ssh.kex, held, "{names}");
        assert_eq!(warnings(&config, "ssh.kex"), Vec::<String>::new(), "{names}");
    }
}

#[test]
fn ciphers_are_obeyed_as_written_but_for_containersshs_default_which_is_added_to_ours() {
    use Cipher::{Aes128Ctr, Aes128Gcm, Aes192Ctr, Aes256Ctr, Aes256Gcm, ChaCha20Poly1305};
    let ours = [Aes256Gcm, Aes128Gcm, ChaCha20Poly1305, Aes256Ctr];
    let theirs = [
        "chacha20-poly1305@openssh.com",
        "aes256-gcm@openssh.com",
        "aes128-gcm@openssh.com",
        "aes256-ctr",
        "aes192-ctr",
        "aes128-ctr",
    ];
    for (names, held) in [
        (json!([]), ours.to_vec()),
        (json!(theirs), [&ours[..], &[Aes192Ctr, Aes128Ctr]].concat()),
        (json!(theirs[..5]), vec![ChaCha20Poly1305, Aes256Gcm, Aes128Gcm, Aes256Ctr, Aes192Ctr]),
        (json!(["aes128-ctr"]), vec![Aes128Ctr]),
    ] {
        let ssh = with("ssh.ciphers", names.clone()).expect("loads").ssh;
        let is_default = held == ours;
        assert_eq!(ssh.openssh_ciphers, if is_default { vec![Aes256Gcm, Aes128Gcm] } else { held.clone() }, "{names}");
        assert_eq!(ssh.ciphers, held, "{names}");
    }
}

#[test]
fn macs_of_containersshs_defaults_are_ours_and_others_are_obeyed_as_written() {
    let ours = [Mac::Sha256Etm, Mac::Sha512Etm];
    let theirs = [&ours[..], &[Mac::Sha256]].concat();
    for (names, held) in [
        (json!([]), ours.to_vec()),
        (json!(["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256"]), theirs.clone()),
        (json!(["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256", "hmac-sha1", "hmac-sha1-96"]), theirs),
        (json!(["hmac-sha2-256", "hmac-sha2-256-etm@openssh.com"]), vec![Mac::Sha256, Mac::Sha256Etm]),
        (json!(["hmac-sha2-512"]), vec![Mac::Sha512]),
    ] {
        assert_eq!(with("ssh.macs", names.clone()).expect("loads").ssh.macs, held, "{names}");
    }
}

#[test]
fn broken_algorithms_beside_others_are_left_out_with_a_warning_each() {
    let config = with("ssh.ciphers", json!(["aes128-cbc", "aes256-ctr", "arcfour"])).expect("loads");
    assert_eq!(config.ssh.ciphers, [Cipher::Aes256Ctr]);
    let told = ["\"aes128-cbc\" is left out: CBC mode is broken in SSH", "\"arcfour\" is left out: RC4 is broken"];
    assert_eq!(warnings(&config, "ssh.ciphers"), told);
    let config = with("ssh.kex", json!(["diffie-hellman-group14-sha1", "ecdh-sha2-nistp256"])).expect("loads");
    assert_eq!((config.ssh.kex.as_slice(), warnings(&config, "ssh.kex").len()), (&[Kex::NistP256][..], 1));
    let old = json!(["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256", "hmac-sha1", "hmac-sha1-96"]);
    let config = with("ssh.macs", old).expect("loads");
    assert_eq!(warnings(&config, "ssh.macs").len(), 2);
}

#[test]
fn list_of_broken_or_unknown_algorithms_alone_is_an_error() {
    let errors = with("ssh.ciphers", json!(["aes128-cbc", "3des-cbc"])).expect_err("nothing is left");
    assert!(errors.0.len() == 2 && has(&errors, "ssh.ciphers", "and nothing else is named"), "{errors}");
    let errors = with("ssh.ciphers", json!(["aes128-cbc", "aes256-ctr", "aes256-crt"])).expect_err("a typing error");
    assert!(errors.0.len() == 1 && has(&errors, "ssh.ciphers", "did you mean \"aes256-ctr\"?"), "{errors}");
}

#[test]
fn clients_names_that_a_list_may_hold_are_found() {
    let theirs = ["diffie-hellman-group14-sha1", "ecdh-sha2-nistp384", "x", "ecdh-sha2-nistp256"].map(str::to_owned);
    assert_eq!(AlgorithmList::Kex.admissible(&theirs), ["ecdh-sha2-nistp384", "ecdh-sha2-nistp256"]);
    assert_eq!(AlgorithmList::Ciphers.admissible(&theirs), Vec::<&str>::new());
    assert_eq!(AlgorithmList::Macs.path(), "ssh.macs");
}
