//! The program `podgate-agent link`, driven by a gateway's end of the link over its standard streams.

use crate::gateway::{Gateway, program};
use crate::{AGENT, leashed, reserved_port};
use podgate_link::request::{Address, GatewayRequest, ProgramMessage, ProgramRequest, Size, TerminalRequest};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, getsockname, listen, socket};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::Stdio;

#[test]
fn program_that_is_not_there_is_refused_with_a_reason() {
    let mut gateway = Gateway::start();
    let stream = gateway.open(program(&["no-such-program"]));
    let ended = gateway.ended(stream);
    assert_eq!((ended.close.code, ended.close.reason.as_str()), (4, "no-such-program: command not found"));
    let stream = gateway.open(program(&["/etc/passwd"]));
    assert_eq!(gateway.ended(stream).close.code, 5);
    gateway.finish();
}

#[test]
fn streams_and_status_of_a_program_come_through() {
    let mut gateway = Gateway::start();
    let stream = gateway.open(program(&["/bin/sh", "-c", "cat; echo err >&2; exit 7"]));
    gateway.write(stream, b"in\n");
    gateway.end_input(stream);
    let ended = gateway.ended(stream);
    assert_eq!((&*ended.output, &*ended.error), (&b"in\n"[..], &b"err\n"[..]));
    assert_eq!((ended.exit, ended.close.code), (Some(ProgramMessage::ExitStatus(7)), 0));
    gateway.finish();
}

#[test]
fn signal_is_told_as_signal() {
    let mut gateway = Gateway::start();
    let stream = gateway.open(program(&["/bin/sh", "-c", "echo up; sleep 100 & wait"]));
    gateway.read_until(stream, b"up\n");
    gateway.message(stream, &ProgramMessage::Signal(b"TERM".to_vec()));
    let ended = gateway.ended(stream);
    assert_eq!(ended.exit, Some(ProgramMessage::ExitSignal(b"TERM".to_vec(), false)));
    gateway.finish();
}

#[test]
fn environment_is_the_login_s_and_what_was_asked_for() {
    let mut gateway = Gateway::start();
    let mut request = program(&["env"]);
    if let GatewayRequest::Program(program) = &mut request {
        program.env = vec![(b"ASKED".to_vec(), b"for".to_vec())];
    }
    let stream = gateway.open(request);
    let output = String::from_utf8(gateway.ended(stream).output).unwrap();
    for variable in ["ASKED=for", "HOME=", "USER=", "LOGNAME=", "SHELL=", "PATH="] {
        assert!(output.lines().any(|line| line.starts_with(variable)), "{variable} in {output}");
    }
    gateway.finish();
}

#[test]
fn terminal_has_size_modes_and_a_name() {
    let mut gateway = Gateway::start();
    let size = Size { columns: 91, rows: 17, width: 0, height: 0 };
    let terminal = TerminalRequest { term: b"vt220".to_vec(), size, modes: vec![(53, 0), (1, 24)] };
    let request = ProgramRequest {
        argv: ["/bin/sh", "-c", "stty -a; echo $TERM $SSH_TTY; tty; read line; stty size"].map(Into::into).to_vec(),
        terminal: Some(terminal),
        ..ProgramRequest::default()
    };
    let stream = gateway.open(GatewayRequest::Program(request));
    gateway.read_until(stream, b"/dev/pts/");
    gateway.message(stream, &ProgramMessage::Resize(Size { columns: 100, rows: 50, width: 0, height: 0 }));
    gateway.write(stream, b"\n");
    let ended = gateway.ended(stream);
    let output = String::from_utf8_lossy(&ended.output).into_owned();
    assert!(output.contains("rows 17; columns 91;"), "{output}");
    assert!(
        output.contains("-echo ") && output.contains("intr = ^X;") && output.contains("vt220 /dev/pts/"),
        "{output}"
    );
    assert!(output.ends_with("50 100\r\n"), "{output}");
    assert_eq!(ended.exit, Some(ProgramMessage::ExitStatus(0)));
    gateway.finish();
}

