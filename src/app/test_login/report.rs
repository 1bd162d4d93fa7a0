//! Results of a login test, as lines for people and as one JSON document for programs.

use super::{CLIENT_VERSION, TestLogin, step_log};
use crate::schema::yaml;
use crate::types::{ConnectionId, printable};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// Limit of a step's detail, in characters.
pub(super) const MAX_DETAIL: usize = 2000;
/// Column width of the steps' names, in characters.
const NAME_WIDTH: usize = 20;

/// Overall result of a tested login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginVerdict {
    /// The user gets a pod and may start a program.
    Served,
    Refused,
    /// A webhook or the Kubernetes API gives no answer; logins fail for as long as that lasts.
    Unavailable,
}

/// Result of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepResult {
    /// The step succeeded and the login continues.
    Ok,
    /// The step was not performed.
    Skipped,
    /// The rules permit the request.
    Allowed,
    /// The request would be denied; the login continues.
    Denied,
    /// The user is refused and the login ends.
    Refused,
    /// A server gives no answer and the login ends.
    Unavailable,
}

/// One step of a tested login.
#[derive(Debug)]
pub struct LoginStep {
    /// Name, unique within a report.
    pub name: &'static str,
    pub result: StepResult,
    pub took: Duration,
    /// Explanation of the result, one line.
    pub detail: String,
    /// Line that the user's client would print; `None` if the step sends no text.
    pub reads: Option<String>,
    /// Log lines of level `info` and above, in JSON.
    pub log: Vec<Value>,
}

/// Result of a tested login with all of its steps.
#[derive(Debug)]
pub struct LoginReport {
    pub verdict: LoginVerdict,
    /// Completed steps, in order.
    pub steps: Vec<LoginStep>,
    /// Pod as it would be sent to the API, with the values of variables masked.
    pub pod: Option<Value>,
    /// The `authenticatedUsername`; `None` if authentication failed.
    pub authenticated: Option<String>,
    user: String,
    connection: ConnectionId,
    remote: SocketAddr,
}

impl From<LoginVerdict> for StepResult {
    fn from(verdict: LoginVerdict) -> Self {
        match verdict {
            LoginVerdict::Served => Self::Ok,
            LoginVerdict::Refused => Self::Refused,
            LoginVerdict::Unavailable => Self::Unavailable,
        }
    }
}

impl StepResult {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }

    fn ends_login(self) -> bool {
        matches!(self, Self::Refused | Self::Unavailable)
    }
}

impl LoginVerdict {
    fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

impl LoginStep {
    /// Formats the step as newline-terminated lines: its result, then the user's and the log's lines if the step ended the
    /// login, otherwise only the log's warnings.
    pub fn lines(&self) -> String {
        let took = format!("{} ms", self.took.as_millis());
        let mut text = format!("{:NAME_WIDTH$} {:11} {took:>8}  {}", self.name, self.result.name(), self.detail);
        text.truncate(text.trim_end().len());
        text.push('\n');
        if self.result.ends_login() {
            let reads = self.reads.as_deref().unwrap_or("no reason: the client says that permission is denied");
            line(&mut text, "the user reads:", reads);
        }
        for entry in self.log.iter().filter(|line| self.result.ends_login() || step_log::is_warning(line)) {
            line(&mut text, "the log says:", &step_log::display_line(entry));
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "step": self.name,
            "result": self.result.name(),
            "durationMs": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "detail": self.detail,
            "userReads": self.reads,
            "log": self.log,
        })
    }
}

fn line(text: &mut String, label: &str, value: &str) {
    // Writing to a String never fails.
    let _ = writeln!(text, "    {label:15} {value}");
}

impl LoginReport {
    pub(super) fn new(test: &TestLogin, connection: ConnectionId) -> Self {
        Self {
            verdict: LoginVerdict::Unavailable,
            steps: Vec::new(),
            pod: None,
            authenticated: None,
            user: printable(&test.user, 200),
            connection,
            remote: test.remote,
        }
    }

    /// Formats the text after the steps: the pod as YAML, and the verdict as the last line.
    pub fn conclusion(&self) -> String {
        let pod = self.pod.as_ref().and_then(Value::as_object).map(yaml::write);
        let pod = pod.map(|pod| format!("\n{pod}\n")).unwrap_or_default();
        let user = &self.user;
        let at = self.steps.last().map_or("", |step| step.name);
        let verdict = match self.verdict {
            LoginVerdict::Served => format!("{user} would be served"),
            LoginVerdict::Refused => format!("{user} would be refused at the step \"{at}\""),
            LoginVerdict::Unavailable => {
                format!("nobody can say whether {user} would be served: no answer at the step \"{at}\"")
            }
        };
        let (connection, remote) = (self.connection, self.remote);
        format!("{pod}{verdict} (connectionId {connection}, remoteAddr {remote}, client \"{CLIENT_VERSION}\")\n")
    }

    /// The whole report as one JSON document.
    pub fn json(&self) -> Value {
        let mut document = Map::new();
        let mut set = |key: &str, value: Value| drop(document.insert(key.to_owned(), value));
        set("result", self.verdict.name().into());
        set("username", self.user.clone().into());
        set("authenticatedUsername", self.authenticated.clone().into());
        set("connectionId", self.connection.to_string().into());
        set("remoteAddress", self.remote.to_string().into());
        set("clientVersion", CLIENT_VERSION.into());
        set("steps", self.steps.iter().map(LoginStep::json).collect());
        set("pod", self.pod.clone().unwrap_or_default());
        Value::Object(document)
    }
}
