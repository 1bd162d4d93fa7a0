//! Several listeners of one gateway, and sockets that are passed as systemd passes them.

use super::{VERSION, first_line};
use crate::support::client::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::leash;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

async fn greeting(address: SocketAddr) -> String {
    first_line(&mut TcpStream::connect(address).await.expect("a connection")).await
}

fn addresses(gateway: &Gateway) -> Vec<SocketAddr> {
    let address = |line: &Value| line["details"]["address"].as_str().expect("an address").parse().expect("an address");
    gateway.lines("SSH_AVAILABLE").iter().map(address).collect()
}

#[podgate_test::multi_thread]
async fn every_listener_serves_clients_of_its_family() {
    let listeners = json!([{"address": "127.0.0.1:0"}, {"address": "[::1]:0"}, {"address": "[::]:0"}]);
    let world = Setup::config(json!({"ssh": {"listen": null, "listeners": listeners}})).start().await;
    world.gateway.wait_for_lines(3, |line| line["code"] == "SSH_AVAILABLE").await;
    let all = addresses(&world.gateway);
    assert_eq!(all.len(), 3, "{all:?}");
    for address in &all[..2] {
        assert_eq!(greeting(*address).await, VERSION);
    }
    // A listener of both families tells a client of IPv4 by its address of IPv4.
    let both = all[2].port();
    world.know(both);
    let client = world.client_without_port("ssh").option("User=alice").option(&format!("Port={both}"));
    let done = client.run("echo $SSH_CONNECTION").await.expect(0);
    let words: Vec<String> = done.text().split_whitespace().map(str::to_owned).collect();
    assert_eq!([&words[0], &words[2], &words[3]], ["127.0.0.1", "127.0.0.1", &both.to_string()]);
    let logged_in = world.gateway.wait_for_line("SSH_AUTH_SUCCESSFUL").await;
    assert_eq!(logged_in["details"]["remoteAddr"], format!("127.0.0.1:{}", words[1]));
}

/// The gateway as systemd starts it: with sockets from descriptor 3 on, and variables that name them.
async fn start_with_passed(world: &World, config: Value, socket: TcpListener, variables: &str) -> Gateway {
    Gateway::start_command(passing(world, config, socket, variables)).await
}

fn passing(world: &World, config: Value, socket: TcpListener, variables: &str) -> Command {
    let file = world.config_file(config);
    let mut command = leash::program("sh");
    // A shell has a process id of its own before it becomes the gateway.
    let script = format!("exec 3<&0 </dev/null; export {variables}; exec \"$0\" --config \"$1\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_podgate")]).arg(file).stdin(Stdio::from(OwnedFd::from(socket)));
    command
}

/// The output of another program that was started in the same way.
async fn failure(mut command: Command) -> String {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.expect("an end in time").expect("the gateway");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>().join("\n")
}

#[podgate_test::multi_thread]
async fn socket_that_systemd_passes_is_served() {
    let world = World::start().await;
    for (address, name) in [("fd://ssh", "LISTEN_FDNAMES=ssh"), ("fd://", "LISTEN_FDNAMES="), ("fd://", "SOME=x")] {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = socket.local_addr().expect("an address");
        let variables = format!("LISTEN_PID=$$ LISTEN_FDS=1 {name}");
        let gateway = start_with_passed(&world, json!({"ssh": {"listen": address}}), socket, &variables).await;
        assert_eq!(gateway.address, at, "{address}");
        world.know(at.port());
        let done = world.ssh_to(&gateway, "alice").run("echo in").await.expect(0);
        assert_eq!(done.text(), "in\n");
    }
}

#[podgate_test::multi_thread]
async fn socket_that_cannot_be_served_or_that_nobody_takes_is_named() {
    let world = World::start().await;
    let socket = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = |address: &str| json!({"ssh": {"listen": address}});
    let ours = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web";
    let told = failure(passing(&world, at("fd://ssh"), socket(), ours)).await;
    let untaken = "systemd passed sockets that are no address of ssh.listen or ssh.listeners: web; write fd://NAME";
    assert_eq!(told, format!("ssh.listen: systemd passed no socket for fd://ssh (it passed web)\n{untaken}"));
    let told = failure(passing(&world, at("127.0.0.1:0"), socket(), ours)).await;
    assert_eq!(told, untaken);
    // The variables are a parent's.
    let told = failure(passing(&world, at("fd://"), socket(), "LISTEN_PID=1 LISTEN_FDS=1")).await;
    assert_eq!(told, "ssh.listen: systemd passed no socket for fd://");
    // With Accept=yes, systemd passes a connection.
    let listener = socket();
    let _client = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let (connection, _) = listener.accept().expect("a connection");
    let connection = TcpListener::from(OwnedFd::from(connection));
    let told = failure(passing(&world, at("fd://"), connection, ours)).await;
    let reason = "the socket for fd:// that systemd passed cannot be used: not a socket that listens (Accept=no)";
    assert_eq!(told, format!("ssh.listen: {reason}"));
}
