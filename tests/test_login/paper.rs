//! The example of `docs/kubernetes.md`: its command prints what stands there.

use super::test_login;
use crate::support::Setup;
use crate::support::cluster::on_development;
use serde_json::json;
use std::fs;

const PAGE: &str = include_str!("../../docs/kubernetes.md");

/// The first block of a language below the section's heading.
fn block(language: &str) -> &'static str {
    let (_, section) = PAGE.split_once("\n## Test a login without a client\n").expect("the section");
    let (_, rest) = section.split_once(&format!("\n```{language}\n")).expect("a block");
    rest.split_once("```\n").expect("its end").0
}

/// The text without what is another each time: times, ids, and names that end in random letters.
fn without_chance(text: &str) -> Vec<String> {
    let word = |word: &str| {
        let bare = word.trim_matches(['(', ',', ')', '\'', '"']);
        let random = bare.len() == 32 && bare.bytes().all(|byte| byte.is_ascii_hexdigit())
            || bare.starts_with("podgate-") && bare.len() == "podgate-".len() + 10
            || bare.parse::<u64>().is_ok();
        if random { "X".to_owned() } else { word.to_owned() }
    };
    text.trim().lines().map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")).collect()
}

#[podgate_test::multi_thread]
async fn example_of_the_page_prints_what_stands_there() {
    if !on_development("the names of its namespaces are chosen") {
        return;
    }
    let console = json!({"name": "shell", "image": "ghcr.io/example/guest:1", "env": [{"name": "TZ", "value": "UTC"}]});
    let setup = Setup {
        namespaces: vec!["podgate-guests".to_owned()],
        ..Setup::config(json!({"kubernetes": {"pod": {
            "metadata": {"generateName": "podgate-"},
            "idleCommand": ["sleep", "infinity"],
            "spec": {"containers": [console]},
        }}}))
    };
    let world = setup.start().await;
    let answer = world.folder().join("answer.json");
    fs::write(&answer, block("json")).expect("a file");
    let answer = answer.display().to_string();
    let words: Vec<&str> = block("sh").split_whitespace().collect();
    assert_eq!(words[..4], ["podgate", "test-login", "--config", "config.yaml"]);
    let arguments: Vec<&str> =
        words[4..].iter().map(|word| if *word == "answer.json" { &*answer } else { word }).collect();
    let tested = test_login(&world, &arguments, "").await.expect(0);
    assert_eq!(without_chance(block("text")), without_chance(&tested.out), "{}", tested.out);
}
