//! Packets that are none.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Types of requests that change no file where no handle is open.
const HARMLESS: [u8; 11] = [
    kind::INIT,
    kind::CLOSE,
    kind::READ,
    kind::WRITE,
    kind::LSTAT,
    kind::FSTAT,
    kind::FSETSTAT,
    kind::READDIR,
    kind::REALPATH,
    kind::STAT,
    kind::READLINK,
];

proptest! {
    #[test]
    fn no_fields_make_the_server_panic(kind in 0..HARMLESS.len(), fields in vec(any::<u8>(), 0..100)) {
        let packet = [&[HARMLESS[kind]][..], &fields].concat();
        let mut bytes = u32::try_from(packet.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(&packet);
        let mut output = Vec::new();
        let ended = serve(&bytes[..], &mut output);
        prop_assert!(matches!(ended, Ok(()) | Err(ServeError::Malformed)));
    }
}

fn request(kind: u8, fields: &[u8]) -> Vec<u8> {
    let length = u32::try_from(fields.len() + 5).unwrap().to_be_bytes();
    [&length[..], &[kind, 0, 0, 0, 7], fields].concat()
}

fn text(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

/// The types of the replies.
fn kinds(mut replies: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some((length, rest)) = replies.split_first_chunk() {
        let (reply, after) = rest.split_at(u32::from_be_bytes(*length) as usize);
        kinds.push(reply[0]);
        replies = after;
    }
    kinds
}

#[test]
fn half_of_a_packet_has_no_reply_and_ends_the_server() {
    let whole = request(kind::REALPATH, &text(b"/"));
    for end in 1..whole.len() {
        let mut output = Vec::new();
        assert!(serve(&whole[..end], &mut output).is_err(), "{end}");
        assert!(output.is_empty(), "{end}");
    }
}

/// Each id is four bytes of a request, and a name of any length of the reply.
#[test]
fn names_of_very_many_ids_are_refused_where_no_packet_holds_them() {
    let root = crate::login::Names::read().user(0).map_or(0, <[u8]>::len);
    let fitting = MAX_TRANSFER / (root + 4);
    for (count, expected) in [(fitting, kind::EXTENDED_REPLY), (fitting + 1, kind::STATUS)] {
        let fields = [text(b"users-groups-by-id@openssh.com"), text(&vec![0; 4 * count]), text(b"")].concat();
        let mut output = Vec::new();
        serve(&request(kind::EXTENDED, &fields)[..], &mut output).unwrap();
        assert_eq!(kinds(&output), [expected], "{count} ids");
    }
}

#[test]
fn broken_packets_end_the_server_and_unknown_ones_do_not() {
    let serve = |bytes: &[u8]| {
        let mut output = Vec::new();
        serve(bytes, &mut output).map(|()| output)
    };
    assert!(matches!(serve(&[0, 0, 0, 0]), Err(ServeError::PacketLength(0))));
    assert!(matches!(serve(&[0xff, 0, 0, 0, 1]), Err(ServeError::PacketLength(_))));
    assert!(matches!(serve(&[0, 0, 0, 3, kind::OPEN, 0, 0]), Err(ServeError::Malformed)));
    assert!(matches!(serve(&[0, 0, 0, 9, kind::STAT, 0, 0, 0, 1, 0, 0, 0, 9]), Err(ServeError::Malformed)));
    let reply = serve(&[0, 0, 0, 5, 99, 0, 0, 0, 7]).unwrap();
    assert_eq!(reply[..13], [0, 0, 0, 38, kind::STATUS, 0, 0, 0, 7, 0, 0, 0, 8]);
    assert!(serve(b"").unwrap().is_empty());
}
