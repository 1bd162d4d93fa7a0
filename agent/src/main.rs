//! The program `podgate-agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    podgate_agent::run(std::env::args_os().collect())
}
