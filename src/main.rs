//! The gateway's command line. Nothing here but order and exit codes: 0 for a stop that was asked for, 1 when it cannot
//! run, 64 for a command line or configuration that is wrong (sysexits' `EX_USAGE`).

use clap::{Parser, Subcommand};
use podgate::app::flags::with_two_dashes;
use podgate::app::{App, unusable};
use podgate::config::{self, Config, Errors, Level, LogDestination, Migration, dump_file};
use podgate::telemetry::{self, Log};
use podgate::webhook::probe;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SSH server that runs every connection in its own Kubernetes pod.
#[derive(Debug, Parser)]
#[command(name = "podgate", version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    task: Option<Task>,
    /// The configuration file, YAML or (`.json`) JSON.
    #[arg(long, value_name = "FILE", default_value = "config.yaml")]
    config: PathBuf,
    /// Checks the configuration, lists every error and every key without effect, and exits.
    #[arg(long)]
    check_config: bool,
    /// Asks the health endpoint of a running gateway with this configuration: exit status 0 if it is ready, otherwise 1.
    #[arg(long, conflicts_with = "check_config")]
    healthcheck: bool,
    /// Prints the effective configuration as YAML, with masked secrets, and exits.
    #[arg(long, conflicts_with_all = ["check_config", "healthcheck"])]
    dump_config: bool,
    /// Prints the license and the licenses of all linked packages, and exits.
    #[arg(long)]
    licenses: bool,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Rewrites a file of ContainerSSH 0.3 to 0.6 and prints it. Reports on standard error what it changed, what you
    /// must decide, and what you must fix.
    Migrate {
        /// The old configuration file.
        file: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    // Before all else: from here on, a hangup does not end the process.
    let hangup = signal(SignalKind::hangup());
    let args = match Args::try_parse_from(with_two_dashes(std::env::args_os())) {
        Ok(args) => args,
        Err(error) => {
            // Nothing is left to do when even this cannot be shown.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    if let Some(Task::Migrate { file }) = &args.task {
        return migrate(file);
    }
    if args.licenses {
        return print(concat!(include_str!("../LICENSE"), include_str!("../THIRD-PARTY.txt")));
    }
    if args.dump_config {
        return dump_file(&args.config).map_or_else(|errors| invalid(&args.config, &errors), |text| print(&text));
    }
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(errors) => return invalid(&args.config, &errors),
    };
    podgate::tls::install();
    if args.check_config {
        return check(&args.config, &config);
    }
    if args.healthcheck {
        return match healthcheck(&config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error.as_ref()),
        };
    }
    let unusable = unusable_parts(&config);
    if !unusable.is_empty() {
        return wrong(&args.config, &unusable.join("\n"));
    }
    let log = match Log::open(&config.log) {
        Ok(log) => log,
        Err(error) => return fatal(&config.log, None, &error),
    };
    let done = run(&config, &log, hangup).await;
    let code = match &done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fatal(&config.log, Some(&log), error.as_ref()),
    };
    log.close().await;
    code
}

fn invalid(file: &Path, errors: &Errors) -> ExitCode {
    wrong(file, &errors.to_string())
}

fn wrong(file: &Path, errors: &str) -> ExitCode {
    say(&mut io::stderr(), &format!("{}: the configuration is not valid\n{errors}", file.display()));
    ExitCode::from(64)
}

/// Nothing is printed of a file whose meaning can't be kept.
fn migrate(file: &Path) -> ExitCode {
    let migration = match Migration::load(file) {
        Ok(migration) => migration,
        Err(errors) => return invalid(file, &errors),
    };
    let mut err = io::stderr();
    if !migration.refusals.is_empty() {
        say(&mut err, &format!("{}: cannot be rewritten\n{}", file.display(), Errors(migration.refusals)));
        return ExitCode::from(64);
    }
    let changes = migration.changes.iter().chain(&migration.readings);
    changes.for_each(|change| say(&mut err, &format!("changed: {change}")));
    migration.decisions.iter().for_each(|decision| say(&mut err, &format!("to decide: {decision}")));
    let mistakes = migration.mistakes();
    mistakes.iter().for_each(|mistake| say(&mut err, &format!("to fix: {mistake}")));
    say(&mut err, "comments are not copied; check the new file with podgate --config NEW --check-config");
    let printed = print(&migration.to_yaml());
    if mistakes.is_empty() { printed } else { ExitCode::FAILURE }
}

/// What was asked for; where it can't be written, that is a failure.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    for line in error.to_string().lines() {
        say(&mut io::stderr(), &format!("podgate: {line}"));
    }
    ExitCode::FAILURE
}

/// Says in the log's format why the gateway cannot run: on standard error, where whoever starts it looks, and in a log
/// that goes elsewhere.
fn fatal(config: &config::Log, log: Option<&Log>, error: &dyn std::error::Error) -> ExitCode {
    let elsewhere = log.filter(|_| config.destination != LogDestination::Stdout);
    for message in error.to_string().lines() {
        let line = telemetry::line(config.format, Level::Critical, "CORE_START_FAILED", message);
        say(&mut io::stderr(), line.trim_end());
        if let Some(log) = elsewhere {
            log.write(Level::Critical, "CORE_START_FAILED", message, &[]);
        }
    }
    ExitCode::FAILURE
}

fn unusable_parts(config: &Config) -> Vec<String> {
    unusable(config).iter().map(ToString::to_string).collect()
}

fn check(file: &Path, config: &Config) -> ExitCode {
    let mut mistakes = unusable_parts(config);
    mistakes.extend(config.strict.iter().map(ToString::to_string));
    if !mistakes.is_empty() {
        return wrong(file, &mistakes.join("\n"));
    }
    for notice in &config.notices {
        let kind = if notice.warn { "warning" } else { "no effect" };
        say(&mut io::stdout(), &format!("{kind}: {}: {}", notice.path, notice.text));
    }
    say(&mut io::stdout(), "the configuration is valid");
    ExitCode::SUCCESS
}

/// Where there is no health endpoint, there is nothing to ask and nothing wrong.
async fn healthcheck(config: &Config) -> Result<(), Box<dyn std::error::Error>> {
    let Some(health) = &config.health else { return Ok(()) };
    Ok(probe(&health.client).await.map_err(|error| format!("healthcheck: {error}"))?)
}

async fn run(config: &Config, log: &Log, hangup: io::Result<Signal>) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = hangup?;
    let app = App::build(config, log.clone()).await?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    // Also while it ends: a log may be rotated then, too.
    let reopen = async {
        while hangup.recv().await.is_some() {
            log.reopen();
        }
        std::future::pending().await
    };
    tokio::select! {
        () = app.run(stop) => {}
        () = reopen => {}
    }
    Ok(())
}

/// A line to a person; where it cannot be written, nobody is there to read it.
fn say(to: &mut dyn Write, text: &str) {
    let _ = writeln!(to, "{text}");
}
