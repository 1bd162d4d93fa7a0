//! This process among the gateways of a cluster: its Lease, and what it does about the pods of those that are gone.
//!
//! Nothing is decided here: [`keeper::Keeper`] says what is to be asked of the API, one call at a time, and this module asks
//! it and writes the log. A pod is made only where [`Presence::cover`] has said that the Lease names its namespace.
//!
//! What holds for everybody else's pods, and under which conditions, is written in [`inquest`] and [`ledger`], and is
//! checked in all interleavings by the module `model`. An instance that others took for dead (it was frozen for longer
//! than its Lease lasts) stays the same instance: it takes its Lease back, and counts a new *term* with which it marks
//! the pods that it still has.

mod api;
mod inquest;
mod keeper;
mod ledger;
#[cfg(test)]
mod model;
mod protocol;
mod report;

use super::client::ClusterClient;
use super::pod::Instance;
use super::watch::{Place, Watches};
use crate::settings::Home;
use crate::shutdown::Tasks;
use crate::telemetry::Log;
use crate::types::Namespace;
use api::Api;
use keeper::{Cover, Keeper, Step};
use protocol::{Answer, Request};
use report::Report;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

/// How long the end of the process may take here.
const LEAVING: Duration = Duration::from_secs(3);

/// In how many namespaces the last look for pods of ours is made.
const LAST_LOOK: usize = 16;

/// The process's presence; it ends when this is dropped.
pub(super) struct Presence {
    shared: Arc<Shared>,
    tasks: Tasks,
}

struct Shared {
    instance: Instance,
    home: Home,
    api: Api,
    watches: Watches,
    log: Log,
    keeper: Mutex<Keeper>,
    /// A namespace is wanted.
    wanted: Notify,
    /// Something was answered.
    answered: Notify,
}

impl Presence {
    /// Begins to be present. Call it within the runtime.
    pub(super) fn start(instance: Instance, home: Home, client: &ClusterClient, watches: Watches, log: Log) -> Self {
        let within = home.http.min(home.lease / 3);
        let api = Api::new(client.kube(), home.namespace.clone(), within);
        let keeper = Keeper::new(instance, home.namespace.clone(), home.lease, Instant::now());
        let shared = Arc::new(Shared {
            instance,
            home,
            api,
            watches,
            log,
            keeper: Mutex::new(keeper),
            wanted: Notify::new(),
            answered: Notify::new(),
        });
        let tasks = Tasks::new();
        tasks.spawn(Arc::clone(&shared).run(tasks.stopping().clone()));
        Self { shared, tasks }
    }

    /// Waits until the Lease names that place, whose watch the caller holds open, and gives what a pod's labels say of the
    /// Lease: where it is, and the term. `None` where no other gateway will sweep up after this one.
    pub(super) async fn cover(&self, place: &Place) -> Option<(&Namespace, u32)> {
        if place.cluster != self.shared.home.cluster {
            return None;
        }
        loop {
            let answered = self.shared.answered.notified();
            match self.shared.keeper().cover(&place.namespace, Instant::now()) {
                Cover::Leased(term) => return Some((&self.shared.home.namespace, term)),
                Cover::Never => return None,
                Cover::Soon => self.shared.wanted.notify_one(),
            }
            answered.await;
        }
    }

    /// Ends it: the Lease is deleted if no pod is left; else it runs out, and another gateway sweeps up.
    pub(super) async fn leave(&self) {
        let leaving = async {
            self.tasks.finish().await;
            self.shared.leave().await
        };
        if let Err(why) = timeout(LEAVING, leaving).await.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Report::new(&self.shared.log, &self.shared.home).left(&why);
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

impl Shared {
    /// The keeper's every change is one step: it is whole whatever panicked beside it.
    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, stop: tokio_util::sync::CancellationToken) {
        let mut report = Report::new(&self.log, &self.home);
        while !stop.is_cancelled() {
            let in_use = || self.watches.namespaces(&self.home.cluster);
            let step = {
                let mut keeper = self.keeper();
                keeper.next(in_use, Instant::now())
            };
            match step {
                Step::Ask(request) => {
                    let begun = Instant::now();
                    let answer = self.api.carry_out(request).await;
                    let notices = {
                        let mut keeper = self.keeper();
                        keeper.answered(answer, begun, Instant::now());
                        keeper.notices()
                    };
                    self.answered.notify_waiters();
                    report.write(notices);
                }
                Step::Wait(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = self.wanted.notified() => {}
                    () = stop.cancelled() => {}
                },
            }
        }
    }

    /// Deletes the Lease; why it stays.
    async fn leave(&self) -> Result<(), String> {
        let held = self.keeper().held().map(|(version, namespaces)| (version.clone(), namespaces.clone()));
        let Some((version, namespaces)) = held else { return Ok(()) };
        self.look_for_pods(&namespaces).await?;
        match self.api.carry_out(Request::Forget(self.instance, version)).await {
            Answer::Refused(why) | Answer::Failed(why) => Err(why),
            _ => Ok(()),
        }
    }

    async fn look_for_pods(&self, namespaces: &BTreeSet<Namespace>) -> Result<(), String> {
        if namespaces.len() > LAST_LOOK {
            return Err("there are too many namespaces to look for pods in each".to_owned());
        }
        for namespace in namespaces {
            let request = Request::ListPods { namespace: namespace.clone(), owner: self.instance };
            match self.api.carry_out(request).await {
                Answer::Pods(pods) if pods.is_empty() => {}
                Answer::Pods(_) => return Err(format!("pods are left in the namespace {namespace}")),
                Answer::Refused(why) | Answer::Failed(why) => return Err(why),
                _ => return Err("the answer is not valid".to_owned()),
            }
        }
        Ok(())
    }
}
