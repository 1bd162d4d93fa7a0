//! What editors send when they open a folder on another machine, replayed.

use super::{pod, world};
use crate::support::client::{PATIENCE, random_file};
use crate::support::{Setup, World, cluster, held_port};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const WHY: &str = "the server of the replay is a program of this machine";
/// An editor's server: it tells its port, and answers a line with the line in capitals.
const SERVER: &str = "import socketserver, sys
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())
server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Answer)
print('port', server.server_address[1], flush=True)
server.serve_forever()
";

/// Connects, as soon as somebody listens.
async fn connect(port: u16) -> TcpStream {
    let connecting = async {
        loop {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => break stream,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(PATIENCE, connecting).await.expect("a listener in time")
}

/// Sends a line, and returns what the server makes of it.
async fn line(stream: &mut TcpStream) -> String {
    let mut answer = [0; 6];
    stream.write_all(b"hello\n").await.expect("a line");
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Connects to a port of the guest through a client's SOCKS server (RFC 1928, RFC 1929 not).
async fn through_socks(socks: u16, port: u16) -> TcpStream {
    let mut stream = connect(socks).await;
    let [high, low] = port.to_be_bytes();
    stream.write_all(&[5, 1, 0]).await.expect("a greeting");
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, [5, 0]);
    stream.write_all(&[5, 1, 0, 1, 127, 0, 0, 1, high, low]).await.expect("a request");
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer[..2], [5, 0]);
    stream
}

/// The port that a server told in its log.
fn told_port(text: &str) -> u16 {
    let rest = text.split("listening on ").nth(1).expect("a port");
    rest.split_whitespace().next().expect("a port").parse().expect("a port")
}

/// A script that puts the server into the guest and starts it in the background.
fn install() -> String {
    format!(
        "cat >server.py <<'END'\n{SERVER}END\nnohup python3 server.py >server.log 2>&1 </dev/null &\n\
         until grep -q port server.log; do sleep 0.05; done\n\
         echo \"listening on $(cut -d' ' -f2 server.log) \"\n"
    )
}

#[podgate_test::multi_thread]
async fn visual_studio_code_installs_its_server_and_talks_to_it_through_socks() {
    if !cluster::on_development(WHY) {
        return;
    }
    let world = world().await;
    let (_held, socks) = held_port();
    let client = world.ssh().arg("-T").arg("-D").arg(socks.to_string()).option("ConnectTimeout=15");
    let mut client = client.arg("127.0.0.1").arg("bash").launch();
    client.write("echo \"start: $(uname -s) $HOME $SHELL\"\n").await;
    client.until_stdout("start: Linux /").await;
    client.write(&install()).await;
    client.until_stdout("listening on ").await;
    client.until_stdout(" \n").await;
    let port = told_port(&client.said());
    let mut several = Vec::new();
    for _ in 0..5 {
        several.push(through_socks(socks, port).await);
    }
    for stream in &mut several {
        assert_eq!(line(stream).await, "HELLO\n");
    }
    drop(several);
    client.end_input();
    client.ended().await.expect(0);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn zed_uploads_its_server_over_a_master_and_speaks_to_it_on_its_streams() {
    let world = world().await;
    let master = world.master(&[]).await;
    let shell = master.ssh().run("echo $SHELL").await.expect(0).text();
    assert!(shell.starts_with('/'), "{shell:?}");
    assert!(master.ssh().run("uname -sm").await.expect(0).text().starts_with("Linux "));
    let (file, data) = random_file(world.folder(), "binary", 3_000_000);
    master.ssh().run("mkdir -p .zed_server").await.expect(0);
    let batch =
        format!("put {} .zed_server/binary.part\nrename .zed_server/binary.part .zed_server/binary\n", file.display());
    let upload = master.client("sftp", "-P").arg("-b").arg("-").arg("127.0.0.1").stdin(batch);
    upload.finish().await.expect(0);
    let sum = master.ssh().run("wc -c <.zed_server/binary && chmod 755 .zed_server/binary").await.expect(0);
    assert_eq!(sum.text().trim(), data.len().to_string());
    // Its protocol is binary, both ways, on the streams of one program.
    let back = master.ssh().stdin(data.clone()).run("exec cat").await.expect(0);
    assert!(back.stdout == data, "the bytes differ");
    for number in 0..20 {
        assert_eq!(master.ssh().run(&format!("echo {number}")).await.expect(0).text(), format!("{number}\n"));
    }
}

#[podgate_test::multi_thread]
async fn forward_is_added_to_a_master_that_runs_and_taken_away() {
    if !cluster::on_development(WHY) {
        return;
    }
    let world = world().await;
    let master = world.master(&[]).await;
    let told = master.ssh().stdin(install()).run("sh").await.expect(0).text();
    let ((_held, here), there) = (held_port(), told_port(&told));
    let forward = format!("{here}:127.0.0.1:{there}");
    master.ssh().arg("-O").arg("forward").arg("-L").arg(&forward).arg("127.0.0.1").finish().await.expect(0);
    assert_eq!(line(&mut connect(here).await).await, "HELLO\n");
    master.ssh().arg("-O").arg("cancel").arg("-L").arg(&forward).arg("127.0.0.1").finish().await.expect(0);
    let gone = TcpStream::connect(("127.0.0.1", here)).await;
    assert!(gone.is_err(), "it still listens");
    master.ssh().run("true").await.expect(0);
}

#[podgate_test::multi_thread]
async fn jetbrains_reads_the_environment_of_a_login_shell_from_clean_output() {
    let world = world().await;
    let master = world.master(&[]).await;
    for shell in ["$SHELL -lc", "$SHELL -ilc"] {
        let script = format!("{shell} 'printf \"%s\\n\" begin \"$HOME\" \"$USER\" end'");
        let done = master.ssh().run(&script).await.expect(0);
        let text = done.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[3], lines.len()), ("begin", "end", 4), "{done:?}");
        assert!(lines[1].starts_with('/') && !lines[2].is_empty(), "{done:?}");
    }
    let probe = master.ssh().run("uname -s; uname -m; echo $SHELL; id -u").await.expect(0);
    assert_eq!(probe.text().lines().count(), 4, "{probe:?}");
}

#[podgate_test::multi_thread]
async fn editor_without_the_right_to_forward_is_told_and_its_shell_works() {
    let world: World = Setup::config(json!({"kubernetes": {"pod": pod()}})).start().await;
    let (_held, socks) = held_port();
    let mut client = world.ssh().arg("-v").arg("-T").arg("-D").arg(socks.to_string());
    client = client.arg("127.0.0.1").arg("bash");
    let mut client = client.launch();
    client.write("echo up\n").await;
    client.until_stdout("up\n").await;
    let mut stream = connect(socks).await;
    stream.write_all(&[5, 1, 0]).await.expect("a greeting");
    stream.write_all(&[5, 1, 0, 1, 127, 0, 0, 1, 0, 9]).await.expect("a request");
    let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("an end in time");
    client.until_stderr("port forwarding is disabled").await;
    client.write("exit 3\n").await;
    client.ended().await.expect(3);
}
