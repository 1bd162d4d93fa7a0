//! Objects over HTTP: what is refused and how, lists, watches, patches, leases.

use crate::client::{PODS, cluster, phase, pod, running};
use podgate_devcluster::{DevCluster, Options};
use serde_json::{Value, json};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

#[tokio::test]
async fn no_token_is_401_and_an_unknown_path_404() {
    let (cluster, client) = cluster();
    let stranger = crate::client::Client::new(&cluster, "nope");
    let (code, status) = stranger.get(PODS).await;
    assert_eq!((code, status["kind"].as_str(), status["reason"].as_str()), (401, Some("Status"), Some("Unauthorized")));
    for path in ["/api/v1/namespaces/default/widgets", "/apis/apps/v1/deployments", "/api/v2/pods", "/nope"] {
        assert_eq!(client.get(path).await.0, 404, "{path}");
    }
    assert_eq!(stranger.get("/version").await.0, 200);
}

#[tokio::test]
async fn bad_pods_are_refused_with_their_reason() {
    let (cluster, client) = cluster();
    let mut unknown = pod("p", None);
    unknown["spec"]["colour"] = json!("red");
    let cases = [
        (
            format!("{PODS}?fieldValidation=Strict"),
            unknown,
            400,
            "strict decoding error: unknown field \"spec.colour\"",
        ),
        (PODS.to_owned(), json!({"metadata": {"name": "p"}, "spec": {}}), 422, "spec.containers: Required value"),
        (
            PODS.to_owned(),
            json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}),
            422,
            "metadata.name: Required value",
        ),
        (PODS.to_owned(), json!({"kind": "Lease"}), 400, "cannot be handled"),
        (PODS.to_owned(), json!([]), 400, "no object"),
        ("/api/v1/namespaces/nope/pods".to_owned(), pod("p", None), 404, "namespaces \"nope\" not found"),
    ];
    for (path, body, code, text) in cases {
        let (found, status) = client.call("POST", &path, &body).await;
        assert_eq!(found, code, "{status}");
        assert!(status["message"].as_str().unwrap().contains(text), "{status}");
    }
    assert!(cluster.pods("default").is_empty());
}

/// What the real API server refuses to store, and what would break a watch of everybody.
#[tokio::test]
async fn field_of_a_wrong_type_is_never_stored_and_breaks_no_watch() {
    let (cluster, client) = running("p", None).await;
    let (_, list) = client.get(PODS).await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let env = |value: Value| {
        let mut wrong = pod("q", None);
        wrong["spec"]["containers"][0]["env"] = json!([{"name": "PORT", "value": value}]);
        wrong
    };
    let told = "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string";
    for strictness in ["Ignore", "Warn", "Strict"] {
        let (code, status) =
            client.call("POST", &format!("{PODS}?fieldValidation={strictness}"), &env(json!(8080))).await;
        let message = format!("Pod in version \"v1\" cannot be handled as a Pod: {told}");
        assert_eq!((code, status["message"].as_str()), (400, Some(message.as_str())));
    }
    let path = format!("{PODS}/p");
    let (_, stored) = client.get(&path).await;
    let mut update = stored.clone();
    update["metadata"]["labels"] = json!({"a": 1});
    assert_eq!(client.call("PUT", &path, &update).await.0, 400);
    let status = json!({"metadata": {"name": "q"}, "spec": pod("q", None)["spec"], "status": {"phase": 5}});
    assert_eq!(client.call("POST", PODS, &status).await.0, 400);
    for (form, patch) in [
        ("application/merge-patch+json", json!({"metadata": {"labels": {"a": 1}}})),
        ("application/strategic-merge-patch+json", json!({"metadata": {"annotations": {"a": false}}})),
        ("application/json-patch+json", json!([{"op": "add", "path": "/metadata/labels", "value": ["a"]}])),
        ("application/merge-patch+json", json!({"metadata": "x"})),
        ("application/merge-patch+json", json!({"status": {"phase": 5}})),
        ("application/merge-patch+json", json!({"kind": 5})),
    ] {
        let response = client.open("PATCH", &path, form, patch.to_string().as_bytes()).await.unwrap();
        assert_eq!(response.status().as_u16(), 422, "{patch}");
    }
    assert_eq!(client.get(&path).await.1["metadata"], stored["metadata"]);
    let (code, _) = client.call("DELETE", &path, &json!({"gracePeriodSeconds": "0"})).await;
    assert_eq!(code, 400);
    for (path, body) in [
        (LEASES, json!({"metadata": {"name": "l"}, "spec": {"leaseDurationSeconds": "15"}})),
        (LEASES, json!({"metadata": {"name": "l"}, "spec": {"renewTime": "soon"}})),
        ("/api/v1/namespaces", json!({"metadata": {"name": "n"}, "spec": {"finalizers": "x"}})),
        ("/api/v1/namespaces/default/events", json!({"metadata": {"name": "e"}, "involvedObject": "p"})),
        ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json!({"spec": {"resourceAttributes": "pods"}})),
    ] {
        assert_eq!(client.call("POST", path, &body).await.0, 400, "{body}");
    }
    let mut quantity = env(json!("8080"));
    quantity["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": 1}});
    quantity["status"] = json!({"phase": "Succeeded"});
    client.create(&quantity).await;
    let mut watch = client.watch(&format!("{PODS}?watch=true&resourceVersion={version}")).await;
    let (change, first) = watch.next().await.unwrap().unwrap();
    assert_eq!((change.as_str(), first["metadata"]["name"].as_str()), ("ADDED", Some("q")));
    assert_eq!(first["spec"]["containers"][0]["resources"]["requests"]["cpu"], "1");
    assert_eq!(first["status"]["phase"], "Pending", "the status is not the writer's");
    drop(cluster);
}

