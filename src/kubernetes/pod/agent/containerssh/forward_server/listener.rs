//! A listener of ContainerSSH's agent, and the connections that come to it.

use super::connection::{OpenConnection, forwarded};
use super::{ForwardServer, State};
use crate::guest::{Accepted, AcceptedConnections, GuestListener, ListenerAddress};
use crate::types::printable;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// Limit of an originator's address, in characters.
const ORIGIN_MAX: usize = 255;

/// Makes the listener of a process that listens.
pub(super) fn listener(server: Arc<ForwardServer>, address: ListenerAddress) -> GuestListener {
    GuestListener { address, accepted: Box::new(Listener { server }) }
}

struct Listener {
    server: Arc<ForwardServer>,
}

impl AcceptedConnections for Listener {
    fn next(&mut self) -> BoxFuture<'_, Option<Accepted>> {
        Box::pin(async move {
            let shared = &self.server.shared;
            loop {
                let next = shared.until(|state| match state.offers.pop_front() {
                    Some(offer) => Some(Some(offer)),
                    None => (state.over.is_some() || !state.exchange.listens()).then_some(None),
                });
                let (id, (host, port)) = next.await?;
                if let Some(pieces) = shared.accept(id) {
                    let connection = OpenConnection::new(Arc::clone(&self.server), id);
                    let origin = (printable(&host, ORIGIN_MAX), port);
                    return Some(Accepted { origin, connection: forwarded(connection, pieces) });
                }
            }
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let shared = &self.server.shared;
            shared.stop_listening();
            let stopped = |state: &mut State| state.over.is_some() || state.exchange.has_stopped();
            shared.until(|state| stopped(state).then_some(())).await;
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.server.shared.stop_listening();
    }
}
