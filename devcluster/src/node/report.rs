//! A pod's status, computed from what its containers do: pure, so that every phase and condition can be tested.

use crate::node::container::Termination;
use crate::node::plan::{PodPlan, Restart};
use crate::objects::time;
use serde_json::{Value, json};

/// Name of the only node.
pub(crate) const NODE: &str = "devcluster";

/// State of a container, as in its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContainerState {
    Waiting { reason: String, message: String },
    Running { started: String },
    Terminated(Termination),
}

impl ContainerState {
    pub(crate) fn waiting(reason: &str, message: impl Into<String>) -> Self {
        Self::Waiting { reason: reason.to_owned(), message: message.into() }
    }
}

/// The facts about one container that its status is made of.
#[derive(Debug, Clone)]
pub(crate) struct ContainerRecord {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) init: bool,
    /// An init container that keeps running.
    pub(crate) sidecar: bool,
    pub(crate) state: ContainerState,
    pub(crate) last: Option<Termination>,
    pub(crate) restarts: u32,
    pub(crate) id: Option<String>,
}

/// A pod that was ended by the cluster, whatever its containers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForcedEnd {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The records of a pod that has not started anything.
pub(crate) fn initial_records(plan: &PodPlan) -> Vec<ContainerRecord> {
    let reason = if plan.init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let record = |container: &crate::node::plan::ContainerPlan, init: bool| ContainerRecord {
        name: container.name.clone(),
        image: container.image.clone(),
        init,
        sidecar: init && container.sidecar,
        state: ContainerState::waiting(reason, ""),
        last: None,
        restarts: 0,
        id: None,
    };
    let init = plan.init.iter().map(|container| record(container, true));
    init.chain(plan.containers.iter().map(|container| record(container, false))).collect()
}

/// The whole status; `old` gives the times that must not move.
pub(crate) fn status(plan: &PodPlan, records: &[ContainerRecord], verdict: Option<&ForcedEnd>, old: &Value) -> Value {
    let phase = if verdict.is_some() { "Failed" } else { phase(plan.restart, records) };
    let mut status = json!({
        "phase": phase,
        "conditions": conditions(phase, records, verdict, old),
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "startTime": old.get("startTime").cloned().unwrap_or_else(|| json!(time::now())),
        "qosClass": old.get("qosClass").cloned().unwrap_or_else(|| json!("BestEffort")),
        "containerStatuses": container_statuses(records, false),
    });
    if records.iter().any(|record| record.id.is_some()) {
        status["podIP"] = json!("127.0.0.1");
        status["podIPs"] = json!([{"ip": "127.0.0.1"}]);
    }
    if records.iter().any(|record| record.init) {
        status["initContainerStatuses"] = container_statuses(records, true);
    }
    if let Some(ForcedEnd { reason, message }) = verdict {
        status["reason"] = json!(reason);
        status["message"] = json!(message);
    }
    status
}

fn phase(restart: Restart, records: &[ContainerRecord]) -> &'static str {
    let ended = |record: &ContainerRecord| match &record.state {
        ContainerState::Terminated(termination) => Some(termination.exit_code),
        // A container in its back-off counts as the end that it waits after.
        ContainerState::Waiting { .. } => record.last.as_ref().map(|termination| termination.exit_code),
        ContainerState::Running { .. } => None,
    };
    let init: Vec<Option<i32>> = records.iter().filter(|r| r.init && !r.sidecar).map(ended).collect();
    if init.iter().any(|code| *code != Some(0)) {
        let failed = init.iter().any(|code| code.is_some_and(|code| code != 0));
        return if failed && restart == Restart::Never { "Failed" } else { "Pending" };
    }
    let waiting = |r: &ContainerRecord| matches!(r.state, ContainerState::Waiting { .. }) && r.last.is_none();
    if records.iter().any(|record| (!record.init || record.sidecar) && waiting(record)) {
        return "Pending";
    }
    // A sidecar's end tells nothing of the pod's, but while one runs the pod has not ended.
    if records.iter().any(|record| record.sidecar && matches!(record.state, ContainerState::Running { .. })) {
        return "Running";
    }
    let main: Vec<&ContainerRecord> = records.iter().filter(|record| !record.init).collect();
    let codes: Option<Vec<i32>> = main.iter().map(|record| ended(record)).collect();
    match (codes, restart) {
        (None, _) | (_, Restart::Always) => "Running",
        (Some(codes), _) if codes.iter().all(|code| *code == 0) => "Succeeded",
        (Some(_), Restart::Never) => "Failed",
        (Some(_), Restart::OnFailure) => "Running",
    }
}

