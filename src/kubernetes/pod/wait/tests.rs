//! What a pod's state means for who waits, as tables.

use super::*;
use crate::kubernetes::fixtures;
use serde_json::{Value, json};

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "status": status})).unwrap()
}

fn console() -> ConsoleContainer {
    ConsoleContainer::idle(&fixtures::settings().pod, &["/usr/bin/containerssh-agent".into(), "wait-signal".into()])
}

fn pending(state: Value) -> Pod {
    pod(json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [
            {"name": "a-sidecar", "image": "s:1", "imageID": "", "ready": true, "restartCount": 0,
             "state": {"running": {}}},
            {"name": "shell", "image": "guest:1", "imageID": "", "ready": false, "restartCount": 0, "state": state}
        ]
    }))
}

fn waits(reason: &str, message: &str) -> Pod {
    pending(json!({"waiting": {"reason": reason, "message": message}}))
}

fn never(pod: &Pod) -> Option<String> {
    match readiness(pod, &[], &console()) {
        Readiness::Failed(refusal) => Some(refusal.reason),
        Readiness::Ready | Readiness::Waiting(_) => None,
    }
}

fn progress(pod: &Pod) -> Option<String> {
    match readiness(pod, &[], &console()) {
        Readiness::Waiting(progress) => progress,
        other => panic!("{other:?}"),
    }
}

#[test]
fn long_text_of_a_kubelet_is_cut_for_the_user_and_whole_in_the_log() {
    let long = format!("{} end", "x".repeat(3000));
    for reason in ["CreateContainerConfigError", "RunContainerError", "ErrImageNeverPull"] {
        let Readiness::Failed(refusal) = readiness(&waits(reason, &long), &[], &console()) else { panic!("{reason}") };
        assert!(refusal.reason.chars().count() <= 400, "{reason}");
        assert!(refusal.detail.is_some_and(|detail| detail.contains(&long)), "{reason}");
    }
    let refusal = Refusal::new(progress(&waits("SomethingNew", &long)).unwrap());
    assert!(refusal.reason.ends_with('…') && refusal.detail.is_some_and(|detail| detail.ends_with(" end")));
    let short = Refusal::new("the pod is gone");
    assert_eq!((short.reason.as_str(), short.detail), ("the pod is gone", None));
}

#[test]
fn only_a_pod_that_ended_without_a_reason_is_asked_about() {
    for (status, silent) in [
        (json!({"phase": "Running"}), false),
        (json!({"phase": "Succeeded"}), true),
        (json!({"phase": "Failed", "reason": ""}), true),
        (json!({"phase": "Failed", "reason": "Evicted"}), false),
    ] {
        assert_eq!(ended_silently(&pod(status.clone())), silent, "{status}");
    }
    let mut deleted = pod(json!({"phase": "Succeeded"}));
    deleted.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert!(!ended_silently(&deleted));
}

#[test]
fn node_that_says_nothing_is_named_when_the_events_were_looked_at() {
    let assigned = PodEvent::normal("Scheduled", "Successfully assigned shells/p to n1");
    let mut pod = pod(json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]}));
    pod.spec = serde_json::from_value(json!({"containers": [], "nodeName": "n1"})).unwrap();
    let judged = |pod: &Pod, pod_events: &[PodEvent]| readiness(pod, pod_events, &console());
    let silent = Readiness::Waiting(Some("the node n1 has not begun to start the pod".to_owned()));
    assert_eq!(judged(&pod, std::slice::from_ref(&assigned)), silent);
    assert_eq!(judged(&pod, &[]), Readiness::Waiting(None), "nobody has looked yet");
    assert_eq!(judged(&pod, &[assigned.clone(), PodEvent::normal("Pulled", "there")]), Readiness::Waiting(None));
    assert_eq!(judged(&waits("ContainerCreating", ""), &[assigned]), Readiness::Waiting(None), "it has begun");
}

