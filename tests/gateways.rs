//! Gateways that share a cluster: the pods of one that is gone go, those of one that lives stay.

use crate::support::cluster::{self, Access};
use crate::support::gateway::Gateway;
use crate::support::muting_proxy::MutingProxy;
use crate::support::role::Rights;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A Lease's duration here: long enough for a machine that is busy with other tests.
const LEASE: Duration = Duration::from_secs(6);

/// The time limit for the removal of an orphan: two of the durations that a Lease has where none is configured.
const GONE: Duration = Duration::from_secs(2 * 30);

fn setup() -> Setup {
    let mut setup = Setup::config(json!({"kubernetes": {"leaseDuration": format!("{LEASE:?}")}}));
    let away = cluster::namespace("away");
    let chosen = json!({"kubernetes": {"pod": {"metadata": {"namespace": away}}}});
    setup.users = vec![("alice", json!({})), ("bob", json!({})), ("carol", chosen)];
    setup.namespaces.push(away);
    setup
}

/// The second namespace of a world, which only carol uses.
fn away(setup: &Setup) -> String {
    setup.namespaces[1].clone()
}

/// The pod of a user, if there is one that is not going.
fn pod_of(pods: &[Value], user: &str) -> Option<String> {
    let of = |pod: &&Value| pod["metadata"]["labels"]["containerssh_username"] == user;
    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    pods.iter().filter(of).find(stays).and_then(|pod| pod["metadata"]["uid"].as_str()).map(str::to_owned)
}

async fn wait_until_gone(world: &World, namespace: &str, user: &str) {
    let start = Instant::now();
    assert!(
        world.cluster.wait_for_pods(namespace, |pods| pod_of(pods, user).is_none()).await,
        "{}",
        world.gateway.log()
    );
    assert!(start.elapsed() < GONE, "{user}'s pod went after {:?}", start.elapsed());
}

async fn wait_until_held(gateway: &Gateway) {
    gateway.wait_for_line("KUBERNETES_LEASE_HELD").await;
}

/// Waits until every other gateway has renewed its Lease twice, and thus read this one's between.
async fn wait_until_read(world: &World, instance: &str) {
    let renewals = |leases: &[Value]| -> Vec<String> {
        let others = leases.iter().filter(|lease| lease["spec"]["holderIdentity"] != instance);
        others.map(|lease| lease["spec"]["renewTime"].to_string()).collect()
    };
    for _ in 0..2 {
        let before = renewals(&world.cluster.leases(world.namespace()));
        let after = |leases: &[Value]| renewals(leases).iter().all(|time| !before.contains(time));
        assert!(world.cluster.wait_for_leases(world.namespace(), after).await, "{}", world.gateway.log());
    }
}

