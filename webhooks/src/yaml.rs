//! YAML with the place of each scalar, by which the text is found that stands there without quotes.

use crate::unique::{self, Shape};
use serde::de::{Deserialize, Deserializer};
use serde_json::Value as Json;
use serde_saphyr::{Options, Spanned, Tagged, UserMessageFormatter};

/// A value whose parts have their places.
pub enum YamlNode {
    /// A text, number, truth value or null.
    Scalar(Json),
    /// A sequence.
    List(Vec<SpannedNode>),
    /// No key is there twice.
    Mapping(Vec<(Spanned<String>, SpannedNode)>),
}

/// A part of a value, with its place and its tag.
pub type SpannedNode = Spanned<Tagged<YamlNode>>;

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        unique::read(deserializer)
    }
}

impl Shape<'_> for YamlNode {
    type Key = Spanned<String>;
    type Item = SpannedNode;

    fn name(key: &Spanned<String>) -> &str {
        &key.value
    }

    fn scalar(value: Json) -> Self {
        Self::Scalar(value)
    }

    fn list(items: Vec<SpannedNode>) -> Self {
        Self::List(items)
    }

    fn object(entries: Vec<(Spanned<String>, SpannedNode)>) -> Self {
        Self::Mapping(entries)
    }
}

/// The one document of a text; nothing where there is none. Empty ones beside it do not count.
///
/// # Errors
/// The text is not YAML, or has more than one document. Nothing of the text is shown but a key that is there twice.
pub fn document(text: &str, mut options: Options) -> Result<Option<YamlNode>, String> {
    // A snippet of the source would show hashes and secrets.
    options.with_snippet = false;
    let documents: Vec<YamlNode> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| error.render_with_formatter(&UserMessageFormatter))?;
    match documents.len() {
        0 | 1 => Ok(documents.into_iter().next()),
        count => Err(format!("the file has {count} YAML documents, separated by lines of ---; keep one of them")),
    }
}

/// Text at a node's place, quotes included; for an alias, where it is defined. `None` for a block of lines.
#[must_use]
pub fn text_at<'s, T>(node: &Spanned<T>, source: &'s str) -> Option<&'s str> {
    let span = node.defined.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(length)?)?;
    (!is_block(source.get(..start)?)).then(|| text.trim())
}

/// True where the text before a scalar ends with the head of a block of lines (`|`, `>-`, `|2 # why`).
fn is_block(before: &str) -> bool {
    // Not by the start of the line, which may be far away: a whole file can be one line.
    let indented = before.trim_end_matches(|c: char| c.is_whitespace() && c != '\n');
    let Some(lines) = indented.strip_suffix('\n') else { return false };
    let line = lines.trim_end().rsplit('\n').next().unwrap_or_default();
    let line = line.split(" #").next().unwrap_or_default();
    let head = line.split_whitespace().next_back().and_then(|word| word.strip_prefix(['|', '>']));
    let is_head = |rest: &str| rest.chars().all(|c| "+-0123456789".contains(c));
    head.is_some_and(is_head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_blocks_are_known() {
        for before in ["a: |\n  ", "a: >-\n  ", "- |2\n  ", "a: >+1 # why\n  ", "a: |\r\n  ", "a: !!str |\n\n  "] {
            assert!(is_block(before), "{before:?}");
        }
        for before in ["", "a: ", "a:\n  ", "a: b|\n  ", "a: |\n  b: ", "a: # |\n  ", "a: >x\n  "] {
            assert!(!is_block(before), "{before:?}");
        }
    }
}
