//! What a test of a login found: as lines for a person, and as one JSON document for a program.

use super::{CLIENT_VERSION, TestLogin, captured};
use crate::config::yaml;
use crate::types::{ConnectionId, printable};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// The longest detail of a step, in characters.
pub(super) const LINE: usize = 2000;
/// The width of the steps' names.
const NAME: usize = 20;

/// Result of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its user gets a pod and may start a program.
    Served,
    /// Its user is refused.
    Refused,
    /// Nobody can say: a webhook or the Kubernetes API gives no answer. The login fails as long as that lasts.
    Unavailable,
}

/// The result of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepResult {
    /// The login goes on.
    Ok,
    /// Nothing was asked.
    Skipped,
    /// The rules let the user do this.
    Allowed,
    /// The user cannot do this; the login goes on.
    Denied,
    /// The login ends here.
    Refused,
    /// The login ends here, because somebody gives no answer.
    Unavailable,
}

/// One step of the login.
#[derive(Debug)]
pub struct Step {
    /// The name, unique in a report.
    pub name: &'static str,
    /// Its result.
    pub result: StepResult,
    /// Its duration.
    pub took: Duration,
    /// The finding, one line.
    pub detail: String,
    /// The line that the user would read, if there is one.
    pub reads: Option<String>,
    /// Lines that the log would have at level `info`, in JSON.
    pub log: Vec<Value>,
}

/// The whole test.
#[derive(Debug)]
pub struct Report {
    /// The result.
    pub verdict: Verdict,
    /// Every step until the end, in order.
    pub steps: Vec<Step>,
    /// The pod as it would be sent, values of variables masked.
    pub pod: Option<Value>,
    /// `authenticatedUsername`, once it is known.
    pub authenticated: Option<String>,
    user: String,
    connection: ConnectionId,
    remote: SocketAddr,
}

impl From<Verdict> for StepResult {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Served => Self::Ok,
            Verdict::Refused => Self::Refused,
            Verdict::Unavailable => Self::Unavailable,
        }
    }
}

impl StepResult {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }

    fn ends(self) -> bool {
        matches!(self, Self::Refused | Self::Unavailable)
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Step {
    /// The step's line, and below it what the user reads and the log says where the step ended the login, or the log's
    /// warnings where it did not. Each line has its end.
    #[must_use]
    pub fn lines(&self) -> String {
        let took = format!("{} ms", self.took.as_millis());
        let mut text = format!("{:NAME$} {:11} {took:>8}  {}", self.name, self.result.word(), self.detail);
        text.truncate(text.trim_end().len());
        text.push('\n');
        if self.result.ends() {
            let reads = self.reads.as_deref().unwrap_or("no reason: the client says that permission is denied");
            line(&mut text, "the user reads:", reads);
        }
        for told in self.log.iter().filter(|line| self.result.ends() || captured::is_warning(line)) {
            line(&mut text, "the log says:", &captured::shown(told));
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "step": self.name,
            "result": self.result.word(),
            "durationMs": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "detail": self.detail,
            "userReads": self.reads,
            "log": self.log,
        })
    }
}

fn line(text: &mut String, what: &str, said: &str) {
    // A String takes every letter.
    let _ = writeln!(text, "    {what:15} {said}");
}

impl Report {
    pub(super) fn new(test: &TestLogin, connection: ConnectionId) -> Self {
        Self {
            verdict: Verdict::Unavailable,
            steps: Vec::new(),
            pod: None,
            authenticated: None,
            user: printable(&test.user, 200),
            connection,
            remote: test.remote,
        }
    }

    /// The text behind the steps: the pod as YAML, and the verdict as the last line.
    #[must_use]
    pub fn conclusion(&self) -> String {
        let pod = self.pod.as_ref().and_then(Value::as_object).map(yaml::write);
        let pod = pod.map(|pod| format!("\n{pod}\n")).unwrap_or_default();
        let user = &self.user;
        let at = self.steps.last().map_or("", |step| step.name);
        let verdict = match self.verdict {
            Verdict::Served => format!("{user} would be served"),
            Verdict::Refused => format!("{user} would be refused at the step \"{at}\""),
            Verdict::Unavailable => {
                format!("nobody can say whether {user} would be served: no answer at the step \"{at}\"")
            }
        };
        let (connection, remote) = (self.connection, self.remote);
        format!("{pod}{verdict} (connectionId {connection}, remoteAddr {remote}, client \"{CLIENT_VERSION}\")\n")
    }

    /// Everything as one document.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut document = Map::new();
        let mut set = |key: &str, value: Value| drop(document.insert(key.to_owned(), value));
        set("result", self.verdict.word().into());
        set("username", self.user.clone().into());
        set("authenticatedUsername", self.authenticated.clone().into());
        set("connectionId", self.connection.to_string().into());
        set("remoteAddress", self.remote.to_string().into());
        set("clientVersion", CLIENT_VERSION.into());
        set("steps", self.steps.iter().map(Step::json).collect());
        set("pod", self.pod.clone().unwrap_or_default());
        Value::Object(document)
    }
}
