//! Why a program could not be started, from what the cluster answered to the upgrade. Decides without I/O.

use super::status::{self, Failure};
use crate::guest::{LOG_TEXT_MAX, Refusal, RefusalKind};
use crate::kubernetes::api::client::ConnectError;
use crate::kubernetes::api::websocket::handshake::HandshakeError;
use crate::program::LOST;
use crate::types::printable;
use http::StatusCode;
use std::borrow::Cow;
use std::io;
use std::time::Duration;

/// An image with `/bin/sh` reads a long command line from its input.
const TOO_LONG: &str = "the command line is too long for an image without /bin/sh";

/// The error of a stream that was not opened. The texts are for the log; [`Refusal::from`] is for the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    /// The API server cannot be reached.
    #[error("{0}")]
    Connect(String),
    /// Not started in time.
    #[error("the program was not started within {} s (timeouts.commandStart)", .0.as_secs_f64())]
    Timeout(Duration),
    /// The request cannot be made of this command line.
    #[error("the request cannot be made: {0}")]
    Request(#[source] http::Error),
    /// The HTTP exchange broke off.
    #[error("the request to start a program broke off: {0}")]
    Exchange(#[source] hyper::Error),
    /// The stream broke right after it was opened.
    #[error("the stream broke: {0}")]
    Broken(#[source] io::Error),
    /// The answer is not the start of a WebSocket of ours.
    #[error("the Kubernetes API did not open a WebSocket: {0}")]
    Handshake(String),
    /// The server does not speak the protocol's version 5.
    #[error("the cluster does not support v5.channel.k8s.io; Podgate needs Kubernetes 1.30 or newer")]
    OldServer,
    /// The API answered 401: it does not know the gateway's credentials.
    #[error("the cluster refused the gateway's credentials: {0}")]
    Unauthorized(String),
    /// The API answered 403: the gateway lacks a right.
    #[error("the gateway may not use pods/{verb}: it needs the verbs get and create ({detail})")]
    Forbidden {
        /// The verb of the request: `exec` or `attach`.
        verb: &'static str,
        /// The server's text, printable.
        detail: String,
    },
    /// 404: the pod is not there (any more).
    #[error("the pod is gone: {0}")]
    PodGone(String),
    /// The command line is longer than the API or HTTP takes.
    #[error("the command line is too long for the Kubernetes API: {0}")]
    TooLong(String),
    /// 429, 502, 503, 504.
    #[error("the Kubernetes API is overloaded or starting: {code} {detail}")]
    Busy {
        /// The HTTP status of the answer.
        code: u16,
        /// The server's text, printable.
        detail: String,
    },
    /// The container or its runtime does not start it.
    #[error("the program cannot be started: {}", .0.detail.as_deref().unwrap_or(&.0.reason))]
    NotStarted(Refusal),
    /// The API gave any other answer.
    #[error("the Kubernetes API answered {code}: {detail}")]
    Answer {
        /// The HTTP status of the answer.
        code: u16,
        /// The server's text, printable.
        detail: String,
    },
}

impl ExecError {
    /// Its name on the metrics page.
    pub(super) fn cause(&self) -> Cow<'static, str> {
        let status = match self {
            Self::Unauthorized(_) => 401,
            Self::Forbidden { .. } => 403,
            Self::PodGone(_) => 404,
            Self::Busy { code, .. } | Self::Answer { code, .. } => *code,
            Self::Connect(_) => return "unreachable".into(),
            Self::Timeout(_) => return "timeout".into(),
            Self::Request(_) | Self::TooLong(_) => return "request".into(),
            Self::Exchange(_) | Self::Broken(_) => return "broken".into(),
            Self::Handshake(_) | Self::OldServer => return "websocket".into(),
            Self::NotStarted(_) => return "not_started".into(),
        };
        status.to_string().into()
    }

    /// Tells whether the program may have been started all the same: the request was sent, and its answer is not the
    /// cluster's.
    fn is_unanswered(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Exchange(_) | Self::Broken(_) => true,
            // A proxy before the cluster, which does not know.
            Self::Busy { code, .. } => matches!(code, 502 | 504),
            _ => false,
        }
    }
}

impl From<ExecError> for Refusal {
    fn from(error: ExecError) -> Self {
        let reason = match &error {
            ExecError::Connect(_) | ExecError::Exchange(_) => "the cluster cannot be reached",
            ExecError::Timeout(_) => "the container did not start the program in time",
            ExecError::Request(_) | ExecError::TooLong(_) => TOO_LONG,
            ExecError::Broken(_) => LOST,
            ExecError::Handshake(_) | ExecError::Answer { .. } => "the cluster refused to start the program",
            ExecError::OldServer => "the cluster is too old: Podgate needs Kubernetes 1.30 or newer",
            ExecError::Unauthorized(_) => "the cluster refused the gateway's credentials",
            ExecError::Forbidden { verb: "attach", .. } => "the gateway may not use pods/attach (needs get and create)",
            ExecError::Forbidden { .. } => "the gateway may not use pods/exec (needs get and create)",
            ExecError::PodGone(_) => "the pod is gone",
            ExecError::Busy { .. } => "the cluster is overloaded, try again later",
            ExecError::NotStarted(refusal) => return refusal.clone(),
        };
        let kind = if error.is_unanswered() { RefusalKind::Unanswered } else { RefusalKind::Other };
        Self::new(reason).kind(kind).detail(error.to_string())
    }
}

pub(super) fn connect(error: ConnectError) -> ExecError {
    ExecError::Connect(error.to_string())
}

