//! What is counted and how long things take, for the metrics page. ContainerSSH's names stand with its meanings; Podgate's
//! own begin with `podgate_`. Counting is a few atomic steps and never waits.
//!
//! No label holds anything that a user, a client or a webhook chose: every value is a word of this program, or the status
//! of an HTTP answer.

mod classic;
mod families;

use crate::config::Level;
use families::{Families, XX};
use std::sync::Arc;
use std::time::Instant;

/// A handle to the counters; clones are the same counters.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Families>);

/// What a webhook is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Whether a password is right.
    Password,
    /// Whether a key is right.
    PublicKey,
    /// Whether an identity may come in.
    Authorization,
    /// What a connection gets.
    Config,
}

/// A step on the way from a TCP connection to a running program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// From accept to the first request to log in.
    Handshake,
    /// The password webhook, all tries.
    Password,
    /// The key webhook, all tries.
    PublicKey,
    /// The authorization webhook, all tries.
    Authorization,
    /// The config webhook, all tries.
    Config,
    /// Until Kubernetes has taken the pod.
    PodCreate,
    /// Until the pod is Ready.
    PodReady,
    /// Until files are written and the pod is open for programs.
    PodPrepare,
    /// The start of a program in a pod that is open.
    Exec,
    /// All that a user waits for: from the proof of identity to the connection's first program.
    FirstProgram,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it is for.
    Success,
    /// The answer was no.
    Refused,
    /// There was no answer, or it did not work.
    Failed,
    /// Nobody waited for its end: the client left.
    Abandoned,
}

impl Question {
    /// ContainerSSH's `authtype`; the config webhook has none.
    fn authtype(self) -> Option<&'static str> {
        match self {
            Self::Password => Some("password"),
            Self::PublicKey => Some("pubkey"),
            Self::Authorization => Some("authorization"),
            Self::Config => None,
        }
    }

    /// The step of a login that it is.
    #[must_use]
    pub fn step(self) -> Step {
        match self {
            Self::Password => Step::Password,
            Self::PublicKey => Step::PublicKey,
            Self::Authorization => Step::Authorization,
            Self::Config => Step::Config,
        }
    }
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Password => "password",
            Self::PublicKey => "pubkey",
            Self::Authorization => "authorization",
            Self::Config => "config",
            Self::PodCreate => "pod_create",
            Self::PodReady => "pod_ready",
            Self::PodPrepare => "pod_prepare",
            Self::Exec => "exec",
            Self::FirstProgram => "first_program",
        }
    }
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

fn retry_label(retry: bool) -> &'static str {
    if retry { "1" } else { "0" }
}

impl Metrics {
    /// The page, in the text form of OpenMetrics 1.0.
    ///
    /// # Errors
    /// None that is known; the encoder's own.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        self.0.text()
    }

    /// The page, in Prometheus' classic text form 0.0.4.
    ///
    /// # Errors
    /// As [`Metrics::text`].
    pub fn classic_text(&self) -> Result<String, std::fmt::Error> {
        self.text().map(|page| classic::of(&page))
    }

    /// A webhook is asked, for the first time or again.
    pub fn asked(&self, question: Question, retry: bool) {
        let retry = ("retry", retry_label(retry));
        match question.authtype() {
            Some(authtype) => self.0.auth_requests.get_or_create(&[("authtype", authtype), retry]).inc(),
            None => self.0.config_requests.get_or_create(&[retry]).inc(),
        };
    }

    /// A try was of no use (`last` false), or nothing more is tried (`last` true).
    pub fn ask_failed(&self, question: Question, retry: bool, last: bool, reason: &'static str) {
        let kind = ("type", if last { "hard" } else { "soft" });
        let (retry, reason) = (("retry", retry_label(retry)), ("reason", reason));
        match question.authtype() {
            Some(authtype) => {
                self.0.auth_failed_requests.get_or_create(&[kind, ("authtype", authtype), retry, reason]).inc()
            }
            None => self.0.config_failed_requests.get_or_create(&[kind, retry, reason]).inc(),
        };
    }

    /// A webhook of the login said yes or no.
    pub fn answered(&self, question: Question, retry: bool, yes: bool) {
        let Some(authtype) = question.authtype() else { return };
        let labels = [("authtype", authtype), ("retry", retry_label(retry)), ("country", XX)];
        let family = if yes { &self.0.auth_success } else { &self.0.auth_failures };
        family.get_or_create(&labels).inc();
    }

    /// Kubernetes is asked for something.
    pub fn backend_asked(&self) {
        self.0.backend_requests.inc();
    }

    /// Kubernetes did not do it; `cause` is an HTTP status or a word of this program.
    pub fn backend_failed(&self, cause: impl ToString) {
        self.0.backend_errors.inc();
        self.0.kubernetes_errors.get_or_create(&[("cause", cause.to_string())]).inc();
    }

    /// Counts a connection as there until the guard is dropped; one that was never [`Connected::served`] counts as a
    /// failed handshake then.
    pub fn connection(&self) -> Connected {
        self.0.connections.inc();
        self.0.current_connections.inc();
        Connected { metrics: self.clone(), served: false }
    }

    /// Counts a session channel as open until the guard is dropped.
    pub fn session(&self) -> OpenSession {
        self.0.sessions.inc();
        self.0.current_sessions.inc();
        OpenSession(self.clone())
    }

    /// Begins to measure a step.
    pub fn step(&self, step: Step) -> Timer {
        Timer { metrics: self.clone(), step, begun: Instant::now(), outcome: Outcome::Abandoned }
    }

    /// Something happened that the log has a code for, whether its level is logged or not.
    pub(super) fn event(&self, level: Level, code: &'static str) {
        let level = super::line::name(level);
        self.0.events.get_or_create(&[("level", level), ("code", code)]).inc();
    }

    /// A line found no room in the log's queue.
    pub(super) fn line_dropped(&self) {
        self.0.lines_dropped.inc();
    }
}

/// A connection, counted.
#[derive(Debug)]
#[must_use = "dropping it counts the connection as over"]
pub struct Connected {
    metrics: Metrics,
    served: bool,
}

impl Connected {
    /// It has logged in and its guest is ready; a second time nothing happens.
    pub fn served(&mut self) {
        if !self.served {
            self.served = true;
            self.metrics.0.successful_handshakes.inc();
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.metrics.0.current_connections.dec();
        if !self.served {
            self.metrics.0.failed_handshakes.inc();
        }
    }
}

/// An open session channel, counted.
#[derive(Debug)]
#[must_use = "dropping it counts the session as over"]
pub struct OpenSession(Metrics);

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.0.current_sessions.dec();
    }
}

/// A step that is being measured. Dropped without an end, it was abandoned.
#[derive(Debug)]
#[must_use = "dropping it ends the step as abandoned"]
pub struct Timer {
    metrics: Metrics,
    step: Step,
    begun: Instant,
    outcome: Outcome,
}

impl Timer {
    /// Ends the step.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let labels = [("step", self.step.name()), ("outcome", self.outcome.name())];
        self.metrics.0.steps.get_or_create(&labels).observe(self.begun.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests;
