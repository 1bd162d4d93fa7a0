//! The program `podgate-webhooks`: a webhook server for users from a file. Only arguments, order and exit codes are here:
//! 64 for arguments and files that are wrong, 1 for what fails while running.

use clap::{Parser, Subcommand};
use podgate_webhooks::directory::{Followed, Follower, hash_password};
use podgate_webhooks::journal::{self, Lines};
use podgate_webhooks::server::{Listen, Server, SocketMode, Tls};
use podgate_webhooks::terminal::Silent;
use serde_json::json;
use std::error::Error;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
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
    /// Read the file, report every mistake in it, and exit
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the hash of a password for the file of the users. Asks for the password at a terminal, otherwise reads standard input
    Hash,
}

/// What ends the program, by exit code.
enum Failure {
    /// 64
    Usage(String),
    /// 1
    Runtime(String),
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
    let done = match args.command {
        Some(Command::Hash) => hash(),
        None => serve(&args),
    };
    let (text, code) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => (text, 64),
        Err(Failure::Runtime(text)) => (text, 1),
    };
    drop(writeln!(io::stderr(), "podgate-webhooks: {text}"));
    ExitCode::from(code)
}

fn hash() -> Result<(), Failure> {
    let password = if io::stdin().is_terminal() { asked()? } else { piped()? };
    if password.is_empty() || password.len() as u64 > PASSWORD_LIMIT || password.contains(&b'\n') {
        return Err(Failure::Usage(format!("the password must be one line of 1 to {PASSWORD_LIMIT} bytes")));
    }
    let phc = hash_password(&password).map_err(|error| runtime("no hash", &error))?;
    writeln!(io::stdout(), "{phc}").map_err(|error| runtime("cannot write the hash", &error))
}

/// A password from the terminal; twice, because nobody sees what they type.
fn asked() -> Result<Vec<u8>, Failure> {
    let ask = || {
        let terminal = Silent::new()?;
        let password = terminal.ask("Password: ")?;
        Ok((terminal.ask("Again: ")? == password).then_some(password))
    };
    let password = ask().map_err(|error: io::Error| runtime("cannot ask for the password", &error))?;
    password.ok_or_else(|| Failure::Usage("the two are not the same".into()))
}

/// Standard input, without the end of its line.
fn piped() -> Result<Vec<u8>, Failure> {
    let mut password = Vec::new();
    io::stdin()
        .take(PASSWORD_LIMIT + 2)
        .read_to_end(&mut password)
        .map_err(|error| runtime("cannot read standard input", &error))?;
    if password.last() == Some(&b'\n') {
        password.pop();
        if password.last() == Some(&b'\r') {
            password.pop();
        }
    }
    Ok(password)
}

fn serve(args: &Args) -> Result<(), Failure> {
    let Some(path) = &args.config else { return Err(Failure::Usage("--config FILE is missing".into())) };
    let (users, follower) = Followed::open(path).map_err(|error| Failure::Usage(error.to_string()))?;
    let listen = listen(args)?;
    if args.check {
        for warning in users.warnings() {
            drop(writeln!(io::stderr(), "podgate-webhooks: {}: {}", warning.path, warning.text));
        }
        return Ok(());
    }
    let (lines, writing) = Lines::start(io::stdout()).map_err(|error| runtime("cannot log", &error))?;
    let runtime_of_tasks = Runtime::new().map_err(|error| runtime("cannot start", &error))?;
    let served = runtime_of_tasks.block_on(run(users, follower, listen, lines));
    // A look at a file system that hangs is not waited for.
    runtime_of_tasks.shutdown_background();
    if !writing.finish() {
        drop(writeln!(io::stderr(), "podgate-webhooks: the last log lines could not be written"));
    }
    served
}

async fn run(users: Arc<Followed>, follower: Follower, listen: Listen, lines: Lines) -> Result<(), Failure> {
    let listened = |kind, name| signal(kind).map_err(|error| runtime(&format!("cannot wait for {name}"), &error));
    let mut terminate = listened(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = listened(SignalKind::interrupt(), "SIGINT")?;
    let hangup = listened(SignalKind::hangup(), "SIGHUP")?;
    let router = journal::router(Arc::clone(&users), lines.clone());
    let server = Server::bind(listen, router).await.map_err(|error| runtime("cannot serve", &error))?;
    users.warn(&lines);
    lines.write(json!({ "event": "listening", "url": server.url() }));
    let served = server.run(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    tokio::select! {
        () = served => {}
        () = follower.run(hangup, lines) => {}
    }
    Ok(())
}

fn listen(args: &Args) -> Result<Listen, Failure> {
    let tls = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some(Tls::from_files(cert, key, args.client_ca.as_deref())),
        _ => None,
    };
    let tls = tls.transpose().map_err(|error| Failure::Usage(chain(&error)))?;
    match (Listen::parse(&args.listen, tls).map_err(|error| Failure::Usage(chain(&error)))?, args.socket_mode) {
        (Listen::Unix(path, _), Some(mode)) => Ok(Listen::Unix(path, mode)),
        (_, Some(_)) => Err(Failure::Usage("--socket-mode can be used only with unix:/PATH".into())),
        (listen, None) => Ok(listen),
    }
}

fn runtime(step: &str, error: &dyn Error) -> Failure {
    Failure::Runtime(format!("{step}: {}", chain(error)))
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
