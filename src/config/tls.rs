//! `tlsVersion`, `curves` and `cipher`: what of TLS a block takes. ContainerSSH's lists in every spelling that it reads;
//! a list with everything of its default in it counts as unset, because it stands in every file that it wrote back and
//! would switch the post-quantum exchange off. What our TLS does not have is named in a warning, and is an error only
//! where nothing else is left.

use crate::schema::{Section, nearest};
use crate::tls::{TlsOptions, has_group, has_suite};
use crate::types::{printable, quoted};
use rustls::{CipherSuite, NamedGroup};
use serde_json::Value;

/// Names in every spelling, and what they stand for.
type KnownNames<T> = (&'static [&'static str], T);

/// The first four are ContainerSSH's default.
const CURVES: [KnownNames<NamedGroup>; 5] = [
    (&["x25519", "X25519"], NamedGroup::X25519),
    (&["secp256r1", "prime256v1"], NamedGroup::secp256r1),
    (&["secp384r1"], NamedGroup::secp384r1),
    (&["secp521r1"], NamedGroup::secp521r1),
    (&["X25519MLKEM768", "x25519mlkem768"], NamedGroup::X25519MLKEM768),
];
const DEFAULT_CURVES: usize = 4;

/// The first five are ContainerSSH's default, the first three TLS 1.3's.
const SUITES: [KnownNames<CipherSuite>; 9] = [
    (&["TLS_AES_128_GCM_SHA256"], CipherSuite::TLS13_AES_128_GCM_SHA256),
    (&["TLS_AES_256_GCM_SHA384"], CipherSuite::TLS13_AES_256_GCM_SHA384),
    (&["TLS_CHACHA20_POLY1305_SHA256"], CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    (
        &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_AES_128_GCM_SHA256"],
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        &[
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "TLS_ECDHE_ECDSA_AES_128_GCM_SHA256",
        ],
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        &["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_AES_256_GCM_SHA384"],
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        &[
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "TLS_ECDHE_ECDSA_AES_256_GCM_SHA384",
        ],
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        &[
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
            "ECDHE-RSA-CHACHA20-POLY1305",
            "TLS_ECDHE_RSA_CHACHA20_POLY1305",
        ],
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        &[
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "TLS_ECDHE_ECDSA_CHACHA20_POLY1305",
        ],
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];
const DEFAULT_SUITES: usize = 5;
const TLS13_SUITES: usize = 3;

/// The keys, typed, not yet judged.
pub(super) struct TlsKeys {
    tls12: bool,
    curves: Vec<usize>,
    suites: Vec<usize>,
}

impl TlsKeys {
    /// Reads the keys and checks the names.
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            tls12: version(section) == Some("1.2"),
            curves: listed(section, "curves", &CURVES.map(|(names, _)| names), DEFAULT_CURVES),
            suites: listed(section, "cipher", &SUITES.map(|(names, _)| names), DEFAULT_SUITES),
        }
    }

    /// Resulting options of a connection with TLS; `None` was reported.
    pub(super) fn judge(self, section: &Section<'_>) -> Option<TlsOptions> {
        let groups = chosen(section, "curves", &self.curves, &CURVES, has_group);
        let mut wanted = self.suites;
        if !wanted.is_empty() {
            if !self.tls12 && wanted.iter().all(|index| *index >= TLS13_SUITES) {
                section.notice(
                    "cipher",
                    "contains only suites of TLS 1.2, which have no effect without tlsVersion: \"1.2\"",
                );
            }
            // As with Go's TLS, those of TLS 1.3 are all there unless one is named.
            if !wanted.iter().any(|index| *index < TLS13_SUITES) {
                wanted.splice(0..0, 0..TLS13_SUITES);
            }
        }
        let suites = chosen(section, "cipher", &wanted, &SUITES, has_suite);
        Some(TlsOptions { tls12: self.tls12, groups: groups?, suites: suites? })
    }
}

