//! The listeners that are open, each with the accept loop that serves it; and their change while they serve.
//!
//! Invariants: a new address is listened on before an old one is given up; one that stays is not closed for a moment. Whoever
//! serves a listener accepts what waits there before it ends.

use super::listeners::{ListenError, Listener, ListenerPlace, WantedListeners};
use crate::config::{ListenAddress, ListenerConfig};
use crate::listening::Leaving;
use crate::proxy_protocol::ProxyProtocol;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The open listeners; clones share them.
#[derive(Clone, Default)]
pub(super) struct OpenListeners {
    open: Arc<Mutex<Vec<OpenListener>>>,
    loops: TaskTracker,
}

/// An open listener. Its accept loop ends soon after it is dropped.
struct OpenListener {
    place: Option<ListenerPlace>,
    serving: ServedListener,
    accepting: JoinHandle<()>,
    _close: DropGuard,
}

/// The parts of a listener that its accept loop works with.
#[derive(Clone)]
pub(super) struct ServedListener {
    pub(super) socket: Arc<TcpListener>,
    address: SocketAddr,
    pub(super) proxy: Arc<ArcSwap<ProxyProtocol>>,
    /// Cancelled when the listener is given up.
    pub(super) closing: CancellationToken,
}

/// The listeners of another configuration: those that stay, and those that are bound and not served yet.
pub(crate) struct ListenerChange {
    /// The index of each that stays, and whom it believes from now on.
    kept: Vec<(usize, ProxyProtocol)>,
    bound: Vec<Listener>,
}

/// The addresses that a change opened and gave up.
#[derive(Default)]
pub(super) struct ChangedAddresses {
    pub(super) opened: Vec<SocketAddr>,
    pub(super) closed: Vec<SocketAddr>,
}

impl OpenListeners {
    /// Binds what a configuration needs that is not open. `None` if it needs sockets that are passed to a process that starts.
    ///
    /// # Errors
    /// Every address that cannot be listened on.
    pub(super) async fn prepare(&self, configs: &[ListenerConfig]) -> Result<Option<ListenerChange>, Vec<ListenError>> {
        let wanted = WantedListeners::of(configs).await;
        let open: Vec<_> = self.open.lock().iter().map(|open| (open.place.clone(), open.serving.clone())).collect();
        let mut left: Vec<usize> = (0..open.len()).collect();
        let (mut kept, mut missing) = (Vec::new(), Vec::new());
        for (index, config) in configs.iter().enumerate() {
            let is_passed = matches!(config.address, ListenAddress::Passed(_));
            let is_there = |open_index: &usize| {
                let there = open.get(*open_index);
                there.is_some_and(|(place, serving)| place.is_some() && *place == wanted.place(index, serving.address))
            };
            let most = if is_passed { usize::MAX } else { 1 };
            let found: Vec<usize> = left.iter().copied().filter(is_there).take(most).collect();
            match (found.is_empty(), is_passed) {
                (true, true) => return Ok(None),
                (true, false) => missing.push(index),
                (false, _) => left.retain(|index| !found.contains(index)),
            }
            kept.extend(found.into_iter().map(|index| (index, config.proxy.clone())));
        }
        let leaving = left.iter().filter_map(|index| open.get(*index)).map(|(_, serving)| &*serving.socket);
        let leaving: Vec<Leaving<'_>> = leaving.collect();
        let (mut bound, mut errors) = (Vec::new(), Vec::new());
        for index in missing {
            match wanted.bind(index, &leaving) {
                Ok(listener) => bound.push(listener),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Some(ListenerChange { kept, bound })) } else { Err(errors) }
    }

    /// Serves the first listeners, each by what `accept` makes of it.
    pub(super) fn begin<F>(&self, listeners: Vec<Listener>, accept: impl Fn(ServedListener) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let begun = listeners.into_iter().map(|listener| self.serve(listener, &accept));
        *self.open.lock() = begun.collect();
    }

    /// Serves the listeners of a change, and gives up those that are not among them. They are closed when this returns.
    pub(super) async fn change<F>(
        &self,
        change: ListenerChange,
        accept: impl Fn(ServedListener) -> F,
    ) -> ChangedAddresses
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut addresses = ChangedAddresses::default();
        let given_up = {
            let mut open = self.open.lock();
            let mut before: Vec<_> = open.drain(..).map(Some).collect();
            for (index, proxy) in change.kept {
                if let Some(kept) = before.get_mut(index).and_then(Option::take) {
                    kept.serving.proxy.store(Arc::new(proxy));
                    open.push(kept);
                }
            }
            for listener in change.bound {
                addresses.opened.push(listener.address);
                open.push(self.serve(listener, &accept));
            }
            before.into_iter().flatten().collect::<Vec<_>>()
        };
        for OpenListener { serving, accepting, _close: close, .. } in given_up {
            addresses.closed.push(serving.address);
            drop((serving, close));
            // Its only failure is a panic, which has been logged.
            let _ = accepting.await;
        }
        addresses
    }

    /// Waits until every accept loop has ended.
    pub(super) async fn ended(&self) {
        self.loops.close();
        self.loops.wait().await;
        self.open.lock().clear();
    }

    fn serve<F>(&self, listener: Listener, accept: &impl Fn(ServedListener) -> F) -> OpenListener
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Listener { socket, address, proxy, place } = listener;
        let (closing, proxy) = (CancellationToken::new(), Arc::new(ArcSwap::from_pointee(proxy)));
        let serving = ServedListener { socket: Arc::new(socket), address, proxy, closing: closing.clone() };
        let accepting = self.loops.spawn(accept(serving.clone()));
        OpenListener { place, serving, accepting, _close: closing.drop_guard() }
    }
}
