//! `ssh`: the server, its keys and its algorithms.

use super::algorithms::{self, CIPHERS, Cipher, KEX, Kex, MACS, Mac, PUBKEYS, PubkeyAlgorithm};
use super::listeners::{self, ListenerConfig};
use super::login_limits::{self, LoginLimits};
use crate::schema::{Files, Section, pem};
use crate::types::Secret;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NO_HOST_KEY: &str = "is empty; make a host key with `ssh-keygen -t ed25519 -N '' -f /etc/podgate/ssh_host_ed25519_key` \
                           and name it: [/etc/podgate/ssh_host_ed25519_key]; or set ssh.hostkeyDirectory to a directory \
                           that stays, where the gateway makes its own";

const TWO_PLACES: &str = "stands beside ssh.hostkeys, and the host keys come from one of the two; to keep a key, remove \
                          ssh.hostkeys and copy the file into the directory as ssh_host_ed25519_key, ssh_host_ecdsa_key or \
                          ssh_host_rsa_key";

/// `ssh`.
#[derive(Debug, Clone)]
pub struct SshConfig {
    /// `listen` or `listeners`; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// `proxyHeaderTimeout`.
    pub proxy_header_timeout: Duration,
    /// `serverVersion`, sent verbatim.
    pub server_version: String,
    /// `banner`.
    pub banner: Option<String>,
    /// `hostkeys`: private keys in PEM, read; at least one without a directory.
    pub host_keys: Vec<HostKey>,
    /// `hostkeyDirectory`, where the gateway makes its keys; not beside others.
    pub host_key_directory: Option<PathBuf>,
    /// `hostCertificates`, for some of the host keys.
    pub host_certificates: Vec<PublicText>,
    /// `trustedUserCAKeys`: the keys whose certificates log users in.
    pub trusted_user_ca_keys: Vec<PublicText>,
    /// `revokedKeys`: a file that is read when it is needed.
    pub revoked_keys: Option<PathBuf>,
    /// `ciphers`, ours by default.
    pub ciphers: Vec<Cipher>,
    /// Those of them for a client of OpenSSH's.
    pub openssh_ciphers: Vec<Cipher>,
    /// `kex`, ours by default.
    pub kex: Vec<Kex>,
    /// `macs`, ours by default.
    pub macs: Vec<Mac>,
    /// `pubkeyAcceptedAlgorithms` of users' keys, all by default.
    pub accepted_algorithms: Vec<PubkeyAlgorithm>,
    /// `requiredRSASize`, in bits.
    pub required_rsa_size: usize,
    /// `clientAliveInterval`.
    pub client_alive_interval: Option<Duration>,
    /// `clientAliveCountMax`.
    pub client_alive_count_max: u32,
    /// `maxQueued`: the bytes of all clients that programs have not taken; `None` is a part of the memory.
    pub max_queued: Option<usize>,
    /// The limits of clients before their login.
    pub login: LoginLimits,
}

/// A host key: where the file names it (for messages), and its PEM text.
#[derive(Debug, Clone)]
pub struct HostKey {
    /// The key's path in the file, and the file it came from.
    pub origin: String,
    /// The PEM text.
    pub pem: Secret,
}

/// A public key or a certificate: where the file names it (for messages), and its line of text.
#[derive(Debug, Clone)]
pub struct PublicText {
    /// The key's path in the file, and the file it came from.
    pub origin: String,
    /// The line, as ssh-keygen writes it.
    pub text: String,
}

/// Reads the section; `None` was reported.
pub(super) fn read(section: &Section<'_>, files: &dyn Files) -> Option<SshConfig> {
    let listeners = listeners::read(section);
    let proxy_header_timeout = section.duration("proxyHeaderTimeout");
    let server_version = server_version(section);
    let ciphers = CIPHERS.read(section);
    let kex = KEX.read(section);
    let macs = MACS.read(section);
    let accepted_algorithms = PUBKEYS.read(section);
    let banner = section.text("banner").map(str::to_owned);
    let host_key_directory = section.text("hostkeyDirectory").map(PathBuf::from);
    let host_keys = host_keys(section, host_key_directory.is_some(), files);
    let host_certificates = public_texts(section, "hostCertificates", files);
    let trusted_user_ca_keys = public_texts(section, "trustedUserCAKeys", files);
    let revoked_keys = section.text("revokedKeys").map(PathBuf::from);
    let interval = section.duration("clientAliveInterval").filter(|interval| !interval.is_zero());
    if interval.is_some_and(|interval| interval < Duration::from_secs(1)) {
        section.error("clientAliveInterval", "must be 0 (off) or at least 1s; a bare number is nanoseconds");
    }
    let count = section.integer("clientAliveCountMax");
    let required_rsa_size = section.integer("requiredRSASize");
    let max_queued = section.byte_size("maxQueued").filter(|bytes| *bytes > 0);
    let login = login_limits::read(section);
    Some(SshConfig {
        listeners: listeners?,
        proxy_header_timeout: proxy_header_timeout?,
        server_version: server_version?,
        banner,
        host_keys: host_keys?,
        host_key_directory,
        host_certificates: host_certificates?,
        trusted_user_ca_keys: trusted_user_ca_keys?,
        revoked_keys,
        openssh_ciphers: algorithms::openssh_ciphers(&ciphers),
        ciphers,
        kex,
        macs,
        accepted_algorithms,
        required_rsa_size: usize::try_from(required_rsa_size?).ok()?,
        client_alive_interval: interval,
        client_alive_count_max: u32::try_from(count?).ok()?,
        max_queued: max_queued.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        login: login?,
    })
}

