//! A guest's files as a file system of this machine.

use super::world;
use crate::support::client::{Client, PATIENCE, random_file};
use crate::support::{available, leash};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// True if this machine's kernel lets the tests mount.
fn mounts() -> bool {
    let device = Path::new("/dev/fuse").exists();
    if !device {
        eprintln!("skipped: there is no /dev/fuse");
    }
    device && available("sshfs", "sshfs")
}

#[podgate_test::multi_thread]
async fn sshfs_mounts_the_files_of_a_guest() {
    if !mounts() {
        return;
    }
    let world = world().await;
    let here = world.folder().join("mounted");
    fs::create_dir(&here).expect("a folder");
    let shell = format!("ssh_command={}", world.ssh_command_line("alice"));
    let mut sshfs = leash::program("sshfs");
    sshfs.arg("-f").arg("-o").arg(shell).arg("127.0.0.1:").arg(&here);
    let mut running = Client::of(sshfs).spawn();
    let there = async {
        while !fs::read_to_string("/proc/mounts").expect("the mounts").contains(&here.display().to_string()) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, there).await.expect("a mount in time");
    let (at, from) = (here.clone(), world.folder().to_owned());
    let used = tokio::task::spawn_blocking(move || {
        let (file, data) = random_file(&from, "sent", 3_000_000);
        fs::create_dir(at.join("folder"))?;
        fs::copy(file, at.join("folder/copy"))?;
        fs::rename(at.join("folder/copy"), at.join("moved"))?;
        std::os::unix::fs::symlink("moved", at.join("link"))?;
        let same = fs::read(at.join("link"))? == data;
        fs::remove_file(at.join("moved"))?;
        fs::remove_file(at.join("link"))?;
        fs::remove_dir(at.join("folder"))?;
        Ok::<bool, std::io::Error>(same)
    });
    let used = timeout(PATIENCE, used).await;
    let mut unmount = leash::program("fusermount3");
    unmount.arg("-uz").arg(&here);
    let unmounted = Client::of(unmount).finish().await;
    running.kill().await.expect("its end");
    assert!(used.expect("in time").expect("its thread").expect("its files"), "the file differs");
    unmounted.expect(0);
}
