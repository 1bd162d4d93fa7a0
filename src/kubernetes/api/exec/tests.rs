//! The exec stream against a real TLS server: lost streams first.

use super::*;
use crate::guest::{Exit, InputClosed, OutputEvent, Program, ProgramOutput, Refusal, RefusalKind};
use crate::kubernetes::api::fake_server::{Authority, FakeApiServer, FakeConnection, SUCCESS, frame};
use crate::policy::{Rules, SendSignal};
use crate::program::LOST;
use crate::settings::InlineOrFile;
use crate::types::Secret;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(client: &ClusterClient, argv: &[&str], tty: Option<Size>) -> Result<Program, ExecError> {
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    let request = ExecRequest {
        verb: ExecVerb::Exec,
        namespace: &Namespace::parse("ns").unwrap(),
        pod: &PodName::parse("pod.a").unwrap(),
        container: &ContainerName::parse("shell").unwrap(),
        argv: &argv,
        tty,
    };
    Ok(client.exec(&request, PATIENCE).await?.into_program())
}

/// Everything that a program says, stdout and stderr joined, and its end.
async fn everything(output: &mut dyn ProgramOutput) -> (Vec<u8>, Vec<u8>, Exit) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match output.next().await {
            OutputEvent::Stdout(data) => out.extend(data),
            OutputEvent::Stderr(data) => err.extend(data),
            OutputEvent::End => {}
            OutputEvent::Exit(exit) => return (out, err, exit),
        }
    }
}

