//! ContainerSSH's agent in the image, which is used for all that it can do: signals, files and forwards.

use super::{REASON, way};
use crate::support::client::{PATIENCE, Running};
use crate::support::cluster::on_development;
use crate::support::peer::{answered, to_the_end, until};
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, success};
use crate::support::ssh_agent::SshAgent;
use crate::support::world::merge;
use crate::support::{Setup, World, agent, available, held_port};
use russh::Sig;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

const SIZE: usize = 1_000_000;

#[podgate_test::multi_thread]
async fn containersshs_agent_passes_signals_and_writes_files() {
    if !on_development(REASON) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (stock, file) = (agent::containerssh(folder.path()), folder.path().join("note"));
    let name = file.to_str().expect("text").to_owned();
    let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => Reply::Json(json!({"config": {}, "files": {&*name: {"value": "aGlkZGVu"}}})),
        _ => success(),
    })
    .await;
    let pod = json!({"disableAgent": false, "agentPath": stock, "agentPush": false});
    let mut config = json!({"kubernetes": {"pod": pod}});
    merge(&mut config, script.config());
    let world = Setup::config(config).start().await;
    let peer = world.peer("alice").await;
    for terminal in [false, true] {
        let mut channel = peer.session().await;
        if terminal {
            channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.expect("a request");
            assert!(answered(&mut channel).await);
        }
        let command =
            format!("cat {}; trap 'echo got; exit 9' USR1; echo up; while :; do sleep 0.1; done", file.display());
        channel.exec(true, command).await.expect("a request");
        assert!(answered(&mut channel).await);
        assert!(until(&mut channel, "up").await.starts_with("hiddenup"), "terminal: {terminal}");
        channel.signal(Sig::Custom("USR1".to_owned())).await.expect("a request");
        let ended = to_the_end(&mut channel).await;
        assert_eq!((ended.stdout.trim(), ended.status), ("got", Some(9)), "terminal: {terminal}");
    }
    assert_eq!(way(&world).await["way"], "containerssh");
}

/// A world whose guests have ContainerSSH's agent, and whose users may forward everything.
async fn world(folder: &Path) -> World {
    world_of(&agent::containerssh(folder)).await
}

/// The same with this program in its place.
async fn world_of(agent: &Path) -> World {
    let pod = json!({"disableAgent": false, "agentPath": agent, "agentPush": false});
    let forwarding = json!({
        "reverseForwardingMode": "enable", "forwardingMode": "enable", "agentForwardingMode": "enable",
        "socketForwardingMode": "enable", "socketListenMode": "enable",
    });
    Setup::config(json!({"kubernetes": {"pod": pod}, "security": {"forwarding": forwarding}})).start().await
}

/// Takes so many bytes, and then sends them back: the protocol closes both ways at once, and its agent cannot carry both at
/// full speed.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut data = vec![0; SIZE];
    if stream.read_exact(&mut data).await.is_ok() && stream.write_all(&data).await.is_ok() {
        // It is closed by the other end.
        let _ = stream.read(&mut [0]).await;
    }
}

async fn comes_back(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let data: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let mut back = vec![0; SIZE];
    let both = async {
        stream.write_all(&data).await?;
        stream.read_exact(&mut back).await
    };
    timeout(PATIENCE, both).await.expect("in time").expect("the answer");
    assert!(back == data, "other bytes came back");
}

async fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    port
}

fn socket_server(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
}

