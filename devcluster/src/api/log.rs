//! `GET …/pods/NAME/log`.

use crate::answer::{self, Body};
use crate::api::Call;
use crate::api::streaming::container_name;
use crate::container::Container;
use crate::context::Context;
use crate::kinds::Kind;
use crate::status::ApiError;
use bytes::Bytes;
use futures_util::stream;
use http::Response;
use std::io;
use std::sync::Arc;

struct Following {
    context: Arc<Context>,
    container: Arc<Container>,
    changes: tokio::sync::watch::Receiver<u64>,
    position: u64,
    /// Bytes that may still be sent.
    budget: u64,
    follow: bool,
}

/// Answers with what a container wrote, and with what it goes on to write if asked to follow.
pub(super) fn read(context: &Arc<Context>, call: &Call) -> Result<Response<Body>, ApiError> {
    for unknown in ["timestamps", "sinceSeconds", "sinceTime"] {
        if call.query.get(unknown).is_some_and(|value| value != "false") {
            return Err(ApiError::bad_request(format!(
                "the development cluster does not keep the times of lines ({unknown})"
            )));
        }
    }
    let pod = context.store.get(Kind::Pod, call.namespace(), call.name());
    let pod = pod.ok_or_else(|| ApiError::not_found(Kind::Pod, call.name()))?;
    let name = container_name(&pod, call.query.get("container"))?;
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let previous = call.query.flag("previous");
    let container = context.kubelet.pod(uid).and_then(|handle| handle.container(&name, previous));
    let Some(container) = container else {
        let why = if previous { "previous terminated container" } else { "container" };
        let message = if previous {
            format!("{why} {name:?} in pod {:?} not found", call.name())
        } else {
            format!("{why} {name:?} in pod {:?} is waiting to start: ContainerCreating", call.name())
        };
        return Err(ApiError::bad_request(message));
    };
    let following = Following {
        context: Arc::clone(context),
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

impl Following {
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
                () = self.context.stopping.cancelled() => return None,
                // The log lives as long as we hold the container.
                _appended = self.changes.changed() => {}
            }
        }
    }
}
