//! The reload: the configuration is read again, and takes the place of the one in force as a whole, or not at all.
//!
//! Invariants: nothing changes before everything that may fail has succeeded; open connections go on with what they began
//! with; one reload runs at a time.

use super::endpoints::{EndpointChange, ServedEndpoints};
use super::file_watch::FileWatch;
use super::file_work::FileWork;
use super::reachability::{Reachability, reach_cluster};
use super::reading::{Refused, read_settled, watch};
use super::startup_checks::{StartupChecks, decided, kubernetes_of_file};
use super::{BuildError, make_traces, offline_warnings, unusable_places, webhooks};
use crate::admin::Health;
use crate::audit::Recordings;
use crate::auth::Authenticator;
use crate::collector::Collector;
use crate::config::{Config, ShutdownConfig, StartValues};
use crate::kubernetes::Backend;
use crate::reload::{ReloadOutcome, ReloadQueue};
use crate::settings::{ConfigClient, GatewayHome, KubernetesSettings};
use crate::shutdown::Tasks;
use crate::ssh::{self, ListenerChange, ServerControl, Snapshot};
use crate::telemetry::{Code, Countries, EventsChange, Level, Log, LogChange, Traces, codes};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Limit of the list of mistakes or keys in a log line, in bytes, below that of the line.
const LISTED: usize = 7 * 1024;

/// The parts of the gateway that a reload changes.
pub(super) struct Reloader {
    /// The values of the start, by which is told what changes at the next one. Nothing else of it is kept.
    started: StartValues,
    /// The configuration in force.
    current: Arc<Config>,
    /// The files of the configuration that was read last.
    watch: FileWatch,
    work: FileWork,
    server: ServerControl,
    backend: Backend,
    pub(super) drain: Arc<Mutex<ShutdownConfig>>,
    tasks: Tasks,
    health: Health,
    log: Log,
}

/// A configuration with everything that is made of it.
struct Prepared {
    config: Config,
    /// The findings of the checks that do not prevent a start.
    told: Vec<(Code, String)>,
    clients: (Authenticator, Option<ConfigClient>),
    snapshot: Snapshot,
    log: LogChanges,
    collector: Option<(Traces, Collector)>,
    /// `None` if the listeners need sockets that only a start is passed.
    listeners: Option<ListenerChange>,
    endpoints: EndpointChange,
}

impl Reloader {
    /// Begins with the configuration that the gateway starts with.
    pub(super) fn new(
        config: &Config,
        (server, backend): (ServerControl, Backend),
        (tasks, health): (Tasks, Health),
        log: Log,
    ) -> Self {
        let work = FileWork::new();
        Self {
            started: config.at_start.clone(),
            current: Arc::new(config.clone()),
            watch: watch(config.contents.clone(), config, work.clone()),
            work,
            server,
            backend,
            drain: Arc::new(Mutex::new(config.shutdown)),
            tasks,
            health,
            log,
        }
    }

    /// Reloads at each order until `stop` is cancelled. `reachability` asks whether the servers of the configuration in force
    /// can be reached.
    pub(super) async fn run(
        mut self,
        (mut queue, stop): (ReloadQueue, CancellationToken),
        reachability: Option<Reachability>,
        mut endpoints: ServedEndpoints,
    ) {
        let mut asking = Asking::start(reachability, &stop);
        loop {
            let orders = tokio::select! {
                () = stop.cancelled() => break,
                orders = queue.next() => orders,
                () = self.watch.changed(), if self.current.reloads_on_change => Vec::new(),
            };
            let outcome = match stop.run_until_cancelled(Box::pin(self.prepare(&endpoints))).await {
                None => break,
                Some(Ok(prepared)) => {
                    asking.end().await;
                    let (reachability, outcome) = self.apply(prepared, &mut endpoints).await;
                    asking = Asking::start(reachability, &stop);
                    outcome
                }
                Some(Err(Refused(mistakes))) => self.refuse(mistakes),
            };
            for order in orders.into_iter().flatten() {
                // Who asked may have left.
                let _ = order.send(outcome.clone());
            }
        }
        drop(queue);
        asking.end().await;
    }

