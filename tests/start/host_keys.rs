//! The host keys that the gateway makes for itself.

use super::run;
use crate::support::World;
use crate::support::gateway::Gateway;
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The configuration of a gateway that makes its host keys in a directory.
fn config(world: &World, directory: &Path) -> PathBuf {
    world.config_file(json!({"ssh": {"hostkeys": null, "hostkeyDirectory": directory}}))
}

/// The fingerprints that a gateway names at its start.
async fn fingerprints(gateway: &Gateway) -> String {
    gateway.wait_for_line("SSH_AVAILABLE").await["details"]["hostKeys"].as_str().expect("fingerprints").to_owned()
}

#[podgate_test::multi_thread]
async fn host_keys_are_made_at_the_first_start_and_stay() {
    let world = World::start().await;
    let directory = world.folder().join("host-keys");
    let config = config(&world, &directory);
    // Two at once, as the replicas of a Deployment.
    let (first, second) = tokio::join!(Gateway::start(&config), Gateway::start(&config));
    let known = fingerprints(&first).await;
    assert_eq!(known, fingerprints(&second).await);
    assert_eq!(["ED25519", "RSA"].map(|kind| known.matches(&format!("({kind})")).count()), [1, 1], "{known}");
    let told: Vec<_> = [&first, &second].iter().flat_map(|gateway| gateway.lines("SSH_HOST_KEY_MADE")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for line in &told {
        assert!(known.contains(line["details"]["hostKey"].as_str().expect("a fingerprint")), "{line}");
    }
    for (file, algorithm) in [("ssh_host_ed25519_key", "ssh-ed25519"), ("ssh_host_rsa_key", "rsa-sha2-512")] {
        let public = fs::read_to_string(directory.join(format!("{file}.pub"))).expect("a public key");
        // The only key that this client knows and takes.
        fs::write(world.known_hosts(), format!("[127.0.0.1]:{} {public}", first.address.port())).expect("a file");
        let client = world.ssh_to(&first, "alice").option(&format!("HostKeyAlgorithms={algorithm}"));
        assert_eq!(client.run("echo in").await.expect(0).text(), "in\n", "{algorithm}");
    }
    let third = Gateway::start(&config).await;
    assert_eq!(known, fingerprints(&third).await);
    assert!(third.lines("SSH_HOST_KEY_MADE").is_empty());
}

#[podgate_test::multi_thread]
async fn host_key_that_others_can_read_is_refused_with_the_reason() {
    let world = World::start().await;
    let directory = world.folder().join("host-keys");
    let config = config(&world, &directory);
    let (status, stderr) = run(&config, &["--check-config"]).await;
    assert_eq!(status, Some(0), "{stderr}");
    assert!(!directory.exists(), "a check makes nothing");
    fs::create_dir(&directory).expect("a folder");
    let key = directory.join("ssh_host_ed25519_key");
    fs::copy(world.folder().join("host"), &key).expect("a key");
    for (mode, told) in [(0o640, "mode 0640"), (0o604, "mode 0604")] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).expect("a mode");
        for arguments in [&["--check-config"][..], &[]] {
            let (status, stderr) = run(&config, arguments).await;
            assert_eq!(status, Some(64), "{stderr}");
            let line =
                format!("ssh.hostkeyDirectory: the file {:?} can be used by others ({told})", key.to_string_lossy());
            assert!(stderr.contains(&line), "{stderr}");
        }
    }
    assert_eq!(fs::read_dir(&directory).expect("a folder").count(), 1, "no other key was made");
    let both = world.config_file(json!({"ssh": {"hostkeyDirectory": directory}}));
    let (status, stderr) = run(&both, &["--check-config"]).await;
    assert_eq!(status, Some(64));
    assert!(stderr.contains("ssh.hostkeyDirectory: stands beside ssh.hostkeys"), "{stderr}");
}
