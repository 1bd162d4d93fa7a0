//! The role of `deploy/kubernetes.yaml`: the gateway needs each verb of it, and nothing else.

use super::Desk;
use crate::support::cluster::{Access, on_development};
use crate::support::role::{Rights, group};
use crate::support::{Setup, World};
use podgate_devcluster::Failure;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a kubelet says about a volume that is not there.
const VOLUME: &str = "MountVolume.SetUp failed for volume \"home\" : secret \"home\" not found";

/// Why some of this is for the development cluster.
const FAULTS: &str = "an answer is lost and a volume is missing where they are told to";

/// A verb on a resource.
type Right = (String, String);

#[test]
fn paper_has_a_row_for_each_right() {
    let paper = include_str!("../../docs/kubernetes.md");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let rows = paper.lines().filter(|line| line.starts_with("| `")).map(cells).filter(|cells| cells.len() == 6);
    let rights: BTreeSet<Right> = rows.map(|cells| (cells[2].clone(), cells[1].clone())).collect();
    assert_eq!(rights, Rights::gateway().each());
}

/// What the start says about a missing right, and whether it starts all the same.
fn lost(verb: &str, resource: &str) -> (&'static str, bool) {
    match (verb, resource) {
        ("patch", "pods") => ("a gateway that was frozen for long can lose pods after it woke", true),
        (_, "pods" | "pods/exec") => ("no login can be served", false),
        (_, "events") => ("what a user reads about a pod that does not start is less exact", true),
        (_, "leases") => ("the pods of a gateway that is killed stay", true),
        other => panic!("nobody knows what {other:?} is needed for"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_that_is_missing_is_named_at_the_start() {
    let desk = Desk::new().await;
    for (verb, resource) in Rights::gateway().each() {
        desk.cluster.grant(&Rights::gateway().without(&verb, &resource)).await;
        let (lost, starts) = lost(&verb, &resource);
        let line = desk.cannot(&verb, &resource, group(&resource)) + lost;
        if starts {
            assert_eq!(desk.start_tells(json!({}), "KUBERNETES_INSPECTED").await["message"], line);
        } else {
            assert_eq!(desk.start_fails(json!({})).await, [line]);
        }
    }
}

/// A world whose gateway has the role, and finds nothing missing.
async fn world_with_the_role(pod_start: &str) -> World {
    let config = json!({"kubernetes": {"leaseDuration": "3s", "timeouts": {"podStart": pod_start, "podStop": "2s"}}});
    let world = Setup { config, access: Access::Rights(Rights::gateway()), ..Setup::default() }.start().await;
    assert!(world.gateway.lines("KUBERNETES_INSPECTED").is_empty(), "{}", world.gateway.log());
    world.gateway.wait_for_line("KUBERNETES_LEASE_HELD").await;
    world
}

/// Deletes the gateway's Lease by hand.
async fn delete_the_lease(world: &World) {
    assert!(world.cluster.wait_for_leases(world.namespace(), |leases| !leases.is_empty()).await);
    let leases = world.cluster.leases(world.namespace());
    let name = leases[0]["metadata"]["name"].as_str().expect("a name");
    assert!(world.cluster.faults().delete_lease(world.namespace(), name));
}

/// Brings about what the verb on Leases is for.
async fn lease_fails_without(world: &World, verb: &str) {
    match verb {
        "create" => delete_the_lease(world).await,
        // A renewal whose answer was lost is read again.
        "get" => world.cluster.faults().fail_requests("update", "leases", 1, Failure::LoseAnswer),
        "delete" => world.gateway.signal("TERM"),
        // These it does all the time.
        _ => assert!(["list", "update"].contains(&verb), "nobody knows what {verb} on leases is for"),
    }
}

/// What a right is there for, seen by what fails without it.
async fn fails_without(right: &Right) {
    let (verb, resource) = (right.0.as_str(), right.1.as_str());
    let world = world_with_the_role(if resource == "events" { "4s" } else { "60s" }).await;
    world.cluster.grant(&Rights::gateway().without(verb, resource)).await;
    let faults = world.cluster.faults();
    // That a stream's `create` is missing, the API says without a reason.
    let refused = match (verb, resource) {
        ("create", "pods/exec") => "needs the verbs get and create".to_owned(),
        _ => format!("User \"gateway\" cannot {verb} resource {resource:?}"),
    };
    let code = match (verb, resource) {
        ("create", "pods") => {
            let done = world.ssh().run("true").await.expect(255);
            assert_eq!(done.stderr, "podgate: the gateway may not create pods in the namespace shells\n");
            "KUBERNETES_POD_CREATE_FAILED"
        }
        // An answer that was lost is looked up.
        ("get", "pods") => {
            faults.fail_requests("create", "pods", 1, Failure::LoseAnswer);
            world.ssh().run("true").await.expect(255);
            "KUBERNETES_POD_CREATE_FAILED"
        }
        ("list" | "watch", "pods") => {
            world.ssh().run("true").await.expect(0);
            "KUBERNETES_WATCH_FAILED"
        }
        ("delete", "pods") => {
            world.ssh().run("true").await.expect(0);
            "KUBERNETES_POD_REMOVE_FAILED"
        }
        ("get" | "create", "pods/exec") => {
            let done = world.ssh().run("true").await.expect(255);
            assert_eq!(done.stderr, "podgate: the gateway may not use pods/exec (needs get and create)\n");
            "SSH_CHANNEL_REQUEST_FAILED"
        }
        // The status of a pod whose volume is missing says that it waits, not what for.
        ("list", "events") => {
            faults.missing_volume(Some(VOLUME));
            let done = world.ssh().run("true").await.expect(255);
            assert_eq!(done.stderr, "podgate: the pod was not ready within 4s\n");
            return;
        }
        (_, "leases") => {
            lease_fails_without(&world, verb).await;
            if verb == "delete" { "KUBERNETES_LEASE_LEFT" } else { "KUBERNETES_LEASE_REFUSED" }
        }
        ("patch", "pods") => {
            let client = world.ssh().start("echo up; sleep 1000");
            client.until_stdout("up").await;
            delete_the_lease(&world).await;
            world.gateway.wait_for_line("KUBERNETES_POD_MARK_FAILED").await;
            "KUBERNETES_POD_MARK_FAILED"
        }
        _ => panic!("nobody knows what {verb} on {resource} is for"),
    };
    let says = |line: &Value| {
        let details = line["details"].as_object().expect("details");
        details.values().any(|value| value.as_str().is_some_and(|text| text.contains(&refused)))
    };
    world.gateway.wait_for(|line| line["code"] == code && says(line)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_is_needed_for_something_that_fails_without_it() {
    if !on_development(FAULTS) {
        return;
    }
    for right in Rights::gateway().each() {
        fails_without(&right).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_together_uses_every_right_and_no_other() {
    if !on_development(FAULTS) {
        return;
    }
    let mut world = world_with_the_role("60s").await;
    let mut open = world.ssh().start("echo up; read line");
    open.until_stdout("up").await;
    delete_the_lease(&world).await;
    let marked = |pods: &[Value]| pods.iter().all(|pod| pod["metadata"]["labels"]["podgate/term"] == "1");
    assert!(world.cluster.wait_for(world.namespace(), marked).await, "{}", world.gateway.log());
    open.write("enough\n").await;
    open.ended().await.expect(0);
    world.cluster.faults().fail_requests("update", "leases", 1, Failure::LoseAnswer);
    world.cluster.faults().fail_requests("create", "pods", 1, Failure::LoseAnswer);
    world.ssh().run("true").await.expect(0);
    world.cluster.faults().missing_volume(Some(VOLUME));
    let mut client = world.ssh().arg("-tt").arg("127.0.0.1").launch();
    client.until_stderr(&format!("podgate: a volume is missing: {VOLUME}")).await;
    world.cluster.faults().missing_volume(None);
    client.write("exit 0\n").await;
    client.ended().await.expect(0);
    world.wait_for_nothing().await;
    world.gateway.signal("TERM");
    let _status = world.gateway.ended().await;

    let mut used: BTreeSet<Right> = BTreeSet::new();
    for request in world.cluster.state().request_log() {
        if request.resource.starts_with("selfsubject") {
            continue;
        }
        // The upgrade to a WebSocket is authorized as both.
        if request.resource == "pods/exec" || request.resource == "pods/attach" {
            used.insert(("create".into(), request.resource.clone()));
        }
        assert_eq!(request.namespace, world.namespace(), "{request:?}");
        used.insert((request.verb, request.resource));
    }
    assert_eq!(used, Rights::gateway().each());
}
