//! What the API of a real cluster shows of a namespace's pods, and when: what the cluster takes its time for, nobody else is
//! to answer for.

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

/// Something that the API shows.
#[derive(Debug, Clone, Copy)]
pub enum Sign {
    /// A text in a pod as it is.
    Pod(&'static str),
    /// A text in an event about a pod.
    Event(&'static str),
}

/// A look at the pods that are there and come, and at the events about them. It ends when it is dropped.
pub struct Sight {
    shown: watch::Receiver<Shown>,
    task: JoinHandle<()>,
}

/// What came, each with its time.
#[derive(Default)]
struct Shown {
    /// How many of the two watches have told what was there before.
    begun: usize,
    objects: Vec<(Instant, Value)>,
}

impl RealCluster {
    /// Begins to look at a namespace. What was there before it is not seen.
    pub async fn sight(&self, namespace: &str) -> Sight {
        let (pods, events) = (self.within::<Pod>(namespace), self.within::<Event>(namespace));
        let [pods, events] = [pods, events].map(|of| watcher(of, watcher::Config::default()).default_backoff());
        let (sender, shown) = watch::channel(Shown::default());
        let task = tokio::spawn(async move {
            let both = stream::select(pods, events);
            pin_mut!(both);
            while let Some(event) = both.next().await {
                // A watch that broke begins anew.
                if let Ok(event) = event {
                    sender.send_modify(|shown| shown.take(event));
                }
            }
        });
        let mut sight = Sight { shown, task };
        let begun = sight.shown.wait_for(|shown| shown.begun >= 2);
        timeout(super::CONTROL, begun).await.expect("two lists in time").expect("two watches");
        sight
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

    /// When the sign was first there.
    fn when(&self, sign: Sign) -> Option<Instant> {
        let about = |object: &Value| object["involvedObject"]["name"].as_str().map(str::to_owned);
        let pods = || self.objects.iter().filter(|(_, object)| about(object).is_none());
        let first = match sign {
            Sign::Pod(text) => pods().find(|(_, pod)| pod.to_string().contains(text)),
            // Events of pods that are gone come late.
            Sign::Event(text) => self.objects.iter().find(|(_, event)| {
                let name = about(event).filter(|_| event.to_string().contains(text));
                name.is_some_and(|name| pods().any(|(_, pod)| pod["metadata"]["name"] == *name))
            }),
        };
        first.map(|(at, _)| *at)
    }
}

impl Sight {
    /// When the API first showed the sign, which it must do.
    pub async fn when(&mut self, sign: Sign) -> Instant {
        let found = self.shown.wait_for(|shown| shown.when(sign).is_some());
        let shown = timeout(super::CONTROL, found).await.unwrap_or_else(|_| panic!("{sign:?} is not shown"));
        shown.expect("the watches").when(sign).expect("a time")
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        self.task.abort();
    }
}
