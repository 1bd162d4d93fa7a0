//! The watches of pods: one of our own pods for every cluster and namespace in use, and one of the claimed persistent pods
//! there. A shared persistent pod is claimed by nobody and has a watch of its own.
//!
//! A watch opens with its first subscription, and closes some time after its last, when it shows no pod any more. It
//! survives expired versions, restarts of the API, and proxies that cut it while no pod changes.

mod table;

pub(crate) use table::WatchedPod;

use super::manifest::{IDENTITY, INSTANCE, Instance};
use super::reaper::{ConnectionCheck, Reaper};
use crate::kubernetes::api::client::ClusterClient;
use crate::kubernetes::api::pods::ApiError;
use crate::kubernetes::api::retry::Backoff;
use crate::settings::Cluster;
use crate::shutdown::Tasks;
use crate::telemetry::{Log, codes};
use crate::types::{Namespace, PodName};
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use table::PodTable;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Limit of one watch request, in seconds. With 5 s more it is also the longest time that a dead connection goes unnoticed.
const REQUEST_SECONDS: u32 = 60;

/// A watch that ends at least this long after its last failure was cut by a proxy as idle, because a watch cannot ping. It
/// resumes at once, and nothing is logged.
const IDLE_CUT: Duration = Duration::from_secs(5);

/// Time for which a watch without subscriptions stays open: longer than the reaper waits, so that it shows the pods of
/// creates with lost answers.
const LINGER: Duration = Duration::from_secs(90);

/// Interval between two runs of the reaper.
const REAP_INTERVAL: Duration = Duration::from_secs(5);

/// The pods that a watch shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WatchScope {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) namespace: Namespace,
    pub(crate) selection: PodSelection,
}

/// The selection of a watch among the pods of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum PodSelection {
    /// The pods that this process created for its connections.
    Own,
    /// The persistent pods that are claimed.
    Claimed,
    /// The shared persistent pod of this name.
    Named(PodName),
}

impl PodSelection {
    fn config(&self, instance: &Instance) -> watcher::Config {
        let config = watcher::Config::default().timeout(REQUEST_SECONDS);
        match self {
            Self::Own => config.labels(&format!("{INSTANCE}={instance}")),
            Self::Claimed => config.labels(&format!("{IDENTITY},!{INSTANCE}")),
            Self::Named(name) => config.fields(&format!("metadata.name={name}")),
        }
    }
}

/// The open watches, and what each of them needs.
#[derive(Clone)]
pub(crate) struct Watches {
    shared: Arc<WatchContext>,
}

struct WatchContext {
    log: Log,
    tasks: Tasks,
    instance: Instance,
    live: ConnectionCheck,
    open: Mutex<HashMap<WatchScope, Arc<WatchState>>>,
}

/// The state of one watch, shared by its subscriptions and its task.
struct WatchState {
    table: Mutex<PodTable>,
    users: Mutex<usize>,
    left: Notify,
}

/// A subscription to a watch, which stays open as long as there is one.
pub(crate) struct Subscription {
    watched: Arc<WatchState>,
}

/// A follower of one pod on a watch.
pub(crate) struct Follower {
    watched: Arc<WatchState>,
    number: u64,
    seen: watch::Receiver<WatchedPod>,
}

impl Watches {
    pub(crate) fn new(log: Log, tasks: Tasks, instance: Instance, live: ConnectionCheck) -> Self {
        Self { shared: Arc::new(WatchContext { log, tasks, instance, live, open: Mutex::default() }) }
    }

    /// Returns the namespaces of a cluster where this process has pods or is about to create some: those with an open watch,
    /// or with one that was open when the process began to end.
    pub(crate) fn namespaces(&self, cluster: &Cluster) -> BTreeSet<Namespace> {
        let open = self.shared.open.lock();
        open.keys().filter(|scope| *scope.cluster == *cluster).map(|scope| scope.namespace.clone()).collect()
    }