#[test]
fn program_without_a_terminal_leads_a_session_and_a_group_of_its_own() {
    let mut gateway = Gateway::start();
    let script = "set -- $(cat /proc/$$/stat); [ $5 = $$ ] && [ $6 = $$ ] && [ $7 = 0 ]";
    let stream = gateway.open(program(&["/bin/sh", "-c", script]));
    assert_eq!(gateway.ended(stream).exit, Some(ProgramMessage::ExitStatus(0)));
    gateway.finish();
}

#[test]
fn terminal_that_nothing_has_open_does_not_hang_up_its_program() {
    let mut gateway = Gateway::start();
    let size = Size { columns: 80, rows: 24, width: 0, height: 0 };
    let terminal = TerminalRequest { term: b"xterm".to_vec(), size, modes: Vec::new() };
    let script = "trap 'exit 3' TERM; exec <&- >&- 2>&-; sleep 1000 & wait";
    let request = ProgramRequest {
        argv: ["/bin/sh", "-c", script].map(Into::into).to_vec(),
        terminal: Some(terminal),
        ..ProgramRequest::default()
    };
    let stream = gateway.open(GatewayRequest::Program(request));
    // The program has given up its terminal by then, and runs on until it is told to end.
    gateway.output_ended(stream);
    gateway.message(stream, &ProgramMessage::Signal(b"TERM".to_vec()));
    assert_eq!(gateway.ended(stream).exit, Some(ProgramMessage::ExitStatus(3)));
    gateway.finish();
}

#[test]
fn stalled_program_stops_no_other_and_large_output_arrives_whole() {
    let mut gateway = Gateway::start();
    let stalled = gateway.open(program(&["/bin/sh", "-c", "exec cat /dev/zero"]));
    let busy = gateway.open(program(&["/bin/sh", "-c", "head -c 30000000 /dev/zero | tr '\\0' x"]));
    let ended = gateway.ended(busy);
    assert!(ended.output.len() == 30_000_000 && ended.output.iter().all(|byte| *byte == b'x'));
    gateway.close(stalled);
    gateway.finish();
}

#[test]
fn group_of_a_closed_stream_is_ended() {
    let mut gateway = Gateway::start();
    let stream = gateway.open(program(&["/bin/sh", "-c", "trap '' HUP; sleep 1000 & echo $!; wait"]));
    let output = gateway.read_until(stream, b"\n");
    let pid = String::from_utf8(output).unwrap().trim().to_owned();
    gateway.close(stream);
    gateway.finish();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    assert!(status.is_empty() || status.contains("State:\tZ"), "{status}");
}

#[test]
fn background_of_an_ended_program_lives_until_the_link_s_end_and_a_session_of_its_own_beyond() {
    let mut gateway = Gateway::start();
    let script = "sleep 1000 >/dev/null 2>&1 & echo $!; setsid sleep 1000 >/dev/null 2>&1 & echo $!";
    let stream = gateway.open(program(&["/bin/sh", "-c", script]));
    let output = String::from_utf8(gateway.ended(stream).output).unwrap();
    let [background, daemon] = output.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{output}") };
    let session = |pid: &str| stat(pid).and_then(|stat| stat.split(' ').nth(3).map(str::to_owned));
    crate::until(|| session(daemon).as_deref() == Some(daemon));
    // Another program's end is noticed after the first one's.
    let other = gateway.open(program(&["true"]));
    gateway.ended(other);
    assert!(is_alive(background) && is_alive(daemon));
    gateway.finish();
    assert!(!is_alive(background));
    assert!(is_alive(daemon));
    let ended = std::process::Command::new(AGENT).args(["signal", "--signal", "KILL", "--pid", daemon]).status();
    assert!(ended.unwrap().success());
}

/// The fields of `/proc/PID/stat` behind the name: the first is the state.
fn stat(pid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ").map(|(_, fields)| fields.to_owned())
}

fn is_alive(pid: &str) -> bool {
    stat(pid).is_some_and(|stat| !stat.starts_with('Z'))
}

