//! The gateway's command line. Nothing here but order and exit codes: 0 for a stop that was asked for, 1 when it cannot
//! run, 64 for a command line or configuration that is wrong (sysexits' `EX_USAGE`).

use clap::Parser;
use podgate::app::App;
use podgate::config::Config;
use podgate::telemetry::Log;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// An SSH server that lands every connection in a Kubernetes pod of its own.
#[derive(Debug, Parser)]
#[command(name = "podgate", version)]
struct Args {
    /// The configuration file, YAML or (`.json`) JSON.
    #[arg(long, value_name = "FILE", default_value = "config.yaml")]
    config: PathBuf,
    /// Checks the configuration, lists every error and what has no effect, and exits.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nothing is left to do when even this cannot be shown.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(errors) => {
            say(&mut io::stderr(), &format!("{}: the configuration is not valid\n{errors}", args.config.display()));
            return ExitCode::from(64);
        }
    };
    if args.check_config {
        return check(&config);
    }
    let log = match Log::open(&config.log) {
        Ok(log) => log,
        Err(error) => return fail(&error),
    };
    match run(&config, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    say(&mut io::stderr(), &format!("podgate: {error}"));
    ExitCode::FAILURE
}

fn check(config: &Config) -> ExitCode {
    for notice in &config.notices {
        let kind = if notice.warn { "warning" } else { "no effect" };
        say(&mut io::stdout(), &format!("{kind}: {}: {}", notice.path, notice.text));
    }
    say(&mut io::stdout(), "the configuration is valid");
    ExitCode::SUCCESS
}

#[tokio::main]
async fn run(config: &Config, log: &Log) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let app = App::build(config, log.clone()).await?;
    let stop = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => log.reopen(),
            }
        }
    };
    app.run(stop).await;
    log.close().await;
    Ok(())
}

/// A line to a person; where it cannot be written, nobody is there to read it.
fn say(to: &mut dyn Write, text: &str) {
    let _ = writeln!(to, "{text}");
}
