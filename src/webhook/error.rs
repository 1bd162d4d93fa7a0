//! What can go wrong with a webhook, and which of it a user may read.

use crate::telemetry::metrics::Question;
use crate::tls::{Block, TlsError, cause_of, explain, hung_up};
use crate::types::quoted;
use std::error::Error;

/// Why a client cannot be made of an HTTP client block.
#[derive(Debug, thiserror::Error)]
pub enum WebhookBuildError {
    /// The certificates or the key cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// TLS cannot be set up at all.
    #[error("TLS cannot be set up: {}", explain(.0, Block::Webhook))]
    Provider(rustls::Error),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

/// Why one try failed. The texts are for the log; they hold neither URLs nor anything of a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The server's certificate was not accepted, or ours was not, or this is not TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection broke before the whole answer was there.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Something else than HTTP came.
    #[error("what the server answers is not HTTP: {0}")]
    NotHttp(String),
    /// No whole answer in the time of one try, or in what was left of all of them.
    #[error("no answer in time")]
    TimedOut,
    /// A redirect.
    #[error("the server answered with a redirect ({0}), which is not followed")]
    Redirect(u16),
    /// Any other status than 200.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// A body in an encoding that was not asked for.
    #[error(
        "the answer has the content encoding {}, which was not asked for; switch off the compression of answers",
        quoted(.0)
    )]
    Encoded(String),
    /// A body larger than we take.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl Failure {
    /// The reason's name on the metrics page: ContainerSSH's code where it means the same.
    pub(super) fn code(&self, question: Question) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Broken(_) => "HTTP_CLIENT_CONNECTION_FAILED",
            Self::NotHttp(_) => "HTTP_CLIENT_DECODE_FAILED",
            Self::Tls(_) => "HTTP_CLIENT_TLS_FAILED",
            Self::TimedOut => "HTTP_CLIENT_TIMEOUT",
            Self::Redirect(_) => "HTTP_CLIENT_REDIRECTS_DISABLED",
            Self::TooLarge(_) => "HTTP_CLIENT_ANSWER_TOO_LARGE",
            Self::Encoded(_) => "HTTP_CLIENT_DECODE_FAILED",
            Self::Status(_) if question == Question::Config => "CONFIG_INVALID_STATUS_CODE",
            Self::Status(_) => "AUTH_INVALID_STATUS",
        }
    }

    /// True if a server that is asked without TLS may want it: how it is seen to speak another protocol, or to say so.
    pub(super) fn may_want_tls(&self) -> bool {
        match self {
            Self::Broken(_) | Self::NotHttp(_) | Self::Status(400) => true,
            Self::Unreachable(_) | Self::Tls(_) | Self::TimedOut | Self::Redirect(_) | Self::Status(_) => false,
            Self::Encoded(_) | Self::TooLarge(_) => false,
        }
    }

    /// Whether another try would end the same way.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Broken(_) | Self::NotHttp(_) | Self::TimedOut => false,
            Self::Status(status) => *status < 500,
            Self::Tls(_) | Self::Redirect(_) | Self::TooLarge(_) | Self::Encoded(_) => true,
        }
    }

    /// The predicate of a sentence that a user may read.
    fn predicate(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "cannot be reached",
            Self::Tls(_) => "cannot be reached securely",
            Self::Broken(_) => "broke off the connection",
            Self::TimedOut => "does not answer in time",
            Self::Redirect(_) | Self::Status(_) => "answers with an error",
            Self::TooLarge(_) => "gives an answer that is too large",
            Self::NotHttp(_) | Self::Encoded(_) => "gives an answer that is not understood",
        }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let text = causes(&error);
        if let Some(tls) = cause_of(&error) {
            return Self::Tls(explain(tls, Block::Webhook));
        }
        if error.is_timeout() {
            return Self::TimedOut;
        }
        match error.is_connect() {
            true if hung_up(&error) => Self::Unreachable(Block::Webhook.hung_up()),
            true => Self::Unreachable(text),
            false if is_no_http(&error) => Self::NotHttp(text),
            false => Self::Broken(text),
        }
    }
}

/// True where the server's bytes are not HTTP.
fn is_no_http(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The causes without the layers that they passed through: reqwest's own line would show the URL, and hyper's name
/// variants.
fn causes(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        let layer = text.starts_with("client error (") || text == "tcp connect error";
        if !layer && texts.last() != Some(&text) {
            texts.push(text);
        }
        cause = error.source();
    }
    if texts.is_empty() { "unknown cause".into() } else { texts.join(": ") }
}

/// Why a webhook gave no answer. The text is for the log; [`WebhookError::predicate`] is for the user.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The request has no JSON form.
    #[error("the request cannot be written as JSON: {0}")]
    Encode(serde_json::Error),
    /// A failure that another try would not mend.
    #[error("{0}")]
    Final(Failure),
    /// Another try might have mended it, but the question has a side effect and may have arrived.
    #[error("{0}; the request is not repeated, because the server may have received it")]
    NotRepeated(Failure),
    /// All tries failed until the deadline.
    #[error("gave up after {tries} {}: {last}", if *tries == 1 { "try" } else { "tries" })]
    GaveUp {
        /// How many there were.
        tries: u32,
        /// How the last of them failed.
        last: Failure,
    },
    /// The server answered 200 with something that is no answer. The text names fields, never what they held.
    #[error("the answer is not understood: {0}")]
    Malformed(String),
}

impl WebhookError {
    /// As [`Failure::code`].
    pub(super) fn code(&self, question: Question) -> &'static str {
        match self {
            Self::Encode(_) => "HTTP_CLIENT_ENCODE_FAILED",
            Self::Final(failure) | Self::NotRepeated(failure) | Self::GaveUp { last: failure, .. } => {
                failure.code(question)
            }
            Self::Malformed(_) => "HTTP_CLIENT_DECODE_FAILED",
        }
    }

    /// The failure of the last try; `None` where nothing failed on the way there and back.
    pub(super) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Final(failure) | Self::NotRepeated(failure) | Self::GaveUp { last: failure, .. } => Some(failure),
            Self::Encode(_) | Self::Malformed(_) => None,
        }
    }

    /// The end of a sentence that begins with "the … server", for the user.
    #[must_use]
    pub fn predicate(&self) -> &'static str {
        match self {
            Self::Encode(_) => "cannot be asked",
            Self::Final(failure) | Self::NotRepeated(failure) | Self::GaveUp { last: failure, .. } => {
                failure.predicate()
            }
            Self::Malformed(_) => "gives an answer that is not understood",
        }
    }
}
