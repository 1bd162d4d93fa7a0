//! The verdicts of ssh-audit on what the gateway offers.

use crate::support::{World, available, leash};
use serde_json::json;

/// The algorithms with a warning, and its reason.
const WARNINGS: [(&str, &str); 4] = [
    // For clients without a post-quantum exchange.
    ("curve25519-sha256", "does not provide protection against post-quantum attacks"),
    ("curve25519-sha256@libssh.org", "does not provide protection against post-quantum attacks"),
    // Newer than ssh-audit 2.5 of Debian 12.
    ("mlkem768x25519-sha256", "unknown algorithm"),
    ("kex-strict-s-v00@openssh.com", "unknown algorithm"),
];

/// The failures and warnings, with the algorithm that each is about.
async fn verdicts(port: u16) -> (String, Vec<(String, String)>) {
    let mut audit = leash::program("ssh-audit");
    let output = audit.args(["-n", "-p", &port.to_string(), "127.0.0.1"]).output().await.expect("ssh-audit");
    let report = String::from_utf8(output.stdout).expect("text");
    let mut about = String::new();
    let mut found = Vec::new();
    for line in report.lines() {
        if let Some(name) = line.strip_prefix('(').and_then(|line| line.split_whitespace().nth(1)) {
            about = name.to_owned();
        }
        let verdict = ["[fail] ", "[warn] "].iter().find_map(|mark| line.split_once(mark));
        found.extend(verdict.map(|(_, reason)| (about.clone(), reason.trim().to_owned())));
        // What is about the connections as a whole, as of ssh-audit 3.
        assert!(!line.contains("throttling"), "{report}");
    }
    assert!(report.contains("(kex) mlkem768x25519-sha256") && report.contains("(key) ssh-ed25519"), "{report}");
    (report, found)
}

#[podgate_test::multi_thread]
async fn ssh_audit_fails_nothing_and_warns_of_plain_curve25519_alone() {
    if !available("ssh-audit", "ssh-audit") {
        return;
    }
    let world = World::start().await;
    // With the keys that the gateway makes. In another order, the ciphers are offered to ssh-audit as well, which calls
    // itself OpenSSH.
    let directory = world.folder().join("host-keys");
    for ciphers in [
        json!(null),
        json!(["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr"]),
    ] {
        let ssh = json!({"hostkeys": null, "hostkeyDirectory": directory, "ciphers": ciphers});
        let gateway = crate::support::gateway::Gateway::start(&world.config_file(json!({"ssh": ssh}))).await;
        let (report, found) = verdicts(gateway.address.port()).await;
        for (name, reason) in &found {
            let is_known = WARNINGS.iter().any(|(known, why)| known == name && why == reason);
            assert!(is_known, "{name}: {reason}\n{report}");
        }
    }
    // The tool finds what is there to be found.
    let weak = json!({"ssh": {"kex": ["ecdh-sha2-nistp256", "mlkem768x25519-sha256"], "macs": ["hmac-sha2-256"]}});
    let gateway = world.gateway_with(weak).await;
    let (report, found) = verdicts(gateway.address.port()).await;
    assert!(found.iter().any(|(name, _)| name == "ecdh-sha2-nistp256"), "{report}");
}
