//! A gateway: the real keeper, what it has asked, and what the model knows about it that nobody in it does.

use super::super::super::keeper::{Cover, Keeper, Step};
use super::super::super::protocol::{Answer, Request, Version};
use super::{LASTS, NAMESPACES, NOW, Process, TICK};
use crate::kubernetes::pod::Instance;
use std::collections::BTreeSet;
use tokio::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Gateway {
    pub(super) id: Instance,
    pub(super) process: Process,
    pub(super) keeper: Keeper,
    pub(super) asked: Option<(Request, Instant)>,
    /// What has arrived and waits for the thaw.
    pub(super) arrived: Option<Answer>,
    /// Ticks since its Lease was renewed, and whether it was frozen since.
    pub(super) silent: u8,
    pub(super) halted: bool,
    /// Somebody deleted its Lease since it wrote it.
    pub(super) vanished: bool,
    /// The namespaces that it uses, or that a Lease named which it read.
    pub(super) heard: BTreeSet<usize>,
    /// Logins that wait for the Lease to name their namespace.
    pub(super) waiting: Vec<usize>,
    /// Creates that were sent.
    pub(super) creating: Vec<(usize, u32)>,
}

impl Gateway {
    pub(super) fn new(number: usize) -> Self {
        let id = Instance::numbered(number as u128);
        let mut gateway = Self {
            id,
            process: Process::Runs,
            keeper: Keeper::new(id, NAMESPACES[0].clone(), TICK * LASTS.into(), *NOW),
            asked: None,
            arrived: None,
            silent: 0,
            halted: false,
            vanished: false,
            heard: BTreeSet::from([0]),
            waiting: Vec::new(),
            creating: Vec::new(),
        };
        gateway.go_on(&BTreeSet::new());
        gateway
    }

    /// Everything that the process does by itself now.
    pub(super) fn go_on(&mut self, with_pods: &BTreeSet<usize>) {
        let covered = |namespace: &usize| match self.keeper.cover(&NAMESPACES[*namespace], *NOW) {
            Cover::Leased(term) => {
                self.creating.push((*namespace, term));
                false
            }
            Cover::Soon => true,
            Cover::Never => panic!("nothing is refused here"),
        };
        self.waiting.retain(covered);
        if self.asked.is_some() {
            return;
        }
        let used = self.waiting.iter().chain(self.creating.iter().map(|(namespace, _)| namespace)).chain(with_pods);
        let in_use = used.map(|namespace| NAMESPACES[*namespace].clone()).collect();
        match self.keeper.next(|| in_use, *NOW) {
            Step::Ask(request) => self.asked = Some((request, *NOW)),
            Step::Wait(until) => assert!(until > *NOW, "busy without an end"),
        }
        // What the log would say is no part of the state.
        drop(self.keeper.notices());
    }

    /// Remembers what an answer names.
    pub(super) fn hear(&mut self, answer: &Answer) {
        if let Answer::Leases(leases) = answer {
            let named = |namespace: &usize| leases.iter().any(|l| l.says.namespaces.contains(&NAMESPACES[*namespace]));
            self.heard.extend((0..NAMESPACES.len()).filter(named));
        }
    }

    pub(super) fn versions_of(&self, instance: Instance) -> Vec<&Version> {
        let sent = self.asked.iter().filter_map(|(request, _)| match request {
            Request::Update(draft, version) if draft.instance == instance => Some(version),
            Request::Forget(about, version) if *about == instance => Some(version),
            _ => None,
        });
        let arrived = self.arrived.iter().flat_map(|answer| match answer {
            Answer::Lease(lease) => vec![lease],
            Answer::Leases(leases) => leases.iter().collect(),
            _ => Vec::new(),
        });
        let arrived = arrived.filter(|lease| lease.says.instance == instance).map(|lease| &lease.version);
        self.keeper.versions_of(instance).chain(sent).chain(arrived).collect()
    }
}
