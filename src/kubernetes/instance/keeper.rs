//! What this process does among the gateways of a cluster, decided without I/O: one request at a time out, its answer in.
//!
//! It keeps its own Lease: renewed every third of its duration, naming every namespace before the first pod is made there.
//! Each renewal that worked is followed by a look at all Leases (see [`Ledger`]) and at the pods of one namespace, in turn,
//! for owners without a Lease. Who was silent for a whole duration, or has no Lease, gets an [`Inquest`]. Renewal comes
//! before all other work, so that no amount of it lets our own Lease grow old.

use super::inquest::{End, Finding, Inquest};
use super::ledger::{Ledger, Suspect};
use super::protocol::{Answer, Draft, LeaseSeen, PodSeen, Request, Version};
use crate::kubernetes::pod::Instance;
use crate::types::Namespace;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// How many namespaces are remembered for looking in turn.
const ROUNDS: usize = 256;

/// The decider.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Keeper {
    own: Instance,
    home: Namespace,
    lasts: Duration,
    standing: Standing,
    /// The last renewal was refused, not merely unanswered.
    refused: bool,
    /// How often the Lease was lost.
    term: u32,
    written: BTreeSet<Namespace>,
    wanted: BTreeSet<Namespace>,
    ledger: Ledger,
    rounds: VecDeque<Namespace>,
    wake: Instant,
    asked: Option<Asked>,
    next: Next,
    touching: Option<Touching>,
    inquests: VecDeque<Inquest>,
    notices: Vec<Notice>,
}

/// Where our own Lease stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Standing {
    /// There is none.
    Absent,
    /// This version is ours.
    Held(Version),
    /// It is not what we left.
    Doubtful,
}

/// What a cycle does next; [`Next::Work`] between cycles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Next {
    Renew,
    Look,
    Round,
    Work,
}

/// What was asked and is not answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Asked {
    Renewal(BTreeSet<Namespace>),
    Reading,
    Leases,
    Strangers(Namespace),
    Touching,
    Inquest,
}

/// Pods that are to hear that they are ours still: namespaces to list, and what was found there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Touching {
    left: BTreeSet<Namespace>,
    pods: Vec<PodSeen>,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask this, and bring the answer.
    Ask(Request),
    /// Nothing, until then or until a namespace is wanted.
    Wait(Instant),
}

/// Whether pods may be made in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cover {
    /// Our Lease names it; pods are to carry this term.
    Leased(u32),
    /// Not yet.
    Soon,
    /// There is no Lease and will not be: nobody sweeps up after us.
    Never,
}

/// Something that the log should say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Notice {
    /// Leases cannot be used, for that reason.
    Refused(String),
    /// Others' Leases or pods cannot be seen, for that reason.
    Blind(String),
    /// Our Lease cannot be renewed at the moment.
    Failing(String),
    /// The pods that we still have cannot be marked.
    Unmarked(String),
    /// Our Lease is renewed.
    Held,
    /// Another has taken us for dead.
    Lost,
    /// About another.
    Found(Finding),
}

impl Keeper {
    pub(super) fn new(own: Instance, home: Namespace, lasts: Duration, now: Instant) -> Self {
        Self {
            own,
            rounds: VecDeque::from([home.clone()]),
            home,
            lasts,
            standing: Standing::Absent,
            refused: false,
            term: 0,
            written: BTreeSet::new(),
            wanted: BTreeSet::new(),
            ledger: Ledger::new(own, lasts),
            wake: now,
            asked: None,
            next: Next::Work,
            touching: None,
            inquests: VecDeque::new(),
            notices: Vec::new(),
        }
    }

    /// Whether pods may be made in that namespace. Whoever asks has made sure that it counts as in use.
    pub(super) fn cover(&mut self, namespace: &Namespace, now: Instant) -> Cover {
        if self.written.contains(namespace) {
            return Cover::Leased(self.term);
        }
        if self.refused {
            return Cover::Never;
        }
        if self.wanted.insert(namespace.clone()) {
            self.wake = self.wake.min(now);
        }
        Cover::Soon
    }

    /// What the log should say since the last time.
    pub(super) fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Our Lease as far as we know, and what it names.
    pub(super) fn held(&self) -> Option<(&Version, &BTreeSet<Namespace>)> {
        match &self.standing {
            Standing::Held(version) => Some((version, &self.written)),
            Standing::Absent | Standing::Doubtful => None,
        }
    }

    /// What is to be done now; `in_use` gives the namespaces where we have, or are about to have, pods.
    pub(super) fn next(&mut self, in_use: impl FnOnce() -> BTreeSet<Namespace>, now: Instant) -> Step {
        if self.next == Next::Work && now >= self.wake {
            self.next = Next::Renew;
        }
        match self.next {
            Next::Renew => self.renew(&in_use()),
            Next::Look => self.ask(Asked::Leases, Request::ListLeases),
            Next::Round => self.round(),
            Next::Work => self.work(now),
        }
    }

