//! How a Status and a runtime's words are read, as tables.

use super::*;
use serde_json::json;

fn code(message: &str) -> Exit {
    let status = json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": "command terminated with non-zero exit code",
        "details": {"causes": [{"reason": "ExitCode", "message": message}]}
    });
    exit(status.to_string().as_bytes(), "prog")
}

fn internal(text: &str) -> Exit {
    let message = format!("Internal error occurred: error executing command in container: {text}");
    let status = json!({
        "status": "Failure", "reason": "InternalError", "code": 500, "message": message,
        "details": {"causes": [{"message": text}]}
    });
    exit(status.to_string().as_bytes(), "prog")
}

#[test]
fn only_success_is_success() {
    let no_success = [
        "",
        "{}",
        "null",
        "[]",
        "0",
        "Success",
        r#"{"status":"success"}"#,
        r#"{"status":null}"#,
        r#"{"status":""}"#,
        r#"{"code":200}"#,
        r#"{"status":"Failure"}"#,
        r#"{"status":"Failure","reason":"NonZeroExitCode"}"#,
        r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[]}}"#,
        r#"{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#,
        r#"{"status":"Success""#,
    ];
    for payload in no_success {
        assert!(matches!(exit(payload.as_bytes(), "prog"), Exit::Lost(_)), "{payload}");
    }
    assert!(matches!(code("0"), Exit::Lost(_)));
    assert!(matches!(code("-"), Exit::Lost(_)));
    assert_eq!(exit(br#"{"metadata":{},"status":"Success"}"#, "prog"), Exit::Status(0));
}

#[test]
fn exit_code_that_no_byte_holds_is_no_status() {
    for (message, expected) in [("1", 1), ("7", 7), ("126", 126), ("137", 137), ("255", 255)] {
        assert_eq!(code(message), Exit::Status(expected), "{message}");
    }
    for message in ["256", "512", "-1"] {
        assert!(matches!(code(message), Exit::Lost(refusal) if refusal.status() == 255), "{message}");
    }
}

#[test]
fn what_cannot_be_started_is_126_or_127_in_our_words() {
    let cases = [
        (
            r#"failed to exec in container: failed to start exec "5a": OCI runtime exec failed: exec failed: unable to start container process: exec: "prog": executable file not found in $PATH: unknown"#,
            127,
            "prog: not found in the container",
        ),
        (
            r#"OCI runtime exec failed: exec failed: unable to start container process: exec: "/prog": stat /prog: no such file or directory: unknown"#,
            127,
            "prog: not found in the container",
        ),
        (
            "executable file `prog` not found in $PATH: No such file or directory",
            127,
            "prog: not found in the container",
        ),
        (
            r#"OCI runtime exec failed: exec failed: unable to start container process: exec: "/etc/passwd": permission denied: unknown"#,
            126,
            "prog: may not be executed in the container",
        ),
        (
            r#"OCI runtime exec failed: exec failed: unable to start container process: exec: "/etc": permission denied: unknown"#,
            126,
            "prog: may not be executed in the container",
        ),
        (
            r#"exec failed: unable to start container process: exec: "/": is a directory: unknown"#,
            126,
            "prog: is a directory",
        ),
        (
            "OCI runtime exec failed: exec failed: unable to start container process: exec /bin/x: exec format error",
            126,
            "prog: not built for the container's machine",
        ),
        (
            r#"OCI runtime exec failed: exec failed: unable to start container process: chdir to cwd ("/x") set in config.json failed: no such file or directory"#,
            126,
            "prog: the container's working directory cannot be entered",
        ),
        (r#"unable to upgrade connection: container not found ("shell")"#, 255, "the container is not running"),
        ("container is in CONTAINER_EXITED state: permission denied", 255, "the container is not running"),
    ];
    for (text, status, reason) in cases {
        let Exit::Lost(refusal) = internal(text) else { panic!("{text}") };
        assert_eq!((refusal.status(), refusal.reason.as_str()), (status, reason), "{text}");
        assert!(refusal.detail.is_some_and(|detail| detail.contains(&text[..20])), "{text}");
    }
}

#[test]
fn trouble_of_the_runtime_itself_is_not_blamed_on_the_program() {
    for text in [
        "error dialing backend: dial tcp 10.0.0.1:10250: connect: connection refused",
        "rpc error: code = Unavailable desc = dial unix /run/containerd/s/1: connect: no such file or directory",
        "exec failed: dial unix /run/containerd/s/1: connect: permission denied",
        "context deadline exceeded",
        "",
    ] {
        let Exit::Lost(refusal) = internal(text) else { panic!("{text}") };
        assert_eq!(refusal.status(), 255, "{text}");
        assert_eq!(refusal.reason, "the cluster could not run the program to its end", "{text}");
    }
}

#[test]
fn runtime_text_reaches_the_log_without_control_characters() {
    let Exit::Lost(refusal) = internal("bad \u{1b}[31m thing") else { panic!() };
    assert!(refusal.detail.is_some_and(|detail| !detail.contains('\u{1b}')));
}
