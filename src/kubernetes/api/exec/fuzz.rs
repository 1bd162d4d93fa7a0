//! The stream of an exec as somebody may have made it up. It never ends well unless it says so.

use super::{ExecStream, status};
use crate::guest::{Exit, OutputEvent};
use serde_json::Value;

/// A Status frame's payload.
pub(crate) fn status(data: &[u8]) {
    let exit = status::exit(data, "program");
    if exit == Exit::Status(0) {
        let said: Value = serde_json::from_slice(data).unwrap_or_default();
        assert_eq!(said["status"], "Success");
    }
    if let Exit::Lost(refusal) = &exit {
        assert!(!refusal.reason.chars().any(char::is_control), "{:?}", refusal.reason);
        assert_ne!(refusal.status(), 0);
    }
    if let Some(refusal) = status::start_failure(&String::from_utf8_lossy(data), "program") {
        assert_ne!(refusal.status(), 0);
    }
}

/// All that a server sends behind its answer to the handshake, then the end of the connection.
pub(crate) fn stream(data: &[u8]) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    runtime.block_on(async {
        let (near, far) = tokio::io::duplex(64);
        drop(far);
        let mut output = ExecStream::for_test(near, data).into_program().output;
        let mut bytes = 0;
        let exit = loop {
            match output.next().await {
                OutputEvent::Stdout(piece) | OutputEvent::Stderr(piece) => bytes += piece.len(),
                OutputEvent::End => {}
                OutputEvent::Exit(exit) => break exit,
            }
        };
        assert!(bytes <= data.len());
        assert_eq!(output.next().await, OutputEvent::Exit(exit.clone()), "an exit stays");
        if exit == Exit::Status(0) {
            assert!(data.windows(7).any(|window| window == b"Success"));
        }
    });
}
