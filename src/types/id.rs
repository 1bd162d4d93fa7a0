//! The connection's id: 32 lower-case hex characters, random, the same in webhooks, labels and logs.

use std::fmt;

/// One SSH connection's id, unique for all time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u128);

impl ConnectionId {
    /// A fresh random id.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads an id back from where it was written, for example a pod's label; `None` is no id of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_is_not_read_back() {
        for text in ["", "0", "+00000000000000000000000000000ab", "000000000000000000000000000000AB", &"0".repeat(33)] {
            assert_eq!(ConnectionId::parse(text), None, "{text}");
        }
        let id = ConnectionId::random();
        assert_eq!(ConnectionId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn id_is_32_lower_case_hex_characters() {
        let text = ConnectionId(0xAB).to_string();
        assert_eq!(text, "000000000000000000000000000000ab");
    }
}
