//! What the guest reaches through OpenSSH's client: ports that the guest chooses, a SOCKS server, keys and windows.

use super::forwards::{WHY, comes_back, echo, end, up};
use super::world;
use crate::support::client::{Client, PATIENCE};
use crate::support::ssh_agent::SshAgent;
use crate::support::{available, cluster, leash};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const ALLOCATED: &str = "Allocated port ";

/// The port that a client says it was given, for a listener of this target.
async fn allocated(running: &crate::support::client::Running, target: &str) -> u16 {
    let told = format!(" for remote forward to {target}");
    running.until_stderr(&told).await;
    let said = running.complained();
    let line = said.lines().find(|line| line.contains(ALLOCATED) && line.contains(&told)).expect("the line");
    let port = line.split_once(ALLOCATED).and_then(|(_, rest)| rest.split(' ').next()).expect("a port");
    port.parse().expect("a number")
}

#[podgate_test::multi_thread]
async fn port_that_the_guest_chooses_is_told_and_cancelled_by_its_number() {
    if !cluster::on_development(WHY) {
        return;
    }
    let world = world().await;
    let port = echo().await;
    let target = format!("127.0.0.1:{port}");
    let running = up(world.ssh().arg("-v").arg("-R").arg(format!("0:{target}"))).await;
    let there = allocated(&running, &target).await;
    comes_back(TcpStream::connect(("127.0.0.1", there)).await.expect("a listener of the guest")).await;
    end(running, &world).await;
    // A master is told it on standard output, and cancels it by the port that it asked for.
    let master = world.master(&[]).await;
    let control = |what: &'static str| {
        master.ssh().arg("-O").arg(what).arg("-R").arg(format!("0:{target}")).arg("127.0.0.1").finish()
    };
    let there: u16 = control("forward").await.expect(0).text().trim().parse().expect("a port");
    comes_back(TcpStream::connect(("127.0.0.1", there)).await.expect("a listener of the guest")).await;
    control("cancel").await.expect(0);
    // The client asks for no answer to it. The first listener went with its connection.
    world.gateway.wait_for_lines(2, |line| line["message"] == "the guest listens no more").await;
    assert!(TcpStream::connect(("127.0.0.1", there)).await.is_err(), "it still listens");
}

#[podgate_test::multi_thread]
async fn remote_socks_server_leads_the_guest_to_where_the_client_is() {
    if !cluster::on_development(WHY) {
        return;
    }
    let world = world().await;
    let port = echo().await;
    let running = up(world.ssh().arg("-v").arg("-R").arg("0")).await;
    let there = allocated(&running, "").await;
    let mut stream = TcpStream::connect(("127.0.0.1", there)).await.expect("a listener of the guest");
    let [high, low] = port.to_be_bytes();
    stream.write_all(&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, high, low]).await.expect("a request");
    let mut answer = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(answer[..4], [5, 0, 5, 0]);
    comes_back(stream).await;
    end(running, &world).await;
}

#[podgate_test::multi_thread]
async fn forwarded_agent_shows_its_keys_and_signs_and_its_socket_goes_with_the_connection() {
    if !cluster::on_development(WHY) || !available("ssh-agent", "openssh-client") {
        return;
    }
    let world = world().await;
    let without = world.ssh().run("ssh-add -l").await;
    assert_ne!(without.status, 0, "{without:?}");
    let keys = SshAgent::start(world.folder(), "keys").await;
    keys.add(&world.key.file).await;
    // With the agent's key the guest logs in where the client could.
    let own = format!("ssh -F /dev/null -p {} -o BatchMode=yes -o IdentityFile=none", world.port());
    let hosts = format!("-o UserKnownHostsFile={} -o StrictHostKeyChecking=yes", world.known_hosts().display());
    let command = format!("ssh-add -L; {own} {hosts} bob@127.0.0.1 'echo as bob'; echo at $SSH_AUTH_SOCK");
    let done = keys.client(&world, "alice", world.port()).arg("-A").run(&command).await.expect(0);
    let public = world.key.public.split(' ').nth(1).expect("a key");
    assert!(done.text().contains(public) && done.text().contains("as bob\n"), "{done:?}");
    let text = done.text();
    let socket = text.lines().find_map(|line| line.strip_prefix("at ")).expect("the socket's path");
    world.wait_for_nothing().await;
    assert!(socket.starts_with('/') && !Path::new(socket).exists(), "{socket} is still there");
}

