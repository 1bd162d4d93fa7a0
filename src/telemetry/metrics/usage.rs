//! The metrics of what clients use, of the penalties that they get, of the ways by which agents come into containers, and of
//! the file of events.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The words of penalties.
const PENALTIES: [&str; 6] = [
    "penalty_crash",
    "penalty_authfail",
    "penalty_noauth",
    "penalty_refuseconnection",
    "penalty_grace_exceeded",
    "penalty_invaliduser",
];

/// Counters by the values of one label.
type LabelledCounters = Family<[(&'static str, &'static str); 1], Counter>;

/// The metrics, not registered yet.
#[derive(Debug, Default)]
pub(super) struct UsageFamilies {
    pub(super) traffic: LabelledCounters,
    pub(super) forwards: Counter,
    pub(super) current_forwards: Gauge,
    pub(super) penalties: LabelledCounters,
    pub(super) agent_ways: LabelledCounters,
    pub(super) events_lost: Counter,
    pub(super) event_file_failures: Counter,
    pub(super) spans: LabelledCounters,
}

impl UsageFamilies {
    /// Registers all, those with known values at zero, because a rate needs a first value.
    pub(super) fn register(&self, page: &mut Registry) {
        for direction in ["in", "out"] {
            self.traffic.get_or_create_owned(&[("direction", direction)]);
        }
        for reason in PENALTIES {
            self.penalties.get_or_create_owned(&[("reason", reason)]);
        }
        for way in ["agentPath", "agentImage", "agentPush", "containerssh", "none"] {
            self.agent_ways.get_or_create_owned(&[("way", way)]);
        }
        for result in ["sent", "lost"] {
            self.spans.get_or_create_owned(&[("result", result)]);
        }
        let help = "Bytes of all SSH connections, from clients (in) and to clients (out)";
        page.register_with_unit("podgate_traffic", help, Unit::Bytes, self.traffic.clone());
        page.register("podgate_forwards", "Forwarded connections opened", self.forwards.clone());
        page.register("podgate_current_forwards", "Forwarded connections open now", self.current_forwards.clone());
        let help = "Penalties for which an address is refused for a while, by the client's doing";
        page.register("podgate_penalties", help, self.penalties.clone());
        page.register("podgate_events_lost", "Events that did not come into their file", self.events_lost.clone());
        let help = "Failures of the file of events, each until it is written again";
        page.register("podgate_event_file_failures", help, self.event_file_failures.clone());
        let help = "Spans of traces, sent to the collector or lost";
        page.register("podgate_trace_spans", help, self.spans.clone());
        page.register("podgate_agent_deliveries", "Guests by the way of their agent", self.agent_ways.clone());
    }
}
