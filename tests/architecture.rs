//! Who may name what: reads the gateway's sources and holds the borders that the module names promise.

use std::fs;
use std::path::{Path, PathBuf};

/// Crates that only some modules may name.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("russh", &["ssh"]),
    ("reqwest", &["webhook", "auth"]),
    ("kube", &["kubernetes"]),
    ("k8s_openapi", &["kubernetes", "schema"]),
    ("axum", &["admin"]),
    ("clap", &["main"]),
];

/// Modules of ours that a module may name; one that is not listed may name any but those that only `app` may.
const INSIDE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("policy", &["types"]),
    ("shutdown", &[]),
    ("spare", &[]),
    ("tls", &["types"]),
    ("session", &["audit", "guest", "policy", "spare", "types"]),
    ("guest", &["auth", "policy", "settings", "telemetry", "types"]),
    ("registry", &["types"]),
    ("schema", &["types"]),
    ("telemetry", &["config", "types"]),
    ("fuzz", &["auth", "config", "kubernetes", "policy", "settings", "types"]),
];

/// Modules that only the composition names.
const COMPOSED: &[&str] = &["app", "ssh", "kubernetes"];

struct Source {
    module: String,
    path: PathBuf,
    code: String,
}

fn sources() -> Vec<Source> {
    below("src")
}

fn below(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).expect("below src");
                let first = inside.iter().next().expect("a name").to_string_lossy();
                let module = first.trim_end_matches(".rs").to_owned();
                let code = code_of(&fs::read_to_string(&path).expect("a source"));
                found.push(Source { module, path, code });
            }
        }
    }
    found
}

#[test]
fn program_that_a_test_starts_is_on_the_leash() {
    let folders = ["src", "tests", "devcluster/tests", "webhooks/tests", "webhooks/program/tests"];
    let all: Vec<Source> = folders.iter().flat_map(|folder| below(folder)).collect();
    assert!(all.len() > 100, "the sources were not found");
    let starts = |source: &&Source| source.code.contains("Command::new(") && source.code.contains(".spawn()");
    let free =
        all.iter().filter(starts).filter(|source| !["leash::", "leash("].iter().any(|used| source.code.contains(used)));
    let free: Vec<String> = free.map(|source| source.path.display().to_string()).collect();
    assert!(free.is_empty(), "use support::leash::program or podgate_devcluster::leash in\n{}", free.join("\n"));
}

/// The lines that are no comments.
fn code_of(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Whether `name::` stands in the code as a path's first part.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// Whether `crate::name` stands in the code, as a path or in a `use`.
fn names_module(code: &str, name: &str) -> bool {
    code.match_indices(&format!("crate::{name}"))
        .any(|(at, found)| !code[at + found.len()..].chars().next().is_some_and(|c| c.is_alphanumeric() || c == '_'))
}

#[test]
fn modules_are_named_one_by_one() {
    assert!(sources().len() > 40, "the sources were not found");
    for source in sources() {
        assert!(!source.code.contains("crate::{"), "{} hides what it names", source.path.display());
    }
}

#[test]
fn outside_crates_are_named_by_their_modules_alone() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, allowed) in OUTSIDE {
            if names(&source.code, name) && !allowed.contains(&source.module.as_str()) {
                wrong.push(format!("{} names {name}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn modules_name_only_what_is_below_them() {
    let all = sources();
    let modules: Vec<&str> = all.iter().map(|source| source.module.as_str()).collect();
    let mut wrong = Vec::new();
    for source in &all {
        for name in &modules {
            let own = *name == source.module || ["lib", "main"].contains(name);
            if own || !names_module(&source.code, name) {
                continue;
            }
            let listed = INSIDE.iter().find(|(module, _)| *module == source.module);
            let allowed = match listed {
                Some((_, allowed)) => allowed.contains(name),
                None => source.module == "app" || !COMPOSED.contains(name),
            };
            if !allowed {
                wrong.push(format!("{} names crate::{name}", source.path.display()));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn policy_and_types_name_no_runtime() {
    for source in sources().iter().filter(|source| ["policy", "types"].contains(&source.module.as_str())) {
        for name in ["tokio", "serde", "serde_json", "kube", "russh", "reqwest", "http"] {
            assert!(!names(&source.code, name), "{} names {name}", source.path.display());
        }
    }
}

/// Sources that make words of a variant's name, which every test of theirs reads.
const NAMES_OF_VARIANTS: &[&str] = &["src/tls/sentences.rs"];

/// The modules that are compiled for tests alone.
fn test_modules(all: &[Source]) -> Vec<String> {
    let mut found = vec!["tests".to_owned()];
    for source in all {
        let lines: Vec<&str> = source.code.lines().map(str::trim).collect();
        for pair in lines.windows(3) {
            let is_test = ["#[cfg(test)]", "#[cfg(any(test, "].iter().any(|attribute| pair[0].starts_with(attribute));
            let declared = pair[1..].iter().find(|line| !line.starts_with("#[")).filter(|_| is_test);
            let name = declared.and_then(|line| line.strip_suffix(';')).and_then(|line| line.split_once("mod "));
            found.extend(name.map(|(_, name)| name.to_owned()));
        }
    }
    found
}

#[test]
fn debug_text_of_a_type_is_in_no_message() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all: Vec<Source> =
        ["src", "webhooks/src", "webhooks/program/src"].iter().flat_map(|folder| below(folder)).collect();
    let tests = test_modules(&all);
    assert!(["fuzz", "fake", "openapi"].iter().all(|name| tests.iter().any(|test| test == name)), "{tests:?}");
    let mut wrong = Vec::new();
    for source in &all {
        let path = source.path.strip_prefix(root).expect("below the root");
        let is_test = path.with_extension("").iter().any(|part| tests.iter().any(|test| part == test.as_str()));
        if is_test || NAMES_OF_VARIANTS.iter().any(|allowed| path == Path::new(allowed)) {
            continue;
        }
        let product = source.code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = product.lines().filter(|line| line.contains(":?}") || line.contains(":#?}"));
        wrong.extend(lines.map(|line| format!("{}: {}", path.display(), line.trim())));
    }
    assert!(wrong.is_empty(), "use types::quoted, types::time_text or words in\n{}", wrong.join("\n"));
}

#[test]
fn login_name_that_nobody_proved_is_taken_by_the_test_of_a_login_alone() {
    let all = sources();
    let users = all.iter().filter(|source| source.code.contains(".assume("));
    let users: Vec<&Path> = users.map(|source| source.path.as_path()).collect();
    assert_eq!(users.len(), 1, "{users:?}");
    assert!(users[0].ends_with("src/app/test_login.rs"), "{users:?}");
    let test =
        all.iter().filter(|source| source.path.starts_with(users[0].with_extension("")) || source.path == users[0]);
    let makes_guests = test.filter(|source| [".guest(", "Arrival"].iter().any(|way| source.code.contains(way)));
    assert_eq!(makes_guests.count(), 0, "the test of a login makes a guest");
}

#[test]
fn every_source_says_what_it_owns() {
    for source in sources() {
        let text = fs::read_to_string(&source.path).expect("a source");
        assert!(text.starts_with("//!"), "{} does not open with //!", source.path.display());
    }
}
