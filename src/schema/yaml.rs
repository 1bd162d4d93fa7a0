//! A configuration as a YAML file: the sections in the order in which people read them, keys and certificates as blocks
//! of lines.

use super::keys;
use super::tree::Tree;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// The document's text, which reads back as the same document.
pub(crate) fn write(document: &Tree) -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: true };
    // A tree of JSON has nothing that YAML cannot say, and a text takes every letter.
    serde_saphyr::to_string_with_options(&Ordered(document), options).unwrap_or_default()
}

struct Ordered<'a>(&'a Tree);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        let order = keys::sections();
        let ordered = order.iter().filter_map(|name| self.0.get_key_value(*name));
        let rest = self.0.iter().filter(|(name, _)| !order.contains(&name.as_str()));
        for (name, value) in ordered.chain(rest) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Format;
    use crate::schema::document::parse;
    use serde_json::{Value, json};

    /// Texts that YAML could take for something else.
    const TEXTS: &str = concat!(
        "yes|on|NO|~|null|true|0644|1.3|1e3|0x10|2024-01-01|| a|a |a: b|# a|- a|a\nb|a\nb\n|\na|",
        "a\n\n\nb\n\n|  a\n b\n|\ta|*a|&a|!a|%a|@a|`a`|'a'|\"a\"|[a]|{a}|a\rb|a\r\nb\r\n|\u{7f}|\u{85}|",
        "\u{2028}|ä|.nan|1_000|-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n|=|<<|?|:|",
        ">|---|...|   \n  |a \nb \n|12:30:45|\u{feff}a",
    );

    #[test]
    fn what_is_written_reads_back_as_it_was() {
        for text in TEXTS.split('|').chain(["|", "a\nb|\n"]) {
            let tree = json!({"ssh": {"banner": text, "list": [text, {"k": text}]}, "x": {text: 1}});
            let yaml = write(tree.as_object().expect("a mapping"));
            let read = parse(&yaml, Format::Yaml).unwrap_or_else(|errors| panic!("{text:?}: {errors}\n{yaml}"));
            assert_eq!(Value::Object(read), tree, "{text:?}\n{yaml}");
        }
        let tree = json!({"a": {}, "b": [], "c": [[1, 2], []], "d": 1.5, "e": -1, "f": u64::MAX, "g": true, "h": 5e-7, "i": 1e300});
        let yaml = write(tree.as_object().expect("a mapping"));
        assert_eq!(parse(&yaml, Format::Yaml).map(Value::Object), Ok(tree), "{yaml}");
    }

    #[test]
    fn sections_come_in_their_order_and_keys_as_blocks() {
        let tree =
            json!({"a": 1, "backend": "kubernetes", "ssh": {"hostkeys": ["-----BEGIN X-----\nAA\n-----END X-----\n"]}});
        let expected =
            "ssh:\n  hostkeys:\n  - |\n    -----BEGIN X-----\n    AA\n    -----END X-----\nbackend: kubernetes\na: 1\n";
        assert_eq!(write(tree.as_object().expect("a mapping")), expected);
    }
}
