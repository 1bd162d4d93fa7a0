//! Logins that fail for a reason that is not the credential: the disconnect carries it, and real clients show it. Where one
//! hides it, docs/security.md says so.

use super::Trusting;
use crate::support::client::Client;
use crate::support::leash;
use crate::support::world::PASSWORD;
use crate::support::{Setup, World, available};
use russh::MethodKind;
use russh::client::{self, AuthResult, Config};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Python of the distribution, which has the distribution's libraries.
const PYTHON: &str = "/usr/bin/python3";

/// Credential that a client tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Key,
    Password,
}

/// A cause for which a login fails: the message, and the login name.
struct Failure {
    world: World,
    user: String,
    reason: &'static str,
    at: Step,
}

/// Step that a login fails at, which decides what the server can say: an offered key is answered with what makes
/// the client wait for the disconnect; a password and a proof are answered with a refusal before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Known before a credential comes.
    Name,
    /// Nobody can judge the credential.
    Credential,
    /// The credential is good, and nobody can say whether that is enough.
    Authorization,
}

/// A name that is none, a server that is not there, and one behind it that is not.
async fn failures() -> [Failure; 3] {
    failures_with(json!({})).await
}

/// The same with settings of `ssh`.
async fn failures_with(ssh: Value) -> [Failure; 3] {
    let gone = json!({"webhook": {"url": "http://127.0.0.1:1", "timeout": "300ms", "authTimeout": "900ms"}});
    let name = Failure {
        world: Setup::config(json!({"ssh": ssh})).start().await,
        user: "x".repeat(1025),
        reason: "podgate: the user name is longer than 1024 bytes",
        at: Step::Name,
    };
    let down = Failure {
        world: Setup::config(json!({"ssh": ssh, "auth": {"password": gone, "publicKey": gone}})).start().await,
        user: "alice".into(),
        reason: "podgate: the authentication server cannot be reached",
        at: Step::Credential,
    };
    let mut authz = gone;
    authz["method"] = "webhook".into();
    let unauthorized = Failure {
        world: Setup::config(json!({"ssh": ssh, "auth": {"authz": authz}})).start().await,
        user: "alice".into(),
        reason: "podgate: the authorization server cannot be reached",
        at: Step::Authorization,
    };
    [name, down, unauthorized]
}

impl Failure {
    /// True if a client that disconnects after a refusal, because it has no further method, shows the reason.
    fn outruns_refusal(&self, by: By) -> bool {
        match self.at {
            Step::Name => true,
            Step::Credential => by == By::Key,
            // A key that was right is answered as one half of a login.
            Step::Authorization => by == By::Key,
        }
    }

    /// Runs a client, which must not get in, and must show the reason.
    async fn shown(&self, what: &str, client: Client) {
        self.shown_or(what, client, self.reason).await;
    }

    /// Runs a client that may hide the reason, and then says something else.
    async fn shown_or(&self, what: &str, client: Client, instead: &str) {
        let done = client.finish().await;
        assert!(done.status != 0, "{what}: {done:?}");
        let said = format!("{}{}", done.text(), done.stderr);
        let told = said.contains(self.reason) || said.contains(instead);
        assert!(told, "{what}: {:?} is not in {said:?}, nor is {instead:?}", self.reason);
        assert_eq!(self.world.cluster.requests("create", "pods"), 0, "{what}");
    }

    /// Runs a program that takes `PORT USER key|password SECRET`.
    async fn shown_by(&self, program: &[&str], by: By) {
        self.shown(&format!("{program:?} by {by:?}"), self.program(program, by)).await;
    }

    fn program(&self, program: &[&str], by: By) -> Client {
        let (how, secret) = match by {
            By::Key => ("key", self.world.key.file.display().to_string()),
            By::Password => ("password", PASSWORD.to_owned()),
        };
        let mut command = leash::program(program[0]);
        command.args(&program[1..]).arg(self.world.port().to_string()).args([&*self.user, how, &secret]);
        Client::of(command)
    }
}

