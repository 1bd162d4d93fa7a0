//! Other projects' test suites, taken from the registries of their languages and run unchanged, with Podgate in the place of the server
//! that they start themselves. What is expected to fail stands with its reason in a list beside their module, and a test
//! of the list that passes is an error as much as one that fails and is not on it.

use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, empty_config, success};
use crate::support::{Setup, World, cluster};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The module that names the suites' versions.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers");
/// The time limit for a suite, as a Go duration. Its own tests have no deadline.
const LIMIT: &str = "-test.timeout=240s";
/// The path of the SFTP server.
const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// A suite's program and what it needs beside it, in a folder that every user may read.
struct Suite {
    folder: TempDir,
    program: PathBuf,
    /// The package's folder.
    work: PathBuf,
}

impl Suite {
    /// Builds the tests of a package, whose folder they may write into where it `writes`.
    fn build(package: &str, writes: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("podgate-peers-").tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("its mode");
        let program = folder.path().join("suite");
        let mut suite = Self { program, folder, work: PathBuf::new() };
        suite.go(&["test", "-c", "-o", &suite.program.display().to_string(), package]);
        suite.go(&["build", "-o", &suite.path("peers"), "."]);
        // Tests run in their package's folder and may write there; another user may not even read the module cache.
        let places = suite.go(&["list", "-f", "{{.Module.Dir}}\n{{.Module.Path}}\n{{.Dir}}", package]);
        let [from, module, package] = places.lines().collect::<Vec<_>>()[..] else { panic!("{places}") };
        let copy = suite.folder.path().join(module.rsplit('/').next().expect("a name"));
        suite.work = copy.join(package[from.len()..].trim_start_matches('/'));
        let copying: &[&str] = &["cp", "-r", "--no-preserve=mode", from];
        let opening: &[&str] = &["chmod", "-R", "a+rwX"];
        for words in [copying, opening].iter().take(1 + usize::from(writes)) {
            assert!(Command::new(words[0]).args(&words[1..]).arg(&copy).status().expect("a copy").success());
        }
        suite
    }

