//! The gateway's command line: order and exit codes only. 0 is a requested stop, 1 a gateway that cannot run, 64 an invalid
//! command line or configuration (sysexits' `EX_USAGE`). `test-login` adds 77 for a user who would be refused (`EX_NOPERM`)
//! and 69 if a webhook or the API does not answer (`EX_UNAVAILABLE`).

#[path = "main/audit.rs"]
mod audit;
#[path = "main/doctor.rs"]
mod doctor;
#[path = "main/operate.rs"]
mod operate;

use clap::{Parser, Subcommand};
use operate::{OperatorCommand, operate};
use podgate::{
    App, Config, Confinement, Errors, HealthQuestion, Log, LogConfig, LoginStep, LoginVerdict, Migration,
    PassedSockets, ProgramRequest, Secret, TestCredential, TestLogin, TestPublicKey, dump_file, failed_start,
    follow_libraries, health_client, install, log_panics, offline_faults, offline_warnings, printable, probe,
    test_login, unusable_places, with_two_dashes,
};
use podgate_webhooks::terminal::EchoOff;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tikv_jemalloc_ctl::{Access, AsName};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The C library's allocator keeps what attacks and crowds made it take; this one gives pages back to the system, by a
/// thread of its own and soon ([`return_memory_in_background`]).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The time after which free memory goes back to the system, in milliseconds.
const RETURN_TIME_MS: isize = 1000;
/// Limit of the user name in the password prompt, in characters.
const PROMPT_NAME: usize = 200;

/// The time for threads that still wait for something when everything has ended.
const LAST_THREADS: Duration = Duration::from_secs(1);

/// SSH server that runs every connection in its own Kubernetes pod.
#[derive(Debug, Parser)]
#[command(name = "podgate", version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    task: Option<CliCommand>,
    /// The configuration file, YAML or (`.json`) JSON.
    #[arg(long, value_name = "FILE", default_value = "config.yaml")]
    config: PathBuf,
    /// Checks the configuration, lists every error and every key without effect, and exits.
    #[arg(long)]
    check_config: bool,
    /// Asks the health endpoint of a running gateway with this configuration: exit status 0 for a yes, otherwise 1. Without
    /// a word, or with `serving`: does it accept connections? `live`: does the process live? `ready`: shall it get new
    /// connections, because it can also reach the webhooks and the Kubernetes API?
    #[arg(long, value_name = "WORD", num_args = 0..=1, require_equals = true, default_missing_value = "serving")]
    #[arg(value_enum, conflicts_with = "check_config")]
    healthcheck: Option<HealthWord>,
    /// Prints the effective configuration as YAML, with masked secrets, and exits.
    #[arg(long, conflicts_with_all = ["check_config", "healthcheck"])]
    dump_config: bool,
    /// Prints the license and the licenses of all linked packages, and exits.
    #[arg(long)]
    licenses: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum HealthWord {
    Serving,
    Live,
    Ready,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Rewrites a file of ContainerSSH 0.3 to 0.6 and prints it. Reports on standard error what it changed, what you
    /// must decide, and what you must fix.
    Migrate {
        /// The old configuration file.
        file: PathBuf,
    },
    /// Tests a login without an SSH client: asks the webhooks, merges their answer, applies the security policy and lets the
    /// Kubernetes API try the pod without creating it. Prints each step with its result, and each reason as the user and the
    /// log would have it. Exit status 0: the user would be served; 77: refused; 69: a webhook or the API gives no answer;
    /// 64: the command line or the configuration is wrong; 1: the result cannot be written.
    TestLogin(TestLoginArgs),
    /// Examines the configuration, this machine, the webhooks and the cluster, and prints a line for each check with what to
    /// do. The webhooks are asked about a user who does not exist; without --pod, nothing is changed in the cluster. Exit status 0: nothing
    /// failed; 1: something failed; 64: the command line or the configuration is wrong; 130: interrupted.
    Doctor(doctor::DoctorArgs),
    /// Reads recordings of the audit log.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    #[command(flatten)]
    Operator(OperatorCommand),
}

