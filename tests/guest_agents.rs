//! The guest's agent: how it comes into a container, what is done without it, and what programs over its link are.

mod containerssh;

use crate::support::cluster::on_development;
use crate::support::gateway::Gateway;
use crate::support::peer::{answered, to_the_end, until};
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, success};
use crate::support::world::merge;
use crate::support::{Setup, World, agent, leash};
use russh::{ChannelMsg, Pty, Sig};
use serde_json::{Value, json};
use std::time::Duration;

const REASON: &str = "its containers have this machine's files, and the agent with them";

/// A world of guests with this `kubernetes.pod`; `None` on a real cluster.
async fn world(pod: Value) -> Option<World> {
    if !on_development(REASON) {
        return None;
    }
    Some(Setup::config(json!({"kubernetes": {"pod": pod}})).start().await)
}

/// The log's word about the agent's way.
async fn way(world: &World) -> Value {
    world.gateway.wait_for_line("AGENT_WAY").await["details"].take()
}

/// The execs that were asked for, as they stand in the API's audit log.
fn execs(world: &World) -> Vec<String> {
    let requests = world.cluster.api_requests().into_iter();
    requests.filter(|asked| asked.resource == "pods/exec").map(|asked| asked.query).collect()
}

#[podgate_test::multi_thread]
async fn disabled_agent_is_neither_looked_for_nor_brought() {
    let Some(world) = world(json!({"disableAgent": true, "agentPath": agent::path()})).await else { return };
    assert_eq!(world.ssh().run("echo out; exit 7").await.expect(7).text(), "out\n");
    assert!(world.gateway.lines("AGENT_WAY").is_empty(), "{}", world.gateway.log());
    assert!(execs(&world).iter().all(|query| !query.contains("link")), "{:?}", execs(&world));
}

#[podgate_test::multi_thread]
async fn guest_without_any_agent_runs_programs_by_an_exec_each() {
    let mut pod = agent::not_in_image();
    merge(&mut pod, json!({"agentPush": false}));
    let Some(world) = world(pod).await else { return };
    assert_eq!(world.ssh().run("echo out; exit 7").await.expect(7).text(), "out\n");
    let way = way(&world).await;
    assert_eq!(way["way"], "none", "{way}");
    let others = way["others"].as_str().unwrap_or_default();
    assert!(others.contains("not found") && others.contains("kubernetes.pod.agentPush is off"), "{others}");
    // It is remembered: the next guest of the image costs no more than its program.
    let before = execs(&world).len();
    world.ssh().run("true").await.expect(0);
    assert_eq!(execs(&world).len() - before, 1, "{:?}", execs(&world));
    assert_eq!(world.gateway.lines("AGENT_WAY").len(), 1);
}

#[podgate_test::multi_thread]
async fn gateway_without_the_agents_file_says_so_once_and_runs_programs_without_it() {
    let Some(world) = world(agent::not_in_image()).await else { return };
    let alone = world.folder().join("podgate");
    // By cp: a child of another test could hold a file open for writing that this process writes, which keeps it from running.
    let copied = leash::program("cp").arg(env!("CARGO_BIN_EXE_podgate")).arg(&alone).status().await;
    assert!(copied.expect("cp").success());
    let gateway = Gateway::start_program(&alone, &world.folder().join("podgate.json")).await;
    world.know(gateway.address.port());
    for _ in 0..2 {
        world.ssh_to(&gateway, "alice").run("exit 7").await.expect(7);
    }
    let line = gateway.wait_for_line("AGENT_FILE_MISSING").await;
    assert!(line["details"]["reason"].as_str().is_some_and(|reason| reason.contains("podgate-agent")), "{line}");
    assert_eq!(gateway.lines("AGENT_FILE_MISSING").len(), 1);
}

