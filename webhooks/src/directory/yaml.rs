//! The users' file as JSON, in which settings go to the gateway.
//!
//! The gateway knows which type a pod's field has, and this program does not. A number or truth value that JSON would
//! write otherwise than the file does (`1.10`, `0644`, `yes`) therefore goes as the text that stands there, from which
//! the gateway makes what the field wants.

use crate::text::without_mark;
use crate::yaml::{self, SpannedNode, YamlNode, text_at};
use serde_json::{Map, Value as Json};
use serde_saphyr::{Options, Tagged};

/// Reads the one document of a text; null where there is none.
pub(super) fn read(text: &str) -> Result<Json, String> {
    let text = without_mark(text);
    let node = yaml::document(text, Options::default())?;
    Ok(node.map_or(Json::Null, |node| json(node, text, &mut Vec::new())))
}

fn json(node: YamlNode, source: &str, path: &mut Vec<String>) -> Json {
    match node {
        YamlNode::Scalar(value) => value,
        YamlNode::List(items) => items.into_iter().map(|item| part(item, source, path)).collect(),
        YamlNode::Mapping(entries) => {
            let mut map = Map::new();
            for (key, item) in entries {
                path.push(key.value.clone());
                map.insert(key.value, part(item, source, path));
                path.pop();
            }
            Json::Object(map)
        }
    }
}

fn part(item: SpannedNode, source: &str, path: &mut Vec<String>) -> Json {
    let text = text_at(&item, source);
    match (item.value, text) {
        (Tagged(YamlNode::Scalar(value @ (Json::Bool(_) | Json::Number(_))), None), Some(text))
            if is_of_a_pod(path) && !is_written_so(&value, text) =>
        {
            text.into()
        }
        (Tagged(node, _), _) => json(node, source, path),
    }
}

/// True where JSON writes a value as the file does.
fn is_written_so(value: &Json, text: &str) -> bool {
    let json = value.to_string();
    json == text
}

/// True for a value below a user's or the defaults' `settings.kubernetes.pod`.
fn is_of_a_pod(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(
        path.as_slice(),
        ["defaults", "settings", "kubernetes", "pod", ..] | ["users", _, "settings", "kubernetes", "pod", ..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A pod's field goes as its text where JSON would write it otherwise; what is in quotes goes as it is anyway.
    #[test]
    fn scalars_of_a_pod_keep_the_text_that_stands_there() {
        for (written, sent) in [
            ("8080", json!(8080)),
            ("-1", json!(-1)),
            ("1.5", json!(1.5)),
            ("1.0", json!(1.0)),
            ("1.10", json!("1.10")),
            ("1e3", json!("1e3")),
            ("0644", json!("0644")),
            ("0x10", json!("0x10")),
            ("1_000", json!("1_000")),
            ("+1", json!("+1")),
            ("true", json!(true)),
            ("True", json!("True")),
            ("yes", json!("yes")),
            ("off # a comment", json!("off")),
            ("~", json!(null)),
            ("", json!(null)),
            ("\"1.10\"", json!("1.10")),
            ("'yes'", json!("yes")),
            ("!!str 1.10", json!("1.10")),
            ("plain", json!("plain")),
            ("[1.10, yes, 2]", json!(["1.10", "yes", 2])),
        ] {
            for (head, pointer) in [("defaults", "/defaults"), ("users:\n  a", "/users/a")] {
                let depth = if head == "defaults" { "  " } else { "    " };
                let text = format!("{head}:\n{depth}settings: {{x: 1}}\n").replace(
                    "{x: 1}",
                    &format!(
                        "\n{depth}  kubernetes:\n{depth}    pod:\n{depth}      spec:\n{depth}        k: {written}"
                    ),
                );
                let read = read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                let at = format!("{pointer}/settings/kubernetes/pod/spec/k");
                assert_eq!(read.pointer(&at), Some(&sent), "{text}");
            }
        }
    }

    #[test]
    fn text_of_a_scalar_is_found_behind_a_mark_and_the_start_of_the_document() {
        let text = "\u{feff}---\ndefaults: {settings: {kubernetes: {pod: {spec: {k: 1.10}}}}}\n---\n";
        let read = read(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.pointer("/defaults/settings/kubernetes/pod/spec/k"), Some(&json!("1.10")));
    }

    #[test]
    fn scalars_elsewhere_are_numbers_and_truth_values() {
        let text =
            "users: {a: {settings: {security: {maxSessions: 0x10}, kubernetes: {connection: {qps: 1.50}}}, b: yes}}";
        let expected = json!({"users": {"a": {
            "settings": {"security": {"maxSessions": 16}, "kubernetes": {"connection": {"qps": 1.5}}}, "b": true,
        }}});
        assert_eq!(read(text).ok(), Some(expected));
    }

    #[test]
    fn anchors_keep_the_text_where_they_are_defined() {
        let text = "users: {a: {settings: {kubernetes: {pod: {spec: {a: &v 1.10, b: *v}}}}}}";
        let read = read(text).unwrap_or_else(|error| panic!("{error}"));
        let spec = read.pointer("/users/a/settings/kubernetes/pod/spec");
        assert_eq!(spec, Some(&json!({"a": "1.10", "b": "1.10"})));
    }
}
