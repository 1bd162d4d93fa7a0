//! Our own texts that stand in a YAML file without quotes and look like something else: `password: 12345`. ContainerSSH
//! takes them as they are written, and so are they taken here. Below `kubernetes.pod` other rules hold ([`super::pod_scalars`]).

use super::keys;
use super::kubernetes::{Type, TypedReader, TypedReading, UnquotedTexts, ValueAuthor, ValuePath};
use super::tree::Tree;
use serde_json::Value;

/// Reads a file's own texts. Where a number may stand (`log.level`, `tlsVersion`), it stays one.
pub(super) fn in_file(tree: &mut Tree, texts: &UnquotedTexts) -> TypedReading {
    let mut reader = TypedReader::old(ValueAuthor::File(texts));
    for key in keys::all().iter().filter(|key| key.kind.is_text() && !key.path.starts_with("kubernetes.pod.")) {
        let old = key.path.strip_prefix("kubernetes.").map(|rest| format!("kuberun.{rest}"));
        for path in [Some(&key.path), old.as_ref()].into_iter().flatten() {
            match value_at(tree, path) {
                Some((Value::Array(items), at)) => {
                    for (index, item) in items.iter_mut().enumerate() {
                        text(&mut reader, item, &at.index(index));
                    }
                }
                Some((value, at)) => text(&mut reader, value, &at),
                None => {}
            }
        }
    }
    reader.finish()
}

/// Only a text that is known: JSON has quotes for its own.
fn text(reader: &mut TypedReader<'_>, value: &mut Value, at: &ValuePath) {
    if reader.has_text(at) && matches!(value, Value::Bool(_) | Value::Number(_)) {
        reader.read(value, &Type::Text, at);
    }
}

fn value_at<'t>(tree: &'t mut Tree, path: &str) -> Option<(&'t mut Value, ValuePath)> {
    let mut keys = path.split('.');
    let first = keys.next()?;
    let (mut value, mut at) = (tree.get_mut(first)?, ValuePath::default().key(first));
    for key in keys {
        value = value.get_mut(key)?;
        at = at.key(key);
    }
    Some((value, at))
}
