//! The systemd unit of `deploy/systemd`, judged by systemd itself.

use std::process::Command;

/// Limit of the exposure, in tenths, of 100: most units have more than 90. What is left is the network, which is the gateway's work.
const EXPOSURE: u32 = 13;

#[test]
fn unit_leaves_the_gateway_little_that_it_does_not_need() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd/podgate.service");
    let judge = |limit: u32| {
        let words = ["security", "--offline=true", "--no-pager", &format!("--threshold={limit}"), unit];
        Command::new("systemd-analyze").args(words).output()
    };
    let Ok(judged) = judge(EXPOSURE) else {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    };
    let (table, told) = (String::from_utf8_lossy(&judged.stdout), String::from_utf8_lossy(&judged.stderr));
    assert!(judged.status.success(), "{table}{told}");
    // An option or a group of system calls that systemd does not know takes nothing away.
    assert!(!told.contains("nknown"), "{told}");
    // Systemd does judge: nothing is as little exposed as this.
    assert!(!judge(1).is_ok_and(|judged| judged.status.success()));
}
