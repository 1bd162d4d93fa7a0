//! The metrics and their registration. A counter is registered without the suffix `_total`, which OpenMetrics adds to its
//! samples.

use super::usage::UsageFamilies;
use crate::telemetry::countries::Country;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use std::fmt::{self, Debug, Formatter};
use std::sync::OnceLock;

/// Upper bounds of the histogram's buckets, in seconds: from an unnoticeable delay to one that no user waits for.
const BUCKETS: [f64; 15] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Counters by the values of `N` labels.
pub(super) type Counters<const N: usize> = Family<[(&'static str, &'static str); N], Counter>;

/// The metrics of the page.
#[derive(Debug)]
pub(super) struct Families {
    registry: Registry,
    pub(super) auth_requests: Counters<2>,
    pub(super) auth_failed_requests: Counters<4>,
    pub(super) auth_success: Counters<3>,
    pub(super) auth_failures: Counters<3>,
    pub(super) config_requests: Counters<1>,
    pub(super) config_failed_requests: Counters<3>,
    pub(super) backend_requests: Counter,
    pub(super) backend_errors: Counter,
    pub(super) connections: Counters<1>,
    pub(super) successful_handshakes: Counters<1>,
    pub(super) failed_handshakes: Counters<1>,
    pub(super) current_connections: Family<[(&'static str, &'static str); 1], Gauge>,
    pub(super) refused_connections: Counters<1>,
    pub(super) failed_recordings: Counters<1>,
    pub(super) sessions: Counter,
    pub(super) current_sessions: Gauge,
    pub(super) steps: Family<[(&'static str, &'static str); 2], Histogram>,
    pub(super) events: Counters<2>,
    pub(super) kubernetes_errors: Family<[(&'static str, String); 1], Counter>,
    pub(super) lines_dropped: Counter,
    pub(super) reloads: Counters<1>,
    pub(super) usage: UsageFamilies,
    pub(super) last_reload: Gauge,
    pub(super) last_reload_applied: Gauge,
    queued: Family<[(&'static str, &'static str); 1], Gauge>,
    pub(super) queue: OnceLock<WaitingBytes>,
}

/// The reader of the bytes that wait for programs and for clients, now.
pub(super) struct WaitingBytes(pub(super) Box<dyn Fn() -> (usize, usize) + Send + Sync>);

impl Debug for WaitingBytes {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("WaitingBytes").field(&(self.0)()).finish()
    }
}

impl Families {
    /// Creates the counters of the webhooks at zero, because a rate needs a first value.
    fn begin_at_zero(&self) {
        let country = [("country", Country::UNKNOWN.code())];
        for counters in [&self.connections, &self.successful_handshakes, &self.failed_handshakes] {
            counters.get_or_create_owned(&country);
        }
        self.current_connections.get_or_create_owned(&country);
        for result in ["applied", "refused"] {
            self.reloads.get_or_create_owned(&[("result", result)]);
        }
        for word in ["required", "bestEffort"] {
            self.failed_recordings.get_or_create_owned(&[("on_failure", word)]);
        }
        for retry in [("retry", "0"), ("retry", "1")] {
            self.config_requests.get_or_create_owned(&[retry]);
            for authtype in ["password", "pubkey", "authorization"] {
                self.auth_requests.get_or_create_owned(&[("authtype", authtype), retry]);
                for answers in [&self.auth_success, &self.auth_failures] {
                    answers.get_or_create_owned(&[("authtype", authtype), retry, ("country", Country::UNKNOWN.code())]);
                }
            }
        }
    }

    /// Registers the metrics that have a unit, or labels of their own.
    fn register(&self, page: &mut PageBuilder) {
        page.histograms(&self.steps);
        self.usage.register(&mut page.0);
        let help = "Memory of data that waits for programs (in) and for clients (out)";
        page.0.register_with_unit("podgate_queued", help, Unit::Bytes, self.queued.clone());
        let help = "Time at which the configuration in force was read, since 1970";
        page.0.register_with_unit(
            "podgate_config_last_reload_success_timestamp",
            help,
            Unit::Seconds,
            self.last_reload.clone(),
        );
        let help = "Requests to Kubernetes that failed, by HTTP status or cause";
        page.0.register("podgate_kubernetes_errors", help, self.kubernetes_errors.clone());
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        page.0.register("podgate_build", "Version of the running gateway", version);
    }