async fn end(mut running: Running, world: &World) {
    running.end_input();
    running.ended().await.expect(0);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn containersshs_agent_forwards_no_port_that_it_cannot_name_and_none_that_is_taken() {
    if !on_development(REASON) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(folder.path()).await;
    let taken = server().await;
    for (port, reason) in [(0, "does not tell which port it listens on"), (taken, "cannot listen there")] {
        let client = world.ssh().option("ExitOnForwardFailure=yes").arg("-R");
        let done = client.arg(format!("127.0.0.1:{port}:127.0.0.1:1")).run("echo ran").await.expect(255);
        assert!(done.stderr.contains("remote port forwarding failed"), "{done:?}");
        let failed = world.gateway.lines("SSH_LISTENER_FAILED");
        assert!(failed.iter().any(|line| line.to_string().contains(reason)), "{failed:?}");
    }
}

#[podgate_test::multi_thread]
async fn containersshs_agent_reaches_ports_and_sockets_of_the_guest() {
    if !on_development(REASON) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(folder.path()).await;
    let (port, socket) = (server().await, folder.path().join("there"));
    socket_server(&socket);
    let ((_first, first), (_second, second), (_third, third), (_none, none)) =
        (held_port(), held_port(), held_port(), held_port());
    let client = world.ssh().arg("-L").arg(format!("{first}:localhost:{port}"));
    let client = client.arg("-L").arg(format!("{second}:{}", socket.display()));
    let running = client.arg("-L").arg(format!("{third}:127.0.0.1:{none}")).start("echo up; cat");
    running.until_stdout("up\n").await;
    let at = |port| TcpStream::connect(("127.0.0.1", port));
    let mut refused = at(third).await.expect("the client listens");
    let nothing = timeout(PATIENCE, refused.read(&mut [0])).await.expect("an end in time");
    assert!(!matches!(nothing, Ok(1..)), "nobody listens there");
    let streams = [at(first).await, at(second).await, at(first).await];
    futures_util::future::join_all(streams.map(|stream| comes_back(stream.expect("a connection")))).await;
    end(running, &world).await;
    assert_eq!(way(&world).await["way"], "containerssh");
}

#[podgate_test::multi_thread]
async fn connections_that_come_to_containersshs_agent_reach_the_client() {
    if !on_development(REASON) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(folder.path()).await;
    let (near, far) = (folder.path().join("near"), folder.path().join("far"));
    let (_held, there) = held_port();
    socket_server(&near);
    let port = server().await;
    let client = world.ssh().option("ExitOnForwardFailure=yes");
    let client = client.arg("-R").arg(format!("{there}:127.0.0.1:{port}"));
    let client = client.arg("-R").arg(format!("{}:{}", far.display(), near.display()));
    let running = client.start("echo up; cat");
    running.until_stdout("up\n").await;
    let at = || TcpStream::connect(("127.0.0.1", there));
    let streams = [at().await, at().await].map(|stream| stream.expect("a listener of the guest"));
    futures_util::future::join_all(streams.map(comes_back)).await;
    comes_back(UnixStream::connect(&far).await.expect("a socket of the guest")).await;
    end(running, &world).await;
    assert!(at().await.is_err(), "it still listens");
    assert!(UnixStream::connect(&far).await.is_err(), "its socket still listens");
}

#[podgate_test::multi_thread]
async fn agent_forwarding_over_containersshs_agent_shows_the_clients_keys() {
    if !on_development(REASON) || !available("ssh-agent", "openssh-client") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(folder.path()).await;
    let keys = SshAgent::start(folder.path(), "keys").await;
    keys.add(&world.key.file).await;
    let done = keys.client(&world, "alice", world.port()).arg("-A").run("ssh-add -L").await.expect(0);
    assert!(done.text().contains(world.key.public.split(' ').nth(1).expect("a key")), "{done:?}");
}

/// ContainerSSH's own process stays after its last connection, and ours does not.
#[podgate_test::multi_thread]
async fn process_of_containersshs_agent_that_does_not_end_is_killed() {
    if !on_development(REASON) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (stock, stays, pids) =
        (agent::containerssh(folder.path()), folder.path().join("stays"), folder.path().join("pids"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = forward-server ] || exec '{0}' \"$@\"\necho $$ >>'{1}'\n'{0}' forward-server\nexec sleep 98764\n",
        stock.display(),
        pids.display()
    );
    std::fs::write(&stays, script).expect("a program");
    std::fs::set_permissions(&stays, PermissionsExt::from_mode(0o755)).expect("a program");
    let world = world_of(&stays).await;
    let greeting = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (port, (_held, here)) = (greeting.local_addr().expect("an address").port(), held_port());
    tokio::spawn(async move { greeting.accept().await.expect("a connection").0.write_all(b"greeting").await });
    let running = world.ssh().arg("-L").arg(format!("{here}:127.0.0.1:{port}")).start("echo up; cat");
    running.until_stdout("up\n").await;
    let mut stream = TcpStream::connect(("127.0.0.1", here)).await.expect("the client listens");
    let mut said = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut said)).await.expect("in time").expect("the greeting");
    assert_eq!(said, "greeting");
    // The client keeps its half of the channel for as long.
    drop(stream);
    let pid = std::fs::read_to_string(&pids).expect("a process id");
    let stat = format!("/proc/{}/stat", pid.trim());
    // The system tells nobody of the end of another's child.
    let ended = async {
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the process ends while its pod lives");
    end(running, &world).await;
}