    /// Does everything that can fail.
    async fn prepare(&mut self, endpoints: &ServedEndpoints) -> Result<Prepared, Refused> {
        let Some(file) = self.current.file.clone() else {
            return Err(Refused(vec!["the configuration is not from a file".to_owned()]));
        };
        let (config, contents) = read_settled(&self.work, &file).await?;
        let (current, work) = (self.current.clone(), self.work.clone());
        let (config, watch) = self
            .work
            .run(move || {
                let watch = watch(contents.clone(), config.as_ref().unwrap_or(&current), work);
                (config.map(|config| config.with_contents(contents)), watch)
            })
            .await?;
        self.watch = watch;
        let config = config?;
        let (auth, config_client) = webhooks(&config)?;
        let traces = config.traces.as_ref();
        let collector = traces.map(|traces| Collector::new(traces, self.log.clone())).transpose();
        let collector = collector.map_err(BuildError::Collector)?;
        let told = self.check(&config, &auth, config_client.as_ref()).await?;
        let (before, own_log) = (self.current.clone(), self.log.clone());
        let opened = move || places(&config, &before, &own_log).map(|log| (config, log));
        let (config, log) = self.work.run(opened).await??;
        // Sockets late: who connects to one that is given up again is cut.
        let endpoints = endpoints.prepare(&config, &self.current).await.map_err(BuildError::Admin)?;
        let listeners = self.server.prepare_listeners(&config.ssh.listeners).await;
        let listeners = listeners.map_err(|errors| Refused(errors.iter().map(ToString::to_string).collect()))?;
        // Last what stays if the rest is refused: the host keys that are made.
        let (backend, own_log) = (Arc::new(self.backend.clone()), self.log.clone());
        let clients = (auth, config_client);
        let before_directory = self.current.ssh.host_key_directory.clone();
        let (config, clients, snapshot) = self
            .work
            .run(move || {
                // A directory that has lost its keys, or is not mounted now, is a mistake: clients remember the keys.
                if config.ssh.host_key_directory != before_directory {
                    ssh::make_host_keys(&config.ssh, &own_log)?;
                }
                let recordings = config.audit.as_ref().map(Recordings::open).transpose()?;
                let snapshot = Snapshot::build(&config, clients.0.clone(), clients.1.clone(), backend, recordings)?;
                Ok::<_, BuildError>((config, clients, snapshot))
            })
            .await??;
        Ok(Prepared { config, told, clients, snapshot, log, collector, listeners, endpoints })
    }

    /// Makes the checks of a start, and returns what they tell.
    async fn check(
        &self,
        config: &Config,
        auth: &Authenticator,
        config_client: Option<&ConfigClient>,
    ) -> Result<Vec<(Code, String)>, Refused> {
        let checks = StartupChecks { config, backend: &self.backend, auth, config_client };
        let (mut findings, lost) = tokio::join!(checks.run(), self.lost_cluster(config));
        findings.faults.extend(lost);
        if findings.faults.is_empty() { Ok(findings.told) } else { Err(Refused(findings.faults)) }
    }

    /// The fault of a cluster that cannot be reached and would take the place of another. A start tolerates it, but has no
    /// other.
    async fn lost_cluster(&self, config: &Config) -> Option<String> {
        let (new, old) = (kubernetes_of_file(config)?, kubernetes_of_file(&self.current)?);
        let place =
            |settings: &KubernetesSettings| (settings.cluster.host.clone(), settings.cluster.server_name.clone());
        if place(&new) == place(&old) || !decided(config).connection {
            return None;
        }
        let reason = reach_cluster(&self.backend, &new).await.err()?;
        Some(format!("kubernetes.connection: the one in force leads to another cluster, and this one: {reason}"))
    }

    /// Puts a configuration in force.
    async fn apply(
        &mut self,
        prepared: Prepared,
        served: &mut ServedEndpoints,
    ) -> (Option<Reachability>, ReloadOutcome) {
        let Prepared { config, told, clients: (auth, config_client), snapshot, log, collector, listeners, endpoints } =
            prepared;
        let (log, events, countries) = log;
        self.log.change(log);
        self.log.change_events(events);
        self.log.change_countries(countries);
        make_traces(collector, &self.log, &self.tasks);
        let warnings = self.tell(&config, told);
        self.server.replace(snapshot);
        let waits = listeners.is_none();
        if let Some(listeners) = listeners {
            self.server.change_listeners(listeners, &self.tasks).await;
        }
        served.apply(endpoints).await;
        *self.drain.lock() = config.shutdown;
        let observers = (&self.health, &self.log);
        let reachability = Reachability::of(&config, &auth, config_client.as_ref(), &self.backend, observers);
        let mut next_start = self.at_next_start(&config);
        if waits {
            next_start.push("ssh.listeners".to_owned());
        }
        let changed = config.changes(&self.current);
        self.current = Arc::new(config);
        self.log.metrics().count_reload(true);
        let lists = [("changed", &changed), ("nextStart", &next_start)].map(|(key, list)| (key, listed(list, ", ")));
        let details = lists.iter().filter(|(_, list)| !list.is_empty()).map(|(key, list)| (*key, list.as_str()));
        let level = if next_start.is_empty() { Level::Notice } else { Level::Warning };
        let text = "the configuration was read again and is in force";
        self.log.write(codes::CORE_RELOADED.at(level), text, &details.collect::<Vec<_>>());
        (reachability, ReloadOutcome::Applied { changed, warnings, next_start })
    }

