//! The health of the gateway, as it tells those who ask: the phase of the process, the movement of its loops, and whether
//! the servers that it needs can be reached. Nobody is asked because somebody asks here.
//!
//! A single failure makes no gateway unready, and a single success no gateway ready: the answer does not flap.

use crate::heartbeat::Heartbeats;
use crate::types::printable;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;

/// Failures in a row after which a server that was reached is one that is not.
const FAILURES: u32 = 3;
/// Successes in a row after which a server that was not reached is one that is.
const SUCCESSES: u32 = 2;
/// Limit of a reason, in characters.
const REASON: usize = 500;

/// The phase of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is accepted yet.
    #[default]
    Starting,
    /// Connections are accepted.
    Serving,
    /// The process is to end.
    Draining,
}

/// The health of the gateway; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    phase: Arc<Mutex<Phase>>,
    checks: Arc<Mutex<Vec<Check>>>,
    loops: Heartbeats,
}

impl Health {
    /// Makes the health of a process that starts and has these loops.
    pub(crate) fn new(loops: Heartbeats) -> Self {
        Self { loops, ..Self::default() }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        *self.phase.lock() = phase;
    }

    /// Replaces the servers that are needed. A server keeps the state of its name. Before it serves, the gateway is not ready
    /// until each has a first result; later, the first result decides about a server of a new name.
    pub(crate) fn set_checks(&self, names: impl IntoIterator<Item = &'static str>) -> Vec<CheckId> {
        let starts = *self.phase.lock() == Phase::Starting;
        let mut checks = self.checks.lock();
        let before = std::mem::take(&mut *checks);
        let state = |name| match before.iter().find(|check| check.name == name) {
            Some(check) => check.state.clone(),
            None if starts => Reach::Unknown,
            None => Reach::Reached { streak: FAILURES - 1 },
        };
        checks.extend(names.into_iter().map(|name| Check { name, state: state(name) }));
        (0..checks.len()).map(CheckId).collect()
    }

    /// Takes a result, and returns the state if it has changed.
    pub(crate) fn observe(&self, CheckId(index): CheckId, result: Result<(), String>) -> Option<Change> {
        self.checks.lock().get_mut(index)?.state.observe(result)
    }

    pub(super) fn is_serving(&self) -> bool {
        *self.phase.lock() == Phase::Serving
    }

    /// The parts of the answer to "does the process live?".
    fn live(&self) -> Vec<Part> {
        // A restart would end the connections that have what an accept lacks, so failures are none here.
        vec![self.accepts(None)]
    }

    fn accepts(&self, failure: Option<String>) -> Part {
        // The loops end with the acceptance of connections.
        let moves = *self.phase.lock() == Phase::Draining || self.loops.all_move();
        let stands = "the accept loop does not move";
        let failure = if moves { failure } else { Some(stands.to_owned()) };
        Part { name: "accept", result: failure.map_or(Ok(()), |reason| Err(printable(&reason, REASON))) }
    }

    /// The parts of the answer to "shall new connections come here?".
    fn ready(&self) -> Vec<Part> {
        let gateway = match *self.phase.lock() {
            Phase::Starting => Err("the gateway is starting".to_owned()),
            Phase::Serving => Ok(()),
            Phase::Draining => Err("the gateway is draining".to_owned()),
        };
        let checks = self.checks.lock();
        let checks = checks.iter().map(|check| Part { name: check.name, result: check.state.result() });
        let own = [Part { name: "gateway", result: gateway }, self.accepts(self.loops.failure())];
        own.into_iter().chain(checks).collect()
    }