    pub(super) fn text(&self) -> Result<String, std::fmt::Error> {
        let (for_programs, for_clients) = self.queue.get().map_or((0, 0), |waiting| (waiting.0)());
        for (direction, bytes) in [("in", for_programs), ("out", for_clients)] {
            let gauge = self.queued.get_or_create_owned(&[("direction", direction)]);
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Families {
    fn default() -> Self {
        let mut page = PageBuilder(Registry::default());
        let backends = [("backend", "kubernetes")];
        let mut families = Self {
            auth_requests: page.counters("containerssh_auth_server_requests", "Requests to login webhooks, by try"),
            auth_failed_requests: page.counters(
                "containerssh_auth_server_failures",
                "Failed requests to login webhooks: a single try (soft), all tries (hard)",
            ),
            auth_success: page
                .counters("containerssh_auth_success", "Responses of login webhooks that allowed the login"),
            auth_failures: page
                .counters("containerssh_auth_failures", "Responses of login webhooks that denied the login"),
            config_requests: page.counters("containerssh_config_server_requests", "Requests to the config webhook"),
            config_failed_requests: page.counters(
                "containerssh_config_server_failures",
                "Failed requests to the config webhook: a single try (soft), all tries (hard)",
            ),
            backend_requests: page.counter("containerssh_backend_requests", "Requests to the Kubernetes API", backends),
            backend_errors: page.counter("containerssh_backend_errors", "Requests to Kubernetes that failed", backends),
            connections: page.counters("containerssh_ssh_connections", "TCP connections accepted"),
            successful_handshakes: page
                .counters("containerssh_ssh_successful_handshakes", "Connections that logged in and got their pod"),
            failed_handshakes: page.counters(
                "containerssh_ssh_failed_handshakes",
                "Connections that ended before they had logged in and got their pod",
            ),
            current_connections: page.gauges("containerssh_ssh_current_connections", "Connections open now"),
            refused_connections: page
                .counters("podgate_refused_connections", "Connections refused before the version exchange, by reason"),
            failed_recordings: page
                .counters("podgate_failed_recordings", "Recordings that could not be written, by the consequence"),
            sessions: page.unlabeled("podgate_sessions", "Session channels opened"),
            current_sessions: page.unlabeled("podgate_current_sessions", "Session channels open now"),
            steps: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            events: page
                .counters("podgate_log_events", "Log events by their code, including those that are not written"),
            kubernetes_errors: Family::default(),
            lines_dropped: page
                .unlabeled("podgate_log_lines_dropped", "Log lines that were dropped because the queue was full"),
            reloads: page.counters("podgate_config_reloads", "Reloads of the configuration, by result"),
            usage: UsageFamilies::default(),
            last_reload: Gauge::default(),
            last_reload_applied: page.unlabeled(
                "podgate_config_last_reload_successful",
                "1, or 0 if the last reload of the configuration was refused",
            ),
            queued: Family::default(),
            queue: OnceLock::new(),
            registry: Registry::default(),
        };
        families.begin_at_zero();
        families.register(&mut page);
        families.registry = page.0;
        families
    }
}

/// Creates metrics and registers them.
struct PageBuilder(Registry);

impl PageBuilder {
    fn counters<const N: usize>(&mut self, name: &str, help: &str) -> Counters<N> {
        let family = Counters::<N>::default();
        self.0.register(name, help, family.clone());
        family
    }

    /// Registers a metric without labels.
    fn unlabeled<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    /// Registers a counter with constant labels, starting at zero.
    fn counter<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [(&'static str, &'static str); N],
    ) -> Counter {
        self.counters(name, help).get_or_create_owned(&labels)
    }

    fn gauges(&mut self, name: &str, help: &str) -> Family<[(&'static str, &'static str); 1], Gauge> {
        let family = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        self.0.register(name, help, family.clone());
        family
    }

    fn histograms(&mut self, steps: &Family<[(&'static str, &'static str); 2], Histogram>) {
        let help = "How long each step from a connection to a running program took";
        self.0.register_with_unit("podgate_login_step", help, Unit::Seconds, steps.clone());
    }
}
