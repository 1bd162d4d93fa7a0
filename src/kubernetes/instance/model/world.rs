//! The modelled world: an API with Leases and pods, gateways that run, are frozen or dead, and what can happen next.

mod api;
mod gateway;

use super::super::keeper::Keeper;
use super::super::protocol::{Answer, Draft, Request};
use crate::kubernetes::pod::Instance;
use crate::types::Namespace;
use gateway::Gateway;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::Instant;

/// A third of a Lease's duration.
const TICK: Duration = Duration::from_secs(1);
/// A Lease's duration, in ticks.
pub(super) const LASTS: u8 = 3;
/// After how many undisturbed ticks nothing may be left of the dead.
const CALM: u8 = 2 * LASTS;
/// After how many undisturbed ticks everybody who runs has looked around.
const LOOKED: u8 = 2;

/// The time at which everything happens: what passes makes states older instead.
static NOW: LazyLock<Instant> = LazyLock::new(|| Instant::now() + TICK * 1000);
static NAMESPACES: LazyLock<[Namespace; 2]> =
    LazyLock::new(|| ["home", "away"].map(|name| Namespace::parse(name).unwrap()));

/// How often what may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) kills: u8,
    pub(super) freezes: u8,
    pub(super) thaws: u8,
    pub(super) outages: u8,
    pub(super) losses: u8,
    pub(super) vanishing: u8,
    /// Of the first gateway.
    pub(super) logins: u8,
    /// Of the first gateway, after it was frozen and before it has renewed its Lease.
    pub(super) early_logins: u8,
    pub(super) restarts: u8,
    /// Of how many gateways the Lease is deleted and the process killed or frozen.
    pub(super) victims: usize,
}

/// Nothing happens but calls, creates and time.
pub(super) const NONE: Budget = Budget {
    kills: 0,
    freezes: 0,
    thaws: 0,
    outages: 0,
    losses: 0,
    vanishing: 0,
    logins: 0,
    early_logins: 0,
    restarts: 0,
    victims: usize::MAX,
};

/// What can happen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// The API carries a gateway's call out, and the answer arrives.
    Serve(usize),
    /// The API carries it out, and the answer is lost.
    Lose(usize),
    /// The API is down, and the call fails.
    Fail(usize),
    /// The API carries out what a frozen or dead gateway had sent.
    ServeLate(usize),
    /// The same for the create of a pod.
    Create(usize, usize),
    Login(usize, usize),
    Freeze(usize),
    Thaw(usize),
    Kill(usize),
    Restart,
    Down,
    Up,
    /// Somebody deletes a Lease by hand.
    Vanish(usize),
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Process {
    Runs,
    Frozen,
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pod {
    number: u8,
    namespace: usize,
    owner: Instance,
    term: u32,
    forfeit: bool,
    /// The Lease that named its namespace was deleted by hand, and nobody who had heard of the namespace looked since.
    hidden: bool,
}

/// A state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    gateways: Vec<Gateway>,
    leases: BTreeMap<Instance, (Draft, u32)>,
    pods: Vec<Pod>,
    up: bool,
    calm: u8,
    budget: Budget,
    grain: Grain,
}

/// How closely gateways interleave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Grain {
    /// Call by call.
    Fine,
    /// The three calls of an undisturbed cycle (renewal, Leases, strangers) are one step; all others are one each.
    Coarse,
}

impl World {
    /// Gateways that have just begun.
    pub(super) fn new(gateways: u8, grain: Grain, budget: Budget) -> Self {
        let gateways = (0..gateways.into()).map(Gateway::new).collect();
        Self { gateways, leases: BTreeMap::new(), pods: Vec::new(), up: true, calm: 0, budget, grain }
    }

    /// Gateways that have run for a while, the first one with a pod where nobody else has any.
    pub(super) fn settled(gateways: u8, grain: Grain, budget: Budget) -> Self {
        let mut world = Self::new(gateways, grain, Budget { logins: 1, ..NONE });
        world.follow(Event::Login(0, 1));
        world.rest(CALM);
        Self { budget, ..world }
    }

    /// The same after something has happened and so many ticks have passed.
    pub(super) fn after(mut self, events: &[Event], ticks: u8) -> Self {
        let ample = Budget { kills: 9, freezes: 9, outages: 9, vanishing: 9, ..NONE };
        let budget = std::mem::replace(&mut self.budget, ample);
        events.iter().for_each(|event| self.follow(*event));
        self.budget = NONE;
        self.rest(ticks);
        Self { budget, ..self }
    }

