//! A config webhook that still says `kuberun`. Its answer is translated like a file, and only where the file's guests
//! are kuberun's too: a mixture of the two never meant anything.

use super::Base;
use crate::config::migrate::{self, Over, Whose};
use crate::config::reader::Report;
use serde_json::{Map, Value, json};

type Tree = Map<String, Value>;

/// The answer, its zeros dropped, in today's words; and what became of its old keys, where there are any.
pub(super) fn translate(base: &Base, over: Tree, report: &Report) -> (Tree, Option<String>) {
    let says = |backend: &str| over.get("backend").and_then(Value::as_str) == Some(backend);
    let over_what = over_what(base);
    if says("kuberun") && over_what == Over::Other {
        let text = "kuberun does not fit the file, whose pods are not kuberun's; send backend: kubernetes and \
                    kubernetes.pod.mode: session";
        report.error("backend", text);
    }
    if base.kuberun && !says("kuberun") {
        let text = "does not fit the file, which says backend: kuberun; rewrite the file with `podgate migrate` first";
        for key in ["backend", "kubernetes"].into_iter().filter(|key| over.contains_key(*key)) {
            report.error(key, text);
        }
    }
    let mut migration = migrate::translate(over, Whose::Answer(over_what));
    report.old(&migration);
    let over = std::mem::take(&mut migration.document);
    let forced = migrate::get(&base.sections, "security.forceCommand").is_some_and(|command| *command != json!(""));
    if migration.disables_commands() && forced {
        let text = "does not go together with the file's security.forceCommand, which runs as a command itself";
        report.error("kuberun.pod.disableCommand", text);
    }
    let old_keys = migration.old_blocks().remove("kuberun");
    (over, old_keys)
}

/// Whose guests the file has: kuberun's also where `podgate migrate` made them of kuberun's.
fn over_what(base: &Base) -> Over {
    if base.kuberun || migrate::get(&base.sections, "kubernetes.pod.mode") == Some(&json!("session")) {
        Over::Kuberun
    } else if base.sections.contains_key("kubernetes") {
        Over::Other
    } else {
        Over::Nothing
    }
}
