//! The files in their directory, with other gateways, other modes and other owners.

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;
use std::{process, thread};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The keys that are there, all of which can be used.
fn keys(directory: &Path) -> Vec<PrivateKey> {
    existing(directory).into_iter().map(Result::unwrap).collect()
}

#[test]
fn key_that_others_can_use_and_what_is_no_key_are_refused_and_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ssh_host_ed25519_key");
    make(&path, KeyType::Ed25519).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o660] {
        set_mode(&path, mode);
        let refused = make_missing(folder.path());
        assert!(matches!(refused, Err(HostKeyFileError::Exposed { mode: found, .. }) if found == mode), "{mode:o}");
    }
    assert_eq!(existing(folder.path()).len(), 1, "no other key was made");
    fs::write(&path, "no key").unwrap();
    set_mode(&path, 0o600);
    assert!(matches!(make_missing(folder.path()), Err(HostKeyFileError::Content { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "no key");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(make_missing(folder.path()), Err(HostKeyFileError::NoFile(_))));
    fs::remove_dir(&path).unwrap();
    assert!(process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(matches!(make_missing(folder.path()), Err(HostKeyFileError::NoFile(_))));
}

#[test]
fn draft_of_a_gateway_that_crashed_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let old = std::time::SystemTime::now() - 2 * ABANDONED;
    let abandoned = ["ssh_host_ed25519_key.0123456789abcdef", "ssh_host_rsa_key.ffffffffffffffff"];
    let kept = [
        "ssh_host_ed25519_key.0123456789abcde",
        "ssh_host_ed25519_key.0123456789ABCDEF",
        "ssh_host_ed25519_key.0123456789abcdef0",
        "ssh_host_dsa_key.0123456789abcdef",
        "ssh_host_ed25519_key.backup-2026-11-30",
    ];
    for name in abandoned.iter().chain(&kept) {
        File::create(folder.path().join(name)).unwrap().set_modified(old).unwrap();
    }
    let written_now = folder.path().join("ssh_host_rsa_key.0000000000000000");
    File::create(&written_now).unwrap();
    let made = make_missing(folder.path()).unwrap();
    assert_eq!(made.len(), 2);
    assert!(abandoned.iter().all(|name| !folder.path().join(name).exists()));
    assert!(kept.iter().all(|name| folder.path().join(name).exists()));
    assert!(written_now.exists(), "that of a gateway that starts now");
}

#[test]
fn key_of_another_user_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ssh_host_ed25519_key");
    make(&path, KeyType::Ed25519).unwrap();
    // Without the right to give files away there is nothing to see.
    if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
        let refused = read(&path);
        assert!(matches!(refused, Err(HostKeyFileError::Owner { owner: 12_345, .. })), "{refused:?}");
    }
}

#[test]
fn directory_that_others_can_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o777, 0o1777, 0o702] {
        set_mode(folder.path(), mode);
        let refused = make_missing(folder.path());
        assert!(
            matches!(refused, Err(HostKeyFileError::OpenDirectory { mode: found, .. }) if found == mode),
            "{mode:o}"
        );
    }
    let below = folder.path().join("no/such");
    for refused in [make_missing(&below).err(), fault(&below)] {
        let told = refused.expect("there is nothing to make it in").to_string();
        let parent = folder.path().join("no");
        assert!(told.contains(&format!("the directory {parent:?} is not there; make it")), "{told}");
    }
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(make_missing(&file).is_err());
}

#[test]
fn keys_are_made_once_for_their_user_alone_and_one_that_is_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("keys");
    assert_eq!(existing(&directory).len(), 0);
    let made = make_missing(&directory).unwrap();
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o700);
    let kinds = ["ssh-ed25519", "ssh-rsa"];
    assert_eq!(made.iter().map(|(_, key)| key.algorithm().to_string()).collect::<Vec<_>>(), kinds);
    let rsa = made[1].1.public_key().key_data().rsa().unwrap().key_size();
    assert_eq!(rsa, 3072);
    for (path, key) in &made {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o600);
        let public = PathBuf::from(format!("{}.pub", path.display()));
        let text = fs::read_to_string(&public).unwrap();
        assert_eq!(text.trim(), key.public_key().to_openssh().unwrap().trim());
        assert_eq!(fs::metadata(&public).unwrap().mode() & 0o7077, 0o044);
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 4, "no draft stays");
    let before = keys(&directory);
    assert_eq!(make_missing(&directory).unwrap().len(), 0);
    fs::remove_file(&made[1].0).unwrap();
    let again = make_missing(&directory).unwrap();
    assert_eq!(again.len(), 1, "the missing one alone");
    let after = keys(&directory);
    assert_eq!(after[0].public_key(), before[0].public_key());
    assert_ne!(after[1].public_key(), before[1].public_key());
    let ecdsa = directory.join("ssh_host_ecdsa_key");
    let generate = ["-q", "-t", "ecdsa", "-N", "", "-f"];
    assert!(process::Command::new("ssh-keygen").args(generate).arg(&ecdsa).status().unwrap().success());
    assert_eq!(make_missing(&directory).unwrap().len(), 0);
    assert_eq!(keys(&directory).len(), 3, "a key that was put there is used");
}

#[test]
fn gateways_that_start_at_once_have_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ssh_host_ed25519_key");
    let barrier = Barrier::new(8);
    let made = thread::scope(|scope| {
        let start = || {
            barrier.wait();
            let made = make(&path, KeyType::Ed25519).unwrap().is_some();
            (made, read(&path).unwrap().unwrap())
        };
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(made.iter().filter(|(made, _)| *made).count(), 1, "one gateway's key");
    assert!(made.iter().all(|(_, key)| key.public_key() == made[0].1.public_key()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no draft stays");
}
