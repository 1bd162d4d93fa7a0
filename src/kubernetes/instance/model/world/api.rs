//! The API's side: Leases and pods with their versions, and whether what it is asked may be done to a living gateway.

use super::super::super::protocol::{Answer, Draft, LeaseSeen, PodSeen, Request, Version};
use super::{Gateway, LASTS, NAMESPACES, Pod, Process, World};
use crate::kubernetes::pod::Instance;
use crate::types::Namespace;

impl World {
    /// The API carries out what a gateway asked.
    pub(super) fn serve(&mut self, at: usize) -> Result<Answer, String> {
        let Some((request, _)) = self.gateways[at].asked.clone() else { return Err("nothing asked".into()) };
        let by = self.gateways[at].id;
        Ok(match request {
            Request::Create(draft) if self.leases.contains_key(&draft.instance) => Answer::Conflict,
            Request::Create(draft) => self.write(by, draft),
            Request::Update(draft, seen) => match self.current(draft.instance) {
                None => Answer::Gone,
                Some(current) if current != seen => Answer::Conflict,
                Some(_) if by == draft.instance => self.write(by, draft),
                Some(_) => {
                    self.may_take(draft.instance)?;
                    self.pods.iter_mut().filter(|pod| pod.owner == draft.instance).for_each(|pod| pod.forfeit = true);
                    self.write(by, draft)
                }
            },
            Request::Read(instance) => {
                self.leases.get(&instance).map_or(Answer::Gone, |lease| Answer::Lease(seen(lease)))
            }
            Request::Forget(instance, seen) => match self.current(instance) {
                None => Answer::Gone,
                Some(current) if current != seen => Answer::Conflict,
                Some(_) => {
                    self.may_take(instance)?;
                    self.leases.remove(&instance);
                    Answer::Done
                }
            },
            Request::ListLeases => Answer::Leases(self.leases.values().map(seen).collect()),
            Request::ListPods { namespace, owner } => self.list(&namespace, |pod| pod.owner == owner),
            Request::ListStrangers { namespace, known } => self.list(&namespace, |pod| !known.contains(&pod.owner)),
            Request::DeletePod(pod) => self.delete(&pod)?,
            Request::TouchPod(pod, term) => {
                let found = self.pods.iter_mut().find(|found| uid(found) == pod.uid);
                found.map_or(Answer::Gone, |found| {
                    (found.term, found.forfeit) = (term, false);
                    Answer::Done
                })
            }
        })
    }

    fn current(&self, instance: Instance) -> Option<Version> {
        self.leases.get(&instance).map(|(_, number)| version(*number))
    }

    fn write(&mut self, by: Instance, draft: Draft) -> Answer {
        let instance = draft.instance;
        let named = |pod: &&mut Pod| pod.owner == instance && draft.namespaces.contains(&NAMESPACES[pod.namespace]);
        self.pods.iter_mut().filter(named).for_each(|pod| pod.hidden = false);
        if by == instance {
            let gateway = self.gateways.iter_mut().find(|gateway| gateway.id == instance);
            gateway.into_iter().filter(|gateway| gateway.process == Process::Runs).for_each(|gateway| {
                (gateway.silent, gateway.halted, gateway.vanished) = (0, false, false);
            });
        }
        let used: Vec<_> = self.gateways.iter().flat_map(|gateway| gateway.versions_of(instance)).collect();
        let current = self.current(instance);
        let fresh = |number: &u32| current != Some(version(*number)) && !used.contains(&&version(*number));
        let number = (0..).find(fresh).unwrap_or_default();
        let lease = (draft, number);
        let answer = Answer::Lease(seen(&lease));
        self.leases.insert(instance, lease);
        answer
    }

    fn may_take(&self, instance: Instance) -> Result<(), String> {
        let alive = |gateway: &&Gateway| gateway.id == instance && gateway.process != Process::Dead;
        match self.gateways.iter().find(alive) {
            Some(gateway) if !gateway.halted => Err(format!("{instance} was never frozen and loses its Lease")),
            Some(gateway) if gateway.silent < LASTS => Err(format!("{instance} was not silent for long enough")),
            _ => Ok(()),
        }
    }

    fn list(&self, namespace: &Namespace, wanted: impl Fn(&Pod) -> bool) -> Answer {
        let here = |pod: &&Pod| NAMESPACES[pod.namespace] == *namespace && wanted(pod);
        let seen = |pod: &Pod| PodSeen {
            namespace: namespace.clone(),
            name: uid(pod),
            uid: uid(pod),
            version: version(pod.term),
            owner: pod.owner,
            term: pod.term,
        };
        Answer::Pods(self.pods.iter().filter(here).map(seen).collect())
    }

    fn delete(&mut self, seen: &PodSeen) -> Result<Answer, String> {
        let Some(at) = self.pods.iter().position(|pod| uid(pod) == seen.uid) else { return Ok(Answer::Gone) };
        let pod = &self.pods[at];
        if version(pod.term) != seen.version {
            return Ok(Answer::Conflict);
        }
        let dead = |gateway: &Gateway| gateway.id == pod.owner && gateway.process == Process::Dead;
        if !pod.forfeit && !self.gateways.iter().any(dead) {
            return Err(format!("a live pod of {} is removed", pod.owner));
        }
        self.pods.remove(at);
        Ok(Answer::Done)
    }
}

fn version(number: u32) -> Version {
    Version(number.to_string().into())
}

fn seen((draft, number): &(Draft, u32)) -> LeaseSeen {
    LeaseSeen { says: draft.clone(), version: version(*number) }
}

fn uid(pod: &Pod) -> String {
    pod.number.to_string()
}
