//! `exec` and `attach`: what the API server and the node refuse is refused before the upgrade; what only the container's
//! runtime knows is told on the stream.

use crate::api::answer::Body;
use crate::api::exec_session::{ExecSession, TlsSocket, WantedStreams};
use crate::api::open_streams::OpenStreams;
use crate::api::request::Query;
use crate::api::socket::Cut;
use crate::api::websocket::{self, Protocol};
use crate::faults::FaultBoard;
use crate::node::container::Container;
use crate::node::pods::Kubelet;
use crate::objects::kinds::ObjectKind;
use crate::objects::status::StatusError;
use crate::objects::store::Store;
use crate::process::{ProgramLaunch, ProgramStreams};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use podgate_http_server::RequestBody;
use serde_json::Value;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// The pod of an exec or attach.
pub(super) struct ExecTarget<'a> {
    pub(super) namespace: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) attach: bool,
}

/// A stream to open, after the request passed its checks.
struct ExecPlan {
    container: Arc<Container>,
    command: Vec<String>,
    attach: bool,
    wanted: WantedStreams,
    protocol: Protocol,
}

/// The part of the API that serves exec and attach.
#[derive(Debug)]
pub(crate) struct ExecApi {
    pub(crate) store: Arc<Store>,
    pub(crate) kubelet: Arc<Kubelet>,
    pub(crate) board: Arc<FaultBoard>,
    pub(crate) streams: OpenStreams,
    pub(crate) tasks: TaskTracker,
}

impl ExecApi {
    /// Checks the request and upgrades the connection.
    pub(super) fn open(
        &self,
        open: &ExecTarget<'_>,
        query: &Query,
        mut request: Request<RequestBody>,
        cut: Cut,
    ) -> Result<Response<Body>, StatusError> {
        let (namespace, name) = (open.namespace.unwrap_or_default(), open.name.unwrap_or_default());
        let pod = self
            .store
            .get(ObjectKind::Pod, namespace, name)
            .ok_or_else(|| StatusError::not_found(ObjectKind::Pod, name))?;
        let (protocol, accept) = websocket::negotiate(request.headers())?;
        let plan = self.plan(&pod, open.attach, query, protocol)?;
        let upgrade = hyper::upgrade::on(&mut request);
        self.tasks.spawn(serve(plan, upgrade, cut, (self.streams.clone(), Arc::clone(&self.board))));

        let mut response =
            Response::new(Empty::new().map_err(|never: std::convert::Infallible| match never {}).boxed_unsync());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol.name()));
        headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).map_err(StatusError::internal)?);
        Ok(response)
    }

    fn plan(&self, pod: &Value, attach: bool, query: &Query, protocol: Protocol) -> Result<ExecPlan, StatusError> {
        let tty = query.flag("tty");
        let wanted = WantedStreams {
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr") && !tty,
            tty,
        };
        let container = container_name(pod, query.get("container"))?;
        let (namespace, name) = crate::objects::store::identity(pod);
        if pod["spec"]["nodeName"].is_null() {
            return Err(StatusError::bad_request(format!("pod {name} does not have a host assigned")));
        }
        if !wanted.stdin && !wanted.stdout && !wanted.stderr {
            return Err(StatusError::plain(400, "you must specify at least 1 of stdin, stdout, stderr"));
        }
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        let started = self.kubelet.pod(uid).and_then(|pod| pod.container(&container, false));
        let container = started.filter(|container| container.termination().is_none()).ok_or_else(|| {
            let why = if attach {
                format!("container {container} not found in pod {name}_{namespace}")
            } else {
                format!("container not found ({container:?})")
            };
            StatusError::plain(500, why)
        })?;
        let command = query.all("command").map(str::to_owned).collect();
        Ok(ExecPlan { container, command, attach, wanted, protocol })
    }
}

/// The container a request means: the only one, or the one it names.
pub(super) fn container_name(pod: &Value, asked: Option<&str>) -> Result<String, StatusError> {
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
    };
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let (main, init) = (names("containers"), names("initContainers"));
    match (asked, main.as_slice()) {
        (Some(asked), _) if main.iter().chain(&init).any(|name| name == asked) => Ok(asked.to_owned()),
        (Some(asked), _) => Err(StatusError::bad_request(format!("container {asked} is not valid for pod {pod_name}"))),
        (None, [only]) => Ok(only.clone()),
        (None, _) => {
            let mut message =
                format!("a container name must be specified for pod {pod_name}, choose one of: [{}]", main.join(" "));
            if !init.is_empty() {
                message += &format!(" or one of the init containers: [{}]", init.join(" "));
            }
            Err(StatusError::bad_request(message))
        }
    }
}

async fn serve(plan: ExecPlan, upgrade: OnUpgrade, cut: Cut, (streams, board): (OpenStreams, Arc<FaultBoard>)) {
    let upgraded = tokio::select! {
        () = cut.happened() => return,
        upgraded = upgrade => upgraded,
    };
    // A client that left before the upgrade has nothing to be told.
    let Some(Parts { io, read_buf, .. }) = upgraded.ok().and_then(|io| io.downcast::<TokioIo<TlsSocket>>().ok()) else {
        return;
    };
    let stream = streams.enter(cut, board.cut_after());
    let session = ExecSession::new(io.into_inner(), &read_buf, plan.protocol, plan.wanted, stream);
    let container = plan.container;
    if plan.attach {
        let output = container.listen();
        return session.attach(&container, output).await;
    }
    let mut launch = ProgramLaunch { argv: plan.command, ..container.launch.clone() };
    let WantedStreams { stdin, stdout, stderr, tty } = plan.wanted;
    launch.streams = if tty { ProgramStreams::Terminal } else { ProgramStreams::Pipes { stdin, stdout, stderr } };
    if tty && !container.has_terminal() {
        launch.env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    session.exec(&container, container.exec(&launch)).await;
}
