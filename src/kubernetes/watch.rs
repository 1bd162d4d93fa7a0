//! One watch of our own pods for every cluster and namespace in use, one of the persistent pods that are claimed there, and
//! whoever waits for one of those pods told by it. A persistent pod that everybody shares is claimed by nobody and has a
//! watch of its own. A watch opens with its first user and ends some time after its
//! last, when it holds no pod any more; it survives expired versions and API restarts, and a path that cuts it when no pod
//! changes.

mod table;

pub(super) use table::Seen;

use super::api::ApiError;
use super::client::ClusterClient;
use super::pod::{IDENTITY, INSTANCE, Instance};
use super::reaper::{Live, Reaper};
use super::retry::Backoff;
use crate::config::Level;
use crate::settings::Cluster;
use crate::shutdown::Tasks;
use crate::telemetry::Log;
use crate::types::{Namespace, PodName};
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use table::Table;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// How long the server may keep one watch request; also, with 5 s more, how long a connection may be silently dead.
const ONE_REQUEST: u32 = 60;

/// A watch that breaks off not earlier than this after it last failed was cut by the path to the API: proxies cut what
/// they take for idle, and a watch cannot ping. It goes on where it was, at once and without a word.
const CALM: Duration = Duration::from_secs(5);

/// How long a watch stays open that nobody uses: longer than the reaper waits, so that it sees what a lost create left.
const LINGER: Duration = Duration::from_secs(90);

/// How often the reaper looks.
const SWEEP: Duration = Duration::from_secs(5);

/// Which pods a watch is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The cluster.
    pub(super) cluster: Arc<Cluster>,
    /// The namespace.
    pub(super) namespace: Namespace,
    /// Which pods there.
    pub(super) which: Which,
}

/// Which pods of a namespace a watch asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Which {
    /// Those that this process made for its connections.
    Ours,
    /// The persistent ones that are somebody's.
    Claimed,
    /// The persistent one of that name, which is everybody's.
    Named(PodName),
}

impl Which {
    fn config(&self, instance: &Instance) -> watcher::Config {
        let config = watcher::Config::default().timeout(ONE_REQUEST);
        match self {
            Self::Ours => config.labels(&format!("{INSTANCE}={instance}")),
            Self::Claimed => config.labels(&format!("{IDENTITY},!{INSTANCE}")),
            Self::Named(name) => config.fields(&format!("metadata.name={name}")),
        }
    }
}

/// What every watch needs.
#[derive(Clone)]
pub(super) struct Watches {
    shared: Arc<Shared>,
}

struct Shared {
    log: Log,
    tasks: Tasks,
    instance: Instance,
    live: Live,
    open: Mutex<HashMap<Place, Arc<Watched>>>,
}

/// One watch, as its users and its task share it.
struct Watched {
    table: Mutex<Table>,
    users: Mutex<usize>,
    left: Notify,
}

/// A use of a watch; while it is held, the watch stays open.
pub(super) struct Subscription {
    watched: Arc<Watched>,
}

/// Someone waits for one pod.
pub(super) struct Follower {
    watched: Arc<Watched>,
    number: u64,
    seen: watch::Receiver<Seen>,
}

impl Watches {
    pub(super) fn new(log: Log, tasks: Tasks, instance: Instance, live: Live) -> Self {
        Self { shared: Arc::new(Shared { log, tasks, instance, live, open: Mutex::default() }) }
    }

    /// The namespaces of that cluster where we have, or are about to have, pods: where a watch is open, or was when the
    /// process was told to end.
    pub(super) fn namespaces(&self, cluster: &Cluster) -> BTreeSet<Namespace> {
        let open = lock(&self.shared.open);
        open.keys().filter(|place| *place.cluster == *cluster).map(|place| place.namespace.clone()).collect()
    }

    /// Uses the watch of that place, opened if it is not open.
    pub(super) fn subscribe(&self, place: &Place, client: &Arc<ClusterClient>) -> Subscription {
        let mut open = lock(&self.shared.open);
        let watched = open.entry(place.clone()).or_insert_with(|| {
            let watched = Arc::new(Watched { table: Mutex::default(), users: Mutex::new(0), left: Notify::new() });
            let task = Task {
                shared: Arc::clone(&self.shared),
                watched: Arc::clone(&watched),
                place: place.clone(),
                client: Arc::clone(client),
            };
            self.shared.tasks.spawn(task.run());
            watched
        });
        *lock(&watched.users) += 1;
        Subscription { watched: Arc::clone(watched) }
    }
}

