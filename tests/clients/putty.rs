//! PuTTY's command-line tools.

use super::world;
use crate::support::client::{Client, random_file};
use crate::support::{World, available, leash};
use std::fs;

/// A tool with the world's key and the host's.
async fn tool(world: &World, name: &str) -> tokio::process::Command {
    let key = world.folder().join("id.ppk");
    let mut puttygen = leash::program("puttygen");
    puttygen.arg(&world.key.file).arg("-o").arg(&key).args(["-O", "private"]);
    Client::of(puttygen).finish().await.expect(0);
    let mut keygen = leash::program("ssh-keygen");
    keygen.arg("-lf").arg(world.folder().join("host"));
    let fingerprint = Client::of(keygen).finish().await.expect(0).text();
    let fingerprint = fingerprint.split(' ').nth(1).expect("a fingerprint").to_owned();
    let mut tool = leash::program(name);
    // It keeps files in its home.
    tool.env("HOME", world.folder()).args(["-batch", "-P", &world.port().to_string(), "-l", "alice"]);
    tool.args(["-hostkey", &fingerprint, "-i"]).arg(key);
    tool
}

#[podgate_test::multi_thread]
async fn plink_runs_commands_with_their_streams_and_statuses() {
    if !available("plink", "putty-tools") || !available("puttygen", "putty-tools") {
        return;
    }
    let world = world().await;
    let mut plink = tool(&world, "plink").await;
    plink.args(["127.0.0.1", "cat; echo err >&2; exit 7"]);
    let done = Client::of(plink).stdin("typed").finish().await.expect(7);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("typed", "err\n"));
    let mut plink = tool(&world, "plink").await;
    plink.args(["-t", "127.0.0.1", "tty; stty size; exit 3"]);
    let done = Client::of(plink).finish().await.expect(3);
    assert!(done.text().contains("/dev/pts/"), "{done:?}");
}

#[podgate_test::multi_thread]
async fn psftp_carries_files_both_ways() {
    if !available("psftp", "putty-tools") || !available("puttygen", "putty-tools") {
        return;
    }
    let world = world().await;
    let (file, data) = random_file(world.folder(), "sent", 3_000_000);
    let (script, back) = (world.folder().join("script"), world.folder().join("back"));
    let lines =
        format!("put {} there\nls\nmv there moved\nget moved {}\nrm moved\nquit\n", file.display(), back.display());
    fs::write(&script, lines).expect("a script");
    let mut psftp = tool(&world, "psftp").await;
    psftp.arg("-b").arg(&script).arg("127.0.0.1");
    let done = Client::of(psftp).finish().await.expect(0);
    assert!(done.text().contains("there"), "{done:?}");
    assert!(fs::read(back).expect("the file") == data, "the file differs");
}
