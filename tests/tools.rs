//! The programs that people run over SSH: what they carry arrives byte for byte.

use crate::support::client::random_file;
use crate::support::leash;
use crate::support::{World, available};
use std::fs;
use std::process::Output;
use tokio::process::Command;
use tokio::time::timeout;

const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";
const SIZE: usize = 5_000_011;

/// Runs a program that starts `ssh` itself.
async fn run(command: &mut Command) -> Output {
    let running = command.kill_on_drop(true).output();
    let output =
        timeout(crate::support::client::PATIENCE, running).await.expect("an end in time").expect("the program");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[podgate_test::multi_thread]
async fn sftp_puts_lists_and_gets() {
    if !available("sftp", "openssh-client") || !available(SFTP_SERVER, "openssh-sftp-server") {
        return;
    }
    let world = World::start().await;
    let (file, data) = random_file(world.folder(), "sent", SIZE);
    let back = world.folder().join("back");
    let batch = format!("put {} there\nls -l\nrename there moved\nget moved {}\n", file.display(), back.display());
    let done = world.client("sftp", "-P").option("User=alice").arg("-b").arg("-").arg("127.0.0.1").stdin(batch);
    let done = done.finish().await.expect(0);
    assert!(done.text().lines().any(|line| line.contains(&SIZE.to_string()) && line.ends_with("there")), "{done:?}");
    assert!(fs::read(back).expect("the file") == data, "the file differs");
}

#[podgate_test::multi_thread]
async fn scp_carries_files_both_ways_in_both_protocols() {
    if !available("scp", "openssh-client") || !available(SFTP_SERVER, "openssh-sftp-server") {
        return;
    }
    let world = World::start().await;
    // A pod is a connection's: what one brings is there for the next only on the same connection.
    let master = world.master(&[]).await;
    let (file, data) = random_file(world.folder(), "sent", SIZE);
    for (number, flags) in [&["-s"][..], &["-O"][..]].into_iter().enumerate() {
        let there = format!("127.0.0.1:there-{number}");
        let back = world.folder().join(format!("back-{number}"));
        master.client("scp", "-P").arg(flags[0]).arg("-p").arg(&file).arg(&there).finish().await.expect(0);
        master.client("scp", "-P").arg(flags[0]).arg("-p").arg(&there).arg(&back).finish().await.expect(0);
        assert!(fs::read(&back).expect("the file") == data, "the file differs with {flags:?}");
        let missing = master.client("scp", "-P").arg(flags[0]).arg("127.0.0.1:nothing").arg(&back).finish().await;
        assert_eq!(missing.status, 1, "{missing:?}");
    }
}

#[podgate_test::multi_thread]
async fn rsync_carries_a_tree_both_ways() {
    if !available("rsync", "rsync") {
        return;
    }
    let world = World::start().await;
    let master = world.master(&[]).await;
    let tree = world.folder().join("tree");
    fs::create_dir_all(tree.join("below")).expect("a folder");
    let (_, large) = random_file(&tree, "large", SIZE);
    let (_, small) = random_file(&tree.join("below"), "small", 17);
    let back = world.folder().join("back");
    let shell = master.command_line();
    let source = format!("{}/", tree.display());
    run(leash::program("rsync").args(["-a", "-e", &shell, &source, "127.0.0.1:tree/"])).await;
    run(leash::program("rsync").args(["-a", "-e", &shell, "127.0.0.1:tree/"]).arg(&back)).await;
    assert!(fs::read(back.join("large")).expect("the file") == large, "the file differs");
    assert_eq!(fs::read(back.join("below/small")).expect("the file"), small);
}

#[podgate_test::multi_thread]
async fn git_clones_and_pushes() {
    if !available("git", "git") {
        return;
    }
    let world = World::start().await;
    let master = world.master(&[]).await;
    let home = master.ssh().run("cd; pwd; git init -q --bare repository").await.expect(0).text();
    let home = home.trim_end();
    let here = world.folder().join("here");
    let url = format!("ssh://127.0.0.1{home}/repository");
    let git = || {
        let mut git = leash::program("git");
        git.env("GIT_SSH_COMMAND", master.command_line()).env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.args(["-c", "user.name=A", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]);
        git
    };
    run(git().args(["init", "-q"]).arg(&here)).await;
    let (_, data) = random_file(&here, "file", SIZE);
    run(git().current_dir(&here).args(["add", "file"])).await;
    run(git().current_dir(&here).args(["commit", "-q", "-m", "One file"])).await;
    run(git().current_dir(&here).args(["push", "-q", &url, "HEAD:refs/heads/main"])).await;
    let clone = world.folder().join("clone");
    run(git().args(["clone", "-q", "-b", "main", &url]).arg(&clone)).await;
    assert!(fs::read(clone.join("file")).expect("the file") == data, "the file differs");
}
