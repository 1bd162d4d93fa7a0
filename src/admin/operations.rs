//! The operations that operators may ask for over the socket, as HTTP with JSON. Each request is in the log, with the peer's user, before it has
//! an effect.

use super::json_text;
use crate::locks::{LocksError, UserLock};
use crate::registry::{ConnectionFacts, RegisteredConnection, Registry};
use crate::reload::{ReloadOrders, ReloadOutcome};
use crate::shutdown::StopOrders;
use crate::telemetry::{Level, Log, codes};
use crate::types::{ConnectionId, printable};
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use rustix::process::geteuid;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;
use std::time::Duration;
use tokio::net::UnixStream;

/// Limit of a request's body, in bytes.
const BODY: usize = 64 * 1024;
/// Limit of a message or a reason, in characters.
const TEXT: usize = 1000;
/// The least characters that stand for an id.
const SHORTEST_ID: usize = 4;
/// The reason of an end without one.
const ENDED: &str = "an operator ended this connection";

/// The process at the other end of the socket, as the kernel names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    uid: u32,
    pid: i32,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred()?;
        Ok(Self { uid: peer.uid(), pid: peer.pid().unwrap_or_default() })
    }

    /// True for root and for the user of this process.
    fn may_operate(self, own: u32) -> bool {
        self.uid == 0 || self.uid == own
    }
}

/// The parts of the gateway that operations act on; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Operations {
    registry: Registry,
    orders: StopOrders,
    reloads: ReloadOrders,
    log: Log,
}

/// The reason why a request is not done.
struct Failure(StatusCode, String);

impl Failure {
    fn bad(text: &str) -> Self {
        Self(StatusCode::BAD_REQUEST, text.to_owned())
    }
}