/// The beginning of an X11 connection with a cookie (X Window System Protocol, "Connection Setup"), little endian.
fn setup(cookie: &[u8; 16]) -> Vec<u8> {
    let name = b"MIT-MAGIC-COOKIE-1";
    [&b"l\0\x0b\0\0\0\x12\0\x10\0\0\0"[..], name, b"\0\0", cookie].concat()
}

/// Runs xauth on a file of its own.
async fn xauth(file: &Path, arguments: &[&str]) -> String {
    let mut command = leash::program("xauth");
    command.arg("-f").arg(file).args(arguments);
    Client::of(command).finish().await.expect(0).text()
}

fn hexadecimal(cookie: &str) -> [u8; 16] {
    data_encoding::HEXLOWER_PERMISSIVE.decode(cookie.as_bytes()).expect("digits").try_into().expect("16 bytes")
}

#[podgate_test::multi_thread]
async fn windows_reach_the_clients_display_with_its_cookie_in_place_of_the_guests() {
    if !cluster::on_development(WHY) || !available("xauth", "xauth") {
        return;
    }
    let world = world().await;
    // Display 0 is port 6000.
    let (server, display) = loop {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = server.local_addr().expect("an address").port();
        if let Some(display) = port.checked_sub(6000) {
            break (server, format!("127.0.0.1:{display}"));
        }
    };
    let (real, file) = ("00112233445566778899aabbccddeeff", world.folder().join("authority"));
    xauth(&file, &["add", &display, "MIT-MAGIC-COOKIE-1", real]).await;
    let client = world.ssh().arg("-v").arg("-Y").env("DISPLAY", &display).env("XAUTHORITY", &file.to_string_lossy());
    let mut running = client.start("echo $DISPLAY $XAUTHORITY; echo up; cat");
    running.until_stdout("up\n").await;
    let said = running.said();
    let (shown, authority) = said.lines().next().and_then(|line| line.split_once(' ')).expect("a display");
    let number = shown.strip_prefix("localhost:").and_then(|rest| rest.split('.').next()).expect("a number");
    let port = 6000 + number.parse::<u16>().expect("a number");
    let listed = xauth(Path::new(authority), &["list"]).await;
    let fake = listed.split_whitespace().last().expect("a cookie").to_owned();
    assert_ne!(fake, real, "the client keeps its own");
    // A wrong cookie is refused by the client.
    let mut stranger = TcpStream::connect(("127.0.0.1", port)).await.expect("the guest's display");
    stranger.write_all(&setup(&[7; 16])).await.expect("a setup");
    running.until_stderr("X11 connection rejected because of wrong authentication").await;
    let accept = || timeout(PATIENCE, server.accept());
    let (mut refused, _) = accept().await.expect("in time").expect("a connection");
    let nothing = timeout(PATIENCE, refused.read(&mut [0])).await.expect("in time");
    assert!(matches!(nothing, Ok(0) | Err(_)), "{nothing:?}");
    let mut window = TcpStream::connect(("127.0.0.1", port)).await.expect("the guest's display");
    window.write_all(&setup(&hexadecimal(&fake))).await.expect("a setup");
    let expected = setup(&hexadecimal(real));
    let (mut accepted, _) = accept().await.expect("in time").expect("a connection");
    let mut read = vec![0; expected.len()];
    timeout(PATIENCE, accepted.read_exact(&mut read)).await.expect("in time").expect("a setup");
    assert_eq!(read, expected);
    accepted.write_all(b"shown").await.expect("an answer");
    let mut answer = [0; 5];
    timeout(PATIENCE, window.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(&answer, b"shown");
    drop((window, accepted));
    running.end_input();
    running.ended().await.expect(0);
    world.wait_for_nothing().await;
    assert!(!Path::new(authority).exists(), "{authority} is still there");
}
