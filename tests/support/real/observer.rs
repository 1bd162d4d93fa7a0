//! The time at which the API of a real cluster first shows something about a namespace's pods, so that a test can subtract
//! the cluster's own delay.

use super::RealCluster;
use futures_util::{StreamExt, pin_mut, stream};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A fact that the API shows.
#[derive(Debug, Clone, Copy)]
pub enum Observable {
    /// A text in a pod.
    Pod(&'static str),
    /// A text in an event about a pod.
    Event(&'static str),
}

/// Watches on the pods of a namespace and on events. Dropping it ends them.
pub struct Observer {
    shown: watch::Receiver<Shown>,
    task: JoinHandle<()>,
}

/// The objects received, each with its time.
#[derive(Default)]
struct Shown {
    /// The number of watches, of two, that have listed the existing objects.
    begun: usize,
    objects: Vec<(Instant, Value)>,
}

impl RealCluster {
    /// Starts to observe a namespace. Existing objects are ignored.
    pub async fn observe(&self, namespace: &str) -> Observer {
        let (pods, events) = (self.within::<Pod>(namespace), self.within::<Event>(namespace));
        let [pods, events] = [pods, events].map(|of| watcher(of, watcher::Config::default()).default_backoff());
        let (sender, shown) = watch::channel(Shown::default());
        let task = tokio::spawn(async move {
            let both = stream::select(pods, events);
            pin_mut!(both);
            while let Some(event) = both.next().await {
                // A failed watch starts again.
                if let Ok(event) = event {
                    sender.send_modify(|shown| shown.take(event));
                }
            }
        });
        let mut observer = Observer { shown, task };
        let begun = observer.shown.wait_for(|shown| shown.begun >= 2);
        timeout(super::CONTROL, begun).await.expect("two lists in time").expect("two watches");
        observer
    }
}

impl Shown {
    fn take(&mut self, event: watcher::Event<DynamicObject>) {
        match event {
            watcher::Event::InitDone => self.begun += 1,
            watcher::Event::Apply(object) => self.objects.push((Instant::now(), super::value(object))),
            watcher::Event::InitApply(object) if self.begun >= 2 => {
                self.objects.push((Instant::now(), super::value(object)));
            }
            _ => {}
        }
    }

    /// The time at which the fact was first shown.
    fn when(&self, sign: Observable) -> Option<Instant> {
        let about = |object: &Value| object["involvedObject"]["name"].as_str().map(str::to_owned);
        let pods = || self.objects.iter().filter(|(_, object)| about(object).is_none());
        let first = match sign {
            Observable::Pod(text) => pods().find(|(_, pod)| pod.to_string().contains(text)),
            // Events about deleted pods arrive late.
            Observable::Event(text) => self.objects.iter().find(|(_, event)| {
                let name = about(event).filter(|_| event.to_string().contains(text));
                name.is_some_and(|name| pods().any(|(_, pod)| pod["metadata"]["name"] == *name))
            }),
        };
        first.map(|(at, _)| *at)
    }
}

impl Observer {
    /// Waits until the API shows the fact, and returns the time at which it first did.
    pub async fn first_seen(&mut self, sign: Observable) -> Instant {
        let found = self.shown.wait_for(|shown| shown.when(sign).is_some());
        let shown = timeout(super::CONTROL, found).await.unwrap_or_else(|_| panic!("{sign:?} is not shown"));
        shown.expect("the watches").when(sign).expect("a time")
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
