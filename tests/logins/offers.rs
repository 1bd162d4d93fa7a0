//! Offers of keys that the gateway refuses by itself, though a webhook that compares bytes, or a list of revoked keys, would not
//! know the key in them.

use super::{ScriptedWebhook, Setup, World, accept_all, json};
use crate::support::gateway::Gateway;
use crate::support::minimal_client::{connect, text};
use crate::support::raw_client::{Server, State, connect_to, userauth};
use data_encoding::BASE64;
use std::fs;

const BANNER: u8 = 53;
const REFUSED: u8 = 51;
const USABLE: u8 = 60;

/// The bytes of a public key.
fn blob(line: &str) -> Vec<u8> {
    BASE64.decode(line.split(' ').nth(1).expect("a key").as_bytes()).expect("base64")
}

/// Makes a P-256 key. Returns its line, and its bytes with a compressed point.
fn p256(world: &World) -> (String, Vec<u8>) {
    let file = world.folder().join("p256");
    let mut keygen = std::process::Command::new("ssh-keygen");
    keygen.args(["-q", "-N", "", "-t", "ecdsa", "-b", "256", "-f"]).arg(&file);
    assert!(keygen.status().expect("ssh-keygen").success());
    let line = fs::read_to_string(file.with_extension("pub")).expect("the public key");
    let key = blob(&line);
    let (head, point) = key.split_at(key.len() - 65);
    let compressed = [&[2 | (point[64] & 1)], &point[1..33]].concat();
    let bytes = [&head[..head.len() - 4], &text(&compressed)].concat();
    (line, bytes)
}

#[podgate_test::multi_thread]
async fn key_that_is_revoked_between_its_offer_and_its_proof_does_not_log_in() {
    let script = ScriptedWebhook::start(accept_all).await;
    let mut config = script.config();
    let folder = tempfile::tempdir().expect("a folder");
    let revoked = folder.path().join("revoked");
    fs::write(&revoked, "# nobody yet\n").expect("the list");
    config["ssh"] = json!({"revokedKeys": revoked});
    let world = Setup::config(config).start().await;
    let server = Server::new(&world, world.gateway.address, "alice");
    let (mut writer, mut reader, connection) = connect_to(&server, State::Login).await;
    let key = connection.key();
    writer.send(&connection.offer("ssh-ed25519", &key)).await.expect("a packet");
    reader.expect(USABLE).await;
    let next = folder.path().join("next");
    fs::write(&next, &world.key.public).expect("the list");
    fs::rename(next, &revoked).expect("a rename");
    writer.send(&connection.proof("ssh-ed25519", &key, "ssh-ed25519")).await.expect("a packet");
    reader.expect(REFUSED).await;
    let line = world.gateway.wait_for_line("SSH_AUTH_FAILED").await;
    assert!(line["details"]["reason"].as_str().is_some_and(|told| told.contains("the key is revoked")), "{line}");
    assert!(line["details"]["fingerprint"].as_str().is_some_and(|told| told.starts_with("SHA256:")), "{line}");
}

#[podgate_test::multi_thread]
async fn missing_file_of_revoked_keys_penalises_nobody() {
    let script = ScriptedWebhook::start(accept_all).await;
    let mut config = script.config();
    let folder = tempfile::tempdir().expect("a folder");
    let revoked = folder.path().join("revoked");
    fs::write(&revoked, "").expect("the list");
    config["ssh"] = json!({"revokedKeys": revoked, "perSourcePenalties": "authfail:20m noauth:20m", "perSourcePenaltyExemptList": []});
    let world = Setup::config(config).start().await;
    fs::remove_file(&revoked).expect("the list");
    for _ in 0..2 {
        let told = world.ssh().run("true").await.expect(255).stderr;
        assert!(told.contains("no key can log in at present"), "{told}");
    }
    world.gateway.wait_for_line("SSH_REVOKED_KEYS_FAILED").await;
    assert!(script.requests().is_empty() && world.gateway.lines("SSH_PENALTY").is_empty());
    fs::write(&revoked, "").expect("the list");
    world.ssh().run("true").await.expect(0);
}

