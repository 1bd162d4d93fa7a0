//! The objects, their versions and their history. One counter numbers every write of every kind, as etcd's revision does;
//! a watcher is a position in the history, so that it can neither miss a change nor hold memory of its own.

use crate::objects::kinds::ObjectKind;
use crate::objects::pulse::Pulse;
use crate::objects::status::StatusError;
use crate::objects::time;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::watch;

/// Changes that are kept for watchers; one that fell behind further is told 410.
const HISTORY: usize = 8192;

/// The kind of a change to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// One entry of the history.
#[derive(Debug, Clone)]
pub(crate) struct HistoryEntry {
    pub(crate) version: u64,
    pub(crate) kind: ObjectKind,
    pub(crate) change: ChangeKind,
    pub(crate) object: Arc<Value>,
    /// The object before, where there was one: a selector may have matched it.
    pub(crate) previous: Option<Arc<Value>>,
}

/// The asked-for version is older than the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compacted;

type ObjectKey = (ObjectKind, String, String);

#[derive(Debug)]
struct StoreState {
    version: u64,
    /// Versions below this one cannot be watched from any more.
    compacted: u64,
    objects: BTreeMap<ObjectKey, Arc<Value>>,
    history: VecDeque<HistoryEntry>,
}

/// All objects of the cluster.
#[derive(Debug)]
pub(crate) struct Store {
    inner: Mutex<StoreState>,
    version: watch::Sender<u64>,
    pulse: Pulse,
}

impl Store {
    pub(crate) fn new(pulse: Pulse) -> Self {
        let inner = StoreState { version: 1, compacted: 1, objects: BTreeMap::new(), history: VecDeque::new() };
        Self { inner: Mutex::new(inner), version: watch::Sender::new(1), pulse }
    }

    /// Stores a new object: uid, creationTimestamp and resourceVersion are given here.
    pub(crate) fn create(&self, kind: ObjectKind, mut object: Value) -> Result<Arc<Value>, StatusError> {
        let (namespace, name) = identity(&object);
        let mut inner = self.inner.lock();
        if inner.objects.contains_key(&(kind, namespace.clone(), name.clone())) {
            return Err(StatusError::already_exists(kind, &name));
        }
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.name());
        object["metadata"]["uid"] = json!(random_uid());
        object["metadata"]["creationTimestamp"] = json!(time::now());
        let stored = inner.write((kind, namespace, name), ChangeKind::Added, object);
        self.announce(inner);
        Ok(stored)
    }

    /// An object by kind, namespace and name.
    pub(crate) fn get(&self, kind: ObjectKind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.inner.lock().objects.get(&(kind, namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The objects of a kind, of one namespace or all, by name, with the version of the list.
    pub(crate) fn list(&self, kind: ObjectKind, namespace: Option<&str>) -> (Vec<Arc<Value>>, u64) {
        let inner = self.inner.lock();
        let matching = inner.objects.iter().filter(|((k, ns, _), _)| *k == kind && namespace.is_none_or(|n| n == ns));
        (matching.map(|(_, object)| Arc::clone(object)).collect(), inner.version)
    }

    /// Changes an object under the lock: what `change` returns is stored, unless it equals what was there.
    pub(crate) fn update(
        &self,
        (kind, namespace, name): (ObjectKind, &str, &str),
        change: impl FnOnce(&Value) -> Result<Value, StatusError>,
    ) -> Result<Arc<Value>, StatusError> {
        let key = (kind, namespace.to_owned(), name.to_owned());
        let mut inner = self.inner.lock();
        let current = inner.objects.get(&key).cloned().ok_or_else(|| StatusError::not_found(kind, name))?;
        let mut changed = change(&current)?;
        for fixed in ["uid", "creationTimestamp", "resourceVersion", "name", "namespace"] {
            match current["metadata"].get(fixed) {
                Some(value) => changed["metadata"][fixed] = value.clone(),
                None => drop(changed["metadata"].as_object_mut().map(|metadata| metadata.remove(fixed))),
            }
        }
        if changed == *current {
            return Ok(current);
        }
        let stored = inner.write(key, ChangeKind::Modified, changed);
        self.announce(inner);
        Ok(stored)
    }

    /// Removes an object if `check` agrees; the answer is its last state, with the version of its removal.
    pub(crate) fn remove(
        &self,
        (kind, namespace, name): (ObjectKind, &str, &str),
        check: impl FnOnce(&Value) -> Result<(), StatusError>,
    ) -> Result<Arc<Value>, StatusError> {
        let key = (kind, namespace.to_owned(), name.to_owned());
        let mut inner = self.inner.lock();
        let current = inner.objects.get(&key).cloned().ok_or_else(|| StatusError::not_found(kind, name))?;
        check(&current)?;
        let removed = inner.write(key, ChangeKind::Deleted, Value::clone(&current));
        self.announce(inner);
        Ok(removed)
    }

    /// The changes after a version, oldest first, with the version up to which they reach.
    pub(crate) fn after(&self, version: u64, kind: ObjectKind) -> Result<(Vec<HistoryEntry>, u64), Compacted> {
        let inner = self.inner.lock();
        if version < inner.compacted {
            return Err(Compacted);
        }
        let first = inner.history.partition_point(|entry| entry.version <= version);
        let entries = inner.history.range(first..).filter(|entry| entry.kind == kind).cloned().collect();
        Ok((entries, inner.version))
    }

    /// The resourceVersion of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.inner.lock().version
    }

    /// Forgets the history: every watch from before now is told 410.
    pub(crate) fn compact(&self) {
        let mut inner = self.inner.lock();
        inner.version += 1;
        inner.compacted = inner.version;
        inner.history.clear();
        self.announce(inner);
    }

    /// A receiver that is told of every write.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn announce(&self, inner: MutexGuard<'_, StoreState>) {
        let version = inner.version;
        drop(inner);
        // Two writers may come here in either order; the receivers only look for "newer".
        self.version.send_modify(|seen| *seen = version.max(*seen));
        self.pulse.beat();
    }
}

