//! The program itself: its exit codes, its lines, and its end.

#![expect(clippy::expect_used, clippy::panic, reason = "a test ends where its set-up fails")]

mod papers;

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
        (&["--config", &bad], "bad.yaml: users.foo.pasword: unknown key; known here are"),
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
    let output = run(&["--config", &good, "--check"], "");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "the file is valid; users: 0\n".to_owned()));
    let shell = write(folder.path(), "shell.yaml", "users: {foo: {environment: {X-Y: s3cret}}}\n---\n");
    let output = run(&["--config", &shell, "--check"], "");
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stdout);
    assert!(said.contains("warning: users.foo.environment.X-Y: is left out") && !said.contains("s3cret"), "{said}");
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

/// A file whose settings no gateway understands.
const WRONG_SETTINGS: &str = "
defaults: {settings: {kubernetes: {pod: {mode: sesion}}}}
users:
  alice: {settings: {security: {forceComand: s3cret}}}
  bob: {settings: {kubernets: {}, ssh: {}, kubernetes: {pod: {modus: session}}}}
  carol: {}
";

const SETTINGS_MISTAKES: [&str; 6] = [
    "users.bob.settings.ssh: unknown key; known here are audit, backend",
    "users.bob.settings.kubernetes.pod.modus: unknown key",
    "users.bob.settings.kubernets: unknown key; did you mean \"kubernetes\"?",
    "users.alice.settings.security.forceComand: unknown key; did you mean \"forceCommand\"?",
    "users.carol",
    "defaults.settings.kubernetes.pod.mode: \"sesion\" is not one of connection, session, persistent",
];

#[test]
fn settings_that_a_gateway_does_not_understand_are_refused_by_the_check_and_by_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "users.yaml", WRONG_SETTINGS);
    for words in [&["--config", &file, "--check"][..], &["--config", &file, "--log-format", "text"]] {
        let output = run(words, "");
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(64), String::new()), "{said}");
        for mistake in SETTINGS_MISTAKES {
            let told = said.lines().filter(|line| line.contains(&format!("{file}: {mistake}"))).count();
            // Whoever has no mistake of their own is not named.
            assert_eq!(told, usize::from(mistake != "users.carol"), "{mistake}\n{said}");
        }
        assert!(!said.contains("s3cret"), "{said}");
    }
    let fine = "
defaults: {settings: {backend: kubernetes, kubernetes: {pod: {spec: {containers: [{name: a, image: b, comand: []}]}}}}}
users: {alice: {settings: {security: {maxSessions: 0}, docker: {}}}, bob: {}}
";
    let file = write(folder.path(), "fine.yaml", fine);
    let output = run(&["--config", &file, "--check"], "");
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    for warning in [
        "warning: defaults.settings.kubernetes.pod.spec.containers[0].comand: ",
        "warning: users.alice.settings.docker: has no effect for a single connection",
    ] {
        assert_eq!(said.matches(warning).count(), 1, "{warning}\n{said}");
    }
}

/// Checks a line of the log against the gateway's form: its fields, their order, and the time in milliseconds.
fn is_a_line_of_the_gateways(line: &str) -> serde_json::Value {
    let json: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let object = json.as_object().expect("an object");
    let mut at = 0;
    for field in ["timestamp", "level", "code", "message", "details"] {
        assert!(object.contains_key(field), "{field}: {line}");
        let found = line[at..].find(&format!("\"{field}\":")).expect("in this order");
        at += found;
    }
    assert_eq!(object.len(), 5, "{line}");
    let time = json["timestamp"].as_str().expect("a text");
    assert_eq!((&time[10..11], &time[19..20]), ("T", "."), "{time}");
    assert!(time[20..23].chars().all(|c| c.is_ascii_digit()) && !time[23..24].contains(char::is_numeric), "{time}");
    assert!(json["code"].as_str().is_some_and(|code| code.starts_with("WEBHOOKS_")), "{line}");
    assert!(json["details"].as_object().expect("an object").values().all(serde_json::Value::is_string), "{line}");
    json
}

