//! Counters and durations for the metrics page. ContainerSSH's names keep their meanings; Podgate's own begin with
//! `podgate_`. Counting takes a few atomic operations and never waits.
//!
//! No label holds a value that a user, a client or a webhook chose: every value is a word of this program, or the status of
//! an HTTP response.

mod classic;
mod families;
mod usage;

use super::Code;
use super::countries::Country;
use families::{Families, WaitingBytes};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A handle to the counters; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Families>);

/// The kind of a webhook request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// A check of the user's password.
    Password,
    /// A check of the user's public key.
    PublicKey,
    /// A decision about an authenticated user.
    Authorization,
    /// The settings of the connection.
    Config,
}

/// A step between a TCP connection and a running program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasuredStep {
    /// From the accepted connection to the first authentication request.
    Handshake,
    /// The password webhook, all tries.
    Password,
    /// The key webhook, all tries.
    PublicKey,
    /// The authorization webhook, all tries.
    Authorization,
    /// The config webhook, all tries.
    Config,
    /// Until the Kubernetes API has accepted the pod.
    PodCreate,
    /// Until the pod is Ready.
    PodReady,
    /// Until the files are written and programs can be started.
    PodPrepare,
    /// The start of a program in a prepared pod.
    Exec,
    /// The user's whole wait: from authentication to the connection's first program.
    FirstProgram,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepOutcome {
    Success,
    /// A webhook denied it.
    Refused,
    /// The server did not answer, or the step did not succeed.
    Failed,
    /// The client left before the step ended.
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

    /// The step that measures the request with all its tries.
    pub fn step(self) -> MeasuredStep {
        match self {
            Self::Password => MeasuredStep::Password,
            Self::PublicKey => MeasuredStep::PublicKey,
            Self::Authorization => MeasuredStep::Authorization,
            Self::Config => MeasuredStep::Config,
        }
    }
}

impl MeasuredStep {
    /// True if the step asks another server for its decision.
    pub(super) fn asks(self) -> bool {
        match self {
            Self::Password | Self::PublicKey | Self::Authorization | Self::Config => true,
            Self::Handshake | Self::PodCreate | Self::PodReady | Self::PodPrepare | Self::Exec | Self::FirstProgram => {
                false
            }
        }
    }

    pub(super) fn name(self) -> &'static str {
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

impl StepOutcome {
    pub(super) fn name(self) -> &'static str {
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
    /// Writes the page in the text form of OpenMetrics 1.0.
    ///
    /// # Errors
    /// Those of the encoder; none is known.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        self.0.text()
    }

    /// Writes the page in Prometheus' classic text form 0.0.4.
    ///
    /// # Errors
    /// As [`Metrics::text`].
    pub fn classic_text(&self) -> Result<String, std::fmt::Error> {
        self.text().map(|page| classic::of(&page))
    }

    /// Counts a request to a webhook, a first try or a repeated one.
    pub fn count_request(&self, question: Question, retry: bool) {
        let retry = ("retry", retry_label(retry));
        match question.authtype() {
            Some(authtype) => self.0.auth_requests.get_or_create(&[("authtype", authtype), retry]).inc(),
            None => self.0.config_requests.get_or_create(&[retry]).inc(),
        };
    }

    /// Counts a failed try (`last` false), or a request whose tries have all failed (`last` true).
    pub fn count_failed_request(&self, question: Question, retry: bool, last: bool, reason: &'static str) {
        let kind = ("type", if last { "hard" } else { "soft" });
        let (retry, reason) = (("retry", retry_label(retry)), ("reason", reason));
        match question.authtype() {
            Some(authtype) => {
                self.0.auth_failed_requests.get_or_create(&[kind, ("authtype", authtype), retry, reason]).inc()
            }
            None => self.0.config_failed_requests.get_or_create(&[kind, retry, reason]).inc(),
        };
    }

    /// Counts the decision of a login webhook.
    pub(crate) fn count_answer(&self, question: Question, retry: bool, yes: bool, country: Country) {
        let Some(authtype) = question.authtype() else { return };
        let labels = [("authtype", authtype), ("retry", retry_label(retry)), ("country", country.code())];
        let family = if yes { &self.0.auth_success } else { &self.0.auth_failures };
        family.get_or_create(&labels).inc();
    }

    /// Counts a request to the Kubernetes API.
    pub fn count_backend_request(&self) {
        self.0.backend_requests.inc();
    }

    /// Counts a failed request to the Kubernetes API; `cause` is an HTTP status or a word of this program.
    pub fn count_backend_error(&self, cause: impl ToString) {
        self.0.backend_errors.inc();
        self.0.kubernetes_errors.get_or_create(&[("cause", cause.to_string())]).inc();
    }

    /// Counts a connection as open until the guard is dropped. Without [`CountedConnection::served`] before, it then counts
    /// as a failed handshake.
    pub(crate) fn connection(&self, country: Country) -> CountedConnection {
        let labels = [("country", country.code())];
        self.0.connections.get_or_create(&labels).inc();
        self.0.current_connections.get_or_create(&labels).inc();
        CountedConnection { metrics: self.clone(), labels, served: false }
    }

