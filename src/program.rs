//! What a session's program needs in a container, whatever backend starts it: its command line, the gate that holds it
//! until its streams are attached, the shell around it that reports its exit, and deadlines.

pub(crate) mod command_line;
pub(crate) mod confirmed_end;
pub(crate) mod deadlines;
mod exit_wrapper;
pub(crate) mod gate;
pub(crate) mod probes;
pub(crate) mod shell_start;
mod stty;

use crate::guest::{Exit, Refusal};

/// The user's line for a program whose end is not known.
pub(crate) const LOST: &str = "the connection to the container was lost";

/// A stream that ended without saying how the program did.
pub(crate) fn lost(detail: String) -> Exit {
    Exit::Lost(Refusal::new(LOST).detail(detail))
}
