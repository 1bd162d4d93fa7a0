//! The life of one pod: scheduled, its init containers in turn, its containers side by side with their restarts, and its
//! end. A sidecar is started in its turn among the init containers and ends after the containers. Whatever it does is told in the status before the next step begins.

use crate::node::container::{Container, Termination};
use crate::node::events::{EventSource, NewEvent};
use crate::node::plan::{ContainerPlan, PodPlan, Restart};
use crate::node::pods::{Kubelet, PodHandle, PodOrder};
use crate::node::report::{self, ContainerRecord, ContainerState, ForcedEnd, NODE};
use crate::objects::kinds::ObjectKind;
use crate::objects::status::StatusError;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The longest wait of `CrashLoopBackOff`.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

/// Role of a container in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Init,
    Sidecar,
    Main,
}

/// The worker of one pod.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) pod: Arc<PodHandle>,
    /// Orders for the pod, heard from before the worker's first run.
    orders: watch::Receiver<PodOrder>,
    pub(super) plan: PodPlan,
    pub(super) object: Arc<Value>,
    records: Mutex<Vec<ContainerRecord>>,
    /// Told after every change of a record.
    changed: watch::Sender<()>,
    verdict: Mutex<Option<ForcedEnd>>,
}

impl Worker {
    pub(crate) fn new(
        kubelet: Arc<Kubelet>,
        pod: Arc<PodHandle>,
        orders: watch::Receiver<PodOrder>,
        (plan, object): (PodPlan, Arc<Value>),
    ) -> Self {
        let records = Mutex::new(report::initial_records(&plan));
        Self { kubelet, pod, orders, plan, object, records, changed: watch::Sender::new(()), verdict: Mutex::new(None) }
    }

    /// From the pod's creation to its removal.
    pub(crate) async fn work(self) {
        let mut orders = self.orders.clone();
        let mut order = tokio::select! {
            biased;
            order = next(&mut orders) => order,
            () = self.deadline() => PodOrder::Fail(ForcedEnd {
                reason: "DeadlineExceeded",
                message: "Pod was active on the node longer than the specified deadline".to_owned(),
            }),
            () = self.life() => next(&mut orders).await,
        };
        loop {
            match order {
                PodOrder::Run => {}
                PodOrder::Fail(verdict) => {
                    self.end_containers(&mut orders, Duration::ZERO).await;
                    *self.verdict.lock() = Some(verdict);
                    self.publish();
                }
                PodOrder::Stop(grace) => {
                    self.end_containers(&mut orders, grace).await;
                    self.publish();
                    return self.remove().await;
                }
            }
            // An order to stop may have come while the containers were being ended.
            let latest = orders.borrow().clone();
            order = if matches!(latest, PodOrder::Stop(_)) { latest } else { next(&mut orders).await };
        }
    }

    async fn life(&self) {
        self.schedule().await;
        self.publish();
        self.mount().await;
        self.kubelet.node.board.pods_may_start().await;
        let (reached, ended) = (watch::Sender::new(0), CancellationToken::new());
        let sidecars = self.plan.init.iter().enumerate().filter(|(_, container)| container.sidecar);
        let sidecars = join_all(sidecars.map(|(index, container)| {
            let mut turn = reached.subscribe();
            async move {
                // The sender lives as long as this.
                let _come = turn.wait_for(|reached| *reached > index).await.is_ok();
                self.keep_running(container, Role::Sidecar).await;
            }
        }));
        let rest = async {
            self.life_beside_sidecars(&reached).await;
            ended.cancel();
            self.end_sidecars().await;
        };
        tokio::join!(rest, ended.run_until_cancelled(sidecars));
    }

    /// Lets each sidecar start when it has `reached` its number; returns when nothing runs any more but them.
    async fn life_beside_sidecars(&self, reached: &watch::Sender<usize>) {
        for (index, container) in self.plan.init.iter().enumerate() {
            if container.sidecar {
                reached.send_replace(index + 1);
                self.first_start(&container.name).await;
            } else if !self.keep_running(container, Role::Init).await {
                return;
            }
        }
        if !self.plan.init.is_empty() {
            for record in self.records.lock().iter_mut().filter(|record| !record.init) {
                record.state = ContainerState::waiting("ContainerCreating", "");
            }
            self.publish();
        }
        join_all(self.plan.containers.iter().map(|container| self.keep_running(container, Role::Main))).await;
    }

    /// Waits until a container has been started once.
    async fn first_start(&self, name: &str) {
        let mut changes = self.changed.subscribe();
        while !self.records.lock().iter().any(|record| record.name == name && record.id.is_some()) {
            // The sender is ours.
            let _ours = changes.changed().await;
        }
    }

