//! The texts of a YAML document that stand there without quotes.

use crate::schema::kubernetes::{UnquotedTexts, ValuePath};
use podgate_webhooks::yaml::{SpannedNode, YamlNode, text_at};
use serde_json::{Map, Value};
use serde_saphyr::Tagged;

/// The value; its scalars and keys without quotes are noted.
pub(super) fn plain(node: YamlNode, source: &str, texts: &mut UnquotedTexts) -> Value {
    of(node, source, &ValuePath::default(), texts)
}

fn of(node: YamlNode, source: &str, at: &ValuePath, texts: &mut UnquotedTexts) -> Value {
    match node {
        YamlNode::Scalar(value) => value,
        YamlNode::List(items) => {
            let items = items.into_iter().enumerate();
            items.map(|(index, item)| element(item, source, &at.index(index), texts)).collect()
        }
        YamlNode::Mapping(entries) => {
            let mut map = Map::new();
            for (key, item) in entries {
                let at = at.key(&key.value);
                if text_at(&key, source) == Some(key.value.as_str()) {
                    texts.key(&at);
                }
                map.insert(key.value, element(item, source, &at, texts));
            }
            Value::Object(map)
        }
    }
}

fn element(item: SpannedNode, source: &str, at: &ValuePath, texts: &mut UnquotedTexts) -> Value {
    if let Tagged(YamlNode::Scalar(value), None) = &item.value
        && let Some(text) = text_at(&item, source)
        && value.as_str().is_none_or(|value| value == text)
    {
        texts.scalar(at, text);
    }
    of(item.value.0, source, at, texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::kubernetes::{METADATA, TypedReader, ValueAuthor};
    use serde_json::json;

    /// The labels of a text, read as texts.
    fn labels(source: &str) -> Value {
        let mut texts = UnquotedTexts::default();
        let mut value = super::super::yaml(source, &mut texts).unwrap_or_else(|error| panic!("{error}\n{source}"));
        let mut reader = TypedReader::new(ValueAuthor::File(&texts));
        reader.read(&mut value, &METADATA, &ValuePath::default());
        value["labels"].take()
    }

    #[test]
    fn text_is_found_wherever_the_scalar_stands() {
        let expected = json!({"a": "1.10", "b": "0x1F"});
        for source in [
            "labels: {a: 1.10, b: 0x1F}",
            "labels: { a : 1.10 , b : 0x1F }",
            "labels:\n  a: 1.10\n  b: 0x1F\n",
            "labels:\n  a:   1.10   # why\n  b:\n    0x1F\n",
            "labels:\r\n  a: 1.10\r\n  b: 0x1F\r\n",
            "\u{feff}labels:\n  a: 1.10\n  b: 0x1F\n",
            "---\nlabels:\n  a: 1.10\n  b: 0x1F\n...\n",
            "%YAML 1.2\n---\nlabels:\n  a: 1.10\n  b: 0x1F\n",
            "# äöü €\nannotations: {ä: ü€😀}\nlabels: {a: 1.10, b: 0x1F}\n",
            "x: &a 1.10\ny: &b 0x1F\nlabels: {a: *a, b: *b}\n",
            "x: &l {a: 1.10, b: 1}\nlabels: {<<: *l, b: 0x1F}\n",
            "x: &l {a: 1.10}\nlabels:\n  <<: *l\n  b: 0x1F\n",
            "labels: {\"a\": 1.10, 'b': 0x1F}",
            "labels:\n  ? a\n  : 1.10\n  ? b\n  : 0x1F\n",
        ] {
            assert_eq!(labels(source), expected, "{source:?}");
        }
    }
}
