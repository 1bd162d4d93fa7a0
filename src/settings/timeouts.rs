//! `kubernetes.timeouts`: the limit of each step of a pod's and a program's start and end.

use crate::schema::Section;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// `podStart`: from the request for the pod until a program can start in it.
    pub pod_start: Duration,
    /// `podStop`: all tries to remove the pod, and in mode session the wait for the program's exit code.
    pub pod_stop: Duration,
    /// `commandStart`: from the request for a program to its started stream.
    pub command_start: Duration,
    /// `signal`: until a signal is delivered.
    pub signal: Duration,
    /// `window`: until a terminal's new size is delivered.
    pub window: Duration,
    /// `http`: one REST call.
    pub http: Duration,
}

pub(super) fn read(section: &Section<'_>) -> Timeouts {
    let of = |key| section.duration(key).unwrap_or_default();
    Timeouts {
        pod_start: of("podStart"),
        pod_stop: of("podStop"),
        command_start: of("commandStart"),
        signal: of("signal"),
        window: of("window"),
        http: of("http"),
    }
}
