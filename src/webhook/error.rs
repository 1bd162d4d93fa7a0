//! Failures of webhooks: their texts for the log, and their predicates for users.

use crate::telemetry::metrics::Question;
use crate::tls::{ConfigBlock, TlsBuildError, cause_of, closed_in_handshake, explain};
use crate::types::{causes, error_chain, quoted};
use std::error::Error;

/// Failure to create a client.
#[derive(Debug, thiserror::Error)]
pub enum WebhookBuildError {
    /// The certificates or the key cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsBuildError),
    /// TLS is not available.
    #[error("TLS cannot be set up: {}", explain(.0, ConfigBlock::Webhook))]
    Provider(rustls::Error),
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

/// Failure of one try. The texts are for the log; they contain neither URLs nor anything of a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttemptFailure {
    /// No connection to the server.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The server's certificate was not accepted, or ours was not, or this is not TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection broke before the whole answer was there.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The answer is not HTTP.
    #[error("what the server answers is not HTTP: {0}")]
    NotHttp(String),
    /// No whole answer in the time of one try, or in what was left of all of them.
    #[error("no answer in time")]
    TimedOut,
    /// A redirect, by its status.
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

impl AttemptFailure {
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

    /// True if a server that is asked without TLS may require it: it speaks another protocol, or says so.
    pub(super) fn may_want_tls(&self) -> bool {
        match self {
            Self::Broken(_) | Self::NotHttp(_) | Self::Status(400) => true,
            Self::Unreachable(_) | Self::Tls(_) | Self::TimedOut | Self::Redirect(_) | Self::Status(_) => false,
            Self::Encoded(_) | Self::TooLarge(_) => false,
        }
    }

    /// Advice to the operator, after the failure's text.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Status(401) => {
                "; it wants credentials: set them in the URL (https://NAME:PASSWORD@HOST/), or cert and key"
            }
            Self::Status(404) => "; is the path of the URL right?",
            Self::Status(405) => "; it takes no POST there: is the path of the URL right?",
            _ => "",
        }
    }

    /// True if another try would end the same way.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Broken(_) | Self::NotHttp(_) | Self::TimedOut => false,
            Self::Status(status) => *status < 500,
            Self::Tls(_) | Self::Redirect(_) | Self::TooLarge(_) | Self::Encoded(_) => true,
        }
    }

    /// Predicate of a sentence for the user.
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

impl From<reqwest::Error> for AttemptFailure {
    fn from(error: reqwest::Error) -> Self {
        // reqwest's own line would show the URL.
        let text = error.source().map_or_else(|| "unknown cause".to_owned(), causes);
        if let Some(tls) = cause_of(&error) {
            return Self::Tls(explain(tls, ConfigBlock::Webhook));
        }
        if error.is_timeout() {
            return Self::TimedOut;
        }
        match error.is_connect() {
            true if closed_in_handshake(&error) => Self::Unreachable(ConfigBlock::Webhook.closed_message()),
            true => Self::Unreachable(text),
            false if is_no_http(&error) => Self::NotHttp(text),
            false => Self::Broken(text),
        }
    }
}

/// True where the server's bytes are not HTTP.
fn is_no_http(error: &reqwest::Error) -> bool {
    error_chain(error).filter_map(<dyn Error>::downcast_ref).any(hyper::Error::is_parse)
}

/// Failure of a question. The text is for the log; [`WebhookError::predicate`] is for the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    /// The request has no JSON form.
    #[error("the request cannot be written as JSON: {0}")]
    Encode(serde_json::Error),
    /// A failure that another try would not mend.
    #[error("{0}")]
    Final(AttemptFailure),
    /// Another try might have mended it, but the question has a side effect and may have arrived.
    #[error("{0}; the request is not repeated, because the server may have received it")]
    NotRepeated(AttemptFailure),
    /// All tries failed until the deadline.
    #[error("gave up after {tries} {}: {last}", if *tries == 1 { "try" } else { "tries" })]
    GaveUp {
        /// Number of tries.
        tries: u32,
        /// Failure of the last try.
        last: AttemptFailure,
    },
    /// The server answered 200 with something that is no answer. The text names fields, never what they held.
    #[error("the answer is not understood: {0}")]
    Malformed(String),
}

impl WebhookError {
    /// The code of the last try's failure; see [`AttemptFailure::code`].
    pub(super) fn code(&self, question: Question) -> &'static str {
        match self {
            Self::Encode(_) => "HTTP_CLIENT_ENCODE_FAILED",
            Self::Final(failure) | Self::NotRepeated(failure) | Self::GaveUp { last: failure, .. } => {
                failure.code(question)
            }
            Self::Malformed(_) => "HTTP_CLIENT_DECODE_FAILED",
        }
    }

    /// The failure of the last try; `None` if the transport did not fail.
    pub(super) fn failure(&self) -> Option<&AttemptFailure> {
        match self {
            Self::Final(failure) | Self::NotRepeated(failure) | Self::GaveUp { last: failure, .. } => Some(failure),
            Self::Encode(_) | Self::Malformed(_) => None,
        }
    }

    /// The sentence for the log, before the reason.
    pub(super) fn message(&self) -> &'static str {
        use AttemptFailure::{Encoded, NotHttp, Redirect, Status, TooLarge};
        match self.failure() {
            Some(Status(_) | Redirect(_)) => "the webhook answered with an error",
            Some(Encoded(_) | NotHttp(_) | TooLarge(_)) => "the webhook gave no answer that is understood",
            None if matches!(self, Self::Malformed(_)) => "the webhook gave no answer that is understood",
            Some(_) | None => "the webhook gave no answer",
        }
    }

    /// The end of a sentence that begins with "the … server", for the user.
    pub(crate) fn predicate(&self) -> &'static str {
        match self {
            Self::Encode(_) => "cannot be asked",
            Self::Final(failure) | Self::NotRepeated(failure) | Self::GaveUp { last: failure, .. } => {
                failure.predicate()
            }
            Self::Malformed(_) => "gives an answer that is not understood",
        }
    }
}
