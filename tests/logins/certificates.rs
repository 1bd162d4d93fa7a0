//! User certificates of trusted authorities, made by ssh-keygen: which let in, what they permit, and the same certificates in
//! OpenSSH's own server. Denials first.

use crate::support::client::Client;
use crate::support::keys::Key;
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, accept_all};
use crate::support::sshd::Sshd;
use crate::support::{Setup, World, leash};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The answers of a policy that knows no key, but certificates.
fn certificates_alone(asked: &WebhookRequest) -> Reply {
    let is_certified = asked.body.get("certificate").is_some();
    if asked.path == "/pubkey" && !is_certified { Reply::Json(json!({"success": false})) } else { accept_all(asked) }
}

/// A folder with two authorities.
struct Authorities {
    folder: tempfile::TempDir,
    trusted: Key,
    other: Key,
}

impl Authorities {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("podgate-ca-").tempdir().expect("a folder");
        let (trusted, other) = (Key::make(folder.path(), "ca"), Key::make(folder.path(), "other-ca"));
        fs::write(folder.path().join("trusted"), format!("# ours\n\n{}\n", trusted.public)).expect("the authority");
        Self { folder, trusted, other }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a public key of `world` by `authority`, and returns the certificate's file.
    async fn sign_by(&self, authority: &Path, public: &str, arguments: &[&str]) -> PathBuf {
        let name = format!("user-{}", rand::random::<u64>());
        fs::write(self.path(&format!("{name}.pub")), public).expect("the public key");
        let mut keygen = leash::program("ssh-keygen");
        keygen.args(["-q", "-s"]).arg(authority).args(["-I", "alice@example.org"]).args(arguments);
        keygen.arg(self.path(&format!("{name}.pub")));
        Client::of(keygen).finish().await.expect(0);
        self.path(&format!("{name}-cert.pub"))
    }

    /// Signs the world's key by the trusted authority.
    async fn sign(&self, world: &World, arguments: &[&str]) -> PathBuf {
        self.sign_by(&self.trusted.file, &world.key.public, arguments).await
    }

    /// A world that trusts the first authority, with something merged into its configuration.
    async fn world(&self, script: &ScriptedWebhook, changes: Value) -> World {
        let mut setup = Setup::config(script.config());
        setup.config["ssh"] = json!({"trustedUserCAKeys": [self.path("trusted")]});
        setup.config["security"] =
            json!({"forwarding": {"forwardingMode": "enable", "reverseForwardingMode": "enable"}});
        crate::support::world::merge(&mut setup.config, changes);
        setup.start().await
    }
}

fn certified(client: Client, certificate: &Path) -> Client {
    client.option(&format!("CertificateFile={}", certificate.display()))
}

