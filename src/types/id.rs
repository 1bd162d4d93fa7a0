//! The connection's random id, the same in webhooks, labels and logs.

use std::fmt;

/// An SSH connection's id: 128 random bits, written as 32 lower-case hex characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u128);

impl ConnectionId {
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Parses an id that was written before, for example into a pod's label; `None` for any other form.
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
    fn text_of_another_form_is_no_id() {
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
