//! The labels and annotations of pods, and generated names. A label's value is valid for every user name; an annotation has
//! the name whole. The label of the identity is never the same for two names.

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use std::fmt;

/// ContainerSSH's label with the connection's id.
pub(crate) const CONNECTION: &str = "containerssh_connection_id";

/// The label with the id of the gateway's process.
pub(crate) const INSTANCE: &str = "podgate/instance";

/// The label with the pod's owner: [`identity`] of the user's name.
pub(crate) const IDENTITY: &str = "podgate/identity";

/// The annotation with the user's whole name.
pub(crate) const USERNAME: &str = "podgate/username";

/// Limit of a label's value, and of a pod's name as a host name, in characters.
const MAX_LABEL: usize = 63;

/// Characters of a name's random part, without vowels, so that no words appear.
const SUFFIX: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The label with the owner's [term](crate::kubernetes::gateways): how often it had lost its Lease when it last said that the
/// pod is its own. A pod without it was made without a Lease, and nobody but its gateway removes it.
pub(crate) const TERM: &str = "podgate/term";

/// The label with the namespace of that Lease. Gateways with Leases in other namespaces cannot know whether the owner
/// lives, and ignore the pod.
pub(crate) const HOME: &str = "podgate/home";

/// A random id of a gateway's process, among all gateways of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Instance(u128);

impl Instance {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// Parses the text that [`Instance`] is displayed as; `None` for any other text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self)
    }

    #[cfg(test)]
    pub(crate) fn numbered(number: u128) -> Self {
        Self(number)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A user's name as a label's value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LabelValue {
    pub(super) value: String,
    /// Set if the name was too long.
    pub(super) cut: bool,
}

/// Makes a label's value of a user's name as ContainerSSH does: ASCII letters, digits and dots stay, other characters become
/// `-`, and characters that a label cannot begin or end with are removed there.
pub(super) fn username(name: &str) -> LabelValue {
    fitted(name, |c| c == '.')
}

/// Makes a label's value of any text: characters that a label cannot have become `-`.
pub(super) fn value(text: &str) -> String {
    fitted(text, |c| matches!(c, '.' | '-' | '_')).value
}

fn fitted(text: &str, stays: impl Fn(char) -> bool) -> LabelValue {
    let replaced: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || stays(c) { c } else { '-' }).collect();
    let ends = |text: &str| text.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    let trimmed = ends(&replaced);
    let cut = trimmed.len() > MAX_LABEL;
    let value = if cut { ends(&trimmed[..MAX_LABEL]) } else { trimmed };
    LabelValue { value, cut }
}

/// Returns the label's value of an identity: base32 of the SHA-256 of its name.
pub(crate) fn identity(authenticated: &str) -> String {
    BASE32_NOPAD.encode(&Sha256::digest(authenticated.as_bytes())).to_ascii_lowercase()
}

/// Generates a pod name; the prefix is cut if the name would be too long for a host name.
pub(super) fn generated_name(prefix: &str) -> String {
    let suffix: String = (0..10).map(|_| char::from(SUFFIX[rand::random_range(0..SUFFIX.len())])).collect();
    let room = MAX_LABEL - suffix.len();
    let prefix: String =
        prefix.char_indices().take_while(|(at, c)| at + c.len_utf8() <= room).map(|(_, c)| c).collect();
    format!("{prefix}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PodName;

    #[test]
    fn every_name_makes_a_valid_label() {
        let long = "x".repeat(300);
        for (name, expected, cut) in [
            ("alice", "alice", false),
            ("a@x.org", "a-x.org", false),
            ("a|b", "a-b", false),
            ("-.a_b.-", "a-b", false),
            ("Jörg", "J-rg", false),
            ("@@", "", false),
            ("", "", false),
            (&*long, &long[..63], true),
            (&format!("{}-@@@@b", "y".repeat(60)), &"y".repeat(60), true),
        ] {
            assert_eq!(username(name), LabelValue { value: expected.into(), cut }, "{name:?}");
        }
    }

    #[test]
    fn text_that_is_a_label_stays_as_it_is() {
        for (text, expected) in [
            ("Blue_Team-1.x", "Blue_Team-1.x"),
            ("", ""),
            ("blue team!", "blue-team"),
            ("_x_", "x"),
            (&"é".repeat(9), ""),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
        assert_eq!(value(&"x".repeat(64)).len(), 63);
    }

    #[test]
    fn names_with_one_label_are_two_identities() {
        assert_eq!(username("a@x").value, username("a-x").value);
        assert_ne!(identity("a@x"), identity("a-x"));
        let label = identity("a@x");
        assert_eq!(label.len(), 52);
        assert!(label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{label}");
    }

    #[test]
    fn own_names_are_pod_names_of_at_most_63_characters() {
        for prefix in ["containerssh-", "a", "", &"p".repeat(90)] {
            let name = generated_name(prefix);
            assert!(PodName::parse(&name).is_ok() && name.len() <= 63, "{name}");
        }
        assert_ne!(generated_name("a-"), generated_name("a-"));
    }
}