/// `ssh` as alice with another key and other known hosts than the world's.
fn client_of(port: u16, key: &Path, known_hosts: &Path) -> Client {
    let mut client = leash::program("ssh");
    client.arg("-F").arg("/dev/null").arg("-i").arg(key).arg("-p").arg(port.to_string()).env_remove("SSH_AUTH_SOCK");
    let known = format!("UserKnownHostsFile={}", known_hosts.display());
    let options = ["BatchMode=yes", "User=alice", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", &known];
    options.iter().fold(Client::of(client), |client, option| client.option(option))
}

async fn refused(world: &World, certificate: &Path, reason: &str) {
    let known = world.gateway.lines("SSH_AUTH_FAILED").len();
    let done = certified(world.ssh(), certificate).run("true").await.expect(255);
    assert!(done.stderr.contains("Permission denied"), "{reason}: {}", done.stderr);
    let line =
        world.gateway.wait_for(|line| line["details"]["reason"].as_str().is_some_and(|told| told.contains(reason)));
    assert_eq!(line.await["code"], "SSH_AUTH_FAILED");
    assert!(world.gateway.lines("SSH_AUTH_FAILED").len() > known);
}

#[podgate_test::multi_thread]
async fn certificate_that_sshd_refuses_is_refused_with_its_fault_in_the_log_and_no_webhook_is_told_of_it() {
    let authorities = Authorities::new();
    let script = ScriptedWebhook::start(certificates_alone).await;
    let world = authorities.world(&script, json!({})).await;
    let trusted = "TrustedUserCAKeys ".to_owned() + &authorities.path("trusted").display().to_string();
    let sshd = Sshd::start(&world, &format!("{trusted}\n")).await;
    // The plain key logs in nowhere.
    fs::write(world.folder().join("authorized_keys"), "").expect("no keys");
    let user = sshd.as_ref().map_or("root", |sshd| &sshd.user).to_owned();
    let names = format!("alice,{user}");
    let of =
        |options: &[&'static str]| [&["-n", &names][..], options].concat().iter().map(ToString::to_string).collect();
    let other = &authorities.other.file;
    let trusted = &authorities.trusted.file;
    for (fault, authority, arguments) in [
        ("is not in ssh.trustedUserCAKeys", other, of(&[])),
        ("is a host's", trusted, of(&["-h"])),
        ("is not valid yet", trusted, of(&["-V", "+1d:+2d"])),
        ("has expired", trusted, of(&["-V", "20200101:20210101"])),
        ("has no principals", trusted, vec![]),
        ("not among the certificate's principals", trusted, vec!["-n".to_owned(), "bob,Alice".to_owned()]),
        ("critical option no-such@example.org", trusted, of(&["-O", "critical:no-such@example.org=x"])),
        ("client's address", trusted, of(&["-O", "source-address=192.0.2.0/24,::1"])),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let certificate = authorities.sign_by(authority, &world.key.public, &arguments).await;
        if ["is a host's", "is not valid yet", "has expired"].contains(&fault) {
            // OpenSSH's client does not offer the first, and russh refuses the others before a callback is asked.
            let done = certified(world.ssh(), &certificate).run("true").await.expect(255);
            assert!(done.stderr.contains("Permission denied"), "{fault}: {}", done.stderr);
        } else {
            refused(&world, &certificate, fault).await;
        }
        if let Some(sshd) = &sshd {
            let done = certified(sshd.ssh(&world), &certificate).run("true").await;
            assert_eq!(done.status, 255, "sshd, {fault}: {}", done.stderr);
        }
    }
    assert!(script.requests().iter().all(|asked| asked.body.get("certificate").is_none()));
    assert_eq!(world.cluster.requests("create", "pods"), 0);
    let certificate = authorities.sign(&world, &["-n", &names, "-O", "source-address=127.0.0.0/8"]).await;
    certified(world.ssh(), &certificate).run("true").await.expect(0);
    if let Some(sshd) = &sshd {
        certified(sshd.ssh(&world), &certificate).run("true").await.expect(0);
    }
}

#[podgate_test::multi_thread]
async fn certificate_whose_user_must_be_verified_is_refused() {
    let authorities = Authorities::new();
    let script = ScriptedWebhook::start(certificates_alone).await;
    let world = authorities.world(&script, json!({})).await;
    // A server that cannot see the flag may not act as if it had.
    let certificate = authorities.sign(&world, &["-n", "alice", "-O", "verify-required"]).await;
    refused(&world, &certificate, "verify-required").await;
}

#[podgate_test::multi_thread]
async fn revoked_key_certificate_and_authority_are_refused_from_the_next_login_on() {
    let authorities = Authorities::new();
    let script = ScriptedWebhook::start(accept_all).await;
    let revoked = authorities.path("revoked");
    fs::write(&revoked, "# nobody yet\n").expect("the file");
    let world = authorities.world(&script, json!({"ssh": {"revokedKeys": revoked}})).await;
    let certificate = authorities.sign(&world, &["-n", "alice", "-z", "7"]).await;
    let plain = || world.ssh().run("true");
    let by_certificate = || certified(world.ssh(), &certificate).run("true");
    plain().await.expect(0);
    by_certificate().await.expect(0);
    let keygen = |specification: &str| {
        fs::write(authorities.path("specification"), specification).expect("a file");
        let mut keygen = leash::program("ssh-keygen");
        keygen.args(["-q", "-k", "-f"]).arg(authorities.path("krl")).arg("-s").arg(authorities.path("ca.pub"));
        keygen.arg(authorities.path("specification"));
        Client::of(keygen).finish()
    };
    fs::write(authorities.path("ca.pub"), &authorities.trusted.public).expect("the authority");
    for specification in ["serial: 7", "serial: 1-20", "id: alice@example.org"] {
        keygen(specification).await.expect(0);
        fs::rename(authorities.path("krl"), &revoked).expect("a KRL");
        // The plain key still logs in: the certificate alone is revoked.
        let only =
            certified(world.ssh(), &certificate).option("PubkeyAcceptedAlgorithms=ssh-ed25519-cert-v01@openssh.com");
        only.run("true").await.expect(255);
        plain().await.expect(0);
    }
    for all in [&world.key.public, &authorities.trusted.public] {
        fs::write(&revoked, all).expect("a list");
        let only =
            certified(world.ssh(), &certificate).option("PubkeyAcceptedAlgorithms=ssh-ed25519-cert-v01@openssh.com");
        only.run("true").await.expect(255);
    }
    fs::write(&revoked, &world.key.public).expect("a list");
    plain().await.expect(255);
    fs::write(&revoked, "nonsense").expect("a damaged file");
    for _ in 0..3 {
        let told = plain().await.expect(255).stderr;
        assert!(told.contains("no key can log in at present"), "{told}");
    }
    let line = world.gateway.wait_for_line("SSH_REVOKED_KEYS_FAILED").await;
    assert_eq!(line["level"], "error");
    assert!(
        line["details"]["reason"].as_str().is_some_and(|told| told.contains("line 1 is not a public key")),
        "{line}"
    );
    assert_eq!(world.gateway.lines("SSH_REVOKED_KEYS_FAILED").len(), 1, "one fault");
    fs::write(&revoked, "").expect("nobody");
    by_certificate().await.expect(0);
}

#[podgate_test::multi_thread]
async fn certificate_s_fields_reach_the_webhooks_which_decide() {
    let authorities = Authorities::new();
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/authz" if asked.body["certificate"]["serial"] == "18446744073709551615" => {
            Reply::Json(json!({"success": false}))
        }
        _ => certificates_alone(asked),
    });
    let script = script.await;
    let authz = json!({"auth": {"authz": {"method": "webhook", "webhook": {"url": script.url}}}});
    let world = authorities.world(&script, authz).await;
    let denied = authorities.sign(&world, &["-n", "alice", "-z", "18446744073709551615"]).await;
    certified(world.ssh(), &denied).run("true").await.expect(255);
    world.ssh().run("true").await.expect(255);
    let valid = ["-n", "alice,ops", "-z", "7", "-O", "no-x11-forwarding", "-O", "source-address=127.0.0.1"];
    let certificate =
        authorities.sign(&world, &[&valid[..], &["-V", "20200101000000Z:20990101000000Z"]].concat()).await;
    let before = script.requests().len();
    certified(world.ssh(), &certificate).run("true").await.expect(0);
    let asked = script.requests().split_off(before);
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, ["/pubkey", "/authz", "/config"]);
    assert_eq!(asked[0].body["publicKey"], world.key.public);
    for asked in asked {
        let told = &asked.body["certificate"];
        assert!(told["caFingerprint"].as_str().is_some_and(|told| told.starts_with("SHA256:")), "{told}");
        let mut told = told.clone();
        told.as_object_mut().expect("an object").remove("caFingerprint");
        let expected = json!({
            "keyId": "alice@example.org",
            "serial": "7",
            "principals": ["alice", "ops"],
            "validAfter": 1_577_836_800,
            "validBefore": 4_070_908_800_u64,
            "caPublicKey": authorities.trusted.public,
            "criticalOptions": {"source-address": "127.0.0.1"},
            "extensions": {"permit-agent-forwarding": "", "permit-port-forwarding": "", "permit-pty": "", "permit-user-rc": ""},
        });
        assert_eq!(told, expected, "{}", asked.path);
    }
    for (code, serial) in [("SSH_AUTH_FAILED", "18446744073709551615"), ("SSH_AUTH_SUCCESSFUL", "7")] {
        let is_of = |line: &Value| line["code"] == code && line["details"]["keyId"] == "alice@example.org";
        assert_eq!(world.gateway.wait_for(is_of).await["details"]["serial"], serial);
    }
}