#[derive(Debug, clap::Args)]
struct TestLoginArgs {
    /// The login name.
    user: String,
    /// The configuration file, YAML or (`.json`) JSON.
    #[arg(long, value_name = "FILE", default_value = "config.yaml")]
    config: PathBuf,
    /// Asks the webhook about a password: from the terminal, or all of standard input less the line's end. Without this and
    /// --public-key, authentication is skipped. A wrong password counts as a failed login where the webhook counts them.
    #[arg(long, conflicts_with = "public_key")]
    password_stdin: bool,
    /// Asks the webhook about the public key in this file. The private key is not needed.
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Takes the config webhook's answer (JSON) from this file and does not ask the webhook; - is standard input.
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
    /// The client's address that the webhooks are told, with a port or without.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = remote_address)]
    remote_address: SocketAddr,
    /// Tests a login that runs this command. Without this and --subsystem: any program that the policy allows.
    #[arg(long, conflicts_with = "subsystem")]
    command: Option<String>,
    /// Tests a login that starts this subsystem, for example sftp.
    #[arg(long, value_name = "NAME")]
    subsystem: Option<String>,
    /// The limit for each server's answer, in seconds. A login waits longer: see authTimeout and podStart.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// The form of the result: lines for people and the pod as YAML, or one JSON document.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OutputFormat {
    Text,
    Json,
}

/// Parses an IP address with a port, or without one as port 0.
fn remote_address(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>().ok();
    let address = with_port.or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 0)));
    address.ok_or_else(|| "not an IP address, with a port or without".to_owned())
}

fn main() -> ExitCode {
    // While there is one thread.
    let passed = PassedSockets::of_process();
    if let Err(error) = withstand_signals() {
        return fail(&error);
    }
    let args = match Args::try_parse_from(with_two_dashes(std::env::args_os())) {
        Ok(args) => args,
        Err(error) => {
            // If the message cannot be written, nothing is left to do.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    // Read once: it may be a pipe.
    let config = args.needs_config().then(|| Config::load(&args.config));
    let socket = config.as_ref().and_then(|config| config.as_ref().ok()?.admin.socket.as_deref());
    let inherited = Inherited { passed, confinement: Confinement::of_process(socket) };
    return_memory_in_background();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(start(args, config, inherited));
            // A thread that waits for a file system which hangs does not keep the process.
            runtime.shutdown_timeout(LAST_THREADS);
            code
        }
        Err(error) => fail(&error),
    }
}

/// Starts the allocator's own thread, which gives memory back to the system soon. Only behind the confinement: a thread that
/// runs before it does not share it.
fn return_memory_in_background() {
    // The memory that threads take from now on, and that of the threads that there are (jemalloc's MALLCTL_ARENAS_ALL).
    for of in [&b"arenas.dirty_decay_ms\0"[..], b"arena.4096.dirty_decay_ms\0"] {
        // Else it goes back after jemalloc's own ten seconds.
        let _ = of.name().write(RETURN_TIME_MS);
    }
    // Without the thread, memory goes back when others free theirs.
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
}

/// Keeps a hangup from ending the process, from here on, and a file that reaches the process's limit of a file's size: the
/// write fails then. The handlers stay when this runtime, which has no thread, is gone.
fn withstand_signals() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let file_size = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    runtime.block_on(async { signal(SignalKind::hangup()).and(signal(file_size)).map(drop) })
}

impl Args {
    /// True for a task that needs a valid configuration.
    fn needs_config(&self) -> bool {
        self.task.is_none() && !self.licenses && !self.dump_config && self.healthcheck.is_none()
    }
}

/// The sockets that were passed and the privileges that were given up, before the runtime starts.
struct Inherited {
    passed: PassedSockets,
    confinement: Confinement,
}

async fn start(args: Args, config: Option<Result<Config, Errors>>, inherited: Inherited) -> ExitCode {
    let hangup = signal(SignalKind::hangup());
    match args.task {
        Some(CliCommand::Migrate { file }) => return migrate(&file),
        Some(CliCommand::TestLogin(args)) => return run_test_login(args).await,
        Some(CliCommand::Doctor(args)) => return doctor::run(args).await,
        Some(CliCommand::Audit(command)) => return audit::run(&command),
        Some(CliCommand::Operator(command)) => return operate(command).await,
        None => {}
    }
    if args.licenses {
        return print(concat!(include_str!("../LICENSE"), include_str!("../THIRD-PARTY.txt")));
    }
    if args.dump_config {
        return dump_file(&args.config).map_or_else(|errors| invalid(&args.config, &errors), |text| print(&text));
    }
    install();
    if let Some(word) = args.healthcheck {
        return match healthcheck(&args.config, word).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error.as_ref()),
        };
    }
    let config = match config.unwrap_or_else(|| Config::load(&args.config)) {
        Ok(config) => config,
        Err(errors) => return invalid(&args.config, &errors),
    };
    if args.check_config {
        return check(&args.config, &config);
    }
    let unusable = unusable_parts(&config);
    if !unusable.is_empty() {
        return wrong(&args.config, &unusable.join("\n"));
    }
    let log = match Log::open(&config.log) {
        Ok(log) => log,
        Err(error) => return fatal(&config.log, None, &error),
    };
    follow_libraries(&log);
    let panic_lines = log_panics(&log);
    inherited.confinement.record(&log);
    let log_config = config.log.clone();
    let done = run(config, inherited.passed, &log, hangup).await;
    let code = match &done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fatal(&log_config, Some(&log), error.as_ref()),
    };
    panic_lines.finish();
    log.close().await;
    code
}

