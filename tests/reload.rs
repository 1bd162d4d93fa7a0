//! The configuration that is read again: what is wrong is refused whole, what is right holds, and no session ends.

use crate::operator::{end_of, free, get};
use crate::support::client::Running;
use crate::support::gateway::SOON;
use crate::support::keys::Key;
use crate::support::leash;
use crate::support::world::merge;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
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
        let admin = json!({"socket": folder.path().join("s")});
        // The signal alone: a test knows how many reloads there were.
        let mut all = json!({"admin": admin, "reload": {"onFileChange": false}});
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
        greeting(self.world.gateway.address).await.expect("a connection")
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
    // Files that cannot be read, are no text of the format, are too long, or name what is not there.
    let (key, pipe) = (changing.folder.path().join("key"), changing.folder.path().join("pipe"));
    fs::write(&key, "no key").expect("a file");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("a pipe");
    for text in [
        "{".to_owned(),
        String::new(),
        merged(&good, json!({"ssh": {"hostkeys": [key]}})),
        merged(&good, json!({"ssh": {"hostkeys": ["/nowhere"]}})),
        merged(&good, json!({"ssh": {"revokedKeys": "/nowhere"}})),
        merged(&good, json!({"log": {"destination": "file", "file": "/nowhere/log"}})),
        // Nobody reads it, and nobody waits for a reader.
        merged(&good, json!({"log": {"destination": "file", "file": pipe}})),
        merged(&good, json!({"admin": {"lockDirectory": "/nowhere"}})),
        " ".repeat(16 * 1024 * 1024) + &merged(&good, json!({})),
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
        let limits = json!({"maxStartups": format!("{}:30:500", 50 + round), "perSourcePenalties": round % 2 == 0});
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
    let host = changing.world.folder().join("host");
    assert_eq!(stdout, format!("the configuration is in force\nchanged: the file {}\n", host.display()));
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
    written(&file, "code=CORE_RELOADED").await;
    client.write("on\n").await;
    client.ended().await.expect(0);
    written(&file, "code=SSH_DISCONNECTED").await;
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

#[podgate_test::multi_thread]
async fn pods_of_another_way_to_the_cluster_are_listed_in_the_gateway_s_lease_as_before() {
    let mut changing = Changing::start(json!({})).await;
    let labels = async |changing: &Changing| {
        let client = changing.world.ssh().start("echo up; read line");
        client.until_stdout("up").await;
        let pods = changing.world.cluster.pods(changing.world.namespace());
        let labels = pods[0]["metadata"]["labels"].as_object().expect("labels").clone();
        client.kill().await;
        changing.world.wait_for_pods(0).await;
        let kept =
            |(key, value): (String, Value)| ["podgate/home", "podgate/term"].contains(&&*key).then_some((key, value));
        labels.into_iter().filter_map(kept).collect::<Vec<_>>()
    };
    let before = labels(&changing).await;
    changing.write(json!({"kubernetes": {"connection": {"burst": 77}}}));
    let line = changing.hang_up().await;
    assert_eq!(line["level"], "notice", "{line}");
    assert_eq!(labels(&changing).await, before);
    assert!(before.iter().any(|(key, _)| key == "podgate/home"), "{before:?}");
}

#[podgate_test::multi_thread]
async fn changed_keys_are_named_and_their_values_are_not() {
    let mut changing = Changing::start(json!({})).await;
    assert!(changing.hang_up().await["details"].get("changed").is_none(), "nothing has changed");
    changing.write(json!({"security": {"forceCommand": "echo secret"}, "ssh": {"banner": "secret"}}));
    let line = changing.hang_up().await;
    assert_eq!(line["details"]["changed"], "security.forceCommand, ssh.banner", "{line}");
    assert!(!line.to_string().contains("secret"), "{line}");
    // A protection that is gone.
    changing.write(json!({"security": {"forceCommand": null}}));
    let (status, stdout, _) = changing.reload(&[]).await;
    assert_eq!(status, Some(0));
    assert!(stdout.contains("changed: security.forceCommand\n") && !stdout.contains("secret"), "{stdout}");
}

#[podgate_test::multi_thread]
async fn cluster_that_is_not_reached_does_not_take_the_place_of_one_that_is() {
    let mut changing = Changing::start(json!({})).await;
    let warnings = changing.world.gateway.lines("KUBERNETES_INSPECTED").len();
    let (nobody, config) = (free(), fs::read(changing.file()).expect("the file"));
    changing.write(json!({"kubernetes": {"connection": {"host": format!("https://{nobody}")}}}));
    let line = changing.hang_up_in_vain().await;
    let reason = line["details"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("kubernetes.connection") && reason.contains(&nobody.to_string()), "{reason}");
    assert_eq!(changing.world.gateway.lines("KUBERNETES_INSPECTED").len(), warnings, "it is not in force");
    changing.world.ssh().run("exit 6").await.expect(6);
    fs::write(changing.file(), config).expect("a file");
    changing.hang_up().await;
}

#[podgate_test::multi_thread]
async fn webhook_that_is_not_reached_is_told_in_the_answer_and_in_the_log() {
    let mut changing = Changing::start(json!({})).await;
    let nobody = free();
    changing.write(json!({"configserver": {"url": format!("http://{nobody}/config")}}));
    let (status, stdout, stderr) = changing.reload(&[]).await;
    assert_eq!(status, Some(0), "{stderr}");
    let (warnings, rest) = stdout.split_once("the configuration is in force\n").expect("in force");
    assert!(warnings.starts_with("warning: ") && warnings.contains(&nobody.to_string()), "{stdout}");
    assert!(rest.contains("changed: configserver.url\n"), "{stdout}");
    changing.applied += 1;
    changing.nth("WEBHOOK_UNREACHABLE", 1).await;
}

#[podgate_test::multi_thread]
async fn refused_configuration_leaves_no_host_keys() {
    let mut changing = Changing::start(json!({})).await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    let keys = changing.folder.path().join("keys");
    let ssh = json!({"hostkeyDirectory": keys, "hostkeys": null});
    changing.write(json!({"ssh": ssh, "metrics": {"enable": true, "listen": taken}}));
    changing.hang_up_in_vain().await;
    assert!(!keys.exists());
    changing.write(json!({"metrics": {"enable": false}}));
    changing.hang_up().await;
    assert!(keys.exists());
}

#[podgate_test::multi_thread]
async fn directory_that_has_lost_its_host_keys_gets_no_others_without_a_start() {
    let mut changing = Changing::start(json!({})).await;
    let keys = changing.folder.path().join("keys");
    changing.write(json!({"ssh": {"hostkeyDirectory": keys, "hostkeys": null}}));
    changing.hang_up().await;
    fs::remove_dir_all(&keys).expect("gone");
    let (status, _, told) = changing.reload(&[]).await;
    assert!(status == Some(1) && told.contains("ssh.hostkeyDirectory"), "{told}");
    assert!(!keys.exists());
}

#[podgate_test::multi_thread]
async fn directory_of_the_log_that_is_gone_is_a_mistake_as_at_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = folder.path().join("logs");
    let mut changing = Changing::start(json!({})).await;
    fs::create_dir(&logs).expect("a folder");
    changing.write(json!({"log": {"destination": "file", "file": logs.join("log")}}));
    let (status, _, told) = changing.reload(&[]).await;
    assert_eq!(status, Some(0), "{told}");
    fs::remove_dir_all(&logs).expect("gone");
    let (status, _, told) = changing.reload(&[]).await;
    assert_eq!(status, Some(1));
    assert!(told.contains("log.file"), "{told}");
    fs::create_dir(&logs).expect("a folder");
    changing.write(json!({"log": {"destination": "stdout"}}));
    changing.hang_up().await;
}

