//! The papers: what they show works as it is shown.

mod pods;
mod real_use;
mod servers;

use podgate::{Config, Files, Format};
use podgate_webhooks::directory::Directory;
use podgate_webhooks::wire::{AuthAnswer, AuthzRequest, ConfigReply, ConfigRequest, PasswordRequest, PublicKeyRequest};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, PrivateKey};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

const README: &str = include_str!("../README.md");
const WEBHOOKS: &str = include_str!("../docs/webhooks.md");
const AGENT: &str = include_str!("../docs/agent.md");
/// Every page of `docs`, those above included.
const DOCS: [&str; 11] = [
    WEBHOOKS,
    AGENT,
    include_str!("../docs/doctor.md"),
    include_str!("../docs/security.md"),
    include_str!("../docs/metrics.md"),
    include_str!("../docs/log.md"),
    include_str!("../docs/events.md"),
    include_str!("../docs/benchmarks.md"),
    include_str!("../docs/configuration.md"),
    include_str!("../docs/kubernetes.md"),
    include_str!("../docs/migration.md"),
];

/// Language and unindented text of each code block.
fn fenced(page: &str) -> Vec<(String, String)> {
    let (mut found, mut open): (Vec<(String, String)>, Option<usize>) = (Vec::new(), None);
    for line in page.lines() {
        let indent = line.len() - line.trim_start().len();
        match (line.trim_start().strip_prefix("```"), open) {
            (Some(language), None) => {
                open = Some(indent);
                found.push((language.to_owned(), String::new()));
            }
            (Some(_), Some(_)) => open = None,
            (None, Some(indent)) => {
                let (_, text) = found.last_mut().expect("a block");
                text.push_str(line.get(indent..).unwrap_or_default());
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// The text of every code block of a language, unindented.
fn blocks(paper: &str, language: &str) -> Vec<String> {
    fenced(paper).into_iter().filter(|(found, _)| found == language).map(|(_, text)| text).collect()
}

/// The YAML of a page: its blocks, and the files that the README's reader makes by copied commands.
fn yaml(page: &str) -> Vec<String> {
    // The shell puts the reader's key into the file.
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0pVm5sEBn7sBq9FMcHGVKmbLBrKwDjIVqXxoEPjUvn";
    let file = |text: String| text.replace("$(cat ~/.ssh/id_ed25519.pub)", key);
    let made = if page == README { real_use::files() } else { BTreeMap::new() };
    blocks(page, "yaml").into_iter().chain(made.into_values().map(file)).collect()
}

/// A machine that has every file which the papers name.
struct Machine {
    certificate: String,
    key: String,
    host_key: String,
}

impl Machine {
    fn new() -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let host_key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32])).to_openssh(LineEnding::LF);
        let host_key = host_key.expect("a key").to_string();
        Self { certificate: pair.cert.pem(), key: pair.signing_key.serialize_pem(), host_key }
    }
}