#[test]
fn what_cannot_heal_ends_the_wait() {
    for (reason, message, expected) in [
        ("InvalidImageName", "bad", "guest:1 is not the name of an image"),
        ("ErrImageNeverPull", "x", "the image guest:1 is not on the node"),
        (
            "ErrImagePull",
            "pull access denied, repository does not exist",
            "the image guest:1 cannot be pulled: it does not exist, or",
        ),
        ("ErrImagePull", "failed to resolve reference \"x\": docker.io/x: not found", "cannot be pulled"),
        ("ErrImagePull", "unexpected status from HEAD request: 401 Unauthorized", "cannot be pulled"),
        ("ImagePullBackOff", "Back-off pulling image \"x\": ErrImagePull: manifest unknown", "cannot be pulled"),
        ("CreateContainerConfigError", "secret \"s\" not found", "the container shell cannot be made: secret"),
        ("RunContainerError", "mount denied", "the container shell cannot be started: mount denied"),
        ("StartError", "exec format error", "the container shell cannot be started: exec format error"),
    ] {
        let told = never(&waits(reason, message));
        assert!(told.as_deref().is_some_and(|told| told.contains(expected)), "{reason}: {told:?}");
    }
}

#[test]
fn slow_is_not_failed() {
    for (reason, message) in [
        ("ErrImagePull", "dial tcp: lookup registry: no such host"),
        ("ErrImagePull", "toomanyrequests: unauthorized users may pull less"),
        ("ErrImagePull", "unexpected status: 503 Service Unavailable"),
        ("ImagePullBackOff", "Back-off pulling image \"x\""),
        ("CreateContainerError", "context deadline exceeded"),
        ("CrashLoopBackOff", "back-off 10s"),
        ("SomethingNew", "of a later Kubernetes"),
    ] {
        assert!(progress(&waits(reason, message)).is_some(), "{reason}");
    }
    for reason in ["ContainerCreating", "PodInitializing", ""] {
        assert_eq!(progress(&waits(reason, "")), None, "{reason}");
    }
    assert_eq!(progress(&pod(json!(null))), None);
    let unschedulable = pod(json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
    ]}));
    assert_eq!(progress(&unschedulable).as_deref(), Some("no node takes the pod yet: 0/3 nodes are available"));
}

#[test]
fn back_off_without_a_cause_is_judged_by_the_event() {
    let pod = waits("ImagePullBackOff", "Back-off pulling image \"guest:1\"");
    let pod_events = [PodEvent::warning("Failed", "Failed to pull image \"guest:1\": manifest unknown")];
    assert!(matches!(readiness(&pod, &pod_events, &console()), Readiness::Failed(_)));
    let pod_events = [PodEvent::warning("Failed", "Failed to pull image \"guest:1\": i/o timeout")];
    assert!(matches!(readiness(&pod, &pod_events, &console()), Readiness::Waiting(Some(_))));
}

#[test]
fn failure_of_an_init_container_or_a_sidecar_counts() {
    let init = pod(json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "init", "image": "i:1", "imageID": "", "ready": false, "restartCount": 0,
         "state": {"waiting": {"reason": "ErrImageNeverPull"}}}
    ]}));
    assert!(never(&init).unwrap().contains("the image i:1"));
}

