//! Algorithms as the file has them: who offers none of them is not let in, the log says what would, and that is so.

use super::Trusting;
use crate::support::client::Client;
use crate::support::leash;
use crate::support::{Setup, World};
use russh::client::{self, Config};
use russh::keys::{PrivateKeyWithHashAlg, load_secret_key};
use serde_json::{Value, json};
use std::sync::Arc;

/// A client that can do nothing else, and what the log says of it.
struct Narrow {
    /// The gateway's section `ssh`.
    ssh: Value,
    /// The client's options.
    options: &'static [&'static str],
    algorithm: &'static str,
    offered: &'static str,
    remedy: &'static str,
}

fn narrow(world: &World, options: &[&str]) -> Client {
    options.iter().fold(world.ssh(), |client, option| client.option(option))
}

/// `ssh.KEY: [a, b]` as a part of the configuration.
fn written(remedy: &str) -> Value {
    let (key, list) = remedy.split_once(": ").expect("a key");
    let names: Vec<&str> = list.trim_matches(['[', ']']).split(", ").collect();
    json!({key.strip_prefix("ssh.").expect("a key of ssh"): names})
}

#[podgate_test::multi_thread]
async fn failed_negotiation_is_one_line_whose_remedy_lets_the_client_in() {
    for case in [
        Narrow {
            ssh: json!({}),
            options: &["KexAlgorithms=ecdh-sha2-nistp384,ecdh-sha2-nistp256,diffie-hellman-group14-sha256"],
            algorithm: "key exchange",
            offered: "ecdh-sha2-nistp384,ecdh-sha2-nistp256,diffie-hellman-group14-sha256",
            remedy: "ssh.kex: [mlkem768x25519-sha256, curve25519-sha256, curve25519-sha256@libssh.org, \
                     ecdh-sha2-nistp384, ecdh-sha2-nistp256]",
        },
        Narrow {
            ssh: json!({"ciphers": ["aes256-gcm@openssh.com"]}),
            options: &["Ciphers=aes128-cbc,aes128-ctr"],
            algorithm: "cipher",
            offered: "aes128-cbc,aes128-ctr",
            remedy: "ssh.ciphers: [aes256-gcm@openssh.com, aes128-ctr]",
        },
        // OpenSSH is offered only AES-GCM of the default, which this list must not be.
        Narrow {
            ssh: json!({}),
            options: &["Ciphers=chacha20-poly1305@openssh.com,aes256-ctr"],
            algorithm: "cipher",
            offered: "chacha20-poly1305@openssh.com,aes256-ctr",
            remedy: "ssh.ciphers: [aes256-gcm@openssh.com, aes128-gcm@openssh.com, aes256-ctr, \
                     chacha20-poly1305@openssh.com]",
        },
        Narrow {
            ssh: json!({"ciphers": ["aes256-gcm@openssh.com", "aes256-ctr"]}),
            options: &["Ciphers=aes256-ctr", "MACs=hmac-sha1,hmac-sha2-512"],
            algorithm: "MAC",
            offered: "hmac-sha1,hmac-sha2-512",
            remedy: "ssh.macs: [hmac-sha2-256-etm@openssh.com, hmac-sha2-512-etm@openssh.com, hmac-sha2-512]",
        },
    ] {
        let world = Setup::config(json!({"ssh": case.ssh})).start().await;
        narrow(&world, case.options).run("true").await.expect(255);
        let line = world.gateway.wait_for_line("SSH_HANDSHAKE_FAILED").await;
        let details = &line["details"];
        assert_eq!((&line["level"], &details["algorithm"]), (&json!("info"), &json!(case.algorithm)), "{line}");
        assert_eq!((&details["offered"], &details["remedy"]), (&json!(case.offered), &json!(case.remedy)), "{line}");
        assert_eq!(world.gateway.lines("SSH_HANDSHAKE_FAILED").len(), 1);

        let mut mended = case.ssh;
        for (key, list) in written(case.remedy).as_object().expect("a key") {
            mended[key] = list.clone();
        }
        let world = Setup::config(json!({"ssh": mended})).start().await;
        narrow(&world, case.options).run("true").await.expect(0);
        // And everyone who was let in before still is.
        world.ssh().run("true").await.expect(0);
    }
}

