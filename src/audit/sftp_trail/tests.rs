//! Whole sessions as a client and a server exchange them, honest and not.

use super::*;
use Sender::{Client, Guest};

/// A field of a packet.
enum Field<'a> {
    Number(u32),
    Long(u64),
    Text(&'a [u8]),
    Raw(&'a [u8]),
}

use Field::{Long, Number, Raw, Text};

fn packet(kind: u8, fields: &[Field<'_>]) -> Vec<u8> {
    let mut body = vec![kind];
    for field in fields {
        match field {
            Number(number) => body.extend(number.to_be_bytes()),
            Long(number) => body.extend(number.to_be_bytes()),
            Text(text) => {
                body.extend((text.len() as u32).to_be_bytes());
                body.extend(*text);
            }
            Raw(bytes) => body.extend(*bytes),
        }
    }
    let mut packet = (body.len() as u32).to_be_bytes().to_vec();
    packet.append(&mut body);
    packet
}

fn open(id: u32, path: &str, flags: u32) -> Vec<u8> {
    packet(kind::OPEN, &[Number(id), Text(path.as_bytes()), Number(flags), Number(0)])
}

fn handle(id: u32, handle: &str) -> Vec<u8> {
    packet(kind::HANDLE, &[Number(id), Text(handle.as_bytes())])
}

fn write(id: u32, handle: &str, offset: u64, data: &[u8]) -> Vec<u8> {
    packet(kind::WRITE, &[Number(id), Text(handle.as_bytes()), Long(offset), Text(data)])
}

fn close(id: u32, handle: &str) -> Vec<u8> {
    packet(kind::CLOSE, &[Number(id), Text(handle.as_bytes())])
}

fn status(id: u32, code: u32) -> Vec<u8> {
    packet(kind::STATUS, &[Number(id), Number(code), Text(b"so"), Text(b"")])
}

/// Plays a session, byte by byte, and returns what was over in it.
fn play(trail: &mut SftpTrail, session: &[(Sender, Vec<u8>)]) -> (Vec<FileOperation>, Vec<LostThread>) {
    let (mut over, mut lost) = (Vec::new(), Vec::new());
    for (sender, bytes) in session {
        for piece in bytes.chunks(1) {
            let (more, end) = trail.follow(*sender, piece);
            over.extend(more);
            lost.extend(end);
        }
    }
    (over, lost)
}

fn used(operation: &FileOperation) -> &FileUse {
    match &operation.action {
        FileAction::Open(used) => used,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn written_file_is_one_operation_with_its_bytes_and_hash() {
    let mut trail = SftpTrail::new(true);
    let flags = FileUse::WRITE | FileUse::CREATE | FileUse::TRUNCATE;
    let (over, lost) = play(
        &mut trail,
        &[
            (Client, packet(kind::INIT, &[Number(3)])),
            (Guest, packet(kind::VERSION, &[Number(3), Text(b"posix-rename@openssh.com"), Text(b"1")])),
            (Client, open(1, "report.txt", flags)),
            (Guest, handle(1, "h")),
            (Client, write(2, "h", 0, b"ab")),
            (Client, write(3, "h", 2, b"c")),
            (Guest, status(2, 0)),
            (Guest, status(3, 0)),
            (Client, close(4, "h")),
            (Guest, status(4, 0)),
        ],
    );
    assert_eq!((over.len(), lost), (1, vec![]), "{over:?}");
    assert_eq!((over[0].path.as_str(), over[0].outcome), ("report.txt", FileOutcome::Done));
    let used = used(&over[0]);
    assert_eq!((used.written, used.read, used.flag_words()), (3, 0, vec!["write", "create", "truncate"]));
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(used.sha256.as_deref(), Some(hash), "of abc");
    assert!(trail.end().is_empty());
}

#[tokio::test]
async fn file_that_was_not_written_in_order_or_not_taken_has_no_hash() {
    let sessions: [&[(Sender, Vec<u8>)]; 4] = [
        &[(Client, write(2, "h", 1, b"b")), (Guest, status(2, 0))],
        &[(Client, write(2, "h", 0, b"b")), (Guest, status(2, 4))],
        &[(Client, write(2, "h", 0, b"b"))],
        &[
            (Client, write(2, "h", 0, b"b")),
            (Client, write(3, "h", 0, b"c")),
            (Guest, status(2, 0)),
            (Guest, status(3, 0)),
        ],
    ];
    for session in sessions {
        let mut trail = SftpTrail::new(true);
        play(&mut trail, &[(Client, open(1, "f", FileUse::WRITE)), (Guest, handle(1, "h"))]);
        play(&mut trail, session);
        let (over, lost) = play(&mut trail, &[(Client, close(9, "h")), (Guest, status(9, 0))]);
        assert_eq!((over.len(), lost), (1, vec![]));
        assert_eq!(used(&over[0]).sha256, None);
    }
}

#[tokio::test]
async fn read_file_counts_what_the_server_sent() {
    let mut trail = SftpTrail::new(false);
    let read = |id| packet(kind::READ, &[Number(id), Text(b"h"), Long(0), Number(32_768)]);
    let (over, lost) = play(
        &mut trail,
        &[
            (Client, open(1, "f", FileUse::READ)),
            (Guest, handle(1, "h")),
            (Client, read(2)),
            (Client, read(3)),
            (Guest, packet(kind::DATA, &[Number(2), Text(&[0; 700])])),
            (Guest, status(3, 1)),
            (Client, close(4, "h")),
            (Guest, status(4, 0)),
        ],
    );
    assert_eq!((over.len(), lost, used(&over[0]).read, used(&over[0]).written), (1, vec![], 700, 0));
}

#[tokio::test]
async fn every_change_of_names_and_attributes_is_an_operation_with_its_answer() {
    let attributes = [Number(1 | 2 | 4), Long(5), Number(10), Number(20), Number(0o640)];
    let mut setstat = vec![Number(1), Text(b"a")];
    setstat.extend(attributes);
    for (request, action, path, other) in [
        (packet(kind::REMOVE, &[Number(1), Text(b"a")]), "remove", "a", None),
        (packet(kind::RENAME, &[Number(1), Text(b"a"), Text(b"b")]), "rename", "a", Some("b")),
        (packet(kind::MKDIR, &[Number(1), Text(b"a"), Number(0)]), "mkdir", "a", None),
        (packet(kind::RMDIR, &[Number(1), Text(b"a")]), "rmdir", "a", None),
        (packet(kind::SYMLINK, &[Number(1), Text(b"target"), Text(b"link")]), "symlink", "link", Some("target")),
        (packet(kind::SETSTAT, &setstat), "setstat", "a", None),
        (
            packet(kind::EXTENDED, &[Number(1), Text(b"posix-rename@openssh.com"), Text(b"a"), Text(b"b")]),
            "rename",
            "a",
            Some("b"),
        ),
        (
            packet(kind::EXTENDED, &[Number(1), Text(b"hardlink@openssh.com"), Text(b"a"), Text(b"b")]),
            "hardlink",
            "a",
            Some("b"),
        ),
    ] {
        for (code, outcome) in [(0, FileOutcome::Done), (3, FileOutcome::Failed(3))] {
            let mut trail = SftpTrail::new(false);
            let (over, lost) = play(&mut trail, &[(Client, request.clone()), (Guest, status(1, code))]);
            assert_eq!((over.len(), lost), (1, vec![]), "{action}");
            assert_eq!((over[0].action.name(), over[0].path.as_str()), (action, path));
            assert_eq!((over[0].other.as_deref(), over[0].outcome), (other, outcome), "{action}");
            if let FileAction::SetAttributes(set) = over[0].action {
                let times = None;
                let all = NewAttributes { size: Some(5), owner: Some((10, 20)), permissions: Some(0o640), times };
                assert_eq!(set, all);
            }
        }
        let mut unanswered = SftpTrail::new(false);
        play(&mut unanswered, &[(Client, request)]);
        let left = unanswered.end();
        assert_eq!((left.len(), left[0].outcome), (1, FileOutcome::Unanswered), "{action}");
    }
}

#[tokio::test]
async fn file_that_was_not_opened_and_one_that_was_not_closed_are_told() {
    let mut trail = SftpTrail::new(false);
    let (over, _) = play(&mut trail, &[(Client, open(1, "secret", FileUse::READ)), (Guest, status(1, 3))]);
    assert_eq!((over[0].path.as_str(), over[0].outcome), ("secret", FileOutcome::Failed(3)));
    play(&mut trail, &[(Client, open(1, "open", FileUse::READ)), (Guest, handle(1, "h"))]);
    play(&mut trail, &[(Client, packet(kind::OPENDIR, &[Number(2), Text(b"d")])), (Guest, handle(2, "d"))]);
    let left = trail.end();
    assert_eq!((left.len(), left[0].path.as_str(), left[0].outcome), (1, "open", FileOutcome::Unanswered));
}

#[tokio::test]
async fn handle_that_a_server_gives_again_before_its_answer_is_the_new_file() {
    let mut trail = SftpTrail::new(false);
    let (over, lost) = play(
        &mut trail,
        &[
            (Client, open(1, "one", FileUse::WRITE)),
            (Guest, handle(1, "h")),
            (Client, close(2, "h")),
            (Client, open(3, "two", FileUse::WRITE)),
            (Guest, handle(3, "h")),
            (Guest, status(2, 0)),
            (Client, write(4, "h", 0, b"abc")),
            (Guest, status(4, 0)),
            (Client, close(5, "h")),
            (Guest, status(5, 0)),
        ],
    );
    assert_eq!(lost, []);
    let told: Vec<_> = over.iter().map(|file| (file.path.as_str(), used(file).written)).collect();
    assert_eq!(told, [("one", 0), ("two", 3)]);
}

#[tokio::test]
async fn who_hides_a_request_behind_another_of_the_same_number_is_told_of() {
    let mut trail = SftpTrail::new(false);
    let stat = packet(17, &[Number(1), Text(b"x")]);
    let (over, lost) = play(&mut trail, &[(Client, stat), (Client, open(1, "secret", FileUse::READ))]);
    assert_eq!(lost, [LostThread::SameNumber]);
    assert!(over.len() <= 1);
    let (over, lost) = play(&mut trail, &[(Client, open(2, "more", FileUse::READ)), (Guest, status(2, 3))]);
    assert_eq!((over, lost), (vec![], vec![]), "told once");
}

#[tokio::test]
async fn bytes_that_are_no_sftp_and_endless_memory_are_told_once() {
    let garbage = (Client, b"\xff\xff\xff\xff\xff".to_vec());
    let empty = (Guest, vec![0; 5]);
    let other = (Guest, packet(kind::VERSION, &[Number(6)]));
    let cut = (Client, packet(kind::REMOVE, &[Number(1), Number(50), Raw(b"short")]));
    let lying = (Client, packet(kind::WRITE, &[Number(1), Text(b"h"), Long(0), Number(9), Raw(b"abc")]));
    for (bytes, wanted) in [
        (garbage, LostThread::NoPacket),
        (empty, LostThread::NoPacket),
        (other, LostThread::OtherVersion),
        (cut, LostThread::NoPacket),
        (lying, LostThread::NoPacket),
    ] {
        let (_, lost) = play(&mut SftpTrail::new(true), &[bytes.clone(), bytes]);
        assert_eq!(lost, [wanted]);
    }
    let mut trail = SftpTrail::new(true);
    let long = "a".repeat(4096);
    let lost = (0..PENDING_MAX as u32).find_map(|id| trail.follow(Client, &open(id, &long, FileUse::READ)).1);
    assert_eq!(lost, Some(LostThread::TooMany));
    let mut trail = SftpTrail::new(true);
    let read = |id| packet(kind::READ, &[Number(id), Text(b"h"), Long(0), Number(1)]);
    let lost = (0..).find_map(|id| trail.follow(Client, &read(id)).1);
    assert_eq!(lost, Some(LostThread::TooMany));
}

#[tokio::test]
async fn handle_that_is_used_before_its_answer_is_told_as_not_followed() {
    let read = packet(kind::READ, &[Number(2), Text(b"h"), Long(0), Number(9)]);
    let set = packet(kind::FSETSTAT, &[Number(2), Text(b"h"), Number(4), Number(0o600)]);
    let copy = |from: &[u8], to: &[u8]| {
        packet(kind::EXTENDED, &[Number(2), Text(b"copy-data"), Text(from), Long(0), Long(0), Text(to), Long(0)])
    };
    for early in [write(2, "h", 0, b"abc"), read, close(2, "h"), set, copy(b"h", b"old"), copy(b"old", b"h")] {
        for opening in [open(1, "f", FileUse::WRITE), packet(kind::OPENDIR, &[Number(1), Text(b"d")])] {
            let mut trail = SftpTrail::new(true);
            play(&mut trail, &[(Client, open(7, "old", FileUse::READ)), (Guest, handle(7, "old"))]);
            let (_, lost) = play(&mut trail, &[(Client, opening), (Client, early.clone()), (Guest, handle(1, "h"))]);
            assert_eq!(lost, [LostThread::EarlyHandle]);
        }
    }
}

#[tokio::test]
async fn handle_that_nobody_gave_is_refused_or_told_as_not_followed() {
    let data = packet(kind::DATA, &[Number(2), Text(b"abc")]);
    let read = packet(kind::READ, &[Number(2), Text(b"h"), Long(0), Number(9)]);
    for (request, success) in [(write(2, "h", 0, b"abc"), status(2, 0)), (read, data), (close(2, "h"), status(2, 0))] {
        let (over, lost) = play(
            &mut SftpTrail::new(true),
            &[(Client, request.clone()), (Guest, status(2, 4)), (Client, request.clone())],
        );
        assert_eq!((over, lost), (vec![], vec![]), "refused, and followed further");
        let mut trail = SftpTrail::new(true);
        let (_, lost) = play(&mut trail, &[(Client, request), (Guest, success)]);
        assert_eq!(lost, [LostThread::UnknownHandle]);
    }
}

#[tokio::test]
async fn hash_is_gone_once_the_server_changes_the_file_by_itself() {
    let sized = |kind, name: &[u8]| packet(kind, &[Number(3), Text(name), Number(1), Long(1)]);
    let lsetstat = packet(kind::EXTENDED, &[Number(3), Text(b"lsetstat@openssh.com"), Text(b"f"), Number(1), Long(1)]);
    let copy =
        packet(kind::EXTENDED, &[Number(3), Text(b"copy-data"), Text(b"from"), Long(0), Long(0), Text(b"h"), Long(0)]);
    for change in [sized(kind::FSETSTAT, b"h"), sized(kind::SETSTAT, b"./f"), lsetstat, copy] {
        for data in [&b""[..], b"abc"] {
            let mut trail = SftpTrail::new(true);
            play(&mut trail, &[(Client, open(1, "f", FileUse::WRITE)), (Guest, handle(1, "h"))]);
            play(&mut trail, &[(Client, open(2, "from", FileUse::READ)), (Guest, handle(2, "from"))]);
            if !data.is_empty() {
                play(&mut trail, &[(Client, write(8, "h", 0, data)), (Guest, status(8, 0))]);
            }
            play(&mut trail, &[(Client, change.clone()), (Guest, status(3, 0))]);
            let (over, lost) = play(&mut trail, &[(Client, close(9, "h")), (Guest, status(9, 0))]);
            assert_eq!((over.len(), lost, used(&over[0]).sha256.as_deref()), (1, vec![], None));
        }
    }
}

#[tokio::test]
async fn hash_stays_where_a_file_is_cut_behind_its_last_byte() {
    let cut = packet(kind::FSETSTAT, &[Number(3), Text(b"h"), Number(1), Long(3)]);
    let mut trail = SftpTrail::new(true);
    play(&mut trail, &[(Client, open(1, "f", FileUse::WRITE)), (Guest, handle(1, "h"))]);
    play(&mut trail, &[(Client, write(2, "h", 0, b"abc")), (Guest, status(2, 0))]);
    play(&mut trail, &[(Client, cut), (Guest, status(3, 0))]);
    let (over, lost) = play(&mut trail, &[(Client, close(4, "h")), (Guest, status(4, 0))]);
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!((over.len(), lost, used(&over[0]).sha256.as_deref()), (1, vec![], Some(abc)));
}

#[tokio::test]
async fn data_that_is_more_than_it_says_is_no_packet() {
    let mut trail = SftpTrail::new(false);
    let read = packet(kind::READ, &[Number(2), Text(b"h"), Long(0), Number(32_768)]);
    let (over, lost) = play(
        &mut trail,
        &[
            (Client, open(1, "f", FileUse::READ)),
            (Guest, handle(1, "h")),
            (Client, read),
            (Guest, packet(kind::DATA, &[Number(2), Number(0), Raw(&[7; 20_000])])),
        ],
    );
    assert_eq!((over.len(), lost), (1, vec![LostThread::NoPacket]));
}