#[test]
fn image_without_the_agent_ends_with_the_ways_out() {
    let missing = "exec: \"/usr/bin/containerssh-agent\": stat /usr/bin/containerssh-agent: no such file or directory";
    let hint = "the image guest:1 has no /usr/bin/containerssh-agent: put the agent into the image, set \
                kubernetes.pod.agentImage, or set kubernetes.pod.disableAgent to true";
    assert_eq!(never(&waits("RunContainerError", missing)).as_deref(), Some(hint));
    let end = json!({"reason": "StartError", "message": missing, "exitCode": 128});
    assert_eq!(never(&pending(json!({"terminated": end}))).as_deref(), Some(hint));
    let mut looping = waits("CrashLoopBackOff", "back-off");
    let containers = looping.status.as_mut().unwrap().container_statuses.as_mut().unwrap();
    containers[1].last_state = serde_json::from_value(json!({"terminated": end})).unwrap();
    assert_eq!(never(&looping).as_deref(), Some(hint));

    let own = ConsoleContainer::idle(&fixtures::settings().pod, &["/opt/idle".into()]);
    let told = readiness(&waits("RunContainerError", "/opt/idle: no such file or directory"), &[], &own);
    let expected = "the image guest:1 has no /opt/idle, which its idle command needs";
    assert!(matches!(told, Readiness::Failed(refusal) if refusal.reason == expected));

    let mut pod = fixtures::settings().pod;
    pod.disable_agent = false;
    let or_shell = ConsoleContainer::idle(&pod, &["/bin/sh".into()]);
    let told = readiness(&waits("RunContainerError", "exec: \"/bin/sh\": no such file or directory"), &[], &or_shell);
    let expected = "the image guest:1 has no /bin/sh: set kubernetes.pod.agentImage, or, if the image has the agent, \
                    kubernetes.pod.agentPush to false";
    assert!(matches!(told, Readiness::Failed(refusal) if refusal.reason == expected));
}

#[test]
fn pod_is_ready_when_it_runs_and_says_so() {
    let status =
        |phase: &str, ready: &str| pod(json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}));
    assert_eq!(readiness(&status("Running", "True"), &[], &console()), Readiness::Ready);
    assert_eq!(readiness(&status("Running", "False"), &[], &console()), Readiness::Waiting(None));
    assert_eq!(readiness(&status("Pending", "True"), &[], &console()), Readiness::Waiting(None));
}

#[test]
fn pod_that_is_over_is_never_ready_and_says_why() {
    let failed = |reason: &str, message: &str| pod(json!({"phase": "Failed", "reason": reason, "message": message}));
    let mut deleted = pod(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
    deleted.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let mut drained = deleted.clone();
    drained.status.as_mut().unwrap().conditions = serde_json::from_value(json!([
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    ]))
    .unwrap();
    for (pod, expected) in [
        (deleted, "the pod was deleted"),
        (drained, "the pod was evicted, its node is being drained"),
        (failed("Evicted", "The node was low on resource: memory."), "the pod was evicted from its node: The node was"),
        (failed("DeadlineExceeded", ""), "the pod reached the time limit"),
        (failed("UnexpectedAdmissionError", "no gpu"), "the pod failed (UnexpectedAdmissionError): no gpu"),
        (pod(json!({"phase": "Running", "reason": "NodeLost"})), "the pod's node was lost"),
        (pod(json!({"phase": "Failed"})), "the pod failed"),
        (pod(json!({"phase": "Succeeded"})), "all containers of the pod ended"),
    ] {
        assert!(never(&pod).is_some_and(|told| told.starts_with(expected)), "{expected}: {:?}", never(&pod));
        assert_eq!(idle_pod_end(&pod, &console(), 0), never(&pod));
    }
}

#[test]
fn console_container_that_ends_is_the_end_and_a_sidecar_is_not() {
    let running = |name: &str, state: Value, restarts: i32, last: Value| {
        pod(json!({"phase": "Running", "containerStatuses": [
            {"name": name, "image": "x", "imageID": "sha256:1", "ready": true, "restartCount": restarts,
             "state": state, "lastState": last}
        ]}))
    };
    let oom = json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}});
    let here = json!({"running": {}});
    let shell = ContainerName::parse("shell").unwrap();
    for (pod, expected, is_same) in [
        (running("shell", oom.clone(), 0, json!({})), Some("the container shell ran out of memory"), false),
        (running("shell", oom.clone(), 1, json!({})), Some("the container shell ran out of memory"), false),
        (running("shell", here.clone(), 2, oom.clone()), Some("the container shell ran out of memory"), false),
        (
            running("shell", json!({"terminated": {"exitCode": 3}}), 0, json!({})),
            Some("the container shell ended with status 3"),
            false,
        ),
        (running("shell", here.clone(), 1, oom.clone()), None, true),
        (running("side", oom, 0, json!({})), None, false),
    ] {
        assert_eq!(idle_pod_end(&pod, &console(), 1).as_deref(), expected);
        assert_eq!(is_same_run(&pod, &shell, 1), is_same, "{expected:?}");
    }
    let pod = running("shell", here, 4, json!({}));
    assert_eq!((restarts(&pod, &console()), image_id(&pod, &console())), (4, "sha256:1"));
}