#[test]
fn many_small_writes_become_few_frames() {
    let mut gateway = Gateway::start();
    let began = std::time::Instant::now();
    let stream = gateway.open(program(&["/bin/sh", "-c", "exec dd if=/dev/zero bs=1k count=16384 2>/dev/null"]));
    let ended = gateway.ended(stream);
    assert_eq!(ended.output.len(), 16 * 1024 * 1024);
    // At least 32 KiB each, or half a millisecond apart; the carrier may bring each in two pieces.
    let most = 2 * (ended.output.len() as u128 / (32 * 1024) + began.elapsed().as_micros() / 500) + 10;
    assert!(u128::from(ended.pieces) <= most, "{} pieces, {most} expected at most", ended.pieces);
    gateway.finish();
}

#[test]
fn connection_carries_both_ways_and_ends_by_halves() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut input = Vec::new();
        socket.read_to_end(&mut input).unwrap();
        socket.write_all(b"answer to ").unwrap();
        socket.write_all(&input).unwrap();
    });
    let mut gateway = Gateway::start();
    let stream = gateway.open(GatewayRequest::Dial(Address::Tcp(b"127.0.0.1".to_vec(), port)));
    gateway.write(stream, b"question");
    gateway.end_input(stream);
    assert_eq!(gateway.ended(stream).output, b"answer to question");
    peer.join().unwrap();
    gateway.finish();
}

#[test]
fn file_is_written_with_its_mode_or_the_reason_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a file");
    let mut gateway = Gateway::start();
    let stream = gateway.open(GatewayRequest::WriteFile(path.to_str().unwrap().into()));
    gateway.write(stream, &[9; 300_000]);
    gateway.end_input(stream);
    assert_eq!(gateway.ended(stream).close.code, 0);
    assert!(std::fs::read(&path).unwrap() == [9; 300_000]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let stream = gateway.open(GatewayRequest::WriteFile(b"/nonexistent/file".to_vec()));
    gateway.end_input(stream);
    let close = gateway.ended(stream).close;
    assert_eq!(close.code, 4, "{}", close.reason);
    gateway.finish();
}

#[test]
fn nothing_but_a_regular_file_is_written() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let (pipe, link, target) = (folder.path().join("pipe"), folder.path().join("link"), folder.path().join("target"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::write(&target, "kept").unwrap();
    symlink(&target, &link).unwrap();
    let mut gateway = Gateway::start();
    for path in [&pipe, &link] {
        let stream = gateway.open(GatewayRequest::WriteFile(path.to_str().unwrap().into()));
        gateway.write(stream, b"secret");
        gateway.end_input(stream);
        let close = gateway.ended(stream).close;
        assert_eq!((close.code, close.reason), (3, format!("{}: not a regular file", path.display())));
    }
    assert_eq!(std::fs::read(&target).unwrap(), b"kept");
    // Of a file that others could read, only they read what was in it.
    std::fs::set_permissions(&target, PermissionsExt::from_mode(0o644)).unwrap();
    let stream = gateway.open(GatewayRequest::WriteFile(target.to_str().unwrap().into()));
    gateway.write(stream, b"new");
    gateway.end_input(stream);
    assert_eq!(gateway.ended(stream).close.code, 0);
    assert_eq!(std::fs::read(&target).unwrap(), b"new");
    assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    let socket = folder.path().join("socket");
    let listen = podgate_link::request::Listen::Unix(socket.to_str().unwrap().into());
    let listener = gateway.open(GatewayRequest::Listen(listen));
    gateway.reply(listener);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    gateway.finish();
}

#[test]
fn dial_that_fails_says_why() {
    let (_reserved, port) = reserved_port();
    let mut gateway = Gateway::start();
    for (address, code) in [
        (Address::Tcp(b"127.0.0.1".to_vec(), port), 6),
        (Address::Unix(b"/nonexistent/socket".to_vec()), 4),
        (Address::Tcp(vec![b'x'; 300], 1), 7),
    ] {
        let stream = gateway.open(GatewayRequest::Dial(address));
        let close = gateway.ended(stream).close;
        assert_eq!(close.code, code, "{}", close.reason);
    }
    gateway.finish();
}

#[test]
fn dials_that_nobody_answers_hold_up_no_other() {
    use std::os::unix::net::UnixStream;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full");
    // Queues of one connection, which is there: the next ones wait.
    let unix = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&unix, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&unix, 0).unwrap();
    let _queued = UnixStream::connect(&path).unwrap();
    let tcp = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&tcp, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    listen(&tcp, 0).unwrap();
    let full = SocketAddrV4::try_from(getsockname(&tcp).unwrap()).unwrap();
    let _queued_too = TcpStream::connect(full).unwrap();
    let mut gateway = Gateway::start();
    let mut dead = Vec::new();
    for _ in 0..40 {
        dead.push(gateway.open(GatewayRequest::Dial(Address::Unix(path.to_str().unwrap().into()))));
        dead.push(gateway.open(GatewayRequest::Dial(Address::Tcp(b"127.0.0.1".to_vec(), full.port()))));
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"here").unwrap());
    let began = std::time::Instant::now();
    let alive = gateway.open(GatewayRequest::Dial(Address::Tcp(b"127.0.0.1".to_vec(), port)));
    gateway.read_until(alive, b"here");
    // Not after the dead ones' minute.
    assert!(began.elapsed() < std::time::Duration::from_secs(50));
    peer.join().unwrap();
    // As soon as the queue has room, a dial that waits gets in.
    let listener = std::os::unix::net::UnixListener::from(unix);
    let peer = std::thread::spawn(move || {
        listener.accept().unwrap();
        listener.accept().unwrap().0.write_all(b"late").unwrap();
        listener
    });
    gateway.any_read(&dead, b"late");
    let _listener = peer.join().unwrap();
    for stream in dead {
        gateway.close(stream);
    }
    gateway.close(alive);
    gateway.finish();
}

