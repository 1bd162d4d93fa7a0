//! The operator's side of the socket: one request, one answer.

use super::json_text;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::process::geteuid;
use serde_json::Value;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The time for an answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Limit of an answer, in bytes.
const BODY: usize = 64 * 1024 * 1024;

/// The error of a request to a gateway's socket.
#[derive(Debug, thiserror::Error)]
pub enum AdminClientError {
    #[error(
        "no gateway is at {}: does it run, and did its configuration set admin.socket to this path when it started? If the \
         path was changed since, name the old one (--socket)",
        .0.display()
    )]
    NoSocket(PathBuf),
    #[error("no gateway listens at {} any more", .0.display())]
    NoGateway(PathBuf),
    #[error("no permission for {}: only root and the gateway's own user may operate it", .0.display())]
    NoPermission(PathBuf),
    /// Whoever listens there is no gateway that this user operates.
    #[error("the user with the uid {uid} listens at {}, who is neither root nor you: no gateway of yours", path.display())]
    Strangers { path: PathBuf, uid: u32 },
    #[error("{} cannot be reached: {source}", path.display())]
    Unreachable { path: PathBuf, source: io::Error },
    #[error("the gateway gave no answer that is understood: {0}")]
    Broken(String),
    #[error("the gateway did not answer within {} s; it goes on with what it was asked for, see its log", DEADLINE.as_secs())]
    Timeout,
    /// The gateway does not do what was asked for.
    #[error("{0}")]
    Refused(String),
}

/// Asks the gateway at a socket, and returns its answer.
///
/// # Errors
/// No gateway there, no permission, or a refusal with its reason.
pub async fn ask_gateway(socket: &Path, path: &str, body: Option<&Value>) -> Result<Value, AdminClientError> {
    timeout(DEADLINE, ask(socket, path, body)).await.unwrap_or(Err(AdminClientError::Timeout))
}

async fn ask(socket: &Path, path: &str, body: Option<&Value>) -> Result<Value, AdminClientError> {
    let stream = UnixStream::connect(socket).await.map_err(|source| unreachable(socket, source))?;
    let server = stream.peer_cred().map_err(|source| unreachable(socket, source))?.uid();
    if !is_trusted(server, geteuid().as_raw()) {
        return Err(AdminClientError::Strangers { path: socket.to_owned(), uid: server });
    }
    let broken = |error: &dyn std::fmt::Display| AdminClientError::Broken(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let body = Full::new(body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string())));
    let request = Request::builder().method(method).uri(path).header(HOST, "podgate").body(body);
    let request = request.map_err(|error| broken(&error))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY).collect().await.map_err(|error| broken(&error))?;
        let body: Value = serde_json::from_slice(&body.to_bytes()).map_err(|error| broken(&error))?;
        match (status, body.get("error").and_then(Value::as_str)) {
            (StatusCode::OK, _) => Ok(body),
            (StatusCode::FORBIDDEN, _) => Err(AdminClientError::NoPermission(socket.to_owned())),
            (_, Some(error)) => Err(AdminClientError::Refused(error.to_owned())),
            (status, None) => Err(broken(&status)),
        }
    };
    tokio::pin!(connection, exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // Its end is the end of the exchange, too.
        _ended = &mut connection => exchange.await,
    }
}

/// True if a server's user is one whose gateway the operator `own` may have meant. Root operates the gateways of all users.
fn is_trusted(server: u32, own: u32) -> bool {
    own == 0 || server == 0 || server == own
}

fn unreachable(socket: &Path, source: io::Error) -> AdminClientError {
    let path = socket.to_owned();
    match source.kind() {
        ErrorKind::NotFound => AdminClientError::NoSocket(path),
        ErrorKind::ConnectionRefused => AdminClientError::NoGateway(path),
        ErrorKind::PermissionDenied => AdminClientError::NoPermission(path),
        _ => AdminClientError::Unreachable { path, source },
    }
}

/// Writes an answer as text for an operator's terminal.
pub fn answer_text(answer: &Value) -> String {
    json_text(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operator_tells_nothing_to_a_socket_of_a_stranger() {
        for (server, own, trusted) in
            [(65534, 1000, false), (1000, 1000, true), (0, 1000, true), (65532, 0, true), (0, 0, true)]
        {
            assert_eq!(is_trusted(server, own), trusted, "{server} for {own}");
        }
    }
}
