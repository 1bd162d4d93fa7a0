//! Text from Kubernetes, webhooks and clients, made safe to show.

use std::time::Duration;

/// True for a character that controls a terminal or is invisible: control characters, line and paragraph separators,
/// direction marks, and Unicode's `Default_Ignorable_Code_Point` (zero-width characters, fillers, variation selectors, tags).
/// Texts that differ only in these look alike.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Puts `text` on one line without [hidden](is_hidden) characters (some control a terminal), cut at `limit` characters.
pub fn printable(text: &str, limit: usize) -> String {
    let flat: String =
        text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).filter(|c| !is_hidden(*c)).collect();
    let flat = flat.trim();
    if flat.chars().count() <= limit {
        return flat.to_owned();
    }
    flat.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// Puts `text` in double quotes on one line; escapes quotes, backslashes and [hidden](is_hidden) characters.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            _ if is_hidden(c) => quoted.extend(c.escape_default()),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Formats a time for people, cut at milliseconds: `2s`, `1.5s`, `300ms`.
pub(crate) fn time_text(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    match (seconds, millis) {
        (0, _) => format!("{millis}ms"),
        (_, 0) => format!("{seconds}s"),
        _ => format!("{seconds}.{}s", format!("{millis:03}").trim_end_matches('0')),
    }
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
    fn quoted_text_is_one_line_with_one_end() {
        for (text, expected) in [
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("ü日", r#""ü日""#),
            ("a\"b\\", r#""a\"b\\""#),
            ("a\nb\u{1b}\u{202e}", r#""a\nb\u{1b}\u{202e}""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn time_is_shown_in_seconds_or_milliseconds() {
        for (millis, expected) in
            [(0, "0ms"), (1, "1ms"), (300, "300ms"), (1000, "1s"), (1500, "1.5s"), (2050, "2.05s"), (180_000, "180s")]
        {
            assert_eq!(time_text(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn invisible_characters_are_hidden_and_letters_of_all_scripts_are_not() {
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