#[test]
fn reason_of_a_failed_dial_is_a_sentence_without_a_number() {
    let (_reserved, port) = reserved_port();
    let mut gateway = Gateway::start();
    for (address, reason) in [
        (Address::Tcp(b"127.0.0.1".to_vec(), port), "Connection refused"),
        (Address::Unix(b"/nonexistent/socket".to_vec()), "No such file or directory"),
        (Address::Tcp(b"[127.0.0.1]".to_vec(), port), "[127.0.0.1]: no such host"),
    ] {
        let stream = gateway.open(GatewayRequest::Dial(address));
        assert_eq!(gateway.ended(stream).close.reason, reason);
    }
    gateway.finish();
}

#[test]
fn connection_to_a_listener_is_a_stream_with_its_origin() {
    use podgate_link::request::{Incoming, Listen};
    let mut gateway = Gateway::start();
    let listener = gateway.open(GatewayRequest::Listen(Listen::Tcp(b"localhost".to_vec(), 0)));
    let reply = gateway.reply(listener);
    let port = u16::from_be_bytes(reply[..].try_into().unwrap());
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"question").unwrap();
    let (stream, request) = gateway.opened();
    let incoming = Incoming::decode(request).unwrap();
    assert_eq!((incoming.listener, &*incoming.origin.0), (listener, &b"127.0.0.1"[..]));
    assert_eq!(incoming.origin.1, client.local_addr().unwrap().port());
    gateway.accept(stream);
    gateway.read_until(stream, b"question");
    gateway.write(stream, b"answer");
    gateway.end_input(stream);
    let drained = std::thread::spawn(move || {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        answer
    });
    gateway.ended(stream);
    assert_eq!(drained.join().unwrap(), b"answer");
    gateway.close(listener);
    gateway.finish();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn sockets_and_directories_of_listeners_go_with_them() {
    use podgate_link::request::{Listen, X11};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut gateway = Gateway::start();
    let unix = gateway.open(GatewayRequest::Listen(Listen::Unix(path.to_str().unwrap().into())));
    gateway.reply(unix);
    assert!(path.exists());
    let taken = gateway.open(GatewayRequest::Listen(Listen::Unix(path.to_str().unwrap().into())));
    assert_eq!(gateway.ended(taken).close.code, 9);
    let agent = gateway.open(GatewayRequest::Listen(Listen::Agent));
    let socket = std::path::PathBuf::from(String::from_utf8(gateway.reply(agent).to_vec()).unwrap());
    assert!(socket.exists());
    let x11 = X11 { single: true, protocol: b"MIT-MAGIC-COOKIE-1".to_vec(), cookie: vec![1; 16], screen: 2 };
    let display = gateway.open(GatewayRequest::Listen(Listen::X11(x11)));
    let reply = String::from_utf8(gateway.reply(display).to_vec()).unwrap();
    let (variable, authority) = reply.split_once('\0').unwrap();
    assert!(variable.starts_with("localhost:") && variable.ends_with(".2"), "{variable}");
    let authority = std::path::PathBuf::from(authority);
    assert!(authority.exists());
    for stream in [unix, agent, display] {
        gateway.close(stream);
    }
    gateway.finish();
    for left in [&*path, &socket, socket.parent().unwrap(), authority.parent().unwrap()] {
        assert!(!left.exists(), "{}", left.display());
    }
}

