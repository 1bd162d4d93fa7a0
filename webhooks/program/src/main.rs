//! The program `podgate-webhooks`: a webhook server for users from a file, whose settings it judges with the gateway's own
//! parser. Only arguments, order and exit codes are here: 64 for arguments and files that are wrong, 1 for what fails while
//! running.

mod log;
mod settings;

use clap::{Parser, Subcommand};
use log::{Operator, level, open};
use podgate::{Code, Level, LogFormat, log_line};
use podgate_webhooks::directory::{FileError, FileFollower, Followed, hash_password};
use podgate_webhooks::journal::{self, Journal, JournalEvent};
use podgate_webhooks::server::{Listen, Server, SocketMode, Tls};
use podgate_webhooks::terminal::EchoOff;
use std::error::Error;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// The longest password that `hash` reads, in bytes.
const PASSWORD_LIMIT: u64 = 4096;

/// Webhook server for Podgate that reads its users from a YAML file.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// File of the users; a changed file is read within two seconds, or at once on SIGHUP
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Address of the server: https://HOST:PORT, http://LOOPBACK:PORT or unix:/PATH
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    listen: String,
    /// File of the certificate chain for https, in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// File of the certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Allow only clients with a certificate of this CA; a file in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    client_ca: Option<PathBuf>,
    /// Mode of the Unix socket: 0600 or 0660
    #[arg(long, value_name = "MODE")]
    socket_mode: Option<SocketMode>,
    /// Level of the log: error, warning, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = level)]
    log_level: Level,
    /// Format of the log: ljson (one JSON object on each line) or text
    #[arg(long, value_name = "FORMAT", default_value = "ljson", value_parser = log::format)]
    log_format: LogFormat,
    /// Read the file, report every mistake in it, and exit
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the hash of a password for the file of the users. Asks for the password at a terminal, otherwise reads standard input
    Hash,
}

/// Failure that ends the program: the code, and one sentence a line.
struct ProgramError {
    code: u8,
    text: String,
}

impl ProgramError {
    fn usage(text: impl Into<String>) -> Self {
        Self { code: 64, text: text.into() }
    }

    fn runtime(step: &str, error: &dyn Error) -> Self {
        Self { code: 1, text: format!("{step}: {}", chain(error)) }
    }
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Also the way of --help and --version. Without a terminal there is nowhere to say that it failed.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let (done, logs) = match args.command {
        Some(Command::Hash) => (hash(), false),
        None if args.check => (check(&args), false),
        None => (serve(&args), true),
    };
    let Err(ProgramError { code, text }) = done else { return ExitCode::SUCCESS };
    let start_failed = Code::external("WEBHOOKS_START_FAILED", Level::Critical);
    for line in text.lines() {
        if logs {
            let line = log_line(args.log_format, start_failed, line);
            say(&mut io::stderr(), line.trim_end());
        } else {
            say(&mut io::stderr(), &format!("podgate-webhooks: {line}"));
        }
    }
    ExitCode::from(code)
}

/// A line to a person; where it cannot be written, nobody is there to read it.
fn say(to: &mut dyn Write, text: &str) {
    let _ = writeln!(to, "{text}");
}

fn hash() -> Result<(), ProgramError> {
    let password = if io::stdin().is_terminal() { asked()? } else { piped()? };
    if password.is_empty() || password.len() as u64 > PASSWORD_LIMIT || password.contains(&b'\n') {
        return Err(ProgramError::usage(format!("the password must be one line of 1 to {PASSWORD_LIMIT} bytes")));
    }
    let phc = hash_password(&password).map_err(|error| ProgramError::runtime("no hash", &error))?;
    writeln!(io::stdout(), "{phc}").map_err(|error| ProgramError::runtime("cannot write the hash", &error))
}

/// A password from the terminal; twice, because nobody sees what they type.
fn asked() -> Result<Vec<u8>, ProgramError> {
    let ask = || {
        let terminal = EchoOff::new()?;
        let password = terminal.ask("Password: ")?;
        Ok((terminal.ask("Again: ")? == password).then_some(password))
    };
    let password = ask().map_err(|error: io::Error| ProgramError::runtime("cannot ask for the password", &error))?;
    password.ok_or_else(|| ProgramError::usage("the two are not the same"))
}

