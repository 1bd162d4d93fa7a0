//! `ssh.listen` and `ssh.listeners`: where the SSH server listens, and whom it believes there.

use super::address::{host_port, is_host_port};
use super::login_limits::networks;
use crate::proxy_protocol::ProxyProtocol;
use crate::schema::Section;
use crate::types::{printable, quoted};
use ipnet::IpNet;
use std::fmt;

/// A listener of the SSH server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// The path of its address in the file.
    pub(crate) key: String,
    /// `address`.
    pub(crate) address: ListenAddress,
    /// `proxyProtocol` and `trustedProxies`.
    pub(crate) proxy: ProxyProtocol,
}

/// The address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    /// `host:port`.
    Bind(String),
    /// `fd://NAME`: the sockets that systemd passes with this name (`FileDescriptorName=`); `None` for `fd://`, those that no
    /// other listener names.
    Passed(Option<String>),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address) => f.write_str(address),
            Self::Passed(name) => write!(f, "fd://{}", name.as_deref().unwrap_or_default()),
        }
    }
}

/// The beginning of an address that stands for passed sockets.
const PASSED: &str = "fd://";
/// The limit of a passed socket's name in characters, as of systemd.
const NAME_MAX: usize = 255;

#[derive(Clone, Copy)]
enum Mode {
    Off,
    Allowed,
    Required,
}

/// Reads both keys; `None` was reported.
pub(super) fn read(ssh: &Section<'_>) -> Option<Vec<ListenerConfig>> {
    let sections = ssh.sections("listeners");
    if sections.is_empty() {
        let address = address(ssh, "listen", ssh.text("listen")?)?;
        return Some(vec![ListenerConfig { key: ssh.path("listen"), address, proxy: ProxyProtocol::Off }]);
    }
    if ssh.written("listen").is_some_and(|listen| listen.as_str() != Some("")) {
        ssh.error("listen", "has no effect beside ssh.listeners; make it an address there, or remove it");
    }
    let listeners: Vec<_> = sections.iter().map(listener).collect();
    let listeners = listeners.into_iter().collect::<Option<Vec<_>>>()?;
    for (index, listener) in listeners.iter().enumerate() {
        let has_port_0 = listener.address.to_string().ends_with(":0");
        let earlier = listeners.iter().take(index).find(|earlier| earlier.address == listener.address && !has_port_0);
        if let (Some(earlier), Some(section)) = (earlier, sections.get(index)) {
            section.error("address", format!("is the same as {}", earlier.key));
        }
    }
    Some(listeners)
}

fn listener(section: &Section<'_>) -> Option<ListenerConfig> {
    let Some(text) = section.text("address") else {
        section.error("address", "is missing; write host:port, for example \"0.0.0.0:2222\"");
        return None;
    };
    let address = address(section, "address", text);
    let proxy = proxy(section);
    Some(ListenerConfig { key: section.path("address"), address: address?, proxy: proxy? })
}

fn address(section: &Section<'_>, key: &str, text: &str) -> Option<ListenAddress> {
    if let Some(name) = text.strip_prefix(PASSED) {
        // What systemd lets a name be.
        let is_plain = name.chars().all(|c| c.is_ascii_graphic() && c != ':');
        if name.len() <= NAME_MAX && is_plain {
            return Some(ListenAddress::Passed((!name.is_empty()).then(|| name.to_owned())));
        }
        section.error(key, format!("{} is not fd:// and the name of a socket", quoted(&printable(text, 64))));
        return None;
    }
    let full = host_port(text);
    if is_host_port(&full) {
        return Some(ListenAddress::Bind(full));
    }
    section.error(key, "must be host:port, for example \"0.0.0.0:2222\" or \"[::]:2222\"");
    None
}

