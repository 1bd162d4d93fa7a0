//! Names, labels and annotations: RFC 1123 and what Kubernetes makes of it.

use crate::objects::status::StatusCause;
use serde_json::{Value, json};

pub(super) const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
'[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

pub(super) const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

const NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// The largest annotations of one object together, in bytes.
const ANNOTATIONS: usize = 256 << 10;

/// An RFC 1123 label.
pub(super) fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// An RFC 1123 subdomain.
pub(super) fn is_subdomain(text: &str) -> bool {
    // A part may be longer than a label here: only the whole is bounded.
    let part = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    (1..=253).contains(&text.len()) && text.split('.').all(part)
}

fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len()) && text.chars().all(inner) && text.starts_with(ends) && text.ends_with(ends)
}

fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name(name),
        None => is_name(text),
    }
}

/// Checks an object's labels and annotations.
pub(super) fn check(metadata: &Value, causes: &mut Vec<StatusCause>) {
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        if !is_key(key) {
            causes.push(StatusCause::invalid("metadata.labels", &json!(key), NAME));
        }
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 {
            causes.push(StatusCause::invalid("metadata.labels", value, "must be no more than 63 characters"));
        } else if !text.is_empty() && !is_name(text) {
            causes.push(StatusCause::invalid("metadata.labels", value, VALUE));
        }
    }
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        if !is_key(&key.to_lowercase()) {
            causes.push(StatusCause::invalid("metadata.annotations", &json!(key), NAME));
        }
    }
    if size > ANNOTATIONS {
        causes.push(StatusCause::invalid("metadata.annotations", &json!(""), "must have at most 262144 bytes"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "-a", "a-", "A", "a_b", "a.b", &"a".repeat(64)] {
            assert!(!is_label(text), "{text}");
        }
        for text in ["", ".a", "a..b", "a/b", &"a".repeat(254)] {
            assert!(!is_subdomain(text), "{text}");
        }
        assert!(is_label("a-1") && is_subdomain("a.b-c") && is_key("podgate/identity") && !is_key("a/b/c"));
    }
}