#[podgate_test::multi_thread]
async fn openssh_shows_why_a_login_failed_with_and_without_batch_mode() {
    for failure in failures().await {
        let Failure { world, user, .. } = &failure;
        let ssh = |client: Client| client.arg("127.0.0.1").arg("true");
        let instead = "Permission denied (publickey,password).";
        let instead = if failure.outruns_refusal(By::Key) { failure.reason } else { instead };
        failure.shown_or("a key in batch mode", ssh(world.ssh_as(user)), instead).await;
        failure.shown("a person with a key", ssh(world.ssh_as_person(user))).await;
        let by_password = world.ssh_as_person(user).option("PreferredAuthentications=password");
        failure.shown("a person with a password", ssh(by_password)).await;
    }
}

/// Whoever types slowly is told all the same: the server has long hung up by then.
#[podgate_test::multi_thread]
async fn openssh_shows_why_a_login_failed_to_a_slow_typist() {
    let [_, down, _] = failures().await;
    let askpass = down.world.folder().join("slow");
    std::fs::write(&askpass, "#!/bin/sh\nsleep 3\necho x\n").expect("askpass");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&askpass, mode).expect("askpass");
    let client = down.world.ssh_as_person("alice").option("PreferredAuthentications=password");
    let client = client.env("SSH_ASKPASS", &askpass.to_string_lossy()).arg("127.0.0.1").arg("true");
    down.shown("a slow typist", client).await;
}

#[podgate_test::multi_thread]
async fn plink_shows_why_a_login_failed() {
    if !available("plink", "putty-tools") || !available("puttygen", "putty-tools") {
        return;
    }
    for failure in failures().await {
        let world = &failure.world;
        let key = ppk(world).await;
        let host_key = fingerprint(world).await;
        for by in [By::Key, By::Password] {
            let mut command = leash::program("plink");
            // It keeps files in its home.
            command.env("HOME", world.folder()).args(["-batch", "-ssh", "-P", &world.port().to_string()]);
            command.args(["-hostkey", &host_key, "-l", &failure.user]);
            match by {
                By::Key => command.arg("-i").arg(&key),
                By::Password => command.args(["-pw", PASSWORD]),
            };
            command.args(["127.0.0.1", "true"]);
            let instead = match by {
                _ if failure.outruns_refusal(by) => failure.reason,
                By::Key => "No supported authentication methods available",
                By::Password => "Configured password was not accepted",
            };
            failure.shown_or(&format!("plink by {by:?}"), Client::of(command), instead).await;
        }
    }
}

/// The world's key as PuTTY has keys.
async fn ppk(world: &World) -> PathBuf {
    let file = world.folder().join("id.ppk");
    let mut puttygen = leash::program("puttygen");
    puttygen.arg(&world.key.file).arg("-o").arg(&file).args(["-O", "private"]);
    Client::of(puttygen).finish().await.expect(0);
    file
}

/// The host key's fingerprint.
async fn fingerprint(world: &World) -> String {
    let mut keygen = leash::program("ssh-keygen");
    keygen.arg("-lf").arg(world.folder().join("host"));
    let done = Client::of(keygen).finish().await.expect(0);
    done.text().split(' ').nth(1).expect("a fingerprint").to_owned()
}

/// Python's libraries of the distribution; false where one is missing and need not be there.
async fn python_has(library: &str, package: &str) -> bool {
    if !available(PYTHON, "python3") {
        return false;
    }
    let mut python = leash::program(PYTHON);
    python.args(["-W", "ignore", "-c", &format!("import {library}")]);
    found(Client::of(python).finish().await.status == 0, library, package)
}

/// The same of a part of a program as [`available`] of the program.
fn found(found: bool, part: &str, package: &str) -> bool {
    assert!(found || std::env::var_os("PODGATE_TEST_ALL").is_none(), "{part} is missing: install {package}");
    if !found {
        eprintln!("skipped: {part} is missing; install {package}");
    }
    found
}