pub(super) fn handshake(error: HandshakeError) -> ExecError {
    match error {
        HandshakeError::Protocol => ExecError::OldServer,
        error @ (HandshakeError::Upgrade | HandshakeError::Accept | HandshakeError::Extension) => {
            ExecError::Handshake(error.to_string())
        }
    }
}

/// Any answer but 101. A Kubernetes refusal has a Status in its body; `program` is the printable name of what was to run.
pub(super) fn answer(code: StatusCode, body: &[u8], verb: &'static str, program: &str) -> ExecError {
    let failure = Failure::parse(body);
    let detail = match &failure {
        Some(failure) => printable(failure.message(), LOG_TEXT_MAX),
        None => printable(&String::from_utf8_lossy(body), 200),
    };
    match (code, &failure) {
        (StatusCode::UNAUTHORIZED, _) => ExecError::Unauthorized(detail),
        // The WebSocket library of the API server answers an unknown subprotocol so, without a Status.
        (StatusCode::FORBIDDEN, None) if body.is_empty() => ExecError::OldServer,
        (StatusCode::FORBIDDEN, _) => ExecError::Forbidden { verb, detail },
        (StatusCode::NOT_FOUND, Some(_)) => ExecError::PodGone(detail),
        (StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, _) => ExecError::TooLong(detail),
        (
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT,
            _,
        ) => ExecError::Busy { code: code.as_u16(), detail },
        (StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_REQUEST, failure) => {
            // The API server may hand on a node's text without a Status.
            let text = failure.as_ref().map_or(detail.as_str(), Failure::message);
            match status::start_failure(text, program) {
                Some(refusal) => ExecError::NotStarted(refusal),
                None => ExecError::Answer { code: code.as_u16(), detail },
            }
        }
        (_, _) => ExecError::Answer { code: code.as_u16(), detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(reason: &str, message: &str) -> String {
        serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message
        })
        .to_string()
    }

    fn reason(code: u16, body: &str) -> (String, u8) {
        let refusal = Refusal::from(answer(StatusCode::from_u16(code).unwrap(), body.as_bytes(), "exec", "nosuch"));
        assert!(refusal.detail.is_some(), "{refusal:?}");
        (refusal.reason.clone(), refusal.status())
    }

    #[test]
    fn every_answer_has_a_reason_a_person_can_act_on() {
        let internal = |text: &str| status("InternalError", &format!("Internal error occurred: {text}"));
        let cases = [
            (401, status("Unauthorized", "Unauthorized"), "the cluster refused the gateway's credentials", 255),
            (
                403,
                status("Forbidden", "pods \"x\" is forbidden"),
                "the gateway may not use pods/exec (needs get and create)",
                255,
            ),
            (403, String::new(), "the cluster is too old: Podgate needs Kubernetes 1.30 or newer", 255),
            (403, "<html>no".to_owned(), "the gateway may not use pods/exec (needs get and create)", 255),
            (404, status("NotFound", "pods \"x\" not found"), "the pod is gone", 255),
            (404, "404 page not found".to_owned(), "the cluster refused to start the program", 255),
            (400, status("BadRequest", "container x is not valid for pod y"), "the pod has no such container", 255),
            (
                400,
                status("BadRequest", "cannot exec into a container in a completed pod; current phase is Failed"),
                "the container is not running",
                255,
            ),
            (400, status("BadRequest", "pod p does not have a host assigned"), "the container is not running", 255),
            (500, "container not found (\"shell\")".to_owned(), "the container is not running", 255),
            (500, "container shell not found in pod p_lab".to_owned(), "the container is not running", 255),
            (414, String::new(), TOO_LONG, 255),
            (431, String::new(), TOO_LONG, 255),
            (429, String::new(), "the cluster is overloaded, try again later", 255),
            (503, "no".to_owned(), "the cluster is overloaded, try again later", 255),
            (500, String::new(), "the cluster refused to start the program", 255),
            (
                500,
                internal("OCI runtime exec failed: exec: \"nosuch\": executable file not found in $PATH: unknown"),
                "nosuch: not found in the container",
                127,
            ),
            (302, String::new(), "the cluster refused to start the program", 255),
        ];
        for (code, body, expected, exit) in cases {
            assert_eq!(reason(code, &body), (expected.to_owned(), exit), "{code} {body}");
        }
    }

    #[test]
    fn old_server_is_told_apart_from_a_broken_handshake() {
        assert!(matches!(handshake(HandshakeError::Protocol), ExecError::OldServer));
        assert!(matches!(handshake(HandshakeError::Accept), ExecError::Handshake(_)));
    }

    #[test]
    fn only_a_lost_answer_leaves_open_whether_the_program_ran() {
        let kind = |code: u16| Refusal::from(answer(StatusCode::from_u16(code).unwrap(), b"", "exec", "true")).kind;
        for code in [502, 504] {
            assert_eq!(kind(code), RefusalKind::Unanswered, "{code}");
        }
        for code in [401, 403, 404, 414, 429, 500, 503] {
            assert_eq!(kind(code), RefusalKind::Other, "{code}");
        }
        for (error, kind) in [
            (ExecError::Timeout(Duration::from_secs(1)), RefusalKind::Unanswered),
            (ExecError::Broken(io::ErrorKind::BrokenPipe.into()), RefusalKind::Unanswered),
            (ExecError::Connect("no route".to_owned()), RefusalKind::Other),
        ] {
            assert_eq!(Refusal::from(error).kind, kind);
        }
    }
}