    /// Takes in what came of the last request, asked at `begun`.
    pub(super) fn answered(&mut self, answer: Answer, begun: Instant, now: Instant) {
        match self.asked.take() {
            Some(Asked::Renewal(namespaces)) => self.renewed(answer, namespaces, now),
            Some(Asked::Reading) => self.read(answer, now),
            Some(Asked::Leases) => self.looked(answer, begun, now),
            Some(Asked::Strangers(namespace)) => self.went_round(answer, namespace, now),
            Some(Asked::Touching) => self.touched(answer),
            Some(Asked::Inquest) => self.inquired(answer, now),
            None => {}
        }
    }

    fn ask(&mut self, asked: Asked, request: Request) -> Step {
        self.asked = Some(asked);
        Step::Ask(request)
    }

    fn renew(&mut self, in_use: &BTreeSet<Namespace>) -> Step {
        if self.standing == Standing::Doubtful {
            return self.ask(Asked::Reading, Request::Read(self.own));
        }
        let namespaces: BTreeSet<_> = in_use.union(&self.wanted).cloned().collect();
        // From here on nobody begins a pod in a namespace that this renewal takes out.
        self.written.retain(|namespace| namespaces.contains(namespace));
        let draft = Draft { instance: self.own, holder: self.own, lasts: self.lasts, namespaces: namespaces.clone() };
        let request = match &self.standing {
            Standing::Held(version) => Request::Update(draft, version.clone()),
            Standing::Absent | Standing::Doubtful => Request::Create(draft),
        };
        self.ask(Asked::Renewal(namespaces), request)
    }

    fn renewed(&mut self, answer: Answer, namespaces: BTreeSet<Namespace>, now: Instant) {
        match answer {
            Answer::Lease(lease) => {
                if self.refused || self.standing == Standing::Absent {
                    self.notices.push(Notice::Held);
                }
                self.refused = false;
                self.standing = Standing::Held(lease.version);
                self.wanted.retain(|namespace| !namespaces.contains(namespace));
                self.written = namespaces;
                if let Some(touching) = &mut self.touching {
                    touching.left.extend(self.written.iter().cloned());
                }
                // Who began to wait meanwhile does not wait for the next third.
                self.wake = if self.wanted.is_empty() { now + self.lasts / 3 } else { now };
                self.next = Next::Look;
            }
            Answer::Conflict => self.standing = Standing::Doubtful,
            Answer::Gone if self.standing != Standing::Absent => self.lost(Standing::Absent),
            other => self.stumbled(other, now),
        }
    }

