//! Names for URLs, labels and manifests. kube does not escape them there, so they are parsed before: RFC 1123 labels for
//! namespaces and containers, subdomains for pods. A user's name is only data: code that derives another name from it
//! escapes or hashes it.

use super::is_hidden;
use std::fmt;

/// The reason why a text was refused, as the end of a sentence whose subject is the parsed text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) struct $name(String);

        impl $name {
            pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
                let check: fn(&str) -> Result<(), Invalid> = $check;
                check(text)?;
                Ok(Self(text.to_owned()))
            }

            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A namespace's name: an RFC 1123 label.
    Namespace,
    rfc1123_label
);
name!(
    /// A container's name: an RFC 1123 label.
    ContainerName,
    rfc1123_label
);
name!(
    /// A pod's name: an RFC 1123 subdomain.
    PodName,
    rfc1123_subdomain
);
name!(
    /// The login name that the client sent (RFC 4252 section 5): 1 to 1024 bytes of UTF-8, not blank and without
    /// [hidden](is_hidden) characters. All other characters occur in the names of some directory: `/`, `\\`, `@`, spaces, any
    /// script.
    Username,
    login_name
);

name!(
    /// The key of a label or an annotation: a name of 1 to 63 characters, optionally after its owner's DNS name and `/`.
    MetadataKey,
    qualified_name
);

fn rfc1123_label(text: &str) -> Result<(), Invalid> {
    if text.len() > 63 {
        return Err(Invalid("is longer than 63 characters".into()));
    }
    label_characters(text)
}

fn rfc1123_subdomain(text: &str) -> Result<(), Invalid> {
    if text.len() > 253 {
        return Err(Invalid("is longer than 253 characters".into()));
    }
    text.split('.').try_for_each(label_characters)
}

fn label_characters(text: &str) -> Result<(), Invalid> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inner) {
        return Ok(());
    }
    Err(Invalid("is not a DNS label (lower-case letters, digits and '-', a letter or digit at both ends)".into()))
}

fn qualified_name(text: &str) -> Result<(), Invalid> {
    let name = match text.split_once('/') {
        Some((owner, name)) => {
            rfc1123_subdomain(owner)?;
            name
        }
        None => text,
    };
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.len() <= 63 && edge(name.chars().next()) && edge(name.chars().last()) && name.chars().all(inner) {
        return Ok(());
    }
    Err(Invalid(
        "is not the key of a label (1 to 63 letters, digits, '-', '_' and '.', perhaps after a DNS name and '/')"
            .into(),
    ))
}

/// Limit of a login name, in bytes.
const LOGIN_NAME: usize = 1024;

fn login_name(text: &str) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid("is empty".into()));
    }
    if text.len() > LOGIN_NAME {
        return Err(Invalid(format!("is longer than {LOGIN_NAME} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid("contains a control character".into()));
    }
    if let Some(hidden) = text.chars().find(|c| is_hidden(*c)) {
        return Err(Invalid(format!("contains a character that cannot be seen (U+{:04X})", u32::from(hidden))));
    }
    if text.trim().is_empty() {
        return Err(Invalid("is blank".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_that_is_not_a_dns_label_is_refused() {
        let long = "a".repeat(64);
        for text in ["", "-a", "a-", "A", "a.b", "a/b", "a b", "ä", "../x", "a\n", &long] {
            assert!(Namespace::parse(text).is_err(), "{text:?}");
        }
        for text in ["a", "a-b", "0", &long[..63]] {
            assert_eq!(Namespace::parse(text).map(|n| n.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn pod_name_that_is_not_a_dns_subdomain_is_refused() {
        for text in ["", ".", "a.", ".a", "a..b", "a/b", "a?b", "A.b"] {
            assert!(PodName::parse(text).is_err(), "{text:?}");
        }
        assert!(PodName::parse("a.b-c.0").is_ok());
    }

    #[test]
    fn label_key_that_is_not_a_qualified_name_is_refused() {
        for text in ["", "/a", "a/", "a/b/c", "A_b/c", "-a", "a.", "a b", "é", &"a".repeat(64)] {
            assert!(MetadataKey::parse(text).is_err(), "{text:?}");
        }
        for text in ["a", "Team_1", "example.com/team.x", &"a".repeat(63)] {
            assert!(MetadataKey::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn user_name_that_cannot_be_shown_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "is empty"),
            ("  \u{a0}", "is blank"),
            ("a\nb", "contains a control character"),
            ("a\0", "contains a control character"),
            ("\u{1b}[31mroot", "contains a control character"),
            ("root\u{200b}", "contains a character that cannot be seen (U+200B)"),
            ("\u{202e}toor", "contains a character that cannot be seen (U+202E)"),
            ("\u{2066}root", "contains a character that cannot be seen (U+2066)"),
            ("\u{feff}root", "contains a character that cannot be seen (U+FEFF)"),
            ("ro\u{ad}ot", "contains a character that cannot be seen (U+00AD)"),
            ("a\u{2028}b", "contains a character that cannot be seen (U+2028)"),
            (&"x".repeat(1025), "is longer than 1024 bytes"),
        ] {
            assert_eq!(Username::parse(text), Err(Invalid(reason.to_owned())), "{text:?}");
        }
    }

    #[test]
    fn every_other_user_name_is_accepted_unchanged() {
        for text in [
            "a",
            "a@b.c",
            "team/alice",
            "REALM\\user",
            "/",
            "../../etc/passwd",
            ".",
            "-oProxyCommand=x",
            "a b",
            " a ",
            "a:b",
            "a%2Fb",
            "a?b#c",
            "$(id)",
            "`id`",
            "'\"",
            "{{x}}",
            "0",
            "null",
            "Jörg",
            "日本",
            "אבג",
            "🙂",
            &"x".repeat(1024),
        ] {
            assert_eq!(Username::parse(text).map(|name| name.to_string()), Ok(text.to_owned()));
        }
    }
}
