//! The strategic merge patch of a pod's metadata and specification, as Kubernetes defines it: mappings are merged key by
//! key, null removes a field, and a list is merged by the key that the API gives it, or replaced whole where it has none.
//! Pure.
//!
//! The lists and their keys are those of the `patchStrategy` and `patchMergeKey` of Kubernetes' own types (1.37), and the
//! order of a merged list is that of `k8s.io/apimachinery/pkg/util/strategicpatch`. Of its directives, `$patch: delete`,
//! `$patch: replace`, `$retainKeys` and `$deleteFromPrimitiveList` are followed. Everything else that begins with `$` is
//! refused, and so is a directive in a place where `kubectl` would pass over it or lose what stands beside it.

mod order;
mod rules;

pub(crate) use rules::{METADATA_RULES, MergeRules, POD_SPEC_RULES};

use super::reader::{ValueNote, ValuePath};
use crate::schema::tree::{Tree, kind};
use rules::MergedList;
use serde_json::Value;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// The first directive of a strategic merge in a value.
pub(crate) fn directive(value: &Value, at: &ValuePath) -> Option<ValuePath> {
    match value {
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let at = at.key(key);
            if is_directive(key) { Some(at) } else { directive(value, &at) }
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| directive(item, &at.index(index))),
        _ => None,
    }
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(DELETE_FROM) || key.starts_with(ORDER)
}

/// Merges a patch into an object. Every mistake of the patch is returned, with its path below `at`; where there is one, the
/// object is not to be used.
pub(crate) fn merge(object: &mut Tree, patch: Tree, rules: &MergeRules, at: &ValuePath) -> Vec<ValueNote> {
    let mut merger = Merger { mistakes: Vec::new() };
    merger.object(object, patch, rules, at);
    merger.mistakes
}

/// An element of a patch's list.
enum Element {
    /// The element with its key is changed to this, or added.
    Change(Tree),
    /// The element with this key is deleted.
    Delete(Value),
    /// The other elements are the list.
    ReplaceList,
}

struct Merger {
    mistakes: Vec<ValueNote>,
}

impl Merger {
    fn object(&mut self, object: &mut Tree, mut patch: Tree, rules: &MergeRules, at: &ValuePath) {
        match patch.remove(PATCH) {
            None => {}
            Some(word) if word == "replace" => {
                *object = self.fresh(patch, rules, at);
                return;
            }
            Some(word) if word == "delete" => return self.delete(object, &patch, at),
            Some(_) => return self.mistake("is neither \"delete\" nor \"replace\"", &at.key(PATCH)),
        }
        self.retain(object, &mut patch, at);
        self.delete_from_lists(object, &mut patch, at);
        for (key, value) in patch {
            let at = at.key(&key);
            match (object.get_mut(&key), value) {
                _ if key.starts_with('$') => self.unknown_directive(&key, &at),
                (_, Value::Null) => drop(object.remove(&key)),
                (Some(Value::Object(old)), Value::Object(new)) => self.object(old, new, rules.object(&key), &at),
                (Some(Value::Array(old)), Value::Array(new)) => self.list(old, new, rules.list(&key), &at),
                (_, value) => match self.added(value, rules.list(&key), rules.object(&key), &at) {
                    Some(value) => drop(object.insert(key, value)),
                    None => drop(object.remove(&key)),
                },
            }
        }
    }

    fn delete(&mut self, object: &mut Tree, beside: &Tree, at: &ValuePath) {
        if let Some(key) = beside.keys().next() {
            self.mistake("has no effect beside $patch: delete", &at.key(key));
        }
        object.clear();
    }

    /// `$retainKeys`: every other key goes.
    fn retain(&mut self, object: &mut Tree, patch: &mut Tree, at: &ValuePath) {
        let Some(keys) = patch.remove(RETAIN_KEYS) else { return };
        let Value::Array(keys) = keys else {
            return self.mistake("must be a list of the keys that stay", &at.key(RETAIN_KEYS));
        };
        let stays = |key: &str| keys.iter().any(|kept| kept == key);
        let lost = patch.iter().find(|(key, value)| !value.is_null() && !key.starts_with('$') && !stays(key));
        if let Some((key, _)) = lost {
            self.mistake("is not in $retainKeys beside it", &at.key(key));
        }
        object.retain(|key, _| stays(key));
    }

