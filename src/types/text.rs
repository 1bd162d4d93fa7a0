//! Text from Kubernetes, webhooks and clients before it is shown to anyone.

/// True for a character that steers a terminal or cannot be seen: control characters, line and paragraph separators, marks of
/// direction, and what Unicode calls ignorable by default (`Default_Ignorable_Code_Point`: zero-width characters, fillers,
/// variation selectors, tags). Two texts that differ in nothing else look alike.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// `text` on one line without [hidden](is_hidden) characters (a terminal would obey some), cut at `limit` characters.
#[must_use]
pub fn printable(text: &str, limit: usize) -> String {
    let flat: String =
        text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).filter(|c| !is_hidden(*c)).collect();
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

    #[test]
    fn characters_that_nobody_sees_are_hidden_and_letters_of_all_scripts_are_not() {
        for c in
            "\0\t\n\x7f\u{85}\u{ad}\u{61c}\u{200b}\u{200d}\u{200f}\u{2029}\u{202e}\u{2066}\u{feff}\u{e0041}".chars()
        {
            assert!(is_hidden(c), "{c:?}");
        }
        for c in " a/\\@:é日本дюא🙂\u{a0}\u{fffd}".chars() {
            assert!(!is_hidden(c), "{c:?}");
        }
    }
}
