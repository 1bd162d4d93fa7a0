//! The pod of file and answer: the short keys of the console container, and the two ways to merge lists.

use super::*;

fn base(pod: &Value) -> FileSections {
    let config = with("kubernetes.pod", pod.clone()).unwrap_or_else(|errors| panic!("{pod}: {errors}"));
    config.base
}

fn answered(file: &Value, answer: &Value, exact: bool) -> Result<PodSettings, Errors> {
    let answer = json!({"kubernetes": {"pod": answer}});
    let answer = given(&answer, exact);
    Settings::resolve(&base(file), Some(&answer)).map(|settings| settings.kubernetes().pod)
}

fn pod(file: &Value, answer: &Value) -> PodSettings {
    answered(file, answer, false).unwrap_or_else(|errors| panic!("{file} {answer}: {errors}"))
}

/// The console container of a file's pod under an answer.
fn console(file: &Value, answer: &Value) -> Value {
    let pod = pod(file, answer);
    pod.spec["containers"][pod.console].clone()
}

/// A container as a restricted namespace wants it, beside another.
fn file() -> Value {
    json!({"spec": {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "a"}],
        "containers": [
            {"name": "shell", "image": "a", "securityContext": {"runAsNonRoot": true},
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}},
            {"name": "side", "image": "s"},
        ],
    }})
}

fn with_short(mut file: Value, short: Value) -> Value {
    file.as_object_mut().expect("a mapping").extend(short.as_object().expect("a mapping").clone());
    file
}

#[test]
fn short_keys_of_a_wrong_shape_are_refused_in_file_and_answer() {
    for (key, value, at, part) in [
        ("image", json!(["x"]), "image", "must be a string"),
        ("image", json!(" "), "image", "is empty"),
        ("resources", json!([]), "resources", "must be a mapping"),
        (
            "env",
            json!({"A": "b"}),
            "env",
            "must be a list of Kubernetes' EnvVar ([{name: A, value: b}]), not a mapping",
        ),
        ("env", json!(["A=b"]), "env[0]", "must be a mapping, not a string"),
        ("env", json!([{"value": "b"}]), "env[0].name", "is missing"),
        ("env", json!([{"name": ""}]), "env[0].name", "must be a string that is not empty"),
        ("env", json!([{"name": "A"}, {"name": "A"}]), "env[1].name", "is there twice"),
        ("merge", json!("strategical"), "merge", "is not one of replace, strategic"),
        ("imagee", json!("x"), "imagee", "did you mean \"image\"?"),
    ] {
        let at = format!("kubernetes.pod.{at}");
        let errors = with("kubernetes.pod", json!({key: value})).expect_err(key);
        assert!(has(&errors, &at, part), "{key}: {errors}");
        // Exact: an empty list is unset otherwise.
        let errors = answered(&file(), &json!({key: value}), true).expect_err(key);
        assert!(has(&errors, &at, part), "{key}: {errors}");
        assert!(!errors.to_string().contains("A=b"), "{errors}");
    }
}

#[test]
fn directives_without_a_strategic_merge_are_refused() {
    let directive = json!({"spec": {"containers": [{"name": "side", "$patch": "delete"}]}});
    let errors = answered(&file(), &directive, false).expect_err("a directive");
    assert!(has(&errors, "kubernetes.pod.spec.containers[0].$patch", "kubernetes.pod.merge: strategic"), "{errors}");
    let errors = with("kubernetes.pod.metadata", json!({"labels": {"$patch": "delete"}})).expect_err("a directive");
    assert!(has(&errors, "kubernetes.pod.metadata.labels.$patch", "kubernetes.pod.merge: strategic"), "{errors}");
}

#[test]
fn strategic_merge_that_cannot_be_is_refused_with_its_place() {
    for (answer, at, part) in [
        (json!({"spec": {"containers": [{"image": "x"}]}}), "spec.containers[0]", "has no name"),
        (json!({"spec": {"$setElementOrder/containers": []}}), "spec.$setElementOrder/containers", "not supported"),
        (json!({"metadata": {"labels": {"$patch": "merge"}}}), "metadata.labels.$patch", "is neither"),
        (json!({"spec": {"containers": [{"$patch": "replace"}]}}), "spec.containers", "at least one container"),
        (json!({"spec": "x"}), "spec", "must be a mapping"),
    ] {
        let answer = with_short(answer, json!({"merge": "strategic"}));
        let errors = answered(&file(), &answer, false).expect_err(at);
        assert!(has(&errors, &format!("kubernetes.pod.{at}"), part), "{answer}: {errors}");
    }
}