    /// Ends the sidecars of a pod whose containers have all ended, one after the other.
    async fn end_sidecars(&self) {
        for plan in self.plan.ending_sidecars() {
            let Some(container) = self.pod.container(&plan.name, false) else { continue };
            if container.termination().is_none() {
                self.tell(plan, false, "Killing", &format!("Stopping container {}", plan.name));
                container.terminate();
            }
            if tokio::time::timeout(self.plan.grace, container.ended()).await.is_err() {
                container.kill(None);
            }
            let ended = container.ended().await;
            self.set(&plan.name, |record| record.state = ContainerState::Terminated(ended));
        }
    }

    async fn deadline(&self) {
        match self.plan.deadline {
            Some(deadline) => tokio::time::sleep(deadline).await,
            None => std::future::pending().await,
        }
    }

    async fn schedule(&self) {
        let board = &self.kubelet.node.board;
        let mut changes = board.watch();
        while let Some(message) = board.unschedulable() {
            self.record(
                EventSource::Scheduler,
                NewEvent { warning: true, reason: "FailedScheduling", message: &message, container: None },
            );
            self.update(|pod| {
                let condition = report::condition("PodScheduled", (false, "Unschedulable", &message), &pod["status"]);
                pod["status"]["conditions"] = json!([condition]);
            });
            // The board lives as long as the node.
            let _alive = changes.changed().await;
        }
        let message = format!("Successfully assigned {}/{} to {NODE}", self.plan.namespace, self.plan.name);
        self.record(
            EventSource::Scheduler,
            NewEvent { warning: false, reason: "Scheduled", message: &message, container: None },
        );
        self.update(|pod| {
            pod["spec"]["nodeName"] = json!(NODE);
            let condition = report::condition("PodScheduled", (true, "", ""), &pod["status"]);
            pod["status"]["conditions"] = json!([condition]);
        });
    }

    /// Waits for the volumes. The status says nothing of it, as in Kubernetes.
    async fn mount(&self) {
        let board = &self.kubelet.node.board;
        let mut changes = board.watch();
        while let Some(message) = board.missing_volume() {
            self.record(
                EventSource::Kubelet,
                NewEvent { warning: true, reason: "FailedMount", message: &message, container: None },
            );
            // The board lives as long as the node.
            let _alive = changes.changed().await;
        }
    }

    /// Runs a container as long as its pod wants it; says whether it ended well. An init container that ended well is done,
    /// a sidecar never is.
    async fn keep_running(&self, container: &ContainerPlan, role: Role) -> bool {
        let mut back_off = Duration::ZERO;
        loop {
            let ended = self.run_once(container).await;
            let well = ended.exit_code == 0;
            let done = match (role, self.plan.restart) {
                (Role::Sidecar, _) => false,
                (_, Restart::Never) => true,
                (_, Restart::OnFailure) => well,
                (role, Restart::Always) => role == Role::Init && well,
            };
            self.set(&container.name, |record| record.state = ContainerState::Terminated(ended.clone()));
            if done {
                return well;
            }
            self.set(&container.name, |record| record.last = Some(ended));
            if back_off > Duration::ZERO {
                self.wait_in_back_off(container, back_off).await;
            }
            back_off =
                (back_off * 2).clamp(self.kubelet.node.back_off, LONGEST_BACK_OFF.max(self.kubelet.node.back_off));
            self.records
                .lock()
                .iter_mut()
                .filter(|record| record.name == container.name)
                .for_each(|record| record.restarts += 1);
        }
    }

    async fn wait_in_back_off(&self, container: &ContainerPlan, back_off: Duration) {
        let PodPlan { name, namespace, uid, .. } = &self.plan;
        let message = format!(
            "back-off {}s restarting failed container={} pod={name}_{namespace}({uid})",
            back_off.as_secs(),
            container.name
        );
        self.set(&container.name, |record| record.state = ContainerState::waiting("CrashLoopBackOff", message));
        let event = format!("Back-off restarting failed container {} in pod {name}_{namespace}({uid})", container.name);
        self.tell(container, true, "BackOff", &event);
        tokio::time::sleep(back_off).await;
    }

