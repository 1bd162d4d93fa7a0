//! A request for resources whose body was read, and what its headers and query say.

use crate::api::request::{Query, ResourcePath};
use crate::objects::status::StatusError;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;

/// A request for resources, with its body read.
pub(crate) struct ApiCall {
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl ApiCall {
    /// The namespace in the path; empty for none.
    pub(crate) fn namespace(&self) -> &str {
        self.path.namespace.as_deref().unwrap_or_default()
    }

    /// The name in the path; empty for none.
    pub(crate) fn name(&self) -> &str {
        self.path.name.as_deref().unwrap_or_default()
    }

    /// True where the client asks for a `Table`, as kubectl does.
    pub(crate) fn wants_table(&self) -> bool {
        let accept = self.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        accept.split(',').next().is_some_and(|first| first.contains("as=Table"))
    }

    /// True where the client asks for metadata alone (`PartialObjectMetadataList`).
    pub(crate) fn wants_metadata(&self) -> bool {
        let accept = self.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        accept.split(',').next().is_some_and(|first| first.contains("as=PartialObjectMetadataList"))
    }

    /// The JSON body; null where there is none.
    pub(crate) fn json(&self) -> Result<Value, StatusError> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        let content =
            self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
        if !content.contains("json") {
            return Err(StatusError::unsupported_media_type(content, "application/json"));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            StatusError::bad_request(format!("the object provided is unrecognized (must be of type Kind): {error}"))
        })
    }

    /// True where the query has `dryRun=All`.
    pub(crate) fn is_dry_run(&self) -> bool {
        is_dry_run(&self.query)
    }
}

pub(super) fn is_dry_run(query: &Query) -> bool {
    query.all("dryRun").any(|value| value == "All")
}
