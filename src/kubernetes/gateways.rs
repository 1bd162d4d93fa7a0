//! The gateways of a cluster that watch each other: every gateway renews a Lease, and removes the pods of gateways whose
//! Leases have expired.
//!
//! Nothing is decided here: [`coordinator::Coordinator`] decides on one API call at a time, and this module makes the calls and
//! writes the log. A pod is created only after [`GatewayLease::ensure_listed`] has found the pod's namespace in the Lease.
//!
//! The conditions under which the pods of another gateway are removed stand in [`takeover`] and [`peers`]. The module
//! `model` checks them in all interleavings. An instance that others took for dead (it was frozen for longer than its
//! Lease's duration) stays the same instance: it takes its Lease back, and begins a new *term*, with which it labels the
//! pods that it still has.

mod api;
mod coordinator;
mod messages;
#[cfg(test)]
mod model;
mod peers;
mod protocol;
mod takeover;

use super::api::client::ClusterClient;
use super::pod::backend_parts::GatewayMembership;
use super::pod::manifest::Instance;
use super::pod::watch::{WatchScope, Watches};
use crate::settings::{Cluster, GatewayHome};
use crate::shutdown::{LEASE_REMOVAL, Tasks};
use crate::telemetry::Log;
use crate::types::Namespace;
use api::CoordinationApi;
use arc_swap::ArcSwap;
use coordinator::{Coordinator, CoordinatorStep, NamespaceListing};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use messages::CoordinatorLog;
use parking_lot::Mutex;
use protocol::{ClusterAnswer, ClusterRequest};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

/// Limit of the namespaces that are searched for own pods before the Lease is deleted.
const MAX_LAST_SEARCH: usize = 16;

/// Limit of the names of the cluster that are known: connections of so many configurations ago have their pods listed.
const KNOWN: usize = 64;

/// The Lease of this process, and the task that renews it and watches the other gateways. Dropping it stops the task.
pub(super) struct GatewayLease {
    task: Arc<CoordinatorTask>,
    tasks: Tasks,
}

struct CoordinatorTask {
    instance: Instance,
    home: GatewayHome,
    access: ArcSwap<LeaseAccess>,
    watches: Watches,
    log: Log,
    coordinator: Mutex<Coordinator>,
    namespace_requested: Notify,
    answer_handled: Notify,
}

/// The way to the cluster of the Lease, which a reload can change.
struct LeaseAccess {
    api: CoordinationApi,
    /// The cluster as the configurations so far wrote it, the one in force last.
    clusters: Vec<Arc<Cluster>>,
}

impl GatewayLease {
    /// Starts the task. Must be called within the runtime.
    pub(super) fn start(
        instance: Instance,
        home: GatewayHome,
        client: &ClusterClient,
        watches: Watches,
        log: Log,
    ) -> Self {
        let access = LeaseAccess { api: coordination_api(&home, client), clusters: vec![Arc::clone(&home.cluster)] };
        let coordinator = Coordinator::new(instance, home.namespace.clone(), home.lease, Instant::now());
        let task = Arc::new(CoordinatorTask {
            instance,
            home,
            access: ArcSwap::from_pointee(access),
            watches,
            log,
            coordinator: Mutex::new(coordinator),
            namespace_requested: Notify::new(),
            answer_handled: Notify::new(),
        });
        let tasks = Tasks::new();
        tasks.spawn(Arc::clone(&task).run(tasks.stopping().clone()));
        Self { task, tasks }
    }
}

/// The names of the pods in a namespace whose gateways are gone; `ahead` is by how many seconds the API server's clock is.
///
/// # Errors
/// The API's reason.
pub(super) async fn orphans(
    client: &ClusterClient,
    home: &GatewayHome,
    (namespace, ahead): (&Namespace, i64),
) -> Result<Vec<String>, String> {
    let api = coordination_api(home, client);
    let now = Timestamp::from_second(Timestamp::now().as_second() + ahead).unwrap_or_else(|_far| Timestamp::now());
    let mut known = api.living(now).await.map_err(|error| error.to_string())?;
    // A selector has at least one value.
    known.insert(Instance::random());
    let request = ClusterRequest::ListUnknownOwners { namespace: namespace.clone(), known };
    match api.execute(request).await {
        ClusterAnswer::Pods(pods) => Ok(pods.into_iter().map(|pod| pod.name).collect()),
        ClusterAnswer::Refused(reason) | ClusterAnswer::Failed(reason) => Err(reason),
        _ => Err("the answer is not valid".to_owned()),
    }
}

fn coordination_api(home: &GatewayHome, client: &ClusterClient) -> CoordinationApi {
    CoordinationApi::new(client.kube(), home.namespace.clone(), home.http.min(home.lease / 3))
}

