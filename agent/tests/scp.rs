//! scp's old protocol, spoken to the agent and to OpenSSH's scp in twin directories: the answers, the exit codes and what is
//! there afterwards agree.

use crate::gateway::{Gateway, program};
use crate::{AGENT, leashed};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

const OPENSSH: &str = "/usr/bin/scp";

/// Time of the prepared files, in seconds since 1970.
const PREPARED: i64 = 1_709_210_096;

/// Printable standard output of a run, and its exit code.
type Transcript = (String, Option<i32>);

fn run(program: &str, arguments: &[&str], folder: &Path, input: &[u8]) -> Transcript {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 027; exec \"$0\" \"$@\"", program]).args(arguments).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = leashed(command).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // A side that has ended reads no more.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    writer.join().unwrap();
    (output.escape_ascii().to_string(), child.wait().unwrap().code())
}

fn ours(arguments: &[&str]) -> Vec<String> {
    ["scp"].iter().chain(arguments).map(|&argument| argument.to_owned()).collect()
}

fn both(arguments: &[&str], folders: [&Path; 2], input: &[u8]) -> [Transcript; 2] {
    let own: Vec<String> = ours(arguments);
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    [run(AGENT, &own, folders[0], input), run(OPENSSH, arguments, folders[1], input)]
}

