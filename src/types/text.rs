//! Text from Kubernetes, webhooks and clients before it is shown to anyone.

/// `text` on one line without control characters (a terminal would obey them), cut at `limit` characters.
#[must_use]
pub fn printable(text: &str, limit: usize) -> String {
    let flat: String = text
        .chars()
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .filter(|c| {
            !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
        .collect();
    let flat = flat.trim();
    if flat.chars().count() <= limit {
        return flat.to_owned();
    }
    flat.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_gone_and_long_text_is_cut() {
        assert_eq!(printable("\x1b[31mred\x07\r\nnext\u{202e}", 80), "[31mred next");
        assert_eq!(printable("abcdef", 4), "abc…");
    }
}
