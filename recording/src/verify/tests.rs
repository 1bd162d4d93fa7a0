//! Recordings that were changed in every way, each of which is found.

use super::super::chain::Chain;
use super::super::seal::SealKey;
use super::*;
use std::sync::Arc;

const HEADER: &[u8] = b"header";

fn key() -> Arc<SealKey> {
    Arc::new(SealKey::parse(include_str!("../../tests/data/seal")).unwrap())
}

/// A recording of three parts and the lines of its chain.
fn sealed(name: &str, key: Option<Arc<SealKey>>) -> (Vec<u8>, Vec<String>) {
    let (mut chain, line) = Chain::begin(name, HEADER, key);
    let (mut recording, mut lines) = (HEADER.to_vec(), vec![line]);
    for (time, data) in [(10, &b"first"[..]), (20, b"second"), (30, b"third!")] {
        let line = chain.next_part(time, data);
        lines.push(line.text.clone());
        chain.take(line);
        recording.extend_from_slice(data);
    }
    lines.push(chain.seal(40));
    (recording, lines)
}

fn check(recording: &[u8], lines: &[String], key: Option<&PublicKey>) -> Result<Verified, String> {
    verify("name", recording, lines.concat().as_bytes(), key).map_err(|fault| fault.to_string())
}

#[test]
fn untouched_recording_is_whole() {
    let public = key().public();
    let whole = Verified { parts: 3, last: Some(30), uncovered: 0, sealed: true, signed: true };
    let (recording, lines) = sealed("name", Some(key()));
    assert_eq!(check(&recording, &lines, Some(&public)), Ok(whole));
    assert_eq!(check(&recording, &lines, None), Ok(whole));
    let (recording, lines) = sealed("name", None);
    assert_eq!(check(&recording, &lines, None), Ok(Verified { signed: false, ..whole }));
}

#[test]
fn chain_is_the_documented_lines() {
    // Computed by another program, from the description in `chain.rs`.
    let documented = include_str!("../../../tests/fuzz/seeds/recording-chain/sealed");
    assert_eq!(sealed("name", None).1.concat(), documented);
}

#[test]
fn every_flipped_bit_is_found() {
    let public = key().public();
    let (recording, lines) = sealed("name", Some(key()));
    for bit in 0..recording.len() * 8 {
        let mut changed = recording.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&changed, &lines, Some(&public)).is_err(), "bit {bit}");
    }
    let chain = lines.concat();
    for byte in 0..chain.len() - 1 {
        let mut changed = chain.clone().into_bytes();
        changed[byte] ^= 1;
        let read = verify("name", &recording[..], &changed[..], Some(&public));
        assert!(!read.is_ok_and(|verified| verified.sealed), "byte {byte}");
    }
}

#[test]
fn missing_swapped_and_cut_parts_are_found() {
    let public = key().public();
    let (recording, lines) = sealed("name", Some(key()));
    let swapped = [&lines[..1], &[lines[2].clone(), lines[1].clone()], &lines[3..]].concat();
    assert_eq!(
        check(b"headersecondfirstthird!", &swapped, Some(&public)),
        Err("part 0 is missing, or not in its place".into())
    );
    let missing = [&lines[..2], &lines[3..]].concat();
    assert_eq!(
        check(b"headerfirstthird!", &missing, Some(&public)),
        Err("part 1 is missing, or not in its place".into())
    );
    assert_eq!(
        check(&recording[..recording.len() - 1], &lines, Some(&public)),
        Err("the recording ends in part 2".into())
    );
    let early = [&lines[..3], &lines[4..]].concat();
    assert_eq!(check(b"headerfirstsecond", &early, Some(&public)), Err("the seal does not fit".into()));
    let more = [&recording[..], b"x"].concat();
    assert_eq!(check(&more, &lines, Some(&public)), Err("there is something behind the end".into()));
    let twice = [&lines[..], &lines[4..]].concat();
    assert_eq!(check(&recording, &twice, Some(&public)), Err("there is something behind the end".into()));
}

#[test]
fn recording_of_another_name_or_key_is_found() {
    let public = key().public();
    let (recording, lines) = sealed("other", Some(key()));
    assert_eq!(check(&recording, &lines, Some(&public)), Err("the chain is of another recording".into()));
    // Whoever can write the files, but has no key, makes a chain of his own.
    let (recording, lines) = sealed("name", None);
    assert_eq!(check(&recording, &lines, Some(&public)), Err("the chain was not signed by this key".into()));
    let other = Arc::new(SealKey::parse(include_str!("../../tests/data/seal.pkcs8")).unwrap());
    let (recording, lines) = sealed("name", Some(other));
    assert_eq!(check(&recording, &lines, Some(&public)), Err("the chain was not signed by this key".into()));
    let renamed: Vec<String> =
        sealed("other", Some(key())).1.iter().map(|line| line.replace("other", "name")).collect();
    assert_eq!(check(&recording, &renamed, Some(&public)), Err("the beginning was changed".into()));
}

#[test]
fn recording_of_a_killed_process_is_sound_as_far_as_its_chain() {
    let public = key().public();
    let (recording, lines) = sealed("name", Some(key()));
    let open = Verified { parts: 2, last: Some(20), uncovered: 6, sealed: false, signed: true };
    assert_eq!(check(&recording, &lines[..3], Some(&public)), Ok(open));
    // The part was not written whole, nor the line.
    let torn = [&lines[..3], &[lines[3][..20].to_owned()]].concat();
    assert_eq!(check(&recording[..recording.len() - 2], &torn, Some(&public)), Ok(Verified { uncovered: 4, ..open }));
    let none = Verified { parts: 0, last: None, uncovered: 0, ..open };
    assert_eq!(check(HEADER, &lines[..1], Some(&public)), Ok(none));
    assert_eq!(check(HEADER, &[], Some(&public)), Err("the chain has no beginning".into()));
    // A part that the chain has was written before its line.
    assert_eq!(check(&recording[..12], &lines[..3], Some(&public)), Err("the recording ends in part 1".into()));
}

#[test]
fn length_that_a_stranger_claims_takes_no_memory() {
    let (recording, lines) = sealed("name", None);
    let long = [&lines[..1], &["x".repeat(1 << 20)]].concat();
    assert_eq!(check(&recording, &long, None), Err("line 2 of the chain is not a line of a chain".into()));
    let huge: Vec<String> = lines.iter().map(|line| line.replace("\"header\":6", "\"header\":9000000000")).collect();
    assert_eq!(check(&recording, &huge, None), Err("the beginning was changed".into()));
}