#[podgate_test::multi_thread]
async fn agent_in_the_image_serves_programs_over_one_exec() {
    let Some(world) = world(agent::in_image()).await else { return };
    let done = world.ssh().option("SetEnv=SECRET_A=in-no-argument").stdin("typed");
    let done = done.run("echo $SECRET_A; cat; echo err >&2; exit 7").await.expect(7);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in-no-argument\ntyped", "err\n"));
    let master = world.master(&[]).await;
    for status in [0, 1, 255] {
        master.ssh().run(&format!("exit {status}")).await.expect(status);
    }
    let execs = execs(&world);
    assert_eq!(execs.len(), 2, "one for each connection: {execs:?}");
    for exec in &execs {
        let told = ["in-no-argument", "SECRET_A", "cat"].iter().any(|word| exec.contains(word));
        assert!(exec.contains("link") && !told, "{exec}");
    }
    assert_eq!(way(&world).await["way"], "agentPath");
    drop(master);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn agent_is_brought_over_the_exec_that_then_carries_the_link_and_leaves_no_file() {
    let Some(world) = world(agent::not_in_image()).await else { return };
    let master = world.master(&[]).await;
    let left = master.ssh().run("ls -A $HOME | grep -c podgate-agent").await;
    assert_eq!(left.text(), "0\n", "{left:?}");
    let big = vec![b'x'; 3_000_000];
    let done = master.ssh().stdin(big.clone()).run("cat").await.expect(0);
    assert!(done.stdout == big, "{} bytes came back", done.stdout.len());
    // One looked for it in the image, one brought it.
    assert_eq!(execs(&world).len(), 2, "{:?}", execs(&world));
    assert_eq!(way(&world).await["way"], "agentPush");
    drop(master);
    world.wait_for_nothing().await;
    // The next guest of the image gets it by the way that is known.
    world.ssh().run("true").await.expect(0);
    assert_eq!(execs(&world).len(), 3, "{:?}", execs(&world));
    assert_eq!(world.gateway.lines("AGENT_WAY").len(), 1);
}

#[podgate_test::multi_thread]
async fn exit_signal_and_signals_pass_over_the_link() {
    let Some(world) = world(agent::in_image()).await else { return };
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "trap 'echo got; exit 9' USR1; echo up; while :; do sleep 0.1; done").await.expect("a request");
    assert!(answered(&mut channel).await);
    until(&mut channel, "up").await;
    channel.signal(Sig::Custom("USR1".to_owned())).await.expect("a request");
    let ended = to_the_end(&mut channel).await;
    assert_eq!((ended.stdout.as_str(), ended.status), ("got\n", Some(9)));
    let mut channel = peer.session().await;
    channel.exec(true, "kill -TERM $$").await.expect("a request");
    let signal = loop {
        match channel.wait().await {
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => break Some(signal_name),
            None => break None,
            Some(_) => {}
        }
    };
    assert!(matches!(signal, Some(Sig::TERM)), "{signal:?}");
}

#[podgate_test::multi_thread]
async fn terminal_over_the_link_has_its_modes_its_size_and_a_name() {
    let Some(world) = world(agent::in_image()).await else { return };
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.request_pty(true, "xterm", 91, 33, 0, 0, &[(Pty::ECHO, 0)]).await.expect("a request");
    assert!(answered(&mut channel).await);
    channel.exec(true, "stty size; stty -a | grep -o -- -echo\\ ; echo $TERM; test \"$SSH_TTY\" = \"$(tty)\" && echo same; trap 'stty size; exit 3' WINCH; echo up; while :; do sleep 0.1; done").await.expect("a request");
    assert!(answered(&mut channel).await);
    let said = until(&mut channel, "up\r\n").await;
    assert_eq!(said, "33 91\r\n-echo \r\nxterm\r\nsame\r\nup\r\n");
    channel.window_change(100, 44, 0, 0).await.expect("a request");
    let ended = to_the_end(&mut channel).await;
    assert_eq!((ended.stdout.as_str(), ended.status), ("44 100\r\n", Some(3)));
}

#[podgate_test::multi_thread]
async fn missing_program_is_told_over_the_link_as_without_it() {
    let mut pod = agent::in_image();
    merge(&mut pod, json!({"shellCommand": ["/nonexistent/shell"]}));
    let Some(world) = world(pod).await else { return };
    let done = world.ssh().arg("-T").arg("127.0.0.1").finish().await.expect(127);
    assert!(done.stderr.contains("/nonexistent/shell"), "{}", done.stderr);
}