#[test]
fn short_keys_change_the_console_container_and_nothing_else() {
    let short = json!({
        "image": "b", "resources": {"limits": {"memory": "2Gi"}, "requests": {"cpu": 0}},
        "env": [{"name": "C", "value": 3}, {"name": "B", "value": ""}],
    });
    let expected = json!({
        "name": "shell", "image": "b", "securityContext": {"runAsNonRoot": true},
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}, {"name": "C", "value": "3"}],
        "resources": {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": 0}},
    });
    assert_eq!(console(&file(), &short), expected);
    assert_eq!(console(&with_short(file(), short.clone()), &json!({})), expected);
    let mut pod = pod(&file(), &with_short(short, json!({"consoleContainerNumber": 1})));
    let containers = pod.spec["containers"].as_array_mut().expect("containers");
    assert_eq!((containers.remove(0), pod.console), (file()["spec"]["containers"][0].clone(), 1));
    assert_eq!((&containers[0]["image"], &containers[0]["env"][0]["name"]), (&json!("b"), &json!("C")));
}

#[test]
fn short_image_is_enough_for_a_pod() {
    let settings = settings("kubernetes.pod", json!({"image": "x"}));
    assert_eq!(settings.kubernetes().pod.spec["containers"], json!([{"name": "shell", "image": "x"}]));
    let file = json!({"image": "x", "spec": {"containers": [{"name": "shell"}]}});
    assert_eq!(console(&file, &json!({}))["image"], "x");
    assert_eq!(console(&file, &json!({"image": ""}))["image"], "x");
    assert_eq!(
        console(&json!({"spec": {"containers": [{"name": "shell"}]}, "image": "x"}), &json!({"image": "y"}))["image"],
        "y"
    );
}

#[test]
fn answer_goes_before_the_file_and_the_short_key_before_the_specification() {
    let file = with_short(
        file(),
        json!({"image": "file", "env": [{"name": "F", "value": "file"}], "resources": {"limits": {"cpu": "2"}}}),
    );
    let bare = json!({"spec": {"containers": [{"name": "other", "image": "answer"}]}});
    let kept = json!({
        "name": "other", "image": "answer", "env": [{"name": "F", "value": "file"}], "resources": {"limits": {"cpu": "2"}},
    });
    assert_eq!(console(&file, &bare), kept);
    let says = json!({"spec": {"containers": [{
        "name": "other", "image": "answer", "env": [{"name": "F", "value": "answer"}], "resources": {"limits": {"cpu": "3"}},
    }]}});
    let console = |answer: &Value| console(&file, answer);
    assert_eq!(console(&says), says["spec"]["containers"][0]);
    let short = with_short(says, json!({"image": "short", "env": [{"name": "F", "value": "short"}]}));
    let container = console(&short);
    assert_eq!((&container["image"], &container["env"]), (&json!("short"), &json!([{"name": "F", "value": "short"}])));
    // The short keys of both: the answer's, and what it does not say of the file's.
    let container = console(&json!({"env": [{"name": "G", "value": "g"}], "resources": {"limits": {"memory": "2Gi"}}}));
    let names: Vec<&Value> = container["env"].as_array().expect("variables").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["A", "B", "F", "G"]);
    assert_eq!(
        (&container["image"], &container["resources"]),
        (&json!("file"), &json!({"limits": {"cpu": "2", "memory": "2Gi"}}))
    );
}

#[test]
fn lists_are_replaced_where_nobody_says_otherwise() {
    let bare = json!({"spec": {"containers": [{"name": "shell", "image": "b"}]}});
    for (in_file, in_answer) in
        [(json!(null), json!(null)), (json!("replace"), json!("")), (json!("strategic"), json!("replace"))]
    {
        let pod =
            pod(&with_short(file(), json!({"merge": in_file})), &with_short(bare.clone(), json!({"merge": in_answer})));
        assert_eq!(pod.spec["containers"], bare["spec"]["containers"]);
        assert_eq!(pod.lost, ["env", "resources", "securityContext"]);
    }
}

