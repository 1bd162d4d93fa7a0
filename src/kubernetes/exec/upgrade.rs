//! The HTTP request that becomes a stream. It is made once: a program must not start twice, so nothing is retried.

use super::What;
use super::refused::{self, ExecError};
use crate::kubernetes::client::{AGENT, ClusterClient};
use crate::kubernetes::websocket::handshake::{self, Key};
use bytes::Bytes;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The answer's head, and with it what may come right behind it.
const BUFFER: usize = 16 * 1024;
/// How much of a refusal is read.
const LONGEST_REFUSAL: usize = 64 * 1024;

/// Asks for the stream. The bytes are what came in the same segment as the answer: the first frames.
pub(super) async fn upgrade(
    client: &ClusterClient,
    what: &What<'_>,
) -> Result<(TlsStream<TcpStream>, Bytes), ExecError> {
    let key = Key::random();
    let mut request = handshake::request(client.authority(), &what.target(), &key)
        .map_err(ExecError::Request)?
        .header(USER_AGENT, AGENT);
    if let Some(authorization) = client.authorization() {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::new()).map_err(ExecError::Request)?;
    let stream = client.connect().await.map_err(refused::connect)?;
    let (sender, connection) =
        Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await.map_err(ExecError::Exchange)?;
    let (answer, connection) = tokio::join!(exchange(sender, request, &key, what), connection.without_shutdown());
    answer?;
    let parts = connection.map_err(ExecError::Exchange)?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

async fn exchange(
    mut sender: SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    key: &Key,
    what: &What<'_>,
) -> Result<(), ExecError> {
    let response = sender.send_request(request).await.map_err(ExecError::Exchange)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response, what).await);
    }
    handshake::check(&response, key).map_err(refused::handshake)
}

async fn refusal(response: Response<Incoming>, what: &What<'_>) -> ExecError {
    let code = response.status();
    // A body that breaks off or is too long says nothing; the code does.
    let body = Limited::new(response.into_body(), LONGEST_REFUSAL).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    refused::answer(code, &body, what.verb, &what.name())
}
