//! SFTP requests, asked of `podgate-agent sftp-server` and of OpenSSH's sftp-server in twin directories: the replies agree,
//! byte by byte, or the row says why not.

use crate::{AGENT, leashed};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

const OPENSSH: &str = "/usr/lib/openssh/sftp-server";

/// A request without its id.
#[derive(Clone)]
struct Request(Vec<u8>);

impl Request {
    fn new(kind: u8) -> Self {
        Self(vec![kind, 0, 0, 0, 0])
    }

    fn extended(name: &str) -> Self {
        Self::new(200).text(name)
    }

    fn number(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn long(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn text(mut self, value: impl AsRef<[u8]>) -> Self {
        self = self.number(u32::try_from(value.as_ref().len()).unwrap());
        self.0.extend_from_slice(value.as_ref());
        self
    }
}

const HANDLE: [u8; 4] = [0, 0, 0, 0];
const SECOND: [u8; 4] = [0, 0, 0, 1];

fn open(path: &str, flags: u32) -> Request {
    Request::new(3).text(path).number(flags).number(0)
}

fn close(handle: [u8; 4]) -> Request {
    Request::new(4).text(handle)
}

fn path(kind: u8, path: impl AsRef<[u8]>) -> Request {
    Request::new(kind).text(path)
}

fn two(kind: u8, first: &str, second: &str) -> Request {
    Request::new(kind).text(first).text(second)
}

/// A difference, and the reason for it.
#[derive(Clone, Copy, PartialEq)]
enum Same {
    Bytes,
    /// Only the type of the reply: the numbers are each server's own, or change from moment to moment.
    Type,
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn script() -> Vec<(&'static str, Request, Same)> {
    use Same::{Bytes, Type};
    let attributes = |flags: u32| Request::new(9).text("file").number(flags);
    let mut rows = vec![
        ("open a file that is not there", open("missing", 1), Bytes),
        ("open below a file", open("file/x", 1), Bytes),
        ("open a directory to write", open("folder", 2), Bytes),
        ("open", open("file", 1), Bytes),
        ("read", Request::new(5).text(HANDLE).long(0).number(100), Bytes),
        ("read in the middle", Request::new(5).text(HANDLE).long(3).number(4), Bytes),
        ("read at the end", Request::new(5).text(HANDLE).long(11).number(4), Bytes),
        ("read nothing", Request::new(5).text(HANDLE).long(3).number(0), Bytes),
        ("read nothing at the end", Request::new(5).text(HANDLE).long(11).number(0), Bytes),
        ("read behind the end", Request::new(5).text(HANDLE).long(1 << 40).number(4), Bytes),
        ("write to a file that is open to read", Request::new(6).text(HANDLE).long(0).text("x"), Bytes),
        // The servers do not read in the same second.
        ("setstat times before fstat", attributes(8).number(1000).number(2000), Bytes),
        ("fstat", path(8, HANDLE), Bytes),
        ("fstatvfs", Request::extended("fstatvfs@openssh.com").text(HANDLE), Type),
        ("close", close(HANDLE), Bytes),
        ("close again", close(HANDLE), Bytes),
        ("read nothing from a closed handle", Request::new(5).text(HANDLE).long(0).number(0), Bytes),
        ("link that leads to itself", two(20, "turning", "turning"), Bytes),
        ("stat of a link that leads to itself", path(17, "turning"), Bytes),
        ("open a link that leads to itself", open("turning", 1), Bytes),
        ("realpath of a link that leads to itself", path(16, "turning"), Bytes),
        ("realpath below a link that leads to itself", path(16, "turning/x"), Bytes),
        ("remove a link that leads to itself", path(13, "turning"), Bytes),
        ("read from a closed handle", Request::new(5).text(HANDLE).long(0).number(100), Bytes),
        ("handle of another length", close([9, 9, 9, 9]), Bytes),
        ("handle that is none", path(4, "nonsense"), Bytes),
        ("create exclusively what is there", open("file", 2 | 8 | 32), Bytes),
        ("create", Request::new(3).text("new").number(1 | 2 | 8 | 16).number(4).number(0o640), Bytes),
        ("write", Request::new(6).text(HANDLE).long(0).text("0123456789"), Bytes),
        ("write beyond the end", Request::new(6).text(HANDLE).long(20).text("tail"), Bytes),
        ("write nothing", Request::new(6).text(HANDLE).long(0).text(""), Bytes),
        ("read a hole", Request::new(5).text(HANDLE).long(8).number(100), Bytes),
        ("fsync", Request::extended("fsync@openssh.com").text(HANDLE), Bytes),
        ("fsetstat size", Request::new(10).text(HANDLE).number(1).long(5), Bytes),
        (
            "fsetstat mode and times",
            Request::new(10).text(HANDLE).number(4 | 8).number(0o600).number(1).number(2),
            Bytes,
        ),
        ("fstat of the new one", path(8, HANDLE), Type),
        ("open a second", open("file", 1), Bytes),
        ("copy-data", Request::extended("copy-data").text(SECOND).long(0).long(0).text(HANDLE).long(2), Bytes),
        (
            "copy-data beyond the end",
            Request::extended("copy-data").text(SECOND).long(0).long(5000).text(HANDLE).long(0),
            Bytes,
        ),
        (
            "copy-data onto itself",
            Request::extended("copy-data").text(SECOND).long(0).long(0).text(SECOND).long(0),
            Bytes,
        ),
        ("read what was copied", Request::new(5).text(HANDLE).long(0).number(100), Bytes),
        ("close the second", close(SECOND), Bytes),
        ("close the new one", close(HANDLE), Bytes),
        ("open to append", open("new", 2 | 4), Bytes),
        ("append", Request::new(6).text(HANDLE).long(0).text("more"), Bytes),
        ("close what was appended to", close(HANDLE), Bytes),
        ("stat of what was appended to", path(17, "new"), Type),
        // The servers do not write in the same second.
        ("setstat times before stat", attributes(8).number(1000).number(2000), Bytes),
        ("stat", path(17, "file"), Bytes),
        ("stat of a link", path(17, "link"), Bytes),
        ("lstat of a link", path(7, "link"), Type),
        ("stat of a broken link", path(17, "broken"), Bytes),
        ("stat of nothing", path(17, ""), Bytes),
        ("stat of a loop", path(17, "loop"), Bytes),
        ("stat of a long name", path(17, "x".repeat(300)), Bytes),
        ("setstat size", attributes(1).long(4), Bytes),
        ("setstat mode", attributes(4).number(0o4755), Bytes),
        ("setstat times", attributes(8).number(1000).number(2000), Bytes),
        ("stat after setstat", path(17, "file"), Bytes),
        ("setstat of nothing", Request::new(9).text("missing").number(4).number(0o600), Bytes),
        ("setstat with extensions", attributes(1 << 31).number(1).text("a").text("b"), Bytes),
        ("lsetstat times", Request::extended("lsetstat@openssh.com").text("link").number(8).number(5).number(6), Bytes),
        ("lsetstat size", Request::extended("lsetstat@openssh.com").text("link").number(1).long(1), Bytes),
        ("mkdir", Request::new(14).text("made").number(4).number(0o700), Bytes),
        ("mkdir again", Request::new(14).text("made").number(0), Bytes),
        ("rmdir of a file", path(15, "file"), Bytes),
        ("remove of a directory", path(13, "made"), Bytes),
        ("rmdir", path(15, "made"), Bytes),
        ("rmdir again", path(15, "made"), Bytes),
        ("rmdir of one that is not empty", path(15, "folder"), Bytes),
        ("rename", two(18, "new", "renamed"), Bytes),
        ("rename onto what is there", two(18, "renamed", "file"), Bytes),
        ("rename of nothing", two(18, "missing", "other"), Bytes),
        ("rename a directory onto one", two(18, "folder", "empty"), Bytes),
        ("rename a directory", two(18, "empty", "hollow"), Bytes),
        ("rename a link", two(18, "broken", "shattered"), Bytes),
        (
            "posix-rename onto what is there",
            Request::extended("posix-rename@openssh.com").text("renamed").text("file"),
            Bytes,
        ),
        ("posix-rename of nothing", Request::extended("posix-rename@openssh.com").text("missing").text("x"), Bytes),
        ("hardlink", Request::extended("hardlink@openssh.com").text("file").text("hard"), Bytes),
        ("hardlink onto what is there", Request::extended("hardlink@openssh.com").text("file").text("hard"), Bytes),
        ("symlink", two(20, "target", "symbolic"), Bytes),
        ("symlink onto what is there", two(20, "target", "symbolic"), Bytes),
        ("readlink", path(19, "symbolic"), Bytes),
        ("readlink of a file", path(19, "file"), Bytes),
        ("readlink of nothing", path(19, "missing"), Bytes),
        ("realpath", path(16, "."), Bytes),
        ("realpath of nothing", path(16, ""), Bytes),
        ("realpath with dots", path(16, "folder/../folder/./inner/.."), Bytes),
        ("realpath of a link", path(16, "link"), Bytes),
        ("realpath of what is not there", path(16, "missing"), Bytes),
        ("realpath below what is not there", path(16, "missing/deeper"), Bytes),
        ("realpath below a file", path(16, "file/x"), Bytes),
        ("realpath of the root", path(16, "/"), Bytes),
        ("realpath of a broken link", path(16, "shattered"), Bytes),
        ("expand-path without tilde", Request::extended("expand-path@openssh.com").text("folder"), Bytes),
        ("expand-path of the home", Request::extended("expand-path@openssh.com").text("~"), Bytes),
        ("expand-path below the home", Request::extended("expand-path@openssh.com").text("~/x"), Bytes),
        ("expand-path of root", Request::extended("expand-path@openssh.com").text("~root"), Bytes),
        ("expand-path of nobody there", Request::extended("expand-path@openssh.com").text("~no-such-user/x"), Bytes),
        ("home-directory", Request::extended("home-directory").text("root"), Bytes),
        ("home-directory of this user", Request::extended("home-directory").text(""), Bytes),
        ("home-directory of nobody there", Request::extended("home-directory").text("no-such-user"), Bytes),
        (
            "users and groups",
            Request::extended("users-groups-by-id@openssh.com").text([0, 0, 0, 0, 0, 0, 0xff, 0xff]).text([0; 4]),
            Bytes,
        ),
        ("limits", Request::extended("limits@openssh.com"), Type),
        ("statvfs", Request::extended("statvfs@openssh.com").text("."), Type),
        ("statvfs of nothing", Request::extended("statvfs@openssh.com").text("missing"), Bytes),
        ("unknown extension", Request::extended("unknown@example.org").text("x"), Bytes),
        ("opendir of a file", path(11, "file"), Bytes),
        ("opendir of nothing", path(11, "missing"), Bytes),
        ("opendir", path(11, "hollow"), Bytes),
        ("read of a directory", Request::new(5).text(HANDLE).long(0).number(100), Bytes),
        ("readdir of an empty one", path(12, HANDLE), Type),
        ("readdir at its end", path(12, HANDLE), Bytes),
        ("readdir again", path(12, HANDLE), Bytes),
        ("closedir", close(HANDLE), Bytes),
        ("readdir of a file's handle", path(12, HANDLE), Bytes),
        ("name that is not UTF-8", Request::new(3).text(b"\xff\xfe").number(2 | 8).number(0), Bytes),
        ("close it", close(HANDLE), Bytes),
        ("remove it", path(13, b"\xff\xfe"), Bytes),
        ("remove", path(13, "hard"), Bytes),
        ("remove again", path(13, "hard"), Bytes),
    ];
    for (number, (_, request, _)) in rows.iter_mut().enumerate() {
        request.0[1..5].copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
    }
    rows
}

fn prepare(folder: &Path) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("file"), "hello world").unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    fs::create_dir(folder.join("folder/inner")).unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    for (target, name) in [("file", "link"), ("nowhere", "broken"), ("loop", "loop")] {
        std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
    }
    let set = Command::new("touch").args(["-d", "2024-02-29T12:34:56Z", "file", "folder"]).current_dir(folder).status();
    assert!(set.unwrap().success());
}

/// Sends all requests at once, and returns the replies.
fn replies(program: &Path, arguments: &[&str], folder: &Path, requests: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut command = leashed(Command::new(program));
    command.args(arguments).current_dir(folder).env("TZ", "UTC").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut bytes = vec![0, 0, 0, 5, 1, 0, 0, 0, 3];
    for request in requests {
        bytes.extend_from_slice(&u32::try_from(request.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(request);
    }
    let mut output = child.stdout.take().unwrap();
    let writer = std::thread::spawn(move || {
        input.write_all(&bytes).unwrap();
        // OpenSSH's server drops replies that wait when its input ends.
        input
    });
    let mut replies = Vec::new();
    while replies.len() <= requests.len() {
        let mut length = [0; 4];
        output.read_exact(&mut length).unwrap();
        let mut reply = vec![0; u32::from_be_bytes(length) as usize];
        output.read_exact(&mut reply).unwrap();
        replies.push(reply);
    }
    drop(writer.join().unwrap());
    assert!(child.wait().unwrap().success());
    replies
}

#[test]
fn replies_are_those_of_openssh() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("base"));
    prepare(&ours);
    prepare(&theirs);
    let script = script();
    let requests: Vec<Vec<u8>> = script.iter().map(|(_, request, _)| request.0.clone()).collect();
    let ours = replies(AGENT.as_ref(), &["sftp-server"], &ours, &requests);
    let theirs = replies(OPENSSH.as_ref(), &[], &theirs, &requests);
    assert_eq!((ours.len(), theirs.len()), (script.len() + 1, script.len() + 1));
    let mut wrong = Vec::new();
    for (((name, _, same), ours), theirs) in script.iter().zip(&ours[1..]).zip(&theirs[1..]) {
        let theirs = replaced(theirs, b"/base", b"/ours");
        let agree = if *same == Same::Type { ours[..5] == theirs[..5] } else { *ours == theirs };
        if !agree {
            wrong.push(format!("{name}:\n  ours    {}\n  OpenSSH {}", shown(ours), shown(&theirs)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), script.len(), wrong.join("\n"));
    // The greeting names the same extensions, in any order.
    let extensions = |greeting: &[u8]| {
        greeting[5..]
            .split(|byte| *byte < b' ')
            .filter(|part| !part.is_empty())
            .map(<[u8]>::to_vec)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let missing: Vec<_> = extensions(&theirs[0]).difference(&extensions(&ours[0])).map(|name| shown(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while let Some(at) = bytes.windows(from.len()).position(|part| part == from) {
        bytes.splice(at..at + from.len(), to.iter().copied());
    }
    bytes
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[test]
fn large_directory_is_listed_whole_with_names_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..3000 {
        fs::write(folder.path().join(format!("file-{number}")), "").unwrap();
    }
    fs::write(folder.path().join(OsStr::from_bytes(b"\xff")), "x").unwrap();
    let mut requests = vec![path(11, ".").0];
    requests.extend(std::iter::repeat_n(path(12, HANDLE).0, 40));
    let listed = |program: &Path, arguments: &[&str]| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut listed = BTreeMap::new();
        for reply in replies(program, arguments, folder.path(), &requests) {
            if reply[0] == 104 {
                let count = u32::from_be_bytes(reply[5..9].try_into().unwrap());
                let mut rest = &reply[9..];
                for _ in 0..count {
                    let mut text = || {
                        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
                        let (text, after) = rest[4..].split_at(length);
                        rest = after;
                        text.to_vec()
                    };
                    let (name, line) = (text(), text());
                    rest = &rest[32..];
                    listed.insert(name, line);
                }
            }
        }
        listed
    };
    let (ours, theirs) = (listed(AGENT.as_ref(), &["sftp-server"]), listed(OPENSSH.as_ref(), &[]));
    assert_eq!(ours.len(), 3003);
    for (name, line) in &theirs {
        if name != b".." {
            assert_eq!(ours.get(name).map(|line| shown(line)), Some(shown(line)));
        }
    }
}

#[test]
fn handles_are_bounded_and_one_that_is_closed_makes_room() {
    const MOST: usize = 1000;
    let folder = tempfile::tempdir().unwrap();
    let mut requests = vec![path(11, ".").0; MOST + 1];
    requests.extend([close(HANDLE).0, path(11, ".").0]);
    let kinds: Vec<u8> =
        replies(AGENT.as_ref(), &["sftp-server"], folder.path(), &requests)[1..].iter().map(|reply| reply[0]).collect();
    assert_eq!((kinds[0], &kinds[MOST..]), (102, &[101, 101, 102][..]));
}