fn prepare(folder: &Path) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("file"), "hello world").unwrap();
    fs::set_permissions(folder.join("file"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    fs::create_dir(folder.join("folder/inner")).unwrap();
    fs::write(folder.join("folder/inner/deep"), vec![b'x'; 200_000]).unwrap();
    fs::write(folder.join("new\nline"), "n").unwrap();
    std::os::unix::fs::symlink("file", folder.join("link")).unwrap();
    let paths = ["file", "folder/inner", "folder/inner/deep", "folder"];
    let set = Command::new("touch").args(["-d", &format!("@{PREPARED}")]).args(paths).current_dir(folder).status();
    assert!(set.unwrap().success());
}

/// Every path below, with its mode, its time where that was given, and its content.
fn tree(folder: &Path, times: bool) -> BTreeMap<String, (u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            // Later than what was prepared is the moment of the run.
            let time = if times && metadata.is_file() { metadata.mtime().min(PREPARED + 1) } else { 0 };
            found.insert(name, (metadata.mode(), time, content));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn files_are_taken_as_by_openssh() {
    let large = [&b"C0644 300000 large\n"[..], &[b'y'; 300_000], b"\0"].concat();
    let rows: &[(&[&str], &[u8])] = &[
        (&["-t", "."], b"C0644 5 new\nhello\0"),
        (&["-t", "named"], b"C0644 5 new\nhello\0"),
        (&["-t", "."], b"C0666 0 empty\n\0"),
        (&["-t", "."], b"C4755 1 setuid\nx\0"),
        (&["-t", "."], b"C2775 1 setgid\nx\0"),
        (&["-t", "."], b"C1755 1 sticky\nx\0"),
        (&["-p", "-t", "."], b"C6755 1 both\nx\0"),
        (&["-r", "-t", "."], b"D2755 0 made\nE\n"),
        (&["-t", "."], b"C0444 1 readonly\nx\0"),
        (&["-pt", "."], b"C0666 1 kept\nx\0"),
        (&["-t", "."], b"C0600 2 file\nhi\0"),
        (&["-p", "-t", "."], b"C0600 2 file\nhi\0"),
        (&["-p", "-t", "."], b"T1000 5 2000 7\nC0600 1 timed\nx\0C0600 1 untimed\nx\0"),
        (&["-t", "--", "-dash"], b"C0600 1 x\nx\0"),
        (&["-t", "."], b"C0600 1 a\nx\0C0600 1 b\ny\0"),
        (&["-t", "."], &large),
        (&["-r", "-t", "."], b"D0750 0 made\nC0640 1 in\nx\0D0500 0 deeper\nC0640 1 in\ny\0E\nE\nC0600 1 beside\nz\0"),
        (&["-r", "-p", "-t", "."], b"T7 0 8 0\nD0777 0 made\nC0640 1 in\nx\0E\n"),
        (&["-r", "-t", "fresh"], b"D0755 0 made\nC0640 1 in\nx\0E\n"),
        (&["-r", "-p", "-t", "."], b"D0700 0 folder\nE\n"),
        (&["-r", "-t", "."], b"D0700 0 file\n"),
        (&["-t", "."], b"D0700 0 made\n"),
        (&["-d", "-t", "file"], b""),
        (&["-d", "-t", "missing"], b""),
        (&["-d", "-t", "folder"], b"C0600 1 in\nx\0"),
        (&["-t", "missing/deeper"], b"C0600 1 x\n"),
        (&["-t", "."], b"C0600 1 folder\n"),
        (&["-t", "link"], b"C0600 1 x\nz\0"),
        (&["-t", "file", "folder"], b"C0600 1 x\nz\0"),
        (&["-t", "."], b""),
        (&["-t", "."], b"\n"),
        (&["-t", "."], b"Welcome\n"),
        (&["-t", "."], b"C0600 1 a\nx\0Welcome\n"),
        (&["-t", "."], b"C0600"),
        (&["-t", "."], b"C0608 1 a\n"),
        (&["-t", "."], b"C06001 a\n"),
        (&["-t", "."], b"C0600 x a\n"),
        (&["-t", "."], b"C0600 1\n"),
        (&["-t", "."], b"C0600 99999999999999999999 a\n"),
        (&["-t", "."], b"C0600 1 \n"),
        (&["-t", "."], b"C0600 1 ..\n"),
        (&["-t", "."], b"C0600 1 ../a\n"),
        (&["-r", "-t", "."], b"D0700 0 .\n"),
        (&["-p", "-t", "."], b"Tx\n"),
        (&["-p", "-t", "."], b"T1 0\n"),
        (&["-p", "-t", "."], b"T1 9999999 1 0\n"),
        (&["-p", "-t", "."], b"T1 0 x 0\n"),
        (&["-p", "-t", "."], b"T1 0 1 0x\n"),
        (&["-t", "."], b"C0600 5 a\nhe"),
        (&["-t", "."], b"C0600 5 a\nhello\x01too bad\nC0600 1 b\nx\0"),
        (&["-t", "."], b"C0600 5 a\nhello\x02over\nC0600 1 b\nx\0"),
        (&["-t", "."], b"\x01warning\nC0600 1 b\nx\0"),
        (&["-t", "."], b"\x02the end\nC0600 1 b\nx\0"),
        (&["-t", "."], b"E\n"),
    ];
    let mut wrong = Vec::new();
    for (arguments, input) in rows {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().join("ours"), folder.path().join("theirs")];
        folders.iter().for_each(|folder| prepare(folder));
        let [ours, theirs] = both(arguments, [&folders[0], &folders[1]], input);
        let times = arguments.iter().any(|argument| argument.contains('p')) && input.starts_with(b"T");
        let row = format!("{arguments:?} {}", input[..input.len().min(60)].escape_ascii());
        if ours != theirs {
            wrong.push(format!("{row}\n  ours    {ours:?}\n  OpenSSH {theirs:?}"));
        }
        // OpenSSH's scp has not written yet what came of a file that ends too early.
        let incomplete = *input == b"C0600 5 a\nhe";
        if !incomplete && tree(&folders[0], times) != tree(&folders[1], times) {
            wrong.push(format!("{row}: other files"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn files_are_given_as_by_openssh() {
    let rows: &[(&[&str], &[u8])] = &[
        (&["-f", "file"], b"\0\0\0"),
        (&["-f", "link"], b"\0\0\0"),
        (&["-p", "-f", "file"], b"\0\0\0\0"),
        (&["-f", "file", "folder/inner/deep"], b"\0\0\0\0\0"),
        (&["-f", "missing"], b"\0"),
        (&["-f", "missing", "file"], b"\0\0\0"),
        (&["-f", "folder"], b"\0"),
        (&["-f", "/dev/null"], b"\0"),
        (&["-f", "file/x"], b"\0"),
        (&["-f", ""], b"\0"),
        (&["-f", "new\nline"], b"\0\0\0"),
        (&["-r", "-f", "folder"], &[0; 9]),
        (&["-rp", "-f", "folder///"], &[0; 12]),
        (&["-r", "-f", "folder/inner"], &[0; 9]),
        (&["-r", "-f", "file"], &[0; 9]),
        (&["-f", "file"], b"\0\x01no thanks\n"),
        (&["-f", "file", "link"], b"\0\x01no thanks\n\0\0"),
        (&["-f", "file", "link"], b"\0\x02over\n\0\0"),
        (&["-f", "file"], b"\0\0\x01lost it\n"),
        (&["-r", "-f", "folder"], b"\0\x01no thanks\n\0\0"),
        (&["-r", "-f", "folder"], b"\0\0\x01no thanks\n\0\0"),
        (&["-f", "file"], b""),
        (&["-f", "file"], b"\0"),
        (&["-f", "file"], b"\0\0"),
        (&["-f"], b"\0"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    prepare(&tree);
    let mut wrong = Vec::new();
    for (arguments, input) in rows {
        let [ours, theirs] = both(arguments, [&tree, &tree], input);
        // Reading changes the time of the last access at most.
        if ours != theirs {
            let short = |(text, code): &Transcript| format!("{}… {code:?}", &text[..text.len().min(200)]);
            let row = format!("{arguments:?} {}", input.escape_ascii());
            wrong.push(format!("{row}\n  ours    {}\n  OpenSSH {}", short(&ours), short(&theirs)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn what_is_not_the_remote_side_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["scp", "a", "b:"][..], &["scp", "-t", "-x", "."], &["scp"]] {
        assert_eq!(run(AGENT, arguments, folder.path(), b"").1, Some(1), "{arguments:?}");
    }
}

#[test]
fn image_without_scp_has_the_agent_s_at_the_end_of_path_and_another_its_own() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "hello").unwrap();
    let path = folder.path().join("bin");
    fs::create_dir(&path).unwrap();
    let start = || {
        let mut command = leashed(Command::new(AGENT));
        command.arg("link").env("PATH", &path).env("TMPDIR", folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Gateway::started_by(command)
    };
    let script = format!("command -v scp; echo $PATH; cd {}; exec scp -f file", folder.path().display());
    let mut gateway = start();
    let stream = gateway.open(program(&["/bin/sh", "-c", &script]));
    gateway.write(stream, b"\0\0\0");
    let output = String::from_utf8(gateway.ended(stream).output).unwrap();
    let (found, rest) = output.split_once('\n').unwrap();
    let (searched, sent) = rest.split_once('\n').unwrap();
    assert_eq!(sent, "C0644 5 file\nhello\0");
    let own = Path::new(found).parent().unwrap();
    assert!(own.starts_with(folder.path()), "{found}");
    assert_eq!(searched, format!("{}:{}", path.display(), own.display()));
    gateway.finish();
    assert!(!own.exists(), "{}", own.display());

    std::os::unix::fs::symlink("/bin/true", path.join("scp")).unwrap();
    let mut gateway = start();
    let stream = gateway.open(program(&["/bin/sh", "-c", "command -v scp; echo $PATH"]));
    let output = String::from_utf8(gateway.ended(stream).output).unwrap();
    assert_eq!(output, format!("{0}/scp\n{0}\n", path.display()));
    gateway.finish();
}