    /// Counts a connection that was refused before the version exchange; `reason` is a word of this program.
    pub fn count_refused_connection(&self, reason: &'static str) {
        self.0.refused_connections.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a recording that could not be written; `on_failure` is the consequence, a word of this program.
    pub fn count_failed_recording(&self, on_failure: &'static str) {
        self.0.failed_recordings.get_or_create(&[("on_failure", on_failure)]).inc();
    }

    /// Counts a session channel as open until the guard is dropped.
    pub fn session(&self) -> CountedSession {
        self.0.sessions.inc();
        self.0.current_sessions.inc();
        CountedSession(self.clone())
    }

    /// Counts bytes from a client.
    pub(crate) fn count_received(&self, bytes: u64) {
        self.0.usage.traffic.get_or_create(&[("direction", "in")]).inc_by(bytes);
    }

    /// Counts bytes to a client.
    pub(crate) fn count_sent(&self, bytes: u64) {
        self.0.usage.traffic.get_or_create(&[("direction", "out")]).inc_by(bytes);
    }

    /// Counts a forwarded connection as open until the guard is dropped.
    pub(crate) fn forward(&self) -> CountedForward {
        self.0.usage.forwards.inc();
        self.0.usage.current_forwards.inc();
        CountedForward(self.clone())
    }

    /// Counts a penalty for which an address is refused; `reason` is a word of this program.
    pub(crate) fn count_penalty(&self, reason: &'static str) {
        self.0.usage.penalties.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a guest whose agent was looked for; `way` is a word of this program.
    pub(crate) fn count_agent_delivery(&self, way: &'static str) {
        self.0.usage.agent_ways.get_or_create(&[("way", way)]).inc();
    }

    /// Counts a reload of the configuration.
    pub fn count_reload(&self, applied: bool) {
        self.0.reloads.get_or_create(&[("result", if applied { "applied" } else { "refused" })]).inc();
        match applied {
            true => self.note_configuration(),
            false => drop(self.0.last_reload_applied.set(0)),
        }
    }

    /// Notes the time at which the configuration in force was read.
    pub fn note_configuration(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.0.last_reload_applied.set(1);
        self.0.last_reload.set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    /// Has the page show the bytes that wait for programs and for clients. The first call counts.
    pub fn show_waiting_bytes(&self, waiting: impl Fn() -> (usize, usize) + Send + Sync + 'static) {
        let _ = self.0.queue.set(WaitingBytes(Box::new(waiting)));
    }

    /// Counts a step that took so long.
    pub(super) fn observe_step(&self, step: MeasuredStep, outcome: StepOutcome, took: Duration) {
        let labels = [("step", step.name()), ("outcome", outcome.name())];
        self.0.steps.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts an event of the log, written or not.
    pub(super) fn count_event(&self, code: Code) {
        self.0.events.get_or_create(&[("level", code.level().name()), ("code", code.name())]).inc();
    }

    /// Counts events that did not come into their file.
    pub(super) fn count_lost_events(&self, events: u64) {
        self.0.usage.events_lost.inc_by(events);
    }

    /// Counts a failure of the file of events, once until it is written again.
    pub(super) fn count_failed_event_file(&self) {
        self.0.usage.event_file_failures.inc();
    }

    /// Counts spans that were sent to the collector or lost; `result` is a word of this program.
    pub(crate) fn count_spans(&self, result: &'static str, spans: usize) {
        self.0.usage.spans.get_or_create(&[("result", result)]).inc_by(spans as u64);
    }

    /// Counts a line that the log's full queue dropped.
    pub(super) fn count_dropped_line(&self) {
        self.0.lines_dropped.inc();
    }
}

/// Counts its connection as closed when dropped.
#[derive(Debug)]
#[must_use = "dropping it counts the connection as over"]
pub(crate) struct CountedConnection {
    metrics: Metrics,
    labels: [(&'static str, &'static str); 1],
    served: bool,
}

impl CountedConnection {
    /// Counts the connection as logged in with a ready guest, once.
    pub(crate) fn served(&mut self) {
        if !self.served {
            self.served = true;
            self.metrics.0.successful_handshakes.get_or_create(&self.labels).inc();
        }
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.metrics.0.current_connections.get_or_create(&self.labels).dec();
        if !self.served {
            self.metrics.0.failed_handshakes.get_or_create(&self.labels).inc();
        }
    }
}

/// Counts its session channel as closed when dropped.
#[derive(Debug)]
#[must_use = "dropping it counts the session as over"]
pub struct CountedSession(Metrics);

impl Drop for CountedSession {
    fn drop(&mut self) {
        self.0.0.current_sessions.dec();
    }
}

/// Counts its forwarded connection as closed when dropped.
#[derive(Debug)]
#[must_use = "dropping it counts the forward as over"]
pub(crate) struct CountedForward(Metrics);

impl Drop for CountedForward {
    fn drop(&mut self) {
        self.0.0.usage.current_forwards.dec();
    }
}

#[cfg(test)]
mod tests;