#[test]
fn reasons_are_one_printable_line() {
    let told = never(&waits("CreateContainerConfigError", "bad \x1b[2J\nsecond line")).unwrap();
    assert_eq!(told, "the container shell cannot be made: bad [2J second line");
}

#[test]
fn events_are_wanted_only_where_the_status_is_silent() {
    assert!(wants_events(&pod(json!(null))));
    assert!(wants_events(&pod(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]})
    )));
    assert!(wants_events(&waits("ContainerCreating", "")));
    assert!(wants_events(&waits("ImagePullBackOff", "")));
    assert!(!wants_events(&waits("ErrImagePull", "x")));
    assert!(!wants_events(&pending(json!({"running": {}}))));
}

fn program(command: Option<&str>) -> ConsoleContainer {
    let command = command.map(|word| vec![word.to_owned()]);
    let main = MainProcess { command, env: Vec::new(), terminal: false };
    ConsoleContainer::program(&fixtures::settings().pod, &main)
}

/// The console container in that state; the sidecar runs.
fn console_in(phase: &str, state: Value) -> Pod {
    let mut pod = pending(state);
    pod.status.as_mut().unwrap().phase = Some(phase.into());
    pod
}

#[test]
fn program_is_waited_for_until_its_container_has_run() {
    for (state, ready) in [
        (json!({"waiting": {"reason": "ContainerCreating"}}), false),
        (json!({}), false),
        (json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "x"}}), false),
        (json!({"running": {}}), true),
        (json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), true),
        (json!({"terminated": {"exitCode": 3, "reason": "Error"}}), true),
    ] {
        for console in [program(Some("/bin/sh")), program(None)] {
            let verdict = readiness(&console_in("Pending", state.clone()), &[], &console);
            assert_eq!(verdict == Readiness::Ready, ready, "{state}: {verdict:?}");
        }
    }
}

#[test]
fn image_without_a_shell_cannot_hold_a_program() {
    let message = "exec: \"/bin/sh\": stat /bin/sh: no such file or directory: unknown";
    let state = json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": message}});
    let Readiness::Failed(refusal) = readiness(&console_in("Failed", state), &[], &program(Some("/bin/sh"))) else {
        panic!("it waits")
    };
    // The phase is the containers' own end here, whose cause says more.
    assert!(refusal.reason.contains("guest:1 has no /bin/sh, which mode: session needs"), "{}", refusal.reason);
}

#[test]
fn programs_end_is_its_status_unless_something_happened_to_it() {
    let ended = |code: i32, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});
    let died = |text: &str| Some(PodEnd::Died(text.into()));
    let leaving = |mut pod: Pod| {
        pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        pod
    };
    let evicted = |mut pod: Pod| {
        pod.status.as_mut().unwrap().reason = Some("Evicted".into());
        pod
    };
    for (pod, expected) in [
        (console_in("Running", json!({"running": {}})), None),
        (console_in("Running", ended(0, "Completed")), Some(PodEnd::ProgramExited(0))),
        (console_in("Failed", ended(3, "Error")), Some(PodEnd::ProgramExited(3))),
        (console_in("Failed", ended(137, "Error")), Some(PodEnd::ProgramExited(137))),
        (console_in("Failed", ended(100_000, "Error")), Some(PodEnd::ProgramExited(255))),
        (console_in("Failed", ended(137, "OOMKilled")), died("the container shell ran out of memory")),
        (leaving(console_in("Running", json!({"running": {}}))), died("the pod was deleted")),
        (leaving(console_in("Running", ended(0, "Completed"))), died("the pod was deleted")),
        (evicted(console_in("Failed", ended(137, "Error"))), died("the pod was evicted from its node")),
    ] {
        assert_eq!(pod_end(&pod, &program(None), 0), expected, "{pod:?}");
    }
}
