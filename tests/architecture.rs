//! The walls between modules: reads the sources, and checks which module and which crate each module names.

mod circles;
mod ways;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates that only some modules may name.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("russh", &["ssh"]),
    ("opentelemetry", &["collector", "telemetry"]),
    ("opentelemetry_http", &["collector"]),
    ("opentelemetry_otlp", &["collector"]),
    ("opentelemetry_proto", &["collector"]),
    ("opentelemetry_sdk", &["collector", "telemetry"]),
    ("reqwest", &["webhook", "auth", "collector"]),
    ("kube", &["kubernetes"]),
    ("k8s_openapi", &["kubernetes", "schema"]),
    ("axum", &["admin"]),
    ("podgate_http_server", &["admin", "tls"]),
    ("podgate_agent", &["fuzz"]),
    ("podgate_link", &["fuzz", "link"]),
    ("clap", &["main"]),
    ("podgate_recording", &["audit", "fuzz", "main"]),
];

/// Every module of the gateway, and the modules that it may name besides `types`. `app` builds all of them, `main` starts
/// it, and nothing else names `app`, `ssh` or `kubernetes`. Tests may name any module.
const MODULES: &[(&str, &[&str])] = &[
    (
        "app",
        &[
            "admin",
            "audit",
            "auth",
            "collector",
            "config",
            "descriptors",
            "guest",
            "heartbeat",
            "kubernetes",
            "locks",
            "policy",
            "registry",
            "reload",
            "schema",
            "settings",
            "shutdown",
            "socket_activation",
            "ssh",
            "telemetry",
            "tls",
            "webhook",
        ],
    ),
    ("fuzz", &["audit", "auth", "config", "kubernetes", "policy", "proxy_protocol", "schema", "settings", "ssh"]),
    (
        "ssh",
        &[
            "audit",
            "auth",
            "config",
            "descriptors",
            "guest",
            "heartbeat",
            "listening",
            "memory",
            "policy",
            "proxy_protocol",
            "registry",
            "schema",
            "session",
            "settings",
            "shutdown",
            "socket_activation",
            "telemetry",
            "throttle",
        ],
    ),
    (
        "kubernetes",
        &["auth", "buffer_pool", "guest", "link", "policy", "program", "settings", "shutdown", "telemetry", "tls"],
    ),
    ("link", &["guest", "policy", "program", "shutdown", "telemetry"]),
    ("program", &["guest", "policy", "settings", "telemetry"]),
    ("session", &["audit", "buffer_pool", "guest", "policy"]),
    ("audit", &["auth", "guest", "policy", "telemetry"]),
    ("guest", &["auth", "policy", "settings", "telemetry"]),
    ("admin", &["config", "heartbeat", "listening", "locks", "registry", "reload", "shutdown", "telemetry", "tls"]),
    ("collector", &["telemetry", "webhook"]),
    (
        "config",
        &["auth", "collector", "proxy_protocol", "schema", "settings", "telemetry", "throttle", "tls", "webhook"],
    ),
    ("settings", &["auth", "policy", "schema", "telemetry", "tls", "webhook"]),
    ("auth", &["telemetry", "webhook"]),
    ("webhook", &["telemetry", "tls"]),
    ("schema", &["tls"]),
    ("policy", &[]),
    ("proxy_protocol", &[]),
    ("registry", &["locks"]),
    ("reload", &[]),
    ("socket_activation", &[]),
    ("throttle", &[]),
    ("confinement", &["telemetry"]),
    ("descriptors", &[]),
    ("heartbeat", &[]),
    ("listening", &[]),
    ("locks", &[]),
    ("memory", &[]),
    ("telemetry", &["shutdown"]),
    ("tls", &[]),
    ("types", &[]),
    ("shutdown", &[]),
    ("buffer_pool", &[]),
];

/// Modules that do not even name `types`.
const WITHOUT_TYPES: &[&str] =
    &["buffer_pool", "confinement", "descriptors", "heartbeat", "listening", "locks", "memory", "reload", "shutdown"];

/// The rooms of `kubernetes`, and the rooms that each may name.
const KUBERNETES: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("pod", &["api"]),
    ("gateways", &["api", "pod"]),
    ("pod_guest", &["api", "pod"]),
    ("session_mode", &["api", "pod"]),
    ("dry_run", &["api", "pod"]),
    ("inspect", &["api", "pod"]),
];

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
    let folders = ["src", "tests", "agent/tests", "devcluster/tests", "webhooks/tests", "webhooks/program/tests"];
    let all: Vec<Source> = folders.iter().flat_map(|folder| below(folder)).collect();
    assert!(all.len() > 100, "the sources were not found");
    let starts = |source: &&Source| source.code.contains("Command::new(") && source.code.contains(".spawn()");
    let free = all
        .iter()
        .filter(starts)
        .filter(|source| !["leash::", "leash(", "leashed("].iter().any(|used| source.code.contains(used)));
    let free: Vec<String> = free.map(|source| source.path.display().to_string()).collect();
    assert!(free.is_empty(), "use support::leash::program or podgate_devcluster::leash in\n{}", free.join("\n"));
}

