//! `podgate doctor`: the command line, the lines of its checks, and the exit status.

use super::{fail, print_line, write_out};
use podgate::{DoctorOptions, DoctorVerdict, doctor};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// The configuration file, YAML or (`.json`) JSON.
    #[arg(long, value_name = "FILE", default_value = "config.yaml")]
    config: PathBuf,
    /// Examines the settings and the pod of this user, for whom /authz and the config server are asked. Nothing is asked
    /// about a credential.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Creates a pod of the configuration, runs programs in it, and removes it.
    #[arg(long)]
    pod: bool,
    /// Prints a JSON object for each check, one a line.
    #[arg(long)]
    json: bool,
}

/// Examines, prints a line for each check, and ends with their verdict.
pub(super) async fn run(args: DoctorArgs) -> ExitCode {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => return fail(&error),
    };
    let mut shown = Ok(());
    let options = DoctorOptions { user: args.user, pod: args.pod };
    let told = |check: &podgate::Diagnosis| {
        let line = if args.json { format!("{}\n", check.json()) } else { check.line() };
        if shown.is_ok() {
            shown = write_out(&line);
        }
    };
    let verdict = {
        let examined = doctor(&args.config, options, told, stop.clone());
        tokio::pin!(examined);
        loop {
            tokio::select! {
                verdict = &mut examined => break verdict,
                _ = interrupt.recv() => stop.cancel(),
                _ = terminate.recv() => stop.cancel(),
            }
        }
    };
    if let Err(error) = shown {
        return fail(&error);
    }
    match verdict {
        DoctorVerdict::Healthy => ExitCode::SUCCESS,
        DoctorVerdict::Sick => ExitCode::FAILURE,
        DoctorVerdict::Invalid => ExitCode::from(64),
        DoctorVerdict::Interrupted => {
            print_line(&mut io::stderr(), "podgate: interrupted: not every check was made");
            ExitCode::from(130)
        }
    }
}
