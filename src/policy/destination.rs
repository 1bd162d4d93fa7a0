//! `security.forwarding.allow` and `deny`: the destinations of connections and the addresses of listeners. Pure.
//!
//! A request that an entry of `deny` may concern is denied; with entries in `allow`, only what one of them certainly
//! concerns passes. The guest resolves names, after the decision: an entry with addresses never allows a name, and one in
//! `deny` denies every name that no entry of `allow` names.

mod entry;
mod pattern;
mod target;

pub(crate) use entry::DestinationEntry;
use entry::{EntryHost, TcpEntry};
use pattern::PathPattern;
use target::{BindTarget, DialTarget, is_plain_path};

/// A kind of forwarding that has destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DestinationKind {
    /// Connections to hosts.
    Dial,
    /// Listeners at addresses.
    Listener,
    /// Connections to Unix sockets.
    Socket,
    /// Listeners at Unix sockets.
    SocketListener,
}

/// The two lists, sorted by what they are about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Destinations {
    allow: DestinationList,
    deny: DestinationList,
}

/// The entries of one list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct DestinationList {
    dials: Vec<TcpEntry>,
    listeners: Vec<TcpEntry>,
    sockets: Vec<PathPattern>,
    socket_listeners: Vec<PathPattern>,
}

impl DestinationList {
    fn new(entries: Vec<DestinationEntry>) -> Self {
        let mut list = Self::default();
        for entry in entries {
            match entry {
                DestinationEntry::Dial(entry) => list.dials.push(entry),
                DestinationEntry::Listen(entry) => list.listeners.push(entry),
                DestinationEntry::DialSocket(path) => list.sockets.push(path),
                DestinationEntry::ListenSocket(path) => list.socket_listeners.push(path),
            }
        }
        list
    }

    /// The entries of a kind, as they are written, with commas between them; empty without one.
    fn shown(&self, kind: DestinationKind) -> String {
        let shown: Vec<String> = match kind {
            DestinationKind::Dial => self.dials.iter().map(ToString::to_string).collect(),
            DestinationKind::Listener => self.listeners.iter().map(ToString::to_string).collect(),
            DestinationKind::Socket => self.sockets.iter().map(ToString::to_string).collect(),
            DestinationKind::SocketListener => self.socket_listeners.iter().map(ToString::to_string).collect(),
        };
        shown.join(", ")
    }

    fn is_empty(&self) -> bool {
        self.dials.is_empty()
            && self.listeners.is_empty()
            && self.sockets.is_empty()
            && self.socket_listeners.is_empty()
    }
}

impl Destinations {
    /// The lists with these entries.
    pub(crate) fn new(allow: Vec<DestinationEntry>, deny: Vec<DestinationEntry>) -> Self {
        Self { allow: DestinationList::new(allow), deny: DestinationList::new(deny) }
    }

    /// True if no list has an entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// True if the list `allow` has an entry, of whatever kind: what it does not list is denied.
    pub(crate) fn has_allow(&self) -> bool {
        !self.allow.is_empty()
    }

    /// Describes the destinations of a kind that may pass; `None` if none does.
    pub(crate) fn shown(&self, kind: DestinationKind) -> Option<String> {
        let (allowed, denied) = (self.allow.shown(kind), self.deny.shown(kind));
        let but = if denied.is_empty() { denied } else { format!(" but {denied}") };
        match (self.has_allow(), allowed.is_empty()) {
            (false, _) => Some(format!("any{but}")),
            (true, false) => Some(format!("only {allowed}{but}")),
            (true, true) => None,
        }
    }

    /// True if a connection to this host and port passes.
    pub(super) fn passes_dial(&self, host: &str, port: u16) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some(target) = DialTarget::parse(host) else { return false };
        let at_port = |entry: &&TcpEntry| entry.ports.contains(&port);
        let is_named = self.allow.dials.iter().filter(at_port).any(|entry| target.is_named_by(&entry.host));
        let is_denied = self.deny.dials.iter().filter(at_port).any(|entry| match (&entry.host, &target) {
            (EntryHost::Any, _) => true,
            (EntryHost::Network(network), target) => match target.possible_addresses() {
                Some(addresses) => addresses.iter().any(|address| network.contains(address)),
                None => !is_named,
            },
            (EntryHost::Name(pattern), target) => target.may_be_named(pattern),
        });
        let is_allowed = |entry: &TcpEntry| match (&entry.host, &target) {
            (EntryHost::Any, _) => true,
            (EntryHost::Network(network), DialTarget::Address(address)) => network.contains(address),
            (EntryHost::Network(_), DialTarget::Name(_)) => false,
            (host @ EntryHost::Name(_), target) => target.is_named_by(host),
        };
        !is_denied && (!self.has_allow() || self.allow.dials.iter().filter(at_port).any(is_allowed))
    }

    /// True if a listener at this address and port passes; port 0 is one that the guest's system chooses.
    pub(super) fn passes_listen(&self, host: &str, port: u16) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some(target) = BindTarget::parse(host) else { return false };
        let is_denied = |entry: &TcpEntry| entry.may_have_port(port) && target.may_bind(&entry.host);
        let is_allowed = |entry: &TcpEntry| {
            let is_port = if port == 0 { entry.has_every_port() } else { entry.ports.contains(&port) };
            is_port && target.is_within(&entry.host)
        };
        !self.deny.listeners.iter().any(is_denied) && (!self.has_allow() || self.allow.listeners.iter().any(is_allowed))
    }

    /// True if a connection to this Unix socket passes.
    pub(super) fn passes_socket(&self, path: &str) -> bool {
        self.passes_path(path, &self.allow.sockets, &self.deny.sockets)
    }

    /// True if a listener at this Unix socket passes.
    pub(super) fn passes_socket_listen(&self, path: &str) -> bool {
        self.passes_path(path, &self.allow.socket_listeners, &self.deny.socket_listeners)
    }

    fn passes_path(&self, path: &str, allow: &[PathPattern], deny: &[PathPattern]) -> bool {
        // A path with `..` in it, or one that is relative, has more than one spelling.
        let is_comparable = self.is_empty() || is_plain_path(path);
        let listed = |patterns: &[PathPattern]| patterns.iter().any(|pattern| pattern.matches(path));
        is_comparable && !listed(deny) && (!self.has_allow() || listed(allow))
    }
}

#[cfg(test)]
mod tests;
