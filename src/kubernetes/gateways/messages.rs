//! Log lines about Leases and the pods of other gateways. Each problem is logged once until it has passed.

use super::coordinator::CoordinatorNotice;
use super::takeover::TakeoverNotice;
use crate::settings::GatewayHome;
use crate::telemetry::{Code, Level, Log, codes};
use crate::types::Namespace;
use std::collections::BTreeSet;

/// Limit of the namespaces that are remembered as reported.
const MAX_REPORTED: usize = 1024;

/// The operator's log, and the problems that it has lines about already.
pub(super) struct CoordinatorLog<'a> {
    log: &'a Log,
    home: &'a GatewayHome,
    refused: bool,
    failing: bool,
    cannot_list_peers: bool,
    cannot_relabel: bool,
    reported: BTreeSet<Namespace>,
}

impl<'a> CoordinatorLog<'a> {
    pub(super) fn new(log: &'a Log, home: &'a GatewayHome) -> Self {
        Self {
            log,
            home,
            refused: false,
            failing: false,
            cannot_list_peers: false,
            cannot_relabel: false,
            reported: BTreeSet::new(),
        }
    }

    pub(super) fn write(&mut self, notices: Vec<CoordinatorNotice>) {
        for notice in notices {
            match notice {
                CoordinatorNotice::Refused(reason) if !std::mem::replace(&mut self.refused, true) => self.own_lease(
                    codes::KUBERNETES_LEASE_REFUSED,
                    "the gateway cannot keep a Lease: when it is killed, its pods stay",
                    Some(&reason),
                ),
                CoordinatorNotice::CannotListPeers(reason) if !std::mem::replace(&mut self.cannot_list_peers, true) => {
                    self.own_lease(
                        codes::KUBERNETES_LEASE_REFUSED,
                        "the gateway cannot list Leases: pods of gateways that were killed stay",
                        Some(&reason),
                    )
                }
                CoordinatorNotice::Failing(reason) if !std::mem::replace(&mut self.failing, true) => self.own_lease(
                    codes::KUBERNETES_LEASE_FAILED,
                    "the gateway's Lease cannot be renewed, trying again",
                    Some(&reason),
                ),
                CoordinatorNotice::CannotRelabel(reason) if !std::mem::replace(&mut self.cannot_relabel, true) => self
                    .own_lease(
                        codes::KUBERNETES_POD_MARK_FAILED,
                        "pods that are left after the Lease was lost cannot be marked: another gateway may remove them",
                        Some(&reason),
                    ),
                CoordinatorNotice::Refused(_)
                | CoordinatorNotice::CannotListPeers(_)
                | CoordinatorNotice::Failing(_)
                | CoordinatorNotice::CannotRelabel(_) => {}
                CoordinatorNotice::Held => {
                    (self.refused, self.failing) = (false, false);
                    self.own_lease(codes::KUBERNETES_LEASE_HELD, "the gateway holds its Lease", None);
                }
                CoordinatorNotice::Lost => self.own_lease(
                    codes::KUBERNETES_LEASE_LOST,
                    "another gateway took this one for dead, or its Lease was deleted: pods of it may be removed",
                    None,
                ),
                CoordinatorNotice::Takeover(notice) => self.takeover(notice),
            }
        }
    }

    /// Logs that the process ends and its Lease stays, for this reason.
    pub(super) fn lease_left(&self, reason: &str) {
        let text = "the gateway's Lease stays until another gateway finds that it has expired";
        self.own_lease(codes::KUBERNETES_LEASE_LEFT, text, Some(reason));
    }

    fn own_lease(&self, code: Code, text: &str, reason: Option<&str>) {
        let mut details = vec![("namespace", self.home.namespace.as_str())];
        details.extend(reason.map(|reason| ("reason", reason)));
        self.log.write(code, text, &details);
    }

    fn takeover(&mut self, notice: TakeoverNotice) {
        match notice {
            TakeoverNotice::GatewayDead(instance, pods) => self.log.write(
                codes::KUBERNETES_GATEWAY_GONE,
                "a gateway has ended, the pods that it left are removed",
                &[("instance", &instance.to_string()), ("pods", &pods.to_string())],
            ),
            TakeoverNotice::LeaseRestored(instance, pods) => self.log.write(
                codes::KUBERNETES_LEASE_RESTORED,
                "a gateway has pods and no Lease: one is written for it, so that the pods go if it does not renew it",
                &[("instance", &instance.to_string()), ("pods", &pods.to_string())],
            ),
            TakeoverNotice::PodRemoved(pod) => self.log.write(
                codes::KUBERNETES_POD_REAPED,
                "a pod that was left without its gateway is removed",
                &[("podName", &pod.name), ("namespace", pod.namespace.as_str())],
            ),
            TakeoverNotice::PodNotRemoved(pod, reason) => self.log.write(
                codes::KUBERNETES_POD_REMOVE_FAILED.at(Level::Warning),
                "a pod that was left without its gateway cannot be removed, trying again",
                &[("podName", &pod.name), ("namespace", pod.namespace.as_str()), ("reason", &reason)],
            ),
            TakeoverNotice::NamespaceUnreadable(namespace, reason) => {
                if self.reported.len() < MAX_REPORTED && self.reported.insert(namespace.clone()) {
                    self.log.write(
                        codes::KUBERNETES_NAMESPACE_CLOSED,
                        "the pods of a namespace cannot be listed: what other gateways left there stays",
                        &[("namespace", namespace.as_str()), ("reason", &reason)],
                    );
                }
            }
        }
    }
}
