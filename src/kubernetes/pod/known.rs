//! What of that which the webhooks know about a user goes into a pod: variables for every container, labels and
//! annotations. What is marked sensitive never does, because everybody who may read pods could read it there.

use super::{ManifestError, Notice, labels, object};
use crate::auth::Identity;
use crate::settings::Expose;
use crate::types::{EnvName, EnvVar, Invalid, MetadataKey, printable};
use podgate_webhooks::wire;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The user's variables: `environment`, and of the metadata what `exposeAuthMetadataAsEnv` names, which wins.
pub(in crate::kubernetes) fn variables(
    identity: &Identity,
    expose: &Expose,
) -> Result<(Vec<EnvVar>, Vec<Notice>), ManifestError> {
    let known = identity.known();
    let mut all: BTreeMap<EnvName, &wire::Value> = BTreeMap::new();
    for (name, value) in &known.environment {
        all.insert(EnvName::parse(name).map_err(|why| cannot_be_set(name, &why))?, value);
    }
    all.extend(exposed(identity, &expose.env).map(|(name, value)| (name.clone(), value)));
    let (mut variables, mut notices) = (Vec::new(), Vec::new());
    for (name, value) in all {
        if value.sensitive {
            notices.push(Notice::SensitiveLeftOut { what: "variable", name: name.to_string() });
        } else {
            let shown = name.to_string();
            variables.push(EnvVar::new(name, value.value.clone()).map_err(|why| cannot_be_set(&shown, &why))?);
        }
    }
    Ok((variables, notices))
}

fn cannot_be_set(name: &str, why: &Invalid) -> ManifestError {
    ManifestError::Environment { name: printable(name, 64), problem: why.to_string() }
}

/// The pairs of a target and what is known for it.
fn exposed<'a, T>(
    identity: &'a Identity,
    targets: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = (&'a T, &'a wire::Value)> {
    targets.iter().filter_map(|(name, target)| Some((target, identity.known().metadata.get(name)?)))
}

/// Adds the labels and annotations that `exposeAuthMetadataAs…` names. A label's value loses what no label can have; it
/// then stands whole in an annotation of the same key.
pub(super) fn labels(
    identity: &Identity,
    expose: &Expose,
    metadata: &mut Map<String, Value>,
    notices: &mut Vec<Notice>,
) -> Result<(), ManifestError> {
    let mut plain = |what, (key, value): (&MetadataKey, &wire::Value)| {
        if value.sensitive {
            notices.push(Notice::SensitiveLeftOut { what, name: key.to_string() });
        }
        (!value.sensitive).then(|| (key.to_string(), value.value.clone()))
    };
    let wanted: Vec<_> = exposed(identity, &expose.labels).filter_map(|entry| plain("label", entry)).collect();
    let mut annotations = BTreeMap::new();
    if !wanted.is_empty() {
        let into = object(metadata, "labels", "metadata")?;
        for (key, value) in wanted {
            let fitted = labels::value(&value);
            into.insert(key.clone(), fitted.clone().into());
            if fitted != value {
                annotations.insert(key, value);
            }
        }
    }
    annotations.extend(exposed(identity, &expose.annotations).filter_map(|entry| plain("annotation", entry)));
    if !annotations.is_empty() {
        let into = object(metadata, "annotations", "metadata")?;
        into.extend(annotations.into_iter().map(|(key, value)| (key, Value::String(value))));
    }
    Ok(())
}