fn lease_names(leases: &[Value]) -> Vec<String> {
    leases.iter().map(|lease| lease["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[podgate_test::multi_thread]
async fn pods_of_a_killed_gateway_go_wherever_they_are_and_those_of_a_living_one_stay() {
    let setup = setup();
    let away = away(&setup);
    let mut world = setup.start().await;
    let another = world.another_gateway().await;
    let alice = world.ssh().start("echo up; sleep 1000");
    alice.until_stdout("up").await;
    let carol = world.ssh_as("carol").start("echo up; sleep 1000");
    carol.until_stdout("up").await;
    let mut bob = world.ssh_to(&another, "bob").start("echo up; cat");
    bob.until_stdout("up").await;
    assert!(pod_of(&world.cluster.pods(&away), "carol").is_some());

    world.gateway.signal("KILL");
    let _status = world.gateway.ended().await;
    let home = world.namespace().to_owned();
    let start = Instant::now();
    wait_until_gone(&world, &home, "alice").await;
    wait_until_gone(&world, &away, "carol").await;
    assert!(start.elapsed() < GONE, "{:?}", start.elapsed());
    assert_eq!(another.wait_for_line("KUBERNETES_GATEWAY_GONE").await["details"]["pods"], "2");

    let one = world.cluster.wait_for_leases(&home, |leases| leases.len() == 1).await;
    assert!(one, "{:#?}\n{}", world.cluster.leases(&home), another.log());
    bob.write("still here\n").await;
    bob.until_stdout("still here").await;
    assert!(pod_of(&world.cluster.pods(&home), "bob").is_some());
    drop((alice, carol));
}

#[podgate_test::multi_thread]
async fn gateway_that_is_restarted_at_once_sweeps_up_after_itself() {
    let setup = setup();
    let away = away(&setup);
    let mut world = setup.start().await;
    let client = world.ssh().start("echo up; sleep 1000");
    client.until_stdout("up").await;
    let carol = world.ssh_as("carol").start("echo up; sleep 1000");
    carol.until_stdout("up").await;
    world.gateway.signal("KILL");
    let _status = world.gateway.ended().await;
    world.gateway = world.another_gateway().await;
    let home = world.namespace().to_owned();
    let next = world.ssh_as("bob").start("echo up; sleep 1000");
    next.until_stdout("up").await;
    wait_until_gone(&world, &home, "alice").await;
    wait_until_gone(&world, &away, "carol").await;
    assert!(pod_of(&world.cluster.pods(&home), "bob").is_some());
}

#[podgate_test::multi_thread]
async fn gateway_frozen_for_longer_than_its_lease_loses_its_pods_and_none_that_it_makes_later() {
    let world = setup().start().await;
    let home = world.namespace().to_owned();
    let another = world.another_gateway().await;
    wait_until_held(&another).await;
    let alice = world.ssh().start("echo up; sleep 1000");
    alice.until_stdout("up").await;
    let bob = world.ssh_to(&another, "bob").start("echo up; sleep 1000");
    bob.until_stdout("up").await;

    world.gateway.signal("STOP");
    wait_until_gone(&world, &home, "alice").await;
    world.gateway.signal("CONT");
    let told = alice.ended().await.expect(255).stderr;
    assert_eq!(told.trim_end(), "podgate: the pod was deleted");
    let later = world.ssh().start("echo up; sleep 1000");
    later.until_stdout("up").await;
    let pods = world.cluster.pods(&home);
    let before = (pod_of(&pods, "alice"), pod_of(&pods, "bob"));
    assert!(before.0.is_some() && before.1.is_some());
    world.gateway.wait_for_line("KUBERNETES_LEASE_LOST").await;
    sleep(2 * LEASE).await;
    let pods = world.cluster.pods(&home);
    assert_eq!((pod_of(&pods, "alice"), pod_of(&pods, "bob")), before);
    drop(bob);
}

#[podgate_test::multi_thread]
async fn outage_longer_than_a_lease_costs_only_the_pods_of_who_was_killed_in_it() {
    let setup = setup();
    let away = away(&setup);
    let world = setup.alone().start().await;
    let home = world.namespace().to_owned();
    let (another, mut doomed) = (world.another_gateway().await, world.another_gateway().await);
    let alice = world.master(&[]).await;
    // Nothing runs in it: a connection without a stream outlives the API's absence.
    let bob = world.ssh_to(&another, "bob").arg("-N").arg("127.0.0.1").launch();
    let carol = world.ssh_to(&doomed, "carol").start("echo up; sleep 1000");
    carol.until_stdout("up").await;
    let both = |pods: &[Value]| pod_of(pods, "alice").is_some() && pod_of(pods, "bob").is_some();
    assert!(world.cluster.wait_for_pods(&home, both).await, "{}", world.gateway.log());
    let of = |pods: &[Value]| (pod_of(pods, "alice"), pod_of(pods, "bob"));
    let before = of(&world.cluster.pods(&home));
    let session = alice.ssh().start("echo up; sleep 1000");
    session.until_stdout("up").await;

    // A short freeze costs nothing either.
    world.gateway.signal("STOP");
    sleep(LEASE / 3).await;
    world.gateway.signal("CONT");
    world.cluster.api_down().await;
    let lost = session.ended().await.expect(255);
    assert_eq!(lost.stderr.trim_end(), "podgate: the connection to the container was lost");
    doomed.signal("KILL");
    let _status = doomed.ended().await;
    sleep(LEASE * 3 / 2).await;
    world.cluster.api_up().await;
    // A gateway that judges dead gateways again judges all.
    wait_until_gone(&world, &away, "carol").await;
    assert_eq!(of(&world.cluster.pods(&home)), before, "{}\n{}", world.gateway.log(), another.log());
    assert_eq!(alice.ssh().run("echo again").await.expect(0).text(), "again\n");
    drop((bob, carol));
}

#[podgate_test::multi_thread]
async fn pod_of_a_create_whose_answer_was_lost_goes_with_its_gateway() {
    let world = setup().start().await;
    wait_until_held(&world.gateway).await;
    let proxy = MutingProxy::start(&world).await;
    let mut doomed = world.gateway_with(json!({"kubernetes": {"connection": proxy.connection()}})).await;
    // Its connections to the API stay open for the next login.
    world.ssh_to(&doomed, "bob").run("true").await.expect(0);
    world.wait_for_nothing().await;
    proxy.mute();
    let client = world.ssh_to(&doomed, "alice").start("true");
    world.pod().await;
    doomed.signal("KILL");
    let _status = doomed.ended().await;
    assert!(doomed.lines("KUBERNETES_POD_READY").len() == 1, "{}", doomed.log());
    wait_until_gone(&world, world.namespace(), "alice").await;
    drop(client);
}

#[podgate_test::multi_thread]
async fn namespace_is_not_forgotten_when_its_lease_is_deleted_and_all_gateways_are_killed() {
    let setup = setup();
    let away = away(&setup);
    let mut world = setup.start().await;
    let home = world.namespace().to_owned();
    let mut another = world.another_gateway().await;
    let carol = world.ssh_as("carol").start("echo up; sleep 1000");
    carol.until_stdout("up").await;
    let owner =
        world.cluster.pods(&away)[0]["metadata"]["labels"]["podgate/instance"].as_str().expect("one").to_owned();
    // The other one has read the Lease that names the namespace when it has renewed its own again.
    wait_until_read(&world, &owner).await;
    world.gateway.signal("STOP");
    world.cluster.delete_lease_named(&home, &format!("podgate-{owner}")).await;
    let restored = another.wait_for_line("KUBERNETES_LEASE_RESTORED").await;
    assert_eq!((&restored["details"]["instance"], &restored["details"]["pods"]), (&json!(owner), &json!("1")));
    for gateway in [&mut world.gateway, &mut another] {
        gateway.signal("KILL");
        let _status = gateway.ended().await;
    }
    world.gateway = world.another_gateway().await;
    wait_until_gone(&world, &away, "carol").await;
}

#[podgate_test::multi_thread]
async fn lease_names_each_namespace_before_it_is_used_and_ends_with_the_gateway() {
    let setup = setup();
    let away = away(&setup);
    let mut world = setup.start().await;
    let home = world.namespace().to_owned();
    let carol = world.ssh_as("carol").start("echo up; sleep 1000");
    carol.until_stdout("up").await;
    let leases = world.cluster.leases(&home);
    assert_eq!(leases.len(), 1, "{:?}", lease_names(&leases));
    assert_eq!(leases[0]["metadata"]["annotations"]["podgate/namespaces"], away.as_str());
    assert_eq!(leases[0]["spec"]["leaseDurationSeconds"], 6);
    let labels = world.cluster.pods(&away)[0]["metadata"]["labels"].clone();
    assert_eq!(labels["podgate/term"], "0");
    assert_eq!(leases[0]["spec"]["holderIdentity"], labels["podgate/instance"]);
    world.gateway.signal("TERM");
    let _status = world.gateway.ended().await;
    assert_eq!(lease_names(&world.cluster.leases(&home)), Vec::<String>::new(), "{}", world.gateway.log());
}

#[podgate_test::multi_thread]
async fn gateways_with_another_home_keep_their_pods_in_a_namespace_that_is_used_by_both() {
    let mut setup = setup();
    let (home, elsewhere) = (setup.namespaces[0].clone(), cluster::namespace("elsewhere"));
    setup.users.push(("dora", json!({"kubernetes": {"pod": {"metadata": {"namespace": home}}}})));
    setup.namespaces.push(elsewhere.clone());
    let world = setup.start().await;
    let stranger = world.gateway_with(json!({"kubernetes": {"pod": {"metadata": {"namespace": elsewhere}}}})).await;
    let mut dora = world.ssh_to(&stranger, "dora").start("echo up; cat");
    dora.until_stdout("up").await;
    let labels = world.cluster.pods(&home)[0]["metadata"]["labels"].clone();
    assert_eq!(labels["podgate/home"], elsewhere.as_str());
    // Longer than it takes to remove what nobody of the group knows.
    sleep(2 * LEASE).await;
    assert!(pod_of(&world.cluster.pods(&home), "dora").is_some(), "{}", world.gateway.log());
    dora.write("still here\n").await;
    dora.until_stdout("still here").await;
}

#[podgate_test::multi_thread]
async fn gateway_without_rights_on_leases_warns_and_nobody_sweeps_up_after_it() {
    let mut setup = setup();
    setup.access = Access::Rights(Rights::gateway().without_all("leases"));
    let world = setup.start().await;
    let warning = world.gateway.wait_for_line("KUBERNETES_LEASE_REFUSED").await;
    assert_eq!(warning["level"], "warning");
    let reason = warning["details"]["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("role needs get, list, create, update and delete on leases.coordination.k8s.io"),
        "{warning}"
    );
    let client = world.ssh().start("echo up; sleep 1000");
    client.until_stdout("up").await;
    let pods = world.cluster.pods(world.namespace());
    assert!(pods[0]["metadata"]["labels"]["podgate/term"].is_null(), "{}", pods[0]["metadata"]);
}

#[podgate_test::multi_thread]
async fn login_costs_no_request_about_leases_once_its_namespace_is_named() {
    let world = Setup::default().start().await;
    world.ssh().run("true").await.expect(0);
    let count = || ["get", "list", "create", "update"].map(|verb| world.cluster.requests(verb, "leases"));
    let before = count();
    let start = Instant::now();
    for _ in 0..3 {
        world.ssh().run("true").await.expect(0);
    }
    // The renewals of that time, one a third of 30 s, each with one look at the others.
    let renewals = start.elapsed().as_secs() / 10 + 1;
    let asked: u64 = count().iter().zip(before).map(|(now, before)| now - before).sum();
    assert!(asked <= 2 * renewals, "{asked} requests in {:?}", start.elapsed());
}