#[podgate_test::multi_thread]
async fn operator_who_asks_at_a_new_path_of_the_socket_is_told_of_the_old_one() {
    let changing = Changing::start(json!({})).await;
    changing.write(json!({"admin": {"socket": changing.folder.path().join("new")}}));
    let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
    let (status, _, said) = end_of(command.arg("reload").arg("--config").arg(changing.file())).await;
    assert_eq!(status, Some(69));
    assert!(said.contains("no gateway is at") && said.contains("--socket"), "{said}");
}

/// The first line of the SSH server at an address; `None` where nobody listens.
async fn greeting(address: SocketAddr) -> Option<String> {
    let stream = TcpStream::connect(address).await.ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.expect("a line");
    Some(line.trim_end().to_owned())
}

#[podgate_test::multi_thread]
async fn listener_that_cannot_be_had_leaves_the_old_ones_as_they_are() {
    let mut changing = Changing::start(json!({})).await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    let new = free();
    let listeners = json!([{"address": taken}, {"address": new.to_string()}]);
    let version = json!({"serverVersion": "SSH-2.0-New", "listen": null, "listeners": listeners});
    for (section, config) in [
        ("ssh.listeners[0].address", json!({"ssh": version})),
        ("metrics.listen", json!({"ssh": {"listeners": []}, "metrics": {"enable": true, "listen": taken}})),
    ] {
        changing.write(config);
        let line = changing.hang_up_in_vain().await;
        let expected = format!("{section}: cannot listen on {taken}: ");
        assert!(line["details"]["reason"].as_str().is_some_and(|reason| reason.contains(&expected)), "{line}");
        assert_eq!(greeting(new).await, None, "what could be had is given up again");
        assert_eq!(changing.version().await, "SSH-2.0-Podgate");
    }
}