/// The lines of a source without comments.
fn code_of(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Returns whether the code has a path that begins with `name::`.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// Returns whether the code names `crate::name`.
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
fn lines_of_the_gateway_have_codes_of_the_table() {
    let own = product("src").into_iter().filter(|source| source.code.contains("::external("));
    let own: Vec<String> = own.map(|source| source.path.display().to_string()).collect();
    assert!(own.is_empty(), "src/telemetry/codes.rs has no row for a code of\n{}", own.join("\n"));
}

/// The sources without those that are compiled for tests alone. The fuzzer's count as the gateway's.
fn product(folder: &str) -> Vec<Source> {
    let all = below(folder);
    let mut tests = test_modules(&all);
    tests.retain(|name| name != "fuzz");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let is_test = |source: &Source| {
        let path = source.path.strip_prefix(&root).expect("below the root").with_extension("");
        path.iter().any(|part| tests.iter().any(|test| part == test.as_str()))
    };
    let product = all.into_iter().filter(|source| !is_test(source));
    product.map(|source| Source { code: without_inline_tests(&source.code).to_owned(), ..source }).collect()
}

/// The sources below `src/kubernetes`, with their room as the module.
fn kubernetes() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kubernetes");
    let inside = product("src").into_iter().filter(|source| source.path.starts_with(&root));
    let room = |path: &Path| path.strip_prefix(&root).expect("below kubernetes").iter().next().map(PathBuf::from);
    let named = inside.filter_map(|source| Some((room(&source.path)?.with_extension(""), source)));
    named.map(|(room, source)| Source { module: room.display().to_string(), ..source }).collect()
}

fn without_inline_tests(code: &str) -> &str {
    code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

#[test]
fn module_without_a_row_is_refused() {
    let modules = product("src").into_iter().map(|source| source.module);
    let unlisted = modules.filter(|module| !["lib", "main"].contains(&module.as_str()));
    let unlisted: Vec<String> = unlisted.filter(|module| MODULES.iter().all(|(name, _)| name != module)).collect();
    assert!(unlisted.is_empty(), "say in MODULES what these may name: {unlisted:?}");
    let rooms: Vec<String> = kubernetes().into_iter().map(|source| source.module).collect();
    let ours = |room: &String| KUBERNETES.iter().all(|(name, _)| name != room) && room != "fuzz";
    let unlisted: Vec<&String> = rooms.iter().filter(|room| ours(room)).collect();
    assert!(unlisted.is_empty(), "say in KUBERNETES what these may name: {unlisted:?}");
}

#[test]
fn modules_name_only_what_is_below_them() {
    let mut wrong = Vec::new();
    for source in product("src").iter().filter(|source| !["lib", "main"].contains(&source.module.as_str())) {
        let row = MODULES.iter().find(|(module, _)| *module == source.module);
        let below = row.map(|(_, below)| *below).unwrap_or_default();
        for (name, _) in MODULES.iter().filter(|(name, _)| names_module(&source.code, name)) {
            let types = *name == "types" && !WITHOUT_TYPES.contains(&source.module.as_str());
            if *name != source.module && !types && !below.contains(name) {
                wrong.push(format!("{} names crate::{name}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_of_kubernetes_name_only_what_is_below_them() {
    let mut wrong = Vec::new();
    for source in kubernetes() {
        let row = KUBERNETES.iter().find(|(room, _)| *room == source.module);
        let below = row.map(|(_, below)| *below).unwrap_or_default();
        for (name, _) in KUBERNETES.iter().filter(|(name, _)| *name != source.module && !below.contains(name)) {
            if row.is_some() && names_module(&source.code, &format!("kubernetes::{name}")) {
                wrong.push(format!("{} names kubernetes::{name}", source.path.display()));
            }
        }
    }
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

/// Sources that derive messages from variants' names. Their tests read every such message.
const NAMES_OF_VARIANTS: &[&str] = &["src/tls/messages.rs"];

/// The names of modules that are compiled only for tests.
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
        let product = without_inline_tests(&source.code);
        let lines = product.lines().filter(|line| line.contains(":?}") || line.contains(":#?}"));
        wrong.extend(lines.map(|line| format!("{}: {}", path.display(), line.trim())));
    }
    assert!(wrong.is_empty(), "use types::quoted, types::time_text or words in\n{}", wrong.join("\n"));
}

#[test]
fn login_name_that_nobody_proved_is_taken_by_tests_of_logins_alone() {
    let all = sources();
    let users: Vec<&Source> = all.iter().filter(|source| source.code.contains(".assume(")).collect();
    let named: BTreeSet<_> = users.iter().filter_map(|source| source.path.to_str()?.split_once("/src/")).collect();
    let named: Vec<&str> = named.iter().map(|(_, path)| *path).collect();
    assert_eq!(named, ["app/doctor/cluster.rs", "app/doctor/webhooks.rs", "app/test_login.rs"]);
    let tests = all.iter().filter(|source| {
        users.iter().any(|user| source.path.starts_with(user.path.with_extension("")) || source.path == user.path)
    });
    let ways = [".guest(", "::guest(", "Backend as", "guest::Backend"];
    let makes_guests = tests.filter(|source| ways.iter().any(|way| source.code.contains(way)));
    assert_eq!(makes_guests.count(), 0, "the test of a login makes a guest");
}

#[test]
fn every_source_says_what_it_owns() {
    for source in sources() {
        let text = fs::read_to_string(&source.path).expect("a source");
        assert!(text.starts_with("//!"), "{} does not open with //!", source.path.display());
    }
}