impl From<LocksError> for Failure {
    fn from(error: LocksError) -> Self {
        let status = match error {
            LocksError::NoDirectory => StatusCode::CONFLICT,
            LocksError::Read { .. } | LocksError::Parse { .. } | LocksError::Write { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self(status, error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageBody {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndBody {
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserBody {
    user: String,
    reason: Option<String>,
}

/// Answers one request.
pub(super) async fn answer(operations: Operations, peer: Peer, request: Request) -> Response {
    let (status, body) = match operations.handle(peer, request).await {
        Ok(body) => (StatusCode::OK, body),
        Err(Failure(status, error)) => (status, json!({"error": error})),
    };
    (status, [(CONTENT_TYPE, "application/json")], json_text(&body)).into_response()
}

impl Operations {
    pub(crate) fn new(registry: Registry, orders: StopOrders, reloads: ReloadOrders, log: Log) -> Self {
        Self { registry, orders, reloads, log }
    }

    async fn handle(&self, peer: Peer, request: Request) -> Result<Value, Failure> {
        if !peer.may_operate(geteuid().as_raw()) {
            let uid = peer.uid.to_string();
            self.log.write(codes::ADMIN_REFUSED, "a process of another user was refused", &[("uid", &uid)]);
            let text = "only root and the gateway's own user may operate it";
            return Err(Failure(StatusCode::FORBIDDEN, text.to_owned()));
        }
        let (head, body) = request.into_parts();
        let body = to_bytes(body, BODY).await.map_err(|_| Failure::bad("the body is too long, or did not arrive"))?;
        let path: Vec<&str> = head.uri.path().split('/').skip(1).collect();
        match (&head.method, path.as_slice()) {
            (&Method::GET, ["sessions"]) => Ok(self.sessions(peer)),
            (&Method::POST, ["sessions", id, "message"]) => self.message(peer, id, parse(&body)?),
            (&Method::POST, ["sessions", id, "end"]) => self.end(peer, id, parse(&body)?),
            (&Method::POST, ["drain"]) => Ok(self.drain(peer)),
            (&Method::POST, ["reload"]) => self.reload(peer).await,
            (&Method::GET, ["locks"]) => Ok(self.locks(peer)),
            (&Method::POST, ["lock"]) => self.lock(peer, parse(&body)?).await,
            (&Method::POST, ["unlock"]) => self.unlock(peer, parse(&body)?).await,
            _ => Err(Failure(StatusCode::NOT_FOUND, "this gateway knows no such request".to_owned())),
        }
    }

    /// Logs a request before its effect.
    fn record(&self, Peer { uid, pid }: Peer, action: &str, details: &[(&str, &str)]) {
        let (uid, pid) = (uid.to_string(), pid.to_string());
        let all = [&[("action", action), ("uid", &*uid), ("pid", &*pid)], details].concat();
        let level =
            if details.is_empty() && !matches!(action, "drain" | "reload") { Level::Info } else { Level::Notice };
        self.log.write(codes::ADMIN_REQUEST.at(level), "an operator asks for something", &all);
    }

    fn sessions(&self, peer: Peer) -> Value {
        self.record(peer, "sessions", &[]);
        let mut facts: Vec<_> = self.registry.all().into_iter().map(|(id, connection)| connection.facts(id)).collect();
        facts.sort_by_key(|facts| std::cmp::Reverse(facts.age));
        json!({"sessions": facts.iter().map(session).collect::<Vec<_>>()})
    }

    fn message(&self, peer: Peer, id: &str, MessageBody { text }: MessageBody) -> Result<Value, Failure> {
        let text = printable(&text, TEXT);
        if text.is_empty() {
            return Err(Failure::bad("the message is empty"));
        }
        let (id, connection) = self.find(id)?;
        let facts = connection.facts(id);
        let terminals = facts.programs.iter().filter(|program| program.terminal).count();
        if terminals == 0 {
            let none = "the connection has no terminal, so that nobody would read the message";
            return Err(Failure(StatusCode::CONFLICT, none.to_owned()));
        }
        self.record_about(peer, "message", &facts, ("text", &text));
        connection.tell(&format!("message from the operator: {text}"));
        Ok(json!({"id": id.to_string(), "terminals": terminals}))
    }

    fn end(&self, peer: Peer, id: &str, EndBody { reason }: EndBody) -> Result<Value, Failure> {
        let reason = reason.map(|reason| printable(&reason, TEXT)).filter(|reason| !reason.is_empty());
        let reason = reason.unwrap_or_else(|| ENDED.to_owned());
        let (id, connection) = self.find(id)?;
        self.record_about(peer, "end", &connection.facts(id), ("reason", &reason));
        connection.disconnect(&reason);
        Ok(json!({"id": id.to_string()}))
    }

    fn drain(&self, peer: Peer) -> Value {
        self.record(peer, "drain", &[]);
        let begins = self.orders.drain();
        json!({"begins": begins, "connections": self.registry.count()})
    }

    async fn reload(&self, peer: Peer) -> Result<Value, Failure> {
        self.record(peer, "reload", &[]);
        match self.reloads.order().await {
            Some(ReloadOutcome::Applied { changed, warnings, next_start }) => {
                Ok(json!({"applied": true, "changed": changed, "warnings": warnings, "nextStart": next_start}))
            }
            Some(ReloadOutcome::Refused { mistakes }) => Ok(json!({"applied": false, "mistakes": mistakes})),
            None if self.orders.is_draining() => {
                Err(Failure(StatusCode::CONFLICT, "the gateway is about to end".to_owned()))
            }
            None => {
                let text =
                    "the reload broke off, see the log (CORE_PANIC); the gateway goes on and cannot reload any more";
                Err(Failure(StatusCode::INTERNAL_SERVER_ERROR, text.to_owned()))
            }
        }
    }

    fn locks(&self, peer: Peer) -> Value {
        self.record(peer, "locks", &[]);
        let locks = self.registry.locks().all().into_iter();
        let locks = locks.map(|(user, lock)| json!({"user": user, "since": lock.since, "reason": lock.reason}));
        json!({"locks": locks.collect::<Vec<_>>()})
    }

    async fn lock(&self, peer: Peer, UserBody { user, reason }: UserBody) -> Result<Value, Failure> {
        if user.is_empty() {
            return Err(Failure::bad("the user is empty"));
        }
        let reason = reason.map(|reason| printable(&reason, TEXT)).filter(|reason| !reason.is_empty());
        self.record(peer, "lock", &[("user", &*user), ("reason", reason.as_deref().unwrap_or_default())]);
        let since = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let lock = UserLock { reason, since };
        let text = lock.text();
        let (registry, name) = (self.registry.clone(), user.clone());
        // One piece of work, which goes on if the operator's client goes away.
        let lock_and_end = move || {
            registry.locks().lock(&name, lock)?;
            // Only now: a connection that comes meanwhile finds the lock, or is found here.
            let connections = registry.all().into_iter().filter(|(_, open)| open.has_name(&name));
            Ok(connections.map(|(_, connection)| connection.disconnect(&text)).count())
        };
        let ended = blocking(lock_and_end).await?;
        Ok(json!({"user": user, "ended": ended}))
    }

    async fn unlock(&self, peer: Peer, UserBody { user, reason: _ }: UserBody) -> Result<Value, Failure> {
        self.record(peer, "unlock", &[("user", &user)]);
        let (locks, name) = (self.registry.locks().clone(), user.clone());
        if !blocking(move || locks.unlock(&name)).await? {
            return Err(Failure(StatusCode::NOT_FOUND, "this user is not locked".to_owned()));
        }
        Ok(json!({"user": user}))
    }

    fn record_about(&self, peer: Peer, action: &str, facts: &ConnectionFacts, (key, text): (&str, &str)) {
        let id = facts.id.to_string();
        let user = facts.identity.as_deref().unwrap_or_default();
        self.record(peer, action, &[("connectionId", &*id), ("authenticatedUsername", user), (key, text)]);
    }

    /// Finds a connection by its id, or by enough of its beginning that nobody else is meant by a slip.
    fn find(&self, id: &str) -> Result<(ConnectionId, RegisteredConnection), Failure> {
        if id.len() < SHORTEST_ID {
            return Err(Failure::bad(&format!("give at least {SHORTEST_ID} characters of the id")));
        }
        let mut found = self.registry.all();
        found.retain(|(open, _)| open.to_string().starts_with(id));
        match found.len() {
            0 => Err(Failure(StatusCode::NOT_FOUND, "no connection has this id".to_owned())),
            1 => Ok(found.swap_remove(0)),
            _ => Err(Failure(StatusCode::CONFLICT, "several ids begin so: give more of it".to_owned())),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::bad(&format!("the body is not understood: {error}")))
}

/// Runs something that writes a file.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LocksError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|panic| Failure(StatusCode::INTERNAL_SERVER_ERROR, panic.to_string()))??)
}

/// Writes a connection for operators.
fn session(facts: &ConnectionFacts) -> Value {
    let now = Timestamp::now();
    let since = |age: Duration| {
        let time = SignedDuration::try_from(age).ok().and_then(|age| now.checked_sub(age).ok());
        time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    };
    let programs = facts.programs.iter().map(|program| {
        json!({"program": program.program, "terminal": program.terminal, "since": since(program.started.elapsed())})
    });
    let live = facts.live.as_ref();
    json!({
        "id": facts.id.to_string(),
        "username": facts.username,
        "authenticatedUsername": facts.identity,
        "remoteAddr": live.map(|live| live.remote.to_string()),
        "since": since(facts.age),
        "pod": live.and_then(|live| live.pod.clone()),
        "programs": programs.collect::<Vec<_>>(),
        "bytesReceived": live.map(|live| live.received),
        "bytesSent": live.map(|live| live.sent),
        "idleSeconds": live.map(|live| live.idle.as_secs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_process_s_own_user_may_operate() {
        for (uid, own, may) in
            [(1000, 65532, false), (65532, 0, false), (0, 65532, true), (65532, 65532, true), (0, 0, true)]
        {
            assert_eq!(Peer { uid, pid: 1 }.may_operate(own), may, "{uid} at {own}");
        }
    }
}
