//! Label and field selectors: parsed once, then asked of objects. What cannot be parsed is a 400, never "everything".

use crate::api::request::Query;
use crate::objects::kinds::ObjectKind;
use crate::objects::status::StatusError;
use serde_json::Value;

/// The label and field selectors of a list, watch or delete-collection.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldTerm>,
}

#[derive(Debug, Clone, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

#[derive(Debug, Clone, PartialEq)]
struct FieldTerm {
    path: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`.
    pub(crate) fn parse(kind: ObjectKind, query: &Query) -> Result<Self, StatusError> {
        let labels = split_terms(query.get("labelSelector").unwrap_or(""))
            .into_iter()
            .map(requirement)
            .collect::<Result<_, _>>()?;
        let fields = split_terms(query.get("fieldSelector").unwrap_or(""))
            .into_iter()
            .map(|term| field(kind, term))
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// True for an object that the selector takes.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|requirement| requirement.holds(object))
            && self.fields.iter().all(|term| (field_value(object, &term.path) == term.value) == term.equal)
    }
}

impl Requirement {
    fn holds(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"].get(key).and_then(Value::as_str).map(str::to_owned);
        match self {
            Self::In(key, values) => label(key).is_some_and(|value| values.contains(&value)),
            Self::NotIn(key, values) => label(key).is_none_or(|value| !values.contains(&value)),
            Self::Exists(key) => label(key).is_some(),
            Self::Missing(key) => label(key).is_none(),
        }
    }
}

/// Splits at commas outside parentheses.
fn split_terms(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let terms = text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    terms.map(str::trim).filter(|term| !term.is_empty()).collect()
}

fn requirement(term: &str) -> Result<Requirement, StatusError> {
    let unparsable = || StatusError::bad_request(format!("unable to parse requirement: {term:?}"));
    let key_of = |text: &str| {
        let key = text.trim();
        let valid = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        if valid { Ok(key.to_owned()) } else { Err(unparsable()) }
    };
    let listed = |text: &str| text.trim_end_matches(')').split(',').map(|v| v.trim().to_owned()).collect::<Vec<_>>();
    if let Some((key, values)) = term.split_once(" notin (") {
        return Ok(Requirement::NotIn(key_of(key)?, listed(values)));
    }
    if let Some((key, values)) = term.split_once(" in (") {
        return Ok(Requirement::In(key_of(key)?, listed(values)));
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Ok(Requirement::NotIn(key_of(key)?, vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(Requirement::In(key_of(key)?, vec![value.trim().to_owned()]));
    }
    match term.strip_prefix('!') {
        Some(key) => Ok(Requirement::Missing(key_of(key)?)),
        None => Ok(Requirement::Exists(key_of(term)?)),
    }
}

fn field(kind: ObjectKind, term: &str) -> Result<FieldTerm, StatusError> {
    let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (path, value, true)
    } else {
        return Err(StatusError::bad_request(format!("invalid field selector {term:?}")));
    };
    let known = matches!(path, "metadata.name" | "metadata.namespace")
        || match kind {
            ObjectKind::Pod => matches!(
                path,
                "status.phase"
                    | "spec.nodeName"
                    | "spec.restartPolicy"
                    | "spec.schedulerName"
                    | "spec.serviceAccountName"
            ),
            ObjectKind::Event => matches!(path, "reason" | "type" | "source") || path.starts_with("involvedObject."),
            ObjectKind::Namespace => path == "status.phase",
            ObjectKind::Lease => false,
        };
    if !known {
        return Err(StatusError::bad_request(format!("field label not supported: {path}")));
    }
    Ok(FieldTerm { path: path.to_owned(), value: value.to_owned(), equal })
}

fn field_value<'a>(object: &'a Value, path: &str) -> &'a str {
    let found = path.split('.').try_fold(object, |value, part| value.get(part));
    found.and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::request;
    use serde_json::json;

    fn selector(query: &str) -> Result<Selector, StatusError> {
        Selector::parse(ObjectKind::Pod, &request::parse(&http::Method::GET, "/api/v1/pods", Some(query)).query)
    }

    #[test]
    fn nonsense_is_refused() {
        for query in
            ["labelSelector=a b=c", "labelSelector=%3D%3D", "fieldSelector=spec.colour%3Dred", "fieldSelector=x"]
        {
            assert_eq!(selector(query).unwrap_err().code(), 400, "{query}");
        }
    }

    #[test]
    fn labels_and_fields_select() {
        let pod =
            json!({"metadata": {"name": "p", "labels": {"app": "x", "tier": "a"}}, "status": {"phase": "Running"}});
        let table = [
            ("labelSelector=app%3Dx", true),
            ("labelSelector=app%3D%3Dy", false),
            ("labelSelector=app%21%3Dy,tier", true),
            ("labelSelector=!app", false),
            ("labelSelector=app+in+(x,y),tier+notin+(b,c)", true),
            ("labelSelector=app+in+(y,z)", false),
            ("fieldSelector=metadata.name%3Dp", true),
            ("fieldSelector=status.phase%21%3DRunning", false),
            ("", true),
        ];
        for (query, expected) in table {
            assert_eq!(selector(query).unwrap().matches(&pod), expected, "{query}");
        }
    }
}