#[test]
fn failure_at_the_start_is_a_line_of_the_log_for_each_mistake() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "users.yaml", "users: {a: {b: 1, c: 2}}");
    let output = run(&["--config", &file, "--listen", "ftp://x"], "");
    let lines: Vec<_> = text(&output.stderr).lines().map(is_a_line_of_the_gateways).collect();
    assert_eq!((output.status.code(), lines.len()), (Some(64), 3), "{lines:?}");
    for line in lines {
        assert_eq!((&line["level"], &line["code"]), (&"crit".into(), &"WEBHOOKS_START_FAILED".into()));
    }
    let output = run(&["--config", &file, "--log-format", "text"], "");
    let said = text(&output.stderr);
    assert!(
        said.lines().all(|line| line.contains("\tcrit\t") && line.ends_with("(code=WEBHOOKS_START_FAILED)")),
        "{said}"
    );
    for wrong in [["--log-format", "xml"], ["--log-level", "loud"]] {
        assert_eq!(run(&[&["--config", &file][..], &wrong].concat(), "").status.code(), Some(64));
    }
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
        is_a_line_of_the_gateways(&line)
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
    let url = server.line()["details"]["url"].as_str().expect("where it listens").to_owned();
    let address = url.strip_prefix("http://").expect("HTTP");
    // "hunter3", then "hunter2"
    for (password, code) in [("aHVudGVyMw==", "WEBHOOKS_DENIED"), ("aHVudGVyMg==", "WEBHOOKS_ALLOWED")] {
        let body = format!(r#"{{"username":"foo","passwordBase64":"{password}","connectionId":"7"}}"#);
        let answer = ask(address, "/password", &body);
        assert!(answer.contains(&format!(r#""success":{}"#, code == "WEBHOOKS_ALLOWED")), "{answer}");
        let line = server.line();
        assert_eq!((&line["code"], &line["details"]["username"]), (&code.into(), &"foo".into()), "{line}");
        assert!(!line.to_string().contains("hunter") && !line.to_string().contains(password), "{line}");
    }
}

#[test]
fn question_whether_the_server_is_there_is_no_line_at_the_default_level() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "users.yaml", "users: {}");
    for (level, expected) in [("info", "WEBHOOKS_REQUEST_REFUSED"), ("debug", "WEBHOOKS_REACHED")] {
        let listen = ["--listen", "http://127.0.0.1:0", "--log-level", level];
        let mut server = Server::start(&[&["--config", &file][..], &listen].concat());
        let url = server.line()["details"]["url"].as_str().expect("where it listens").to_owned();
        for method in ["HEAD", "GET"] {
            let mut stream = TcpStream::connect(url.strip_prefix("http://").expect("HTTP")).expect("a connection");
            write!(stream, "{method} /password HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        }
        assert_eq!(server.line()["code"], expected);
    }
}

/// The users' names that a server knows: who is asked for gets a configuration.
fn knows(address: &str, name: &str) -> bool {
    let body = format!(r#"{{"username":"{name}"}}"#);
    let answer = ask(address, "/config", &body);
    let denied = answer.contains(r#""success":false"#);
    assert!(answer.starts_with("HTTP/1.1 200") && denied != answer.contains(r#""config":"#), "{answer}");
    !denied
}

impl Server {
    /// The next line that tells of the file.
    fn reload(&mut self) -> serde_json::Value {
        loop {
            let line = self.line();
            if line["code"].as_str().is_some_and(|code| code.starts_with("WEBHOOKS_FILE_")) {
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
    let url = server.line()["details"]["url"].as_str().expect("where it listens").to_owned();
    let address = url.strip_prefix("http://").expect("HTTP");
    assert!(knows(address, "alice") && !knows(address, "bob"));

    write(folder.path(), "users.yaml", "users: {mallory: {passwordHash: s3cret}}");
    let line = server.reload();
    assert_eq!((&line["code"], &line["level"]), (&"WEBHOOKS_FILE_REFUSED".into(), &"error".into()), "{line}");
    let reason = line["details"]["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("users.mallory.passwordHash: is not an argon2 hash") && !reason.contains("s3cret"),
        "{line}"
    );
    assert!(knows(address, "alice") && !knows(address, "mallory"));

    write(folder.path(), "users.yaml", "users: {mallory: {settings: {security: {forceComand: s3cret}}}}");
    let line = server.reload();
    let reason = line["details"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("did you mean \"forceCommand\"") && !reason.contains("s3cret"), "{line}");
    assert!(knows(address, "alice") && !knows(address, "mallory"));

    let next = write(folder.path(), "next.yaml", "users: {bob: {}}");
    std::fs::rename(next, &file).expect("a rename");
    assert_eq!((&server.reload()["code"], knows(address, "bob")), (&"WEBHOOKS_FILE_TAKEN".into(), true));
    assert!(!knows(address, "alice"));

    write(folder.path(), "users.yaml", "users: {alice: {}, bob: {}}");
    assert_eq!(server.reload()["details"]["users"], "2");
    assert!(knows(address, "alice"));

    std::fs::remove_file(&file).expect("the file");
    let line = server.reload();
    assert!(line["details"]["reason"].as_str().is_some_and(|reason| reason.contains("cannot be read")), "{line}");
    assert!(knows(address, "alice"));
}

#[test]
fn sighup_takes_what_is_there_at_once_and_ends_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "users.yaml", "users: {alice: {}}");
    let mut server = Server::start(&["--config", &file, "--listen", "http://127.0.0.1:0"]);
    let url = server.line()["details"]["url"].as_str().expect("where it listens").to_owned();
    for users in [1, 1, 2] {
        if users == 2 {
            write(folder.path(), "users.yaml", "users: {alice: {}, bob: {}}");
        }
        let told = Command::new("kill").args(["-HUP", &server.child.id().to_string()]).status().expect("kill");
        assert!(told.success());
        assert_eq!(server.reload()["details"]["users"], users.to_string());
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
    assert_eq!(server.line()["details"]["url"], listen.as_str());
    assert!(socket.exists());
    let killed = Command::new("kill").arg(server.child.id().to_string()).status().expect("kill");
    assert!(killed.success());
    assert_eq!(server.child.wait().expect("its end").code(), Some(0));
    assert!(!socket.exists());
    for code in ["WEBHOOKS_STOPPING", "WEBHOOKS_STOPPED"] {
        assert_eq!(server.line()["code"], code);
    }
}