    /// Subscribes to the watch of a scope, and opens it if necessary.
    pub(crate) fn subscribe(&self, scope: &WatchScope, client: &Arc<ClusterClient>) -> Subscription {
        let mut open = self.shared.open.lock();
        let watched = open.entry(scope.clone()).or_insert_with(|| {
            let watched = Arc::new(WatchState { table: Mutex::default(), users: Mutex::new(0), left: Notify::new() });
            let task = WatchTask {
                shared: Arc::clone(&self.shared),
                watched: Arc::clone(&watched),
                scope: scope.clone(),
                client: Arc::clone(client),
            };
            self.shared.tasks.spawn(task.run());
            watched
        });
        *watched.users.lock() += 1;
        Subscription { watched: Arc::clone(watched) }
    }
}

impl Subscription {
    /// Follows the pod with this uid, which exists or existed.
    pub(crate) fn follow(&self, uid: &str) -> Follower {
        let (number, seen) = self.watched.table.lock().follow(uid);
        Follower { watched: Arc::clone(&self.watched), number, seen }
    }

    /// Returns the reason why the watch does not work at the moment.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.watched.table.lock().trouble(Instant::now()).map(str::to_owned)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        *self.watched.users.lock() -= 1;
        self.watched.left.notify_one();
    }
}

impl Follower {
    /// Returns the last state of the pod that the watch showed.
    pub(crate) fn seen(&mut self) -> WatchedPod {
        self.seen.borrow_and_update().clone()
    }

    /// Waits until the watch shows another state. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.watched.table.lock().unfollow(self.number);
    }
}

/// The task of one watch.
struct WatchTask {
    shared: Arc<WatchContext>,
    watched: Arc<WatchState>,
    scope: WatchScope,
    client: Arc<ClusterClient>,
}

impl WatchTask {
    async fn run(self) {
        let mut events = pin!(self.events());
        let mut reaper = Reaper::new(Arc::clone(&self.shared.live));
        let mut sweep = interval(REAP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unused_since = None;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.take(event),
                    None => return self.close(),
                },
                _ = sweep.tick() => if self.scope.selection == PodSelection::Own {
                    self.sweep(&mut reaper);
                },
                () = self.watched.left.notified() => {}
                () = self.shared.tasks.stopping().cancelled(), if unused_since.is_some() => {}
            }
            if self.close_if_unused(&mut unused_since) {
                return;
            }
        }
    }

    fn events(&self) -> impl Stream<Item = watcher::Result<watcher::Event<Pod>>> + use<> {
        let pods = kube::Api::<Pod>::namespaced(self.client.kube(), self.scope.namespace.as_str());
        steady(watcher::watcher(pods, self.scope.selection.config(&self.shared.instance)))
    }

    fn take(&self, event: watcher::Result<watcher::Event<Pod>>) {
        let mut table = self.watched.table.lock();
        match event {
            Ok(event) => table.take(event),
            Err(watcher::Error::WatchError(status)) if status.code == 410 => {}
            Err(error) => {
                let text = watch_error_text(error);
                if table.failed(text.clone(), Instant::now()) {
                    self.warn(&text);
                }
            }
        }
    }

    fn warn(&self, reason: &str) {
        let details = [("namespace", self.scope.namespace.as_str()), ("reason", reason)];
        let message = "the pods cannot be watched, trying again";
        self.shared.log.write(codes::KUBERNETES_WATCH_FAILED, message, &details);
    }

    fn sweep(&self, reaper: &mut Reaper) {
        let due = reaper.due(self.watched.table.lock().pods(), Instant::now());
        if due.is_empty() {
            return;
        }
        let pods = kube::Api::<Pod>::namespaced(self.client.kube(), self.scope.namespace.as_str());
        let log = self.shared.log.clone();
        let done = reaper.begin();
        self.shared.tasks.spawn(async move {
            super::reaper::remove(&pods, &due, &log).await;
            drop(done);
        });
    }

    /// Closes a watch that had no subscription for a while: a new subscription then opens another. Returns true if the task
    /// must end.
    fn close_if_unused(&self, unused_since: &mut Option<Instant>) -> bool {
        let mut open = self.shared.open.lock();
        if *self.watched.users.lock() > 0 {
            *unused_since = None;
            return false;
        }
        let since = *unused_since.get_or_insert_with(Instant::now);
        let empty = self.watched.table.lock().is_empty();
        // Pods that cannot be removed in a cluster that a webhook named (its credentials may be over) end by their own
        // deadline. A persistent pod stays whether or not anybody uses it.
        let may_close = empty || self.scope.cluster.from_webhook || self.scope.selection != PodSelection::Own;
        let over = self.shared.tasks.stopping().is_cancelled() || (since.elapsed() >= LINGER && may_close);
        // A scope with pods stays open when the process ends, because our Lease lists its namespace to the last.
        if over && may_close {
            open.remove(&self.scope);
        }
        over
    }

    /// Closes the watch after kube's watcher has ended, which it never does: the next subscription opens another.
    fn close(&self) {
        self.shared.open.lock().remove(&self.scope);
    }
}

