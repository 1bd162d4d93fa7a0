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
