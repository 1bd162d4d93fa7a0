//! What holds of every key, hash and file, not only of those in the tables.

use super::*;
use data_encoding::BASE64;
use proptest::collection::vec;
use proptest::prelude::*;

fn blob(kind: &str, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(kind.len()).expect("a short text");
    [&length.to_be_bytes()[..], kind.as_bytes(), rest].concat()
}

proptest! {
    #[test]
    fn text_never_panics_and_a_key_is_the_one_that_was_written(line in ".{0,200}", kind in "[a-z0-9-]{1,20}", rest in vec(any::<u8>(), 0..64)) {
        let _ = AuthorizedKey::parse(&line);
        let written = format!("{kind} {} {}", BASE64.encode(&blob(&kind, &rest)), line.replace(['\r', '\n'], " "));
        match AuthorizedKey::parse(&written) {
            Ok(key) => {
                let again = format!("{kind} {}", BASE64.encode(&blob(&kind, &rest)));
                prop_assert!(key.is_in(&[AuthorizedKey::parse(&again).expect("a key")]));
            }
            Err(error) => prop_assert!(error == KeyError::Certificate && kind.contains("-cert-v")),
        }
    }

    #[test]
    fn keys_that_differ_in_a_byte_are_two(rest in vec(any::<u8>(), 1..64), at in any::<usize>(), flip in 1_u8..) {
        let key = |rest: &[u8]| AuthorizedKey::parse(&format!("k {}", BASE64.encode(&blob("k", rest)))).expect("a key");
        let mut other = rest.clone();
        let at = at % other.len();
        other[at] ^= flip;
        prop_assert!(!key(&rest).is_in(&[key(&other)]));
        prop_assert!(!key(&rest).is_in(&[key(&rest[1..])]));
    }

    #[test]
    fn blob_with_any_length_in_front_never_panics(bytes in vec(any::<u8>(), 0..32), kind in "[a-z]{0,8}") {
        let _ = AuthorizedKey::parse(&format!("{kind} {}", BASE64.encode(&bytes)));
    }

    #[test]
    fn hash_is_argon2_of_a_bounded_cost_or_none(
        kind in "(argon2id|argon2i|argon2d|argon2|scrypt)", m: u32, t: u32, p in prop_oneof![1_u32..9, any::<u32>()],
        salt in "[A-Za-z0-9+/]{0,90}", output in "[A-Za-z0-9+/]{0,90}",
    ) {
        for (m, t) in [(m, t), (m % (2 << 20), t % 128)] {
            let text = format!("${kind}$v=19$m={m},t={t},p={p}${salt}${output}");
            if let Ok(hash) = Hash::parse(&text) {
                prop_assert!(m <= 1 << 20 && t <= 64 && kind.starts_with("argon2"), "{}", text);
                prop_assert_eq!(hash.to_string(), text);
            }
        }
    }

    #[test]
    fn file_never_panics_and_lists_who_it_names(name in "[a-z0-9._-]{1,16}", noise in ".{0,120}") {
        let _ = Directory::from_yaml(&noise);
        let _ = Directory::from_yaml(&format!("users:\n  alice: {noise}\n"));
        let quoted = serde_json::Value::from(name.as_str());
        let directory = Directory::from_yaml(&format!("users: {{{quoted}: {{}}}}")).expect("users");
        prop_assert_eq!(directory.users.keys().collect::<Vec<_>>(), [&name]);
    }
}
