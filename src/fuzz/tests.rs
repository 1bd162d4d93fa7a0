//! Every target on its seeds (among them whatever broke one before) and on what is near them. The same bytes every time.

use super::{Anything, TARGETS, base};
use crate::config::Config;
use crate::schema::Format;
use crate::settings::Settings;
use podgate_webhooks::wire::ConfigReply;
use std::fs;
use std::path::Path;

/// How many neighbours of its seeds a target gets.
const NEIGHBOURS: usize = 4000;
/// The same for targets whose inputs take long.
const FEW_NEIGHBOURS: [(&str, usize); 1] = [("packets", 150)];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).expect("seeds").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).expect("a seed")).collect()
}

/// xorshift64*: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }

    fn neighbour(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut data = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let (at, to) = (self.below(data.len() + 1), self.below(data.len() + 1));
            let (at, to) = (at.min(to), at.max(to));
            match self.below(6) {
                0 => drop(data.drain(at..to)),
                1 => data.truncate(at),
                2 => data.insert(at, self.below(256) as u8),
                3 if at < data.len() => data[at] ^= 1 << self.below(8),
                4 => drop(data.splice(at..to, seeds[self.below(seeds.len())].clone())),
                _ => drop(data.splice(at..at, data[at..to].to_vec())),
            }
        }
        data.truncate(1 << 16);
        data
    }
}

/// What is refused at once reaches little of what could break.
#[test]
fn seeds_are_good_enough_to_get_through() {
    let small = seeds("configuration").into_iter().filter(|seed| seed.starts_with(b"\0ssh:\n  listen: 0.0.0.0:2222"));
    for seed in small {
        let parsed = Config::parse(&String::from_utf8_lossy(&seed[1..]), Format::Yaml, &Anything);
        assert!(parsed.is_ok(), "{:?}", parsed.err());
    }
    let base = base();
    Settings::resolve(&base, None).expect("what the targets start from");
    let answers = seeds("answers").into_iter().filter_map(|seed| ConfigReply::parse(&seed).ok()?.given());
    let taken = answers.map(|answer| Settings::resolve(&base, Some(&answer)).map(|_| ())).filter(Result::is_ok);
    assert!(taken.count() >= 2);
}

#[test]
fn nothing_that_others_make_breaks_a_parser() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let count = FEW_NEIGHBOURS.iter().find(|(few, _)| few == name).map_or(NEIGHBOURS, |(_, count)| *count);
        let mut numbers = Numbers(0x5EED);
        let near = std::iter::repeat_with(|| numbers.neighbour(&seeds)).take(count);
        for data in seeds.iter().cloned().chain(near.collect::<Vec<_>>()) {
            // Printed where the test fails.
            println!("{name}: {data:?}");
            target(&data);
        }
    }
}
