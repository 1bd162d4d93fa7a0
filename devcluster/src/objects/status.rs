//! Every refusal as the API server words it: an [`StatusError`] always becomes a `v1.Status` whose code, reason and message
//! agree, because only the constructors here can make one.

use crate::objects::kinds::ObjectKind;
use serde_json::{Value, json};

/// A request's failure: what the `Status` body and the HTTP status line say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StatusError {
    code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
    retry_after: Option<u32>,
    plain: bool,
}

/// One wrong field of an object, as listed in an `Invalid` status.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StatusCause {
    field: String,
    reason: &'static str,
    message: String,
}

impl StatusCause {
    pub(crate) fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new(field, "FieldValueRequired", "Required value", detail)
    }

    pub(crate) fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(field, "FieldValueInvalid", &format!("Invalid value: {value}"), detail)
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new(field, "FieldValueDuplicate", &format!("Duplicate value: {value}"), "")
    }

    pub(crate) fn unsupported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let listed: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail = format!("supported values: {}", listed.join(", "));
        Self::new(field, "FieldValueNotSupported", &format!("Unsupported value: {value}"), &detail)
    }

    pub(crate) fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(field, "FieldValueForbidden", "Forbidden", detail)
    }

    fn new(field: impl Into<String>, reason: &'static str, what: &str, detail: &str) -> Self {
        let message = if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") };
        Self { field: field.into(), reason, message }
    }
}

impl StatusError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, retry_after: None, plain: false }
    }

    /// A refusal of the node, or of the opening of a stream: plain text instead of a Status.
    pub(crate) fn plain(code: u16, text: impl Into<String>) -> Self {
        Self { plain: true, ..Self::new(code, "", text) }
    }

    fn about(mut self, kind: ObjectKind, name: &str) -> Self {
        self.details = Some(json!({"name": name, "kind": kind.resource(), "group": kind.group()}));
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// A 403 whose text follows the `resource "name" is forbidden: why` of the API server.
    pub(crate) fn forbidden(resource: &str, name: &str, why: &str) -> Self {
        let subject = if name.is_empty() { resource.to_owned() } else { format!("{resource} {name:?}") };
        let mut error = Self::new(403, "Forbidden", format!("{subject} is forbidden: {why}"));
        error.details = Some(json!({"name": name, "kind": resource}));
        error
    }

    /// A 403 from an admission webhook, whose text is its own.
    pub(crate) fn denied_by_webhook(message: &str) -> Self {
        let message = format!("admission webhook \"policy.devcluster.local\" denied the request: {message}");
        Self::new(403, "Forbidden", message)
    }

    pub(crate) fn not_found(kind: ObjectKind, name: &str) -> Self {
        let resource = kind.qualified_resource();
        Self::new(404, "NotFound", format!("{resource} {name:?} not found")).about(kind, name)
    }

    pub(crate) fn no_such_path() -> Self {
        let mut error = Self::new(404, "NotFound", "the server could not find the requested resource");
        error.details = Some(json!({}));
        error
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    pub(crate) fn already_exists(kind: ObjectKind, name: &str) -> Self {
        let resource = kind.qualified_resource();
        Self::new(409, "AlreadyExists", format!("{resource} {name:?} already exists")).about(kind, name)
    }

    pub(crate) fn conflict(kind: ObjectKind, name: &str, why: &str) -> Self {
        let resource = kind.qualified_resource();
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// The write named a resourceVersion that is not the object's.
    pub(crate) fn stale(kind: ObjectKind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn too_large() -> Self {
        Self::new(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
    }

    pub(crate) fn unsupported_media_type(given: &str, accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format ({given}) - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(crate) fn invalid(kind: ObjectKind, name: &str, causes: &[StatusCause]) -> Self {
        let lines: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let listed = if let [only] = lines.as_slice() { only.clone() } else { format!("[{}]", lines.join(", ")) };
        let subject =
            if kind.group().is_empty() { kind.name().to_owned() } else { format!("{}.{}", kind.name(), kind.group()) };
        let mut error = Self::new(422, "Invalid", format!("{subject} {name:?} is invalid: {listed}"));
        let causes: Vec<Value> =
            causes.iter().map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field})).collect();
        error.details = Some(json!({"name": name, "kind": kind.name(), "group": kind.group(), "causes": causes}));
        error
    }

    /// A patch that makes an object which cannot be read.
    pub(crate) fn invalid_patch(object: &Value, why: &str) -> Self {
        let cause = StatusCause::invalid("patch", &json!(object.to_string()), why);
        let mut error = Self::new(422, "Invalid", format!(" \"\" is invalid: {}: {}", cause.field, cause.message));
        let cause = json!({"reason": cause.reason, "message": cause.message, "field": cause.field});
        error.details = Some(json!({"causes": [cause]}));
        error
    }

    pub(crate) fn too_many_requests(retry_after: u32) -> Self {
        let mut error = Self::new(429, "TooManyRequests", "Too many requests, please try again later.");
        error.details = Some(json!({"retryAfterSeconds": retry_after}));
        error.retry_after = Some(retry_after);
        error
    }

    /// A 500 with the API server's prefix.
    pub(crate) fn internal(why: impl std::fmt::Display) -> Self {
        let mut error = Self::new(500, "InternalError", format!("Internal error occurred: {why}"));
        error.details = Some(json!({"causes": [{"message": why.to_string()}]}));
        error
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(503, "ServiceUnavailable", "apiserver is shutting down")
    }

    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// True where the response is the message alone.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Seconds for the `Retry-After` header, where there is one.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }

    /// The error as a `v1.Status` object.
    pub(crate) fn to_status(&self) -> Value {
        let mut status = self.to_stream_status();
        status["kind"] = json!("Status");
        status["apiVersion"] = json!("v1");
        status
    }

    /// The Status that ends a stream, which does not say what it is.
    pub(crate) fn to_stream_status(&self) -> Value {
        let mut status = json!({
            "metadata": {}, "status": "Failure", "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

/// The `v1.Status` of a success, about one object.
pub(crate) fn success(kind: ObjectKind, name: &str, uid: &Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": name, "group": kind.group(), "kind": kind.resource(), "uid": uid},
    })
}