    /// Answers a request: `/healthz`, `/readyz`, and ContainerSSH's answer at every other path.
    pub(super) fn answer(&self, uri: &Uri, headers: &HeaderMap) -> Response {
        let (name, parts) = match uri.path() {
            "/healthz" => ("healthz", self.live()),
            "/readyz" => ("readyz", self.ready()),
            _ => return answer(headers, self.is_serving(), None),
        };
        let is_ok = parts.iter().all(|part| part.result.is_ok());
        let asks = |pair: &str| pair.split('=').next() == Some("verbose");
        let verbose = uri.query().is_some_and(|query| query.split('&').any(asks));
        answer(headers, is_ok, verbose.then_some((name, &*parts)))
    }
}

/// The place of a check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckId(usize);

/// A change of a check's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is reached again.
    Reached,
    /// It is not reached any more, for this reason.
    Lost(String),
}

#[derive(Debug)]
struct Check {
    name: &'static str,
    state: Reach,
}

/// The state of a server that is needed. `streak` counts the results in a row that say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    Unknown,
    Reached { streak: u32 },
    Lost { reason: String, streak: u32 },
}

impl Reach {
    fn observe(&mut self, result: Result<(), String>) -> Option<Change> {
        let (next, change) = match (&*self, result) {
            (Self::Reached { .. } | Self::Unknown, Ok(())) => (Self::Reached { streak: 0 }, None),
            (Self::Reached { streak }, Err(_)) if streak + 1 < FAILURES => (Self::Reached { streak: streak + 1 }, None),
            (Self::Reached { .. } | Self::Unknown, Err(reason)) => {
                let reason = printable(&reason, REASON);
                (Self::Lost { reason: reason.clone(), streak: 0 }, Some(Change::Lost(reason)))
            }
            (Self::Lost { reason, streak }, Ok(())) if streak + 1 < SUCCESSES => {
                (Self::Lost { reason: reason.clone(), streak: streak + 1 }, None)
            }
            (Self::Lost { .. }, Ok(())) => (Self::Reached { streak: 0 }, Some(Change::Reached)),
            (Self::Lost { .. }, Err(reason)) => (Self::Lost { reason: printable(&reason, REASON), streak: 0 }, None),
        };
        *self = next;
        change
    }

    fn result(&self) -> Result<(), String> {
        match self {
            Self::Unknown => Err("not asked yet".to_owned()),
            Self::Reached { .. } => Ok(()),
            Self::Lost { reason, .. } => Err(reason.clone()),
        }
    }
}

/// One part of an answer.
struct Part {
    name: &'static str,
    result: Result<(), String>,
}

