//! Messages of the login (RFC 4252), before, in and after it.

use super::{Row, UNREADABLE, UNSEEN, compare, row};
use crate::support::keys::Key;
use crate::support::minimal_client::text;
use crate::support::raw_client::State::{Keys, LoggedIn, Login, Running};
use crate::support::raw_client::{Messages, Server, Until, global, open, transcript, userauth};
use crate::support::scripted_webhook::{ScriptedWebhook, accept_all};
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The offer of a key, and its proof. What is asked last in each row is the right key's offer, which is fine.
const OFFERS: &[Row] = &[
    row("offer with an unknown algorithm", Login, |at| vec![at.offer("made-up@example.org", &at.key())], "refused"),
    row("offer with a name without a domain", Login, |at| vec![at.offer("made-up", &at.key())], "refused")
        .but("hung up", UNREADABLE),
    row("offer of RSA with Ed25519", Login, |at| vec![at.offer("ssh-ed25519", &rsa(256))], "refused"),
    row("offer of Ed25519 with RSA", Login, |at| vec![at.offer("rsa-sha2-512", &at.key())], "refused"),
    row("offer of Ed25519 with ECDSA", Login, |at| vec![at.offer("ecdsa-sha2-nistp256", &at.key())], "refused"),
    row(
        "offer of Ed25519 as a FIDO key",
        Login,
        |at| vec![at.offer("sk-ssh-ed25519@openssh.com", &at.key())],
        "refused",
    ),
    row("offer of RSA with SHA-1", Login, |at| vec![at.offer("ssh-rsa", &rsa(256))], "refused"),
    row("offer of DSA", Login, |at| vec![at.offer("ssh-dss", &at.key())], "refused"),
    row("offer of a short RSA key", Login, |at| vec![at.offer("rsa-sha2-512", &rsa(96))], "refused"),
    row("offer of an unknown key", Login, |at| vec![at.offer("ssh-ed25519", &stranger())], "refused"),
    row(
        "offer of a plain key as a certificate",
        Login,
        |at| vec![at.offer("ssh-ed25519-cert-v01@openssh.com", &at.key())],
        "refused",
    )
    .but("hung up", UNREADABLE),
    row("offer of no key", Login, |at| vec![at.offer("ssh-ed25519", b"")], "refused").but("hung up", UNREADABLE),
    row("offer of half a key", Login, |at| vec![at.offer("ssh-ed25519", &at.key()[..20])], "refused")
        .but("hung up", UNREADABLE),
    row(
        "offer with something behind it",
        Login,
        |at| vec![[at.offer("ssh-ed25519", &at.key()), vec![0]].concat()],
        "hung up",
    ),
    row(
        "proof without an offer",
        Login,
        |at| vec![at.proof("ssh-ed25519", &at.key(), "ssh-ed25519"), open("x", 0x00fe_11ce, &[])],
        "in",
    ),
    row(
        "proof that names another algorithm",
        Login,
        |at| vec![at.proof("ssh-ed25519", &at.key(), "rsa-sha2-512")],
        "refused",
    ),
    row(
        "proof with an unknown algorithm",
        Login,
        |at| vec![at.proof("made-up@example.org", &at.key(), "made-up@example.org")],
        "refused",
    ),
    row("proof of another key", Login, |at| vec![at.proof("ssh-ed25519", &stranger(), "ssh-ed25519")], "refused"),
    row("proof of RSA with Ed25519", Login, |at| vec![at.proof("ssh-ed25519", &rsa(256), "ssh-ed25519")], "refused"),
];

