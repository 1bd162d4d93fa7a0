//! Many logins at once: all of them are served and leave nothing, and the API is asked little.

use crate::support::cluster::{Access, kubeconfig};
use crate::support::role::Rights;
use crate::support::{Setup, World};
use futures_util::{StreamExt, stream};
use std::time::Instant;

/// The number of simultaneous logins on a development cluster and on a real one, whose pods start slowly: who waits for long
/// asks for the reasons.
const AT_ONCE: [usize; 2] = [20, 10];
/// The total number of logins on a development cluster, which records a limited number of requests, and on a real one.
const LOGINS: [usize; 2] = [60, 100];
/// The number of requests that a login may cost.
const REQUESTS: usize = 6;

/// Logs in, says something that nobody else does, and leaves.
async fn login(world: &World, number: usize) {
    let done = world.ssh().run(&format!("echo {number}; exit 3")).await.expect(3);
    assert_eq!((done.text(), done.stderr.as_str()), (format!("{number}\n"), ""));
}

/// A real cluster's node has other things to do then. The gateway has an account of its own, by which everything that it
/// asks is known, for the whole cluster too.
#[podgate_test::multi_thread]
async fn crowd_is_served_and_costs_the_api_little() {
    let access = Access::Rights(Rights::gateway());
    let world = Setup { access, ..Setup::default() }.alone().start().await;
    let real = usize::from(kubeconfig().is_some());
    let (start, logins) = (Instant::now(), LOGINS[real]);
    stream::iter(0..logins).for_each_concurrent(AT_ONCE[real], |number| login(&world, number)).await;
    let served = start.elapsed();
    world.wait_for_nothing().await;
    let gone = start.elapsed();

    let asked = world.cluster.api_requests();
    let of = |verb: &str| asked.iter().filter(|asked| asked.verb == verb).collect::<Vec<_>>();
    eprintln!(
        "{logins} logins in {served:.1?}, all pods gone after {gone:.1?}, {} requests: {}",
        asked.len(),
        ["create", "get", "list", "watch", "delete"].map(|verb| format!("{} {verb}", of(verb).len())).join(", "),
    );
    assert!(of("create").len() >= logins && of("delete").len() >= logins, "not all requests were seen");
    assert!(asked.len() <= REQUESTS * logins, "{} requests", asked.len());
    for one in &asked {
        // At its start a gateway asks who it is and what it may.
        assert!(one.namespace == world.namespace() || one.resource.starts_with("selfsubject"), "{one:?}");
    }
    for list in of("list").into_iter().chain(of("watch")) {
        assert!(list.query.contains("labelSelector=") || list.query.contains("fieldSelector="), "{list:?}");
    }
    // One watch for all, asked for anew once a minute.
    let minutes = usize::try_from(gone.as_secs() / 60).expect("a short test");
    assert!(of("watch").len() <= 2 + minutes, "{} watches", of("watch").len());
    assert!(world.gateway.lines("KUBERNETES_POD_REAPED").is_empty());
}
