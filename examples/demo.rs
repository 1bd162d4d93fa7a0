//! The demo: development cluster, webhook server and gateway in one process, all on loopback. It prints the `ssh` command
//! to paste and a password made fresh for this run, because a login here is a shell on the machine it runs on. Ctrl-C
//! leaves no process and no file.

use clap::Parser;
use podgate::app::App;
use podgate::config::{Config, Disk, Format};
use podgate::telemetry::Log;
use podgate_devcluster::{DevCluster, Options};
use podgate_webhooks::directory::{Directory, User};
use podgate_webhooks::server::{Listen, Server};
use podgate_webhooks::toolkit::router;
use rand::seq::IndexedRandom;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use serde_json::{Value, json};
use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Letters and digits that are not mistaken for each other.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// A trial of Podgate on this machine: the user `demo` gets a shell in a pod of a development cluster.
#[derive(Debug, Parser)]
struct Args {
    /// Where the SSH server listens; loopback only.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0", value_parser = loopback)]
    listen: SocketAddr,
    /// The password of `demo`; a fresh one by default.
    #[arg(long)]
    password: Option<String>,
}

/// A login is a shell on this machine: nobody else is to reach it.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "not an address and a port".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err("not a loopback address".to_owned()) }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where this cannot be written, nobody is there to read it.
            let _ = writeln!(io::stderr(), "demo: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let password = args.password.clone().unwrap_or_else(fresh_password);
    let host_key = PrivateKey::from(Ed25519Keypair::from_seed(&rand::random()));

    let cluster = DevCluster::start(Options::default())?;
    let directory = Directory::new().user("demo", User::with_password(&password)?);
    let hooks = Server::bind(Listen::parse("http://127.0.0.1:0", None)?, router(directory)).await?;
    let config = configuration(args, &cluster, hooks.url(), &host_key.to_openssh(LineEnding::LF)?);
    let config = Config::parse(&config.to_string(), Format::Json, &Disk)?;
    // The gateway looks at its webhooks when it is built.
    let (stop_hooks, hooks_stopped) = oneshot::channel::<()>();
    let hooks = tokio::spawn(hooks.run(async {
        // An error is the sender being dropped, which means the same.
        let _ = hooks_stopped.await;
    }));
    let log = Log::open(&config.log)?;
    let app = App::build(&config, log.clone()).await?;
    explain(app.local_addr(), &host_key.public_key().to_openssh()?, &password)?;
    app.run(async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
    .await;
    drop(stop_hooks);
    hooks.await?;
    cluster.stop().await;
    log.close().await;
    Ok(())
}

fn fresh_password() -> String {
    let mut rng = rand::rng();
    let letters = (0..16).filter_map(|_| LETTERS.choose(&mut rng));
    letters.map(|&letter| char::from(letter)).collect()
}

/// What a file would say.
fn configuration(args: &Args, cluster: &DevCluster, hooks: &str, host_key: &str) -> Value {
    json!({
        "log": {"level": "info", "format": "text"},
        "ssh": {"listen": args.listen.to_string(), "hostkeys": [host_key]},
        "auth": {"password": {"method": "webhook", "webhook": {"url": hooks}}},
        "backend": "kubernetes",
        "kubernetes": {
            "connection": {
                "host": cluster.host(),
                "cacert": cluster.ca_pem(),
                "bearerToken": cluster.token(),
            },
            "pod": {
                "disableAgent": true,
                "shellCommand": ["/bin/sh"],
                "spec": {"containers": [{"name": "shell", "image": "demo"}]},
            },
        },
    })
}

/// The command checks the host key without writing a file: `KnownHostsCommand` tells it.
fn explain(address: SocketAddr, host_key: &str, password: &str) -> io::Result<()> {
    let known = format!("[{}]:{} {}", address.ip(), address.port(), host_key.trim());
    let options = format!(
        "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o 'KnownHostsCommand=/bin/echo {known}'"
    );
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "Podgate's demo. A login is a shell on this machine, in a directory of its own. In another terminal:\n"
    )?;
    writeln!(out, "  ssh {options} -p {} demo@{}\n", address.port(), address.ip())?;
    writeln!(out, "  password: {password}\n")?;
    writeln!(out, "Ctrl-C ends it. What the operator sees:\n")?;
    out.flush()
}
