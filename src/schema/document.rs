//! A text of YAML or JSON becomes one tree of values: a mapping at the root, no key twice, no nulls left in mappings
//! (null is absence everywhere but among Kubernetes' own objects, which are read before). Messages name the line, never
//! what stands there: it may be a secret.

mod spans;

use super::errors::Errors;
use super::kubernetes::{TypedReading, UnquotedTexts};
use super::tree::{Tree, kind};
use super::{pod_scalars, unquoted_texts};
use crate::types::printable;
use podgate_webhooks::text::{self, without_mark};
use podgate_webhooks::unique::Unique;
use serde_json::Value;
use std::path::Path;

/// Format of a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, with 1.1's octal numbers.
    Yaml,
    /// JSON (RFC 8259).
    Json,
}

impl Format {
    /// By the file's suffix: `.json` is JSON, everything else YAML.
    pub fn of(path: &Path) -> Self {
        match path.extension() {
            Some(suffix) if suffix.eq_ignore_ascii_case("json") => Self::Json,
            _ => Self::Yaml,
        }
    }
}

/// The text of a configuration file.
pub(crate) fn text_of(path: &Path) -> Result<String, Errors> {
    // Not only regular files: a shell's `<(…)` is a pipe.
    text::read(path).map_err(|error| Errors::whole(format!("cannot read {}: {error}", path.display())))
}

/// The same of a regular file alone, without waiting.
pub(crate) fn text_of_regular(path: &Path) -> Result<String, Errors> {
    text::read_regular(path).map_err(|error| Errors::whole(format!("cannot read {}: {error}", path.display())))
}

/// Parses a text; nulls in mappings are dropped.
pub(crate) fn parse(text: &str, format: Format) -> Result<Tree, Errors> {
    let (mut tree, _) = raw(text, format)?;
    drop_nulls(&mut tree);
    Ok(tree)
}

/// Parses a configuration's text, its pods read as Kubernetes reads them, its own texts as they are written.
pub(crate) fn read(text: &str, format: Format) -> Result<(Tree, TypedReading), Errors> {
    let (mut tree, texts) = raw(text, format)?;
    let mut reading = pod_scalars::in_file(&mut tree, &texts);
    reading.changes.extend(unquoted_texts::in_file(&mut tree, &texts).changes);
    drop_nulls(&mut tree);
    Ok((tree, reading))
}

/// The tree as it is written, and its texts without quotes.
fn raw(text: &str, format: Format) -> Result<(Tree, UnquotedTexts), Errors> {
    let text = without_mark(text);
    let mut texts = UnquotedTexts::default();
    let tree = match format {
        Format::Yaml => yaml(text, &mut texts),
        Format::Json => {
            serde_json::from_str::<Unique>(text).map(|tree| tree.0).map_err(|e| printable(&e.to_string(), 200))
        }
    };
    match tree.map_err(|e| Errors::whole(format!("cannot be parsed: {e}")))? {
        Value::Object(map) => Ok((map, texts)),
        Value::Null => Ok((Tree::new(), texts)),
        other => Err(Errors::whole(format!("must be a mapping of sections, not {}", kind(&other)))),
    }
}

/// The one document of a text, null where there is none, and its texts without quotes.
fn yaml(text: &str, texts: &mut UnquotedTexts) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        legacy_octal_numbers: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::Reject,
    };
    let node = podgate_webhooks::yaml::document(text, options).map_err(|error| printable(&error, 200))?;
    Ok(node.map_or(Value::Null, |node| spans::plain(node, text, texts)))
}

/// Takes the nulls out of a mapping and of every mapping in it.
pub(crate) fn drop_nulls(map: &mut Tree) {
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
            ("a: 1\n---\nb: [s3cret", Format::Yaml),
            ("a: 1\n...\ns3cret", Format::Yaml),
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
    fn one_document_is_read_and_two_are_refused_in_plain_words() {
        let expected = json!({"a": 1});
        for text in [
            "a: 1\n---\n",
            "a: 1\n---\n# nothing\n\n",
            "a: 1\n---\n---\n",
            "---\na: 1\n",
            "--- # first\na: 1\n",
            "# first\n---\na: 1\n",
            "---\n---\na: 1\n",
            "a: 1\n...\n",
            "a: 1\n...\n# nothing\n",
            "---\na: 1\n...\n---\n...\n",
            "%YAML 1.2\n---\na: 1\n",
            "\u{feff}a: 1\n",
            "\u{feff}---\na: 1\n---\n",
            "a: 1\r\n---\r\n",
        ] {
            assert_eq!(parse(text, Format::Yaml).map(Value::Object).as_ref(), Ok(&expected), "{text:?}");
        }
        assert_eq!(parse("\u{feff}{\"a\": 1}", Format::Json).map(Value::Object).as_ref(), Ok(&expected));
        for (text, count) in [
            ("a: 1\n---\nb: 2\n", 2),
            ("a: 1\n---\na: 1\n", 2),
            ("a: 1\n...\n---\nb: 2\n", 2),
            ("---\na: 1\n---\nb: 2\n---\n---\nc: 3\n", 3),
        ] {
            let error = parse(text, Format::Yaml).expect_err(text).to_string();
            assert!(error.contains(&format!("the file has {count} YAML documents")), "{text:?}: {error}");
            assert!(!error.contains("::") && !error.contains("from_"), "{text:?}: {error}");
        }
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
            assert_eq!(parse(text, Format::Yaml), Ok(Tree::new()), "{text:?}");
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
