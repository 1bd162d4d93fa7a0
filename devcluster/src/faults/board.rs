//! The settings behind the knobs, and their questions.

use crate::faults::Failure;
use crate::kubelet::image::ImageFault;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Requests that will fail.
#[derive(Debug, Clone)]
pub(crate) struct Trip {
    pub(crate) verb: String,
    pub(crate) resource: String,
    pub(crate) left: u32,
    pub(crate) failure: Failure,
}

#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) hold: bool,
    pub(crate) delay: Duration,
    pub(crate) unschedulable: Option<String>,
    pub(crate) volume: Option<String>,
    pub(crate) images: Vec<(String, ImageFault)>,
    pub(crate) quota: Option<usize>,
    pub(crate) denial: Option<String>,
    pub(crate) trips: Vec<Trip>,
    pub(crate) cut_after: Option<u64>,
}

/// What is set to go wrong.
#[derive(Debug)]
pub(crate) struct Board {
    settings: Mutex<Settings>,
    changes: watch::Sender<u64>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self { settings: Mutex::default(), changes: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Settings) -> R) {
        change(&mut self.lock());
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn add_trip(&self, trip: Trip) {
        self.change(|settings| settings.trips.push(trip));
    }

    /// A receiver that is told of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits out the delay, and the hold.
    pub(crate) async fn pods_may_start(&self) {
        let mut changes = self.watch();
        let delay = self.lock().delay;
        tokio::time::sleep(delay).await;
        while self.lock().hold {
            // The board lives as long as the node that asks.
            let _alive = changes.changed().await;
        }
    }

    pub(crate) fn unschedulable(&self) -> Option<String> {
        self.lock().unschedulable.clone()
    }

    pub(crate) fn missing_volume(&self) -> Option<String> {
        self.lock().volume.clone()
    }

    pub(crate) fn image_fault(&self, image: &str) -> Option<ImageFault> {
        let settings = self.lock();
        settings.images.iter().find(|(prefix, _)| image.starts_with(prefix.as_str())).map(|(_, fault)| fault.clone())
    }

    pub(crate) fn quota(&self) -> Option<usize> {
        self.lock().quota
    }

    pub(crate) fn denial(&self) -> Option<String> {
        self.lock().denial.clone()
    }

    pub(crate) fn cut_after(&self) -> Option<u64> {
        self.lock().cut_after
    }

    /// How a request fails, if it does; counts it.
    pub(crate) fn trip(&self, verb: &str, resource: &str) -> Option<Failure> {
        let mut settings = self.lock();
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
        let board = Board::new();
        board.add_trip(Trip { verb: "create".into(), resource: "*".into(), left: 2, failure: Failure::Drop });
        assert_eq!(board.trip("get", "pods"), None);
        assert_eq!(board.trip("create", "pods"), Some(Failure::Drop));
        assert_eq!(board.trip("create", "leases"), Some(Failure::Drop));
        assert_eq!(board.trip("create", "pods"), None);
    }
}
