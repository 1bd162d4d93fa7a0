//! Pods as processes: how they start and end, and that nothing of them stays.

use crate::client::{PODS, SOON, cluster, phase, pod, running};
use podgate_devcluster::{ClusterState, DevCluster, Options};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let options = Options { listen: "0.0.0.0:0".parse().unwrap(), ..Options::default() };
    assert!(DevCluster::start(options).unwrap_err().to_string().contains("loopback"));
    let (cluster, _client) = cluster();
    let taken = Options { listen: cluster.host().parse().unwrap(), ..Options::default() };
    assert!(DevCluster::start(taken).is_err());
}

#[tokio::test]
async fn a_missing_command_is_a_start_error() {
    let (cluster, client) = cluster();
    let mut missing = pod("p", None);
    missing["spec"]["containers"][0]["command"] = json!(["/usr/bin/no-such-agent", "wait"]);
    client.create(&missing).await;
    let pod = phase(&cluster, "p", "Failed").await;
    let state = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((state["reason"].as_str(), state["exitCode"].as_i64()), (Some("StartError"), Some(128)));
    let text = "exec: \"/usr/bin/no-such-agent\": stat /usr/bin/no-such-agent: no such file or directory: unknown";
    assert!(state["message"].as_str().unwrap().ends_with(text), "{state}");
    let told =
        |event: &serde_json::Value| event["reason"] == "Failed" && event["message"].as_str().unwrap().contains(text);
    assert!(cluster.state().events("default").iter().any(|event| told(event)));
}

#[tokio::test]
async fn a_missing_secret_is_a_config_error() {
    let (cluster, client) = cluster();
    let mut secret = pod("p", None);
    secret["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
    client.create(&secret).await;
    let waiting = |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["state"]["waiting"].clone();
    cluster
        .wait_until(
            |state| {
                state.pod("default", "p").is_some_and(|pod| waiting(&pod)["reason"] == "CreateContainerConfigError")
            },
            SOON,
        )
        .await
        .unwrap();
    assert_eq!(waiting(&cluster.state().pod("default", "p").unwrap())["message"], "secret \"s\" not found");
}

#[tokio::test]
async fn ends_are_told_with_code_and_reason() {
    let (cluster, client) = cluster();
    for (name, script, wanted, reason, code) in
        [("a", "exit 0", "Succeeded", "Completed", 0), ("b", "exit 3", "Failed", "Error", 3)]
    {
        client.create(&pod(name, Some(script))).await;
        let ended = phase(&cluster, name, wanted).await;
        let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!((state["reason"].as_str(), state["exitCode"].as_i64()), (Some(reason), Some(code)));
    }
}

#[tokio::test]
async fn init_containers_run_in_turn_before_the_rest() {
    let (cluster, client) = cluster();
    let shared = cluster.scratch_dir().join("order");
    let say = |word: &str| json!(["/bin/sh", "-c", format!("echo {word} >> {}", shared.display())]);
    let object = json!({"metadata": {"name": "p"}, "spec": {
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "one", "image": "i", "command": say("one")},
            {"name": "two", "image": "i", "command": say("two")},
        ],
        "containers": [{"name": "main", "image": "i", "command": say("main")}],
    }});
    client.create(&object).await;
    phase(&cluster, "p", "Succeeded").await;
    assert_eq!(std::fs::read_to_string(&shared).unwrap(), "one\ntwo\nmain\n");
    let mut failing = object;
    failing["metadata"]["name"] = json!("q");
    failing["spec"]["initContainers"][0]["command"] = json!(["false"]);
    client.create(&failing).await;
    let failed = phase(&cluster, "q", "Failed").await;
    assert!(failed["status"]["initContainerStatuses"][1]["state"]["waiting"].is_object());
}

/// A pod with two sidecars around an init container, all of which note in a file what they do.
fn with_sidecars(cluster: &DevCluster, main: &str) -> (std::path::PathBuf, serde_json::Value) {
    let notes = cluster.scratch_dir().join("notes");
    let run =
        |script: &str| json!(["/bin/sh", "-c", format!("note() {{ echo $1 >> {}; }}; {script}", notes.display())]);
    let side = |name: &str| {
        let script =
            format!("trap 'note {name}-ends; exit 0' TERM; note {name}; while :; do sleep 300 & wait $!; done");
        json!({"name": name, "image": "i", "restartPolicy": "Always", "command": run(&script)})
    };
    // An init container starts when the sidecar before it runs, which is a moment before that has noted anything.
    let init = run(&format!("until grep -qx one {}; do sleep 0.02; done; note init", notes.display()));
    let begun = format!("until grep -qx two {}; do sleep 0.02; done; note main; {main}", notes.display());
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "restartPolicy": "Never",
        "initContainers": [side("one"), {"name": "init", "image": "i", "command": init}, side("two")],
        "containers": [{"name": "main", "image": "i", "command": run(&begun)}],
    }});
    (notes, pod)
}

