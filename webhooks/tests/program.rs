//! The program itself: its exit codes, its lines, and its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate-webhooks"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    podgate_devcluster::leash(&mut command).expect("a watchdog");
    command
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = program(arguments).spawn().expect("the program");
    // A program that has found its arguments wrong does not read.
    drop(child.stdin.take().expect("a pipe").write_all(input.as_bytes()));
    child.wait_with_output().expect("its end")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file");
    path.display().to_string()
}

#[test]
fn wrong_arguments_and_wrong_files_end_with_64() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = write(folder.path(), "good.yaml", "users: {}");
    let bad = write(folder.path(), "bad.yaml", "users: {foo: {pasword: s3cret}}\nmore: 1");
    let old = write(folder.path(), "old.yaml", "users: {foo: {settings: {kuberun: {pod: {}}}}}");
    for (arguments, expected) in [
        (
            &["--config", &old][..],
            "users.foo.settings.kuberun: is a section of ContainerSSH 0.3; write backend: kubernetes",
        ),
        (&[][..], "--config"),
        (&["--nonsense"], "--nonsense"),
        (&["--config", "/nonexistent"], "cannot read /nonexistent"),
        (&["--config", &bad], "users.foo.pasword: is not a known key"),
        (&["--config", &good, "--listen", "0.0.0.0:80"], "is not https://HOST:PORT"),
        (&["--config", &good, "--listen", "https://127.0.0.1:0"], "https needs a certificate"),
        (&["--config", &good, "--cert", "x"], "--key"),
        (&["--config", &good, "--client-ca", "x"], "--cert"),
        (&["--config", &good, "--cert", "/nonexistent", "--key", "x"], "cannot read /nonexistent"),
        (&["--config", &good, "--socket-mode", "0666"], "0600"),
        (&["--config", &good, "--socket-mode", "0660"], "only with unix:/PATH"),
    ] {
        let output = run(arguments, "");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", text(&output.stderr));
        let said = text(&output.stderr);
        assert!(said.contains(expected) && !said.contains("s3cret"), "{arguments:?}: {said}");
    }
    assert_eq!(run(&["--config", &good, "--check"], "").status.code(), Some(0));
    let shell = write(folder.path(), "shell.yaml", "users: {foo: {environment: {X-Y: s3cret}}}\n---\n");
    let output = run(&["--config", &shell, "--check"], "");
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stderr);
    assert!(said.contains("users.foo.environment.X-Y: is left out") && !said.contains("s3cret"), "{said}");
    assert_eq!(run(&["--help"], "").status.code(), Some(0));
}

#[test]
fn address_that_cannot_be_had_ends_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "users.yaml", "users: {}");
    let output = run(&["--config", &file, "--listen", "http://0.0.0.0:0"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("passwords in the clear"), "{}", text(&output.stderr));
}

#[test]
fn password_of_no_line_or_many_has_no_hash() {
    for input in ["", "\n", "a\nb\n", &"x".repeat(4097), &"x".repeat(5000)] {
        let output = run(&["hash"], input);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(64), String::new()), "{input:?}");
    }
}

