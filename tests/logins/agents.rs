//! Agents that hold more keys than a server lets a client try: as OpenSSH's own server lets them in and refuses them.

use super::{Forger, Trusting};
use crate::support::client::Done;
use crate::support::keys::Key;
use crate::support::scripted_webhook::{ScriptedWebhook, accept_all};
use crate::support::ssh_agent::SshAgent;
use crate::support::sshd::Sshd;
use crate::support::{Setup, World, available};
use russh::client::{self, AuthResult, Config};
use russh::keys::PublicKey;
use std::sync::Arc;

/// An OpenSSH agent.
struct Agent(SshAgent);

impl Agent {
    /// Starts one that offers so many keys that nobody knows, and the world's key behind them.
    async fn start(world: &World, unknown: usize) -> Self {
        let agent = SshAgent::start(world.folder(), &format!("agent-{unknown}")).await;
        for number in 0..unknown {
            let name = format!("unknown-{unknown}-{number}");
            agent.add(&Key::make(world.folder(), &name).file).await;
        }
        agent.add(&world.key.file).await;
        Self(agent)
    }

    /// Logs in with nothing but what the agent holds.
    async fn log_in(&self, world: &World, user: &str, port: u16) -> Done {
        self.0.client(world, user, port).run("exit 7").await
    }
}

#[podgate_test::multi_thread]
async fn agent_with_six_keys_is_let_in_by_the_last_and_one_with_seven_is_not_as_by_sshd() {
    if !available("ssh-agent", "openssh-client") || !Sshd::available() {
        return;
    }
    let world = World::start().await;
    let sshd = Sshd::start(&world, "MaxAuthTries 6\n").await.expect("sshd");
    world.know(sshd.address.port());
    let seven = Agent::start(&world, 6).await;
    for (user, port) in [(&*sshd.user, sshd.address.port()), ("alice", world.port())] {
        let done = seven.log_in(&world, user, port).await.expect(255);
        assert!(done.stderr.contains("Too many authentication failures"), "{user}: {}", done.stderr);
        assert!(done.stderr.contains(&format!("port {port}:2: ")), "{user}: {}", done.stderr);
    }
    assert_eq!(world.gateway.wait_for_line("SSH_LIMIT").await["level"], "info");
    assert_eq!(world.cluster.requests("create", "pods"), 0);
    let six = Agent::start(&world, 5).await;
    for (user, port) in [(&*sshd.user, sshd.address.port()), ("alice", world.port())] {
        six.log_in(&world, user, port).await.expect(7);
    }
}

#[podgate_test::multi_thread]
async fn wrong_passwords_are_six_and_no_more() {
    let world = World::start().await;
    let done = world
        .ssh_as_person("alice")
        .env("PODGATE_TEST_PASSWORD", "wrong")
        .option("PreferredAuthentications=password")
        .option("NumberOfPasswordPrompts=9")
        .run("true")
        .await
        .expect(255);
    assert!(done.stderr.contains(":2: podgate: Too many authentication failures"), "{}", done.stderr);
    world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    assert_eq!(world.gateway.lines("SSH_AUTH_FAILED").len(), 6, "{}", world.gateway.log());
}

/// russh refuses them by itself, so its own count bounds them: one more than sshd's, as the first `none` counts there.
#[podgate_test::multi_thread]
async fn forged_signatures_end_the_connection() {
    let script = ScriptedWebhook::start(accept_all).await;
    let world = Setup::config(script.config()).start().await;
    let key = PublicKey::from_openssh(&world.key.public).expect("a key");
    let connected = client::connect(Arc::new(Config::default()), world.gateway.address, Trusting).await;
    let mut client = connected.expect("a connection");
    for _ in 0..12 {
        let outcome = client.authenticate_publickey_with("alice", key.clone(), None, &mut Forger).await;
        assert!(!matches!(outcome, Ok(AuthResult::Success)), "{outcome:?}");
    }
    world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    assert_eq!(script.requests_to("/pubkey").len(), 7);
    assert_eq!(script.requests().len(), 7, "{:?}", script.requests());
    assert_eq!(world.gateway.log().matches("SSH_AUTH_SUCCESSFUL").count(), 0);
}