#[podgate_test::multi_thread]
async fn certificate_is_enough_where_no_webhook_is_asked_about_keys() {
    let authorities = Authorities::new();
    let script = ScriptedWebhook::start(accept_all).await;
    let world = authorities.world(&script, json!({"auth": {"publicKey": null, "password": null}})).await;
    world.ssh().run("true").await.expect(255);
    let certificate = authorities.sign(&world, &["-n", "alice"]).await;
    assert_eq!(certified(world.ssh(), &certificate).run("echo in").await.expect(0).text(), "in\n");
    certified(world.ssh_as("bob"), &certificate).run("true").await.expect(255);
}

#[podgate_test::multi_thread]
async fn certificate_permits_no_more_than_it_says_and_no_more_than_the_rules() {
    let authorities = Authorities::new();
    let script = ScriptedWebhook::start(certificates_alone).await;
    let world = authorities.world(&script, json!({})).await;
    let bare = authorities.sign(&world, &["-n", "alice", "-O", "clear"]).await;
    let done = certified(world.ssh(), &bare).arg("-tt").run("test -t 0 || echo none").await;
    assert!(done.stderr.contains("PTY allocation request failed"), "{}", done.stderr);
    certified(world.ssh(), &bare).arg("-W").arg("127.0.0.1:1").arg("127.0.0.1").finish().await.expect(255);
    world.gateway.wait_for(|line| line["details"]["reason"] == "port forwarding is disabled").await;
    let full = authorities.sign(&world, &["-n", "alice"]).await;
    let done = certified(world.ssh(), &full).arg("-tt").run("test -t 0 && echo terminal").await.expect(0);
    assert!(done.text().contains("terminal"));
    // A forced command replaces what the client asks for, which it learns from the environment.
    let forced =
        authorities.sign(&world, &["-n", "alice", "-O", "force-command=echo forced: $SSH_ORIGINAL_COMMAND"]).await;
    assert_eq!(certified(world.ssh(), &forced).run("id").await.expect(0).text(), "forced: id\n");
    // The rules' own command wins, as in sshd; what the rules forbid, a certificate does not permit.
    let strict = json!({"security": {"forceCommand": "echo ours", "tty": {"mode": "disable"}}});
    let world = authorities.world(&script, strict).await;
    let forced = authorities.sign(&world, &["-n", "alice", "-O", "force-command=echo theirs"]).await;
    assert_eq!(certified(world.ssh(), &forced).run("id").await.expect(0).text(), "ours\n");
    let done = certified(world.ssh(), &forced).arg("-tt").run("id").await;
    assert!(done.stderr.contains("PTY allocation request failed"), "{}", done.stderr);
}

