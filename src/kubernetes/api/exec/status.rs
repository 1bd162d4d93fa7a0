//! The conversion of the Status that ends a stream to an exit. Pure.
//!
//! Only `"status": "Success"` is success. A container runtime's text about a program that it cannot start is replaced by
//! ours; its own goes to the log.

use crate::guest::{Exit, LOG_TEXT_MAX, Refusal, RefusalKind};
use crate::program::lost;
use crate::types::printable;
use serde::Deserialize;

/// A Status (meta/v1) as far as it matters here.
#[derive(Debug, Deserialize)]
struct Status {
    status: Option<String>,
    message: Option<String>,
    reason: Option<String>,
    details: Option<StatusDetails>,
}

#[derive(Debug, Deserialize)]
struct StatusDetails {
    causes: Option<Vec<StatusCause>>,
}

#[derive(Debug, Deserialize)]
struct StatusCause {
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

/// The exit of a program by the Status at the end of its stream.
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

fn failed(failure: &Failure, program: &str) -> Exit {
    // A code that no byte holds is no program's: never a 0 by its low bits, nor a 255.
    if let Some(Ok(code)) = failure.exit_code().map(u8::try_from) {
        return Exit::Status(code);
    }
    if let Some(refusal) = start_failure(failure.message(), program) {
        return Exit::Lost(refusal);
    }
    let detail = format!("{}: {}", failure.0.reason.as_deref().unwrap_or("no reason"), failure.message());
    Exit::Lost(
        Refusal::new("the cluster could not run the program to its end").detail(printable(&detail, LOG_TEXT_MAX)),
    )
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

/// The refusal of a program that the runtime could not start, by the runtime's text: 127 for a missing program, 126 for one
/// that cannot run. `None` for a text about something else.
pub(super) fn start_failure(text: &str, program: &str) -> Option<Refusal> {
    let lower = text.to_lowercase();
    let says = |part: &str| lower.contains(part);
    let about_program = ABOUT_PROGRAM.iter().any(|part| says(part)) && !says("dial unix");
    let program = if program.is_empty() { "the program" } else { program };
    let (kind, reason) = if NOT_RUNNING.iter().any(|part| says(part)) {
        (RefusalKind::ContainerStopped, "the container is not running".to_owned())
    } else if says("is not valid for pod") {
        (RefusalKind::Other, "the pod has no such container".to_owned())
    } else if !about_program {
        return None;
    } else if says("chdir") {
        (RefusalKind::NotExecutable, format!("{program}: the container's working directory cannot be entered"))
    } else if says("executable file not found") || says("no such file or directory") {
        (RefusalKind::NotFound, format!("{program}: not found in the container"))
    } else if says("permission denied") {
        (RefusalKind::NotExecutable, format!("{program}: may not be executed in the container"))
    } else if says("exec format error") {
        (RefusalKind::NotExecutable, format!("{program}: not built for the container's machine"))
    } else if says("is a directory") {
        (RefusalKind::NotExecutable, format!("{program}: is a directory"))
    } else if says("argument list too long") {
        (RefusalKind::NotExecutable, format!("{program}: the command line is too long"))
    } else {
        return None;
    };
    Some(Refusal::new(reason).kind(kind).detail(printable(text, LOG_TEXT_MAX)))
}

#[cfg(test)]
mod tests;