#[test]
fn lists_are_merged_where_file_or_answer_says_so() {
    let change = json!({"spec": {
        "containers": [{"name": "shell", "image": "b"}], "tolerations": [{"key": "b"}], "nodeSelector": {"zone": "z"},
    }});
    for (in_file, in_answer) in [("strategic", ""), ("", "strategic"), ("replace", "strategic")] {
        let pod = pod(
            &with_short(file(), json!({"merge": in_file})),
            &with_short(change.clone(), json!({"merge": in_answer})),
        );
        let mut containers = file()["spec"]["containers"].clone();
        containers[0]["image"] = json!("b");
        assert_eq!(pod.spec["containers"], containers);
        assert_eq!(pod.spec["tolerations"], json!([{"key": "b"}]));
        assert_eq!(pod.spec["nodeSelector"], json!({"disk": "ssd", "zone": "z"}));
        assert_eq!(pod.lost, [""; 0]);
    }
}

#[test]
fn users_land_in_the_same_container_wherever_a_merge_puts_it() {
    let file = with_short(file(), json!({"merge": "strategic"}));
    let sidecar = json!({"spec": {"containers": [{"name": "proxy", "image": "p"}]}});
    let merged = pod(&file, &sidecar);
    assert_eq!(merged.spec["containers"][0]["name"], "proxy");
    assert_eq!((merged.console, merged.console_name.as_str()), (1, "shell"));
    let image = pod(&file, &with_short(sidecar.clone(), json!({"image": "x"})));
    assert_eq!(
        (&image.spec["containers"][0]["image"], &image.spec["containers"][1]["image"]),
        (&json!("p"), &json!("x"))
    );
    // A number of the answer's own counts in the merged list.
    let counted = pod(&file, &with_short(sidecar, json!({"consoleContainerNumber": 2})));
    assert_eq!(counted.console_name.as_str(), "side");
}

#[test]
fn users_do_not_land_in_another_container_of_the_file_because_theirs_is_deleted() {
    let file = with_short(file(), json!({"merge": "strategic"}));
    let gone = json!({"name": "shell", "$patch": "delete"});
    let errors = answered(&file, &json!({"spec": {"containers": [gone]}}), false).expect_err("no console container");
    let text = "number 0 is now \"side\", as the console container \"shell\" of the file is deleted";
    assert!(has(&errors, "kubernetes.pod.spec.containers", text), "{errors}");
    let said = json!({"spec": {"containers": [gone]}, "consoleContainerNumber": 0});
    assert_eq!(answered(&file, &said, true).expect("a pod").console_name.as_str(), "side");
    let brought = json!({"spec": {"containers": [{"name": "mine", "image": "m"}, gone]}});
    assert_eq!(pod(&file, &brought).console_name.as_str(), "mine");
}

#[test]
fn null_removes_in_an_exact_strategic_answer_and_is_absence_elsewhere() {
    let file = with_short(file(), json!({"metadata": {"namespace": "n", "labels": {"a": "1"}}}));
    let nulls = json!({"metadata": {"labels": {"a": null}}, "spec": {"nodeSelector": null, "containers": null}});
    let strategic = with_short(nulls.clone(), json!({"merge": "strategic"}));
    let same = pod(&file, &json!({}));
    let of = |pod: &PodSettings| (pod.spec.clone(), pod.metadata["labels"].clone());
    assert_eq!(of(&pod(&file, &with_short(json!({"spec": nulls["spec"]}), json!({"merge": "strategic"})))), of(&same));
    let errors = answered(&file, &strategic, true).expect_err("no container");
    assert!(has(&errors, "kubernetes.pod.spec.containers", "at least one"), "{errors}");
    let mut some = strategic;
    some["spec"]["containers"] = json!([{"name": "shell", "env": [{"name": "B", "value": "2", "valueFrom": null}]}]);
    let merged = answered(&file, &some, true).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((merged.spec.get("nodeSelector"), &merged.metadata["labels"]), (None, &json!({})));
    assert_eq!(merged.spec["containers"][0]["env"][1], json!({"name": "B", "value": "2"}));
    let whole = answered(&file, &json!({"metadata": null, "spec": null, "merge": "strategic"}), true).expect("a pod");
    assert_eq!(of(&whole), of(&same));
}