impl GatewayMembership for GatewayLease {
    fn ensure_listed<'a>(&'a self, scope: &'a WatchScope) -> BoxFuture<'a, Option<(&'a Namespace, u32)>> {
        self.task.ensure_listed(scope).boxed()
    }

    fn renew(&self, home: &GatewayHome, client: &ClusterClient) -> bool {
        let place = |home: &GatewayHome| {
            let cluster = &home.cluster;
            (cluster.host.clone(), cluster.server_name.clone(), home.namespace.clone())
        };
        if place(home) != place(&self.task.home) {
            return false;
        }
        let mut clusters = self.task.access.load().clusters.clone();
        if clusters.last() != Some(&home.cluster) {
            clusters.retain(|known| *known != home.cluster);
            clusters.push(Arc::clone(&home.cluster));
            clusters.drain(..clusters.len().saturating_sub(KNOWN));
            self.task.access.store(Arc::new(LeaseAccess { api: coordination_api(home, client), clusters }));
        }
        true
    }

    /// Stops the task and deletes the Lease if no pod is left. Otherwise the Lease expires, and another gateway removes the
    /// pods.
    fn leave(&self) -> BoxFuture<'_, ()> {
        let leaving = async {
            self.tasks.finish().await;
            self.task.leave().await
        };
        async {
            if let Err(reason) =
                timeout(LEASE_REMOVAL, leaving).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
            {
                CoordinatorLog::new(&self.task.log, &self.task.home).lease_left(&reason);
            }
        }
        .boxed()
    }
}

impl Drop for GatewayLease {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

impl CoordinatorTask {
    /// Waits until the Lease lists the namespace of `scope`.
    async fn ensure_listed(&self, scope: &WatchScope) -> Option<(&Namespace, u32)> {
        if !self.access.load().clusters.contains(&scope.cluster) {
            return None;
        }
        loop {
            let handled = self.answer_handled.notified();
            match self.coordinator.lock().ensure_listed(&scope.namespace, Instant::now()) {
                NamespaceListing::Listed(term) => return Some((&self.home.namespace, term)),
                NamespaceListing::Unavailable => return None,
                NamespaceListing::Pending => self.namespace_requested.notify_one(),
            }
            handled.await;
        }
    }

    async fn run(self: Arc<Self>, stop: tokio_util::sync::CancellationToken) {
        let mut log = CoordinatorLog::new(&self.log, &self.home);
        while !stop.is_cancelled() {
            let access = self.access.load_full();
            let in_use = || access.clusters.iter().flat_map(|cluster| self.watches.namespaces(cluster)).collect();
            let step = {
                let mut coordinator = self.coordinator.lock();
                coordinator.next_step(in_use, Instant::now())
            };
            match step {
                CoordinatorStep::Send(request) => {
                    let begun = Instant::now();
                    let answer = access.api.execute(request).await;
                    let notices = {
                        let mut coordinator = self.coordinator.lock();
                        coordinator.handle_answer(answer, begun, Instant::now());
                        coordinator.take_notices()
                    };
                    self.answer_handled.notify_waiters();
                    log.write(notices);
                }
                CoordinatorStep::Wait(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = self.namespace_requested.notified() => {}
                    () = stop.cancelled() => {}
                },
            }
        }
    }

    /// Deletes the Lease if no pod of this process is left.
    ///
    /// # Errors
    /// The reason why the Lease stays.
    async fn leave(&self) -> Result<(), String> {
        let held =
            self.coordinator.lock().held_lease().map(|(version, namespaces)| (version.clone(), namespaces.clone()));
        let Some((version, namespaces)) = held else { return Ok(()) };
        self.check_no_pods_left(&namespaces).await?;
        match self.access.load_full().api.execute(ClusterRequest::DeleteLease(self.instance, version)).await {
            ClusterAnswer::Refused(reason) | ClusterAnswer::Failed(reason) => Err(reason),
            _ => Ok(()),
        }
    }

    async fn check_no_pods_left(&self, namespaces: &BTreeSet<Namespace>) -> Result<(), String> {
        if namespaces.len() > MAX_LAST_SEARCH {
            return Err("there are too many namespaces to look for pods in each".to_owned());
        }
        for namespace in namespaces {
            let request = ClusterRequest::ListPods { namespace: namespace.clone(), owner: self.instance };
            match self.access.load_full().api.execute(request).await {
                ClusterAnswer::Pods(pods) if pods.is_empty() => {}
                ClusterAnswer::Pods(_) => return Err(format!("pods are left in the namespace {namespace}")),
                ClusterAnswer::Refused(reason) | ClusterAnswer::Failed(reason) => return Err(reason),
                _ => return Err("the answer is not valid".to_owned()),
            }
        }
        Ok(())
    }
}