#[podgate_test::multi_thread]
async fn lost_link_is_no_success_and_the_next_program_has_another() {
    let Some(world) = world(agent::in_image()).await else { return };
    let master = world.master(&[]).await;
    let client = master.ssh().start("echo up; cat");
    client.until_stdout("up").await;
    let cluster = world.cluster.as_development().expect("a development cluster");
    for pid in agent::processes_with("link", &cluster.state().processes()) {
        agent::kill(pid).await;
    }
    let done = client.ended().await.expect(255);
    assert_eq!(done.stderr, "podgate: the connection to the container was lost\n");
    assert_eq!(master.ssh().run("echo again; exit 4").await.expect(4).text(), "again\n");
    world.gateway.wait_for_line("AGENT_LINK_LOST").await;
    assert!(execs(&world).iter().filter(|query| query.contains("link")).count() == 2, "{:?}", execs(&world));
}

#[podgate_test::multi_thread]
async fn what_a_session_started_ends_with_its_channel_and_the_connection_goes_on() {
    let Some(world) = world(agent::in_image()).await else { return };
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "echo up; exec sleep 98765").await.expect("a request");
    assert!(answered(&mut channel).await);
    until(&mut channel, "up").await;
    let cluster = world.cluster.as_development().expect("a development cluster");
    // The shell says so before it becomes the program.
    let begun = async {
        while agent::processes_with("98765", &cluster.state().processes()).len() != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begun).await.expect("the program begins");
    channel.close().await.expect("a close");
    let gone = |state: &podgate_devcluster::ClusterState| agent::processes_with("98765", &state.processes()).is_empty();
    // The cluster tells of no process that ends, so it is asked now and then.
    let ended = async {
        while !gone(&cluster.state()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the program ends");
    let mut channel = peer.session().await;
    channel.exec(true, "exit 4").await.expect("a request");
    assert!(answered(&mut channel).await);
    assert_eq!(to_the_end(&mut channel).await.status, Some(4));
}

#[podgate_test::multi_thread]
async fn sensitive_variables_and_files_reach_programs_over_the_link_and_no_exec() {
    if !on_development(REASON) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("note");
    let name = file.to_str().expect("text").to_owned();
    let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => Reply::Json(json!({
            "config": {},
            "environment": {"TOKEN": {"value": "hidden-1", "sensitive": true}},
            "files": {&*name: {"value": "aGlkZGVuLTI="}},
        })),
        _ => success(),
    })
    .await;
    let mut config = json!({"kubernetes": {"pod": agent::in_image()}});
    merge(&mut config, script.config());
    let world = Setup::config(config).start().await;
    let read = format!("echo $TOKEN; cat {0}; stat -c ' %a' {0}", file.display());
    assert_eq!(world.ssh().run(&read).await.expect(0).text(), "hidden-1\nhidden-2 600\n");
    let requests = world.cluster.api_requests();
    assert!(requests.iter().all(|asked| !asked.query.contains("hidden")));
    assert!(world.gateway.lines("KUBERNETES_ENV_LEFT_OUT").is_empty());
    assert!(!world.gateway.log().contains("hidden-"), "a value is in the log");
}

#[podgate_test::multi_thread]
async fn sftp_without_a_configured_program_is_the_agents_own_and_a_configured_one_wins() {
    // The usual world names a program; an empty mapping names none.
    let mut pod = agent::in_image();
    merge(&mut pod, json!({"subsystems": {"sftp": "/nonexistent/sftp-server"}}));
    let Some(world) = world(pod).await else { return };
    let batch = |world: &World| world.client("sftp", "-P").option("User=alice").arg("-b").arg("-").arg("127.0.0.1");
    let done = batch(&world).stdin("pwd\n").finish().await;
    assert!(done.status != 0, "{done:?}");
    let mut pod = agent::in_image();
    merge(&mut pod, json!({"subsystems": null}));
    let Some(world) = self::world(pod).await else { return };
    let (file, data) = crate::support::client::random_file(world.folder(), "sent", 300_007);
    let commands =
        format!("put {} there\nls -l there\nget there {}\n", file.display(), world.folder().join("back").display());
    let done = batch(&world).stdin(commands).finish().await.expect(0);
    assert!(done.text().contains("300007"), "{done:?}");
    assert!(std::fs::read(world.folder().join("back")).expect("the file") == data, "the file differs");
}