#[tokio::test]
async fn a_dry_run_leaves_nothing_and_a_second_create_conflicts() {
    let (cluster, client) = cluster();
    let (code, dry) = client.call("POST", &format!("{PODS}?dryRun=All"), &pod("p", None)).await;
    assert_eq!((code, dry["spec"]["dnsPolicy"].as_str()), (201, Some("ClusterFirst")));
    assert!(cluster.pods("default").is_empty());
    client.create(&pod("p", None)).await;
    let (code, status) = client.call("POST", PODS, &pod("p", None)).await;
    assert_eq!((code, status["reason"].as_str()), (409, Some("AlreadyExists")));
}

#[tokio::test]
async fn generated_names_differ() {
    let (_cluster, client) = cluster();
    let mut unnamed = pod("", None);
    unnamed["metadata"] = json!({"generateName": "podgate-"});
    let (first, second) = (client.create(&unnamed).await, client.create(&unnamed).await);
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name(&first).starts_with("podgate-") && name(&first).len() == 13);
    assert_ne!(name(&first), name(&second));
}

#[tokio::test]
async fn writes_and_deletes_keep_their_preconditions() {
    let (_cluster, client) = running("p", None).await;
    let path = format!("{PODS}/p");
    let stale = json!({"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}});
    assert_eq!(client.call("PATCH", &path, &stale).await.0, 409);
    let command = json!({"spec": {"containers": []}});
    assert_eq!(client.call("PATCH", &path, &command).await.0, 422);
    for preconditions in [json!({"uid": "other"}), json!({"resourceVersion": "1"})] {
        let (code, status) = client.call("DELETE", &path, &json!({"preconditions": preconditions})).await;
        assert_eq!((code, status["reason"].as_str()), (409, Some("Conflict")), "{status}");
    }
    let (_, before) = client.get(&path).await;
    let version = &before["metadata"]["resourceVersion"];
    let fresh = json!({"metadata": {"resourceVersion": version, "labels": {"a": "b"}}});
    let (code, after) = client.call("PATCH", &path, &fresh).await;
    assert_eq!((code, after["metadata"]["labels"]["a"].as_str()), (200, Some("b")));
    assert_eq!(after["status"], before["status"]);
}

#[tokio::test]
async fn a_watch_tells_a_pods_whole_life_once() {
    let (cluster, client) = cluster();
    let (_, list) = client.get(PODS).await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch =
        client.watch(&format!("{PODS}?watch=true&resourceVersion={version}&fieldSelector=metadata.name%3Dp")).await;
    client.create(&pod("other", None)).await;
    // It ends by the signal, however early that comes.
    client.create(&pod("p", Some("exec sleep 300"))).await;
    phase(&cluster, "p", "Running").await;
    client.call("DELETE", &format!("{PODS}/p"), &json!({"gracePeriodSeconds": 5})).await;
    let mut told = Vec::new();
    loop {
        let (change, object) = watch.next().await.unwrap().unwrap();
        assert_eq!(object["metadata"]["name"], "p");
        let terminating = object["metadata"]["deletionTimestamp"].is_string();
        let line = format!("{change} {} {terminating}", object["status"]["phase"].as_str().unwrap());
        if told.last() != Some(&line) {
            told.push(line);
        }
        if change == "DELETED" {
            break;
        }
    }
    let expected = [
        "ADDED Pending false",
        "MODIFIED Pending false",
        "MODIFIED Running false",
        "MODIFIED Running true",
        "MODIFIED Failed true",
        "DELETED Failed true",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn an_old_version_is_410_and_a_watch_can_be_expired_or_cut() {
    let (cluster, client) = running("p", None).await;
    let mut watch = client.watch(&format!("{PODS}?watch=true")).await;
    assert_eq!(watch.next().await.unwrap().unwrap().0, "ADDED");
    let (_, list) = client.get(PODS).await;
    cluster.faults().expire_watches();
    let (change, status) = watch.next().await.unwrap().unwrap();
    assert_eq!((change.as_str(), status["code"].as_u64()), ("ERROR", Some(410)));
    assert!(watch.next().await.unwrap().is_none());
    let old = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = client.watch(&format!("{PODS}?watch=true&resourceVersion={old}")).await;
    assert_eq!(watch.next().await.unwrap().unwrap().1["reason"], "Expired");

    let mut watch = client.watch(&format!("{PODS}?watch=true")).await;
    watch.next().await.unwrap();
    cluster.faults().cut_watches();
    assert!(watch.next().await.is_err());
}

#[tokio::test]
async fn a_watch_ends_at_its_timeout_and_streams_its_initial_state_with_a_bookmark() {
    let (_cluster, client) = running("p", None).await;
    let query =
        "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1";
    let mut watch = client.watch(&format!("{PODS}?{query}")).await;
    assert_eq!(watch.next().await.unwrap().unwrap().0, "ADDED");
    let (change, bookmark) = watch.next().await.unwrap().unwrap();
    assert_eq!(change, "BOOKMARK");
    assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(watch.next().await.unwrap().is_none());
}

#[tokio::test]
async fn lists_select_and_come_in_pages() {
    let (_cluster, client) = cluster();
    for name in ["a", "b", "c"] {
        let mut labelled = pod(name, None);
        labelled["metadata"]["labels"] = json!({"name": name, "all": "yes"});
        client.create(&labelled).await;
    }
    let names = |list: &Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&client.get(&format!("{PODS}?labelSelector=name+in+(a,c)")).await.1), ["a", "c"]);
    assert_eq!(names(&client.get(&format!("{PODS}?fieldSelector=metadata.name%3Db")).await.1), ["b"]);
    assert_eq!(client.get(&format!("{PODS}?fieldSelector=spec.x%3Db")).await.0, 400);
    let (_, page) = client.get(&format!("{PODS}?limit=2")).await;
    assert_eq!(
        (names(&page), page["metadata"]["remainingItemCount"].as_u64()),
        (vec!["a".into(), "b".into()], Some(1))
    );
    let next = page["metadata"]["continue"].as_str().unwrap();
    assert_eq!(names(&client.get(&format!("{PODS}?limit=2&continue={next}")).await.1), ["c"]);
    let (code, _) =
        client.call("DELETE", &format!("{PODS}?labelSelector=name!%3Da"), &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(code, 200);
    assert_eq!(names(&client.get(PODS).await.1), ["a"]);
}

#[tokio::test]
async fn leases_are_written_only_from_the_newest_version() {
    let (cluster, client) = cluster();
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}});
    let (code, created) = client.call("POST", LEASES, &lease).await;
    assert_eq!(code, 201, "{created}");
    let path = format!("{LEASES}/l");
    assert_eq!(client.call("PUT", &path, &lease).await.0, 422, "an update names its version");
    let mut renewed = created.clone();
    renewed["spec"]["holderIdentity"] = json!("b");
    assert_eq!(client.call("PUT", &path, &renewed).await.0, 200);
    let (code, status) = client.call("PUT", &path, &renewed).await;
    assert_eq!(code, 409);
    assert!(status["message"].as_str().unwrap().contains("the object has been modified"), "{status}");
    assert_eq!(cluster.state().leases("default")[0]["spec"]["holderIdentity"], "b");
    let (code, status) = client.call("DELETE", &path, &Value::Null).await;
    assert_eq!((code, status["status"].as_str()), (200, Some("Success")));
    assert_eq!(client.get(&path).await.0, 404);
}