#[podgate_test::multi_thread]
async fn moved_listener_serves_at_its_new_address_and_open_sessions_go_on() {
    let mut changing = Changing::start(json!({})).await;
    let mut busy = Busy::start(&changing.world).await;
    let (old, first, second) = (changing.world.gateway.address, free(), free());
    let believed = json!({"proxyProtocol": "required", "trustedProxies": ["192.0.2.1"]});
    let mut believing = json!({"address": first.to_string()});
    merge(&mut believing, believed);
    for (listeners, serving, refusing, gone) in [
        // A second one beside the first, which stays.
        (json!([{"address": "127.0.0.1:0"}, {"address": first.to_string()}]), vec![old, first], vec![], vec![second]),
        // The first is given up.
        (
            json!([{"address": first.to_string()}, {"address": second.to_string()}]),
            vec![first, second],
            vec![],
            vec![old],
        ),
        // One that stays believes others.
        (json!([believing, {"address": second.to_string()}]), vec![second], vec![first], vec![old]),
        (
            json!([{"address": second.to_string()}, {"address": first.to_string()}]),
            vec![first, second],
            vec![],
            vec![old],
        ),
    ] {
        changing.write(json!({"ssh": {"listen": null, "listeners": listeners}}));
        let line = changing.hang_up().await;
        assert_eq!(line["level"], "notice", "{line}");
        for address in serving {
            assert_eq!(greeting(address).await.as_deref(), Some("SSH-2.0-Podgate"), "{address}");
        }
        for address in refusing {
            assert_ne!(greeting(address).await.as_deref(), Some("SSH-2.0-Podgate"), "{address}");
        }
        for address in gone {
            assert_eq!(greeting(address).await, None, "{address}");
        }
        busy.works().await;
    }
    let closed = changing.world.gateway.lines("SSH_LISTENER_CLOSED");
    let addresses: Vec<_> = closed.iter().map(|line| line["details"]["address"].clone()).collect();
    assert_eq!(addresses, [old.to_string()]);
    busy.end().await;
}

#[podgate_test::multi_thread]
async fn endpoints_are_switched_on_moved_and_off_while_sessions_go_on() {
    let mut changing = Changing::start(json!({})).await;
    let mut busy = Busy::start(&changing.world).await;
    let (health, metrics) = (free(), free());
    let endpoint = |at: SocketAddr| json!({"enable": true, "listen": at.to_string()});
    changing.write(json!({"health": endpoint(health), "metrics": endpoint(metrics)}));
    changing.hang_up().await;
    let page = get(metrics, "/metrics").await.expect("a page");
    assert!(page.contains("podgate_config_reloads_total{result=\"applied\"} 1\n"), "{page}");
    assert!(page.contains("podgate_config_last_reload_successful 1\n"), "{page}");
    assert!(get(health, "/").await.expect("an answer").starts_with("HTTP/1.1 200"));
    // They change places, and the page its path.
    let mut moved = endpoint(health);
    merge(&mut moved, json!({"path": "/other"}));
    changing.write(json!({"health": endpoint(metrics), "metrics": moved}));
    changing.hang_up().await;
    assert!(get(metrics, "/").await.expect("an answer").starts_with("HTTP/1.1 200"));
    assert!(get(health, "/metrics").await.expect("an answer").starts_with("HTTP/1.1 404"));
    assert!(get(health, "/other").await.expect("a page").contains("podgate_config_reloads_total"));
    changing.write(json!({"ssh": {"baner": "x"}}));
    changing.hang_up_in_vain().await;
    let page = get(health, "/other").await.expect("a page");
    assert!(page.contains("podgate_config_last_reload_successful 0\n"), "{page}");
    assert!(page.contains("podgate_config_reloads_total{result=\"refused\"} 1\n"), "{page}");
    changing.write(json!({"ssh": {"baner": null}, "health": {"enable": false}, "metrics": {"enable": false}}));
    changing.hang_up().await;
    assert_eq!((get(health, "/other").await, get(metrics, "/").await), (None, None));
    busy.works().await;
    busy.end().await;
}

