//! From a request to its answer: who asks, what, may they, is it set to fail, and then the handler. The order is the API
//! server's, so that a refusal tells what it would tell there.

pub(crate) mod access;
mod answer;
mod call;
pub(crate) mod delete;
mod discovery;
pub(crate) mod exec;
mod exec_session;
pub(crate) mod journal;
mod list;
pub(crate) mod open_streams;
mod patch;
mod pod_log;
mod pod_security;
mod request;
mod selector;
pub(crate) mod server;
mod socket;
mod table;
mod validate;
pub(crate) mod watch;
mod websocket;
mod write;

use crate::api::access::Tokens;
use crate::api::answer::Body;
use crate::api::call::{ApiCall, is_dry_run};
use crate::api::exec::ExecApi;
use crate::api::journal::{RequestJournal, RequestRecord};
use crate::api::request::{RequestInfo, RequestTarget};
use crate::api::socket::Cut;
use crate::api::watch::WatchOrder;
use crate::faults::{FaultBoard, RequestFailure};
use crate::node::pods::Kubelet;
use crate::objects::kinds::ObjectKind;
use crate::objects::status::StatusError;
use crate::objects::store::Store;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use podgate_http_server::RequestBody;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch::Sender;
use tokio_util::sync::CancellationToken;

/// The largest body that is read, as in the API server.
const LARGEST_BODY: usize = 3 << 20;

/// The connection is to be cut instead of an answer.
#[derive(Debug)]
pub(crate) struct Dropped;

/// The API server: what it answers from, and what its requests act on.
#[derive(Debug)]
pub(crate) struct ApiServer {
    pub(crate) store: Arc<Store>,
    pub(crate) kubelet: Arc<Kubelet>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) board: Arc<FaultBoard>,
    pub(crate) journal: Arc<RequestJournal>,
    pub(crate) watches: Sender<WatchOrder>,
    pub(crate) exec: ExecApi,
    pub(crate) stopping: CancellationToken,
}

impl ApiServer {
    /// Answers a request, or says that its connection is to be cut.
    pub(crate) async fn answer(&self, request: Request<RequestBody>, cut: Cut) -> Result<Response<Body>, Dropped> {
        let info = request::parse(request.method(), request.uri().path(), request.uri().query());
        self.journal.record(record(&info, request.uri().query()));
        let failure = match self.admit(&info, request.headers()) {
            Ok(failure) => failure,
            Err(refused) => return Ok(answer::error(&refused)),
        };
        match failure {
            Some(RequestFailure::Drop) => return Err(Dropped),
            Some(RequestFailure::TooManyRequests { retry_after }) => {
                return Ok(answer::error(&StatusError::too_many_requests(retry_after)));
            }
            Some(RequestFailure::InternalError) => {
                return Ok(answer::error(&StatusError::internal("etcdserver: request timed out")));
            }
            Some(RequestFailure::Unavailable) => return Ok(answer::error(&StatusError::unavailable())),
            Some(RequestFailure::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(RequestFailure::LoseAnswer) | None => {}
        }
        let answered = self.route(info, request, cut).await.unwrap_or_else(|refused| answer::error(&refused));
        if failure == Some(RequestFailure::LoseAnswer) { Err(Dropped) } else { Ok(answered) }
    }

    fn admit(&self, info: &RequestInfo, headers: &HeaderMap) -> Result<Option<RequestFailure>, StatusError> {
        let resource = match &info.target {
            RequestTarget::Path(path) if discovery::is_public(path) => return Ok(None),
            RequestTarget::Path(path) => path.clone(),
            RequestTarget::Resource(path) => path.full_resource(),
        };
        self.tokens.authenticate(headers)?.authorize(info)?;
        Ok(self.board.trip(info.verb, &resource))
    }

    async fn route(
        &self,
        info: RequestInfo,
        request: Request<RequestBody>,
        cut: Cut,
    ) -> Result<Response<Body>, StatusError> {
        let path = match info.target {
            RequestTarget::Path(path) => return discovery::path(&path),
            RequestTarget::Resource(path) => path,
        };
        if let (Some(sub @ ("exec" | "attach")), "get" | "create") = (path.subresource.as_deref(), info.verb) {
            let call = exec::ExecTarget {
                namespace: path.namespace.as_deref(),
                name: path.name.as_deref(),
                attach: sub == "attach",
            };
            return self.exec.open(&call, &info.query, request, cut);
        }
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(|_| StatusError::too_large())?.to_bytes();
        let call = ApiCall { path, query: info.query, headers: parts.headers, body };
        if info.verb == "create" && call.path.resource.ends_with("reviews") {
            let token = self.tokens.authenticate(&call.headers)?;
            let asked = match call.path.resource.as_str() {
                "selfsubjectaccessreviews" => validate::read::access_review(&call.json()?)?,
                _ => Value::Null,
            };
            let answer = token.about_oneself(&call.path.resource, &asked).ok_or_else(StatusError::no_such_path)?;
            return Ok(answer::json(StatusCode::CREATED, &answer));
        }
        let kind =
            ObjectKind::from_resource(&call.path.group, &call.path.resource).ok_or_else(StatusError::no_such_path)?;
        if call.path.version != "v1" {
            return Err(StatusError::no_such_path());
        }
        let store = &self.store;
        match (info.verb, call.path.subresource.as_deref()) {
            ("get", Some("log")) if kind == ObjectKind::Pod => {
                pod_log::read(store, (&self.kubelet, &self.stopping), &call)
            }
            ("get", None | Some("status")) => list::get(store, kind, &call),
            ("list", None) => list::list(store, kind, &call),
            ("watch", None) => watch::watch(store, (&self.watches, &self.stopping), kind, &call),
            ("create", None) => write::create((store, &self.board, &self.kubelet), kind, &call),
            ("update", None) => write::replace(store, kind, &call),
            ("patch", None) => write::patch(store, kind, &call),
            ("delete", None) => delete::delete((store, &self.kubelet), kind, &call),
            ("deletecollection", None) => delete::delete_collection((store, &self.kubelet), kind, &call),
            (_, None) => Err(StatusError::method_not_allowed()),
            _ => Err(StatusError::no_such_path()),
        }
    }
}

fn record(info: &RequestInfo, query: Option<&str>) -> RequestRecord {
    let (resource, namespace, name) = match &info.target {
        RequestTarget::Path(path) => (path.clone(), None, None),
        RequestTarget::Resource(path) => (path.full_resource(), path.namespace.clone(), path.name.clone()),
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
