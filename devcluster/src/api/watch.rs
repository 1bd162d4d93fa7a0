//! Watching: a position in the history that moves on with it. An object that no longer matches the selector is told as
//! deleted, one that begins to match as added.

use crate::api::answer::{self, Body};
use crate::api::call::ApiCall;
use crate::api::selector::Selector;
use crate::api::table;
use crate::objects::kinds::ObjectKind;
use crate::objects::status::StatusError;
use crate::objects::store::{ChangeKind, HistoryEntry, Store};
use bytes::Bytes;
use futures_util::stream;
use http::Response;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A watch that names no end of its own gets this one.
const LONGEST: Duration = Duration::from_secs(3600);

/// Interval between two bookmarks, as in Kubernetes.
const BOOKMARK: Duration = Duration::from_secs(60);

/// An order to all open watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchOrder {
    GoOn,
    Expire,
    Cut,
}

struct Watch {
    store: Arc<Store>,
    stopping: CancellationToken,
    kind: ObjectKind,
    namespace: Option<String>,
    selector: Selector,
    /// Every change up to here was told.
    version: u64,
    changes: watch::Receiver<u64>,
    orders: watch::Receiver<WatchOrder>,
    ends: Instant,
    bookmarks: bool,
    as_table: bool,
    ended: bool,
}

/// Answers a watch (`GET …?watch=true`).
pub(super) fn watch(
    store: &Arc<Store>,
    (orders, stopping): (&watch::Sender<WatchOrder>, &CancellationToken),
    kind: ObjectKind,
    call: &ApiCall,
) -> Result<Response<Body>, StatusError> {
    let selector = Selector::parse(kind, &call.query)?;
    let asked = call.query.get("resourceVersion").filter(|version| *version != "0");
    let parsed = asked.map(|text| {
        text.parse::<u64>().map_err(|_| {
            StatusError::bad_request(format!(
                "invalid resource version {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        })
    });
    let from = parsed.transpose()?;
    let initial = call.query.flag("sendInitialEvents");
    let mut orders = orders.subscribe();
    orders.mark_unchanged();
    let changes = store.watch();
    let (objects, version) = store.list(kind, call.path.namespace.as_deref());
    let length = call.query.number("timeoutSeconds").map_or(LONGEST, Duration::from_secs);
    let watch = Watch {
        store: Arc::clone(store),
        stopping: stopping.clone(),
        kind,
        namespace: call.path.namespace.clone(),
        selector,
        version: if initial { version } else { from.unwrap_or(version) },
        changes,
        orders,
        ends: Instant::now() + length.min(LONGEST),
        bookmarks: call.query.flag("allowWatchBookmarks"),
        as_table: call.wants_table(),
        ended: false,
    };
    let mut first = Vec::new();
    // Without a version the present state comes first, as additions.
    if initial || from.is_none() {
        let selected = objects.iter().filter(|object| watch.selector.matches(object));
        selected.for_each(|object| first.extend(watch.line("ADDED", object)));
        if initial && watch.bookmarks {
            first.extend(watch.bookmark(true));
        }
    }
    let first = stream::iter((!first.is_empty()).then(|| Ok(Bytes::from(first))));
    let rest = stream::unfold(watch, |mut watch| async move { watch.next().await.map(|item| (item, watch)) });
    Ok(answer::stream("application/json", futures_util::StreamExt::chain(first, rest)))
}

impl Watch {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.ended {
            return None;
        }
        loop {
            match self.store.after(self.version, self.kind) {
                Err(_) => return Some(Ok(self.expire())),
                Ok((entries, version)) => {
                    let text: Vec<u8> = entries.iter().flat_map(|entry| self.told(entry)).collect();
                    self.version = self.version.max(version);
                    if !text.is_empty() {
                        return Some(Ok(Bytes::from(text)));
                    }
                }
            }
            let bookmark = Instant::now() + BOOKMARK;
            tokio::select! {
                () = self.stopping.cancelled() => return None,
                // Both senders live as long as the cluster.
                _changed = self.changes.changed() => {}
                _ordered = self.orders.changed() => {
                    let order = *self.orders.borrow_and_update();
                    match order {
                        WatchOrder::GoOn => {}
                        WatchOrder::Expire => return Some(Ok(self.expire())),
                        WatchOrder::Cut => return Some(Err(io::Error::other("cut on purpose"))),
                    }
                }
                () = tokio::time::sleep_until(self.ends) => return None,
                () = tokio::time::sleep_until(bookmark), if self.bookmarks => {
                    return Some(Ok(Bytes::from(self.bookmark(false))));
                }
            }
        }
    }

    fn expire(&mut self) -> Bytes {
        self.ended = true;
        let current = self.store.version();
        let message = format!("too old resource version: {} ({current})", self.version);
        let line = json!({"type": "ERROR", "object": StatusError::expired(message).to_status()});
        Bytes::from(format!("{line}\n"))
    }

    fn told(&self, entry: &HistoryEntry) -> Vec<u8> {
        if self.namespace.as_ref().is_some_and(|namespace| entry.object["metadata"]["namespace"] != **namespace) {
            return Vec::new();
        }
        let before = entry.previous.as_ref().is_some_and(|object| self.selector.matches(object));
        let now = entry.change != ChangeKind::Deleted && self.selector.matches(&entry.object);
        match (before, now) {
            (false, true) => self.line("ADDED", &entry.object),
            (true, true) => self.line("MODIFIED", &entry.object),
            (true, false) => self.line("DELETED", &entry.object),
            (false, false) => Vec::new(),
        }
    }

    fn line(&self, change: &str, object: &Arc<Value>) -> Vec<u8> {
        let line = if self.as_table {
            let version = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            json!({"type": change, "object": table::table(self.kind, std::slice::from_ref(object), &version, true)})
        } else {
            json!({"type": change, "object": **object})
        };
        format!("{line}\n").into_bytes()
    }

    fn bookmark(&self, initial: bool) -> Vec<u8> {
        let mut metadata = json!({"resourceVersion": self.version.to_string(), "creationTimestamp": null});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": self.kind.name(), "apiVersion": self.kind.api_version(), "metadata": metadata});
        format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into_bytes()
    }
}
