//! From the Status that ends a stream to an exit. Decides without I/O.
//!
//! Only `"status": "Success"` is success. What a container runtime says about a program that it cannot start is put into
//! our words; its own text goes to the log.

use crate::guest::{Exit, Refusal, WHOLE};
use crate::types::printable;
use serde::Deserialize;

/// The user's line for a program whose end is not known.
pub(super) const LOST: &str = "the connection to the container was lost";

/// What the user reads of a container that does not run.
const STOPPED: &str = "the container is not running";

/// Whether the stream never began, because its container did not run.
pub(in crate::kubernetes) fn found_stopped(refusal: &Refusal) -> bool {
    refusal.reason == STOPPED
}

/// A Status (meta/v1) as far as it matters here.
#[derive(Debug, Deserialize)]
struct Status {
    status: Option<String>,
    message: Option<String>,
    reason: Option<String>,
    details: Option<Details>,
}

#[derive(Debug, Deserialize)]
struct Details {
    causes: Option<Vec<Cause>>,
}

#[derive(Debug, Deserialize)]
struct Cause {
    reason: Option<String>,
    message: Option<String>,
}

/// A Status that says Failure.
#[derive(Debug)]
pub(super) struct Failure(Status);

impl Failure {
    /// `None` when it is not a Status, or not a failure.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let status: Status = serde_json::from_slice(body).ok()?;
        (status.status.as_deref() == Some("Failure")).then_some(Self(status))
    }

    pub(super) fn message(&self) -> &str {
        self.0.message.as_deref().unwrap_or_default()
    }

    /// The exit code that the Status carries, which is never 0 in a failure.
    fn exit_code(&self) -> Option<i64> {
        if self.0.reason.as_deref() != Some("NonZeroExitCode") {
            return None;
        }
        let causes = self.0.details.as_ref()?.causes.as_ref()?;
        let cause = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
        cause.message.as_ref()?.trim().parse().ok().filter(|code| *code != 0)
    }
}

/// How a program ended whose stream said `payload`.
pub(super) fn exit(payload: &[u8], program: &str) -> Exit {
    let Ok(status) = serde_json::from_slice::<Status>(payload) else {
        return lost(format!("the Status cannot be read: {}", printable(&String::from_utf8_lossy(payload), 200)));
    };
    match status.status.as_deref() {
        Some("Success") => Exit::Status(0),
        Some("Failure") => failed(&Failure(status), program),
        Some(other) => lost(format!("the Status says neither success nor failure: {}", printable(other, 200))),
        None => lost("the Status says neither success nor failure".to_owned()),
    }
}

/// A stream that ended without saying how the program did.
pub(in crate::kubernetes) fn lost(detail: String) -> Exit {
    Exit::Lost(Refusal::new(LOST).detail(detail))
}

fn failed(failure: &Failure, program: &str) -> Exit {
    // A code that no byte holds is no program's: never a 0 by its low bits, nor a 255.
    if let Some(Ok(code)) = failure.exit_code().map(u8::try_from) {
        return Exit::Status(code);
    }
    if let Some(refusal) = start_failure(failure.message(), program) {
        return Exit::Lost(refusal);
    }
    let detail = format!("{}: {}", failure.0.reason.as_deref().unwrap_or("no reason"), failure.message());
    Exit::Lost(Refusal::new("the cluster could not run the program to its end").detail(printable(&detail, WHOLE)))
}

/// Texts of containerd, CRI-O, runc, crun, gVisor and the API server (lower case), any of which means that the container
/// does not run.
const NOT_RUNNING: &[&str] = &[
    "container not found",
    "not found in pod",
    "does not have a host assigned",
    "container is not running",
    "container_exited",
    "not created or running",
    "stopped container",
    "in a completed pod",
    "no running task found",
    "process does not exist",
];

/// One of these is in a text about the program itself, and not about a socket or file of the runtime's own.
const ABOUT_PROGRAM: &[&str] =
    &["exec: \"", "exec failed", "executable", "starting container process", "unable to start container process"];

/// What a runtime's text says about a program that it could not start: 127 when it is not there, 126 when it cannot be
/// run. `None` when the text is about something else.
pub(super) fn start_failure(text: &str, program: &str) -> Option<Refusal> {
    let lower = text.to_lowercase();
    let says = |part: &str| lower.contains(part);
    let about_program = ABOUT_PROGRAM.iter().any(|part| says(part)) && !says("dial unix");
    let program = if program.is_empty() { "the program" } else { program };
    let (status, reason) = if NOT_RUNNING.iter().any(|part| says(part)) {
        (255, STOPPED.to_owned())
    } else if says("is not valid for pod") {
        (255, "the pod has no such container".to_owned())
    } else if !about_program {
        return None;
    } else if says("chdir") {
        (126, format!("{program}: the container's working directory cannot be entered"))
    } else if says("executable file not found") || says("no such file or directory") {
        (127, format!("{program}: not found in the container"))
    } else if says("permission denied") {
        (126, format!("{program}: may not be executed in the container"))
    } else if says("exec format error") {
        (126, format!("{program}: not built for the container's machine"))
    } else if says("is a directory") {
        (126, format!("{program}: is a directory"))
    } else if says("argument list too long") {
        (126, format!("{program}: the command line is too long"))
    } else {
        return None;
    };
    Some(Refusal { status, ..Refusal::new(reason).detail(printable(text, WHOLE)) })
}

#[cfg(test)]
mod tests;
