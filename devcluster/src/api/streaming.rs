//! `exec` and `attach`: what the API server and the node refuse is refused before the upgrade; what only the container's
//! runtime knows is told on the stream.

use crate::answer::Body;
use crate::container::Container;
use crate::context::Context;
use crate::kinds::Kind;
use crate::process::{Launch, Streams};
use crate::request::Query;
use crate::session::{Session, Wanted, Wire};
use crate::socket::Cut;
use crate::status::ApiError;
use crate::websocket::{self, Protocol};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::sync::Arc;

/// What is opened: an exec or an attach, on a pod.
pub(super) struct Open<'a> {
    pub(super) namespace: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) attach: bool,
}

/// What a stream is about, once the request was found right.
struct Plan {
    container: Arc<Container>,
    command: Vec<String>,
    attach: bool,
    wanted: Wanted,
    protocol: Protocol,
}

/// Checks the request and upgrades the connection.
pub(super) fn open(
    context: &Arc<Context>,
    open: &Open<'_>,
    query: &Query,
    mut request: Request<Incoming>,
    cut: Cut,
) -> Result<Response<Body>, ApiError> {
    let (namespace, name) = (open.namespace.unwrap_or_default(), open.name.unwrap_or_default());
    let pod = context.store.get(Kind::Pod, namespace, name).ok_or_else(|| ApiError::not_found(Kind::Pod, name))?;
    let (protocol, accept) = websocket::negotiate(request.headers())?;
    let plan = plan(context, &pod, open.attach, query, protocol)?;
    let upgrade = hyper::upgrade::on(&mut request);
    context.tasks.spawn(serve(Arc::clone(context), plan, upgrade, cut));

    let mut response =
        Response::new(Empty::new().map_err(|never: std::convert::Infallible| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol.name()));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).map_err(ApiError::internal)?);
    Ok(response)
}

fn plan(context: &Context, pod: &Value, attach: bool, query: &Query, protocol: Protocol) -> Result<Plan, ApiError> {
    let tty = query.flag("tty");
    let wanted =
        Wanted { stdin: query.flag("stdin"), stdout: query.flag("stdout"), stderr: query.flag("stderr") && !tty, tty };
    let container = container_name(pod, query.get("container"))?;
    let (namespace, name) = crate::store::identity(pod);
    if pod["spec"]["nodeName"].is_null() {
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    if !wanted.stdin && !wanted.stdout && !wanted.stderr {
        return Err(ApiError::plain(400, "you must specify at least 1 of stdin, stdout, stderr"));
    }
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let started = context.kubelet.pod(uid).and_then(|pod| pod.container(&container, false));
    let container = started.filter(|container| container.termination().is_none()).ok_or_else(|| {
        let why = if attach {
            format!("container {container} not found in pod {name}_{namespace}")
        } else {
            format!("container not found ({container:?})")
        };
        ApiError::plain(500, why)
    })?;
    let command = query.all("command").map(str::to_owned).collect();
    Ok(Plan { container, command, attach, wanted, protocol })
}

/// The container a request means: the only one, or the one it names.
pub(super) fn container_name(pod: &Value, asked: Option<&str>) -> Result<String, ApiError> {
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
    };
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let (main, init) = (names("containers"), names("initContainers"));
    match (asked, main.as_slice()) {
        (Some(asked), _) if main.iter().chain(&init).any(|name| name == asked) => Ok(asked.to_owned()),
        (Some(asked), _) => Err(ApiError::bad_request(format!("container {asked} is not valid for pod {pod_name}"))),
        (None, [only]) => Ok(only.clone()),
        (None, _) => {
            let mut message =
                format!("a container name must be specified for pod {pod_name}, choose one of: [{}]", main.join(" "));
            if !init.is_empty() {
                message += &format!(" or one of the init containers: [{}]", init.join(" "));
            }
            Err(ApiError::bad_request(message))
        }
    }
}

async fn serve(context: Arc<Context>, plan: Plan, upgrade: OnUpgrade, cut: Cut) {
    let upgraded = tokio::select! {
        () = cut.happened() => return,
        upgraded = upgrade => upgraded,
    };
    // A client that left before the upgrade has nothing to be told.
    let Some(Parts { io, read_buf, .. }) = upgraded.ok().and_then(|io| io.downcast::<TokioIo<Wire>>().ok()) else {
        return;
    };
    let stream = context.streams.enter(cut, context.board.cut_after());
    let session = Session::new(io.into_inner(), &read_buf, plan.protocol, plan.wanted, stream);
    let container = plan.container;
    if plan.attach {
        let output = container.listen();
        return session.attach(&container, output).await;
    }
    let mut launch = Launch { argv: plan.command, ..container.launch.clone() };
    let Wanted { stdin, stdout, stderr, tty } = plan.wanted;
    launch.streams = if tty { Streams::Terminal } else { Streams::Pipes { stdin, stdout, stderr } };
    if tty && !container.has_terminal() {
        launch.env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    session.exec(&container, container.exec(&launch)).await;
}
