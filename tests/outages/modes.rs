//! The API server is killed under the programs of the modes beside connection.

use super::{answers, assert_lost, assert_recovered, mark, person};
use crate::modes::{persistent, session};
use crate::support::client::Running;
use crate::support::master::Master;
use crate::support::{Setup, World};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// Programs that a cut stream treats differently: one that says nothing, one that ends well at the end of its input, and
/// one that takes no hint.
const PROGRAMS: [&str; 3] =
    ["echo up; exec sleep MARK", "echo up; cat; exit 0", "trap '' HUP TERM INT PIPE; echo up; sleep MARK; exit 0"];

/// Each program twice, by itself and on the master, and a person.
async fn running(world: &World, master: &Master<'_>, mark: &str) -> Vec<Running> {
    let programs = PROGRAMS.map(|program| program.replace("MARK", mark));
    let starts = programs.iter().flat_map(|program| [world.ssh().start(program), master.ssh().start(program)]);
    let mut clients: Vec<_> = starts.collect();
    join_all(clients.iter().map(|client| client.until_stdout("up"))).await;
    let mut terminal = person(world).launch();
    answers(&mut terminal).await;
    clients.push(terminal);
    clients
}

/// Kills the API, waits until everybody was told, and brings it back.
async fn outage(world: &World, clients: Vec<Running>) {
    world.cluster.api_down().await;
    let ended = join_all(clients.into_iter().map(Running::ended)).await;
    ended.into_iter().for_each(assert_lost);
    world.cluster.api_up().await;
}

#[podgate_test::multi_thread]
async fn killed_api_under_programs_with_pods_of_their_own_is_nobodys_success_and_the_pods_go() {
    // A program that ignores TERM is killed when the pod's grace period is over.
    let pod = json!({"spec": {"terminationGracePeriodSeconds": 1}});
    let world = Setup::config(session(pod)).alone().start().await;
    let mark = mark();
    let master = world.master(&[]).await;
    let clients = running(&world, &master, &mark).await;
    world.wait_for_pods(clients.len()).await;
    outage(&world, clients).await;
    assert_eq!(master.ssh().run("echo again; exit 3").await.expect(3).text(), "again\n");
    drop(master);
    assert_recovered(&world, &mark).await;
}

#[podgate_test::multi_thread]
async fn killed_api_under_programs_of_a_persistent_pod_is_nobodys_success_and_the_pod_stays() {
    let world = Setup::config(persistent(json!({"createMissingPods": true}))).alone().start().await;
    let master = world.master(&[]).await;
    let clients = running(&world, &master, &mark()).await;
    let made = world.cluster.pods(world.namespace());
    outage(&world, clients).await;
    for client in [master.ssh(), world.ssh()] {
        assert_eq!(client.run("echo again; exit 3").await.expect(3).text(), "again\n");
    }
    let now = world.cluster.pods(world.namespace());
    let what = |pods: &[Value]| pods.iter().map(|pod| pod["metadata"]["uid"].clone()).collect::<Vec<_>>();
    assert_eq!((now.len(), what(&now)), (1, what(&made)));
    assert_eq!(world.cluster.requests("delete", "pods"), 0);
}
