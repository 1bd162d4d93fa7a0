//! Offers of keys that the gateway refuses by itself, though a webhook that compares bytes, or a list of revoked keys, would not
//! know the key in them.

use super::{ScriptedWebhook, Setup, World, accept_all, json};
use crate::support::gateway::Gateway;
use crate::support::minimal_client::{connect, text};
use crate::support::raw_client::userauth;
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
