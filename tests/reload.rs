//! The configuration that is read again: what is wrong is refused whole, what is right holds, and no session ends.

use crate::operator::end_of;
use crate::support::client::Running;
use crate::support::gateway::SOON;
use crate::support::keys::Key;
use crate::support::leash;
use crate::support::world::merge;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// A world whose configuration changes, with a socket for operators.
struct Changing {
    world: World,
    folder: TempDir,
    /// Reloads so far, by result.
    applied: usize,
    refused: usize,
}

impl Changing {
    async fn start(config: Value) -> Self {
        let folder = tempfile::Builder::new().prefix("podgate-test-").tempdir().expect("a folder");
        let mut all = json!({"admin": {"socket": folder.path().join("s")}});
        merge(&mut all, config);
        Self { world: Setup::config(all).start().await, folder, applied: 0, refused: 0 }
    }

    fn file(&self) -> PathBuf {
        self.world.folder().join("podgate.json")
    }

    /// Replaces the configuration's file by one with changes, in one step.
    fn write(&self, changes: Value) {
        let new = self.world.config_file(changes);
        fs::rename(new, self.file()).expect("the new file");
    }

    /// Sends the signal, and waits until the gateway has taken the file.
    async fn hang_up(&mut self) -> Value {
        self.world.gateway.signal("HUP");
        self.applied += 1;
        self.nth("CORE_RELOADED", self.applied).await
    }

    /// Sends the signal, and waits until the gateway has refused the file.
    async fn hang_up_in_vain(&mut self) -> Value {
        self.world.gateway.signal("HUP");
        self.refused += 1;
        self.nth("CORE_RELOAD_REFUSED", self.refused).await
    }

    async fn nth(&self, code: &str, count: usize) -> Value {
        self.world.gateway.wait_for_lines(count, |line| line["code"] == code).await;
        self.world.gateway.lines(code).pop().expect("a line")
    }

    /// Runs `podgate reload`.
    async fn reload(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
        end_of(command.arg("reload").arg("--socket").arg(self.folder.path().join("s")).args(more)).await
    }

    /// The server's identification line, as a new connection gets it.
    async fn version(&self) -> String {
        let stream = TcpStream::connect(self.world.gateway.address).await.expect("a connection");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.expect("a line");
        line.trim_end().to_owned()
    }

    /// The host keys that a new connection is shown.
    fn host_keys(&self) -> String {
        let port = self.world.port().to_string();
        let keys = Command::new("ssh-keyscan").args(["-p", &port, "127.0.0.1"]).stderr(Stdio::null()).output();
        String::from_utf8(keys.expect("ssh-keyscan").stdout).expect("text")
    }
}

/// A session that answers each line.
struct Busy {
    client: Running,
    rounds: usize,
}

impl Busy {
    async fn start(world: &World) -> Self {
        let client = world.ssh().start("while read line; do echo \"<$line>\"; done; echo over");
        let mut busy = Self { client, rounds: 0 };
        busy.works().await;
        busy
    }

    async fn works(&mut self) {
        self.rounds += 1;
        self.client.write(&format!("{}\n", self.rounds)).await;
        self.client.until_stdout(&format!("<{}>", self.rounds)).await;
    }

    async fn end(mut self) {
        self.client.end_input();
        let done = self.client.ended().await.expect(0);
        assert!(done.text().ends_with("over\n"), "{}", done.text());
    }
}

