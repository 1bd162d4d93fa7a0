//! The modelled world: an API with Leases and pods, gateways that run, are frozen or dead, and the events that can happen next.

mod api;
mod gateway;

use super::super::coordinator::Coordinator;
use super::super::protocol::{ClusterAnswer, ClusterRequest, LeaseRecord};
use crate::kubernetes::pod::manifest::Instance;
use crate::types::Namespace;
use gateway::ModelGateway;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::Instant;

/// Third of a Lease's duration.
const TICK: Duration = Duration::from_secs(1);
/// Duration of a Lease, in ticks.
pub(super) const LEASE_TICKS: u8 = 3;
/// Undisturbed ticks after which no pod of a dead gateway may be left.
const QUIET_TICKS: u8 = 2 * LEASE_TICKS;
/// Undisturbed ticks after which every running gateway has searched all namespaces that it knows.
const OBSERVED_TICKS: u8 = 2;

/// The time of all events: when time passes, states grow older instead.
static NOW: LazyLock<Instant> = LazyLock::new(|| Instant::now() + TICK * 1000);
static NAMESPACES: LazyLock<[Namespace; 2]> =
    LazyLock::new(|| ["home", "away"].map(|name| Namespace::parse(name).unwrap()));

/// The number of times that each event may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EventBudget {
    pub(super) kills: u8,
    pub(super) freezes: u8,
    pub(super) thaws: u8,
    pub(super) outages: u8,
    pub(super) losses: u8,
    pub(super) lease_deletions: u8,
    /// Logins at the first gateway.
    pub(super) logins: u8,
    /// Logins at the first gateway after it was frozen and before it has renewed its Lease.
    pub(super) early_logins: u8,
    pub(super) restarts: u8,
    /// The number of gateways, counted from the first, that are killed or frozen or lose their Leases.
    pub(super) targets: usize,
}

/// A budget for calls, creates and time alone.
pub(super) const NO_EVENTS: EventBudget = EventBudget {
    kills: 0,
    freezes: 0,
    thaws: 0,
    outages: 0,
    losses: 0,
    lease_deletions: 0,
    logins: 0,
    early_logins: 0,
    restarts: 0,
    targets: usize::MAX,
};

/// An event; numbers are indices of gateways.
#[derive(Debug, Clone, Copy)]
pub(super) enum ModelEvent {
    /// The API carries out a gateway's call, and the answer arrives.
    Serve(usize),
    /// The API carries out a gateway's call, and the answer is lost.
    Lose(usize),
    /// A gateway's call fails because the API is down.
    Fail(usize),
    /// The API carries out the call that a frozen or dead gateway had sent.
    ServeLate(usize),
    /// The API carries out one of the gateway's creates of pods.
    Create(usize, usize),
    Login(usize, usize),
    Freeze(usize),
    Thaw(usize),
    Kill(usize),
    Restart,
    Down,
    Up,
    /// Somebody deletes a Lease by hand.
    DeleteLease(usize),
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ProcessState {
    Runs,
    Frozen,
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ModelPod {
    number: u8,
    namespace: usize,
    owner: Instance,
    term: u32,
    condemned: bool,
    /// The Lease that listed its namespace was deleted by hand, and no gateway that knows the namespace has searched it since.
    unlisted: bool,
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    gateways: Vec<ModelGateway>,
    leases: BTreeMap<Instance, (LeaseRecord, u32)>,
    pods: Vec<ModelPod>,
    up: bool,
    quiet_ticks: u8,
    budget: EventBudget,
    interleaving: Interleaving,
}

/// The steps between which the events of other gateways can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Interleaving {
    /// Every call is a step.
    ByCall,
    /// An undisturbed cycle (renewal, Leases, unknown owners) is one step, every other call another.
    ByCycle,
}

impl World {
    /// Gateways that have just started.
    pub(super) fn new(gateways: u8, interleaving: Interleaving, budget: EventBudget) -> Self {
        let gateways = (0..gateways.into()).map(ModelGateway::new).collect();
        Self { gateways, leases: BTreeMap::new(), pods: Vec::new(), up: true, quiet_ticks: 0, budget, interleaving }
    }

