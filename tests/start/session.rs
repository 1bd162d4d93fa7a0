//! What `deploy/kubernetes.yaml` grants where it is edited for mode session: each verb more than mode connection has is in the
//! paper, is missed at the start, and there is none beside.

use super::Desk;
use crate::support::role::Rights;
use podgate::config::{Config, Files, Format};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A verb on a resource.
type Right = (String, String);

/// What the mode takes beside the role.
fn beside() -> BTreeSet<Right> {
    Rights::session().each().difference(&Rights::gateway().each()).cloned().collect()
}

#[test]
fn paper_has_a_row_for_each_right_of_the_mode() {
    let paper = include_str!("../../docs/kubernetes.md");
    let section = paper.split("## Another mode").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(cells);
    let rights: BTreeSet<Right> = rows.map(|cells| (cells[2].clone(), cells[1].clone())).collect();
    assert_eq!(rights, beside());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_of_the_mode_is_missed_at_the_start() {
    let desk = Desk::new().await;
    let session = json!({"kubernetes": {"pod": {"mode": "session"}}});
    for (verb, resource) in beside() {
        desk.cluster.grant(&Rights::session().without(&verb, &resource)).await;
        if resource == "pods/attach" {
            let line = desk.cannot(&verb, &resource, "") + "no login can be served";
            assert_eq!(desk.start_fails(session.clone()).await, [line]);
        } else {
            let line = desk.cannot(&verb, &resource, "") + "the output of a program that ends at once can be lost";
            assert_eq!(desk.start_tells(session.clone(), "KUBERNETES_INSPECTED").await["message"], line);
        }
    }
}

/// No file is there: what names one is told as unreadable, and nothing else is wrong.
struct Nothing;

impl Files for Nothing {
    fn read(&self, _path: &std::path::Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

#[test]
fn edited_file_is_in_the_mode_and_nothing_else_changed() {
    let edited = crate::support::role::for_session(include_str!("../../deploy/kubernetes.yaml"));
    let documents = edited.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
    let map = documents.into_iter().find(|object| object["kind"] == "ConfigMap").expect("a configuration");
    let text = map["data"]["config.yaml"].as_str().expect("a text");
    let config: Value = serde_saphyr::from_str(text).expect("YAML");
    assert_eq!(config["kubernetes"]["pod"]["mode"], "session");
    let errors = Config::parse(text, Format::Yaml, &Nothing).expect_err("no files");
    assert!(errors.0.iter().all(|error| error.text.contains("cannot read the file")), "{errors}");
}
