//! The README's "Real use": its commands, run as they stand there in a copy of the repository, and what they print. On a real
//! cluster only two things are arranged. The programs are those of this test run in place of a second build; and `ssh`, which
//! takes its home from the user database whatever `HOME` is, gets the home's key and known hosts by a wrapper. On a
//! development cluster, ports are the system's choice as well, and what needs service accounts is left out.

use super::{README, fenced};
use crate::support::cluster::{kubeconfig, soon};
use crate::support::cluster_lock::ClusterLock;
use crate::support::leash;
use crate::support::{agent, available, client::Done};
use podgate_devcluster::{DevCluster, Options};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Limit of the commands that a new user needs.
const MOST: usize = 12;
const BUILD: &str = "cargo build --release --locked ";
const BUILD_AGENT: &str =
    "RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile agent --locked -p podgate-agent ";
const WEBHOOKS: &str = "target/release/podgate-webhooks --config users.yaml";
const GATEWAY: &str = "target/release/podgate --config podgate.yaml";
/// The page's addresses.
const HOOKS_ADDRESS: &str = "127.0.0.1:8080";
const GATEWAY_ADDRESS: &str = "127.0.0.1:2222";
/// Limit for one command: pods start slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Limit for the build, where it is run.
const BUILD_PATIENCE: Duration = Duration::from_secs(3600);

/// A command of the page.
#[derive(Debug)]
struct Step {
    command: String,
    /// Output that the page shows for it.
    printed: Option<String>,
}

/// The commands of "Real use" in their order.
fn steps() -> Vec<Step> {
    let (_, section) = README.split_once("\n## Real use\n").expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let mut steps: Vec<Step> = Vec::new();
    for (language, text) in fenced(section) {
        match language.as_str() {
            "sh" => {
                steps.extend(commands(&text).into_iter().map(|command| Step { command, printed: None }));
            }
            "text" => steps.last_mut().expect("a command before its output").printed = Some(text),
            other => panic!("{other}: a reader of this section copies commands alone"),
        }
    }
    steps
}

/// The commands of a block: a line each, or a line with the here-document that it begins.
fn commands(block: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = block.lines();
    while let Some(line) = lines.next() {
        let mut command = line.to_owned();
        if line.contains("<<") {
            for line in lines.by_ref() {
                command = format!("{command}\n{line}");
                if line == "END" {
                    break;
                }
            }
        }
        found.push(command);
    }
    found
}

/// The files that the section's reader makes, by name.
pub(super) fn files() -> BTreeMap<String, String> {
    let file = |step: Step| {
        let (first, rest) = step.command.split_once('\n')?;
        let name = first.strip_prefix("cat > ")?.split(' ').next()?.to_owned();
        Some((name, rest.strip_suffix("END")?.to_owned()))
    };
    steps().into_iter().filter_map(file).collect()
}

/// The cluster that the reader has.
enum Reader {
    Real { kubeconfig: PathBuf, _turn: ClusterLock },
    Development(DevCluster),
}

/// A copy of the repository, a home, and what was started there. Everything ends with it.
struct Desk {
    reader: Reader,
    folder: TempDir,
    /// True if the page's build is run, rather than replaced by the programs of this test run.
    builds: bool,
    /// Replacement of a text of the page.
    put: Vec<(&'static str, String)>,
    servers: Vec<Server>,
}

/// A program that runs until the end.
struct Server {
    child: Child,
    _drain: JoinHandle<()>,
}

impl Desk {
    async fn new(builds: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("podgate-readme-").tempdir().expect("a folder");
        let (reader, put) = match kubeconfig() {
            Some(kubeconfig) => (Reader::Real { kubeconfig, _turn: ClusterLock::wait(false).await }, Vec::new()),
            None => {
                let options = Options { namespaces: vec!["podgate-guests".into()], ..Options::default() };
                let anywhere = || "127.0.0.1:0".to_owned();
                let put = vec![(HOOKS_ADDRESS, anywhere()), (GATEWAY_ADDRESS, anywhere())];
                (Reader::Development(DevCluster::start(options).expect("a development cluster")), put)
            }
        };
        let desk = Self { reader, folder, builds, put, servers: Vec::new() };
        desk.furnish();
        // An earlier run of this test may have left the page's namespaces.
        desk.remove_namespaces().await;
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes the home, with a key and the administrator's kubeconfig, and the copy of the repository.
    fn furnish(&self) {
        for folder in ["home/.ssh", "home/.kube", "bin", "podgate"] {
            fs::create_dir_all(self.path(folder)).expect("a folder");
        }
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "alice's laptop", "-f"])
            .arg(self.path("home/.ssh/id_ed25519"))
            .status();
        assert!(made.expect("ssh-keygen").success());
        if let Reader::Real { kubeconfig, .. } = &self.reader {
            fs::copy(kubeconfig, self.path("home/.kube/config")).expect("the kubeconfig");
        }
        let home = self.path("home/.ssh").display().to_string();
        let config = format!(
            "IdentityFile {home}/id_ed25519\nIdentityAgent none\nUserKnownHostsFile {home}/known_hosts\nLogLevel ERROR\n"
        );
        fs::write(self.path("home/.ssh/config"), config).expect("a file");
        self.program("ssh", "exec \"$PODGATE_TEST_SSH\" -F \"$HOME/.ssh/config\" \"$@\"");
        // The host's key is shown, and the reader says yes.
        self.program("yes", "echo yes");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for entry in fs::read_dir(root).expect("the repository") {
            let entry = entry.expect("an entry");
            if !["target", ".git"].iter().any(|left| entry.file_name() == *left) {
                copy(&entry.path(), &self.path("podgate").join(entry.file_name()));
            }
        }
    }