const OTHERS: &[Row] = &[
    row("proof that is bound to the host key", Login, |at| vec![at.bound_proof(), open("x", 0x00fe_11ce, &[])], "in")
        .but("refused", "russh has no such method and does not announce it, so that clients do without"),
    row("refusal by the client", Login, |_| vec![[&[51][..], &text(b""), &[0]].concat()], "unimplemented")
        .but("", UNSEEN),
    row("banner of the client's", Login, |_| vec![[&[53][..], &text(b""), &text(b"")].concat()], "unimplemented")
        .but("", UNSEEN),
    row(
        "key that the client finds fine",
        Login,
        |at| vec![[&[60][..], &text(b"ssh-ed25519"), &text(&at.key())].concat()],
        "unimplemented",
    )
    .but("", UNSEEN),
    row("banner of the client's", LoggedIn, |_| vec![[&[53][..], &text(b""), &text(b"")].concat()], "unimplemented")
        .but("", UNSEEN),
    row("login before its service", Keys, |at| vec![at.login("none", &[])], "unimplemented, service")
        .but("service", UNSEEN),
    row("none", Login, |at| vec![at.login("none", &[])], "refused"),
    row("unknown method", Login, |at| vec![at.login("made-up", &[])], "refused"),
    row(
        "hostbased",
        Login,
        |at| {
            vec![at.login("hostbased", &["ssh-ed25519", "k", "h", "u", "s"].map(|part| text(part.as_bytes())).concat())]
        },
        "refused",
    ),
    row("Kerberos", Login, |at| vec![at.login("gssapi-with-mic", &[0, 0, 0, 0])], "refused"),
    row("password", Login, |at| vec![at.login("password", &[&[0][..], &text(b"wrong")].concat())], "refused"),
    row(
        "password to be changed",
        Login,
        |at| vec![at.login("password", &[&[1][..], &text(b"old"), &text(b"new")].concat())],
        "refused",
    ),
    row("questions", Login, |at| vec![at.login("keyboard-interactive", &[text(b""), text(b"")].concat())], "refused"),
    row("answers to no question", Login, |_| vec![vec![61, 0, 0, 0, 0]], "unimplemented")
        .but("refused", "russh 0.65.1 refuses them itself"),
    row("method without its fields", Login, |at| vec![at.login("publickey", &[])], "hung up"),
    row("login without its fields", Login, |_| vec![vec![50]], "hung up"),
    row(
        "login for another service",
        Login,
        |at| vec![userauth(&at.user, "made-up", "none", &[])],
        "refused, disconnect 2",
    )
    .but("hung up", UNREADABLE),
    row(
        "login for a service that changes",
        Login,
        |at| vec![at.login("none", &[]), userauth(&at.user, "made-up", "none", &[])],
        "refused, disconnect 2",
    )
    .but("refused, hung up", UNREADABLE),
    row(
        "login of a user who changes",
        Login,
        |at| vec![at.login("none", &[]), userauth("nobody", "ssh-connection", "none", &[])],
        "refused, disconnect 2",
    )
    .but("refused, refused, disconnect 2", "russh answers every request, and a disconnect comes behind the answer"),
    row(
        "password of a user who changes, and then one's own key",
        Login,
        |at| {
            let password = [&[0][..], &text(b"wrong")].concat();
            vec![
                userauth("nobody", "ssh-connection", "password", &password),
                at.proof("ssh-ed25519", &at.key(), "ssh-ed25519"),
            ]
        },
        "refused, disconnect 2",
    )
    .but("refused, refused, disconnect 2", "russh answers every request, and a disconnect comes behind the answer"),
    row("login that has succeeded, by the client's word", Login, |_| vec![vec![52]], "unimplemented").but("", UNSEEN),
    row("channel before the login", Login, |_| vec![open("session", 7, &[])], "unimplemented").but("", UNSEEN),
    row("global request before the login", Login, |_| vec![global("made-up", true, &[])], "unimplemented")
        .but("", UNSEEN),
    row("login after the login", LoggedIn, |at| vec![at.login("none", &[])], "unimplemented")
        .but("", "RFC 4252 section 5.1 has it passed over in silence"),
    row(
        "login after the login",
        Running,
        |at| vec![at.proof("ssh-ed25519", &at.key(), "ssh-ed25519")],
        "unimplemented",
    )
    .but("", "RFC 4252 section 5.1 has it passed over in silence"),
    row("answers after the login", LoggedIn, |_| vec![vec![61, 0, 0, 0, 0]], "unimplemented").but("", UNSEEN),
];

/// An RSA key whose modulus has so many bytes; nobody has to know its factors.
fn rsa(bytes: usize) -> Vec<u8> {
    let modulus = [vec![0], vec![0xff; bytes]].concat();
    [text(b"ssh-rsa"), text(&[1, 0, 1]), text(&modulus)].concat()
}

/// An Ed25519 key that nobody knows.
fn stranger() -> Vec<u8> {
    // The base point's own encoding: any point on the curve does.
    [text(b"ssh-ed25519"), text(&[&[0x58][..], &[0x66; 31]].concat())].concat()
}

