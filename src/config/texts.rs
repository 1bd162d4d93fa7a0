//! Our own texts that stand in a YAML file without quotes and look like something else: `password: 12345`. ContainerSSH
//! takes them as they are written, and so are they taken here. Below `kubernetes.pod` other rules hold ([`super::pods`]).

use super::keys::{self, Kind};
use crate::schema::{At, Reader, Reading, Texts, Type, Writer};
use serde_json::{Map, Value};

/// Reads a file's own texts. Where a number may stand (`log.level`, `tlsVersion`), it stays one.
pub(super) fn in_file(tree: &mut Map<String, Value>, texts: &Texts) -> Reading {
    let mut reader = Reader::old(Writer::File(texts));
    for key in keys::all().iter().filter(|key| is_text(key.kind) && !may_be_a_number(&key.path)) {
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

fn is_text(kind: Kind) -> bool {
    match kind {
        Kind::Text | Kind::Secret | Kind::Url | Kind::Host | Kind::Pem | Kind::PrivateKey => true,
        Kind::PrivateKeys | Kind::Texts | Kind::Names => true,
        Kind::Flag | Kind::Integer | Kind::Number | Kind::Duration | Kind::Mapping | Kind::Variables => false,
    }
}

fn may_be_a_number(path: &str) -> bool {
    path == "log.level" || path.ends_with(".tlsVersion") || path.starts_with("kubernetes.pod.")
}

/// Only a text that is known: JSON has quotes for its own.
fn text(reader: &mut Reader<'_>, value: &mut Value, at: &At) {
    if reader.has_text(at) && matches!(value, Value::Bool(_) | Value::Number(_)) {
        reader.read(value, &Type::Text, at);
    }
}

fn value_at<'t>(tree: &'t mut Map<String, Value>, path: &str) -> Option<(&'t mut Value, At)> {
    let mut keys = path.split('.');
    let first = keys.next()?;
    let (mut value, mut at) = (tree.get_mut(first)?, At::default().key(first));
    for key in keys {
        value = value.get_mut(key)?;
        at = at.key(key);
    }
    Some((value, at))
}
