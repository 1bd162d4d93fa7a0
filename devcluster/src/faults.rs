//! The faults that are switched on now. The API and the node ask at each step whether one applies.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::watch;

/// A way for requests to fail; see [`Faults::fail_requests`](crate::Faults::fail_requests).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFailure {
    /// 429 with `Retry-After` in seconds.
    TooManyRequests {
        /// Value of `Retry-After`, in seconds.
        retry_after: u32,
    },
    /// Answer 500 `InternalError`, as when etcd does not answer.
    InternalError,
    /// Answer 503 `ServiceUnavailable`, as while the server starts.
    Unavailable,
    /// The connection is cut before anything is done.
    Drop,
    /// Everything is done, then the connection is cut instead of an answer.
    LoseAnswer,
    /// Nothing is answered for this long, then the request is served.
    Delay(Duration),
}

/// A fault of the images whose names begin with a prefix; see [`Faults::image`](crate::Faults::image).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageFault {
    /// The registry does not have it: `ErrImagePull`, then `ImagePullBackOff`.
    NotFound,
    /// The registry refuses it: `ErrImagePull`, then `ImagePullBackOff`.
    Denied,
    /// The registry's name cannot be resolved: `ErrImagePull`, then `ImagePullBackOff`.
    Unreachable,
    /// The name is not one: `InvalidImageName`.
    InvalidName,
    /// `imagePullPolicy: Never` and not present: `ErrImageNeverPull`.
    NeverPulled,
    /// The container cannot be configured: `CreateContainerConfigError` with this message.
    ConfigError(String),
    /// The container cannot be started: `RunContainerError`, then terminated with `StartError` and this message.
    StartError(String),
}

/// Requests that will fail.
#[derive(Debug, Clone)]
pub(crate) struct FailingRequests {
    pub(crate) verb: String,
    pub(crate) resource: String,
    pub(crate) left: u32,
    pub(crate) failure: RequestFailure,
}

#[derive(Debug, Default)]
pub(crate) struct FaultSettings {
    pub(crate) hold: bool,
    pub(crate) delay: Duration,
    pub(crate) unschedulable: Option<String>,
    pub(crate) volume: Option<String>,
    pub(crate) images: Vec<(String, ImageFault)>,
    pub(crate) quota: Option<usize>,
    pub(crate) denial: Option<String>,
    pub(crate) trips: Vec<FailingRequests>,
    pub(crate) cut_after: Option<u64>,
}

/// The faults that are set, and a notice of every change.
#[derive(Debug)]
pub(crate) struct FaultBoard {
    settings: Mutex<FaultSettings>,
    changes: watch::Sender<u64>,
}

impl FaultBoard {
    pub(crate) fn new() -> Self {
        Self { settings: Mutex::default(), changes: watch::Sender::new(0) }
    }

    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut FaultSettings) -> R) {
        change(&mut self.settings.lock());
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn add_trip(&self, trip: FailingRequests) {
        self.change(|settings| settings.trips.push(trip));
    }

    /// A receiver that is told of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits out the delay, and the hold.
    pub(crate) async fn pods_may_start(&self) {
        let mut changes = self.watch();
        let delay = self.settings.lock().delay;
        tokio::time::sleep(delay).await;
        while self.settings.lock().hold {
            // The board lives as long as the node that asks.
            let _alive = changes.changed().await;
        }
    }

    pub(crate) fn unschedulable(&self) -> Option<String> {
        self.settings.lock().unschedulable.clone()
    }

    pub(crate) fn missing_volume(&self) -> Option<String> {
        self.settings.lock().volume.clone()
    }

    pub(crate) fn image_fault(&self, image: &str) -> Option<ImageFault> {
        let settings = self.settings.lock();
        settings.images.iter().find(|(prefix, _)| image.starts_with(prefix.as_str())).map(|(_, fault)| fault.clone())
    }

    pub(crate) fn quota(&self) -> Option<usize> {
        self.settings.lock().quota
    }

    pub(crate) fn denial(&self) -> Option<String> {
        self.settings.lock().denial.clone()
    }

    pub(crate) fn cut_after(&self) -> Option<u64> {
        self.settings.lock().cut_after
    }

    /// Takes the failure that is set for a request, if there is one, and counts it.
    pub(crate) fn trip(&self, verb: &str, resource: &str) -> Option<RequestFailure> {
        let mut settings = self.settings.lock();
        let fits = |set: &str, asked: &str| set == "*" || set == asked;
        let trip = settings.trips.iter_mut().find(|trip| fits(&trip.verb, verb) && fits(&trip.resource, resource))?;
        let failure = trip.failure;
        trip.left = trip.left.saturating_sub(1);
        settings.trips.retain(|trip| trip.left > 0);
        Some(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trip_happens_as_often_as_it_was_set() {
        let board = FaultBoard::new();
        board.add_trip(FailingRequests {
            verb: "create".into(),
            resource: "*".into(),
            left: 2,
            failure: RequestFailure::Drop,
        });
        assert_eq!(board.trip("get", "pods"), None);
        assert_eq!(board.trip("create", "pods"), Some(RequestFailure::Drop));
        assert_eq!(board.trip("create", "leases"), Some(RequestFailure::Drop));
        assert_eq!(board.trip("create", "pods"), None);
    }
}