impl StoreState {
    fn write(&mut self, key: ObjectKey, change: ChangeKind, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let kind = key.0;
        let previous = match change {
            ChangeKind::Deleted => self.objects.remove(&key),
            ChangeKind::Added | ChangeKind::Modified => self.objects.insert(key, Arc::clone(&object)),
        };
        if self.history.len() == HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.compacted = oldest.version;
        }
        self.history.push_back(HistoryEntry {
            version: self.version,
            kind,
            change,
            object: Arc::clone(&object),
            previous,
        });
        object
    }
}

/// The namespace (empty for none) and name of an object.
pub(crate) fn identity(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// A random version 4 UUID.
pub(crate) fn random_uid() -> String {
    let bits = (rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_with(names: &[&str]) -> Store {
        let store = Store::new(Pulse::new());
        for name in names {
            store.create(ObjectKind::Lease, json!({"metadata": {"name": name, "namespace": "default"}})).unwrap();
        }
        store
    }

    #[test]
    fn a_name_is_taken_only_once() {
        let store = store_with(&["a"]);
        let again = store.create(ObjectKind::Lease, json!({"metadata": {"name": "a", "namespace": "default"}}));
        assert_eq!(again.unwrap_err().code(), 409);
    }

    #[test]
    fn a_compacted_version_cannot_be_watched_from() {
        let store = store_with(&["a", "b"]);
        let before = store.version();
        store.compact();
        assert_eq!(store.after(before, ObjectKind::Lease).unwrap_err(), Compacted);
        assert!(store.after(store.version(), ObjectKind::Lease).unwrap().0.is_empty());
    }

    #[test]
    fn history_tells_each_change_once_and_in_order() {
        let store = store_with(&["a"]);
        let start = store.version();
        let key = (ObjectKind::Lease, "default", "a");
        store.update(key, |old| Ok(Value::clone(old))).unwrap();
        assert_eq!(store.version(), start, "an unchanged object is not a change");
        store
            .update(key, |old| {
                let mut new = old.clone();
                new["spec"] = json!({"holderIdentity": "x"});
                new["metadata"]["uid"] = json!("forged");
                Ok(new)
            })
            .unwrap();
        store.remove(key, |_| Ok(())).unwrap();
        let (entries, reached) = store.after(start, ObjectKind::Lease).unwrap();
        assert_eq!(entries.iter().map(|e| e.change).collect::<Vec<_>>(), [ChangeKind::Modified, ChangeKind::Deleted]);
        assert_ne!(entries[0].object["metadata"]["uid"], "forged");
        assert_eq!(reached, store.version());
    }

    #[test]
    fn uids_are_version_4() {
        let uid = random_uid();
        assert_eq!((uid.len(), &uid[14..15]), (36, "4"));
        assert_ne!(uid, random_uid());
    }
}
