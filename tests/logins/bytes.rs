//! Texts that are not UTF-8. russh ends the connection at them before anyone is asked; the log says so.

use crate::support::client::Client;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The line about a text that is not UTF-8 behind so many others.
async fn line(world: &World, before: usize) -> Value {
    let lines = || world.gateway.lines("SSH_DECODE_FAILED");
    world.gateway.wait_for(|_| lines().len() > before).await;
    lines().swap_remove(before)
}

fn raw(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

#[podgate_test::multi_thread]
async fn text_that_is_not_utf8_in_a_request_is_a_line_that_says_so() {
    let world = World::start().await;
    let set = |option: &[u8]| world.ssh().arg("-o").arg(raw(option));
    let cases: Vec<(&str, Client)> = vec![
        ("a variable's value", set(b"SetEnv=LC_X=gr\xfc\xdf").arg("127.0.0.1").arg("true")),
        ("the terminal's type", set(b"SetEnv=TERM=x\xff").arg("-tt").arg("127.0.0.1").arg("true")),
        ("a subsystem", world.ssh().arg("-s").arg("127.0.0.1").arg(raw(b"s\xff"))),
    ];
    for (number, (what, client)) in cases.into_iter().enumerate() {
        assert_ne!(client.finish().await.status, 0, "{what}");
        let line = line(&world, number).await;
        assert_eq!((&line["level"], &line["details"]["username"]), (&json!("info"), &json!("alice")), "{what}");
        assert!(line["details"]["what"].as_str().is_some_and(|what| what.contains("a variable")), "{what}: {line}");
    }
    world.ssh().run("true").await.expect(0);
}

#[podgate_test::multi_thread]
async fn password_and_user_name_that_are_not_utf8_are_a_line_that_says_so() {
    let world = World::start().await;
    let askpass = world.folder().join("latin");
    std::fs::write(&askpass, "#!/bin/sh\nprintf 'gr\\374\\337\\n'\n").expect("askpass");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&askpass, mode).expect("askpass");
    let password = world.ssh_with_password("alice", "").env("SSH_ASKPASS", &askpass.to_string_lossy());
    let name = world.client("ssh", "-p").arg("-o").arg(raw(b"User=J\xf6rg"));
    for (number, client) in [password, name].into_iter().enumerate() {
        assert_ne!(client.run("true").await.status, 0);
        let line = line(&world, number).await;
        assert_eq!(line["level"], "info");
        assert!(line["details"]["what"].as_str().is_some_and(|what| what.contains("the password")), "{line}");
    }
    assert_eq!(world.cluster.requests("create", "pods"), 0);
}

/// The one text of a request that arrives as bytes.
#[podgate_test::multi_thread]
async fn command_that_is_not_utf8_is_refused_alone_without_the_agent() {
    let world = Setup::default().plain_exec().start().await;
    let master = world.master(&[]).await;
    let done = master.ssh().arg("127.0.0.1").arg(raw(b"echo \xff")).finish().await;
    assert_ne!(done.status, 0, "{done:?}");
    assert_eq!(master.ssh().run("echo on").await.expect(0).text(), "on\n");
    assert!(world.gateway.lines("SSH_DECODE_FAILED").is_empty());
}
