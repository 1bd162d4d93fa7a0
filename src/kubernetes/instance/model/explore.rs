//! Walks through all states that can be reached, each once. A violation ends the walk with the way there.

use super::world::{Event, World};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// How a state was reached.
struct Way {
    event: Event,
    before: Option<Rc<Way>>,
}

/// How many states there are, and how many steps between them.
pub(super) fn explore(first: World) -> (usize, usize) {
    let mut seen = HashSet::from([fingerprint(&first)]);
    let mut open: Vec<(World, Option<Rc<Way>>)> = vec![(first, None)];
    let mut steps = 0;
    while let Some((world, way)) = open.pop() {
        for event in world.events() {
            let mut next = world.clone();
            let broken = next.happen(event).and_then(|()| next.check());
            let way = Rc::new(Way { event, before: way.clone() });
            if let Err(broken) = broken {
                panic!("{broken}\n{}\n{next:#?}", told(&way));
            }
            steps += 1;
            if seen.insert(fingerprint(&next)) {
                open.push((next, Some(way)));
            }
        }
    }
    (seen.len(), steps)
}

/// So many bits that no two states are taken for one.
fn fingerprint(world: &World) -> [u8; 32] {
    let mut all = All(Vec::new());
    world.hash(&mut all);
    Sha256::digest(&all.0).into()
}

/// Everything that is hashed, as it is.
struct All(Vec<u8>);

impl Hasher for All {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

fn told(way: &Rc<Way>) -> String {
    let mut events = Vec::new();
    let mut next = Some(way);
    while let Some(way) = next {
        events.push(way.event);
        next = way.before.as_ref();
    }
    let mut text = String::new();
    for event in events.iter().rev() {
        write!(text, "{event:?}, ").unwrap();
    }
    text
}