    fn program(&self, name: &str, line: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a program");
    }

    /// A command of the page for the shell.
    fn shell(&self, command: &str) -> Command {
        let mut sh = leash::program("sh");
        sh.arg("-c").arg(command).current_dir(self.path("podgate")).kill_on_drop(true).stdin(Stdio::null());
        let path = std::env::var("PATH").expect("PATH");
        sh.env("PATH", format!("{}:{path}", self.path("bin").display())).env("PODGATE_TEST_SSH", found("ssh", &path));
        if let Some(home) = std::env::var_os("HOME") {
            for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
                sh.env(name, std::env::var_os(name).unwrap_or_else(|| Path::new(&home).join(folder).into()));
            }
        }
        sh.env("HOME", self.path("home")).env("SSH_ASKPASS", self.path("bin/yes")).env("SSH_ASKPASS_REQUIRE", "force");
        for name in ["KUBECONFIG", "SSH_AUTH_SOCK", "DISPLAY", "CARGO_TARGET_DIR"] {
            sh.env_remove(name);
        }
        sh
    }

    async fn run(&self, command: &str) -> Done {
        let builds = command.starts_with(BUILD) || command.starts_with(BUILD_AGENT);
        let patience = if builds { BUILD_PATIENCE } else { PATIENCE };
        let output = timeout(patience, self.shell(command).output()).await;
        Done::of(output.unwrap_or_else(|_| panic!("{command} does not end")).expect("a shell"))
    }

    /// Does a step; answers what a reader sees of one that ends by itself.
    async fn step(&mut self, step: &Step) -> Option<Done> {
        let mut command = step.command.clone();
        for (page, here) in &self.put {
            command = command.replace(page, here);
        }
        if command.starts_with(BUILD) && !self.builds {
            for name in ["podgate", "podgate-webhooks"] {
                assert!(format!("{command} ").contains(&format!(" -p {name} ")), "{command}");
                self.put_program(&Path::new(env!("CARGO_BIN_EXE_podgate")).with_file_name(name));
            }
            return None;
        }
        if command.starts_with(BUILD_AGENT) && !self.builds {
            let built = std::env::var_os("PODGATE_STATIC_AGENT").map_or_else(agent::path, PathBuf::from);
            self.put_program(&built);
            return None;
        }
        if let Reader::Development(cluster) = &self.reader {
            if command.starts_with("kubectl ") {
                return None;
            }
            if command.starts_with("deploy/kubeconfig ") {
                fs::write(self.path("podgate/kubeconfig.yaml"), cluster.kubeconfig()).expect("a kubeconfig");
                return None;
            }
            if let (Some(rest), Some((_, port))) =
                (command.strip_prefix("ssh -p 2222 "), self.here(GATEWAY_ADDRESS).rsplit_once(':'))
            {
                command = format!("ssh -p {port} {rest}");
            }
        }
        if step.command.starts_with(WEBHOOKS) {
            self.serve(&command, HOOKS_ADDRESS).await;
            return None;
        }
        if step.command == GATEWAY {
            self.serve(&command, GATEWAY_ADDRESS).await;
            return None;
        }
        Some(self.run(&command).await)
    }

    fn here(&self, page: &'static str) -> &str {
        self.put.iter().find(|(known, _)| *known == page).map_or(page, |(_, here)| here)
    }

    /// Puts a program of this test run where the build would leave it. It is no link: the gateway looks for the agent
    /// beside its own file.
    fn put_program(&self, built: &Path) {
        let release = self.path("podgate/target/release");
        fs::create_dir_all(&release).expect("a folder");
        assert!(built.exists(), "{} is built by `cargo test --workspace`", built.display());
        leash::copy(built, &release.join(built.file_name().expect("a name")));
    }

    /// Starts a server and waits until it says where it listens.
    async fn serve(&mut self, command: &str, page: &'static str) {
        let mut sh = self.shell(&format!("exec {command} 2>&1"));
        let mut child = sh.stdout(Stdio::piped()).spawn().expect("a shell");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut said = String::new();
        let listens = async {
            while let Some(line) = lines.next_line().await.expect("a line") {
                said = format!("{said}{line}\n");
                if line.contains("listening") {
                    return Some(line);
                }
            }
            None
        };
        let line = timeout(soon() * 2, listens).await.ok().flatten();
        let line = line.unwrap_or_else(|| panic!("{command} does not listen: {said}"));
        if let Some((_, here)) = self.put.iter_mut().find(|(known, _)| *known == page) {
            let (_, port) = line.split_once("127.0.0.1:").expect("an address");
            let port: String = port.chars().take_while(char::is_ascii_digit).collect();
            *here = format!("127.0.0.1:{port}");
        }
        // A log that nobody reads would hold the server up.
        let drain = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.servers.push(Server { child, _drain: drain });
    }

    async fn remove_namespaces(&self) {
        if matches!(self.reader, Reader::Real { .. }) {
            let command = "kubectl delete namespace podgate podgate-guests --ignore-not-found --wait --timeout=100s";
            self.run(command).await.expect(0);
        }
    }

    /// Ends the servers, the gateway first, and takes the namespaces away.
    async fn leave(mut self) {
        for mut server in self.servers.drain(..).rev() {
            let id = server.child.id().expect("a server that still runs").to_string();
            let sent = std::process::Command::new("kill").arg(id).status();
            assert!(sent.expect("kill").success());
            let status = timeout(soon(), server.child.wait()).await.expect("an end in time").expect("its status");
            assert!(status.success(), "{status}");
        }
        self.remove_namespaces().await;
    }
}

