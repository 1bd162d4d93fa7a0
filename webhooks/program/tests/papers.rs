//! The manifest in `deploy/` and the page about the log, held true by the program and its sources.

use super::{Server, text, write};
use std::process::{Command, Stdio};

const MANIFEST: &str = include_str!("../../../deploy/webhooks.yaml");

/// The object of a kind in the manifest.
fn object(kind: &str) -> serde_json::Value {
    let documents = MANIFEST.split("\n---\n");
    let mut objects = documents.map(|text| serde_saphyr::from_str::<serde_json::Value>(text).expect("YAML"));
    objects.find(|object| object["kind"] == kind).expect(kind)
}

#[test]
fn manifest_starts_the_server_with_the_certificate_that_its_commands_make() {
    let folder = tempfile::tempdir().expect("a folder");
    let commands: Vec<_> = MANIFEST.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
    let local: Vec<_> = commands.iter().copied().filter(|line| !line.starts_with("kubectl ")).collect();
    assert_eq!((commands.len(), local.len()), (6, 4));
    let made =
        Command::new("sh").args(["-ec", &local.join("\n")]).current_dir(folder.path()).output().expect("a shell");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let secret = object("Secret");
    write(folder.path(), "users.yaml", secret["stringData"]["users.yaml"].as_str().expect("a text"));

    let pod = object("Deployment");
    let words = pod["spec"]["template"]["spec"]["containers"][0]["args"].as_array().expect("words").clone();
    let here = format!("{}/", folder.path().display());
    let words: Vec<String> = words.iter().map(|word| word.as_str().expect("a word").to_owned()).collect();
    let words = words.iter().map(|word| {
        let mounts = ["/etc/podgate/users/", "/etc/podgate/tls/"];
        mounts.iter().fold(word.replace("0.0.0.0:8443", "127.0.0.1:0"), |word, mount| word.replace(mount, &here))
    });
    let words: Vec<String> = words.collect();
    let mut server = Server::start(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let line = server.line();
    let url = line["details"]["url"].as_str().expect("where it listens");
    let address = url.strip_prefix("https://").expect("HTTPS");
    for (name, trusted) in [("podgate-webhooks.podgate.svc", true), ("elsewhere.podgate.svc", false)] {
        let verified = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                address,
                "-CAfile",
                "ca.crt",
                "-verify_return_error",
                "-verify_hostname",
                name,
            ])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("openssl");
        assert_eq!(verified.status.success(), trusted, "{name}: {}", text(&verified.stderr));
    }
}

/// The codes of the log that stand in a text.
fn codes(text: &str) -> std::collections::BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    words.filter(|word| word.strip_prefix("WEBHOOKS_").is_some_and(|kind| !kind.is_empty())).collect()
}

#[test]
fn page_names_every_code_of_the_log_and_no_other() {
    let sources = [
        include_str!("../src/main.rs"),
        include_str!("../../src/journal.rs"),
        include_str!("../../src/directory/follow.rs"),
    ];
    let sources = sources.join("\n");
    let page = include_str!("../../../docs/webhooks.md");
    let (_, log) = page.split_once("\n### The log\n").expect("the section");
    let table: String = log.lines().filter(|line| line.starts_with("| `WEBHOOKS_")).collect();
    let (written, documented) = (codes(&sources), codes(&table));
    assert!(written.len() > 10 && written == documented, "{written:?}\n{documented:?}");
}
