//! Every one of `kubernetes.timeouts` bounds its own step, in the modes beside connection too.

use super::{own_program, persistent, session};
use crate::support::cluster::on_development;
use crate::support::world::merge;
use crate::support::{Setup, World};
use podgate_devcluster::RequestFailure;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const NEVER: RequestFailure = RequestFailure::Delay(Duration::from_secs(600));

/// A world with these `kubernetes.timeouts`; none where the API cannot be made to misbehave.
async fn world_with_timeouts(mut config: Value, timeouts: Value) -> Option<World> {
    if !on_development("the API misbehaves at a word") {
        return None;
    }
    merge(&mut config, json!({"kubernetes": {"timeouts": timeouts}}));
    Some(Setup::config(config).start().await)
}

/// The text that the user reads when a login is given up, and the time that it took.
async fn given_up(world: &World) -> (String, Duration) {
    let start = Instant::now();
    let done = world.ssh().run("echo ran").await.expect(255);
    assert_eq!(done.text(), "");
    (done.stderr, start.elapsed())
}

/// True if a step took its limit of so many seconds, and not the default, which it would take if the limit went unread.
fn bounded(limit: u64, default: u64, took: Duration) -> bool {
    (limit..default).contains(&took.as_secs())
}

#[podgate_test::multi_thread]
async fn pod_start_bounds_the_start_of_a_programs_pod() {
    let Some(world) = world_with_timeouts(session(json!({})), json!({"podStart": "2s"})).await else { return };
    world.cluster.faults().hold_pods();
    let (told, took) = given_up(&world).await;
    assert_eq!(told, "podgate: the pod was not ready within 2s\n");
    assert!(bounded(2, 60, took), "{took:?}");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn pod_start_bounds_finding_and_making_a_persistent_pod() {
    let timeouts = json!({"podStart": "2s", "http": "60s"});
    let config = persistent(json!({"createMissingPods": true}));
    let Some(world) = world_with_timeouts(config, timeouts).await else { return };
    world.cluster.faults().hold_pods();
    let (told, took) = given_up(&world).await;
    assert_eq!(told, "podgate: the pod was not ready within 2s\n");
    assert!(bounded(2, 60, took), "{took:?}");
    world.cluster.faults().fail_requests("get", "pods", 100, NEVER);
    let (told, took) = given_up(&world).await;
    assert_eq!(told, "podgate: the pod was not available within 2s: Kubernetes cannot be reached\n");
    assert!(bounded(2, 60, took), "{took:?}");
}

#[podgate_test::multi_thread]
async fn command_start_bounds_the_way_to_the_program() {
    let Some(world) = world_with_timeouts(session(json!({})), json!({"commandStart": "2s"})).await else { return };
    world.cluster.faults().fail_requests("get", "pods/attach", 100, NEVER);
    let (told, took) = given_up(&world).await;
    assert_eq!(told, "podgate: the container did not start the program in time\n");
    assert!(bounded(2, 60, took), "{took:?}");
    world.wait_for_pods(0).await;
}

#[podgate_test::multi_thread]
async fn pod_stop_bounds_the_wait_for_the_exit_code() {
    let Some(world) = world_with_timeouts(session(json!({})), json!({"podStop": "3s"})).await else { return };
    let mut client = world.ssh().start("echo up; read -r _; exit 0");
    client.until_stdout("up").await;
    // Nobody tells the gateway any more what becomes of its pods.
    for verb in ["list", "watch"] {
        world.cluster.faults().fail_requests(verb, "pods", 10_000, RequestFailure::Unavailable);
    }
    world.cluster.faults().cut_watches();
    world.gateway.wait_for_line("KUBERNETES_WATCH_FAILED").await;
    let start = Instant::now();
    client.write("\n").await;
    let done = client.ended().await.expect(255);
    assert_eq!(done.stderr, "podgate: it is not known how the program ended\n");
    assert!(bounded(3, 60, start.elapsed()), "{:?}", start.elapsed());
    world.wait_for_pods(0).await;
}

#[podgate_test::multi_thread]
async fn http_bounds_one_call_which_is_made_again() {
    let Some(world) = world_with_timeouts(json!({}), json!({"http": "1s"})).await else { return };
    world.cluster.faults().fail_requests("create", "pods", 1, NEVER);
    let start = Instant::now();
    world.ssh().run("true").await.expect(0);
    assert!(bounded(1, 15, start.elapsed()), "{:?}", start.elapsed());
    assert!(world.cluster.requests("create", "pods") >= 2);
}

#[podgate_test::multi_thread]
async fn http_bounds_the_answer_of_a_log() {
    let config = session(own_program("echo ended; exit 3"));
    let Some(world) = world_with_timeouts(config, json!({"http": "1s"})).await else { return };
    world.cluster.faults().fail_requests("get", "pods/log", 100, NEVER);
    for _ in 0..20 {
        let start = Instant::now();
        let done = world.ssh().arg("-T").arg("127.0.0.1").finish().await;
        if done.status == 3 {
            // It was attached to before its end: no log is needed.
            continue;
        }
        let told = "podgate: the program ended before it could be attached to, and its log cannot be read\n";
        assert_eq!((done.status, done.stderr.as_str()), (255, told));
        assert!(bounded(1, 15, start.elapsed()), "{:?}", start.elapsed());
        return;
    }
    panic!("each program was attached to before its end");
}