#[podgate_test::multi_thread]
async fn certificates_of_every_type_of_key_log_in_and_one_signed_with_sha_1_does_not() {
    let authorities = Authorities::new();
    let make = |name: &'static str, arguments: &'static [&'static str]| {
        let mut keygen = leash::program("ssh-keygen");
        keygen.args(["-q", "-N", "", "-f"]).arg(authorities.path(name)).args(arguments);
        Client::of(keygen).finish()
    };
    make("rsa-ca", &["-t", "rsa", "-b", "2048"]).await.expect(0);
    let public = |name: &str| fs::read_to_string(authorities.path(&format!("{name}.pub"))).expect("a public key");
    let both = format!("{}\n{}", authorities.trusted.public, public("rsa-ca"));
    fs::write(authorities.path("trusted"), both).expect("two authorities");
    let script = ScriptedWebhook::start(certificates_alone).await;
    let world = authorities.world(&script, json!({})).await;
    let sha_1 =
        authorities.sign_by(&authorities.path("rsa-ca"), &world.key.public, &["-n", "alice", "-t", "ssh-rsa"]).await;
    certified(world.ssh(), &sha_1).run("true").await.expect(255);
    for (name, arguments) in [
        ("rsa", &["-t", "rsa", "-b", "2048"][..]),
        ("p256", &["-t", "ecdsa", "-b", "256"]),
        ("p384", &["-t", "ecdsa", "-b", "384"]),
        ("p521", &["-t", "ecdsa", "-b", "521"]),
        ("ed25519", &["-t", "ed25519"]),
    ] {
        make(name, arguments).await.expect(0);
        let certificate = authorities.sign_by(&authorities.path("rsa-ca"), &public(name), &["-n", "alice"]).await;
        let client = client_of(world.port(), &authorities.path(name), &world.known_hosts());
        let done = certified(client, &certificate).run("echo in").await;
        assert_eq!(done.expect(0).text(), "in\n", "{name}");
    }
}

#[podgate_test::multi_thread]
async fn host_certificate_is_shown_to_clients_that_trust_its_authority() {
    let authorities = Authorities::new();
    let script = ScriptedWebhook::start(accept_all).await;
    let world = Setup::config(script.config()).start().await;
    let public = fs::read_to_string(world.known_hosts()).expect("the host's key");
    let (_, public) = public.trim().split_once(' ').expect("a key");
    let certificate = authorities.sign_by(&authorities.trusted.file, public, &["-h", "-n", "127.0.0.1"]).await;
    let gateway = world.gateway_with(json!({"ssh": {"hostCertificates": [certificate]}})).await;
    let known = authorities.path("known_hosts");
    let client = || {
        let client = client_of(gateway.address.port(), &world.key.file, &known);
        client.option("HostKeyAlgorithms=ssh-ed25519-cert-v01@openssh.com")
    };
    fs::write(&known, format!("@cert-authority * {}\n", authorities.other.public)).expect("known_hosts");
    client().run("true").await.expect(255);
    fs::write(&known, format!("@cert-authority * {}\n", authorities.trusted.public)).expect("known_hosts");
    client().run("true").await.expect(0);
}