    /// Gateways that have run for a while; the first one has a pod in a namespace of its own.
    pub(super) fn settled(gateways: u8, interleaving: Interleaving, budget: EventBudget) -> Self {
        let mut world = Self::new(gateways, interleaving, EventBudget { logins: 1, ..NO_EVENTS });
        world.step(ModelEvent::Login(0, 1));
        world.rest(QUIET_TICKS);
        Self { budget, ..world }
    }

    /// The world after these events and this number of quiet ticks.
    pub(super) fn after(mut self, events: &[ModelEvent], ticks: u8) -> Self {
        let ample = EventBudget { kills: 9, freezes: 9, outages: 9, lease_deletions: 9, ..NO_EVENTS };
        let budget = std::mem::replace(&mut self.budget, ample);
        events.iter().for_each(|event| self.step(*event));
        self.budget = NO_EVENTS;
        self.rest(ticks);
        Self { budget, ..self }
    }

    /// Lets ticks pass in which every call is answered at once.
    fn rest(&mut self, ticks: u8) {
        let call = |event: &ModelEvent| !matches!(event, ModelEvent::Tick | ModelEvent::Up);
        for _ in 0..ticks {
            while let Some(event) = self.events().into_iter().find(call) {
                self.step(event);
            }
            self.step(ModelEvent::Tick);
        }
    }

    fn step(&mut self, event: ModelEvent) {
        self.apply(event).and_then(|()| self.check()).unwrap();
    }

    /// The events that can happen next.
    pub(super) fn events(&self) -> Vec<ModelEvent> {
        let mut events = Vec::new();
        let budget = &self.budget;
        for (at, gateway) in self.gateways.iter().enumerate() {
            let runs = gateway.process == ProcessState::Runs;
            match (runs, gateway.sent.is_some() && gateway.undelivered.is_none(), self.up) {
                (true, true, true) => {
                    events.push(ModelEvent::Serve(at));
                    events.extend((budget.losses > 0).then_some(ModelEvent::Lose(at)));
                }
                (true, true, false) => events.push(ModelEvent::Fail(at)),
                (false, true, true) => events.push(ModelEvent::ServeLate(at)),
                _ => {}
            }
            if self.up {
                events.extend((0..gateway.creating.len()).map(|number| ModelEvent::Create(at, number)));
            }
            events.extend(self.outside_events(at, gateway));
        }
        events.extend((budget.restarts > 0).then_some(ModelEvent::Restart));
        events.extend((self.up && budget.outages > 0).then_some(ModelEvent::Down));
        events.extend((!self.up).then_some(ModelEvent::Up));
        let idle = |gateway: &ModelGateway| gateway.process != ProcessState::Runs || gateway.sent.is_none();
        events.extend(self.gateways.iter().all(idle).then_some(ModelEvent::Tick));
        events
    }

    /// The events that can happen to one gateway from outside.
    fn outside_events(&self, at: usize, gateway: &ModelGateway) -> Vec<ModelEvent> {
        let mut events = Vec::new();
        let EventBudget { kills, freezes, thaws, lease_deletions, logins, early_logins, targets, .. } = self.budget;
        let (runs, victim) = (gateway.process == ProcessState::Runs, at < targets);
        // Gateways differ by nothing but what happens to them: it is enough that the first one has logins.
        if runs && at == 0 && (logins > 0 || early_logins > 0 && gateway.was_frozen) {
            events.extend((0..NAMESPACES.len()).map(|namespace| ModelEvent::Login(at, namespace)));
        }
        events.extend((victim && runs && freezes > 0).then_some(ModelEvent::Freeze(at)));
        events.extend((victim && gateway.process != ProcessState::Dead && kills > 0).then_some(ModelEvent::Kill(at)));
        events.extend((gateway.process == ProcessState::Frozen && thaws > 0).then_some(ModelEvent::Thaw(at)));
        let leased = self.leases.contains_key(&gateway.id);
        events.extend((victim && leased && lease_deletions > 0).then_some(ModelEvent::DeleteLease(at)));
        events
    }