    /// The containers together, then each sidecar; all of them within the grace.
    async fn end_containers(&self, orders: &mut watch::Receiver<PodOrder>, grace: Duration) {
        let mut deadline = Instant::now() + grace;
        let sidecars: Vec<&str> = self.plan.ending_sidecars().map(|plan| plan.name.as_str()).collect();
        let (last, first): (Vec<_>, Vec<_>) =
            self.pod.containers().into_iter().partition(|(name, _)| sidecars.contains(&name.as_str()));
        deadline = self.end_together(first, orders, deadline).await;
        for name in sidecars {
            let one = last.iter().filter(|(of, _)| of == name).cloned().collect();
            deadline = self.end_together(one, orders, deadline).await;
        }
        for (name, container) in self.pod.containers() {
            let Some(ended) = container.termination() else { continue };
            for record in self
                .records
                .lock()
                .iter_mut()
                .filter(|r| r.name == name && matches!(r.state, ContainerState::Running { .. }))
            {
                record.state = ContainerState::Terminated(ended.clone());
            }
        }
    }

    /// Ends containers until a deadline, which an order may make earlier; says which one it was.
    async fn end_together(
        &self,
        mut running: Vec<(String, Arc<Container>)>,
        orders: &mut watch::Receiver<PodOrder>,
        mut deadline: Instant,
    ) -> Instant {
        running.retain(|(_, container)| container.termination().is_none());
        for (name, container) in &running {
            if let Some(plan) = self.plan.all().find(|plan| plan.name == *name) {
                self.tell(plan, false, "Killing", &format!("Stopping container {name}"));
            }
            container.terminate();
        }
        loop {
            tokio::select! {
                biased;
                _ = join_all(running.iter().map(|(_, container)| container.ended())) => break,
                () = tokio::time::sleep_until(deadline) => running.iter().for_each(|(_, container)| container.kill(None)),
                // A later deletion can only shorten the grace.
                order = next(orders) => if let PodOrder::Stop(shorter) = order { deadline = deadline.min(Instant::now() + shorter) },
            }
            if Instant::now() >= deadline {
                join_all(running.iter().map(|(_, container)| container.ended())).await;
                break;
            }
        }
        deadline
    }

    /// The files go first: whoever sees the pod gone finds nothing of it.
    async fn remove(&self) {
        let directory = self.kubelet.pod_directory(&self.plan.uid);
        // What cannot be removed now goes with the cluster's scratch directory.
        let _left = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory)).await;
        self.kubelet.forget(&self.plan.uid);
        let uid = json!(self.plan.uid);
        // An object that was deleted without grace is gone already, and its name may have another owner by now.
        let _gone = self.kubelet.node.store.remove((ObjectKind::Pod, &self.plan.namespace, &self.plan.name), |pod| {
            if pod["metadata"]["uid"] == uid {
                Ok(())
            } else {
                Err(StatusError::stale(ObjectKind::Pod, &self.plan.name))
            }
        });
    }

    /// Changes what is told of a container, and tells it.
    pub(super) fn set(&self, name: &str, change: impl FnOnce(&mut ContainerRecord)) {
        if let Some(record) = self.records.lock().iter_mut().find(|record| record.name == name) {
            change(record);
        }
        self.publish();
    }

    fn publish(&self) {
        let records = self.records.lock().clone();
        let verdict = self.verdict.lock().clone();
        self.update(|pod| pod["status"] = report::status(&self.plan, &records, verdict.as_ref(), &pod["status"]));
        self.changed.send_replace(());
    }

    fn update(&self, change: impl FnOnce(&mut Value)) {
        let key = (ObjectKind::Pod, self.plan.namespace.as_str(), self.plan.name.as_str());
        // A pod that was deleted without grace has no status to write.
        let _gone = self.kubelet.node.store.update(key, |pod| {
            if pod["metadata"]["uid"] != self.plan.uid.as_str() {
                return Err(StatusError::stale(ObjectKind::Pod, &self.plan.name));
            }
            let mut pod = pod.clone();
            change(&mut pod);
            Ok(pod)
        });
    }

    /// An event of the kubelet about a container.
    pub(super) fn tell(&self, container: &ContainerPlan, warning: bool, reason: &str, message: &str) {
        self.record(EventSource::Kubelet, NewEvent { warning, reason, message, container: Some(&container.name) });
    }

    fn record(&self, source: EventSource, what: NewEvent<'_>) {
        self.kubelet.node.events.record(&self.object, source, what);
    }

    async fn run_once(&self, container: &ContainerPlan) -> Termination {
        let running = match self.start(container).await {
            Ok(running) => running,
            Err(failed) => return failed,
        };
        self.pod.started(&container.name, Arc::clone(&running));
        self.set(&container.name, |record| {
            record.id = Some(running.id.clone());
            record.state = ContainerState::Running { started: crate::objects::time::now() };
        });
        running.ended().await
    }
}

/// The next order; a worker whose handle is gone is never told anything again.
async fn next(orders: &mut watch::Receiver<PodOrder>) -> PodOrder {
    if orders.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    orders.borrow_and_update().clone()
}
