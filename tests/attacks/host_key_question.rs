//! A person who is asked whether the host key is right, and takes longer for it than a key exchange may take; and those who
//! only act like one.

use super::{attacker, closed, connect_from, greeting};
use crate::support::client::{Client, PATIENCE};
use crate::support::minimal_client::{proposal, text};
use crate::support::{Setup, World, leash};
use serde_json::{Value, json};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Child;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Makes the program that stands for the person: it says that it was asked, and answers with a line of the pipe.
fn askpass(world: &World) -> (PathBuf, PathBuf) {
    let (program, pipe) = (world.folder().join("asked"), world.folder().join("answer"));
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let script = format!("#!/bin/sh\necho asked >&2\nIFS= read -r answer <'{}'\necho \"$answer\"\n", pipe.display());
    fs::write(&program, script).expect("askpass");
    fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).expect("askpass");
    (program, pipe)
}

/// A client that has never seen the gateway.
fn stranger(world: &World, askpass: &Path, from: Ipv4Addr) -> Child {
    let mut command = leash::program("ssh");
    command.args(["-F", "/dev/null", "-p", &world.port().to_string(), "-b", &from.to_string(), "-l", "alice"]);
    command.env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force").env_remove("SSH_AUTH_SOCK");
    let (key, known) = (world.key.file.display(), world.folder().join("never_seen"));
    let mut client = Client::of(command);
    for option in [
        "StrictHostKeyChecking=ask".to_owned(),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        format!("UserKnownHostsFile={}", known.display()),
        format!("IdentityFile={key}"),
        "IdentitiesOnly=yes".to_owned(),
        "PreferredAuthentications=publickey".to_owned(),
    ] {
        client = client.option(&option);
    }
    client.arg("127.0.0.1").arg("echo in").spawn()
}

/// Waits until the client's user is asked. False if it has ended before.
async fn is_asked(client: &mut Child) -> bool {
    let mut lines = BufReader::new(client.stderr.take().expect("a pipe")).lines();
    let asked = async {
        loop {
            match lines.next_line().await.expect("a line") {
                Some(line) if line == "asked" => return true,
                Some(_) => {}
                None => return false,
            }
        }
    };
    let asked = timeout(PATIENCE, asked).await.expect("a question or the end");
    // What it says from now on is for nobody, and must not stop it.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    asked
}

#[podgate_test::multi_thread]
async fn person_who_compares_the_host_key_is_not_penalised_and_logs_in() {
    let limits = json!({"ssh": {
        "keyExchangeGraceTime": "1s",
        "loginGraceTime": "10m",
        "perSourcePenalties": "noauth:20m grace-exceeded:20m authfail:20m",
    }});
    let world = Setup::config(limits).start().await;
    let (askpass, pipe) = askpass(&world);
    // On a slow machine a client may not come as far as the question in a second: that one proves nothing.
    let (from, mut client) = timeout(PATIENCE, async {
        let mut number = 1;
        loop {
            let mut client = stranger(&world, &askpass, attacker(number));
            if is_asked(&mut client).await {
                return (attacker(number), client);
            }
            number += 1;
        }
    })
    .await
    .expect("a client that asks in time");
    // Another one that came later and does nothing is closed: the time of a key exchange is over for both.
    closed(&mut connect_from(attacker(0), world.gateway.address).await).await;
    let late = greeting(attacker(0), &world.gateway).await;
    assert_eq!(late, "Not allowed at this time: penalty: exceeded LoginGraceTime");
    timeout(PATIENCE, spawn_blocking(move || fs::write(pipe, "yes\n"))).await.expect("a reader").unwrap().unwrap();
    let mut stdout = String::new();
    let output = client.stdout.as_mut().expect("a pipe").read_to_string(&mut stdout);
    timeout(PATIENCE, output).await.expect("the end").expect("the output");
    let status = timeout(PATIENCE, client.wait()).await.expect("the end").expect("a status");
    assert_eq!((stdout.as_str(), status.code()), ("in\n", Some(0)));
    assert_eq!(greeting(from, &world.gateway).await, "SSH-2.0-Podgate");
}

/// The first bytes of a client: an identification line, and packets without a key exchange's end.
fn opening(packets: &[&[u8]]) -> Vec<u8> {
    let packet = |payload: &[u8]| {
        let padding = 4 + (8 - (5 + payload.len() + 4) % 8) % 8;
        let length = u32::try_from(1 + payload.len() + padding).expect("a length").to_be_bytes();
        [&length[..], &[u8::try_from(padding).expect("a byte")], payload, &vec![0; padding]].concat()
    };
    let packets: Vec<u8> = packets.iter().flat_map(|payload| packet(payload)).collect();
    [b"SSH-2.0-x\r\n", &packets[..]].concat()
}

#[podgate_test::multi_thread]
async fn client_that_only_begins_a_key_exchange_has_no_more_time_than_a_silent_one() {
    let limits = json!({"ssh": {
        "keyExchangeGraceTime": "2s",
        "loginGraceTime": "10m",
        "perSourcePenalties": "noauth:20m grace-exceeded:20m",
    }});
    let world = Setup::config(limits).start().await;
    // The second is the head of a packet of 35000 bytes with the number of the client's key.
    let head = [&opening(&[])[..], &[0, 0, 0x88, 0xb8, 4, 30]].concat();
    let (proposal, key) = (proposal(), [&[30][..], &text(&[9; 32])].concat());
    let exchanged = opening(&[&proposal, &key]);
    let almost = exchanged[..exchanged.len() - 1].to_vec();
    for (number, sent) in (10..).zip([opening(&[]), head, opening(&[&proposal]), almost]) {
        let mut client = connect_from(attacker(number), world.gateway.address).await;
        client.write_all(&sent).await.expect("its bytes");
        closed(&mut client).await;
        let source = attacker(number).to_string();
        let is_penalty = |line: &Value| line["code"] == "SSH_PENALTY" && line["details"]["remoteAddr"] == *source;
        let line = world.gateway.wait_for(is_penalty).await;
        assert_eq!(line["details"]["reason"], "penalty: exceeded LoginGraceTime", "client {number}");
    }
}

#[podgate_test::multi_thread]
async fn client_that_thinks_about_the_host_key_until_the_end_of_its_time_is_penalised_for_it() {
    let limits = json!({"ssh": {
        "keyExchangeGraceTime": "1s",
        "loginGraceTime": "2s",
        "perSourcePenalties": "grace-exceeded:20m",
    }});
    let world = Setup::config(limits).start().await;
    let mut client = connect_from(attacker(20), world.gateway.address).await;
    let key = [&[30][..], &text(&[9; 32])].concat();
    client.write_all(&opening(&[&proposal(), &key])).await.expect("its bytes");
    closed(&mut client).await;
    world.gateway.wait_for_line("SSH_PENALTY").await;
    let told = greeting(attacker(20), &world.gateway).await;
    assert_eq!(told, "Not allowed at this time: penalty: exceeded LoginGraceTime");
}
