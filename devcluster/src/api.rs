//! From a request to its answer: who asks, what, may they, is it set to fail, and then the handler. The order is the API
//! server's, so that a refusal tells what it would tell there.

mod delete;
mod list;
mod log;
mod streaming;
mod watch;
mod write;

pub(crate) use delete::delete_pod;

use crate::answer::{self, Body};
use crate::context::Context;
use crate::discovery;
use crate::faults::Failure;
use crate::journal::RequestRecord;
use crate::kinds::Kind;
use crate::request::{self, Query, RequestInfo, ResourcePath, Target};
use crate::socket::Cut;
use crate::status::ApiError;
use crate::validate;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use std::sync::Arc;

/// The largest body that is read, as in the API server.
const LARGEST_BODY: usize = 3 << 20;

/// The connection is to be cut instead of an answer.
#[derive(Debug)]
pub(crate) struct Dropped;

/// A request for resources, with its body read.
pub(crate) struct Call {
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// The namespace in the path; empty for none.
    pub(crate) fn namespace(&self) -> &str {
        self.path.namespace.as_deref().unwrap_or_default()
    }

    /// The name in the path; empty for none.
    pub(crate) fn name(&self) -> &str {
        self.path.name.as_deref().unwrap_or_default()
    }

    /// Whether the client takes a `Table`.
    pub(crate) fn wants_table(&self) -> bool {
        let accept = self.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        accept.split(',').next().is_some_and(|first| first.contains("as=Table"))
    }

    /// Whether the client asked for metadata alone (`PartialObjectMetadataList`).
    pub(crate) fn wants_metadata(&self) -> bool {
        let accept = self.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        accept.split(',').next().is_some_and(|first| first.contains("as=PartialObjectMetadataList"))
    }

    /// The JSON body; null where there is none.
    pub(crate) fn json(&self) -> Result<Value, ApiError> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        let content =
            self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
        if !content.contains("json") {
            return Err(ApiError::unsupported_media_type(content, "application/json"));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            ApiError::bad_request(format!("the object provided is unrecognized (must be of type Kind): {error}"))
        })
    }

    /// `dryRun=All`.
    pub(crate) fn is_dry_run(&self) -> bool {
        is_dry_run(&self.query)
    }
}

fn is_dry_run(query: &Query) -> bool {
    query.all("dryRun").any(|value| value == "All")
}

/// Answers a request, or says that its connection is to be cut.
pub(crate) async fn answer(
    context: Arc<Context>,
    request: Request<Incoming>,
    cut: Cut,
) -> Result<Response<Body>, Dropped> {
    let info = request::parse(request.method(), request.uri().path(), request.uri().query());
    context.journal.record(record(&info, request.uri().query()));
    let failure = match admit(&context, &info, request.headers()) {
        Ok(failure) => failure,
        Err(refused) => return Ok(answer::error(&refused)),
    };
    match failure {
        Some(Failure::Drop) => return Err(Dropped),
        Some(Failure::TooManyRequests { retry_after }) => {
            return Ok(answer::error(&ApiError::too_many_requests(retry_after)));
        }
        Some(Failure::InternalError) => return Ok(answer::error(&ApiError::internal("etcdserver: request timed out"))),
        Some(Failure::Unavailable) => return Ok(answer::error(&ApiError::unavailable())),
        Some(Failure::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Failure::LoseAnswer) | None => {}
    }
    let answered = route(context, info, request, cut).await.unwrap_or_else(|refused| answer::error(&refused));
    if failure == Some(Failure::LoseAnswer) { Err(Dropped) } else { Ok(answered) }
}

fn record(info: &RequestInfo, query: Option<&str>) -> RequestRecord {
    let (resource, namespace, name) = match &info.target {
        Target::Path(path) => (path.clone(), None, None),
        Target::Resource(path) => (path.full_resource(), path.namespace.clone(), path.name.clone()),
    };
    RequestRecord {
        verb: info.verb.to_owned(),
        resource,
        namespace: namespace.unwrap_or_default(),
        name: name.unwrap_or_default(),
        query: query.unwrap_or_default().to_owned(),
        dry_run: is_dry_run(&info.query),
    }
}

fn admit(context: &Context, info: &RequestInfo, headers: &HeaderMap) -> Result<Option<Failure>, ApiError> {
    let resource = match &info.target {
        Target::Path(path) if discovery::is_public(path) => return Ok(None),
        Target::Path(path) => path.clone(),
        Target::Resource(path) => path.full_resource(),
    };
    context.tokens.authenticate(headers)?.authorize(info)?;
    Ok(context.board.trip(info.verb, &resource))
}

async fn route(
    context: Arc<Context>,
    info: RequestInfo,
    request: Request<Incoming>,
    cut: Cut,
) -> Result<Response<Body>, ApiError> {
    let path = match info.target {
        Target::Path(path) => return discovery::path(&path),
        Target::Resource(path) => path,
    };
    if let (Some(sub @ ("exec" | "attach")), "get" | "create") = (path.subresource.as_deref(), info.verb) {
        let call = streaming::Open {
            namespace: path.namespace.as_deref(),
            name: path.name.as_deref(),
            attach: sub == "attach",
        };
        return streaming::open(&context, &call, &info.query, request, cut);
    }
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(|_| ApiError::too_large())?.to_bytes();
    let call = Call { path, query: info.query, headers: parts.headers, body };
    if info.verb == "create" && call.path.resource.ends_with("reviews") {
        let token = context.tokens.authenticate(&call.headers)?;
        let asked = match call.path.resource.as_str() {
            "selfsubjectaccessreviews" => validate::read::access_review(&call.json()?)?,
            _ => Value::Null,
        };
        let answer = token.about_oneself(&call.path.resource, &asked).ok_or_else(ApiError::no_such_path)?;
        return Ok(answer::json(StatusCode::CREATED, &answer));
    }
    let kind = Kind::from_resource(&call.path.group, &call.path.resource).ok_or_else(ApiError::no_such_path)?;
    if call.path.version != "v1" {
        return Err(ApiError::no_such_path());
    }
    match (info.verb, call.path.subresource.as_deref()) {
        ("get", Some("log")) if kind == Kind::Pod => log::read(&context, &call),
        ("get", None | Some("status")) => list::get(&context, kind, &call),
        ("list", None) => list::list(&context, kind, &call),
        ("watch", None) => watch::watch(&context, kind, &call),
        ("create", None) => write::create(&context, kind, &call),
        ("update", None) => write::replace(&context, kind, &call),
        ("patch", None) => write::patch(&context, kind, &call),
        ("delete", None) => delete::delete(&context, kind, &call),
        ("deletecollection", None) => delete::delete_collection(&context, kind, &call),
        (_, None) => Err(ApiError::method_not_allowed()),
        _ => Err(ApiError::no_such_path()),
    }
}
