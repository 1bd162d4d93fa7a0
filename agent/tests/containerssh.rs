//! The modes of ContainerSSH's agent: flags, outputs and exit codes as they were seen there.

use crate::{agent, reserved_port, until};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Output};

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = agent(arguments).spawn().unwrap();
    // A process that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn exit_codes_are_containerssh_s() {
    let rows: &[(&[&str], &[u8], i32)] = &[
        (&[], b"", 1),
        (&["unknown"], b"", 1),
        (&["--help"], b"", 0),
        (&["license"], b"", 0),
        (&["console"], b"", 2),
        (&["console", "--"], b"", 1),
        (&["console", "--env", "x", "--", "/bin/true"], b"", 1),
        (&["console", "--env", "--x=y", "--", "/bin/true"], b"", 1),
        (&["console", "--nonsense", "--", "/bin/true"], b"", 1),
        (&["console", "--", "echo"], b"", 127),
        (&["console", "--", "/nonexistent"], b"", 127),
        (&["console", "--", "/bin/sh", "-c", "exit 7"], b"", 7),
        (&["console", "--wait", "--", "/bin/true"], b"\0", 0),
        (&["console", "--wait", "--", "/bin/true"], b"\n", 0),
        (&["console", "--wait", "--", "/bin/true"], b"x", 2),
        (&["console", "--wait", "--", "/bin/true"], b"", 2),
        (&["signal"], b"", 1),
        (&["signal", "--pid", "1"], b"", 1),
        (&["signal", "--pid", "x", "--signal", "TERM"], b"", 1),
        (&["signal", "--pid", "4194305", "--signal", "TERM"], b"", 3),
        (&["signal", "--pid", "4194305", "--signal", "SIGTERM"], b"", 1),
        (&["signal", "--pid", "1", "--pid", "1", "--signal", "TERM"], b"", 1),
        (&["wait-signal"], b"", 1),
        (&["wait-signal", "--signal", "NONE"], b"", 1),
        (&["write-file"], b"", 1),
        (&["write-file", "/nonexistent/file"], b"x", 1),
        (&["forward-server"], b"garbage", 2),
        (&["forward-server"], b"", 0),
    ];
    for (arguments, input, code) in rows {
        let output = run(arguments, input);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let told = *code == 0 || !output.stderr.is_empty() || arguments.contains(&"--wait") || *code == 7;
        assert!(told, "{arguments:?} says nothing");
    }
}

#[test]
fn console_writes_its_process_id_and_becomes_the_program_that_waited() {
    let arguments =
        ["console", "--env", "A=1", "--env", "A=2", "--wait", "--pid", "--", "/bin/sh", "-c", "echo $$ $A; cat"];
    let mut child = agent(&arguments).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"\0rest").unwrap();
    drop(input);
    let pid = child.id();
    let output = child.wait_with_output().unwrap().stdout;
    assert_eq!(output[..4], pid.to_le_bytes());
    let text = String::from_utf8(output[4..].to_vec()).unwrap();
    assert_eq!(text, format!("{pid} 2\nrest"));
}

#[test]
fn signal_is_sent_and_waited_for_with_a_message() {
    let child = agent(&["wait-signal", "--signal", "INT", "--signal", "TERM", "--message", "got it"]).spawn().unwrap();
    let pid = child.id().to_string();
    // Before it waits, the signal would end it.
    until(|| caught(&pid) & (1 << 14) != 0);
    assert_eq!(run(&["signal", "--pid", &pid, "--signal", "TERM"], b"").status.code(), Some(0));
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"got it"[..]));
}

/// The signals that a process catches, a bit each from signal 1 on.
fn caught(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

#[test]
fn written_file_has_its_mode_also_where_it_was_there() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "longer than before").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(run(&["write-file", path.to_str().unwrap()], b"content").status.success());
    assert_eq!(std::fs::read(&path).unwrap(), b"content");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// A packet with a number below 24 as id, and a short payload.
fn packet(kind: u8, id: u8, payload: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = [&b"\xa3\x64Type"[..], &[kind], b"\x6cConnectionId", &[id], b"\x67Payload"].concat();
    match payload {
        None => bytes.push(0xf6),
        Some(payload) => {
            bytes.extend_from_slice(&[0x58, u8::try_from(payload.len()).unwrap()]);
            bytes.extend_from_slice(payload);
        }
    }
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&[0x78, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn new_connection(protocol: &str, address: &str, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let mut bytes = vec![0xa3];
    for part in [text("Protocol"), text(protocol), text("ConnectedAddress"), text(address), text("ConnectedPort")] {
        bytes.extend_from_slice(&part);
    }
    bytes.extend_from_slice(&[0x19, high, low]);
    bytes
}

fn expect(child: &mut Child, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    child.stdout.as_mut().unwrap().read_exact(&mut read).unwrap();
    assert_eq!(read.escape_ascii().to_string(), bytes.escape_ascii().to_string());
}

/// A data packet as the agent writes it, with a short payload.
fn data(id: u8, payload: &[u8]) -> Vec<u8> {
    let length = 0x40 + u8::try_from(payload.len()).unwrap();
    [&b"\xa3\x64Type\x03\x6cConnectionId"[..], &[id], b"\x67Payload", &[length], payload].concat()
}

#[test]
fn forward_server_dials_carries_and_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut child = agent(&["forward-server"]).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let setup = [&[0xa1][..], &text("ConnectionType"), &[2]].concat();
    input.write_all(&packet(0, 0, Some(&setup))).unwrap();
    expect(&mut child, &packet(1, 0, None));
    input.write_all(&packet(4, 1, Some(&new_connection("tcp", "127.0.0.1", port)))).unwrap();
    expect(&mut child, &packet(1, 1, None));
    let (mut socket, _) = listener.accept().unwrap();
    input.write_all(&packet(3, 1, Some(b"hello"))).unwrap();
    let mut read = [0; 5];
    socket.read_exact(&mut read).unwrap();
    socket.write_all(b"world").unwrap();
    expect(&mut child, &data(1, b"world"));
    drop(socket);
    expect(&mut child, &packet(5, 1, None));
    // Closed already.
    input.write_all(&packet(5, 1, None)).unwrap();
    expect(&mut child, &packet(2, 1, None));
    let (_reserved, refusing) = reserved_port();
    input.write_all(&packet(4, 2, Some(&new_connection("tcp", "127.0.0.1", refusing)))).unwrap();
    expect(&mut child, &packet(2, 2, None));
    // An id that was used has no answer.
    input.write_all(&packet(4, 1, Some(&new_connection("tcp", "127.0.0.1", port)))).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty());
}

