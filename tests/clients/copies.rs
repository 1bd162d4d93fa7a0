//! Files: trees, interrupted copies, links and modes, by sftp, scp in both protocols and rsync.

use super::world;
use crate::support::client::{Client, PATIENCE, random_file};
use crate::support::leash;
use crate::support::{World, available};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

/// The files of a tree, and the bytes of its largest.
const FILES: usize = 200;
const SIZE: usize = 5_000_011;
/// The same of a large one.
const MANY_FILES: usize = 10_000;
const GIGABYTE: usize = 1 << 30;

fn sftp(world: &World, batch: &str) -> Client {
    world.client("sftp", "-P").option("User=alice").arg("-b").arg("-").arg("127.0.0.1").stdin(batch)
}

/// A tree with so many files, folders, modes, and one file of this size.
fn tree(at: &Path, files: usize, largest: usize) {
    for number in 0..files {
        let folder = at.join(format!("folder-{}", number % 7));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("file {number}")), format!("content {number}\n")).expect("a file");
    }
    fs::write(at.join("program"), "#!/bin/sh\n").expect("a file");
    fs::set_permissions(at.join("program"), fs::Permissions::from_mode(0o750)).expect("its mode");
    random_file(at, "large", largest);
}

/// Asserts that two trees are one.
async fn same(one: &Path, other: &Path) {
    let mut diff = leash::program("diff");
    diff.arg("-r").arg(one).arg(other);
    Client::of(diff).finish().await.expect(0);
    let mode = fs::metadata(other.join("program")).expect("the program").permissions().mode() & 0o777;
    assert_eq!(mode, 0o750);
}

#[podgate_test::multi_thread]
async fn sftp_carries_a_tree_both_ways() {
    sftp_carries(FILES, SIZE, PATIENCE).await;
}

#[podgate_test::multi_thread]
#[ignore = "takes minutes and four gigabytes; .ci/long runs it"]
async fn sftp_carries_a_gigabyte_and_ten_thousand_files_both_ways() {
    sftp_carries(MANY_FILES, GIGABYTE, PATIENCE * 10).await;
}

async fn sftp_carries(files: usize, largest: usize, limit: Duration) {
    let world = world().await;
    let (here, back) = (world.folder().join("tree"), world.folder().join("back"));
    tree(&here, files, largest);
    let batch = format!("put -pr {} there\nls there\nget -pr there {}\n", here.display(), back.display());
    let done = sftp(&world, &batch).finish_within(limit).await.expect(0);
    assert!(done.text().contains("folder-6"), "{done:?}");
    same(&here, &back).await;
}

#[podgate_test::multi_thread]
async fn sftp_goes_on_with_a_copy_that_was_interrupted() {
    let world = world().await;
    let (file, data) = random_file(world.folder(), "sent", SIZE);
    let (half, back) = (world.folder().join("half"), world.folder().join("back"));
    for part in [&half, &back] {
        fs::write(part, &data[..SIZE / 2]).expect("a file");
    }
    let (file, half, to) = (file.display(), half.display(), back.display());
    let batch = format!("put {half} there\nreput {file} there\nreget there {to}\nget there {half}\n");
    sftp(&world, &batch).finish().await.expect(0);
    assert!(fs::read(&back).expect("the file") == data, "the file differs");
    assert!(fs::read(world.folder().join("half")).expect("the file") == data, "the whole file differs");
}

#[podgate_test::multi_thread]
async fn sftp_changes_files_and_says_what_is_missing() {
    let world = world().await;
    let (file, _) = random_file(world.folder(), "sent", 1000);
    let batch = format!(
        "put {} a\nmkdir d\nrename a d/b\nln -s d/b link\nln d/b hard\nchmod 600 d/b\nls -l d\nls -l link\ndf\nrm hard\nrm \
         link\nrm d/b\nrmdir d\n-rmdir d\n-get missing\n-ls /root/none\n",
        file.display()
    );
    let done = sftp(&world, &batch).finish().await.expect(0);
    assert!(done.text().contains("-rw-------") && done.text().contains("1000"), "{done:?}");
    assert!(done.stderr.contains("No such file") || done.stderr.contains("not found"), "{done:?}");
}

#[podgate_test::multi_thread]
async fn scp_carries_trees_in_both_protocols_without_a_program_in_the_guest() {
    let world = world().await;
    let here = world.folder().join("tree");
    tree(&here, FILES, SIZE);
    symlink("program", here.join("link")).expect("a link");
    let master = world.master(&[]).await;
    for flag in ["-s", "-O"] {
        let there = format!("127.0.0.1:there{flag}");
        let back = world.folder().join(format!("back{flag}"));
        master.client("scp", "-P").arg(flag).arg("-pr").arg(&here).arg(&there).finish().await.expect(0);
        master.client("scp", "-P").arg(flag).arg("-pr").arg(&there).arg(&back).finish().await.expect(0);
        same(&here, &back).await;
        let missing = master.client("scp", "-P").arg(flag).arg("127.0.0.1:nothing").arg(&back).finish().await;
        assert_eq!(missing.status, 1, "{missing:?}");
        assert!(missing.stderr.contains("No such file"), "{missing:?}");
    }
}

#[podgate_test::multi_thread]
async fn rsync_carries_a_tree_and_its_changes() {
    if !available("rsync", "rsync") {
        return;
    }
    let world = world().await;
    let master = world.master(&[]).await;
    let (here, back) = (world.folder().join("tree"), world.folder().join("back"));
    tree(&here, FILES, SIZE);
    let shell = master.command_line();
    let source = format!("{}/", here.display());
    for round in 0..2 {
        if round == 1 {
            // Of another size: rsync takes files of one size and one second for the same.
            random_file(&here, "large", SIZE + 1);
            fs::remove_dir_all(here.join("folder-3")).expect("a folder");
        }
        for (from, to) in [(&*source, "127.0.0.1:tree/"), ("127.0.0.1:tree/", &*back.display().to_string())] {
            let mut rsync = leash::program("rsync");
            rsync.args(["-a", "--delete", "-e", &shell, from, to]);
            Client::of(rsync).finish().await.expect(0);
        }
        same(&here, &back).await;
    }
}