    /// Logs what a configuration in force warns of and what its checks told, and returns the warnings.
    fn tell(&self, config: &Config, told: Vec<(Code, String)>) -> Vec<String> {
        let mut all = Vec::new();
        for (key, text) in warnings(config) {
            self.log.write(codes::CORE_CONFIG_NOTICE, &text, &[("key", &key)]);
            all.push(format!("{key}: {text}"));
        }
        for (code, text) in told {
            self.log.write(code, &text, &[]);
            if code.level() <= Level::Warning {
                all.push(text);
            }
        }
        all
    }

    fn refuse(&self, mistakes: Vec<String>) -> ReloadOutcome {
        self.log.metrics().count_reload(false);
        let text = "the configuration was read again and has mistakes; the old one stays in force";
        self.log.write(codes::CORE_RELOAD_REFUSED, text, &[("reason", &listed(&mistakes, "; "))]);
        ReloadOutcome::Refused { mistakes }
    }

    /// The keys of a configuration that take effect at the next start alone.
    fn at_next_start(&self, config: &Config) -> Vec<String> {
        let mut keys = config.at_next_start(&self.started);
        if !self.backend.rejoin(GatewayHome::of(&config.base), &self.log) {
            keys.push(
                "kubernetes.connection and kubernetes.pod.metadata.namespace, for the gateway's Lease".to_owned(),
            );
        }
        keys
    }
}

/// The task that asks whether servers can be reached.
struct Asking {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Asking {
    fn start(reachability: Option<Reachability>, stop: &CancellationToken) -> Self {
        let stop = stop.child_token();
        let task = reachability.map(|reachability| tokio::spawn(reachability.run(stop.clone())));
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            // Its only failure is a panic, which has been logged.
            let _ = task.await;
        }
    }
}

/// The log, the file of events and the database of countries, to be put in force.
type LogChanges = (LogChange, Option<EventsChange>, Option<Arc<Countries>>);

/// Opens the log, the file of events and the database of countries, and tries the places that only a start would make or open, as far as that leaves nothing.
fn places(config: &Config, before: &Config, log: &Log) -> Result<LogChanges, Refused> {
    let faults = unusable_places(config);
    if !faults.is_empty() {
        return Err(BuildError::Several(faults).into());
    }
    let events = log.prepare_events(config.events.as_ref()).map_err(BuildError::Log)?;
    let countries = log.prepare_countries(config.geoip.as_deref()).map_err(BuildError::Countries)?;
    Ok((Log::prepare(&config.log, &before.log).map_err(BuildError::Log)?, events, countries))
}

/// A list for a log line, cut between two of its parts.
fn listed(parts: &[String], separator: &str) -> String {
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        if text.len() + part.len() > LISTED {
            let more = parts.len() - index;
            return format!("{text}{separator}and {more} more (podgate reload and podgate --check-config list all)");
        }
        text += if index == 0 { "" } else { separator };
        text += part;
    }
    text
}

/// The warnings about a configuration that is put in force: the key's path and the text.
pub(super) fn warnings(config: &Config) -> Vec<(String, String)> {
    let notices = config.notices.iter().filter(|notice| notice.warn);
    let notices = notices.map(|notice| (notice.path.clone(), notice.text.clone()));
    notices.chain(offline_warnings(config)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_that_is_too_long_is_cut_between_its_parts_and_says_so() {
        assert_eq!(listed(&["a".to_owned(), "b".to_owned()], "; "), "a; b");
        let parts: Vec<_> = (0..1000).map(|number| format!("ssh.key{number}: it is not known")).collect();
        let text = listed(&parts, "; ");
        let (whole, more) = text.rsplit_once("; and ").unwrap();
        let count = whole.split("; ").zip(&parts).filter(|(one, other)| one == other).count();
        assert!(more.starts_with(&format!("{} more", 1000 - count)), "{more}");
        assert!(count > 100 && text.len() < 8 * 1024 && whole.split("; ").count() == count, "{text}");
    }
}