    /// Lets time pass in which every call is answered at once.
    fn rest(&mut self, ticks: u8) {
        let call = |event: &Event| !matches!(event, Event::Tick | Event::Up);
        for _ in 0..ticks {
            while let Some(event) = self.events().into_iter().find(call) {
                self.follow(event);
            }
            self.follow(Event::Tick);
        }
    }

    fn follow(&mut self, event: Event) {
        self.happen(event).and_then(|()| self.check()).unwrap();
    }

    /// Everything that can happen next.
    pub(super) fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let budget = &self.budget;
        for (at, gateway) in self.gateways.iter().enumerate() {
            let runs = gateway.process == Process::Runs;
            match (runs, gateway.asked.is_some() && gateway.arrived.is_none(), self.up) {
                (true, true, true) => {
                    events.push(Event::Serve(at));
                    events.extend((budget.losses > 0).then_some(Event::Lose(at)));
                }
                (true, true, false) => events.push(Event::Fail(at)),
                (false, true, true) => events.push(Event::ServeLate(at)),
                _ => {}
            }
            if self.up {
                events.extend((0..gateway.creating.len()).map(|number| Event::Create(at, number)));
            }
            events.extend(self.blows(at, gateway));
        }
        events.extend((budget.restarts > 0).then_some(Event::Restart));
        events.extend((self.up && budget.outages > 0).then_some(Event::Down));
        events.extend((!self.up).then_some(Event::Up));
        let idle = |gateway: &Gateway| gateway.process != Process::Runs || gateway.asked.is_none();
        events.extend(self.gateways.iter().all(idle).then_some(Event::Tick));
        events
    }

    /// What can happen to one gateway from outside.
    fn blows(&self, at: usize, gateway: &Gateway) -> Vec<Event> {
        let mut events = Vec::new();
        let Budget { kills, freezes, thaws, vanishing, logins, early_logins, victims, .. } = self.budget;
        let (runs, victim) = (gateway.process == Process::Runs, at < victims);
        // Gateways differ by nothing but what happens to them: it is enough that the first one has logins.
        if runs && at == 0 && (logins > 0 || early_logins > 0 && gateway.halted) {
            events.extend((0..NAMESPACES.len()).map(|namespace| Event::Login(at, namespace)));
        }
        events.extend((victim && runs && freezes > 0).then_some(Event::Freeze(at)));
        events.extend((victim && gateway.process != Process::Dead && kills > 0).then_some(Event::Kill(at)));
        events.extend((gateway.process == Process::Frozen && thaws > 0).then_some(Event::Thaw(at)));
        let leased = self.leases.contains_key(&gateway.id);
        events.extend((victim && leased && vanishing > 0).then_some(Event::Vanish(at)));
        events
    }

    /// Lets it happen; what it breaks.
    pub(super) fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Serve(at) => loop {
                let answer = self.serve(at)?;
                self.deliver(at, answer);
                let goes_on =
                    matches!(self.gateways[at].asked, Some((Request::ListLeases | Request::ListStrangers { .. }, _)));
                if self.grain == Grain::Fine || !goes_on {
                    break;
                }
            },
            Event::Lose(at) => {
                self.disturb(|budget| &mut budget.losses);
                self.serve(at)?;
                self.deliver(at, Answer::Failed(String::new()));
            }
            Event::Fail(at) => self.deliver(at, Answer::Failed(String::new())),
            Event::ServeLate(at) => {
                self.calm = 0;
                let answer = self.serve(at)?;
                let gateway = &mut self.gateways[at];
                match gateway.process {
                    Process::Dead => gateway.asked = None,
                    Process::Frozen | Process::Runs => gateway.arrived = Some(answer),
                }
            }
            Event::Create(at, number) => self.create(at, number),
            Event::Login(at, namespace) => {
                let early = self.budget.logins == 0;
                *(if early { &mut self.budget.early_logins } else { &mut self.budget.logins }) -= 1;
                self.gateways[at].waiting.push(namespace);
                self.gateways[at].heard.insert(namespace);
                self.go_on(at);
            }
            Event::Freeze(at) => {
                self.disturb(|budget| &mut budget.freezes);
                self.gateways[at].process = Process::Frozen;
                self.gateways[at].halted = true;
            }
            Event::Thaw(at) => self.thaw(at),
            Event::Kill(at) => self.kill(at),
            Event::Restart => {
                self.disturb(|budget| &mut budget.restarts);
                self.gateways.push(Gateway::new(self.gateways.len()));
            }
            Event::Down => {
                self.disturb(|budget| &mut budget.outages);
                self.up = false;
            }
            Event::Up => {
                self.up = true;
                // Who was failing tries again after a quarter of a tick.
                self.pass(TICK / 4);
                self.calm = 0;
            }
            Event::Vanish(at) => self.vanish(at),
            Event::Tick => self.pass(TICK),
        }
        Ok(())
    }

    /// What must hold in every state.
    pub(super) fn check(&self) -> Result<(), String> {
        let runs = |gateway: &Gateway| gateway.process == Process::Runs;
        let cared_for = |pod: &Pod| self.gateways.iter().any(|gateway| gateway.id == pod.owner && runs(gateway));
        let spared = |pod: &Pod| cared_for(pod) || pod.hidden && !self.heard_of(pod.namespace);
        if self.up && self.calm > CALM && self.gateways.iter().any(runs) && !self.pods.iter().all(spared) {
            return Err("an orphan stays".to_owned());
        }
        if self.up && self.calm > CALM && self.pods.iter().any(|pod| pod.forfeit && cared_for(pod)) {
            return Err("a pod is forfeit though its owner lives".to_owned());
        }
        Ok(())
    }

    /// Whether somebody runs who has heard of a namespace.
    fn heard_of(&self, namespace: usize) -> bool {
        self.gateways.iter().any(|gateway| gateway.process == Process::Runs && gateway.heard.contains(&namespace))
    }

    fn disturb(&mut self, which: impl Fn(&mut Budget) -> &mut u8) {
        *which(&mut self.budget) -= 1;
        self.calm = 0;
    }

    fn vanish(&mut self, at: usize) {
        self.disturb(|budget| &mut budget.vanishing);
        self.gateways[at].vanished = true;
        let id = self.gateways[at].id;
        self.leases.remove(&id);
        self.pods.iter_mut().filter(|pod| pod.owner == id).for_each(|pod| pod.hidden = true);
    }

    fn thaw(&mut self, at: usize) {
        self.disturb(|budget| &mut budget.thaws);
        self.gateways[at].process = Process::Runs;
        match self.gateways[at].arrived.take() {
            Some(answer) => self.deliver(at, answer),
            None => self.go_on(at),
        }
    }

    fn kill(&mut self, at: usize) {
        self.disturb(|budget| &mut budget.kills);
        let gateway = &mut self.gateways[at];
        gateway.process = Process::Dead;
        // Nothing in it matters any more.
        gateway.keeper = Keeper::new(gateway.id, NAMESPACES[0].clone(), TICK, *NOW);
        (gateway.silent, gateway.halted) = (0, true);
        gateway.heard.clear();
        gateway.waiting.clear();
        if gateway.arrived.take().is_some() {
            gateway.asked = None;
        }
    }

    fn pass(&mut self, time: Duration) {
        let oldest = *NOW - TICK * (LASTS + 2).into();
        let whole = u8::from(time == TICK);
        self.calm = (self.calm + whole).min(CALM + 1);
        for gateway in self.gateways.iter_mut().filter(|gateway| gateway.process != Process::Dead) {
            gateway.silent = (gateway.silent + whole).min(LASTS);
            gateway.keeper.grow_older(time, *NOW, oldest);
            if let Some((_, begun)) = &mut gateway.asked {
                *begun = (*begun - time).max(oldest);
            }
        }
        if self.calm >= LOOKED {
            let heard = [0, 1].map(|namespace| self.heard_of(namespace));
            self.pods.iter_mut().filter(|pod| heard[pod.namespace]).for_each(|pod| pod.hidden = false);
        }
        for at in 0..self.gateways.len() {
            self.go_on(at);
        }
    }

    fn go_on(&mut self, at: usize) {
        let gateway = &mut self.gateways[at];
        if gateway.process == Process::Runs {
            let own = self.pods.iter().filter(|pod| pod.owner == gateway.id).map(|pod| pod.namespace).collect();
            gateway.go_on(&own);
        }
    }

    fn deliver(&mut self, at: usize, answer: Answer) {
        let gateway = &mut self.gateways[at];
        gateway.hear(&answer);
        if let Some((_, begun)) = gateway.asked.take() {
            gateway.keeper.answered(answer, begun, *NOW);
        }
        self.go_on(at);
    }

    fn create(&mut self, at: usize, number: usize) {
        let gateway = &mut self.gateways[at];
        let (namespace, term) = gateway.creating.remove(number);
        if gateway.process != Process::Runs {
            self.calm = 0;
        }
        let (owner, vanished) = (gateway.id, gateway.vanished);
        let named = |(draft, _): &(Draft, u32)| draft.namespaces.contains(&NAMESPACES[namespace]);
        let hidden = vanished && !self.leases.get(&owner).is_some_and(named);
        let number = (0..).find(|number| self.pods.iter().all(|pod| pod.number != *number)).unwrap_or_default();
        self.pods.push(Pod { number, namespace, owner, term, forfeit: false, hidden });
        self.pods.sort_by_key(|pod| pod.number);
    }
}