#[tokio::test]
async fn sidecars_end_after_the_containers_in_reverse_and_tell_nothing_of_the_pods_end() {
    for (main, wanted) in [("exit 0", "Succeeded"), ("exit 3", "Failed")] {
        let (cluster, client) = cluster();
        let (notes, object) = with_sidecars(&cluster, main);
        client.create(&object).await;
        let ended = phase(&cluster, "p", wanted).await;
        let told = std::fs::read_to_string(&notes).unwrap();
        assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ["one", "init", "two", "main", "two-ends", "one-ends"]);
        let state = &ended["status"]["initContainerStatuses"][0]["state"]["terminated"];
        assert_eq!((state["exitCode"].as_i64(), state["reason"].as_str()), (Some(0), Some("Completed")));
        assert_eq!(cluster.state().processes(), Vec::<i32>::new());
    }
}

#[tokio::test]
async fn pod_with_sidecars_is_ready_while_all_run_and_a_deletion_ends_them_last() {
    let (cluster, client) = cluster();
    let (notes, object) =
        with_sidecars(&cluster, "trap 'note main-ends; exit 0' TERM; note up; while :; do sleep 300 & wait $!; done");
    client.create(&object).await;
    let told = || std::fs::read_to_string(&notes).unwrap_or_default();
    // The container runs a moment before the pod's status says so.
    let begun = |state: &ClusterState| state.pod("default", "p").is_some_and(|pod| pod["status"]["phase"] == "Running");
    let up = |state: &ClusterState| told().contains("up") && begun(state);
    cluster.wait_until(up, SOON).await.unwrap();
    let pod = cluster.state().pod("default", "p").unwrap();
    let status = &pod["status"];
    let is = |kind: &str| {
        status["conditions"].as_array().unwrap().iter().any(|c| c["type"] == kind && c["status"] == "True")
    };
    assert!(is("Ready") && is("Initialized"), "{status}");
    for (index, ready) in [(0, "running"), (1, "terminated"), (2, "running")] {
        let told = &status["initContainerStatuses"][index];
        assert!(told["ready"] == true && told["state"][ready].is_object(), "{told}");
    }
    client.call("DELETE", &format!("{PODS}/p"), &json!({"gracePeriodSeconds": 60})).await;
    cluster.wait_until(|state| state.pods("default").is_empty(), SOON).await.unwrap();
    let all = told();
    let ends: Vec<&str> = all.split_whitespace().filter(|word| word.ends_with("-ends")).collect();
    assert_eq!(ends, ["main-ends", "two-ends", "one-ends"]);
}

#[tokio::test]
async fn sidecar_that_ends_is_started_again_whatever_the_pods_restart_policy() {
    let (cluster, client) = cluster();
    let object = json!({"metadata": {"name": "p"}, "spec": {
        "restartPolicy": "Never",
        "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always", "command": ["/bin/sh", "-c", "exit 0"]}],
        "containers": [{"name": "main", "image": "guest"}],
    }});
    client.create(&object).await;
    let restarts = |pod: &serde_json::Value| pod["status"]["initContainerStatuses"][0]["restartCount"].as_u64();
    let again = |pod: &serde_json::Value| restarts(pod) >= Some(1) && pod["status"]["phase"] == "Running";
    cluster.wait_until(|state| state.pod("default", "p").is_some_and(|pod| again(&pod)), SOON).await.unwrap();
}