fn invalid(file: &Path, errors: &Errors) -> ExitCode {
    wrong(file, &errors.to_string())
}

fn wrong(file: &Path, errors: &str) -> ExitCode {
    print_line(&mut io::stderr(), &format!("{}: the configuration is not valid\n{errors}", file.display()));
    ExitCode::from(64)
}

/// Prints the rewritten file, or nothing if a part of its meaning would be lost.
fn migrate(file: &Path) -> ExitCode {
    let migration = match Migration::load(file) {
        Ok(migration) => migration,
        Err(errors) => return invalid(file, &errors),
    };
    let mut err = io::stderr();
    let (to_check, to_fix): (Vec<_>, Vec<_>) =
        migration.mistakes().into_iter().partition(|mistake| mistake.is_mounted_elsewhere);
    let print_rest = |err: &mut dyn Write| {
        to_fix.iter().for_each(|mistake| print_line(err, &format!("to fix: {mistake}")));
        to_check.iter().for_each(|mistake| print_line(err, &format!("to check where the gateway runs: {mistake}")));
    };
    if !migration.refusals.is_empty() {
        let refusals = Errors(migration.refusals.clone());
        print_line(&mut err, &format!("{}: cannot be rewritten\n{refusals}", file.display()));
        print_rest(&mut err);
        return ExitCode::from(64);
    }
    let changes = migration.changes.iter().chain(&migration.readings);
    changes.for_each(|change| print_line(&mut err, &format!("changed: {change}")));
    migration.decisions.iter().for_each(|decision| print_line(&mut err, &format!("to decide: {decision}")));
    print_rest(&mut err);
    print_line(&mut err, "comments are not copied; check the new file with podgate --config NEW --check-config");
    let printed = print(&migration.to_yaml());
    if to_fix.is_empty() { printed } else { ExitCode::FAILURE }
}

async fn run_test_login(args: TestLoginArgs) -> ExitCode {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(errors) => return invalid(&args.config, &errors),
    };
    install();
    let unusable = unusable_parts(&config);
    if !unusable.is_empty() {
        return wrong(&args.config, &unusable.join("\n"));
    }
    let (output, test) = (args.output, login_of(args));
    let test = match test {
        Ok(test) => test,
        Err(InputError::Interrupted) => return ExitCode::from(130),
        Err(InputError::Wrong(error)) => {
            print_line(&mut io::stderr(), &format!("podgate: {error}"));
            return ExitCode::from(64);
        }
    };
    let mut shown = Ok(());
    let print_step = |step: &LoginStep| {
        if output == OutputFormat::Text && shown.is_ok() {
            shown = write_out(&step.lines());
        }
    };
    let print_retry = |retry: &str| print_line(&mut io::stderr(), &format!("podgate: asking again: {retry}"));
    let report = test_login(&config, test, print_step, print_retry);
    let report = match report.await {
        Ok(report) => report,
        Err(error) => return fail(&error),
    };
    let end = match output {
        OutputFormat::Text => report.conclusion(),
        OutputFormat::Json => format!("{:#}\n", report.json()),
    };
    if let Err(error) = shown.and_then(|()| write_out(&end)) {
        return fail(&error);
    }
    match report.verdict {
        LoginVerdict::Served => ExitCode::SUCCESS,
        LoginVerdict::Refused => ExitCode::from(77),
        LoginVerdict::Unavailable => ExitCode::from(69),
    }
}

/// An input without which there is nothing to test.
enum InputError {
    /// Ctrl-C at the password prompt.
    Interrupted,
    /// An unreadable input or conflicting options; one line for the user.
    Wrong(String),
}