#[test]
fn sftp_server_is_a_process_of_its_own_in_the_agents_working_directory() {
    use podgate_link::request::SftpRequest;
    // A link and no copy: a child of another test could still hold a copy open for writing, which keeps it from running.
    let beside = std::path::Path::new(AGENT).parent().unwrap();
    let folder = tempfile::Builder::new().prefix(".podgate-agent-").tempdir_in(beside).unwrap();
    let own = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent");
    std::fs::hard_link(AGENT, &file).unwrap();
    let mut command = leashed(std::process::Command::new(&file));
    // As after a push: started from within its folder, to serve in another.
    command.args(["link", "--remove-self", "--directory"]).arg(own.path()).current_dir(folder.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut gateway = Gateway::started_by(command);
    assert!(!folder.path().exists(), "the agent's folder is there after the handshake");
    // INIT of version 3, and REALPATH of the working directory.
    let asked = [&[0, 0, 0, 5, 1, 0, 0, 0, 3, 0, 0, 0, 10, 16][..], &[0, 0, 0, 7, 0, 0, 0, 1], b"."].concat();
    let own = own.path().canonicalize().unwrap();
    let killed = gateway.open(GatewayRequest::Sftp(SftpRequest::default()));
    gateway.write(killed, &asked);
    gateway.read_until(killed, own.to_str().unwrap().as_bytes());
    let other = gateway.open(GatewayRequest::Sftp(SftpRequest::default()));
    gateway.message(killed, &ProgramMessage::Signal(b"KILL".to_vec()));
    assert_eq!(gateway.ended(killed).exit, Some(ProgramMessage::ExitSignal(b"KILL".to_vec(), false)));
    gateway.write(other, &asked);
    gateway.read_until(other, own.to_str().unwrap().as_bytes());
    gateway.end_input(other);
    assert_eq!(gateway.ended(other).exit, Some(ProgramMessage::ExitStatus(0)));
    gateway.finish();
}

#[test]
fn what_a_killed_agent_left_goes_with_the_next_one_and_a_living_ones_stays() {
    use podgate_link::request::Listen;
    let place = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = crate::agent(&["link"]);
        command.env("TMPDIR", place.path());
        let mut gateway = Gateway::started_by(command);
        let stream = gateway.open(GatewayRequest::Listen(Listen::Agent));
        let socket = std::path::PathBuf::from(String::from_utf8(gateway.reply(stream).to_vec()).unwrap());
        (gateway, socket)
    };
    let (killed, left) = start();
    let (living, kept) = start();
    assert!(left.starts_with(place.path()) && left.exists() && kept.exists());
    // Dropped, it is killed.
    drop(killed);
    assert!(left.exists());
    let (last, socket) = start();
    assert!(!left.exists() && !left.parent().unwrap().exists(), "{} is still there", left.display());
    assert!(kept.exists() && socket.exists());
    living.finish();
    last.finish();
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}