/// The values of a list that our TLS has; empty for an empty list.
fn chosen<T: Copy>(
    section: &Section<'_>,
    key: &str,
    wanted: &[usize],
    known: &[KnownNames<T>],
    has: fn(T) -> bool,
) -> Option<Vec<T>> {
    let named = wanted.iter().filter_map(|index| known.get(*index).copied());
    let (ours, lacking): (Vec<_>, Vec<_>) = named.partition(|(_, value)| has(*value));
    let names: Vec<&str> = lacking.iter().filter_map(|(names, _)| names.first().copied()).collect();
    if !names.is_empty() && ours.is_empty() {
        section.error(
            key,
            format!(
                "{} is not supported by the TLS library, and the list contains nothing else; add x25519",
                names.join(", ")
            ),
        );
        return None;
    }
    if !names.is_empty() {
        section.warning(key, &format!("{} is not supported by the TLS library and is left out", names.join(", ")));
    }
    Some(ours.into_iter().map(|(_, value)| value).collect())
}

/// `tlsVersion`, which YAML may have read as a number.
fn version(section: &Section<'_>) -> Option<&'static str> {
    let found = match section.value("tlsVersion")? {
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    match found.as_str() {
        "1.2" => Some("1.2"),
        "1.3" => Some("1.3"),
        _ => {
            section.error("tlsVersion", "must be \"1.2\" or \"1.3\"");
            None
        }
    }
}

/// The names of a list by their number, in order; empty where it is unset or leaves out none of the first `default`.
fn listed(section: &Section<'_>, key: &'static str, known: &[&[&str]], default: usize) -> Vec<usize> {
    let names: Vec<&str> = match section.value(key) {
        Some(Value::String(text)) => text.split(':').filter(|name| !name.is_empty()).collect(),
        Some(_) => section.texts(key).unwrap_or_default(),
        None => return Vec::new(),
    };
    let mut listed = Vec::new();
    for name in names {
        match known.iter().position(|spellings| spellings.contains(&name)) {
            Some(index) if listed.contains(&index) => {}
            Some(index) => listed.push(index),
            None => {
                let near = nearest(name, known.iter().flat_map(|spellings| spellings.iter().copied()));
                let hint = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
                section.error(key, format!("{} is not a known name{hint}", quoted(&printable(name, 64))));
            }
        }
    }
    if (0..default).all(|index| listed.contains(&index)) { Vec::new() } else { listed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::{has, with};
    use serde_json::json;

    const BLOCK: &str = "auth.password.webhook";

    fn choice(key: &str, value: Value) -> (TlsOptions, Vec<String>) {
        let config = with(&format!("{BLOCK}.{key}"), value).unwrap_or_else(|errors| panic!("{errors}"));
        let warnings = config.notices.into_iter().filter(|notice| notice.warn).map(|notice| notice.text).collect();
        (config.auth.password.expect("a webhook").client.tls, warnings)
    }

    #[test]
    fn list_of_which_nothing_is_left_is_an_error() {
        for value in [json!(["secp521r1"]), json!("secp521r1"), json!("secp521r1:secp521r1")] {
            let errors = with(&format!("{BLOCK}.curves"), value).expect_err("nothing is left");
            assert!(
                has(&errors, &format!("{BLOCK}.curves"), "secp521r1 is not supported by the TLS library"),
                "{errors}"
            );
        }
    }

    #[test]
    fn what_our_tls_lacks_is_named_and_left_out() {
        let (choice, warnings) = choice("curves", json!(["secp521r1", "prime256v1", "x25519"]));
        assert_eq!(choice.groups, [NamedGroup::secp256r1, NamedGroup::X25519]);
        assert!(warnings.len() == 1 && warnings[0].contains("secp521r1"), "{warnings:?}");
    }

    #[test]
    fn list_that_is_whole_says_nothing_and_others_are_taken_in_their_order() {
        let whole = json!("secp521r1:X25519:prime256v1:secp384r1");
        assert_eq!(choice("curves", whole), (TlsOptions::default(), Vec::new()));
        let (hybrid, warnings) = choice("curves", json!(["x25519mlkem768", "x25519"]));
        assert_eq!((hybrid.groups, warnings.len()), (vec![NamedGroup::X25519MLKEM768, NamedGroup::X25519], 0));
        let (one, _) = choice("cipher", json!(["TLS_AES_256_GCM_SHA384"]));
        assert_eq!(one.suites, [CipherSuite::TLS13_AES_256_GCM_SHA384]);
        let (old, warnings) = choice("cipher", json!("ECDHE-RSA-AES256-GCM-SHA384"));
        assert_eq!(
            (old.suites.len(), old.suites.last()),
            (4, Some(&CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384))
        );
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}
