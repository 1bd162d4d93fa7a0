//! A text of YAML or JSON becomes one tree of values: a mapping at the root, no key twice, no nulls left in mappings
//! (null is absence everywhere). Messages name the line, never what stands there: it may be a secret.

use super::errors::Errors;
use crate::types::printable;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;
use std::path::Path;

/// How a configuration file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, with 1.1's octal numbers.
    Yaml,
    /// JSON.
    Json,
}

impl Format {
    /// By the file's suffix: `.json` is JSON, everything else YAML.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.extension() {
            Some(suffix) if suffix.eq_ignore_ascii_case("json") => Self::Json,
            _ => Self::Yaml,
        }
    }
}

/// Parses the text.
pub(crate) fn parse(text: &str, format: Format) -> Result<Map<String, Value>, Errors> {
    let tree = match format {
        Format::Yaml => yaml(text),
        Format::Json => serde_json::from_str::<Tree>(text).map_err(|e| printable(&e.to_string(), 200)),
    };
    match tree.map_err(|e| Errors::whole(format!("cannot be parsed: {e}")))?.0 {
        Value::Object(mut map) => {
            drop_nulls(&mut map);
            Ok(map)
        }
        Value::Null => Ok(Map::new()),
        other => Err(Errors::whole(format!("must be a mapping of sections, not {}", kind(&other)))),
    }
}

fn yaml(text: &str) -> Result<Tree, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        legacy_octal_numbers: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::Reject,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| printable(&e.to_string(), 200))
}

/// What a value is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// Takes the nulls out of a mapping and of every mapping in it.
pub(crate) fn drop_nulls(map: &mut Map<String, Value>) {
    map.retain(|_, value| !value.is_null());
    map.values_mut().for_each(drop_nulls_in);
}

fn drop_nulls_in(value: &mut Value) {
    match value {
        Value::Object(map) => drop_nulls(map),
        Value::Array(items) => items.iter_mut().for_each(drop_nulls_in),
        _ => {}
    }
}

/// A value whose mappings were checked for keys that stand there twice, which `serde_json::Value` takes.
struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Tree)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Tree(item)) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = mapping.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {:?} stands there twice", printable(&key, 64))));
            }
            let Tree(value) = mapping.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn broken_text_is_refused_without_showing_it() {
        for (text, format) in [
            ("a: s3cret\na: s3cret", Format::Yaml),
            ("a: [s3cret", Format::Yaml),
            ("a: 's3cret", Format::Yaml),
            ("a: s3cret\n  b: s3cret", Format::Yaml),
            ("a: *s3", Format::Yaml),
            ("a: .nan", Format::Yaml),
            ("- s3cret", Format::Yaml),
            ("s3cret", Format::Yaml),
            ("a: 1\n---\nb: s3cret", Format::Yaml),
            ("{\"a\": \"s3cret\", \"a\": 1}", Format::Json),
            ("{\"a\": {\"b\": 1, \"b\": \"s3cret\"}}", Format::Json),
            ("{\"a\": \"s3cret", Format::Json),
            ("{\"a\": \"s3cret\"} x", Format::Json),
            ("[\"s3cret\"]", Format::Json),
        ] {
            let error = parse(text, format).expect_err(text).to_string();
            assert!(!error.contains("s3cret"), "{text}: {error}");
            assert!(!error.contains('\n'), "{text}: {error}");
        }
        let error = parse("a: 1\nb:\n  c: 1\n  c: 2", Format::Yaml).expect_err("twice").to_string();
        assert!(error.contains("line 4") && error.contains('c'), "{error}");
    }

    #[test]
    fn yaml_scalars_are_what_they_are_in_yaml_one_point_two() {
        let text = "a: yes\nb: on\nc: NO\nd: true\ne: 0644\nf: 1.5\ng: ~\nh: {i: null, j: [{k: null, l: 1}]}\nm: 2024-01-01\n1: x\n? true\n: y";
        let map = parse(text, Format::Yaml).expect("parses");
        let expected = json!({
            "a": "yes", "b": "on", "c": "NO", "d": true, "e": 420, "f": 1.5, "h": {"j": [{"l": 1}]},
            "m": "2024-01-01", "1": "x", "true": "y",
        });
        assert_eq!(Value::Object(map), expected);
    }

    #[test]
    fn empty_text_is_an_empty_configuration() {
        for text in ["", "# nothing\n", "---\n", "{}"] {
            assert_eq!(parse(text, Format::Yaml), Ok(Map::new()), "{text:?}");
        }
        assert!(parse("", Format::Json).is_err());
    }

    #[test]
    fn the_suffix_names_the_format() {
        for (path, format) in
            [("a.json", Format::Json), ("a.JSON", Format::Json), ("a.yaml", Format::Yaml), ("a", Format::Yaml)]
        {
            assert_eq!(Format::of(Path::new(path)), format, "{path}");
        }
    }
}