/// Reads the inputs that the command line names.
fn login_of(args: TestLoginArgs) -> Result<TestLogin, InputError> {
    let is_stdin = |path: &Path| path == Path::new("-");
    if args.password_stdin && args.answer.as_deref().is_some_and(is_stdin) {
        return Err(InputError::Wrong("--password-stdin and --answer - both read standard input".to_owned()));
    }
    let failed = |option: &str, path: &Path, reason: &dyn std::fmt::Display| {
        InputError::Wrong(format!("{option}: {}: {reason}", path.display()))
    };
    let credential = match &args.public_key {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| failed("--public-key", path, &error))?;
            let key = TestPublicKey::parse(&text);
            TestCredential::PublicKey(key.ok_or_else(|| failed("--public-key", path, &"this is no public key"))?)
        }
        None if args.password_stdin => {
            TestCredential::Password(Secret::new(password(&printable(&args.user, PROMPT_NAME))?))
        }
        None => TestCredential::None,
    };
    let read = |path: &Path| if is_stdin(path) { all_of_stdin() } else { std::fs::read(path) };
    let answer = args.answer.as_deref().map(|path| read(path).map_err(|error| failed("--answer", path, &error)));
    let program = args.command.map(ProgramRequest::Exec).or(args.subsystem.map(ProgramRequest::Subsystem));
    Ok(TestLogin {
        user: args.user,
        credential,
        answer: answer.transpose()?.map(Into::into),
        remote: args.remote_address,
        program,
        limit: Duration::from_secs(args.timeout),
    })
}

/// Reads a password from the terminal, or else all of standard input; the line's end is removed.
fn password(user: &str) -> Result<String, InputError> {
    let at_terminal = io::stdin().is_terminal();
    let read = || match at_terminal {
        true => EchoOff::new()?.ask(&format!("{user}'s password: ")),
        false => all_of_stdin(),
    };
    let bytes = match read() {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(InputError::Interrupted),
        Err(error) => return Err(InputError::Wrong(format!("--password-stdin: {error}"))),
    };
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| InputError::Wrong("--password-stdin: the password is not UTF-8 text".to_owned()))?;
    Ok(text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text)).to_owned())
}

fn all_of_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Writes the requested output; an error of the write is a failure.
fn print(text: &str) -> ExitCode {
    match write_out(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    for line in error.to_string().lines() {
        print_line(&mut io::stderr(), &format!("podgate: {line}"));
    }
    ExitCode::FAILURE
}

/// Reports why the gateway cannot run: on standard error in the log's format, and in a log with another destination.
fn fatal(config: &LogConfig, log: Option<&Log>, error: &dyn std::error::Error) -> ExitCode {
    for message in error.to_string().lines() {
        print_line(&mut io::stderr(), failed_start(config, log, message).trim_end());
    }
    ExitCode::FAILURE
}

fn unusable_parts(config: &Config) -> Vec<String> {
    offline_faults(config).iter().map(ToString::to_string).collect()
}

fn check(file: &Path, config: &Config) -> ExitCode {
    let mut mistakes = unusable_parts(config);
    mistakes.extend(unusable_places(config).iter().map(ToString::to_string));
    mistakes.extend(config.strict.iter().map(ToString::to_string));
    if !mistakes.is_empty() {
        return wrong(file, &mistakes.join("\n"));
    }
    for notice in &config.notices {
        let kind = if notice.warn { "warning" } else { "no effect" };
        print_line(&mut io::stdout(), &format!("{kind}: {}: {}", notice.path, notice.text));
    }
    for (path, fault) in offline_warnings(config) {
        print_line(&mut io::stdout(), &format!("warning: {path}: {fault}"));
    }
    print_line(&mut io::stdout(), "the configuration is valid");
    ExitCode::SUCCESS
}

/// Succeeds without a request if no health endpoint is configured. What the file says elsewhere plays no part: a probe must
/// not end a gateway that runs because its file was changed.
async fn healthcheck(file: &Path, word: HealthWord) -> Result<(), Box<dyn std::error::Error>> {
    let client = health_client(file).map_err(|errors| format!("healthcheck: {}: {errors}", file.display()))?;
    let Some(client) = client else { return Ok(()) };
    let question = match word {
        HealthWord::Serving => HealthQuestion::Serving,
        HealthWord::Live => HealthQuestion::Live,
        HealthWord::Ready => HealthQuestion::Ready,
    };
    Ok(probe(&client, question).await.map_err(|error| format!("healthcheck: {error}"))?)
}

async fn run(
    config: Config,
    passed: PassedSockets,
    log: &Log,
    hangup: io::Result<Signal>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = hangup?;
    let app = Box::pin(App::build(&config, passed, log.clone())).await?;
    // Its secrets are not kept beyond the reload that replaces them.
    drop(config);
    let (orders, reloads) = (app.orders(), app.reloads());
    let stop = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            orders.signal();
        }
    };
    // The log during the shutdown, too: it may be rotated then.
    let reopen = async {
        while hangup.recv().await.is_some() {
            log.reopen();
            reloads.signal();
        }
        std::future::pending().await
    };
    tokio::select! {
        () = app.run() => {}
        () = stop => {}
        () = reopen => {}
    }
    Ok(())
}

/// Writes a line for a person. Ignores errors, since nobody reads a stream that cannot be written.
fn print_line(to: &mut dyn Write, text: &str) {
    let _ = writeln!(to, "{text}");
}
