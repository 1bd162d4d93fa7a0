//! `GET …/pods/NAME/log`.

use crate::api::answer::{self, Body};
use crate::api::call::ApiCall;
use crate::api::exec::container_name;
use crate::node::container::Container;
use crate::node::pods::Kubelet;
use crate::objects::kinds::ObjectKind;
use crate::objects::status::StatusError;
use crate::objects::store::Store;
use bytes::Bytes;
use futures_util::stream;
use http::Response;
use std::io;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct LogFollower {
    stopping: CancellationToken,
    container: Arc<Container>,
    changes: tokio::sync::watch::Receiver<u64>,
    position: u64,
    /// Bytes that may still be sent.
    budget: u64,
    follow: bool,
}

/// Answers with what a container wrote, and with what it goes on to write if asked to follow.
pub(super) fn read(
    store: &Store,
    (kubelet, stopping): (&Kubelet, &CancellationToken),
    call: &ApiCall,
) -> Result<Response<Body>, StatusError> {
    for unknown in ["timestamps", "sinceSeconds", "sinceTime"] {
        if call.query.get(unknown).is_some_and(|value| value != "false") {
            return Err(StatusError::bad_request(format!(
                "the development cluster does not keep the times of lines ({unknown})"
            )));
        }
    }
    let pod = store.get(ObjectKind::Pod, call.namespace(), call.name());
    let pod = pod.ok_or_else(|| StatusError::not_found(ObjectKind::Pod, call.name()))?;
    let name = container_name(&pod, call.query.get("container"))?;
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let previous = call.query.flag("previous");
    let container = kubelet.pod(uid).and_then(|handle| handle.container(&name, previous));
    let Some(container) = container else {
        let why = if previous { "previous terminated container" } else { "container" };
        let message = if previous {
            format!("{why} {name:?} in pod {:?} not found", call.name())
        } else {
            format!("{why} {name:?} in pod {:?} is waiting to start: ContainerCreating", call.name())
        };
        return Err(StatusError::bad_request(message));
    };
    let following = LogFollower {
        stopping: stopping.clone(),
        changes: container.log.watch(),
        position: call.query.number("tailLines").map_or(0, |lines| container.log.tail(lines)),
        budget: call.query.number("limitBytes").unwrap_or(u64::MAX),
        follow: call.query.flag("follow"),
        container,
    };
    let chunks = stream::unfold(following, |mut following| async move {
        following.next().await.map(|chunk| (Ok::<_, io::Error>(chunk), following))
    });
    Ok(answer::stream("text/plain", chunks))
}

impl LogFollower {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let (chunks, position, ended) = self.container.log.read(self.position);
            self.position = position;
            let mut bytes = chunks.concat();
            bytes.truncate(usize::try_from(self.budget).unwrap_or(usize::MAX));
            self.budget -= bytes.len() as u64;
            if !bytes.is_empty() {
                return Some(Bytes::from(bytes));
            }
            if ended || !self.follow || self.budget == 0 {
                return None;
            }
            tokio::select! {
                () = self.stopping.cancelled() => return None,
                // The log lives as long as we hold the container.
                _appended = self.changes.changed() => {}
            }
        }
    }
}
