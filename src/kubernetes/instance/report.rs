//! What the operator reads about Leases and the pods of other gateways: each trouble once until it has passed.

use super::inquest::Finding;
use super::keeper::Notice;
use crate::config::Level;
use crate::settings::Home;
use crate::telemetry::Log;
use crate::types::Namespace;
use std::collections::BTreeSet;

/// How many namespaces are remembered of which was said that they cannot be looked into.
const TOLD: usize = 1024;

/// Writes the log.
pub(super) struct Report<'a> {
    log: &'a Log,
    home: &'a Home,
    refused: bool,
    failing: bool,
    blind: bool,
    unmarked: bool,
    told: BTreeSet<Namespace>,
}

impl<'a> Report<'a> {
    pub(super) fn new(log: &'a Log, home: &'a Home) -> Self {
        Self { log, home, refused: false, failing: false, blind: false, unmarked: false, told: BTreeSet::new() }
    }

    pub(super) fn write(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Refused(why) if !std::mem::replace(&mut self.refused, true) => self.own(
                    Level::Warning,
                    "KUBERNETES_LEASE_REFUSED",
                    "The gateway cannot keep a Lease: when it is killed, its pods stay",
                    Some(&why),
                ),
                Notice::Blind(why) if !std::mem::replace(&mut self.blind, true) => self.own(
                    Level::Warning,
                    "KUBERNETES_LEASE_REFUSED",
                    "The gateway cannot list Leases: pods of gateways that were killed stay",
                    Some(&why),
                ),
                Notice::Failing(why) if !std::mem::replace(&mut self.failing, true) => self.own(
                    Level::Warning,
                    "KUBERNETES_LEASE_FAILED",
                    "The gateway's Lease cannot be renewed, trying again",
                    Some(&why),
                ),
                Notice::Unmarked(why) if !std::mem::replace(&mut self.unmarked, true) => self.own(
                    Level::Warning,
                    "KUBERNETES_POD_MARK_FAILED",
                    "Pods that are left after the Lease was lost cannot be marked: another gateway may remove them",
                    Some(&why),
                ),
                Notice::Refused(_) | Notice::Blind(_) | Notice::Failing(_) | Notice::Unmarked(_) => {}
                Notice::Held => {
                    (self.refused, self.failing) = (false, false);
                    self.own(Level::Debug, "KUBERNETES_LEASE_HELD", "The gateway holds its Lease", None);
                }
                Notice::Lost => self.own(
                    Level::Warning,
                    "KUBERNETES_LEASE_LOST",
                    "Another gateway took this one for dead, or its Lease was deleted: pods of it may be removed",
                    None,
                ),
                Notice::Found(finding) => self.found(finding),
            }
        }
    }

    /// The process ends and its Lease stays, for that reason.
    pub(super) fn left(&self, why: &str) {
        let text = "The gateway's Lease stays until another gateway finds that it has expired";
        self.own(Level::Warning, "KUBERNETES_LEASE_LEFT", text, Some(why));
    }

    fn own(&self, level: Level, code: &'static str, text: &str, why: Option<&str>) {
        let mut details = vec![("namespace", self.home.namespace.as_str())];
        details.extend(why.map(|why| ("reason", why)));
        self.log.write(level, code, text, &details);
    }

    fn found(&mut self, finding: Finding) {
        match finding {
            Finding::Dead(instance, pods) => self.log.write(
                Level::Notice,
                "KUBERNETES_GATEWAY_GONE",
                "A gateway has ended, the pods that it left are removed",
                &[("instance", &instance.to_string()), ("pods", &pods.to_string())],
            ),
            Finding::Restored(instance, pods) => self.log.write(
                Level::Notice,
                "KUBERNETES_LEASE_RESTORED",
                "A gateway has pods and no Lease: one is written for it, so that the pods go if it does not renew it",
                &[("instance", &instance.to_string()), ("pods", &pods.to_string())],
            ),
            Finding::Removed(pod) => self.log.write(
                Level::Notice,
                "KUBERNETES_POD_REAPED",
                "A pod that was left without its gateway is removed",
                &[("podName", &pod.name), ("namespace", pod.namespace.as_str())],
            ),
            Finding::NotRemoved(pod, why) => self.log.write(
                Level::Warning,
                "KUBERNETES_POD_REMOVE_FAILED",
                "A pod that was left without its gateway cannot be removed, trying again",
                &[("podName", &pod.name), ("namespace", pod.namespace.as_str()), ("reason", &why)],
            ),
            Finding::NoLook(namespace, why) => {
                if self.told.len() < TOLD && self.told.insert(namespace.clone()) {
                    self.log.write(
                        Level::Warning,
                        "KUBERNETES_NAMESPACE_CLOSED",
                        "The pods of a namespace cannot be listed: what other gateways left there stays",
                        &[("namespace", namespace.as_str()), ("reason", &why)],
                    );
                }
            }
        }
    }
}