/// Writes JSON, unless the client asks for text and not for JSON: as ContainerSSH's endpoint, and with parts as that of
/// Kubernetes.
fn answer(headers: &HeaderMap, is_ok: bool, parts: Option<(&str, &[Part])>) -> Response {
    let (status, said) = if is_ok { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ok") };
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let kinds = || accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let wants_json = kinds().any(|kind| matches!(kind, "*/*" | "application/json" | "application/*"));
    let is_text = !wants_json && kinds().any(|kind| kind.starts_with("text/"));
    let body = match (parts, is_text) {
        (None, true) => said.to_owned(),
        (None, false) => format!("\"{said}\""),
        (Some((name, parts)), true) => text(name, is_ok, parts),
        (Some((_, parts)), false) => json_of(said, parts),
    };
    let kind = if is_text { "text/plain; charset=utf-8" } else { "application/json" };
    (status, [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")], body).into_response()
}

fn json_of(said: &str, parts: &[Part]) -> String {
    let parts = parts.iter().map(|Part { name, result }| match result {
        Ok(()) => json!({"name": name, "ok": true}),
        Err(reason) => json!({"name": name, "ok": false, "reason": reason}),
    });
    json!({"status": said, "checks": parts.collect::<Vec<_>>()}).to_string()
}

/// Writes the lines of Kubernetes' `/readyz?verbose`.
fn text(name: &str, is_ok: bool, parts: &[Part]) -> String {
    let lines = parts.iter().map(|Part { name, result }| match result {
        Ok(()) => format!("[+]{name} ok\n"),
        Err(reason) => format!("[-]{name} failed: {reason}\n"),
    });
    let end = if is_ok { "passed" } else { "failed" };
    lines.chain([format!("{name} check {end}\n")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(reason: &str) -> Result<(), String> {
        Err(reason.to_owned())
    }

    #[test]
    fn server_that_fails_now_and_then_changes_nothing() {
        let mut reach = Reach::Unknown;
        assert_eq!(reach.observe(Ok(())), None);
        for _ in 0..10 {
            for result in [no("a"), no("b"), Ok(())] {
                assert_eq!(reach.observe(result), None);
                assert_eq!(reach.result(), Ok(()));
            }
        }
    }

    #[test]
    fn server_is_lost_after_three_failures_and_reached_after_two_successes() {
        let mut reach = Reach::Unknown;
        assert_eq!(reach.result(), no("not asked yet"));
        assert_eq!(reach.observe(no("first")), Some(Change::Lost("first".to_owned())), "it was never reached");
        for _ in 0..10 {
            assert_eq!(reach.observe(Ok(())), None);
            assert_eq!(reach.observe(no("again\u{1b}[2J")), None);
            assert!(reach.result().is_err_and(|reason| reason.starts_with("again") && !reason.contains('\u{1b}')));
        }
        assert_eq!((reach.observe(Ok(())), reach.observe(Ok(()))), (None, Some(Change::Reached)));
        assert_eq!((reach.observe(no("1")), reach.observe(no("2"))), (None, None));
        assert_eq!(reach.observe(no("3")), Some(Change::Lost("3".to_owned())));
    }

    #[test]
    fn reload_changes_the_readiness_neither_by_itself_nor_by_one_result_of_a_server_that_stays() {
        let health = Health::default();
        health.enter(Phase::Serving);
        let is_ready = || health.ready().iter().all(|part| part.result.is_ok());
        let [kept, other] = health.set_checks(["kept", "other"])[..] else { panic!("two") };
        assert!(is_ready(), "no answer is awaited");
        health.observe(other, no("gone"));
        assert!(!is_ready(), "the first result decides");
        health.observe(kept, Ok(()));
        let [other, kept, new] = health.set_checks(["other", "kept", "new"])[..] else { panic!("three") };
        assert!(!is_ready(), "a server that is lost stays so");
        assert_eq!(health.observe(other, Ok(())), None);
        assert_eq!(health.observe(other, Ok(())), Some(Change::Reached));
        assert!(is_ready());
        health.observe(new, Ok(()));
        assert_eq!((health.observe(new, no("once")), health.observe(kept, no("once"))), (None, None));
        assert!(is_ready());
        let [kept] = health.set_checks(["kept"])[..] else { panic!("one") };
        assert_eq!(health.observe(kept, no("twice")), None);
        let [kept] = health.set_checks(["kept"])[..] else { panic!("one") };
        assert_eq!(health.observe(kept, no("gone")), Some(Change::Lost("gone".to_owned())), "reloads hide no outage");
    }

    #[test]
    fn gateway_is_ready_if_it_serves_and_every_server_was_reached() {
        let health = Health::default();
        let is_ready = || health.ready().iter().all(|part| part.result.is_ok());
        assert!(!is_ready());
        health.enter(Phase::Serving);
        assert!(is_ready());
        let health = Health::default();
        let is_ready = || health.ready().iter().all(|part| part.result.is_ok());
        let [first, second] = health.set_checks(["first", "second"])[..] else { panic!("two") };
        health.enter(Phase::Serving);
        health.observe(first, Ok(()));
        assert!(!is_ready(), "the second was not asked yet");
        health.observe(second, Ok(()));
        assert!(is_ready());
        let listener = health.loops.add();
        listener.fails(Some("too many open files".to_owned()));
        assert!(!is_ready() && health.live().iter().all(|part| part.result.is_ok()), "a restart does not help");
        listener.fails(None);
        assert!(is_ready());
        health.enter(Phase::Draining);
        assert!(!is_ready());
    }
}
