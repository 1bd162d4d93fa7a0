//! libFuzzer around one of the gateway's targets, which `PODGATE_FUZZ` names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("PODGATE_FUZZ").unwrap_or_default();
    let names: Vec<&str> = podgate::fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    let found = podgate::fuzz::TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("PODGATE_FUZZ must be one of {}", names.join(", "))).1
});

fuzz_target!(|data: &[u8]| TARGET(data));