#[podgate_test::multi_thread]
async fn wrong_signatures_are_failures_though_the_library_refuses_them_by_itself() {
    let script = ScriptedWebhook::start(accept_all).await;
    let mut config = script.config();
    config["ssh"] = json!({"perSourcePenalties": "authfail:20m noauth:0", "perSourcePenaltyExemptList": []});
    let world = Setup::config(config).start().await;
    let server = Server::new(&world, world.gateway.address, "alice");
    let (mut writer, mut reader, connection) = connect_to(&server, State::Login).await;
    for _ in 0..3 {
        let mut proof = connection.proof("ssh-ed25519", &connection.key(), "ssh-ed25519");
        *proof.last_mut().expect("a byte") ^= 1;
        writer.send(&proof).await.expect("a packet");
        reader.expect(REFUSED).await;
    }
    drop((writer, reader));
    let line = world.gateway.wait_for_line("SSH_PENALTY").await;
    assert_eq!(line["details"]["reason"], "penalty: failed authentication");
    let line = world.gateway.wait_for_line("SSH_AUTH_FAILED").await;
    assert!(line["details"]["reason"].as_str().is_some_and(|told| told.contains("did not prove")), "{line}");
}

/// The number of the gateway's answer to an offer.
async fn answer(gateway: &Gateway, algorithm: &str, key: &[u8]) -> u8 {
    let (mut writer, mut reader, _) = connect(gateway.address).await;
    writer.send(&[&[5][..], &text(b"ssh-userauth")].concat()).await.expect("a packet");
    reader.expect(6).await;
    let offer = [&[0][..], &text(algorithm.as_bytes()), &text(key)].concat();
    writer.send(&userauth("alice", "ssh-connection", "publickey", &offer)).await.expect("a packet");
    loop {
        match reader.receive().await.expect("an answer")[0] {
            BANNER => {}
            number => return number,
        }
    }
}

#[podgate_test::multi_thread]
async fn revoked_key_with_a_compressed_point_is_refused_and_no_webhook_is_asked() {
    let script = ScriptedWebhook::start(accept_all).await;
    let world = Setup::config(script.config()).start().await;
    let (line, compressed) = p256(&world);
    assert_eq!(answer(&world.gateway, "ecdsa-sha2-nistp256", &compressed).await, REFUSED);
    assert!(script.requests().is_empty());
    assert_eq!(answer(&world.gateway, "ecdsa-sha2-nistp256", &blob(&line)).await, USABLE);
    let revoked = world.folder().join("revoked");
    fs::write(&revoked, &line).expect("the list");
    let gateway = world.gateway_with(json!({"ssh": {"revokedKeys": revoked}})).await;
    for key in [&compressed, &blob(&line)] {
        assert_eq!(answer(&gateway, "ecdsa-sha2-nistp256", key).await, REFUSED);
    }
}

#[podgate_test::multi_thread]
async fn certificate_under_the_name_of_its_key_is_refused_and_no_webhook_is_asked() {
    let script = ScriptedWebhook::start(accept_all).await;
    let world = Setup::config(script.config()).start().await;
    let mut keygen = std::process::Command::new("ssh-keygen");
    let file = world.folder().join("signed.pub");
    fs::write(&file, &world.key.public).expect("the public key");
    keygen.args(["-q", "-I", "alice", "-n", "alice", "-s"]).arg(&world.key.file).arg(&file);
    assert!(keygen.status().expect("ssh-keygen").success());
    let certificate = fs::read_to_string(world.folder().join("signed-cert.pub")).expect("the certificate");
    assert_eq!(answer(&world.gateway, "ssh-ed25519", &blob(&certificate)).await, REFUSED);
    assert!(script.requests().is_empty());
    assert_eq!(answer(&world.gateway, "ssh-ed25519", &blob(&world.key.public)).await, USABLE);
}