impl Files for Machine {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("hostkey" | "/etc/podgate/ssh_host_ed25519_key" | "/etc/podgate/hostkeys/ssh_host_ed25519_key") => {
                Ok(self.host_key.clone())
            }
            Some("kubeconfig.yaml" | "/etc/podgate/kubeconfig") => Ok(KUBECONFIG.to_owned()),
            Some(
                "/etc/podgate/ca.crt"
                | "/etc/podgate/client.crt"
                | "/etc/podgate/webhooks-ca/ca.crt"
                | "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
            ) => Ok(self.certificate.clone()),
            Some("/var/run/secrets/kubernetes.io/serviceaccount/token") => Ok("t.o.k".to_owned()),
            Some("/etc/podgate/client.key") => Ok(self.key.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

const KUBECONFIG: &str = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
  "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
  "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}],
  "users": [{"name": "u", "user": {"token": "t"}}]}"#;

/// A part of a configuration, made whole.
fn whole(part: &str) -> String {
    let webhook = "auth: {password: {method: webhook, webhook: {url: \"https://auth.example\"}}}\n";
    let auth = if part.contains("auth:") { "" } else { webhook };
    format!("ssh: {{hostkeys: [hostkey]}}\nbackend: kubernetes\n{auth}{part}")
}

#[test]
fn files_of_the_papers_are_read() {
    let mut read = 0;
    for block in yaml(README).into_iter().chain(yaml(WEBHOOKS)).chain(yaml(AGENT)) {
        if block.contains("users:") {
            Directory::from_yaml(&block).unwrap_or_else(|problems| panic!("{problems}\n{block}"));
        } else {
            let config = if block.contains("hostkeys") { block } else { whole(&block) };
            let parsed = Config::parse(&config, Format::Yaml, &Machine::new());
            let parsed = parsed.unwrap_or_else(|errors| panic!("{errors}\n{config}"));
            assert!(parsed.notices.is_empty(), "{:?}", parsed.notices);
        }
        read += 1;
    }
    assert_eq!(read, 8);
}

#[test]
fn messages_of_the_papers_are_understood_and_nothing_in_them_is_passed_over() {
    // The users of the servers are none.
    let messages: Vec<String> =
        blocks(WEBHOOKS, "json").into_iter().filter(|block| !block.contains("\"keys\"")).collect();
    assert_eq!(messages.len(), 8);
    for block in messages {
        let json: serde_json::Value = serde_json::from_str(&block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        let again = if json.get("passwordBase64").is_some() {
            serde_json::to_value(serde_json::from_str::<PasswordRequest>(&block).expect("a question"))
        } else if json.get("publicKey").is_some() {
            serde_json::to_value(serde_json::from_str::<PublicKeyRequest>(&block).expect("a question"))
        } else if json.get("success").is_some() {
            serde_json::to_value(AuthAnswer::parse(block.as_bytes()).expect("an answer"))
        } else if json.get("config").is_some() {
            serde_json::to_value(ConfigReply::parse(block.as_bytes()).expect("an answer"))
        } else {
            let question: AuthzRequest = serde_json::from_str(&block).expect("a question");
            let config: ConfigRequest = serde_json::from_str(&block).expect("a question");
            assert_eq!(question.connection, config.connection);
            serde_json::to_value(question)
        };
        let again = again.expect("JSON");
        for (field, value) in json.as_object().expect("an object") {
            // Reading and writing the example changes nothing but the optional flag.
            let written = again[field].to_string().replace("\"sensitive\":false,", "");
            assert_eq!(written, value.to_string(), "{field}");
        }
    }
}

/// The code blocks of a table's row.
fn codes(row: &str) -> Vec<&str> {
    row.split('`').skip(1).step_by(2).collect()
}

#[test]
fn invalid_responses_of_the_page_are_refused_in_the_words_beside_them() {
    let (_, section) = WEBHOOKS.split_once("\n### Invalid responses\n").expect("the section");
    let (section, _) = section.split_once("\n### ").expect("its end");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `{")).collect();
    assert_eq!(rows.len(), 9);
    for row in rows {
        let (response, told) = row.split_once(" | ").expect("two columns");
        let (body, told) = (codes(response)[0].replace("{…}", "{}"), codes(told)[0]);
        let error = match response.ends_with("config request") {
            true => ConfigReply::parse(body.as_bytes()).expect_err(row),
            false => AuthAnswer::parse(body.as_bytes()).expect_err(row),
        };
        let error = error.to_string();
        let error = error.split(" at line ").next().unwrap_or_default();
        let mut rest = error;
        for part in told.split('…') {
            (_, rest) = rest.split_once(part).unwrap_or_else(|| panic!("{part:?} of {row} is not in {error}"));
        }
        assert!(rest.is_empty() || told.ends_with('…'), "{row}: {error}");
    }
}

#[test]
fn server_in_a_page_is_the_example_that_is_compiled() {
    let example = include_str!("../webhooks/examples/minimal.rs");
    assert_eq!(blocks(WEBHOOKS, "rust"), [example]);
}

#[test]
fn commands_of_the_papers_name_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    // The Python command is run by the tests of the servers, the README's "Real use" by a test of its own.
    let (first, _) = README.split_once("\n## Real use\n").expect("the section");
    let all = blocks(first, "sh").into_iter().chain(blocks(WEBHOOKS, "sh"));
    for block in all.filter(|block| !block.starts_with("python3 -c")) {
        for line in block.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let after = |word: &str| words.iter().position(|w| *w == word).and_then(|at| words.get(at + 1));
            if let Some(example) = after("--example") {
                assert!(root.join(format!("examples/{example}/main.rs")).exists(), "{line}");
            }
            if let Some(package) = after("-p").filter(|_| words[0] == "cargo") {
                assert_eq!(*package, "podgate-webhooks", "{line}");
            }
            let known = matches!(
                words.as_slice(),
                ["cargo", "run" | "test", ..] | ["ssh-keygen" | "ssh" | "docker" | "opa" | "openssl", ..]
            );
            assert!(known, "{line}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn links_of_the_papers_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = root.join("docs");
    let pages = DOCS.iter().map(|page| (*page, docs.as_path()));
    for (paper, folder) in pages.chain([(README, root)]) {
        for target in paper.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let read = || fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{target}: {error}"));
            let page = if file.is_empty() { paper.to_owned() } else { read() };
            let named = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-") == heading;
            assert!(heading.is_empty() || page.lines().any(|line| line.starts_with('#') && named(line)), "{target}");
        }
    }
}