/// A self-signed certificate for an address, and its key.
fn certificate(address: SocketAddr) -> (String, String) {
    let params = rcgen::CertificateParams::new([address.ip().to_string()]).expect("names");
    let key = rcgen::KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

#[podgate_test::multi_thread]
async fn certificate_and_configuration_that_are_exchanged_as_by_a_kubelet_are_taken_without_a_word() {
    let health = free();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    // file → ..data/file, ..data → a directory.
    let publish = |name: &str, files: &[(&str, &str)]| {
        fs::create_dir(at(name)).expect("a folder");
        for (file, text) in files {
            fs::write(at(name).join(file), text).expect("a file");
            if !at(file).exists() {
                symlink(Path::new("..data").join(file), at(file)).expect("a link");
            }
        }
        symlink(name, at("..new")).expect("a link");
        fs::rename(at("..new"), at("..data")).expect("exchanged");
    };
    let mut world = World::start().await;
    let endpoint = json!({
        "enable": true, "listen": health.to_string(), "cert": at("tls.crt"), "key": at("tls.key"),
        "client": {"url": format!("https://{health}/"), "cacert": at("tls.crt")},
    });
    let config = |version: &str| {
        let text = fs::read(world.folder().join("podgate.json")).expect("the file");
        merged(&text, json!({"health": endpoint, "ssh": {"serverVersion": version}}))
    };
    let (first, second) = (config("SSH-2.0-First"), config("SSH-2.0-Second"));
    let (certificates, others) = (certificate(health), certificate(health));
    let tls = |pair: &(String, String)| [("tls.crt", pair.0.clone()), ("tls.key", pair.1.clone())];
    let files = |config: &str, pair| {
        let files = tls(pair).into_iter().chain([("podgate.json", config.to_owned())]);
        files.collect::<Vec<_>>()
    };
    let publish = |name: &str, files: Vec<(&str, String)>| {
        publish(name, &files.iter().map(|(file, text)| (*file, text.as_str())).collect::<Vec<_>>());
    };
    publish("..1", files(&first, &certificates));
    world.serve_from(&at("podgate.json")).await;
    let mut busy = Busy::start(&world).await;
    let address = world.gateway.address;
    let healthcheck = async || {
        let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
        end_of(command.arg("--config").arg(at("podgate.json")).arg("--healthcheck")).await
    };
    assert_eq!(healthcheck().await.0, Some(0));
    assert_eq!(greeting(address).await.as_deref(), Some("SSH-2.0-First"));
    // Only the certificate.
    publish("..2", files(&first, &others));
    world.gateway.wait_for_lines(1, |line| line["code"] == "CORE_RELOADED").await;
    assert_eq!(healthcheck().await, (Some(0), String::new(), String::new()), "the new one is shown");
    // Only the configuration: first a bad one.
    publish("..3", files("{", &others));
    world.gateway.wait_for_lines(1, |line| line["code"] == "CORE_RELOAD_REFUSED").await;
    publish("..4", files(&second, &others));
    world.gateway.wait_for_lines(2, |line| line["code"] == "CORE_RELOADED").await;
    assert_eq!(greeting(address).await.as_deref(), Some("SSH-2.0-Second"));
    busy.works().await;
    busy.end().await;
    assert_eq!(world.gateway.lines("CORE_RELOADED").len(), 2, "each change once");
}

/// Waits until a file has a text.
async fn written(file: &Path, text: &str) {
    let until = Instant::now() + SOON;
    while !fs::read_to_string(file).is_ok_and(|found| found.contains(text)) {
        assert!(Instant::now() < until, "{:?}", fs::read_to_string(file));
        // A file tells nobody that lines came.
        sleep(Duration::from_millis(20)).await;
    }
}
