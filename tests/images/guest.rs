//! The image of `deploy/guest.Dockerfile`, made from that file's own text, under the level `restricted`: what a user of it
//! can do, and what is read where a part of it is missing ("What a guest image needs" in docs/kubernetes.md).

use super::guests_of;
use crate::support::client::random_file;
use crate::support::world::merge;
use crate::support::{Setup, World, available, leash};
use serde_json::{Value, json};
use std::fs;

const EXAMPLE: &str = "podgate.test/example:1";
const PAPER: &str = include_str!("../../docs/kubernetes.md");
const SIZE: usize = 300_007;

/// The section of the paper.
fn section() -> &'static str {
    let section = PAPER.split("\n## What a guest image needs\n").nth(1).expect("a section");
    section.split("\n## ").next().unwrap_or_default()
}

/// The code of a language in the section.
fn code(language: &str) -> &'static str {
    let block = section().split(&format!("```{language}\n")).nth(1).expect("a block");
    block.split("```").next().unwrap_or_default()
}

#[test]
fn paper_shows_the_dockerfile_as_it_is() {
    assert_eq!(code("dockerfile"), include_str!("../../deploy/guest.Dockerfile"));
}

/// The pod of the paper, with the image that the cluster has, and something merged into its specification.
fn pod(change: Value) -> Value {
    let mut pod: Value = serde_saphyr::from_str(code("yaml")).expect("YAML");
    pod["spec"]["containers"][0]["image"] = json!(EXAMPLE);
    pod["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    merge(&mut pod["spec"], change);
    pod
}

/// A world of such pods in a namespace of the level `restricted`; `None` on the development cluster.
async fn restricted(pod: Value) -> Option<World> {
    let world = Setup::config(guests_of(EXAMPLE, pod)?).start().await;
    world.cluster.restrict(world.namespace()).await;
    Some(world)
}

/// The same without what the paper's pod does for a read-only root.
fn writable() -> Value {
    let mut pod = pod(json!({"volumes": null}));
    let container = &mut pod["spec"]["containers"][0];
    container["securityContext"]["readOnlyRootFilesystem"] = json!(false);
    container["volumeMounts"] = json!([]);
    pod
}

#[podgate_test::multi_thread]
async fn user_of_the_image_has_a_name_a_home_and_every_way_to_carry_files() {
    for (pod, variant) in [(writable(), "the image's own root"), (pod(json!({})), "a read-only root")] {
        let Some(world) = restricted(pod).await else { return };
        let master = world.master(&[]).await;
        let told = master.ssh().run("id -u; whoami; echo $HOME; pwd; echo kept >note && cat note").await.expect(0);
        assert_eq!(told.text(), "1000\nuser\n/home/user\n/home/user\nkept\n", "{variant}");
        let mut person = master.ssh().arg("-tt").arg("127.0.0.1").launch();
        person.write("cd; echo at-$(tty)-$(whoami); exit 3\n").await;
        person.until_stdout("-user").await;
        person.ended().await.expect(3);

        let (file, data) = random_file(world.folder(), "sent", SIZE);
        for flag in ["-s", "-O"] {
            let (there, back) = (format!("127.0.0.1:there{flag}"), world.folder().join(format!("back{flag}")));
            master.client("scp", "-P").arg(flag).arg(&file).arg(&there).finish().await.expect(0);
            master.client("scp", "-P").arg(flag).arg(&there).arg(&back).finish().await.expect(0);
            assert!(fs::read(&back).expect("the file") == data, "the file differs with {flag}, {variant}");
        }
        let batch = format!("put {} by-sftp\nls -l by-sftp\n", file.display());
        let done =
            master.client("sftp", "-P").arg("-b").arg("-").arg("127.0.0.1").stdin(batch).finish().await.expect(0);
        assert!(done.text().contains(&SIZE.to_string()), "{done:?}");
        if available("rsync", "rsync") {
            let mut rsync = leash::program("rsync");
            rsync.args(["-a", "-e", &master.command_line()]).arg(&file).arg("127.0.0.1:by-rsync");
            let done = rsync.output().await.expect("rsync");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        let same = master.ssh().run("cmp there-s there-O && cmp there-O by-sftp && cmp by-sftp by-rsync").await;
        assert!(same.status == 0, "{same:?}");
        drop(master);
        world.wait_for_nothing().await;
    }
}

/// Asserts that the section says what was read.
fn in_paper(text: &str) {
    assert!(section().contains(text), "{text:?} is not in the paper");
}

#[podgate_test::multi_thread]
async fn user_id_without_a_name_in_the_image_is_told_by_its_programs() {
    let ids = json!({"securityContext": {"runAsUser": 2000, "runAsGroup": 2000, "fsGroup": 2000}});
    let Some(world) = restricted(pod(ids)).await else { return };
    let master = world.master(&[]).await;
    let done = master.ssh().run("id -u; echo $HOME; whoami").await.expect(1);
    assert_eq!((done.text().as_str(), done.stderr.contains("cannot find name for user ID 2000")), ("2000\n/\n", true));
    let file = random_file(world.folder(), "sent", 17).0;
    for (flag, told) in [("-s", "No user found for uid 2000"), ("-O", "unknown user 2000")] {
        let done = master.client("scp", "-P").arg(flag).arg(&file).arg("127.0.0.1:there").finish().await;
        assert!(done.status != 0 && done.stderr.contains(told), "{flag}: {done:?}");
        in_paper(&told.replace("2000", "…"));
    }
    in_paper("cannot find name for user ID …");
}

#[podgate_test::multi_thread]
async fn home_that_cannot_be_written_is_told_by_the_program_that_tries() {
    let mut read_only = writable();
    read_only["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = json!(true);
    let mut other = writable();
    merge(&mut other["spec"], json!({"securityContext": {"runAsUser": 2000, "runAsGroup": 2000}}));
    for (pod, told) in [(read_only, "Read-only file system"), (other, "Permission denied")] {
        let Some(world) = restricted(pod).await else { return };
        let done = world.ssh().run("touch /home/user/note").await.expect(1);
        assert!(done.stderr.contains(told), "{done:?}");
        in_paper(told);
    }
}

#[podgate_test::multi_thread]
async fn image_without_sftp_server_or_scp_is_told_to_the_user_of_scp() {
    let Some(config) = guests_of(super::BUSYBOX, json!({})) else { return };
    let world = Setup::config(config).start().await;
    let file = random_file(world.folder(), "sent", 17).0;
    let sftp = "/usr/lib/openssh/sftp-server: not found in the container";
    for (flag, told) in [("-s", sftp), ("-O", "scp: not found")] {
        let client = world.client("scp", "-P").option("User=alice").arg(flag).arg(&file).arg("127.0.0.1:there");
        let done = client.finish().await;
        assert!(done.status != 0 && done.stderr.contains(told), "{flag}: {done:?}");
        in_paper(told);
    }
}