    fn go(&self, arguments: &[&str]) -> String {
        let done = Command::new("go").args(arguments).current_dir(MODULE).output().expect("go");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn script(&self, name: &str, line: &str) {
        write_script(&self.folder.path().join(name), line);
    }

    /// Runs it, and compares what failed with the list of a file. `ordinary` is for a suite that root cannot run.
    async fn run(&self, arguments: &[&str], ordinary: bool, list: &str) {
        let mut command = if ordinary && is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        let path = std::env::var("PATH").expect("PATH");
        command.args(["-test.v", LIMIT]).args(arguments).current_dir(&self.work);
        command.env("PATH", format!("{}:{path}", self.folder.path().display()));
        command.env("HOME", self.folder.path()).env("TMPDIR", self.folder.path());
        compare(command, results, list).await;
    }
}

/// Writes a program for the shell.
fn write_script(file: &Path, line: &str) {
    fs::write(file, format!("#!/bin/sh\n{line}\n")).expect("a program");
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// Runs a suite, reads its results, and compares them with the list of a file.
async fn compare(mut suite: Command, read: fn(&str) -> Results, list: &str) {
    let done = tokio::task::spawn_blocking(move || suite.output()).await.expect("its thread").expect("the suite");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let wrong = judge(&read(&said), &fs::read_to_string(Path::new(MODULE).join(list)).expect("the list"));
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(wrong.is_empty(), "{}\n{said}\n{stderr}", wrong.join("\n"));
}

/// Every test's end: whether it passed; none for one that was passed by.
type Results = BTreeMap<String, Option<bool>>;

fn is_root() -> bool {
    Command::new("id").arg("-u").output().expect("id").stdout == b"0\n"
}

/// The results that Go's tests print. A test that was done anew (`#update`) counts as it
/// was then, and one with parts only where it failed and none of its parts did.
fn results(said: &str) -> Results {
    let end = |line: &str| {
        let (word, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
        let name = rest.split_whitespace().next()?.to_owned();
        match word {
            "PASS" => Some((name, Some(true))),
            "FAIL" => Some((name, Some(false))),
            "SKIP" => Some((name, None)),
            _ => None,
        }
    };
    let all: Results = said.lines().filter_map(end).collect();
    let failed_in_part = |name: &str| all.iter().any(|(part, passed)| is_part(part, name) && *passed == Some(false));
    let mut results = all.clone();
    results.retain(|name, _| !name.ends_with("#update") && !failed_in_part(name));
    for (name, passed) in &all {
        if let Some(first) = name.strip_suffix("#update") {
            results.insert(first.to_owned(), *passed);
        }
    }
    results
}

/// The differences from the list. A line of the list is a test's name, white space, and the reason.
fn judge(results: &Results, list: &str) -> Vec<String> {
    let lines = list.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let expected: BTreeMap<&str, &str> =
        lines.map(|line| line.split_once(char::is_whitespace).expect("a name and a reason")).collect();
    let mut wrong: Vec<String> = Vec::new();
    if !results.values().any(|passed| *passed == Some(true)) {
        wrong.push("no test passes".to_owned());
    }
    for (name, passed) in results {
        if *passed == Some(false) && !expected.contains_key(name.as_str()) {
            wrong.push(format!("{name} fails, and is not on the list"));
        }
    }
    for name in expected.keys() {
        match results.get(*name) {
            Some(Some(false)) => {}
            Some(Some(true)) => wrong.push(format!("{name} passes: take it off the list")),
            Some(None) | None => wrong.push(format!("{name} is on the list, and did not run")),
        }
    }
    wrong
}

fn is_part(name: &str, of: &str) -> bool {
    name.strip_prefix(of).is_some_and(|rest| rest.starts_with('/'))
}

#[test]
fn suite_is_judged_by_its_list_in_both_directions() {
    let said = "=== RUN TestA\n--- PASS: TestA (0.00s)\n--- FAIL: TestB (0.01s)\n    --- FAIL: TestB/one (0.00s)\n\
                \x20   --- PASS: TestB/two (0.00s)\n--- SKIP: TestC (0.00s)\n";
    let wrong = |list: &str| judge(&results(said), list);
    assert_eq!(wrong("TestB/one why\n"), Vec::<String>::new());
    assert_eq!(wrong("# known\n\nTestB/one why\n"), Vec::<String>::new());
    assert_eq!(wrong(""), ["TestB/one fails, and is not on the list"]);
    assert_eq!(wrong("TestB/one why\nTestA why\n"), ["TestA passes: take it off the list"]);
    assert_eq!(wrong("TestB/one why\nTestC why\n"), ["TestC is on the list, and did not run"]);
    let anew = "--- FAIL: TestD (0s)\n    --- FAIL: TestD/one (0s)\n    --- PASS: TestD/one#update (0s)\n";
    assert_eq!(judge(&results(anew), ""), Vec::<String>::new());
    let again = said.to_owned() + &anew.replace("PASS", "FAIL");
    assert_eq!(judge(&results(&again), "TestB/one why\n"), ["TestD/one fails, and is not on the list"]);
    assert_eq!(judge(&results("panic: no\n"), ""), ["no test passes"]);
}

/// Users with one of the keys are let in, and nobody has settings.
fn keys_alone(keys: &str, asked: &WebhookRequest) -> Reply {
    let known = || asked.body["publicKey"].as_str().is_some_and(|key| keys.lines().any(|line| line == key.trim()));
    match asked.path.as_str() {
        "/config" => empty_config(),
        "/pubkey" if known() => success(),
        _ => Reply::Json(json!({"success": false})),
    }
}

#[podgate_test::multi_thread]
#[ignore = "needs Go and its module proxy"]
async fn suite_of_x_crypto_ssh_fails_nowhere_but_where_it_is_expected() {
    if !cluster::on_development("a suite runs against one kind of cluster") {
        return;
    }
    let suite = Suite::build("golang.org/x/crypto/ssh/test", true);
    let written = Command::new(suite.path("peers")).arg("keys").arg(suite.folder.path()).status().expect("peers");
    assert!(written.success());
    let keys = fs::read_to_string(suite.path("users")).expect("the users' keys");
    let script = ScriptedWebhook::start(move |asked| keys_alone(&keys, asked)).await;
    let mut setup = Setup::config(script.config());
    // All there are: the suite tries each alone.
    let (gcm, ctr) = (["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"], ["aes128-ctr", "aes192-ctr", "aes256-ctr"]);
    let ciphers = [&gcm[..], &ctr, &["chacha20-poly1305@openssh.com"]].concat();
    let keys = [suite.path("rsa"), suite.path("ecdsa")];
    setup.config["ssh"] = json!({"hostkeys": keys, "ciphers": ciphers, "banner": "Server Banner"});
    let world = setup.start().await;
    suite.script("sshd", &format!("exec {} sshd {} \"$@\"", suite.path("peers"), world.gateway.address));
    // Most tests replay what sshd once said; without that, -update has them done anew. The skipped ones put OpenSSH's client
    // before a server of their own.
    for file in fs::read_dir(suite.work.join("../testdata")).expect("the recordings") {
        let file = file.expect("a file").path();
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("Client-")) {
            fs::remove_file(file).expect("a recording");
        }
    }
    suite.run(&["-update", "-test.skip=^TestServer|^TestSSHCLI"], true, "crypto.txt").await;
}

#[podgate_test::multi_thread]
#[ignore = "needs Go and its module proxy"]
async fn suite_of_pkg_sftp_fails_nowhere_but_where_it_is_expected() {
    if !cluster::on_development("client and guest must see the same files") {
        return;
    }
    let suite = Suite::build("github.com/pkg/sftp", false);
    let world = World::start().await;
    let (key, known, port) = (world.key.file.display(), world.known_hosts(), world.port());
    let known = known.display();
    let client = format!("ssh -F /dev/null -T -i {key} -o UserKnownHostsFile={known} -p {port} alice@127.0.0.1");
    // The suite gives the server words of its own, such as one that makes it read alone, and expects it in its own folder.
    suite.script("sftp-server-behind-podgate", &format!("exec {client} {SFTP_SERVER} -d \"$PWD\" \"$@\""));
    let server = format!("-sftp={}", suite.path("sftp-server-behind-podgate"));
    suite.run(&["-integration", &server], false, "sftp.txt").await;
}

/// The results in the summary of pytest. What was skipped has no name there.
fn results_of_pytest(said: &str) -> Results {
    let end = |line: &str| {
        let (word, rest) = line.split_once(' ')?;
        let name = rest.split_whitespace().next()?.to_owned();
        match word {
            "PASSED" => Some((name, Some(true))),
            "FAILED" | "ERROR" => Some((name, Some(false))),
            _ => None,
        }
    };
    said.lines().filter_map(end).collect()
}

#[test]
fn summary_of_pytest_is_read() {
    let said = "PASSED tests/a.py::A::one\nFAILED tests/a.py::A::two - why\nERROR tests/a.py::A::three - why\n\
                SKIPPED [1] tests/a.py:7: why\n1 failed, 1 passed\n";
    let wrong = judge(&results_of_pytest(said), "tests/a.py::A::two why\n");
    assert_eq!(wrong, ["tests/a.py::A::three fails, and is not on the list"]);
}

#[podgate_test::multi_thread]
#[ignore = "needs paramiko and its tests, in the folder that PODGATE_TEST_PARAMIKO names"]
async fn suite_of_paramiko_s_sftp_fails_nowhere_but_where_it_is_expected() {
    if !cluster::on_development("client and guest must see the same files") {
        return;
    }
    let paramiko = PathBuf::from(std::env::var_os("PODGATE_TEST_PARAMIKO").expect("PODGATE_TEST_PARAMIKO"));
    let source = paramiko.join("source");
    // The suite expects the server in its own folder.
    let server = paramiko.join("sftp-server");
    write_script(&server, &format!("exec {SFTP_SERVER} -d {}", source.display()));
    let subsystems = json!({"kubernetes": {"pod": {"subsystems": {"sftp": server}}}});
    let world = Setup::config(subsystems).start().await;
    let mut suite = Command::new(paramiko.join("python/bin/python"));
    // The plugin is beside the lists, and the tests beside their data.
    suite.args(["-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-p", "podgate_peer"]);
    suite.args(["--show-capture=no", "tests/test_sftp.py", "tests/test_sftp_big.py"]);
    suite.current_dir(&source).env("PYTHONPATH", MODULE).env("PYTHONDONTWRITEBYTECODE", "1");
    suite.env("PODGATE_ADDRESS", world.gateway.address.to_string()).env("PODGATE_KEY", &world.key.file);
    compare(suite, results_of_pytest, "paramiko.txt").await;
}
