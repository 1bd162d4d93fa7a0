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

fn hash_of(line: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["hash"].as_str().unwrap().to_owned()
}

fn check(recording: &[u8], lines: &[String], key: Option<&PublicKey>) -> Result<Verified, String> {
    verify("name", recording, lines.concat().as_bytes(), key).map_err(|fault| fault.to_string())
}

#[test]
fn untouched_recording_is_whole() {
    let public = key().public();
    let (recording, lines) = sealed("name", Some(key()));
    let whole = Verified {
        parts: 3,
        last: Some(30),
        covered: 23,
        uncovered: 0,
        sealed: true,
        signature: Signature::Checked(public.fingerprint()),
        hash: hash_of(&lines[4]),
        goes_back: false,
    };
    assert!(whole.is_proven());
    assert_eq!(check(&recording, &lines, Some(&public)), Ok(whole.clone()));
    let unchecked = Verified { signature: Signature::Unchecked, ..whole.clone() };
    assert_eq!(check(&recording, &lines, None), Ok(unchecked.clone()));
    assert!(!unchecked.is_proven());
    let (recording, lines) = sealed("name", None);
    let unsigned = Verified { signature: Signature::NotSigned, hash: hash_of(&lines[4]), ..whole };
    assert_eq!(check(&recording, &lines, None), Ok(unsigned.clone()));
    assert!(!unsigned.is_proven());
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
    let open = Verified {
        parts: 2,
        last: Some(20),
        covered: 17,
        uncovered: 6,
        sealed: false,
        signature: Signature::Checked(public.fingerprint()),
        hash: hash_of(&lines[2]),
        goes_back: false,
    };
    assert!(!open.is_proven());
    assert_eq!(check(&recording, &lines[..3], Some(&public)), Ok(open.clone()));
    // The part was not written whole, nor the line.
    let torn = [&lines[..3], &[lines[3][..20].to_owned()]].concat();
    assert_eq!(
        check(&recording[..recording.len() - 2], &torn, Some(&public)),
        Ok(Verified { uncovered: 4, ..open.clone() })
    );
    let none = Verified { parts: 0, last: None, covered: 6, uncovered: 0, hash: hash_of(&lines[0]), ..open };
    assert_eq!(check(HEADER, &lines[..1], Some(&public)), Ok(none));
    assert_eq!(check(HEADER, &[], Some(&public)), Err("the chain has no beginning".into()));
    // A part that the chain has was written before its line.
    assert_eq!(check(&recording[..12], &lines[..3], Some(&public)), Err("the recording ends in part 1".into()));
}

#[test]
fn signature_of_another_key_is_a_fault_of_its_own() {
    let public = key().public();
    let (recording, lines) = sealed("name", Some(key()));
    let (_, unsigned) = sealed("name", None);
    let signature = |line: &str| line.split("\"signature\":").nth(1).unwrap().to_owned();
    for (place, fault) in [(1, "part 0 was not signed by this key"), (4, "the seal was not signed by this key")] {
        let mut changed = lines.clone();
        changed[place] = lines[place].replace(&signature(&lines[place]), &signature(&lines[2]));
        assert_eq!(check(&recording, &changed, Some(&public)), Err(fault.to_owned()));
        changed[place] = lines[place].replace(&signature(&lines[place]), &signature(&unsigned[2]));
        assert_eq!(check(&recording, &changed, Some(&public)), Err(fault.to_owned()));
    }
    // One time has one text.
    for text in ["010", "+10", " 10"] {
        let mut other = lines.clone();
        other[1] = lines[1].replace("\"timeUnixNano\":\"10\"", &format!("\"timeUnixNano\":\"{text}\""));
        let fault = "line 2 of the chain is not a line of a chain";
        assert_eq!(check(&recording, &other, Some(&public)), Err(fault.into()), "{text}");
    }
    let newer = [&[lines[0].replace("\"version\":1", "\"version\":2")], &lines[1..]].concat();
    assert_eq!(check(&recording, &newer, Some(&public)), Err("version 2 of the chain is not known".into()));
}

#[test]
fn time_that_goes_back_is_told() {
    let (mut chain, begin) = Chain::begin("name", HEADER, None);
    let mut lines = vec![begin];
    for time in [20, 10] {
        let line = chain.next_part(time, b"x");
        lines.push(line.text.clone());
        chain.take(line);
    }
    assert!(check(b"headerxx", &lines, None).unwrap().goes_back);
    assert!(!check(b"headerxx", &lines[..2], None).unwrap().goes_back);
    lines.truncate(2);
    lines.push(Chain::begin("name", HEADER, None).0.seal(5));
    assert_eq!(check(b"headerx", &lines, None), Err("the seal does not fit".into()));
}

#[test]
fn process_that_was_killed_as_it_began_has_recorded_nothing() {
    let header = binary::header();
    for length in [0, 1, header.len()] {
        for lines in [vec![], vec!["{\"version\":1".to_owned()]] {
            assert_eq!(check(&header[..length], &lines, None), Err("nothing was recorded".into()));
        }
    }
    let more = [&header[..], b"x"].concat();
    assert_eq!(check(&more, &[], None), Err("the chain has no beginning".into()));
}

#[test]
fn length_that_a_stranger_claims_takes_no_memory() {
    let (recording, lines) = sealed("name", None);
    let long = [&lines[..1], &["x".repeat(1 << 20)]].concat();
    assert_eq!(check(&recording, &long, None), Err("line 2 of the chain is not a line of a chain".into()));
    let huge: Vec<String> =
        lines.iter().map(|line| line.replace("\"headerLength\":6", "\"headerLength\":9000000000")).collect();
    assert_eq!(check(&recording, &huge, None), Err("the beginning was changed".into()));
}
