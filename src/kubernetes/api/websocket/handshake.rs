//! The opening handshake of RFC 6455 section 4 as a client, without I/O.

use data_encoding::BASE64;
use http::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, Request, Response};
use sha1::{Digest, Sha1};

/// The subprotocol with a close of stdin; Kubernetes 1.30 and newer.
const PROTOCOL: &str = "v5.channel.k8s.io";
/// The constant that a server adds to the key (section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The error of a `101 Switching Protocols` that does not start a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// `Upgrade` is not `websocket`.
    #[error("the answer does not upgrade to a WebSocket")]
    Upgrade,
    /// `Sec-WebSocket-Accept` does not belong to our key.
    #[error("the answer is not to our request")]
    Accept,
    /// An extension was chosen that we did not offer.
    #[error("the answer chose an extension that was not offered")]
    Extension,
    /// Another subprotocol than the one offered, or none.
    #[error("the server does not speak {PROTOCOL}")]
    Protocol,
}

/// A fresh key for one handshake.
pub(crate) struct HandshakeKey(String);

impl HandshakeKey {
    pub(crate) fn random() -> Self {
        Self(BASE64.encode(&rand::random::<[u8; 16]>()))
    }

    pub(crate) fn accept(&self) -> String {
        BASE64.encode(&Sha1::digest(format!("{}{GUID}", self.0)))
    }
}

/// The request for an exec's stream with its headers. Only v5 is offered: a server without it must refuse before it starts anything.
pub(crate) fn exec_request(
    authority: &str,
    target: &str,
    key: &HandshakeKey,
) -> Result<http::request::Builder, http::Error> {
    let target: http::Uri = target.parse()?;
    Ok(Request::get(target)
        .header(HOST, authority)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key.0)
        .header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL))
}

/// Checks the headers of an answer with the status 101 (section 4.1).
pub(crate) fn check<T>(response: &Response<T>, key: &HandshakeKey) -> Result<(), HandshakeError> {
    let headers = response.headers();
    let is = |name: HeaderName, value: &str| text(headers, &name).is_some_and(|got| got.eq_ignore_ascii_case(value));
    if !is(UPGRADE, "websocket") || !text(headers, &CONNECTION).is_some_and(|value| lists(value, "upgrade")) {
        return Err(HandshakeError::Upgrade);
    }
    if text(headers, &SEC_WEBSOCKET_ACCEPT) != Some(key.accept().as_str()) {
        return Err(HandshakeError::Accept);
    }
    if headers.contains_key(http::header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(HandshakeError::Extension);
    }
    if text(headers, &SEC_WEBSOCKET_PROTOCOL) != Some(PROTOCOL) {
        return Err(HandshakeError::Protocol);
    }
    Ok(())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn lists(value: &str, token: &str) -> bool {
    value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(change: impl FnOnce(&mut HeaderMap)) -> Result<(), HandshakeError> {
        // The example of section 1.3.
        let key = HandshakeKey("dGhlIHNhbXBsZSBub25jZQ==".to_owned());
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert(UPGRADE, "WebSocket".parse().unwrap());
        headers.insert(CONNECTION, "keep-alive, upgrade".parse().unwrap());
        headers.insert(SEC_WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".parse().unwrap());
        headers.insert(SEC_WEBSOCKET_PROTOCOL, PROTOCOL.parse().unwrap());
        change(headers);
        check(&response, &key)
    }

    #[test]
    fn answer_that_is_not_ours_is_refused() {
        let set = |name: HeaderName, value: &'static str| {
            answer(|headers| {
                headers.insert(name, value.parse().unwrap());
            })
        };
        assert_eq!(set(UPGRADE, "h2c"), Err(HandshakeError::Upgrade));
        assert_eq!(set(CONNECTION, "close"), Err(HandshakeError::Upgrade));
        assert_eq!(set(SEC_WEBSOCKET_ACCEPT, "c3pPLMBiTxaQ9kYGzzhZRbK+xOo="), Err(HandshakeError::Accept));
        assert_eq!(set(SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io"), Err(HandshakeError::Protocol));
        assert_eq!(set(http::header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate"), Err(HandshakeError::Extension));
        assert_eq!(answer(|headers| drop(headers.remove(SEC_WEBSOCKET_PROTOCOL))), Err(HandshakeError::Protocol));
        assert_eq!(answer(|headers| drop(headers.remove(SEC_WEBSOCKET_ACCEPT))), Err(HandshakeError::Accept));
    }

    #[test]
    fn the_example_of_the_rfc_is_taken() {
        assert_eq!(answer(|_| ()), Ok(()));
    }

    #[test]
    fn only_v5_is_offered() {
        let request = exec_request("host:1", "/path?a=b", &HandshakeKey::random()).unwrap().body(()).unwrap();
        assert_eq!(request.headers()[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
    }
}