    /// Changes the world by an event.
    ///
    /// # Errors
    /// The invariant that it breaks.
    pub(super) fn apply(&mut self, event: ModelEvent) -> Result<(), String> {
        match event {
            ModelEvent::Serve(at) => loop {
                let answer = self.serve(at)?;
                self.deliver(at, answer);
                let in_cycle = matches!(
                    self.gateways[at].sent,
                    Some((ClusterRequest::ListLeases | ClusterRequest::ListUnknownOwners { .. }, _))
                );
                if self.interleaving == Interleaving::ByCall || !in_cycle {
                    break;
                }
            },
            ModelEvent::Lose(at) => {
                self.disturb(|budget| &mut budget.losses);
                self.serve(at)?;
                self.deliver(at, ClusterAnswer::Failed(String::new()));
            }
            ModelEvent::Fail(at) => self.deliver(at, ClusterAnswer::Failed(String::new())),
            ModelEvent::ServeLate(at) => {
                self.quiet_ticks = 0;
                let answer = self.serve(at)?;
                let gateway = &mut self.gateways[at];
                match gateway.process {
                    ProcessState::Dead => gateway.sent = None,
                    ProcessState::Frozen | ProcessState::Runs => gateway.undelivered = Some(answer),
                }
            }
            ModelEvent::Create(at, number) => self.create(at, number),
            ModelEvent::Login(at, namespace) => {
                let early = self.budget.logins == 0;
                *(if early { &mut self.budget.early_logins } else { &mut self.budget.logins }) -= 1;
                self.gateways[at].waiting_logins.push(namespace);
                self.gateways[at].known_namespaces.insert(namespace);
                self.run(at);
            }
            ModelEvent::Freeze(at) => {
                self.disturb(|budget| &mut budget.freezes);
                self.gateways[at].process = ProcessState::Frozen;
                self.gateways[at].was_frozen = true;
            }
            ModelEvent::Thaw(at) => self.thaw(at),
            ModelEvent::Kill(at) => self.kill(at),
            ModelEvent::Restart => {
                self.disturb(|budget| &mut budget.restarts);
                self.gateways.push(ModelGateway::new(self.gateways.len()));
            }
            ModelEvent::Down => {
                self.disturb(|budget| &mut budget.outages);
                self.up = false;
            }
            ModelEvent::Up => {
                self.up = true;
                // A failed call is tried again after a quarter of a tick.
                self.pass(TICK / 4);
                self.quiet_ticks = 0;
            }
            ModelEvent::DeleteLease(at) => self.delete_lease(at),
            ModelEvent::Tick => self.pass(TICK),
        }
        Ok(())
    }

    /// Checks the invariants of a state.
    pub(super) fn check(&self) -> Result<(), String> {
        let runs = |gateway: &ModelGateway| gateway.process == ProcessState::Runs;
        let is_owned = |pod: &ModelPod| self.gateways.iter().any(|gateway| gateway.id == pod.owner && runs(gateway));
        let may_stay = |pod: &ModelPod| is_owned(pod) || pod.unlisted && !self.is_known(pod.namespace);
        if self.up
            && self.quiet_ticks > QUIET_TICKS
            && self.gateways.iter().any(runs)
            && !self.pods.iter().all(may_stay)
        {
            return Err("an orphan stays".to_owned());
        }
        if self.up && self.quiet_ticks > QUIET_TICKS && self.pods.iter().any(|pod| pod.condemned && is_owned(pod)) {
            return Err("a pod is condemned though its owner lives".to_owned());
        }
        Ok(())
    }

    /// True if a running gateway knows the namespace.
    fn is_known(&self, namespace: usize) -> bool {
        self.gateways
            .iter()
            .any(|gateway| gateway.process == ProcessState::Runs && gateway.known_namespaces.contains(&namespace))
    }