/// The whole answer to one request.
fn ask(address: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

struct Server {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program(arguments).spawn().expect("the program");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    fn line(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to kill after a test that went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn hashed_password_logs_in_and_each_decision_is_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let hash = text(&run(&["hash"], "hunter2\n").stdout);
    assert!(hash.starts_with("$argon2id$"), "{hash}");
    let users = format!("users: {{foo: {{passwordHash: '{}'}}}}", hash.trim());
    let file = write(folder.path(), "users.yaml", &users);

    let mut server = Server::start(&["--config", &file, "--listen", "http://127.0.0.1:0"]);
    let url = server.line()["url"].as_str().expect("where it listens").to_owned();
    let address = url.strip_prefix("http://").expect("HTTP");
    // "hunter3", then "hunter2"
    for (password, decision) in [("aHVudGVyMw==", "deny"), ("aHVudGVyMg==", "allow")] {
        let body = format!(r#"{{"username":"foo","passwordBase64":"{password}","connectionId":"7"}}"#);
        let answer = ask(address, "/password", &body);
        assert!(answer.contains(&format!(r#""success":{}"#, decision == "allow")), "{answer}");
        let line = server.line();
        assert_eq!((&line["decision"], &line["username"]), (&decision.into(), &"foo".into()), "{line}");
        assert!(!line.to_string().contains("hunter") && !line.to_string().contains(password), "{line}");
    }
}

/// The users' names that a server knows: who is asked for gets a configuration.
fn knows(address: &str, name: &str) -> bool {
    let body = format!(r#"{{"username":"{name}"}}"#);
    let answer = ask(address, "/config", &body);
    assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 403"), "{answer}");
    answer.starts_with("HTTP/1.1 200")
}

impl Server {
    /// The next line that tells of the file.
    fn reload(&mut self) -> serde_json::Value {
        loop {
            let line = self.line();
            if line["event"] != serde_json::Value::Null {
                return line;
            }
        }
    }
}

#[test]
fn changed_file_is_taken_however_it_was_written_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "users.yaml", "users: {alice: {}}");
    let mut server = Server::start(&["--config", &file, "--listen", "http://127.0.0.1:0"]);
    let url = server.line()["url"].as_str().expect("where it listens").to_owned();
    let address = url.strip_prefix("http://").expect("HTTP");
    assert!(knows(address, "alice") && !knows(address, "bob"));

    write(folder.path(), "users.yaml", "users: {mallory: {passwordHash: s3cret}}");
    let line = server.reload();
    assert_eq!((&line["event"], &line["level"]), (&"not reloaded".into(), &"error".into()), "{line}");
    let reason = line["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("users.mallory.passwordHash: is not an argon2 hash") && !reason.contains("s3cret"),
        "{line}"
    );
    assert!(knows(address, "alice") && !knows(address, "mallory"));

    let next = write(folder.path(), "next.yaml", "users: {bob: {}}");
    std::fs::rename(next, &file).expect("a rename");
    assert_eq!((&server.reload()["event"], knows(address, "bob")), (&"reloaded".into(), true));
    assert!(!knows(address, "alice"));

    write(folder.path(), "users.yaml", "users: {alice: {}, bob: {}}");
    assert_eq!(server.reload()["users"], 2);
    assert!(knows(address, "alice"));

    std::fs::remove_file(&file).expect("the file");
    let line = server.reload();
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("cannot read")), "{line}");
    assert!(knows(address, "alice"));
}

#[test]
fn sighup_takes_what_is_there_at_once_and_ends_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "users.yaml", "users: {alice: {}}");
    let mut server = Server::start(&["--config", &file, "--listen", "http://127.0.0.1:0"]);
    let url = server.line()["url"].as_str().expect("where it listens").to_owned();
    for users in [1, 1, 2] {
        if users == 2 {
            write(folder.path(), "users.yaml", "users: {alice: {}, bob: {}}");
        }
        let told = Command::new("kill").args(["-HUP", &server.child.id().to_string()]).status().expect("kill");
        assert!(told.success());
        assert_eq!(server.reload()["users"], users);
    }
    assert!(knows(url.strip_prefix("http://").expect("HTTP"), "bob"));
}

#[test]
fn password_typed_at_a_terminal_is_not_shown_and_must_be_typed_twice_alike() {
    // script(1) of util-linux gives the program a terminal; what that shows is its standard output.
    let at_a_terminal = |typed: &str| {
        let program = format!("{} hash", env!("CARGO_BIN_EXE_podgate-webhooks"));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &program, "/dev/null"]);
        let script = podgate_devcluster::leash(&mut script).expect("a watchdog");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script");
        let mut stdin = child.stdin.take().expect("a pipe");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut shown = Vec::new();
        for (prompt, line) in ["Password: ", "Again: "].iter().zip(typed.split_inclusive('\n')) {
            // What is typed before the prompt is there would be shown by the terminal.
            while !text(&shown).ends_with(prompt) {
                let mut byte = [0];
                assert_eq!(stdout.read(&mut byte).expect("a byte"), 1, "{}", text(&shown));
                shown.push(byte[0]);
            }
            stdin.write_all(line.as_bytes()).expect("a line");
        }
        stdout.read_to_end(&mut shown).expect("the rest");
        (child.wait().expect("its end").code(), text(&shown))
    };
    let (status, shown) = at_a_terminal("hunter2\nhunter2\n");
    assert!(status == Some(0) && shown.contains("$argon2id$") && !shown.contains("hunter"), "{status:?} {shown}");
    let (status, shown) = at_a_terminal("hunter2\nhunter2\u{3}");
    assert!(status == Some(1) && !shown.contains("$argon2id$") && !shown.contains("hunter"), "{status:?} {shown}");
    let (status, shown) = at_a_terminal("hunter2\nhunter3\n");
    assert!(status == Some(64) && shown.contains("not the same") && !shown.contains("hunter"), "{status:?} {shown}");
    assert!(!shown.contains("$argon2id$"), "{shown}");
}

#[test]
fn sigterm_ends_with_0_and_leaves_no_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "users.yaml", "users: {}");
    let socket = folder.path().join("s");
    let listen = format!("unix:{}", socket.display());
    let mut server = Server::start(&["--config", &file, "--listen", &listen, "--socket-mode", "0660"]);
    assert_eq!(server.line()["url"], listen.as_str());
    assert!(socket.exists());
    let killed = Command::new("kill").arg(server.child.id().to_string()).status().expect("kill");
    assert!(killed.success());
    assert_eq!(server.child.wait().expect("its end").code(), Some(0));
    assert!(!socket.exists());
}