/// Describes a watch's error, without the names of kube's layers.
fn watch_error_text(error: watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => ApiError::from(error).to_string(),
        watcher::Error::WatchError(status) => ApiError::from(kube::Error::Api(status)).to_string(),
        watcher::Error::NoResourceVersion => "the Kubernetes API's answer has no resource version".to_owned(),
    }
}

/// Adds pauses after errors to the watcher's events, and drops the error of a watch that was cut as idle: the watcher asks
/// again from the last version.
fn steady<S>(events: S) -> impl Stream<Item = watcher::Result<watcher::Event<Pod>>>
where
    S: Stream<Item = watcher::Result<watcher::Event<Pod>>> + Send,
{
    let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    let state = (Box::pin(events), backoff, false, Instant::now());
    futures_util::stream::unfold(state, |(mut events, mut backoff, failed, mut failed_at)| async move {
        if failed {
            sleep(backoff.wait(None)).await;
        }
        loop {
            let event = events.next().await?;
            if matches!(event, Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_))) {
                backoff.reset();
            }
            let failed = event.is_err();
            let calm = failed && failed_at.elapsed() >= IDLE_CUT;
            if failed {
                failed_at = Instant::now();
            }
            if calm && matches!(event, Err(watcher::Error::WatchFailed(_))) {
                continue;
            }
            return Some((event, (events, backoff, failed, failed_at)));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use watcher::{Error, Event};

    fn broken() -> kube::Error {
        kube::Error::Service(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)))
    }

    /// The seconds after which a watcher that says this is heard, and what it says.
    async fn heard(script: Vec<(u64, watcher::Result<Event<Pod>>)>) -> Vec<(u64, bool)> {
        let script: VecDeque<_> = script.into();
        let said = futures_util::stream::unfold(script, |mut script| async {
            let (after, event) = script.pop_front()?;
            sleep(Duration::from_secs(after)).await;
            Some((event, script))
        });
        let begun = Instant::now();
        let steady = steady(said).map(|event| (begun.elapsed().as_secs(), event.is_ok()));
        steady.collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn idle_watch_that_is_cut_again_and_again_goes_on_at_once_and_without_a_word() {
        let cuts = (0..20).map(|_| (12, Err(Error::WatchFailed(broken()))));
        let script = cuts.chain([(1, Ok(Event::Apply(Pod::default())))]).collect();
        assert_eq!(heard(script).await, [(241, true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn watch_that_cannot_be_opened_or_breaks_off_at_once_is_told_and_waited_for() {
        let failed = |after| (after, Err(Error::WatchFailed(broken())));
        assert_eq!(heard(vec![failed(4)]).await, [(4, false)]);
        let twice = heard(vec![failed(12), failed(1), failed(3)]).await;
        assert_eq!(twice.iter().map(|heard| heard.1).collect::<Vec<_>>(), [false, false]);
        let not_opened = heard(vec![(12, Err(Error::WatchStartFailed(broken())))]).await;
        assert_eq!(not_opened, [(12, false)]);
    }
}