/// Copies a file or a folder.
fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        return;
    }
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// Finds a program.
fn found(program: &str, path: &str) -> PathBuf {
    let mut folders = std::env::split_paths(path).map(|folder| folder.join(program));
    folders.find(|at| at.exists()).unwrap_or_else(|| panic!("{program} is missing"))
}

/// Runs the section to its end.
async fn follow(builds: bool) {
    let real = kubeconfig().is_some();
    if real && !available("kubectl", "kubectl") {
        return;
    }
    let steps = steps();
    assert!(steps.len() <= MOST, "{}: {steps:#?}", steps.len());
    let mut desk = Desk::new(builds).await;
    let (mut logins, mut denials) = (0, 0);
    for step in &steps {
        if real && step.command.starts_with("deploy/kubeconfig ") {
            namespaces_are_restricted(&desk).await;
        }
        let Some(done) = desk.step(step).await else { continue };
        let printed = format!("{}{}", done.text(), done.stderr);
        let denied = step.printed.as_ref().is_some_and(|printed| printed.starts_with("podgate: "));
        // Containers of a development cluster are processes of this machine, whatever their image.
        let elsewhere = !real && step.command.starts_with("ssh ") && !denied;
        if elsewhere {
            assert_ne!(done.status, 255, "{step:?}: {printed}");
        } else {
            assert_eq!(done.status, if denied { 255 } else { 0 }, "{step:?}: {printed}");
            if let Some(expected) = &step.printed {
                assert_eq!(&printed, expected, "{step:?}");
            }
        }
        logins += usize::from(step.command.starts_with("ssh ") && !denied);
        denials += usize::from(denied);
    }
    assert!(logins >= 2 && denials >= 1, "{logins} logins, {denials} denials");
    desk.leave().await;
}

async fn namespaces_are_restricted(desk: &Desk) {
    let level = r"kubectl get namespaces podgate podgate-guests -o jsonpath='{.items[*].metadata.labels.pod-security\.kubernetes\.io/enforce}'";
    assert_eq!(desk.run(level).await.expect(0).text(), "restricted restricted");
}

#[podgate_test::multi_thread]
async fn readme_leads_from_a_clone_to_a_login_and_a_denial() {
    follow(false).await;
}

#[podgate_test::multi_thread]
#[ignore = "builds everything anew, optimized"]
async fn readme_leads_there_with_its_own_build() {
    follow(true).await;
}

#[podgate_test::multi_thread]
async fn kubeconfig_for_a_cluster_without_the_account_is_not_written() {
    if !available("kubectl", "kubectl") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = DevCluster::start(Options::default()).expect("a development cluster");
    fs::write(folder.path().join("config"), cluster.kubeconfig()).expect("a kubeconfig");
    let mut command = leash::program(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubeconfig"));
    command.arg("kubeconfig.yaml").current_dir(folder.path()).env("KUBECONFIG", folder.path().join("config"));
    let done = Done::of(command.output().await.expect("the script"));
    assert!(done.status != 0 && done.stderr.contains("error: failed to create token"), "{done:?}");
    let left: Vec<_> =
        fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("a name").file_name()).collect();
    assert_eq!(left, ["config"]);
}

#[tokio::test]
async fn option_is_not_the_name_of_a_kubeconfig() {
    let folder = tempfile::tempdir().expect("a folder");
    for words in [&["--help"][..], &["-f", "24h"], &[], &["a", "b", "c"]] {
        let mut command = leash::program(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubeconfig"));
        let done = Done::of(command.args(words).current_dir(folder.path()).output().await.expect("the script"));
        assert!(done.status == 64 && done.stderr.starts_with("usage: "), "{words:?}: {done:?}");
    }
    assert!(fs::read_dir(folder.path()).expect("a folder").next().is_none());
}