fn client_file(name: &str) -> String {
    format!("{}/tests/logins/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[podgate_test::multi_thread]
async fn asyncssh_shows_why_a_login_failed() {
    if !python_has("asyncssh", "python3-asyncssh").await {
        return;
    }
    for failure in failures().await {
        for by in [By::Key, By::Password] {
            failure.shown_by(&[PYTHON, &client_file("asyncssh.py")], by).await;
        }
    }
}

#[podgate_test::multi_thread]
async fn paramiko_logs_why_a_login_failed() {
    if !python_has("paramiko", "python3-paramiko").await {
        return;
    }
    for failure in failures().await {
        for by in [By::Key, By::Password] {
            failure.shown_by(&[PYTHON, &client_file("paramiko.py")], by).await;
        }
    }
}

#[podgate_test::multi_thread]
async fn curl_is_refused_and_shows_no_reason() {
    if !available("curl", "curl") {
        return;
    }
    let mut curl = leash::program("curl");
    curl.arg("-V");
    let version = Client::of(curl).finish().await.expect(0).text();
    if !found(version.contains(" sftp"), "curl's SFTP", "curl") {
        return;
    }
    // libssh2 before 1.11 has no MAC that is computed behind the encryption.
    for failure in failures_with(json!({"macs": ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256"]})).await {
        let world = &failure.world;
        std::fs::write(world.folder().join("id.pub"), &world.key.public).expect("the public key");
        for by in [By::Key, By::Password] {
            let mut curl = leash::program("curl");
            curl.args(["-sS", "-k", "--max-time", "60"]);
            match by {
                By::Key => curl.arg("-u").arg(format!("{}:", failure.user)).arg("--key").arg(&world.key.file),
                By::Password => curl.arg("-u").arg(format!("{}:{PASSWORD}", failure.user)),
            };
            curl.arg(format!("sftp://127.0.0.1:{}/", world.port()));
            failure.shown_or(&format!("curl by {by:?}"), Client::of(curl), "Authentication failure").await;
        }
    }
}

#[podgate_test::multi_thread]
#[ignore = "needs the program of clients/go, which PODGATE_TEST_GO_CLIENT names"]
async fn go_shows_why_a_login_failed() {
    let program = std::env::var("PODGATE_TEST_GO_CLIENT").expect("PODGATE_TEST_GO_CLIENT");
    for failure in failures().await {
        for by in [By::Key, By::Password] {
            let instead = if failure.outruns_refusal(by) { failure.reason } else { "ssh: unable to authenticate" };
            failure.shown_or(&format!("Go by {by:?}"), failure.program(&[&program], by), instead).await;
        }
    }
}

#[podgate_test::multi_thread]
#[ignore = "needs clients/node installed, whose login.js PODGATE_TEST_NODE_CLIENT names"]
async fn node_shows_why_a_login_failed() {
    let script = std::env::var("PODGATE_TEST_NODE_CLIENT").expect("PODGATE_TEST_NODE_CLIENT");
    for failure in failures().await {
        for by in [By::Key, By::Password] {
            failure.shown_by(&["node", &script], by).await;
        }
    }
}

#[podgate_test::multi_thread]
async fn refusal_names_the_configured_methods_alone_whatever_its_reason() {
    for failure in failures().await {
        let connected = client::connect(Arc::new(Config::default()), failure.world.gateway.address, Trusting).await;
        let mut client = connected.expect("a connection");
        let mut answers = vec![client.authenticate_none(&*failure.user).await];
        if failure.at != Step::Name {
            answers.push(client.authenticate_password(&*failure.user, PASSWORD).await);
        }
        for answer in answers {
            let answer = answer.expect("an answer");
            let AuthResult::Failure { remaining_methods, partial_success } = answer else { panic!("{answer:?}") };
            assert!(!partial_success);
            assert_eq!(remaining_methods[..], [MethodKind::PublicKey, MethodKind::Password]);
        }
    }
}