fn proxy(section: &Section<'_>) -> Option<ProxyProtocol> {
    let words = [("off", Mode::Off), ("allowed", Mode::Allowed), ("required", Mode::Required)];
    let mode = match section.text("proxyProtocol") {
        Some(_) => section.choice("proxyProtocol", &words),
        None => Some(Mode::Off),
    };
    let trusted = match section.value("trustedProxies") {
        Some(_) => networks(section, "trustedProxies"),
        None => Some(Vec::new()),
    };
    let (mode, trusted) = (mode?, trusted?);
    // Halves of the world are the world, too.
    if IpNet::aggregate(&trusted).iter().any(|network| network.prefix_len() == 0) {
        let text = "trusts every address: each client that reaches this port can say that it comes from anywhere";
        section.warning("trustedProxies", text);
    }
    match (mode, trusted.is_empty()) {
        (Mode::Off, true) => Some(ProxyProtocol::Off),
        (Mode::Off, false) => {
            section.error("trustedProxies", "has no effect without proxyProtocol: allowed or required");
            None
        }
        (Mode::Allowed | Mode::Required, true) => {
            let text = "is missing; write the addresses or networks of the load balancers, whose headers are believed";
            section.error("trustedProxies", text);
            None
        }
        (Mode::Allowed, false) => Some(ProxyProtocol::Allowed(trusted)),
        (Mode::Required, false) => Some(ProxyProtocol::Required(trusted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::{has, load, minimal, set, with};
    use serde_json::{Value, json};

    fn listeners(value: Value) -> Result<Vec<ListenerConfig>, crate::schema::Errors> {
        with("ssh.listeners", value).map(|config| config.ssh.listeners)
    }

    #[test]
    fn listeners_that_mean_nothing_are_errors() {
        let one = |changes: Value| {
            let mut listener = json!({"address": "[::]:2222"});
            crate::schema::merge(listener.as_object_mut().unwrap(), changes.as_object().unwrap().clone());
            json!([listener])
        };
        let trusted = json!(["10.0.0.0/8"]);
        for (value, path, part) in [
            (json!("[::]:2222"), "ssh.listeners", "must be a list of mappings"),
            (json!(["[::]:2222"]), "ssh.listeners[0]", "must be a mapping"),
            (json!([{}]), "ssh.listeners[0].address", "is missing"),
            (json!([{"address": "2222"}]), "ssh.listeners[0].address", "must be host:port"),
            (json!([{"address": "fd://a:b"}]), "ssh.listeners[0].address", "\"fd://a:b\""),
            (json!([{"address": "fd://\u{e9}"}]), "ssh.listeners[0].address", "fd://"),
            (
                json!([{"address": ":2222"}, {"address": "0.0.0.0:22"}, {"address": "[::]:2222"}]),
                "ssh.listeners[2].address",
                "the same as ssh.listeners[0].address",
            ),
            (
                json!([{"address": "fd://ssh"}, {"address": "fd://ssh"}]),
                "ssh.listeners[1].address",
                "the same as ssh.listeners[0].address",
            ),
            (one(json!({"proxyProtocol": "v2"})), "ssh.listeners[0].proxyProtocol", "off, allowed, required"),
            (one(json!({"proxyProtocol": "required"})), "ssh.listeners[0].trustedProxies", "is missing"),
            (
                one(json!({"proxyProtocol": "allowed", "trustedProxies": []})),
                "ssh.listeners[0].trustedProxies",
                "missing",
            ),
            (one(json!({"trustedProxies": trusted})), "ssh.listeners[0].trustedProxies", "has no effect without"),
            (
                one(json!({"proxyProtocol": "required", "trustedProxies": ["10.0.0.1", "balancer"]})),
                "ssh.listeners[0].trustedProxies[1]",
                "not an address or a network",
            ),
            (one(json!({"proxyprotocol": "off"})), "ssh.listeners[0].proxyprotocol", "did you mean \"proxyProtocol\"?"),
        ] {
            let errors = listeners(value.clone()).expect_err(path);
            assert!(has(&errors, path, part), "{value}: {errors}");
        }
        let both = set(set(minimal(), "ssh.listeners", one(json!({}))), "ssh.listen", json!("0.0.0.0:2222"));
        assert!(has(&load(&both).expect_err("both"), "ssh.listen", "beside ssh.listeners"));
    }

    #[test]
    fn listeners_are_taken_as_written() {
        let bind = |address: &str| ListenAddress::Bind(address.to_owned());
        let passed = |name: Option<&str>| ListenAddress::Passed(name.map(str::to_owned));
        let networks = ["10.0.0.0/8", "2001:db8::1/128"].map(|network| network.parse().unwrap()).to_vec();
        let read = listeners(json!([
            {"address": "0.0.0.0:2222"},
            {"address": ":2222", "proxyProtocol": "off", "trustedProxies": []},
            {"address": "fd://", "proxyProtocol": "allowed", "trustedProxies": ["10.0.0.0/8", "2001:db8::1"]},
            {"address": "fd://ssh", "proxyProtocol": "required", "trustedProxies": ["10.0.0.0/8", "2001:db8::1"]},
            {"address": "127.0.0.1:0"},
            {"address": "127.0.0.1:0"},
        ]));
        let read = read.expect("listeners");
        for (index, (address, proxy)) in [
            (bind("0.0.0.0:2222"), ProxyProtocol::Off),
            (bind("[::]:2222"), ProxyProtocol::Off),
            (passed(None), ProxyProtocol::Allowed(networks.clone())),
            (passed(Some("ssh")), ProxyProtocol::Required(networks)),
            (bind("127.0.0.1:0"), ProxyProtocol::Off),
            (bind("127.0.0.1:0"), ProxyProtocol::Off),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(read[index], ListenerConfig { key: format!("ssh.listeners[{index}].address"), address, proxy });
        }
        assert_eq!(with("ssh.listen", json!("fd://")).expect("fd").ssh.listeners[0].address, passed(None));
        let one = |config: &crate::config::Config| config.ssh.listeners[0].address.to_string();
        assert_eq!(one(&with("ssh.listeners", json!([])).expect("an empty list is unset")), "0.0.0.0:2222");
        let both = set(set(minimal(), "ssh.listeners", json!([{"address": "[::1]:22"}])), "ssh.listen", json!(""));
        assert_eq!(one(&load(&both).expect("an empty text is unset")), "[::1]:22");
    }

    #[test]
    fn trust_in_every_address_is_a_warning() {
        for everyone in [json!(["0.0.0.0/0"]), json!(["::/0"]), json!(["0.0.0.0/1", "10.0.0.0/8", "128.0.0.0/1"])] {
            let listener = json!([{"address": ":22", "proxyProtocol": "required", "trustedProxies": everyone}]);
            let config = with("ssh.listeners", listener).expect("loads");
            let warned =
                |notice: &crate::schema::Notice| notice.warn && notice.path == "ssh.listeners[0].trustedProxies";
            assert!(config.notices.iter().any(warned), "{:?}", config.notices);
        }
    }
}
