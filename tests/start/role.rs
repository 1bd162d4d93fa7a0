//! The role of `deploy/kubernetes.yaml`: the gateway needs each verb of it, and nothing else.

use super::Desk;
use crate::support::cluster::{Access, container};
use crate::support::role::{Rights, group};
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The kubelet's message about a missing volume.
const VOLUME: &str = "MountVolume.SetUp failed for volume \"home\" : secret \"home\" not found";

/// A verb on a resource.
pub(super) type Right = (String, String);

#[test]
fn paper_has_a_row_for_each_right() {
    let paper = include_str!("../../docs/kubernetes.md");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let rows = paper.lines().filter(|line| line.starts_with("| `")).map(cells).filter(|cells| cells.len() == 6);
    let rights: BTreeSet<Right> = rows.map(|cells| (cells[2].clone(), cells[1].clone())).collect();
    assert_eq!(rights, Rights::gateway().each());
}

/// The message of the start about a missing right, and true if the gateway starts.
fn lost(verb: &str, resource: &str) -> (&'static str, bool) {
    match (verb, resource) {
        ("patch", "pods") => ("a gateway that was suspended for long can lose pods when it continues", true),
        (_, "pods" | "pods/exec") => ("no login can be served", false),
        (_, "events") => ("the reason that a user sees for a pod that does not start is less exact", true),
        (_, "leases") => ("the pods of a gateway that is killed stay", true),
        other => panic!("nobody knows what {other:?} is needed for"),
    }
}

#[podgate_test::multi_thread]
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

/// A world whose gateway has the role, and finds nothing missing. The pods of bob miss a volume, on the development cluster
/// once that [is so](miss_the_volume).
async fn world_with_the_role(pod_start: &str) -> World {
    let (access, users) = (Access::Rights(Rights::gateway()), vec![("alice", json!({})), ("bob", of_bob())]);
    let world = Setup { users, access, ..Setup::config(quick(pod_start)) }.start().await;
    assert_served(&world).await;
    world
}

/// A configuration by which little time is lost.
pub(super) fn quick(pod_start: &str) -> Value {
    json!({"kubernetes": {"leaseDuration": "3s", "timeouts": {"podStart": pod_start, "podStop": "2s"}}})
}

/// The config server's answer about bob.
pub(super) fn of_bob() -> Value {
    let volumes = json!([{"name": "home", "secret": {"secretName": "home"}}]);
    let mut guest = container("shell");
    guest["volumeMounts"] = json!([{"name": "home", "mountPath": "/home"}]);
    json!({"kubernetes": {"pod": {"spec": {"containers": [guest], "volumes": volumes}}}})
}

/// Waits until the gateway is one of those that look after each other; it must have found nothing missing.
pub(super) async fn assert_served(world: &World) {
    assert!(world.gateway.lines("KUBERNETES_INSPECTED").is_empty(), "{}", world.gateway.log());
    world.gateway.wait_for_line("KUBERNETES_LEASE_HELD").await;
}

/// Has bob's volume miss.
fn miss_the_volume(world: &World) {
    if let Some(cluster) = world.cluster.as_development() {
        cluster.faults().missing_volume(Some(VOLUME));
    }
}

/// Gives bob what the volume is made of.
async fn bring_the_volume(world: &World) {
    if let Some(cluster) = world.cluster.as_real() {
        let metadata = json!({"name": "home", "namespace": world.namespace()});
        cluster.make(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})).await;
    } else {
        world.cluster.faults().missing_volume(None);
    }
}

/// Brings about what the verb on Leases is for.
async fn lease_fails_without(world: &World, verb: &str) {
    match verb {
        "create" => world.cluster.delete_lease(world.namespace()).await,
        // A Lease that somebody else has changed is read.
        "get" => world.cluster.touch_lease(world.namespace()).await,
        "delete" => world.gateway.signal("TERM"),
        // These it does all the time.
        _ => assert!(["list", "update"].contains(&verb), "nobody knows what {verb} on leases is for"),
    }
}

