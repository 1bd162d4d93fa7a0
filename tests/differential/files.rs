//! SFTP (draft-ietf-secsh-filexfer-02) in packets of our own: the replies of OpenSSH's sftp-server behind sshd, and those
//! of Podgate, byte by byte.

use super::Servers;
use crate::support::minimal_client::text;
use crate::support::peer::{Peer, answered};
use russh::ChannelMsg;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::time::timeout;

/// The time limit for all replies.
const LIMIT: Duration = Duration::from_secs(60);
/// The two handles that a row may use: the servers number them alike.
const FIRST: [u8; 4] = [0, 0, 0, 0];
const SECOND: [u8; 4] = [0, 0, 0, 1];
/// Folders of the two servers, with names of one length.
const FOLDERS: [&str; 2] = ["server-theirs", "server-ours--"];

/// The part of a reply that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    /// The type alone: the rest is each server's own, or changes from moment to moment.
    Type,
}

/// A request without its id, and the part of the reply that is compared.
struct Row(&'static str, u8, Vec<u8>, Part);

/// A number in wire format.
fn n(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// A long number in wire format.
fn l(value: u64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// The requests, in a folder.
fn rows(folder: &str) -> Vec<Row> {
    let at = |name: &str| text(format!("{folder}/{name}").as_bytes());
    let all = |name, kind, parts: &[Vec<u8>]| Row(name, kind, parts.concat(), Part::Whole);
    let kind_of = |name, kind, parts: &[Vec<u8>]| Row(name, kind, parts.concat(), Part::Type);
    let extended = |extension: &str| text(extension.as_bytes());
    let mut rows = handles(folder);
    rows.extend(names(folder));
    rows.extend([
        Row("stat", 17, at("file"), Part::Type),
        all("stat of a folder", 17, &[at("folder")]),
        Row("stat of a link", 17, at("link"), Part::Type),
        kind_of("lstat of a link", 7, &[at("link")]),
        all("stat of a broken link", 17, &[at("broken")]),
        all("stat of a loop", 17, &[at("loop")]),
        all("stat of nothing there", 17, &[at("missing")]),
        all("stat below a file", 17, &[at("file/x")]),
        all("stat of a name that is too long", 17, &[at(&"x".repeat(300))]),
        all("setstat of the mode", 9, &[at("file"), n(4), n(0o4711)]),
        all("setstat of the size", 9, &[at("file"), n(1), l(4)]),
        // Behind the size, whose change makes the time of this moment the file's.
        all("setstat of the times", 9, &[at("file"), n(8), n(1000), n(2000)]),
        all("setstat of nothing there", 9, &[at("missing"), n(4), n(0o600)]),
        all("stat behind setstat", 17, &[at("file")]),
        all("realpath", 16, &[at("folder/../folder/./inner/..")]),
        all("realpath of a link", 16, &[at("link")]),
        all("realpath of nothing there", 16, &[at("missing")]),
        all("realpath below nothing", 16, &[at("missing/deeper")]),
        all("realpath of the root", 16, &[text(b"/")]),
        kind_of("statvfs", 200, &[extended("statvfs@openssh.com"), at("file")]),
        all("statvfs of nothing there", 200, &[extended("statvfs@openssh.com"), at("missing")]),
        all("lsetstat", 200, &[extended("lsetstat@openssh.com"), at("link"), n(8), n(5), n(6)]),
        kind_of("limits", 200, &[extended("limits@openssh.com")]),
        all("expand-path", 200, &[extended("expand-path@openssh.com"), at("folder")]),
        all("expand-path of root's home", 200, &[extended("expand-path@openssh.com"), text(b"~root/x")]),
        all("expand-path of a user that is none", 200, &[extended("expand-path@openssh.com"), text(b"~no-such-user")]),
        all("unknown extension", 200, &[extended("no-such@example.org"), text(b"x")]),
        all("opendir of a file", 11, &[at("file")]),
        all("opendir of nothing there", 11, &[at("missing")]),
        all("opendir", 11, &[at("hollow")]),
        all("read of a folder", 5, &[text(&FIRST), l(0), n(10)]),
        kind_of("readdir", 12, &[text(&FIRST)]),
        all("readdir at the end", 12, &[text(&FIRST)]),
        all("closedir", 4, &[text(&FIRST)]),
        all("remove", 13, &[at("hard")]),
        all("remove of nothing there", 13, &[at("hard")]),
        all("remove with a name that is no text", 13, &[text(&[folder.as_bytes(), b"/\xff\xfe"].concat())]),
    ]);
    rows
}

/// The requests that make, move and remove names.
fn names(folder: &str) -> Vec<Row> {
    let at = |name: &str| text(format!("{folder}/{name}").as_bytes());
    let all = |name, kind, parts: &[Vec<u8>]| Row(name, kind, parts.concat(), Part::Whole);
    let extended = |extension: &str| text(extension.as_bytes());
    vec![
        all("mkdir", 14, &[at("made"), n(4), n(0o700)]),
        all("mkdir of what is there", 14, &[at("made"), n(0)]),
        all("mkdir below nothing", 14, &[at("missing/made"), n(0)]),
        all("rmdir of a file", 15, &[at("file")]),
        all("rmdir of a full folder", 15, &[at("folder")]),
        all("remove of a folder", 13, &[at("made")]),
        all("rmdir", 15, &[at("made")]),
        all("rmdir of nothing there", 15, &[at("made")]),
        all("rename", 18, &[at("spare"), at("renamed")]),
        all("rename onto a file", 18, &[at("renamed"), at("file")]),
        all("rename of nothing there", 18, &[at("missing"), at("other")]),
        all("rename of a folder", 18, &[at("empty"), at("hollow")]),
        all("posix-rename onto a file", 200, &[extended("posix-rename@openssh.com"), at("renamed"), at("target")]),
        all("hardlink", 200, &[extended("hardlink@openssh.com"), at("file"), at("hard")]),
        all("hardlink onto a file", 200, &[extended("hardlink@openssh.com"), at("file"), at("hard")]),
        all("symlink", 20, &[text(b"somewhere"), at("symbolic")]),
        all("symlink onto a file", 20, &[text(b"somewhere"), at("file")]),
        all("readlink", 19, &[at("symbolic")]),
        all("readlink of a file", 19, &[at("file")]),
    ]
}

/// The requests about open files.
fn handles(folder: &str) -> Vec<Row> {
    let at = |name: &str| text(format!("{folder}/{name}").as_bytes());
    let all = |name, kind, parts: &[Vec<u8>]| Row(name, kind, parts.concat(), Part::Whole);
    let (read, write, append, create, truncate, exclusive) = (1, 2, 4, 8, 16, 32);
    let extended = |extension: &str| text(extension.as_bytes());
    vec![
        all("open of nothing there", 3, &[at("missing"), n(read), n(0)]),
        all("open below a file", 3, &[at("file/x"), n(read), n(0)]),
        all("open of a folder to write", 3, &[at("folder"), n(write), n(0)]),
        all("open of what must not be there", 3, &[at("file"), n(write | create | exclusive), n(0)]),
        all("open", 3, &[at("file"), n(read), n(0)]),
        all("read", 5, &[text(&FIRST), l(0), n(100)]),
        all("read in the middle", 5, &[text(&FIRST), l(3), n(4)]),
        all("read at the end", 5, &[text(&FIRST), l(11), n(4)]),
        all("read far behind the end", 5, &[text(&FIRST), l(1 << 40), n(4)]),
        all("write to what is open to read", 6, &[text(&FIRST), l(0), text(b"x")]),
        Row("fstat", 8, text(&FIRST), Part::Type),
        Row("fstatvfs", 200, [extended("fstatvfs@openssh.com"), text(&FIRST)].concat(), Part::Type),
        all("readdir of a file", 12, &[text(&FIRST)]),
        all("open of a second", 3, &[at("new"), n(read | write | create | truncate), n(4), n(0o640)]),
        all("write", 6, &[text(&SECOND), l(0), text(b"0123456789")]),
        all("write behind the end", 6, &[text(&SECOND), l(20), text(b"tail")]),
        all("read of a hole", 5, &[text(&SECOND), l(8), n(100)]),
        all("copy-data", 200, &[extended("copy-data"), text(&FIRST), l(0), l(5), text(&SECOND), l(0)]),
        all("read of what was copied", 5, &[text(&SECOND), l(0), n(100)]),
        all("fsetstat of the size", 10, &[text(&SECOND), n(1), l(3)]),
        all("fsetstat of mode and times", 10, &[text(&SECOND), n(12), n(0o600), n(1), n(2)]),
        all("fstat behind fsetstat", 8, &[text(&SECOND)]),
        all("fsync", 200, &[extended("fsync@openssh.com"), text(&SECOND)]),
        all("close of the second", 4, &[text(&SECOND)]),
        all("close", 4, &[text(&FIRST)]),
        all("close again", 4, &[text(&FIRST)]),
        all("read of what is closed", 5, &[text(&FIRST), l(0), n(4)]),
        Row("handle that is none", 8, text(b"nonsense"), Part::Type),
        all("open to append", 3, &[at("new"), n(write | append), n(0)]),
        all("write that is appended", 6, &[text(&FIRST), l(0), text(b"more")]),
        all("close of what was appended to", 4, &[text(&FIRST)]),
        all("size of what was appended to", 3, &[at("new"), n(read), n(0)]),
        all("read of all", 5, &[text(&FIRST), l(0), n(100)]),
        all("close of all", 4, &[text(&FIRST)]),
    ]
}

fn prepare(folder: &Path) {
    fs::create_dir_all(folder.join("folder/inner")).expect("a folder");
    fs::create_dir(folder.join("empty")).expect("a folder");
    for (name, content) in [("file", "hello world"), ("spare", "spare"), ("target", "target")] {
        fs::write(folder.join(name), content).expect("a file");
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).expect("its mode");
    }
    for (target, name) in [("file", "link"), ("nowhere", "broken"), ("loop", "loop")] {
        symlink(target, folder.join(name)).expect("a link");
    }
    let touch =
        Command::new("touch").args(["-d", "2024-02-29T12:34:56Z", "file", "folder"]).current_dir(folder).status();
    assert!(touch.expect("touch").success());
}

/// Sends all requests at once, and returns the replies behind the greeting.
async fn replies(peer: &Peer, rows: &[Row]) -> Vec<Vec<u8>> {
    let mut channel = peer.session().await;
    channel.request_subsystem(true, "sftp").await.expect("a request");
    assert!(answered(&mut channel).await, "the subsystem is refused");
    let mut packets = vec![text(&[1, 0, 0, 0, 3])];
    packets.extend((0_u32..).zip(rows).map(|(id, Row(_, kind, rest, _))| text(&[&[*kind][..], &n(id), rest].concat())));
    let (mut reader, writer) = channel.split();
    writer.data_bytes(packets.concat()).await.expect("the requests");
    let mut bytes = Vec::new();
    let mut replies = Vec::new();
    let hearing = async {
        while replies.len() <= rows.len() {
            match reader.wait().await {
                Some(ChannelMsg::Data { data }) => bytes.extend_from_slice(&data),
                Some(ChannelMsg::Close) | None => break,
                Some(_) => {}
            }
            while let Some(reply) = packet(&mut bytes) {
                replies.push(reply);
            }
        }
    };
    let late = timeout(LIMIT, hearing).await.is_err();
    let _ = writer.eof().await;
    assert!(!late, "{} replies of {}", replies.len(), rows.len() + 1);
    assert_eq!(replies.first().map(|greeting| greeting[..5].to_vec()), Some(vec![2, 0, 0, 0, 3]));
    replies.split_off(1)
}

/// Splits off the first packet, if it is whole.
fn packet(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    let end = 4 + usize::try_from(length).ok()?;
    let packet = bytes.get(4..end)?.to_vec();
    bytes.drain(..end);
    Some(packet)
}

/// A reply in letters, with one name for both folders.
fn shown(reply: &[u8]) -> String {
    reply.escape_ascii().to_string().replace(FOLDERS[0], "server").replace(FOLDERS[1], "server")
}

/// Sends every request to both servers.
pub async fn compare(servers: &Servers) {
    let mut heard = Vec::new();
    for (peer, name) in [&servers.theirs, &servers.ours].into_iter().zip(FOLDERS) {
        let folder = servers.world.folder().join(name);
        prepare(&folder);
        heard.push(replies(peer, &rows(&folder.display().to_string())).await);
    }
    let rows = rows("");
    assert_eq!((heard[0].len(), heard[1].len()), (rows.len(), rows.len()));
    let mut wrong = Vec::new();
    for (at, Row(name, _, _, part)) in rows.iter().enumerate() {
        let length = if *part == Part::Type { 5 } else { usize::MAX };
        let [theirs, ours] = [&heard[0][at], &heard[1][at]].map(|reply| shown(&reply[..length.min(reply.len())]));
        if theirs != ours {
            wrong.push(format!("{name}\n  sshd    {theirs}\n  podgate {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
