//! The checks of this machine: the configuration and its files, the host keys, and the limit of open files.

use crate::app::offline_checks::{offline_faults, offline_warnings, unusable_places};
use crate::config::{Config, LoginLimits, SshConfig};
use crate::descriptors::{self, DescriptorShares};
use crate::ssh::host_key_fingerprints;
use crate::types::{Diagnosis, DoctorCheck, RunningCheck};
use std::path::Path;

const CORRECT: &str = "correct this key or file (docs/configuration.md); podgate --check-config tells the same";
const NO_EFFECT: &str = "remove this key, or see docs/migration.md for what replaces it";

/// Loads a configuration and examines it. Blocks; must be called within the runtime. The configuration is `None` if nothing
/// can be done with it; the last value is false if it is not valid.
pub(super) fn configuration(file: &Path) -> (Option<Config>, Vec<Diagnosis>, bool) {
    let shown = file.display().to_string();
    let running = RunningCheck::begin(DoctorCheck::Configuration, shown.as_str());
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(errors) => {
            let told =
                |error: &crate::schema::ConfigError| check_of(&error.path, &running).failed(error.to_string(), CORRECT);
            return (None, errors.0.iter().map(told).collect(), false);
        }
    };
    let faults = offline_faults(&config).into_iter().chain(unusable_places(&config)).map(|fault| fault.to_string());
    let mut checks: Vec<Diagnosis> = faults.map(|fault| check_of(&fault, &running).failed(&fault, CORRECT)).collect();
    let strict = config.strict.iter();
    checks.extend(strict.map(|mistake| check_of(&mistake.path, &running).failed(mistake.to_string(), CORRECT)));
    let is_valid = checks.is_empty();
    checks.extend(config.notices.iter().map(|notice| {
        let fix = if notice.warn { CORRECT } else { NO_EFFECT };
        check_of(&notice.path, &running).warning(format!("{}: {}", notice.path, notice.text), fix)
    }));
    let warnings = offline_warnings(&config).into_iter();
    checks.extend(warnings.map(|(key, fault)| check_of(&key, &running).warning(format!("{key}: {fault}"), CORRECT)));
    if checks.iter().all(|check| check.check != DoctorCheck::Configuration) {
        checks.insert(0, running.ok("the configuration is valid"));
    }
    checks.extend(host_keys(&config.ssh));
    (Some(config), checks, is_valid)
}

/// The check that a key of the configuration belongs to.
fn check_of(path: &str, running: &RunningCheck) -> RunningCheck {
    if path.starts_with("ssh.hostkey") {
        RunningCheck::begin(DoctorCheck::HostKeys, "ssh.hostkeys")
    } else {
        running.clone()
    }
}

fn host_keys(ssh: &SshConfig) -> Vec<Diagnosis> {
    let running = RunningCheck::begin(DoctorCheck::HostKeys, "ssh.hostkeys");
    let keys = host_key_fingerprints(ssh);
    if keys.is_empty() && ssh.host_key_directory.is_some() {
        return vec![running.ok("the first start makes the host keys in ssh.hostkeyDirectory")];
    }
    keys.iter().map(|key| running.ok(format!("the host key {key} can be used"))).collect()
}

/// Compares the limit of open files with what the configured limits take.
pub(super) fn descriptors(login: &LoginLimits) -> Diagnosis {
    let running = RunningCheck::begin(DoctorCheck::Descriptors, "open files");
    let limit = descriptors::raise().now;
    let DescriptorShares { startups, calls, .. } = DescriptorShares::of(limit);
    let (full, asked) = (login.throttle.max_startups.full, login.webhook_calls);
    let fix = "raise the hard limit (LimitNOFILE= of the systemd unit, or the container runtime's default), or lower these keys";
    if startups < full {
        let text = format!(
            "the limit of this process is {limit}: {startups} clients can log in at once, and ssh.maxStartups is {full}"
        );
        return running.warning(text, fix);
    }
    if calls < asked {
        let text = format!(
            "the limit of this process is {limit}: {calls} webhook calls can be open at once, and ssh.maxWebhookCalls is {asked}"
        );
        return running.warning(text, fix);
    }
    running.ok(format!("the limit of this process is {limit}, enough for ssh.maxStartups and ssh.maxWebhookCalls"))
}