    /// The Lease is not what we left: a renewal whose answer was lost, or another has taken it.
    fn read(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Lease(LeaseSeen { says, version }) if says.holder == self.own => {
                self.standing = Standing::Held(version);
            }
            Answer::Lease(LeaseSeen { version, .. }) => self.lost(Standing::Held(version)),
            Answer::Gone => self.lost(Standing::Absent),
            other => self.stumbled(other, now),
        }
    }

    /// Another may have decided to remove our pods: they get a higher term once we have the Lease again.
    fn lost(&mut self, standing: Standing) {
        self.standing = standing;
        self.term += 1;
        self.touching = Some(Touching { left: BTreeSet::new(), pods: Vec::new() });
        self.notices.push(Notice::Lost);
    }

    fn stumbled(&mut self, answer: Answer, now: Instant) {
        self.next = Next::Work;
        self.wake = now + self.lasts / 12;
        match answer {
            Answer::Refused(why) => {
                self.refused = true;
                self.wake = now + self.lasts;
                self.notices.push(Notice::Refused(why));
            }
            Answer::Failed(why) => self.notices.push(Notice::Failing(why)),
            Answer::Done | Answer::Gone | Answer::Conflict | Answer::Lease(_) | Answer::Leases(_) | Answer::Pods(_) => {
                self.notices.push(Notice::Failing("the answer is not valid".to_owned()))
            }
        }
    }

    fn looked(&mut self, answer: Answer, begun: Instant, now: Instant) {
        self.next = Next::Round;
        match answer {
            Answer::Leases(leases) => {
                let suspects = self.ledger.observe(leases, begun, now);
                self.inquire(suspects);
                self.remember_namespaces();
                // Nobody is suspected later than need be.
                let soonest = now + self.lasts / 12;
                let suspicion = self.ledger.next_suspicion().map_or(self.wake, |at| at.max(soonest));
                self.wake = self.wake.min(suspicion);
            }
            Answer::Refused(why) => self.notices.push(Notice::Blind(why)),
            _ => self.wake = self.wake.min(now + self.lasts / 12),
        }
    }

    fn inquire(&mut self, suspects: Vec<Suspect>) {
        for suspect in suspects {
            if self.inquests.iter().all(|inquest| inquest.about() != suspect.instance) {
                self.inquests.push_back(Inquest::new(self.own, suspect));
            }
        }
    }

    fn remember_namespaces(&mut self) {
        let known: BTreeSet<_> = self.ledger.namespaces().chain(&self.written).cloned().collect();
        let new = known.iter().filter(|namespace| !self.rounds.contains(namespace)).cloned().collect::<Vec<_>>();
        self.rounds.extend(new);
        while self.rounds.len() > ROUNDS {
            let oldest = self.rounds.iter().position(|n| !known.contains(n) && *n != self.home);
            self.rounds.remove(oldest.unwrap_or_default());
        }
    }

    fn round(&mut self) -> Step {
        let namespace = self.rounds.pop_front().unwrap_or_else(|| self.home.clone());
        self.rounds.push_back(namespace.clone());
        let known = self.ledger.known();
        self.ask(Asked::Strangers(namespace.clone()), Request::ListStrangers { namespace, known })
    }

    fn went_round(&mut self, answer: Answer, namespace: Namespace, now: Instant) {
        self.next = Next::Work;
        match answer {
            Answer::Pods(pods) => {
                for pod in pods {
                    self.ledger.stranger(pod.owner, &namespace, self.rounds.iter().cloned(), now);
                }
                self.inquire(self.ledger.unleased());
            }
            Answer::Refused(why) => self.notices.push(Notice::Found(Finding::NoLook(namespace, why))),
            _ => {}
        }
    }

    fn work(&mut self, now: Instant) -> Step {
        if let Some(request) = self.touching.as_ref().and_then(|touching| touching.request(self.own, self.term)) {
            return self.ask(Asked::Touching, request);
        }
        while let Some(inquest) = self.inquests.front() {
            match inquest.request() {
                Ok(request) => return self.ask(Asked::Inquest, request),
                Err(end) => self.closed(end, now),
            }
        }
        Step::Wait(self.wake)
    }

    fn touched(&mut self, answer: Answer) {
        let Some(touching) = &mut self.touching else { return };
        match answer {
            Answer::Pods(pods) => {
                touching.left.pop_first();
                touching.pods.extend(pods.into_iter().filter(|pod| pod.owner == self.own && pod.term < self.term));
            }
            // Whether it was touched or is gone: nobody removes it any more who decided so before.
            Answer::Done | Answer::Gone => drop(touching.pods.pop()),
            Answer::Refused(why) | Answer::Failed(why) => {
                self.notices.push(Notice::Unmarked(why));
                return touching.give_up();
            }
            Answer::Conflict | Answer::Lease(_) | Answer::Leases(_) => return touching.give_up(),
        }
        if touching.left.is_empty() && touching.pods.is_empty() {
            self.touching = None;
        }
    }

    fn inquired(&mut self, answer: Answer, now: Instant) {
        let Some(inquest) = self.inquests.front_mut() else { return };
        self.notices.extend(inquest.answered(answer).map(Notice::Found));
        if let Err(end) = inquest.request() {
            self.closed(end, now);
        }
    }

    /// The first inquest is over.
    fn closed(&mut self, end: End, now: Instant) {
        let Some(inquest) = self.inquests.pop_front() else { return };
        match end {
            End::Nothing => self.ledger.forget(inquest.about()),
            End::Closed => self.ledger.restart(inquest.about(), now),
            End::Later | End::Taken => {}
        }
    }
}

impl Touching {
    /// It begins again with the next renewal.
    fn give_up(&mut self) {
        self.pods.clear();
        self.left.clear();
    }

    fn request(&self, owner: Instance, term: u32) -> Option<Request> {
        if let Some(pod) = self.pods.last() {
            return Some(Request::TouchPod(pod.clone(), term));
        }
        let namespace = self.left.first()?.clone();
        Some(Request::ListPods { namespace, owner })
    }
}

/// What the model of all interleavings needs: time stands still there, and states grow older.
#[cfg(test)]
impl Keeper {
    pub(super) fn grow_older(&mut self, by: Duration, now: Instant, oldest: Instant) {
        self.wake = (self.wake - by).max(now);
        self.ledger.grow_older(by, oldest);
    }

    pub(super) fn versions_of(&self, instance: Instance) -> impl Iterator<Item = &Version> {
        let own = self.held().map(|(version, _)| version).filter(|_| instance == self.own);
        let inquests = self.inquests.iter().filter(move |inquest| inquest.about() == instance);
        own.into_iter().chain(self.ledger.version_of(instance)).chain(inquests.filter_map(Inquest::lease))
    }
}

#[cfg(test)]
mod tests;