/// Standard input, without the end of its line.
fn piped() -> Result<Vec<u8>, ProgramError> {
    let mut password = Vec::new();
    io::stdin()
        .take(PASSWORD_LIMIT + 2)
        .read_to_end(&mut password)
        .map_err(|error| ProgramError::runtime("cannot read standard input", &error))?;
    if password.last() == Some(&b'\n') {
        password.pop();
        if password.last() == Some(&b'\r') {
            password.pop();
        }
    }
    Ok(password)
}

/// Everything that stands in the arguments and in what they name, or every mistake in it.
fn read(args: &Args) -> Result<(Arc<Followed>, FileFollower, Listen), ProgramError> {
    let Some(path) = &args.config else { return Err(ProgramError::usage("--config FILE is missing")) };
    match (Followed::open(path, Box::new(settings::check)), listen(args)) {
        (Ok((users, follower)), Ok(listen)) => Ok((users, follower, listen)),
        (Err(error), Ok(_)) => Err(ProgramError::usage(mistakes(path, &error))),
        (Ok(_), Err(failure)) => Err(failure),
        (Err(error), Err(failure)) => Err(ProgramError::usage(format!("{}\n{}", mistakes(path, &error), failure.text))),
    }
}

/// The file's mistakes, one a line.
fn mistakes(path: &Path, error: &FileError) -> String {
    match error {
        FileError::Read { .. } => error.to_string(),
        FileError::Wrong { problems, .. } => {
            let lines = problems.list().iter().map(|problem| format!("{}: {problem}", path.display()));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

fn check(args: &Args) -> Result<(), ProgramError> {
    let (users, ..) = read(args)?;
    for warning in users.warnings() {
        say(&mut io::stdout(), &format!("warning: {warning}"));
    }
    say(&mut io::stdout(), &format!("the file is valid; users: {}", users.users()));
    Ok(())
}

fn serve(args: &Args) -> Result<(), ProgramError> {
    let (users, follower, listen) = read(args)?;
    let log = open(args.log_level, args.log_format).map_err(|error| ProgramError::runtime("cannot log", &error))?;
    let runtime = Runtime::new().map_err(|error| ProgramError::runtime("cannot start", &error))?;
    let served = runtime.block_on(async {
        let served = run(users, follower, listen, Arc::new(Operator(log.clone()))).await;
        log.close().await;
        served
    });
    // A look at a file system that hangs is not waited for.
    runtime.shutdown_background();
    served
}

async fn run(
    users: Arc<Followed>,
    follower: FileFollower,
    listen: Listen,
    journal: Arc<dyn Journal>,
) -> Result<(), ProgramError> {
    let listened =
        |kind, name| signal(kind).map_err(|error| ProgramError::runtime(&format!("cannot wait for {name}"), &error));
    let mut terminate = listened(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = listened(SignalKind::interrupt(), "SIGINT")?;
    let hangup = listened(SignalKind::hangup(), "SIGHUP")?;
    let router = journal::router(Arc::clone(&users), Arc::clone(&journal));
    let server = Server::bind(listen, router).await.map_err(|error| ProgramError::runtime("cannot serve", &error))?;
    users.warn(&*journal);
    let number = users.users().to_string();
    tell(&*journal, "WEBHOOKS_AVAILABLE", "the webhooks are listening", &[("url", server.url()), ("users", &number)]);
    let stopping = Arc::clone(&journal);
    let served = server.run(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell(&*stopping, "WEBHOOKS_STOPPING", "shutting down", &[]);
    });
    tokio::select! {
        () = served => {}
        () = follower.run(hangup, Arc::clone(&journal)) => {}
    }
    tell(&*journal, "WEBHOOKS_STOPPED", "every connection has ended", &[]);
    Ok(())
}

fn tell(journal: &dyn Journal, code: &'static str, message: &str, details: &[(&str, &str)]) {
    journal.write(JournalEvent { level: journal::JournalLevel::Info, code, message, details });
}

fn listen(args: &Args) -> Result<Listen, ProgramError> {
    let tls = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some(Tls::from_files(cert, key, args.client_ca.as_deref())),
        _ => None,
    };
    let tls = tls.transpose().map_err(|error| ProgramError::usage(chain(&error)))?;
    match (Listen::parse(&args.listen, tls).map_err(|error| ProgramError::usage(chain(&error)))?, args.socket_mode) {
        (Listen::Unix(path, _), Some(mode)) => Ok(Listen::Unix(path, mode)),
        (_, Some(_)) => Err(ProgramError::usage("--socket-mode can be used only with unix:/PATH")),
        (listen, None) => Ok(listen),
    }
}

/// An error with all that caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