/// What a program says whose server follows `script` after it opened the stream.
async fn said<F>(script: impl Fn(FakeConnection) -> F + Send + Sync + 'static) -> (Vec<u8>, Vec<u8>, Exit)
where
    F: Future<Output = ()> + Send + 'static,
{
    let script = Arc::new(script);
    let endpoint = FakeApiServer::start(move |mut conversation| {
        let script = script.clone();
        async move {
            conversation.accept().await;
            script(conversation).await;
        }
    })
    .await;
    let mut program = start(&endpoint.client(), &["prog"], None).await.unwrap();
    everything(program.output.as_mut()).await
}

/// The refusal when the server answers the upgrade with this.
async fn refused(status: &'static str, body: &'static str) -> Refusal {
    let endpoint =
        FakeApiServer::start(move |mut conversation| async move { conversation.answer(status, body).await }).await;
    refusal(start(&endpoint.client(), &["prog"], None).await)
}

fn refusal(result: Result<Program, ExecError>) -> Refusal {
    match result {
        Ok(_) => panic!("must be refused"),
        Err(error) => error.into(),
    }
}

fn is_lost(exit: &Exit, reason: &str) {
    let Exit::Lost(refusal) = exit else { panic!("{exit:?}") };
    assert_eq!((refusal.reason.as_str(), refusal.status()), (reason, 255), "{refusal:?}");
    assert!(refusal.detail.is_some());
}

#[tokio::test]
async fn lost_exec_stream_is_not_exit_zero() {
    let (out, _, exit) = said(async |mut conversation: FakeConnection| conversation.send(1, b"part").await).await;
    assert_eq!(out, b"part");
    is_lost(&exit, LOST);
}

#[tokio::test]
async fn stream_closed_in_order_without_a_status_is_lost() {
    let (_, _, exit) = said(async |mut conversation: FakeConnection| {
        conversation.raw(&frame(0x88, &[0x03, 0xE8])).await;
    })
    .await;
    is_lost(&exit, LOST);
}

#[tokio::test]
async fn torn_broken_and_unreadable_statuses_are_lost() {
    let torn = said(async |mut conversation: FakeConnection| conversation.raw(&frame(0x82, SUCCESS)[..9]).await).await;
    is_lost(&torn.2, LOST);
    let half = said(async |mut conversation: FakeConnection| conversation.send(3, &SUCCESS[..20]).await).await;
    is_lost(&half.2, LOST);
    let unfinished = said(async |mut conversation: FakeConnection| {
        conversation.raw(&frame(0x02, &[b"\x03", SUCCESS].concat())).await;
    })
    .await;
    is_lost(&unfinished.2, LOST);
    let masked = said(async |mut conversation: FakeConnection| conversation.raw(&[0x82, 0x80, 0, 0, 0, 0]).await).await;
    is_lost(&masked.2, LOST);
    let unknown = said(async |mut conversation: FakeConnection| conversation.send(9, b"?").await).await;
    is_lost(&unknown.2, LOST);
    let endless = said(async |mut conversation: FakeConnection| conversation.send(3, &[b' '; 70_000]).await).await;
    is_lost(&endless.2, LOST);
}

#[tokio::test]
async fn server_without_v5_is_refused_as_too_old() {
    let v4 = FakeApiServer::start(async |mut conversation: FakeConnection| {
        let head = conversation.switching("v4.channel.k8s.io");
        conversation.raw(head.as_bytes()).await;
    })
    .await;
    let old = "the cluster is too old: Podgate needs Kubernetes 1.30 or newer";
    assert_eq!(refusal(start(&v4.client(), &["prog"], None).await).reason, old);
    assert_eq!(refused("403 Forbidden", "").await.reason, old);
}

#[tokio::test]
async fn untrusted_certificate_and_wrong_name_are_refused() {
    let authority = Authority::new();
    let script = async |_conversation: FakeConnection| panic!("no request may arrive");
    let mut wrong_ca = FakeApiServer::named("127.0.0.1", &authority, script).await;
    wrong_ca.cluster.ca = Some(InlineOrFile::Inline(Secret::new(Authority::new().pem)));
    let wrong_name = FakeApiServer::named("kubernetes.test", &authority, script).await;
    for endpoint in [wrong_ca, wrong_name] {
        let refusal = refusal(start(&endpoint.client(), &["prog"], None).await);
        assert_eq!(refusal.reason, "the cluster cannot be reached");
        assert!(refusal.detail.unwrap().contains("certificate"));
    }
}

#[tokio::test]
async fn configured_server_name_is_the_one_that_is_verified() {
    let mut endpoint =
        FakeApiServer::named("kubernetes.test", &Authority::new(), async |mut conversation: FakeConnection| {
            conversation.accept().await;
            conversation.send(3, SUCCESS).await;
        })
        .await;
    endpoint.cluster.server_name = Some("kubernetes.test".to_owned());
    let mut program = start(&endpoint.client(), &["prog"], None).await.unwrap();
    assert_eq!(everything(program.output.as_mut()).await.2, Exit::Status(0));
}

#[tokio::test]
async fn refused_upgrade_says_why() {
    let forbidden = r#"{"kind":"Status","status":"Failure","message":"pods is forbidden","reason":"Forbidden"}"#;
    let refusal = refused("403 Forbidden", forbidden).await;
    assert_eq!(refusal.reason, "the gateway may not use pods/exec (needs get and create)");
    assert!(refusal.detail.unwrap().contains("pods is forbidden"));
    let gone = r#"{"kind":"Status","status":"Failure","message":"pods \"pod\" not found","reason":"NotFound"}"#;
    assert_eq!(refused("404 Not Found", gone).await.reason, "the pod is gone");
    let cannot = r#"{"status":"Failure","message":"exec: \"prog\": executable file not found in $PATH","code":500}"#;
    let refusal = refused("500 Internal Server Error", cannot).await;
    assert_eq!((refusal.status(), refusal.reason.as_str()), (127, "prog: not found in the container"));
    let (_, _, exit) = said(async |mut conversation: FakeConnection| {
        let status = br#"{"status":"Failure","message":"exec: \"prog\": permission denied","reason":"InternalError"}"#;
        conversation.send(3, status).await;
    })
    .await;
    assert!(matches!(exit, Exit::Lost(Refusal { kind: RefusalKind::NotExecutable, .. })), "{exit:?}");
}

#[tokio::test]
async fn silent_server_is_given_up_at_the_deadline() {
    let endpoint = FakeApiServer::start(async |_conversation: FakeConnection| std::future::pending().await).await;
    let client = endpoint.client();
    let request = ExecRequest {
        verb: ExecVerb::Exec,
        namespace: &Namespace::parse("ns").unwrap(),
        pod: &PodName::parse("pod").unwrap(),
        container: &ContainerName::parse("shell").unwrap(),
        argv: &["prog".to_owned()],
        tty: None,
    };
    let refusal = refusal(client.exec(&request, Duration::from_millis(50)).await.map(ExecStream::into_program));
    assert_eq!(refusal.reason, "the container did not start the program in time");
}

#[tokio::test]
async fn command_line_too_long_for_a_url_is_refused() {
    let endpoint = FakeApiServer::start(async |_conversation: FakeConnection| ()).await;
    let refusal = refusal(start(&endpoint.client(), &["prog", &"x".repeat(70_000)], None).await);
    assert_eq!(refusal.reason, "the command line is too long for an image without /bin/sh");
}

#[tokio::test]
async fn frames_in_the_same_segment_as_the_answer_are_not_lost() {
    let endpoint = FakeApiServer::start(async |mut conversation: FakeConnection| {
        let head = conversation.switching("v5.channel.k8s.io");
        let frames = [frame(0x82, b"\x01"), frame(0x82, b"\x01early"), frame(0x82, &[b"\x03", SUCCESS].concat())];
        conversation.raw(&[head.as_bytes(), &frames.concat()].concat()).await;
        conversation.receive().await;
    })
    .await;
    let mut program = start(&endpoint.client(), &["prog"], None).await.unwrap();
    let (out, err, exit) = everything(program.output.as_mut()).await;
    assert_eq!((out.as_slice(), err.as_slice(), exit), (&b"early"[..], &b""[..], Exit::Status(0)));
}

#[tokio::test]
async fn stdout_and_stderr_come_apart_and_the_exit_behind_them() {
    let (out, err, exit) = said(async |mut conversation: FakeConnection| {
        conversation.send(1, b"o1").await;
        conversation.send(2, b"e1").await;
        conversation.raw(&frame(0x02, b"\x01o")).await;
        conversation.raw(&frame(0x89, b"ping")).await;
        conversation.raw(&frame(0x80, b"2")).await;
        let status = br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        conversation.send(3, status).await;
        assert_eq!(conversation.receive().await.unwrap(), (0x8A, b"ping".to_vec()));
        conversation.receive().await;
    })
    .await;
    assert_eq!((out.as_slice(), err.as_slice(), exit), (&b"o1o2"[..], &b"e1"[..], Exit::Status(7)));
}

#[tokio::test]
async fn request_names_the_pod_the_container_and_every_argument() {
    let (heads, mut seen) = mpsc::channel(1);
    let endpoint = FakeApiServer::start(move |mut conversation| {
        let heads = heads.clone();
        async move {
            heads.send(conversation.head.clone()).await.unwrap();
            conversation.answer("404 Not Found", "").await;
        }
    })
    .await;
    let size = Size { columns: 1, rows: 1 };
    drop(start(&endpoint.client(), &["sh", "-c", "echo \"$1\" & é=?\n", ""], Some(size)).await);
    let head = seen.recv().await.unwrap();
    let expected = "GET /api/v1/namespaces/ns/pods/pod.a/exec?container=shell&stdin=true&stdout=true&stderr=false&tty=true\
                    &command=sh&command=-c&command=echo+%22%241%22+%26+%C3%A9%3D%3F%0A&command= HTTP/1.1\r\n";
    assert!(head.starts_with(expected), "{head}");
    let authority = endpoint.cluster.host.as_str().trim_start_matches("https://").trim_end_matches('/');
    assert!(head.to_lowercase().contains(&format!("host: {authority}\r\n")), "{head}");
    assert!(head.contains("Bearer token-1\r\n"), "{head}");
}

#[tokio::test]
async fn terminal_size_is_sent_at_the_start_and_at_each_resize() {
    let (frames, mut seen) = mpsc::channel(9);
    let endpoint = FakeApiServer::start(move |mut conversation| {
        let frames = frames.clone();
        async move {
            conversation.accept().await;
            while let Some(frame) = conversation.receive().await {
                frames.send(frame).await.unwrap();
            }
        }
    })
    .await;
    let size = Size { columns: 80, rows: 24 };
    let mut program = start(&endpoint.client(), &["sh"], Some(size)).await.unwrap();
    program.input.resize(Size { columns: 132, rows: 50 }).await.unwrap();
    let signal = Rules::default().decide(SendSignal { name: "TERM".to_owned() }).unwrap();
    assert!(program.input.signal(signal).await.unwrap_err().reason.contains("agent"));
    drop(program);
    let mut received = Vec::new();
    while let Some(frame) = seen.recv().await {
        received.push(frame);
        if received.len() == 3 {
            break;
        }
    }
    let expected = [
        (0x82, b"\x04{\"Width\":80,\"Height\":24}".to_vec()),
        (0x82, b"\x04{\"Width\":132,\"Height\":50}".to_vec()),
        // Dropped halves close the socket.
        (0x88, vec![0x03, 0xE8]),
    ];
    assert_eq!(received, expected);
}

#[tokio::test]
async fn closed_stdin_is_told_once_and_output_goes_on() {
    let endpoint = FakeApiServer::start(async |mut conversation: FakeConnection| {
        conversation.accept().await;
        let mut read = Vec::new();
        loop {
            match conversation.receive().await.unwrap() {
                (0x82, message) if message[0] == 0 => read.extend(&message[1..]),
                (0x82, message) => {
                    assert_eq!(message, [255, 0]);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        conversation.send(1, &read).await;
        conversation.send(3, SUCCESS).await;
        assert_eq!(conversation.receive().await, Some((0x88, vec![0x03, 0xE8])), "nothing follows the close of stdin");
    })
    .await;
    let mut program = start(&endpoint.client(), &["cat"], None).await.unwrap();
    program.input.write(BytesMut::from(&b"abc"[..])).await.unwrap();
    program.input.write(BytesMut::new()).await.unwrap();
    program.input.close().await.unwrap();
    program.input.close().await.unwrap();
    assert_eq!(program.input.write(BytesMut::from(&b"x"[..])).await, Err(InputClosed));
    let (out, _, exit) = everything(program.output.as_mut()).await;
    assert_eq!((out.as_slice(), exit), (&b"abc"[..], Exit::Status(0)));
}

#[podgate_test::multi_thread]
async fn hundred_megabytes_both_ways_are_byte_exact() {
    const TOTAL: usize = 100 << 20;
    let endpoint = FakeApiServer::start(async |mut conversation: FakeConnection| {
        conversation.accept().await;
        while let Some((0x82, message)) = conversation.receive().await {
            if message[0] == 255 {
                break;
            }
            conversation.send(1, &message[1..]).await;
        }
        conversation.send(3, SUCCESS).await;
        conversation.receive().await;
    })
    .await;
    let Program { mut input, mut output } = start(&endpoint.client(), &["cat"], None).await.unwrap();
    let mut block = vec![0; (1 << 20) + 13];
    SmallRng::seed_from_u64(3).fill(&mut block[..]);
    let sent = block.clone();
    let writing = tokio::spawn(async move {
        let mut random = SmallRng::seed_from_u64(4);
        let mut at = 0;
        while at < TOTAL {
            let from = at % sent.len();
            let piece = random.random_range(1..100_000).min(sent.len() - from).min(TOTAL - at);
            input.write(BytesMut::from(&sent[from..from + piece])).await.unwrap();
            at += piece;
        }
        input.close().await.unwrap();
        input
    });
    let mut at = 0;
    let exit = loop {
        let data = match output.next().await {
            OutputEvent::Stdout(data) => data,
            OutputEvent::Stderr(_) | OutputEvent::End => panic!("nothing else"),
            OutputEvent::Exit(exit) => break exit,
        };
        let mut rest = data.as_ref();
        while !rest.is_empty() {
            let from = at % block.len();
            let (now, later) = rest.split_at(rest.len().min(block.len() - from));
            assert!(now == &block[from..from + now.len()], "differs after {at} bytes");
            at += now.len();
            rest = later;
        }
    };
    assert_eq!((at, exit), (TOTAL, Exit::Status(0)));
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn output_goes_on_while_input_is_stuck() {
    let endpoint = FakeApiServer::start(async |mut conversation: FakeConnection| {
        conversation.accept().await;
        // Stdin is never read; the client's next write waits in the sockets' buffers.
        for _ in 0..1000 {
            conversation.send(1, &[b'x'; 10_000]).await;
        }
        conversation.send(3, SUCCESS).await;
        std::future::pending().await
    })
    .await;
    let Program { mut input, mut output } = start(&endpoint.client(), &["yes"], None).await.unwrap();
    let stuck = async {
        loop {
            if input.write(BytesMut::zeroed(1 << 20)).await.is_err() {
                panic!("the stream is open");
            }
        }
    };
    tokio::select! {
        () = stuck => {}
        (out, _, exit) = everything(output.as_mut()) => assert_eq!((out.len(), exit), (10_000_000, Exit::Status(0))),
    }
}

#[tokio::test]
async fn write_given_up_in_its_middle_ends_the_input() {
    let endpoint = FakeApiServer::start(async |mut conversation: FakeConnection| {
        conversation.accept().await;
        std::future::pending().await
    })
    .await;
    let mut program = start(&endpoint.client(), &["yes"], None).await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(200), async {
        while program.input.write(BytesMut::zeroed(1 << 20)).await.is_ok() {}
    });
    given_up.await.expect_err("the socket is full");
    assert_eq!(program.input.write(BytesMut::from(&b"x"[..])).await, Err(InputClosed));
}

#[test]
fn arguments_fit_by_their_length_when_escaped() {
    for (word, fit) in [("x".repeat(30_000), true), ("x".repeat(33_000), false), ("%".repeat(11_000), false)] {
        assert_eq!(fits(&["echo".to_owned(), word]), fit);
    }
}
