//! The events of forwarded connections and of listeners in the guest, and the log line of each.

use super::details::{LineDetails, seconds, unless};
use super::traffic::Traffic;
use crate::guest::{ListenerAddress, Refusal};
use crate::policy::{Dial, Listen};
use crate::telemetry::{Code, Level, codes};
use crate::types::printable;
use std::borrow::Cow;
use std::time::Duration;

/// An event of a forwarded connection or of a listener in the guest.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ForwardEvent<'a> {
    /// The guest is to connect to an address for the client.
    Dialing { target: &'a Dial },
    /// The guest did not connect.
    DialRefused {
        /// The address as people write it.
        target: &'a str,
        /// The type of the channel that the client asked for.
        channel_type: &'static str,
        refusal: &'a Refusal,
    },
    /// A connection that came to a listener is offered to the client.
    ForwardOffered {
        /// The listener as people write it.
        listener: &'a str,
        /// The peer's address as the guest tells it.
        origin: &'a str,
    },
    /// The client did not take a connection that came to a listener.
    ForwardDeclined {
        /// The listener as people write it.
        listener: &'a str,
        reason: &'a str,
    },
    /// A forwarded connection is over.
    ForwardEnded {
        /// The address or the listener as people write it.
        target: &'a str,
        /// The type of its channel.
        channel_type: &'static str,
        /// Set if it was lost with the link to the guest.
        is_lost: bool,
        /// The time since it was open in both directions.
        duration: Duration,
        /// The bytes that the connection carried.
        traffic: Traffic,
    },
    /// A forwarded connection was lost with the link to the guest. The client reads no end of its data.
    ForwardLost {
        /// The address or the listener as people write it.
        target: &'a str,
        refusal: &'a Refusal,
    },
    /// The guest is to listen for the client.
    ListenerOpening {
        /// The listener as people write it.
        listener: &'a str,
    },
    /// The guest listens.
    ListenerOpened {
        /// The listener as people write it.
        listener: &'a str,
        address: &'a ListenerAddress,
    },
    /// The guest does not listen.
    ListenerRefused {
        request: &'a Listen,
        /// The listener as people write it.
        listener: &'a str,
        refusal: &'a Refusal,
    },
    /// The guest listens no more.
    ListenerClosed {
        /// The listener as people write it.
        listener: &'a str,
    },
}

impl<'a> ForwardEvent<'a> {
    pub(super) fn head(&self) -> (Code, &'static str) {
        match self {
            Self::Dialing { .. } => (codes::SSH_FORWARD, "the guest is to connect to an address"),
            Self::DialRefused { refusal, .. } => {
                (unless(refusal.logged, codes::SSH_FORWARD_FAILED), "the guest did not connect to an address")
            }
            Self::ForwardOffered { .. } => (codes::SSH_FORWARD, "a connection came to a listener"),
            Self::ForwardDeclined { .. } => {
                (codes::SSH_FORWARD_FAILED.at(Level::Debug), "the client did not take a connection to its listener")
            }
            Self::ForwardEnded { .. } => (codes::SSH_FORWARD, "a forwarded connection is over"),
            Self::ForwardLost { refusal, .. } => {
                (unless(refusal.logged, codes::SSH_FORWARD_FAILED), "a forwarded connection was lost")
            }
            Self::ListenerOpening { .. } => (codes::SSH_LISTENER.at(Level::Debug), "the guest is to listen"),
            Self::ListenerOpened { .. } => (codes::SSH_LISTENER, "the guest listens"),
            Self::ListenerRefused { refusal, .. } => {
                (unless(refusal.logged, codes::SSH_LISTENER_FAILED), "the guest does not listen")
            }
            Self::ListenerClosed { .. } => (codes::SSH_LISTENER.at(Level::Debug), "the guest listens no more"),
        }
    }

    pub(super) fn details(self) -> LineDetails<'a> {
        match self {
            Self::Dialing { target } => vec![("target", target.to_string().into())],
            Self::DialRefused { target, refusal, .. } | Self::ForwardLost { target, refusal } => {
                forward_refused("target", target, refusal)
            }
            Self::ForwardOffered { listener, origin } => vec![("listener", listener.into()), ("origin", origin.into())],
            Self::ForwardDeclined { listener, reason } => {
                vec![("listener", listener.into()), ("reason", reason.into())]
            }
            Self::ForwardEnded { target, duration, traffic, .. } => vec![
                ("target", target.into()),
                ("duration", seconds(duration)),
                ("bytesReceived", traffic.received.to_string().into()),
                ("bytesSent", traffic.sent.to_string().into()),
            ],
            Self::ListenerOpening { listener } | Self::ListenerClosed { listener } => {
                vec![("listener", listener.into())]
            }
            Self::ListenerOpened { listener, address } => {
                vec![("listener", listener.into()), ("address", listener_address(address))]
            }
            Self::ListenerRefused { listener, refusal, .. } => forward_refused("listener", listener, refusal),
        }
    }
}

fn forward_refused<'a>(label: &'static str, what: &'a str, refusal: &'a Refusal) -> LineDetails<'a> {
    let mut details: LineDetails<'a> = vec![(label, what.into()), ("reason", refusal.reason.as_str().into())];
    details.extend(refusal.detail.as_deref().map(|detail| ("detail", detail.into())));
    details
}

fn listener_address(address: &ListenerAddress) -> Cow<'_, str> {
    match address {
        ListenerAddress::Port(port) => port.to_string().into(),
        ListenerAddress::Path(path) => printable(path, 255).into(),
        ListenerAddress::Display { display, .. } => printable(display, 255).into(),
    }
}
