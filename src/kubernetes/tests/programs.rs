//! Programs and files, and the refusal of forwards.

use super::*;
use podgate_webhooks::wire;
use serde_json::json;
use std::collections::BTreeMap;

#[podgate_test::multi_thread]
async fn unknown_subsystem_is_refused_with_a_sentence() {
    let stand = Stand::new();
    let guest = stand.guest();
    let told = begin(&guest, launch(ProgramRequest::Subsystem("netconf".into()))).await;
    assert!(told.is_err_and(|told| told.reason.contains("netconf")));
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn program_that_is_not_there_is_not_success() {
    let mut stand = Stand::new();
    stand.settings.pod.exec_command = vec!["/nonexistent/program".into()];
    let guest = stand.guest();
    let (_, _, exit) = run(&guest, "x").await;
    assert!(
        matches!(&exit, Exit::Status(127)) || matches!(&exit, Exit::Lost(told) if told.status() == 127),
        "{exit:?}"
    );
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn output_error_and_status_of_a_program_come_through() {
    let stand = Stand::new();
    let guest = stand.guest();
    let (out, err, exit) = run(&guest, "echo out; echo err >&2; test -n \"$SSH_CONNECTION\" && exit 7").await;
    assert_eq!((&*out, &*err, exit), ("out\n", "err\n", Exit::Status(7)));
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn image_without_env_runs_without_variables_but_never_drops_the_original_command() {
    let mut stand = Stand::new();
    stand.settings.pod.spec["containers"][0]["env"] = json!([{"name": "PATH", "value": "/nonexistent"}]);
    stand.settings.pod.spec["containers"][0]["args"] = json!([]);
    stand.settings.pod.idle_command = Some(vec!["/bin/sleep".into(), "600".into()]);
    let guest = stand.guest();
    let (out, _, exit) = run(&guest, "echo ${SSH_CONNECTION-unset}").await;
    assert_eq!((&*out, exit), ("unset\n", Exit::Status(0)));
    assert!(stand.logged().contains("KUBERNETES_ENV_LEFT_OUT"));

    let rules = Rules { force_command: Some("/bin/true".into()), ..Rules::default() };
    let forced = launch_under(&rules, ProgramRequest::Exec("rm -rf /".into()));
    let told = begin(&guest, forced).await;
    assert!(told.is_err_and(|told| told.reason.contains("SSH_ORIGINAL_COMMAND cannot be passed")));
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn identity_s_files_are_there_before_the_first_program() {
    let stand = Stand::new();
    let folder = stand.cluster.scratch_dir().join("it's $(here)");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("a key").display().to_string();
    let content: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let files = BTreeMap::from([(path.clone(), wire::File { value: content.clone(), sensitive: true })]);
    let known = wire::Known { files, ..wire::Known::default() };
    let guest = stand.guest_of(&fixtures::identity_with("alice", known));
    let (out, _, exit) = run(&guest, &format!("stat -c %a '{}'", path.replace('\'', "'\\''"))).await;
    assert_eq!((&*out, exit), ("600\n", Exit::Status(0)));
    assert!(std::fs::read(&path).unwrap() == content);
    stand.finish(vec![guest]).await;
}
