//! Addresses that servers listen on.

use crate::schema::Section;
use serde_json::Value;

/// Reads the address that a server listens on; `None` was reported.
pub(super) fn listen(section: &Section<'_>) -> Option<String> {
    let text = section.text("listen")?;
    let full = host_port(text);
    if is_host_port(&full) {
        return Some(full);
    }
    let default = section.default("listen").and_then(Value::as_str).unwrap_or_default();
    section.error("listen", format!("must be host:port, for example \"{default}\" or \"[::]:2222\""));
    None
}

/// Completes an address: Go's ":2222" is every address of both families.
pub(super) fn host_port(text: &str) -> String {
    if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() }
}

/// True for an address and a port.
pub(super) fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    digits && port.parse::<u16>().is_ok() && !host.contains('/') && url::Host::parse(host).is_ok()
}
