//! Licences and bans over everything that is linked into a program of ours: one TLS stack, one crypto provider, nothing
//! that a licence forbids to ship.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Licences that may be shipped under Apache-2.0's terms.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that would be a second TLS stack or crypto provider.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls", "boring", "mbedtls"];
/// Crates of which there is exactly one version.
const SINGLE: &[&str] = &["rustls", "aws-lc-rs", "tokio", "hyper", "reqwest", "kube", "russh"];

/// Name to versions and licences of every package that a program of ours is built from, on this machine.
fn packages() -> BTreeMap<String, BTreeSet<(String, String)>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--offline", "--edges", "normal,build", "--all-features"])
        .args(["--prefix", "none", "--format", "{p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut found: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for line in text.lines() {
        let Some((package, licence)) = line.split_once('|') else { continue };
        let mut words = package.split_whitespace();
        let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
        // `(*)` marks a package that was listed before.
        let licence = licence.trim_end_matches(" (*)").to_owned();
        found.entry(name.to_owned()).or_default().insert((version.to_owned(), licence));
    }
    assert!(found.contains_key("rustls") && found.len() > 200, "the tree was not read: {} packages", found.len());
    found
}

/// Returns whether a licence expression (SPDX, with the old `/` for OR) has an allowed choice. In a nested expression,
/// every part must be allowed.
fn allowed(expression: &str) -> bool {
    let listed = |licence: &str| LICENCES.contains(&licence.trim());
    if expression.contains('(') {
        let flat = expression.replace(['(', ')'], " ");
        return flat.split(" OR ").flat_map(|way| way.split(" AND ")).all(listed);
    }
    let flat = expression.replace('/', " OR ");
    flat.split(" OR ").any(|way| way.split(" AND ").all(listed))
}

#[test]
fn licence_expressions_are_read() {
    for text in ["GPL-3.0", "", "MIT AND GPL-3.0", "proprietary", "(MIT OR GPL-3.0) AND ISC"] {
        assert!(!allowed(text), "{text}");
    }
    for text in ["MIT", "MIT/Apache-2.0", "GPL-2.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0", "ISC AND MIT"] {
        assert!(allowed(text), "{text}");
    }
}

#[test]
fn every_licence_may_be_shipped() {
    let mut wrong = Vec::new();
    for (name, versions) in packages() {
        for (version, licence) in versions.iter().filter(|(_, licence)| !allowed(licence)) {
            wrong.push(format!("{name} {version}: {licence:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The third-party part of `podgate --licenses`, made from the packages that the gateway links on Linux.
fn third_party() -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "podgate", "--locked", "--offline", "--edges", "normal", "--prefix", "none"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--format", "{p}|{l}|{r}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    // Macros are not linked, and packages of our own have a path.
    let linked = text.lines().filter(|line| !line.contains("(proc-macro)") && !line.contains("(/"));
    let lines: BTreeSet<String> = linked
        .map(|line| {
            let [package, licence, home] = line.splitn(3, '|').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let home = home.trim_end_matches("(*)").trim_end();
            format!("{package}: {licence}{}{home}\n", if home.is_empty() { "" } else { ", " })
        })
        .collect();
    assert!(lines.len() > 150, "{}", lines.len());
    let head =
        "\nPodgate contains the packages below, each under its own licence. The texts are with their sources.\n\n";
    [head.to_owned()].into_iter().chain(lines).collect()
}

#[test]
fn licences_that_are_printed_are_those_of_what_is_linked() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("THIRD-PARTY.txt");
    let now = third_party();
    if std::env::var_os("PODGATE_WRITE_LICENSES").is_some() {
        std::fs::write(&file, &now).expect("a file");
    }
    let printed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(printed == now, "THIRD-PARTY.txt differs: PODGATE_WRITE_LICENSES=1 cargo test --test integration licences");
}

/// Output of `cargo tree` for the gateway's own dependencies.
fn linked(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "podgate", "--locked", "--offline", "--prefix", "none"])
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn development_cluster_is_never_in_the_gateway() {
    let text = linked(&["--edges", "normal"]);
    assert!(text.contains("russh ") && !text.contains("podgate-devcluster"), "{text}");
}

#[test]
fn webhook_server_is_never_in_the_gateway() {
    let text = linked(&["--edges", "normal,features", "--invert", "podgate-webhooks-toolkit"]);
    assert!(text.starts_with("podgate-webhooks-toolkit ") && !text.contains("feature \"server\""), "{text}");
}

#[test]
fn there_is_one_tls_stack_and_one_crypto_provider() {
    let packages = packages();
    for name in BANNED {
        assert!(!packages.contains_key(*name), "{name} is in the tree");
    }
    for name in SINGLE {
        assert_eq!(packages.get(*name).map(BTreeSet::len), Some(1), "versions of {name}");
    }
}