    /// `$deleteFromPrimitiveList/LIST`: the scalars of the list that go.
    fn delete_from_lists(&mut self, object: &mut Tree, patch: &mut Tree, at: &ValuePath) {
        let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(DELETE_FROM)).cloned().collect();
        for directive in directives {
            let list = directive.trim_start_matches(DELETE_FROM);
            match (patch.remove(&directive), object.get_mut(list)) {
                (Some(Value::Array(gone)), Some(Value::Array(items))) if items.iter().all(is_scalar) => {
                    items.retain(|item| !gone.contains(item));
                }
                (Some(Value::Array(_)), None) => {}
                (Some(Value::Array(_)), Some(_)) => {
                    self.mistake("is for lists of texts and numbers alone", &at.key(&directive));
                }
                _ => self.mistake("must be a list", &at.key(&directive)),
            }
        }
    }

    fn list(&mut self, old: &mut Vec<Value>, new: Vec<Value>, list: Option<&MergedList>, at: &ValuePath) {
        match list {
            None => *old = self.whole(new, at),
            Some(MergedList::Set) => {
                let wanted = new.clone();
                let mut merged = old.clone();
                for item in new {
                    if !merged.contains(&item) {
                        merged.push(item);
                    }
                }
                *old = order::merged(merged, &wanted, old, |item| Some(item));
            }
            Some(MergedList::By(key, rules)) => self.keyed(old, new, (key, rules), at),
        }
    }

    /// A list whose elements are known by a key.
    fn keyed(&mut self, old: &mut Vec<Value>, new: Vec<Value>, (key, rules): (&str, &MergeRules), at: &ValuePath) {
        let mut is_replaced = false;
        let mut changes: Vec<(Tree, ValuePath)> = Vec::new();
        for (index, element) in new.into_iter().enumerate() {
            let at = at.index(index);
            match self.element(element, key, &at) {
                Some(Element::Change(element)) => changes.push((element, at)),
                Some(Element::Delete(gone)) => old.retain(|element| element.get(key) != Some(&gone)),
                Some(Element::ReplaceList) => is_replaced = true,
                None => {}
            }
        }
        if is_replaced {
            *old = changes.into_iter().map(|(element, at)| Value::Object(self.fresh(element, rules, &at))).collect();
            return;
        }
        let wanted: Vec<Value> = changes.iter().map(|(element, _)| Value::Object(element.clone())).collect();
        let mut merged = old.clone();
        for (element, at) in changes {
            let same = merged.iter_mut().find(|old| old.get(key) == element.get(key)).and_then(Value::as_object_mut);
            match same {
                Some(old) => self.object(old, element, rules, &at),
                None => merged.push(Value::Object(self.fresh(element, rules, &at))),
            }
        }
        *old = order::merged(merged, &wanted, old, |item| item.get(key));
    }

    /// The meaning of an element of a list whose elements are known by `key`; `None` was a mistake.
    fn element(&mut self, element: Value, key: &str, at: &ValuePath) -> Option<Element> {
        let Value::Object(element) = element else {
            self.mistake(&format!("must be a mapping, not {}", kind(&element)), at);
            return None;
        };
        let known = element.get(key).filter(|value| !value.is_null()).cloned();
        match (element.get(PATCH), known) {
            (None, Some(_)) => return Some(Element::Change(element)),
            (None, None) => {
                let text = format!("has no {key}, by which a strategic merge knows the element that it changes");
                self.mistake(&text, at);
            }
            (Some(word), _) if word == "replace" && element.len() == 1 => return Some(Element::ReplaceList),
            (Some(word), _) if word == "replace" => {
                let text = "replaces the whole list; it must be an element of its own: {\"$patch\": \"replace\"}";
                self.mistake(text, &at.key(PATCH));
            }
            (Some(word), Some(gone)) if word == "delete" => return Some(Element::Delete(gone)),
            (Some(word), None) if word == "delete" => {
                self.mistake(&format!("is without {key}, which says what is deleted"), &at.key(PATCH));
            }
            (Some(_), _) => self.mistake("is neither \"delete\" nor \"replace\"", &at.key(PATCH)),
        }
        None
    }

    /// The value to put where none is; `None` puts nothing.
    fn added(&mut self, value: Value, list: Option<&MergedList>, rules: &MergeRules, at: &ValuePath) -> Option<Value> {
        match value {
            Value::Object(patch) if patch.get(PATCH).is_some_and(|word| word == "delete") => None,
            Value::Object(mut patch) => {
                if patch.get(PATCH).is_some_and(|word| word == "replace") {
                    patch.remove(PATCH);
                }
                Some(Value::Object(self.fresh(patch, rules, at)))
            }
            Value::Array(items) => {
                let mut added = Vec::new();
                self.list(&mut added, items, list, at);
                Some(Value::Array(added))
            }
            value => Some(value),
        }
    }

    /// A patch as an object of its own.
    fn fresh(&mut self, patch: Tree, rules: &MergeRules, at: &ValuePath) -> Tree {
        let mut object = Tree::new();
        self.object(&mut object, patch, rules, at);
        object
    }

    /// A list that replaces another, in which a directive would be lost.
    fn whole(&mut self, items: Vec<Value>, at: &ValuePath) -> Vec<Value> {
        for (index, item) in items.iter().enumerate() {
            if let Some(at) = directive(item, &at.index(index)) {
                self.mistake("is in a list that Kubernetes replaces whole, and would be lost", &at);
            }
        }
        items
    }

    fn unknown_directive(&mut self, key: &str, at: &ValuePath) {
        let text = if key.starts_with(ORDER) {
            "is not supported; a merged list is in the order of the answer's own elements"
        } else {
            "is no directive that is known ($patch, $retainKeys, $deleteFromPrimitiveList/LIST)"
        };
        self.mistake(text, at);
    }

    fn mistake(&mut self, text: &str, at: &ValuePath) {
        self.mistakes.push(at.note(text.to_owned()));
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Object(_) | Value::Array(_))
}

#[cfg(test)]
mod tests;