#[podgate_test::multi_thread]
async fn openssh_negotiates_aes_gcm_and_gets_ctr_and_plain_macs_only_where_the_file_has_them() {
    let world = World::start().await;
    for options in [&["Ciphers=aes256-ctr"][..], &["Ciphers=chacha20-poly1305@openssh.com"]] {
        narrow(&world, options).run("true").await.expect(255);
    }
    // Versions before 10 name ChaCha20 and CTR first.
    let old = "Ciphers=chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com";
    for options in [&[][..], &[old]] {
        let told = narrow(&world, options).arg("-v").run("true").await.expect(0).stderr;
        let ciphers: Vec<&str> = told.lines().filter(|line| line.contains("cipher: ")).collect();
        assert!(ciphers.len() == 2 && ciphers.iter().all(|line| line.contains("-gcm@openssh.com")), "{told}");
    }
    let written = Setup::config(json!({"ssh": {"ciphers": ["aes256-gcm@openssh.com", "aes256-ctr"]}})).start().await;
    narrow(&written, &["Ciphers=aes256-ctr", "MACs=hmac-sha2-256"]).run("true").await.expect(255);
    narrow(&written, &["Ciphers=aes256-ctr"]).run("true").await.expect(0);
}

#[podgate_test::multi_thread]
async fn client_that_only_knows_broken_algorithms_is_told_to_the_operator_without_a_remedy() {
    let world = World::start().await;
    for (options, algorithm, remedy) in [
        (
            &["KexAlgorithms=diffie-hellman-group14-sha256"][..],
            "key exchange",
            "none here: ssh.kex can hold none of these",
        ),
        (&["Ciphers=aes128-cbc"], "cipher", "none here: ssh.ciphers can hold none of these"),
        (
            &["HostKeyAlgorithms=ecdsa-sha2-nistp256"],
            "host key",
            "ssh.hostkeys: one more key, of type ecdsa-sha2-nistp256",
        ),
    ] {
        narrow(&world, options).run("true").await.expect(255);
        let line = world.gateway.wait_for(|line| line["details"]["algorithm"] == algorithm).await;
        assert!(line["details"]["remedy"].as_str().is_some_and(|told| told.starts_with(remedy)), "{line}");
    }
}

#[podgate_test::multi_thread]
async fn file_that_containerssh_wrote_back_keeps_its_clients() {
    let kex = ["curve25519-sha256@libssh.org", "ecdh-sha2-nistp521", "ecdh-sha2-nistp384", "ecdh-sha2-nistp256"];
    let gcm = ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com"];
    let ciphers = [&["chacha20-poly1305@openssh.com"][..], &gcm, &["aes256-ctr", "aes192-ctr", "aes128-ctr"]].concat();
    let macs = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256"];
    let world = Setup::config(json!({"ssh": {"kex": kex, "ciphers": ciphers, "macs": macs}})).start().await;
    for (option, names) in [("KexAlgorithms", &kex[..]), ("Ciphers", &ciphers[..])] {
        for name in names {
            world.ssh().option(&format!("{option}={name}")).run("true").await.expect(0);
        }
    }
    for name in macs {
        world.ssh().option("Ciphers=aes128-ctr").option(&format!("MACs={name}")).run("true").await.expect(0);
    }
}

#[podgate_test::multi_thread]
async fn key_whose_signature_would_be_broken_is_refused_with_a_line_that_says_so() {
    let world = World::start().await;
    let file = world.folder().join("rsa");
    let mut keygen = leash::program("ssh-keygen");
    keygen.args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"]).arg(&file);
    Client::of(keygen).finish().await.expect(0);
    let key = Arc::new(load_secret_key(&file, None).expect("the key"));
    let connected = client::connect(Arc::new(Config::default()), world.gateway.address, Trusting).await;
    let mut client = connected.expect("a connection");
    // Without a hash it is ssh-rsa.
    let answer = client.authenticate_publickey("alice", PrivateKeyWithHashAlg::new(key, None)).await;
    assert!(!answer.expect("an answer").success());
    let line = world.gateway.wait_for_line("SSH_AUTH_FAILED").await;
    assert_eq!((&line["level"], &line["details"]["method"]), (&json!("info"), &json!("publickey")));
    assert!(line["details"]["reason"].as_str().is_some_and(|reason| reason.contains("ssh-rsa (SHA-1)")), "{line}");
}

#[podgate_test::multi_thread]
async fn key_of_an_algorithm_that_is_not_accepted_is_refused_with_the_reason() {
    let world = World::start().await;
    let without = world.gateway_with(json!({"ssh": {"pubkeyAcceptedAlgorithms": ["rsa-sha2-512"]}})).await;
    world.ssh_to(&without, "alice").run("true").await.expect(255);
    let line = without.wait_for_line("SSH_AUTH_FAILED").await;
    let reason = "the algorithm ssh-ed25519 is not in ssh.pubkeyAcceptedAlgorithms";
    assert_eq!((&line["level"], &line["details"]["reason"]), (&json!("info"), &json!(reason)), "{line}");
    let with = world.gateway_with(json!({"ssh": {"pubkeyAcceptedAlgorithms": ["ssh-ed25519"]}})).await;
    world.ssh_to(&with, "alice").run("true").await.expect(0);
}