fn conditions(phase: &str, records: &[ContainerRecord], verdict: Option<&ForcedEnd>, old: &Value) -> Value {
    let begun =
        |r: &ContainerRecord| !r.init && (r.last.is_some() || !matches!(r.state, ContainerState::Waiting { .. }));
    let initialized = records.iter().any(begun) || records.iter().filter(|r| r.init).all(is_complete);
    let unready: Vec<&str> = records
        .iter()
        .filter(|r| (!r.init || r.sidecar) && !matches!(r.state, ContainerState::Running { .. }))
        .map(|r| r.name.as_str())
        .collect();
    let (reason, message) = match phase {
        "Succeeded" => ("PodCompleted", String::new()),
        "Failed" => ("PodFailed", String::new()),
        _ => ("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" "))),
    };
    let ready = (unready.is_empty() && verdict.is_none(), reason, message.as_str());
    let init_message = "containers with incomplete status: [".to_owned() + &incomplete(records) + "]";
    let mut conditions = vec![
        condition("PodReadyToStartContainers", (!matches!(phase, "Succeeded" | "Failed"), "", ""), old),
        condition("Initialized", (initialized, "ContainersNotInitialized", &init_message), old),
        condition("Ready", ready, old),
        condition("ContainersReady", ready, old),
        condition("PodScheduled", (true, "", ""), old),
    ];
    if let Some(verdict) = verdict.filter(|verdict| verdict.reason == "Evicted") {
        let mut disrupted = condition("DisruptionTarget", (true, "", ""), old);
        disrupted["reason"] = json!("TerminationByKubelet");
        disrupted["message"] = json!(verdict.message);
        conditions.push(disrupted);
    }
    json!(conditions)
}

/// True where the next container may start: the init container ended well, or is a sidecar that runs.
fn is_complete(record: &ContainerRecord) -> bool {
    match &record.state {
        ContainerState::Terminated(termination) => !record.sidecar && termination.exit_code == 0,
        ContainerState::Running { .. } => record.sidecar,
        ContainerState::Waiting { .. } => false,
    }
}

fn incomplete(records: &[ContainerRecord]) -> String {
    let names = records.iter().filter(|r| r.init && !is_complete(r));
    names.map(|record| record.name.as_str()).collect::<Vec<_>>().join(" ")
}

/// One condition; reason and message are told only while it is false.
pub(crate) fn condition(kind: &str, (holds, reason, message): (bool, &str, &str), old: &Value) -> Value {
    let before = old["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
    let status = if holds { "True" } else { "False" };
    let since = before
        .filter(|condition| condition["status"] == status)
        .map(|condition| condition["lastTransitionTime"].clone());
    let mut condition = json!({
        "type": kind, "status": status, "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| json!(time::now())),
    });
    if !holds {
        condition["reason"] = json!(reason);
        if !message.is_empty() {
            condition["message"] = json!(message);
        }
    }
    condition
}

fn container_statuses(records: &[ContainerRecord], init: bool) -> Value {
    let mut chosen: Vec<&ContainerRecord> = records.iter().filter(|record| record.init == init).collect();
    // The kubelet sorts these by name, whatever the order of the spec; init containers keep their order.
    if !init {
        chosen.sort_by(|a, b| a.name.cmp(&b.name));
    }
    json!(chosen.into_iter().map(container_status).collect::<Vec<_>>())
}

fn container_status(record: &ContainerRecord) -> Value {
    let id = record.id.as_ref().map(|id| format!("containerd://{id}"));
    let state = match &record.state {
        ContainerState::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
        ContainerState::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        ContainerState::Running { started } => json!({"running": {"startedAt": started}}),
        ContainerState::Terminated(termination) => terminated(termination, id.as_deref()),
    };
    let running = matches!(record.state, ContainerState::Running { .. });
    let ready = if record.init { is_complete(record) } else { running };
    let mut status = json!({
        "name": record.name, "image": record.image, "ready": ready, "started": running,
        "restartCount": record.restarts, "state": state, "lastState": {},
        "imageID": if id.is_some() { format!("devcluster/{}", record.image) } else { String::new() },
    });
    if let Some(last) = &record.last {
        status["lastState"] = terminated(last, None);
    }
    if let Some(id) = id {
        status["containerID"] = json!(id);
    }
    status
}

fn terminated(termination: &Termination, id: Option<&str>) -> Value {
    let mut told = json!({
        "exitCode": termination.exit_code, "reason": termination.reason,
        "startedAt": termination.started, "finishedAt": termination.finished,
    });
    if !termination.message.is_empty() {
        told["message"] = json!(termination.message);
    }
    if let Some(id) = id {
        told["containerID"] = json!(id);
    }
    json!({"terminated": told})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit_code: i32) -> Termination {
        let text = String::new;
        Termination { exit_code, reason: text(), message: text(), started: text(), finished: text() }
    }

    fn record(name: &str, init: bool, state: ContainerState) -> ContainerRecord {
        let image = "i".to_owned();
        ContainerRecord { name: name.to_owned(), image, init, sidecar: false, state, last: None, restarts: 0, id: None }
    }

    fn running() -> ContainerState {
        ContainerState::Running { started: time::now() }
    }

    #[test]
    fn phases_follow_the_containers() {
        let (wait, over) =
            (|| ContainerState::waiting("ContainerCreating", ""), |n| ContainerState::Terminated(ended(n)));
        let table = [
            (Restart::Never, vec![over(1)], "Failed"),
            (Restart::Never, vec![over(0), over(0)], "Succeeded"),
            (Restart::Never, vec![over(1), running()], "Running"),
            (Restart::OnFailure, vec![over(1)], "Running"),
            (Restart::Always, vec![over(0)], "Running"),
            (Restart::Always, vec![wait(), running()], "Pending"),
            (Restart::Always, vec![running(), running()], "Running"),
        ];
        for (restart, states, expected) in table {
            let records: Vec<ContainerRecord> = states.into_iter().map(|state| record("c", false, state)).collect();
            assert_eq!(phase(restart, &records), expected, "{restart:?} {records:?}");
        }
    }

    #[test]
    fn sidecar_that_runs_keeps_the_pod_and_one_that_ended_tells_nothing() {
        let (wait, over) =
            (|| ContainerState::waiting("PodInitializing", ""), |n| ContainerState::Terminated(ended(n)));
        let table = [
            (wait(), wait(), "Pending", false),
            (running(), wait(), "Pending", true),
            (running(), running(), "Running", true),
            (running(), over(0), "Running", true),
            (over(143), over(0), "Succeeded", true),
            (over(0), over(1), "Failed", true),
        ];
        for (side, main, expected, initialized) in table {
            let mut records = [record("s", true, side), record("c", false, main)];
            records[0].sidecar = true;
            assert_eq!(phase(Restart::Never, &records), expected, "{records:?}");
            let conditions = conditions(expected, &records, None, &json!({}));
            let wanted = if initialized { "True" } else { "False" };
            assert_eq!(conditions[1]["status"], wanted, "{records:?}");
        }
    }

    #[test]
    fn a_failed_init_container_fails_the_pod_only_without_restart() {
        let records = [
            record("i", true, ContainerState::Terminated(ended(1))),
            record("c", false, ContainerState::waiting("PodInitializing", "")),
        ];
        assert_eq!(phase(Restart::Never, &records), "Failed");
        assert_eq!(phase(Restart::Always, &records), "Pending");
    }

    #[test]
    fn statuses_are_sorted_and_a_condition_keeps_its_time() {
        let plan = PodPlan::of(&json!({"metadata": {}, "spec": {}}));
        let records = [record("b", false, running()), record("a", false, running())];
        let old = json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "then"}]});
        let status = status(&plan, &records, None, &old);
        assert_eq!(status["containerStatuses"][0]["name"], "a");
        let ready = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
        assert_eq!((ready["status"].as_str(), ready["lastTransitionTime"].as_str()), (Some("True"), Some("then")));
    }
}