impl Subscription {
    /// Follows the pod with that uid, which exists or existed.
    pub(super) fn follow(&self, uid: &str) -> Follower {
        let (number, seen) = lock(&self.watched.table).follow(uid);
        Follower { watched: Arc::clone(&self.watched), number, seen }
    }

    /// Why the watch does not work at the moment.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.watched.table).trouble(Instant::now()).map(str::to_owned)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        *lock(&self.watched.users) -= 1;
        self.watched.left.notify_one();
    }
}

impl Follower {
    /// What was seen of the pod last.
    pub(super) fn seen(&mut self) -> Seen {
        self.seen.borrow_and_update().clone()
    }

    /// Waits until something else is seen of it. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        lock(&self.watched.table).unfollow(self.number);
    }
}

/// The task behind one watch.
struct Task {
    shared: Arc<Shared>,
    watched: Arc<Watched>,
    place: Place,
    client: Arc<ClusterClient>,
}

impl Task {
    async fn run(self) {
        let mut events = pin!(self.events());
        let mut reaper = Reaper::new(Arc::clone(&self.shared.live));
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unused_since = None;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.take(event),
                    None => return self.close_for_good(),
                },
                _ = sweep.tick() => if self.place.which == Which::Ours {
                    self.sweep(&mut reaper);
                },
                () = self.watched.left.notified() => {}
                () = self.shared.tasks.stopping().cancelled(), if unused_since.is_some() => {}
            }
            if self.closed(&mut unused_since) {
                return;
            }
        }
    }

    fn events(&self) -> impl Stream<Item = watcher::Result<watcher::Event<Pod>>> + use<> {
        let pods = kube::Api::<Pod>::namespaced(self.client.kube(), self.place.namespace.as_str());
        steady(watcher::watcher(pods, self.place.which.config(&self.shared.instance)))
    }

    fn take(&self, event: watcher::Result<watcher::Event<Pod>>) {
        let mut table = lock(&self.watched.table);
        match event {
            Ok(event) => table.take(event),
            Err(watcher::Error::WatchError(status)) if status.code == 410 => {}
            Err(error) => {
                let text = told(error);
                if table.failed(text.clone(), Instant::now()) {
                    self.warn(&text);
                }
            }
        }
    }

    fn warn(&self, reason: &str) {
        let details = [("namespace", self.place.namespace.as_str()), ("reason", reason)];
        let message = "The pods cannot be watched, trying again";
        self.shared.log.write(Level::Warning, "KUBERNETES_WATCH_FAILED", message, &details);
    }

    fn sweep(&self, reaper: &mut Reaper) {
        let due = reaper.due(lock(&self.watched.table).pods(), Instant::now());
        if due.is_empty() {
            return;
        }
        let pods = kube::Api::<Pod>::namespaced(self.client.kube(), self.place.namespace.as_str());
        let log = self.shared.log.clone();
        let done = reaper.begin();
        self.shared.tasks.spawn(async move {
            super::reaper::remove(&pods, &due, &log).await;
            drop(done);
        });
    }

    /// Takes the watch off the map when nobody has used it for a while; new users then open another.
    fn closed(&self, unused_since: &mut Option<Instant>) -> bool {
        let mut open = lock(&self.shared.open);
        if *lock(&self.watched.users) > 0 {
            *unused_since = None;
            return false;
        }
        let since = *unused_since.get_or_insert_with(Instant::now);
        let empty = lock(&self.watched.table).is_empty();
        // What cannot be removed in a cluster that a webhook named (its credentials may be over) goes by its own deadline.
        // A persistent pod stays whether or not anybody uses it.
        let given_up = empty || self.place.cluster.from_webhook || self.place.which != Which::Ours;
        let over = self.shared.tasks.stopping().is_cancelled() || (since.elapsed() >= LINGER && given_up);
        // A place with pods stays on the map when the process ends: our Lease names it to the last.
        if over && given_up {
            open.remove(&self.place);
        }
        over
    }

    /// The watcher never ends by itself; if it does, the next user gets another.
    fn close_for_good(&self) {
        lock(&self.shared.open).remove(&self.place);
    }
}

/// Cause of a watch's end, without the names of kube's layers.
fn told(error: watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => ApiError::from(error).to_string(),
        watcher::Error::WatchError(status) => ApiError::from(kube::Error::Api(status)).to_string(),
        watcher::Error::NoResourceVersion => "the Kubernetes API's answer has no resource version".to_owned(),
    }
}

/// The watcher's events; after an error it waits before it asks again. The end of a watch that only was idle is no error:
/// the watcher asks again from the version that it saw last.
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
            let calm = failed && failed_at.elapsed() >= CALM;
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