    fn disturb(&mut self, which: impl Fn(&mut EventBudget) -> &mut u8) {
        *which(&mut self.budget) -= 1;
        self.quiet_ticks = 0;
    }

    fn delete_lease(&mut self, at: usize) {
        self.disturb(|budget| &mut budget.lease_deletions);
        self.gateways[at].lease_deleted = true;
        let id = self.gateways[at].id;
        self.leases.remove(&id);
        self.pods.iter_mut().filter(|pod| pod.owner == id).for_each(|pod| pod.unlisted = true);
    }

    fn thaw(&mut self, at: usize) {
        self.disturb(|budget| &mut budget.thaws);
        self.gateways[at].process = ProcessState::Runs;
        match self.gateways[at].undelivered.take() {
            Some(answer) => self.deliver(at, answer),
            None => self.run(at),
        }
    }

    fn kill(&mut self, at: usize) {
        self.disturb(|budget| &mut budget.kills);
        let gateway = &mut self.gateways[at];
        gateway.process = ProcessState::Dead;
        // Nothing in it matters any more.
        gateway.coordinator = Coordinator::new(gateway.id, NAMESPACES[0].clone(), TICK, *NOW);
        (gateway.ticks_since_renewal, gateway.was_frozen) = (0, true);
        gateway.known_namespaces.clear();
        gateway.waiting_logins.clear();
        if gateway.undelivered.take().is_some() {
            gateway.sent = None;
        }
    }

    fn pass(&mut self, time: Duration) {
        let oldest = *NOW - TICK * (LEASE_TICKS + 2).into();
        let whole = u8::from(time == TICK);
        self.quiet_ticks = (self.quiet_ticks + whole).min(QUIET_TICKS + 1);
        for gateway in self.gateways.iter_mut().filter(|gateway| gateway.process != ProcessState::Dead) {
            gateway.ticks_since_renewal = (gateway.ticks_since_renewal + whole).min(LEASE_TICKS);
            gateway.coordinator.grow_older(time, *NOW, oldest);
            if let Some((_, begun)) = &mut gateway.sent {
                *begun = (*begun - time).max(oldest);
            }
        }
        if self.quiet_ticks >= OBSERVED_TICKS {
            let is_known = [0, 1].map(|namespace| self.is_known(namespace));
            self.pods.iter_mut().filter(|pod| is_known[pod.namespace]).for_each(|pod| pod.unlisted = false);
        }
        for at in 0..self.gateways.len() {
            self.run(at);
        }
    }

    fn run(&mut self, at: usize) {
        let gateway = &mut self.gateways[at];
        if gateway.process == ProcessState::Runs {
            let own = self.pods.iter().filter(|pod| pod.owner == gateway.id).map(|pod| pod.namespace).collect();
            gateway.run(&own);
        }
    }

    fn deliver(&mut self, at: usize, answer: ClusterAnswer) {
        let gateway = &mut self.gateways[at];
        gateway.learn_namespaces(&answer);
        if let Some((_, begun)) = gateway.sent.take() {
            gateway.coordinator.handle_answer(answer, begun, *NOW);
        }
        self.run(at);
    }

    fn create(&mut self, at: usize, number: usize) {
        let gateway = &mut self.gateways[at];
        let (namespace, term) = gateway.creating.remove(number);
        if gateway.process != ProcessState::Runs {
            self.quiet_ticks = 0;
        }
        let (owner, lease_deleted) = (gateway.id, gateway.lease_deleted);
        let named = |(record, _): &(LeaseRecord, u32)| record.namespaces.contains(&NAMESPACES[namespace]);
        let unlisted = lease_deleted && !self.leases.get(&owner).is_some_and(named);
        let number = (0..).find(|number| self.pods.iter().all(|pod| pod.number != *number)).unwrap_or_default();
        self.pods.push(ModelPod { number, namespace, owner, term, condemned: false, unlisted });
        self.pods.sort_by_key(|pod| pod.number);
    }
}
