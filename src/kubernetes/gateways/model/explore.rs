//! Visits every reachable state once. A violation ends the search with a panic that shows the events up to it.

use super::world::{ModelEvent, World};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// The events on the way to a state, the last one first.
struct Trace {
    event: ModelEvent,
    before: Option<Rc<Trace>>,
}

/// Returns the numbers of states and of steps between them.
pub(super) fn explore(first: World) -> (usize, usize) {
    let mut seen = HashSet::from([fingerprint(&first)]);
    let mut open: Vec<(World, Option<Rc<Trace>>)> = vec![(first, None)];
    let mut steps = 0;
    while let Some((world, trace)) = open.pop() {
        for event in world.events() {
            let mut next = world.clone();
            let broken = next.apply(event).and_then(|()| next.check());
            let trace = Rc::new(Trace { event, before: trace.clone() });
            if let Err(broken) = broken {
                panic!("{broken}\n{}\n{next:#?}", event_list(&trace));
            }
            steps += 1;
            if seen.insert(fingerprint(&next)) {
                open.push((next, Some(trace)));
            }
        }
    }
    (seen.len(), steps)
}

/// Hash of a state, with so many bits that no two states are taken for one.
fn fingerprint(world: &World) -> [u8; 32] {
    let mut all = HashInput(Vec::new());
    world.hash(&mut all);
    Sha256::digest(&all.0).into()
}

/// A hasher that collects its input.
struct HashInput(Vec<u8>);

impl Hasher for HashInput {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

fn event_list(trace: &Rc<Trace>) -> String {
    let mut events = Vec::new();
    let mut next = Some(trace);
    while let Some(trace) = next {
        events.push(trace.event);
        next = trace.before.as_ref();
    }
    let mut text = String::new();
    for event in events.iter().rev() {
        write!(text, "{event:?}, ").unwrap();
    }
    text
}
