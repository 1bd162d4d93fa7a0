//! The checks of this machine: the configuration and its files, the host keys, the addresses of the SSH server, and the limit
//! of open files.

use super::CLIENT_VERSION;
use crate::app::offline_checks::{offline_faults, offline_warnings, unusable_places};
use crate::config::{Config, ListenAddress, LoginLimits, SshConfig};
use crate::descriptors::{self, DescriptorShares};
use crate::ssh::host_key_fingerprints;
use crate::types::{Diagnosis, DoctorCheck, RunningCheck, printable};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

const CORRECT: &str = "correct this key or file (docs/configuration.md); podgate --check-config tells the same";
const NO_EFFECT: &str = "remove this key, or see docs/migration.md for what replaces it";
/// Limit of a listener's answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Limit of a first line, in bytes (RFC 4253 section 4.2).
const FIRST_LINE: u64 = 255;

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

/// Looks who listens on the addresses of the SSH server. A free one is bound for a moment, not listened on, so that a gateway
/// which starts meanwhile gets it.
pub(super) async fn listeners(ssh: &SshConfig) -> Vec<Diagnosis> {
    let mut checks = Vec::new();
    for listener in &ssh.listeners {
        let running = RunningCheck::begin(DoctorCheck::Listeners, listener.key.as_str());
        checks.push(match &listener.address {
            ListenAddress::Passed(_) => {
                let fix = "nothing is to be done; systemctl status tells of the socket unit";
                running.skipped(format!("systemd passes the socket {}", listener.address), fix)
            }
            ListenAddress::Bind(address) => address_check(&running, &listener.key, address, &ssh.server_version).await,
        });
    }
    checks
}

async fn address_check(running: &RunningCheck, key: &str, address: &str, version: &str) -> Diagnosis {
    const OTHER: &str = "end the other process, or choose another port";
    let found = timeout(ANSWER, lookup_host(address)).await;
    let found = found.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
    let addresses: Vec<SocketAddr> = match found {
        Ok(found) => found.collect(),
        Err(error) => return running.failed(format!("{key}: cannot listen on {address}: {error}"), OTHER),
    };
    for bound in addresses {
        let Err(error) = bind(bound) else { continue };
        if error.kind() == io::ErrorKind::AddrInUse
            && let Some(line) = first_line(bound).await
        {
            if line == version {
                return running.ok(format!("a gateway listens on {address}"));
            }
            if line.starts_with(REFUSAL) {
                let fix = "connect through the load balancer; if its clients read this, too, add its address to \
                           trustedProxies, and have it send the PROXY header";
                return running.skipped(line, fix);
            }
        }
        let fix = if error.kind() == io::ErrorKind::PermissionDenied {
            "choose a port from 1024 on, or give the gateway CAP_NET_BIND_SERVICE"
        } else {
            OTHER
        };
        return running.failed(format!("{key}: cannot listen on {address}: {error}"), fix);
    }
    running.ok(format!("{address} is free: no gateway runs there now"))
}

/// The beginning of what a gateway sends to a client that it does not serve.
const REFUSAL: &str = "Not allowed at this time";

fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// The first line of who listens there, without its end.
async fn first_line(address: SocketAddr) -> Option<String> {
    let reached = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        ip if ip.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
        _ => Ipv6Addr::LOCALHOST.into(),
    };
    let read = async {
        let mut stream = TcpStream::connect((reached, address.port())).await?;
        // A gateway that waits for a PROXY header says so once it sees that this is none.
        stream.write_all(format!("{CLIENT_VERSION}\r\n").as_bytes()).await?;
        let mut stream = BufReader::new(stream.take(FIRST_LINE));
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await?;
        io::Result::Ok(line)
    };
    let line = timeout(ANSWER, read).await.ok()?.ok()?;
    let line = printable(&String::from_utf8_lossy(&line), 255);
    (!line.is_empty()).then_some(line)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CheckResult;
    use tokio::net::TcpListener;

    #[podgate_test::multi_thread]
    async fn address_of_another_process_fails_and_that_of_a_gateway_does_not() {
        for (line, result, detail) in [
            ("", CheckResult::Failed, "k: cannot listen on "),
            ("SSH-2.0-OpenSSH_9.6\r\n", CheckResult::Failed, "k: cannot listen on "),
            ("SSH-2.0-Ours\r\n", CheckResult::Ok, "a gateway listens on "),
            ("Not allowed at this time: x\r\n", CheckResult::Skipped, "Not allowed at this time: x"),
        ] {
            let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = other.local_addr().unwrap().to_string();
            let serve = async {
                let (mut client, _) = other.accept().await.unwrap();
                client.write_all(line.as_bytes()).await.unwrap();
            };
            let running = RunningCheck::begin(DoctorCheck::Listeners, "k");
            let (check, ()) = tokio::join!(address_check(&running, "k", &address, "SSH-2.0-Ours"), serve);
            assert_eq!(check.result, result, "{check:?}");
            assert!(check.detail.starts_with(detail), "{check:?}");
            drop(other);
            let check = address_check(&running, "k", &address, "SSH-2.0-Ours").await;
            assert_eq!(check.result, CheckResult::Ok, "{check:?}");
        }
    }
}