#[podgate_test::multi_thread]
async fn messages_of_the_login_are_answered_as_sshd_does() {
    compare(&[OFFERS, OTHERS]).await;
}

/// Offers that are refused whatever the webhook says of the key.
const BAD_OFFERS: &[Messages] = &[
    |at| vec![at.offer("made-up@example.org", &at.key())],
    |at| vec![at.offer("ssh-ed25519", &rsa(256))],
    |at| vec![at.offer("rsa-sha2-512", &at.key())],
    |at| vec![at.offer("ssh-rsa", &rsa(256))],
    |at| vec![at.offer("rsa-sha2-256", &rsa(96))],
    |at| vec![at.proof("made-up@example.org", &at.key(), "made-up@example.org")],
    |at| vec![at.proof("ssh-ed25519", &rsa(256), "ssh-ed25519")],
];

#[podgate_test::multi_thread]
async fn offer_of_a_wrong_algorithm_is_refused_and_no_webhook_asked() {
    let script = ScriptedWebhook::start(accept_all).await;
    let world = Setup::config(script.config()).start().await;
    let server = Server::new(&world, world.gateway.address, "alice");
    for (before, say) in BAD_OFFERS.iter().enumerate() {
        assert_eq!(transcript(&server, Login, *say, Until::Answered).await, "refused", "{before}");
        // The right key's offer, which follows.
        assert_eq!(script.requests_to("/pubkey").len(), before + 1);
    }
    let refused = |line: &Value| line["code"] == "SSH_AUTH_FAILED" && line["level"] == "info";
    world.gateway.wait_for_lines(BAD_OFFERS.len(), refused).await;
    let lines = world.gateway.lines("SSH_AUTH_FAILED");
    assert_eq!(lines[0]["details"]["reason"], "the algorithm made-up@example.org is not accepted", "{lines:?}");
    assert_eq!(world.cluster.requests("create", "pods"), 0);
}

/// Signs a key with an authority that nobody knows, as OpenSSH's client finds it: beside the key.
fn certify(world: &World, key: &Path) {
    let authority = Key::make(world.folder(), "authority");
    let mut keygen = Command::new("ssh-keygen");
    keygen.arg("-q").arg("-s").arg(&authority.file).args(["-I", "test", "-n", "alice"]).arg(key.with_extension("pub"));
    assert!(keygen.status().expect("ssh-keygen").success());
}

/// sshd refuses the offer of such a certificate. russh 0.65.1 shows an offer's key and not that it is a certificate, so that
/// it is only refused with its signature; this fails on the day on which that is better.
#[podgate_test::multi_thread]
async fn certificate_of_an_unknown_authority_lets_nobody_in_and_its_key_does() {
    let world = World::start().await;
    fs::write(world.key.file.with_extension("pub"), &world.key.public).expect("the public key");
    certify(&world, &world.key.file);
    let certificate = format!("CertificateFile={}-cert.pub", world.key.file.display());
    let done = world.ssh().option(&certificate).arg("-v").run("echo in").await.expect(0);
    assert_eq!(done.text(), "in\n");
    let accepted: Vec<&str> = done.stderr.lines().filter(|line| line.contains("Server accepts key:")).collect();
    assert_eq!(accepted.len(), 2, "{accepted:?}");
    assert!(accepted[0].contains("ED25519-CERT") && !accepted[1].contains("CERT"), "{accepted:?}");
    world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    let refused = world.gateway.lines("SSH_AUTH_UNAVAILABLE");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((&refused[0]["level"], &refused[0]["details"]["method"]), (&json!("info"), &json!("certificate")));
    assert_eq!(world.gateway.lines("SSH_AUTH_SUCCESSFUL").len(), 1);
}

#[podgate_test::multi_thread]
async fn certificate_of_an_unknown_key_is_refused_when_it_is_offered() {
    let world = World::start().await;
    let other = Key::make(world.folder(), "other");
    fs::write(other.file.with_extension("pub"), &other.public).expect("the public key");
    certify(&world, &other.file);
    fs::remove_file(&world.key.file).expect("the world's key, which would be tried first");
    let identity = format!("IdentityFile={}", other.file.display());
    let done = world.ssh().option(&identity).arg("-v").run("true").await.expect(255);
    assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
    assert!(done.stderr.contains("ED25519-CERT"), "it was not offered: {}", done.stderr);
    assert!(!done.stderr.contains("Server accepts key"), "{}", done.stderr);
}