#[test]
fn forward_server_refuses_more_connections_than_it_has_room_for() {
    const ROOM: u16 = 256;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepting = std::thread::spawn(move || (0..ROOM).map(|_| listener.accept().unwrap().0).collect::<Vec<_>>());
    let mut child = agent(&["forward-server"]).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let setup = [&[0xa1][..], &text("ConnectionType"), &[2]].concat();
    input.write_all(&packet(0, 0, Some(&setup))).unwrap();
    expect(&mut child, &packet(1, 0, None));
    // Of one length, whatever the number.
    let with_id = |kind: u8, id: u16, end: &[u8]| {
        let [high, low] = id.to_be_bytes();
        [&b"\xa3\x64Type"[..], &[kind], b"\x6cConnectionId", &[0x19, high, low], b"\x67Payload", end].concat()
    };
    let new = new_connection("tcp", "127.0.0.1", port);
    let payload = [&[0x58, u8::try_from(new.len()).unwrap()], &new[..]].concat();
    let first = 1000;
    for id in first..=first + ROOM {
        input.write_all(&with_id(4, id, &payload)).unwrap();
    }
    let mut answers = vec![0; with_id(1, first, b"\xf6").len() * usize::from(ROOM + 1)];
    child.stdout.as_mut().unwrap().read_exact(&mut answers).unwrap();
    let has = |kind, id| answers.windows(32).any(|part| with_id(kind, id, b"\xf6").starts_with(part));
    assert!(has(2, first + ROOM) && (first..first + ROOM).all(|id| has(1, id)));
    drop(input);
    drop(accepting.join().unwrap());
    assert!(child.wait().unwrap().success());
}

#[test]
fn forward_server_that_is_to_make_one_connection_ends_with_it_made_or_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_reserved, refusing) = reserved_port();
    for (port, made) in [(listener.local_addr().unwrap().port(), true), (refusing, false)] {
        let mut child = agent(&["forward-server"]).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let setup = [&[0xa1][..], &text("ConnectionType"), &[2]].concat();
        let new = new_connection("tcp", "[127.0.0.1]", port);
        let all = [packet(0, 0, Some(&setup)), packet(4, 1, Some(&new)), packet(6, 0, None)].concat();
        input.write_all(&all).unwrap();
        expect(&mut child, &packet(1, 0, None));
        expect(&mut child, &packet(if made { 1 } else { 2 }, 1, None));
        if made {
            drop(listener.accept().unwrap());
            expect(&mut child, &packet(5, 1, None));
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
        drop(input);
    }
}

#[test]
fn forward_server_listens_and_ends_with_the_last_connection() {
    let (_reserved, port) = reserved_port();
    let [high, low] = port.to_be_bytes();
    let mut child = agent(&["forward-server"]).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let setup = [
        &[0xa3][..],
        &text("ConnectionType"),
        &[1],
        &text("BindHost"),
        &text("127.0.0.1"),
        &text("BindPort"),
        &[0x19, high, low],
    ];
    input.write_all(&packet(0, 0, Some(&setup.concat()))).unwrap();
    expect(&mut child, &packet(1, 0, None));
    // A listener makes no connection that it is asked for. It refuses once it is bound, by which its peer can see that.
    input.write_all(&packet(4, 5, Some(&new_connection("tcp", "127.0.0.1", port)))).unwrap();
    expect(&mut child, &packet(2, 5, None));
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut head = [0; 21];
    child.stdout.as_mut().unwrap().read_exact(&mut head).unwrap();
    assert_eq!(head.escape_ascii().to_string(), b"\xa3\x64Type\x04\x6cConnectionId\x06".escape_ascii().to_string());
    input.write_all(&packet(1, 6, None)).unwrap();
    input.write_all(&packet(3, 6, Some(b"to the client"))).unwrap();
    let mut read = [0; 13];
    client.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"to the client");
    input.write_all(&packet(6, 0, None)).unwrap();
    drop(client);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout.ends_with(&packet(5, 6, None)));
    drop(input);
}