/// Asserts that the operation for which a right exists fails without it.
async fn fails_without(right: &Right) {
    let (verb, resource) = (right.0.as_str(), right.1.as_str());
    let slow = (verb, resource) == ("get", "pods") || resource == "events";
    let world = world_with_the_role(if slow { "6s" } else { "60s" }).await;
    world.cluster.grant(&Rights::gateway().without(verb, resource)).await;
    let refused = match resource {
        "pods/exec" => "needs the verbs get and create".to_owned(),
        _ => format!("User \"{}\" cannot {verb} resource {resource:?}", world.cluster.account()),
    };
    let code = match (verb, resource) {
        ("create", "pods") => {
            let done = world.ssh().run("true").await.expect(255);
            let told = format!("podgate: the gateway may not create pods in the namespace {}\n", world.namespace());
            assert_eq!(done.stderr, told);
            "KUBERNETES_POD_CREATE_FAILED"
        }
        // A pod that no watch shows is asked for.
        ("get", "pods") => {
            world.cluster.grant(&Rights::gateway().without("watch", "pods").without(verb, resource)).await;
            let done = world.ssh().run("true").await.expect(255);
            assert!(done.stderr.contains("podgate: the pod was not ready within 6s"), "{}", done.stderr);
            return;
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
            miss_the_volume(&world);
            let done = world.ssh_as("bob").run("true").await.expect(255);
            assert!(done.stderr.ends_with("podgate: the pod was not ready within 6s\n"), "{}", done.stderr);
            return;
        }
        (_, "leases") => {
            lease_fails_without(&world, verb).await;
            if verb == "delete" { "KUBERNETES_LEASE_LEFT" } else { "KUBERNETES_LEASE_REFUSED" }
        }
        ("patch", "pods") => {
            let client = world.ssh().start("echo up; sleep 1000");
            client.until_stdout("up").await;
            world.cluster.delete_lease(world.namespace()).await;
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

#[podgate_test::multi_thread]
async fn each_right_is_needed_for_something_that_fails_without_it() {
    for right in Rights::gateway().each() {
        fails_without(&right).await;
    }
}

#[podgate_test::multi_thread]
async fn everything_together_uses_every_right_and_no_other() {
    let mut world = world_with_the_role("60s").await;
    use_everything(&world, &Rights::gateway()).await;
    assert_eq!(used(&mut world).await, Rights::gateway().each());
}

/// Brings about all that the gateway of one of the modes with these rights does with pods, events and Leases.
pub(super) async fn use_everything(world: &World, rights: &Rights) {
    // Before its first watch can begin, the gateway asks for the pod.
    world.cluster.grant(&rights.without("watch", "pods")).await;
    let mut open = world.ssh().start("echo up; read line");
    open.until_stdout("up").await;
    world.cluster.grant(rights).await;
    world.cluster.delete_lease(world.namespace()).await;
    let marked = |pods: &[Value]| pods.iter().all(|pod| pod["metadata"]["labels"]["podgate/term"] == "1");
    assert!(world.cluster.wait_for_pods(world.namespace(), marked).await, "{}", world.gateway.log());
    world.cluster.touch_lease(world.namespace()).await;
    open.write("enough\n").await;
    open.ended().await.expect(0);
    miss_the_volume(world);
    let mut client = world.ssh_as("bob").arg("-tt").arg("127.0.0.1").launch();
    client.until_stderr(&format!("podgate: waiting: a volume is missing: {VOLUME}")).await;
    bring_the_volume(world).await;
    client.write("exit 0\n").await;
    client.ended().await.expect(0);
}

/// The rights that the gateway has used when it has ended.
pub(super) async fn used(world: &mut World) -> BTreeSet<Right> {
    world.wait_for_nothing().await;
    world.gateway.signal("TERM");
    let _status = world.gateway.ended().await;
    let mut used = BTreeSet::new();
    for request in world.cluster.api_requests() {
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
    used
}
