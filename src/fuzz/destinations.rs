//! Entries of `security.forwarding.allow` and `deny`, and the requests that they decide.

use crate::policy::{DestinationEntry, Destinations, Dial, Forwarding, Listen, PolicyRequest, RuleMode, Rules};

/// An entry, a host or path and a port, in lines.
pub(super) fn destinations(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let (entry, target) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default().to_owned());
    let port = lines.next().and_then(|port| port.parse().ok()).unwrap_or(80);
    let Ok(entry) = entry.parse::<DestinationEntry>() else { return };
    let shown = entry.to_string();
    assert_eq!(shown.parse().as_ref(), Ok(&entry), "{shown}");
    let requests = Requests { target, port };
    let allowed = requests.passing(Destinations::new(vec![entry.clone()], Vec::new()));
    let denied = requests.passing(Destinations::new(Vec::new(), vec![entry.clone()]));
    let both = requests.passing(Destinations::new(vec![entry.clone()], vec![entry]));
    for (allowed, denied) in allowed.into_iter().zip(denied) {
        assert!(!(allowed && denied), "{shown} allows and does not deny {:?}", requests.target);
    }
    assert!(!both.contains(&true), "{shown} denied and allowed lets {:?} pass", requests.target);
}

/// The same target in a request of every kind.
struct Requests {
    target: String,
    port: u16,
}

impl Requests {
    fn passing(&self, destinations: Destinations) -> [bool; 4] {
        let on = RuleMode::Enable;
        let forwarding = Forwarding {
            reverse: on,
            direct: on,
            socket: on,
            socket_listen: on,
            destinations,
            ..Forwarding::default()
        };
        let rules = Rules { forwarding, ..Rules::default() };
        let (host, path, port) = (|| self.target.clone(), || self.target.clone(), self.port);
        [
            passes(&rules, Dial::Tcp { host: host(), port }),
            passes(&rules, Dial::Unix { path: path() }),
            passes(&rules, Listen::Tcp { host: host(), port }),
            passes(&rules, Listen::Unix { path: path() }),
        ]
    }
}

fn passes<R: PolicyRequest>(rules: &Rules, request: R) -> bool {
    rules.decide(request).is_ok()
}
