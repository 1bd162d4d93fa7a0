//! YAML with the place of each scalar, by which the text is found that stands there without quotes.

use crate::schema::{At, Texts};
use crate::types::{printable, quoted};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Spanned, Tagged};
use std::collections::BTreeSet;
use std::fmt;

/// A value whose parts have their places.
pub(super) enum Node {
    Scalar(Value),
    List(Vec<Part>),
    /// No key is there twice.
    Mapping(Vec<(Spanned<String>, Part)>),
}

type Part = Spanned<Tagged<Node>>;

/// The value; its scalars and keys without quotes are noted.
pub(super) fn plain(node: Node, source: &str, texts: &mut Texts) -> Value {
    of(node, source, &At::default(), texts)
}

fn of(node: Node, source: &str, at: &At, texts: &mut Texts) -> Value {
    match node {
        Node::Scalar(value) => value,
        Node::List(items) => {
            let items = items.into_iter().enumerate();
            items.map(|(index, item)| element(item, source, &at.index(index), texts)).collect()
        }
        Node::Mapping(entries) => {
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

fn element(item: Part, source: &str, at: &At, texts: &mut Texts) -> Value {
    if let Tagged(Node::Scalar(value), None) = &item.value
        && let Some(text) = text_at(&item, source)
        && value.as_str().is_none_or(|value| value == text)
    {
        texts.scalar(at, text);
    }
    of(item.value.0, source, at, texts)
}

/// Text at a node's place, quotes included; for an alias, where it is defined. `None` for a block of lines.
fn text_at<'s, T>(node: &Spanned<T>, source: &'s str) -> Option<&'s str> {
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

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number is not finite"))?;
        Ok(Node::Scalar(Value::Number(number)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Node, A::Error> {
        let (mut entries, mut keys) = (Vec::new(), BTreeSet::new());
        while let Some(key) = mapping.next_key::<Spanned<String>>()? {
            if !keys.insert(key.value.clone()) {
                let shown = quoted(&printable(&key.value, 64));
                return Err(A::Error::custom(format_args!("the key {shown} is there twice")));
            }
            entries.push((key, mapping.next_value()?));
        }
        Ok(Node::Mapping(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;
    use crate::schema::{METADATA, Reader, Writer};
    use serde_json::json;

    /// The labels of a text, read as texts.
    fn labels(source: &str) -> Value {
        let mut texts = Texts::default();
        let node = yaml::<Node>(source).unwrap_or_else(|error| panic!("{error}\n{source}"));
        let mut value = plain(node.unwrap(), source, &mut texts);
        let mut reader = Reader::new(Writer::File(&texts));
        reader.read(&mut value, &METADATA, &At::default());
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