#[podgate_test::multi_thread]
async fn file_with_mistakes_is_refused_whole_and_told_with_all_of_them() {
    let mut changing = Changing::start(json!({"ssh": {"serverVersion": "SSH-2.0-Old"}})).await;
    let mut busy = Busy::start(&changing.world).await;
    let good = fs::read(changing.file()).expect("the file");
    let wrong = json!({
        "ssh": {"serverVersion": "SSH-2.0-New", "baner": "hello", "clientAliveCountMax": 0},
        "log": {"level": "emerg"},
    });
    changing.write(wrong);
    let line = changing.hang_up_in_vain().await;
    let reason = line["details"]["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("ssh.baner") && reason.contains("ssh.clientAliveCountMax"), "{reason}");
    assert_eq!(line["level"], "error");
    // The file's own mistakes are those of --check-config and of the operator's answer.
    let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
    let (status, _, said) = end_of(command.arg("--config").arg(changing.file()).arg("--check-config")).await;
    assert_eq!(status, Some(64));
    let mistakes: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(reason, mistakes.join("; "), "{said}");
    let (status, stdout, told) = changing.reload(&[]).await;
    assert_eq!((status, stdout.as_str()), (Some(1), ""), "{told}");
    assert_eq!(told.lines().skip(1).collect::<Vec<_>>(), mistakes, "{told}");
    let (status, stdout, _) = changing.reload(&["--json"]).await;
    let answer: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((status, &answer["applied"]), (Some(1), &json!(false)), "{answer}");
    changing.refused += 2;
    // Files that cannot be read, are no text of the format, or name what is not there.
    let key = changing.folder.path().join("key");
    fs::write(&key, "no key").expect("a file");
    for text in [
        "{".to_owned(),
        String::new(),
        merged(&good, json!({"ssh": {"hostkeys": [key]}})),
        merged(&good, json!({"ssh": {"hostkeys": ["/nowhere"]}})),
        merged(&good, json!({"ssh": {"revokedKeys": "/nowhere"}})),
        merged(&good, json!({"log": {"destination": "file", "file": "/nowhere/log"}})),
    ] {
        fs::write(changing.file(), &text).expect("a file");
        changing.hang_up_in_vain().await;
    }
    fs::remove_file(changing.file()).expect("gone");
    changing.hang_up_in_vain().await;
    assert_eq!(changing.version().await, "SSH-2.0-Old", "nothing of it holds");
    busy.works().await;
    changing.world.ssh().run("exit 4").await.expect(4);
    fs::write(changing.file(), merged(&good, json!({"ssh": {"serverVersion": "SSH-2.0-New"}}))).expect("a file");
    changing.hang_up().await;
    assert_eq!(changing.version().await, "SSH-2.0-New");
    busy.end().await;
}

/// A configuration with something merged into it.
fn merged(config: &[u8], changes: Value) -> String {
    let mut config = serde_json::from_slice(config).expect("JSON");
    merge(&mut config, changes);
    config.to_string()
}

#[podgate_test::multi_thread]
async fn configuration_that_is_no_file_is_not_read_twice() {
    let world = World::start().await;
    let pipe = world.folder().join("pipe.json");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("a pipe");
    let (text, into) = (fs::read(world.folder().join("podgate.json")).expect("the file"), pipe.clone());
    let written = tokio::task::spawn_blocking(move || fs::write(into, text));
    let gateway = crate::support::gateway::Gateway::start(&pipe).await;
    written.await.expect("a thread").expect("the pipe");
    gateway.signal("HUP");
    let line = gateway.wait_for_line("CORE_RELOAD_REFUSED").await;
    assert!(line["details"]["reason"].as_str().is_some_and(|reason| reason.contains("is no regular file")), "{line}");
    world.know(gateway.address.port());
    world.ssh_to(&gateway, "alice").run("exit 3").await.expect(3);
}

#[podgate_test::multi_thread]
async fn ten_reloads_drop_none_of_five_busy_sessions() {
    reloads_under_sessions(10, 5).await;
}

#[podgate_test::multi_thread]
#[ignore = "takes minutes; .ci/long"]
async fn two_hundred_reloads_drop_none_of_fifty_busy_sessions() {
    reloads_under_sessions(200, 50).await;
}

async fn reloads_under_sessions(reloads: usize, sessions: usize) {
    let mut changing = Changing::start(json!({})).await;
    let mut busy = Vec::new();
    for _ in 0..sessions {
        busy.push(Busy::start(&changing.world).await);
    }
    for round in 0..reloads {
        // Keys whose change takes other ways.
        let key = Key::make(changing.folder.path(), &format!("key{round}"));
        let host = changing.world.folder().join("host");
        let limits = json!({"maxStartups": format!("{}:30:200", 50 + round), "perSourcePenalties": round % 2 == 0});
        let mut ssh = json!({"serverVersion": format!("SSH-2.0-R{round}"), "hostkeys": [host, key.file]});
        merge(&mut ssh, limits);
        let level = if round % 2 == 0 { "info" } else { "debug" };
        changing.write(json!({"ssh": ssh, "log": {"level": level}, "shutdown": {"drainTimeout": format!("{round}s")}}));
        changing.hang_up().await;
        for session in &mut busy {
            session.works().await;
        }
        assert_eq!(changing.version().await, format!("SSH-2.0-R{round}"));
    }
    for session in busy {
        session.end().await;
    }
    assert_eq!(changing.world.gateway.lines("CORE_RELOAD_REFUSED").len(), 0);
}

#[podgate_test::multi_thread]
async fn host_key_that_is_replaced_in_its_file_is_shown_to_new_clients() {
    let mut changing = Changing::start(json!({})).await;
    let before = changing.host_keys();
    let mut busy = Busy::start(&changing.world).await;
    let new = Key::make(changing.folder.path(), "new");
    fs::copy(&new.file, changing.world.folder().join("host")).expect("the new key");
    let (status, stdout, stderr) = changing.reload(&[]).await;
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(stdout, "the configuration is in force\n");
    let after = changing.host_keys();
    let material = new.public.split(' ').nth(1).expect("a key").to_owned();
    assert!(after.contains(&material) && !before.contains(&material), "{before}\n{after}");
    busy.works().await;
    busy.end().await;
    changing.applied += 1;
    assert_eq!(changing.nth("CORE_RELOADED", 1).await["level"], "notice");
    let line = changing.world.gateway.wait_for_line("ADMIN_REQUEST").await;
    assert_eq!(line["details"]["action"], "reload");
}

#[podgate_test::multi_thread]
async fn log_changes_its_level_and_its_place_for_sessions_that_are_open() {
    let mut changing = Changing::start(json!({"log": {"level": "info"}})).await;
    let mut client = changing.world.ssh().start("read line; echo done");
    changing.write(json!({"log": {"level": "debug"}}));
    changing.hang_up().await;
    let gateway = &changing.world.gateway;
    assert!(gateway.lines("SSH_DISCONNECTED").is_empty());
    let earlier = gateway.lines("SSH_CHANNEL_REQUEST").len();
    changing.world.ssh().run("true").await.expect(0);
    gateway.wait_for_lines(earlier + 1, |line| line["code"] == "SSH_CHANNEL_REQUEST").await;
    // Into a file of another form.
    let file = changing.folder.path().join("log");
    changing.write(json!({"log": {"destination": "file", "file": file, "format": "text"}}));
    changing.world.gateway.signal("HUP");
    client.write("on\n").await;
    client.ended().await.expect(0);
    let until = Instant::now() + SOON;
    while !holds(&file, "code=CORE_RELOADED") || !holds(&file, "code=SSH_DISCONNECTED") {
        assert!(Instant::now() < until, "{:?}", fs::read_to_string(&file));
        // A file tells nobody that lines came.
        sleep(Duration::from_millis(20)).await;
    }
    // And back.
    changing.write(json!({"log": {"destination": "stdout", "format": "ljson"}}));
    changing.world.gateway.signal("HUP");
    changing.nth("CORE_RELOADED", 2).await;
}

#[podgate_test::multi_thread]
async fn what_waits_for_the_next_start_is_told_by_name() {
    let mut changing = Changing::start(json!({})).await;
    changing.write(json!({"ssh": {"nat64Prefixes": ["2001:db8:64::/96"]}, "kubernetes": {"leaseDuration": "77s"}}));
    let line = changing.hang_up().await;
    assert_eq!(line["level"], "warning");
    assert_eq!(line["details"]["nextStart"], "kubernetes.leaseDuration, ssh.nat64Prefixes", "{line}");
    let (status, stdout, _) = changing.reload(&[]).await;
    assert_eq!(status, Some(0));
    let later = "takes effect at the next start: kubernetes.leaseDuration\n\
                 takes effect at the next start: ssh.nat64Prefixes\n";
    assert!(stdout.ends_with(later), "{stdout}");
    changing.world.ssh().run("exit 5").await.expect(5);
}

/// True if the file is there and has a text.
fn holds(file: &Path, text: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|found| found.contains(text))
}
