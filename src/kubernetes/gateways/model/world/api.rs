//! The modelled API: Leases and pods with their versions, and the checks that a change does no harm to a living gateway.

use super::super::super::protocol::{
    ClusterAnswer, ClusterRequest, LeaseRecord, ObjectVersion, ObservedLease, ObservedPod,
};
use super::{LEASE_TICKS, ModelGateway, ModelPod, NAMESPACES, ProcessState, World};
use crate::kubernetes::pod::manifest::Instance;
use crate::types::Namespace;

impl World {
    /// Carries out the call that a gateway has sent.
    pub(super) fn serve(&mut self, at: usize) -> Result<ClusterAnswer, String> {
        let Some((request, _)) = self.gateways[at].sent.clone() else { return Err("nothing sent".into()) };
        let by = self.gateways[at].id;
        Ok(match request {
            ClusterRequest::CreateLease(record) if self.leases.contains_key(&record.instance) => {
                ClusterAnswer::Conflict
            }
            ClusterRequest::CreateLease(record) => self.write(by, record),
            ClusterRequest::UpdateLease(record, seen) => match self.current(record.instance) {
                None => ClusterAnswer::NotFound,
                Some(current) if current != seen => ClusterAnswer::Conflict,
                Some(_) if by == record.instance => self.write(by, record),
                Some(_) => {
                    self.may_take(record.instance)?;
                    self.pods
                        .iter_mut()
                        .filter(|pod| pod.owner == record.instance)
                        .for_each(|pod| pod.condemned = true);
                    self.write(by, record)
                }
            },
            ClusterRequest::ReadLease(instance) => {
                self.leases.get(&instance).map_or(ClusterAnswer::NotFound, |lease| ClusterAnswer::Lease(seen(lease)))
            }
            ClusterRequest::DeleteLease(instance, seen) => match self.current(instance) {
                None => ClusterAnswer::NotFound,
                Some(current) if current != seen => ClusterAnswer::Conflict,
                Some(_) => {
                    self.may_take(instance)?;
                    self.leases.remove(&instance);
                    ClusterAnswer::Done
                }
            },
            ClusterRequest::ListLeases => ClusterAnswer::Leases(self.leases.values().map(seen).collect()),
            ClusterRequest::ListPods { namespace, owner } => self.list(&namespace, |pod| pod.owner == owner),
            ClusterRequest::ListUnknownOwners { namespace, known } => {
                self.list(&namespace, |pod| !known.contains(&pod.owner))
            }
            ClusterRequest::DeletePod(pod) => self.delete(&pod)?,
            ClusterRequest::RelabelPod(pod, term) => {
                let found = self.pods.iter_mut().find(|found| uid(found) == pod.uid);
                found.map_or(ClusterAnswer::NotFound, |found| {
                    (found.term, found.condemned) = (term, false);
                    ClusterAnswer::Done
                })
            }
        })
    }

    fn current(&self, instance: Instance) -> Option<ObjectVersion> {
        self.leases.get(&instance).map(|(_, number)| version(*number))
    }

    fn write(&mut self, by: Instance, record: LeaseRecord) -> ClusterAnswer {
        let instance = record.instance;
        let named =
            |pod: &&mut ModelPod| pod.owner == instance && record.namespaces.contains(&NAMESPACES[pod.namespace]);
        self.pods.iter_mut().filter(named).for_each(|pod| pod.unlisted = false);
        if by == instance {
            let gateway = self.gateways.iter_mut().find(|gateway| gateway.id == instance);
            gateway.into_iter().filter(|gateway| gateway.process == ProcessState::Runs).for_each(|gateway| {
                (gateway.ticks_since_renewal, gateway.was_frozen, gateway.lease_deleted) = (0, false, false);
            });
        }
        let used: Vec<_> = self.gateways.iter().flat_map(|gateway| gateway.versions_of(instance)).collect();
        let current = self.current(instance);
        let fresh = |number: &u32| current != Some(version(*number)) && !used.contains(&&version(*number));
        let number = (0..).find(fresh).unwrap_or_default();
        let lease = (record, number);
        let answer = ClusterAnswer::Lease(seen(&lease));
        self.leases.insert(instance, lease);
        answer
    }

    fn may_take(&self, instance: Instance) -> Result<(), String> {
        let alive = |gateway: &&ModelGateway| gateway.id == instance && gateway.process != ProcessState::Dead;
        match self.gateways.iter().find(alive) {
            Some(gateway) if !gateway.was_frozen => Err(format!("{instance} was never frozen and loses its Lease")),
            Some(gateway) if gateway.ticks_since_renewal < LEASE_TICKS => {
                Err(format!("{instance} was not silent for long enough"))
            }
            _ => Ok(()),
        }
    }

    fn list(&self, namespace: &Namespace, wanted: impl Fn(&ModelPod) -> bool) -> ClusterAnswer {
        let here = |pod: &&ModelPod| NAMESPACES[pod.namespace] == *namespace && wanted(pod);
        let seen = |pod: &ModelPod| ObservedPod {
            namespace: namespace.clone(),
            name: uid(pod),
            uid: uid(pod),
            version: version(pod.term),
            owner: pod.owner,
            term: pod.term,
        };
        ClusterAnswer::Pods(self.pods.iter().filter(here).map(seen).collect())
    }

    fn delete(&mut self, seen: &ObservedPod) -> Result<ClusterAnswer, String> {
        let Some(at) = self.pods.iter().position(|pod| uid(pod) == seen.uid) else {
            return Ok(ClusterAnswer::NotFound);
        };
        let pod = &self.pods[at];
        if version(pod.term) != seen.version {
            return Ok(ClusterAnswer::Conflict);
        }
        let dead = |gateway: &ModelGateway| gateway.id == pod.owner && gateway.process == ProcessState::Dead;
        if !pod.condemned && !self.gateways.iter().any(dead) {
            return Err(format!("a live pod of {} is removed", pod.owner));
        }
        self.pods.remove(at);
        Ok(ClusterAnswer::Done)
    }
}

fn version(number: u32) -> ObjectVersion {
    ObjectVersion(number.to_string().into())
}

fn seen((record, number): &(LeaseRecord, u32)) -> ObservedLease {
    ObservedLease { record: record.clone(), version: version(*number) }
}

fn uid(pod: &ModelPod) -> String {
    pod.number.to_string()
}