#[tokio::test]
async fn a_container_that_keeps_failing_is_restarted_and_backs_off() {
    let options = Options { crash_back_off: Duration::from_secs(60), ..Options::default() };
    let cluster = DevCluster::start(options).unwrap();
    let client = crate::client::Client::new(&cluster, cluster.token());
    let mut crashing = pod("p", Some("echo run; exit 1"));
    crashing["spec"]["restartPolicy"] = json!("Always");
    client.create(&crashing).await;
    let status = |pod: &serde_json::Value| pod["status"]["containerStatuses"][0].clone();
    let backing = |pod: &serde_json::Value| status(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    cluster.wait_until(|state| state.pod("default", "p").is_some_and(|pod| backing(&pod)), SOON).await.unwrap();
    let found = status(&cluster.state().pod("default", "p").unwrap());
    assert_eq!(
        (found["restartCount"].as_u64(), found["lastState"]["terminated"]["exitCode"].as_i64()),
        (Some(1), Some(1))
    );
    assert_eq!(client.text(&format!("{PODS}/p/log")).await, "run\n");
    assert_eq!(client.text(&format!("{PODS}/p/log?previous=true")).await, "run\n");
}

#[tokio::test]
async fn a_pod_past_its_deadline_fails() {
    let (cluster, client) = cluster();
    let mut bounded = pod("p", None);
    bounded["spec"]["activeDeadlineSeconds"] = json!(1);
    client.create(&bounded).await;
    assert_eq!(phase(&cluster, "p", "Failed").await["status"]["reason"], "DeadlineExceeded");
    cluster.wait_until(|state| state.processes().is_empty(), SOON).await.unwrap();
}

#[tokio::test]
async fn a_program_that_ignores_term_is_killed_after_the_grace() {
    let (cluster, client) = running("p", Some("trap '' TERM; echo up; while :; do sleep 1; done")).await;
    client.call("DELETE", &format!("{PODS}/p"), &json!({"gracePeriodSeconds": 60})).await;
    assert_eq!(cluster.pods("default"), ["p"]);
    client.call("DELETE", &format!("{PODS}/p"), &json!({"gracePeriodSeconds": 1})).await;
    cluster.wait_until(|state| state.pods("default").is_empty(), SOON).await.unwrap();
    assert_eq!(cluster.state().processes(), Vec::<i32>::new());
}

#[tokio::test]
async fn everything_that_ran_in_a_container_is_killed_with_it() {
    let (cluster, client) = running("p", None).await;
    let script =
        "setsid sleep 300 & env -i setsid /bin/sleep 300 & (setsid sh -c 'sleep 300; :' >/dev/null &) ; sleep 300";
    let _exec = client.exec("p", &["sh", "-c", script], "stdout=true").await;
    let _shell = client.exec("p", &["sh", "-c", "trap '' HUP; sleep 300"], "stdin=true&stdout=true&tty=true").await;
    while cluster.state().processes().len() < 8 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.call("DELETE", &format!("{PODS}/p"), &json!({"gracePeriodSeconds": 5})).await;
    cluster.wait_until(|state| state.pods("default").is_empty(), SOON).await.unwrap();
    assert_eq!(cluster.state().processes(), Vec::<i32>::new());
    assert_eq!(std::fs::read_dir(cluster.scratch_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn stop_and_drop_leave_no_process_and_no_file() {
    for gently in [true, false] {
        let (cluster, client) = running("p", Some("trap '' TERM; setsid sleep 300 & sleep 300")).await;
        let _exec = client.exec("p", &["sleep", "300"], "stdout=true").await;
        let (state, scratch) = (cluster.state(), cluster.scratch_dir().to_owned());
        cluster.wait_until(|state| state.open_streams() == 1, SOON).await.unwrap();
        assert!(scratch.exists() && !state.processes().is_empty());
        if gently {
            cluster.stop().await
        } else {
            drop(cluster)
        }
        assert_eq!(state.processes(), Vec::<i32>::new());
        assert!(!scratch.exists());
    }
}

#[tokio::test]
async fn clusters_side_by_side_know_nothing_of_each_other() {
    let (first, first_client) = running("p", None).await;
    let (second, second_client) = running("q", None).await;
    assert_eq!((first.pods("default"), second.pods("default")), (vec!["p".to_owned()], vec!["q".to_owned()]));
    assert_eq!(second_client.get(&format!("{PODS}/p")).await.0, 404);
    second.stop().await;
    let outcome = first_client.exec("p", &["echo", "alive"], "stdout=true").await.output.rest().await;
    assert_eq!(outcome.text(), "alive\n");
}

#[tokio::test]
async fn a_log_is_followed_to_its_end() {
    let script = "echo one; echo two >&2; mkfifo gate; read x < gate; echo three";
    let (cluster, client) = running("p", Some(script)).await;
    let path = format!("{PODS}/p/log?follow=true");
    let open = async {
        let script = "until test -p gate; do sleep 0.02; done; echo > gate";
        client.exec("p", &["sh", "-c", script], "stdout=true").await.output.rest().await;
    };
    let (text, ()) = tokio::join!(client.text(&path), open);
    assert!(text.contains("one\n") && text.contains("two\n") && text.ends_with("three\n"), "{text}");
    phase(&cluster, "p", "Succeeded").await;
    assert_eq!(client.text(&format!("{PODS}/p/log?tailLines=1")).await, "three\n");
}

#[tokio::test]
async fn the_environment_is_small_and_expanded() {
    let (cluster, client) = cluster();
    let mut object = pod("p", Some("env; pwd"));
    object["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "x-$(HOSTNAME)"}]);
    client.create(&object).await;
    phase(&cluster, "p", "Succeeded").await;
    let text = client.text(&format!("{PODS}/p/log")).await;
    let home = text.lines().find_map(|line| line.strip_prefix("HOME=")).unwrap();
    assert!(home.starts_with(cluster.scratch_dir().to_str().unwrap()));
    assert!(text.lines().any(|line| line == "A=x-p") && text.lines().next_back() == Some(home), "{text}");
    assert!(!text.contains("CARGO"), "{text}");
}