/// `^SSH-2.0-[!-,.-~]+( [a-zA-Z0-9- _.]+)?$`, at most 253 characters (RFC 4253 section 4.2 less CR LF).
fn server_version(section: &Section<'_>) -> Option<String> {
    let text = section.text("serverVersion")?;
    if is_version(text) {
        return Some(text.to_owned());
    }
    let rule = "must be SSH-2.0-SOFTWARE or \"SSH-2.0-SOFTWARE COMMENT\" of at most 253 characters; no '-' in SOFTWARE, only \
                letters, digits, '-', '_', '.' and spaces in COMMENT";
    section.error("serverVersion", rule);
    None
}

fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("SSH-2.0-").filter(|_| text.len() <= 253) else { return false };
    let (software, comment) =
        rest.split_once(' ').map_or((rest, None), |(software, comment)| (software, Some(comment)));
    let in_comment = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ' ' | '_' | '.');
    !software.is_empty()
        && software.chars().all(|c| c.is_ascii_graphic() && c != '-')
        && comment.is_none_or(|comment| !comment.is_empty() && comment.chars().all(in_comment))
}

/// The lines of a list whose entries are lines themselves, or name files of them. `None` was reported.
fn public_texts(section: &Section<'_>, key: &'static str, files: &dyn Files) -> Option<Vec<PublicText>> {
    let entries = section.texts(key).unwrap_or_default();
    let lines = entries.iter().enumerate().map(|(index, entry)| {
        let path = format!("{key}[{index}]");
        let origin = |file: &str| section.path(&path) + file;
        if entry.contains(' ') && !entry.starts_with(['/', '.']) {
            return Some(vec![PublicText { origin: origin(""), text: entry.trim().to_owned() }]);
        }
        let text = files.read(Path::new(entry)).map_err(|error| section.error(&path, pem::unreadable(entry, &error)));
        let lines: Vec<PublicText> = text
            .ok()?
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| PublicText { origin: origin(&format!(" (file {})", pem::shown(entry))), text: line.to_owned() })
            .collect();
        if lines.is_empty() {
            section.error(&path, format!("the file {} holds nothing", pem::shown(entry)));
        }
        Some(lines)
    });
    let lines: Vec<_> = lines.collect();
    lines.into_iter().collect::<Option<Vec<_>>>().map(|lines| lines.concat())
}

fn host_keys(section: &Section<'_>, has_directory: bool, files: &dyn Files) -> Option<Vec<HostKey>> {
    let values = match section.value("hostkeys") {
        Some(_) => section.texts("hostkeys")?,
        None => Vec::new(),
    };
    match (values.is_empty(), has_directory) {
        (true, true) => return Some(Vec::new()),
        (true, false) => section.error("hostkeys", NO_HOST_KEY),
        (false, true) => section.error("hostkeyDirectory", TWO_PLACES),
        (false, false) => {}
    }
    if values.is_empty() || has_directory {
        return None;
    }
    let keys: Vec<_> =
        values.iter().enumerate().filter_map(|(index, value)| host_key(section, index, value, files)).collect();
    (keys.len() == values.len()).then_some(keys)
}

fn host_key(section: &Section<'_>, index: usize, value: &str, files: &dyn Files) -> Option<HostKey> {
    let key = format!("hostkeys[{index}]");
    if pem::is_inline(value) {
        return private(section, &key, None, value.trim_start().to_owned());
    }
    match files.read(Path::new(value)) {
        Ok(text) => {
            if let Some(warning) = pem::exposed(value, files) {
                section.warning(&key, &warning);
            }
            private(section, &key, Some(value), text)
        }
        Err(error) => {
            let mut text = pem::unreadable(value, &error);
            if error.kind() == ErrorKind::NotFound && is_file_name(value) {
                text.push_str(&format!("; make one with `ssh-keygen -t ed25519 -N '' -f '{value}'`"));
            }
            section.error(&key, text);
            None
        }
    }
}

/// True for a host key's value that can name a new file, and is not a key without its PEM frame, whose base64 has capitals.
fn is_file_name(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c);
    let short = value.len() <= 40 && value.chars().all(plain);
    short || pem::is_path(value) && !value.contains(['\'', '\n'])
}

fn private(section: &Section<'_>, key: &str, file: Option<&str>, text: String) -> Option<HostKey> {
    let origin = file.map_or_else(|| section.path(key), |file| format!("{} ({})", section.path(key), pem::shown(file)));
    let file = file.map_or_else(String::new, |file| format!("the file {} ", pem::shown(file)));
    let classic = text.contains("-----BEGIN ENCRYPTED") || text.contains("Proc-Type: 4,ENCRYPTED");
    if classic || pem::is_encrypted_openssh(&text) {
        let way_out = "a host key has no passphrase (`ssh-keygen -p -N '' -f FILE` removes it)";
        section.error(key, format!("{file}is encrypted; {way_out}"));
        return None;
    }
    if text.trim_start().starts_with("ssh-") || text.trim_start().starts_with("ecdsa-") {
        section.error(key, format!("{file}is a public key; name the private one, which has no .pub"));
        return None;
    }
    if !(text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----")) {
        section.error(key, format!("{file}is not a private key in PEM or OpenSSH format"));
        return None;
    }
    Some(HostKey { origin, pem: Secret::new(text) })
}