#[tokio::test]
async fn update_makes_a_lease_that_is_not_there_unless_it_names_one() {
    let (cluster, client) = cluster();
    let path = format!("{LEASES}/l");
    let update = |uid: &str| json!({"metadata": {"name": "l", "resourceVersion": "7", "uid": uid}, "spec": {"holderIdentity": "a"}});
    assert_eq!(client.call("PUT", &path, &update("another")).await.0, 409);
    assert!(cluster.state().leases("default").is_empty());
    assert_eq!(client.call("PUT", &path, &update("")).await.0, 201);
    assert_eq!(cluster.state().leases("default").len(), 1);
}

#[tokio::test]
async fn namespaces_come_and_go_with_what_is_in_them() {
    let cluster = DevCluster::start(Options { namespaces: vec!["team".into()], ..Options::default() }).unwrap();
    let client = crate::client::Client::new(&cluster, cluster.token());
    assert_eq!(client.call("POST", "/api/v1/namespaces", &json!({"metadata": {"name": "UP"}})).await.0, 422);
    assert_eq!(client.call("POST", "/api/v1/namespaces", &json!({"metadata": {"name": "more"}})).await.0, 201);
    assert_eq!(client.call("POST", "/api/v1/namespaces/team/pods", &pod("p", None)).await.0, 201);
    assert_eq!(cluster.pods("team"), ["p"]);
    assert_eq!(client.call("DELETE", "/api/v1/namespaces/team", &Value::Null).await.0, 200);
    assert!(cluster.pods("team").is_empty());
    let (_, list) = client.get("/api/v1/namespaces").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn an_access_review_says_what_is_allowed() {
    let (_cluster, client) = cluster();
    let review =
        json!({"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "default"}}});
    let (code, answer) = client.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
    assert_eq!((code, answer["status"]["allowed"].as_bool()), (201, Some(true)));
}
