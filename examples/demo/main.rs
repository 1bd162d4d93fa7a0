//! The demo: development cluster, webhook server and gateway in one process, all on loopback. It prints commands to paste,
//! then the operator's log. Key, password and host key are made for this run, because a login here is a shell on the
//! machine it runs on. Everything it writes is in the cluster's directory, and Ctrl-C leaves no process and no file.
//!
//! The guests' agent is this program, too: the gateway starts it in a container with an agent's arguments.

mod paste;
mod users;
mod view;

use clap::Parser;
use paste::Folder;
use podgate::{App, Config, Disk, Format, Log, PassedSockets};
use podgate_devcluster::{DevCluster, Options};
use podgate_webhooks::server::{Listen, Server};
use podgate_webhooks::toolkit::router;
use rand::seq::IndexedRandom;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use users::Machine;
use view::View;

/// Letters and digits that are not mistaken for each other.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// Demo of Podgate on this machine, with two users and a development cluster.
#[derive(Debug, Parser)]
struct Args {
    /// Address of the SSH server; loopback only.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0", value_parser = loopback)]
    listen: SocketAddr,
    /// Password of the user bob; by default, a random one.
    #[arg(long)]
    password: Option<String>,
}

/// A login is a shell on this machine, so nobody else may reach the server.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "not an address and a port".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err("not a loopback address".to_owned()) }
}

/// The modes of the agent that a gateway or the agent itself starts.
const AGENT_MODES: [&str; 3] = ["link", "sftp-server", "wait-signal"];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|mode| AGENT_MODES.iter().any(|known| mode == known)) {
        return podgate_agent::run(arguments);
    }
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If this cannot be written, nobody is there to read it.
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
    let (host_key, user_key) = (fresh_key(), fresh_key());
    let machine = Machine::look();

    let namespaces = users::NAMESPACES.map(str::to_owned).to_vec();
    let cluster = DevCluster::start(Options { namespaces, ..Options::default() })?;
    let directory = users::directory(&machine, &user_key.public_key().to_openssh()?, &password)?;
    let hooks = Server::bind(Listen::parse("http://127.0.0.1:0", None)?, router(directory)).await?;
    let host_key_text = host_key.to_openssh(LineEnding::LF)?;
    let config = users::configuration(&std::env::current_exe()?, args.listen, &cluster, hooks.url(), &host_key_text);
    let config = Config::parse(&config.to_string(), Format::Json, &Disk)?;
    // The gateway looks at its webhooks when it is built.
    let (stop_hooks, hooks_stopped) = oneshot::channel::<()>();
    let hooks = tokio::spawn(hooks.run(async {
        // An error is the sender being dropped, which means the same.
        let _ = hooks_stopped.await;
    }));
    let log = Log::to_sink(config.log.level, config.log.format, View::new(io::stdout()))?;
    let app = App::build(&config, PassedSockets::default(), log.clone()).await?;
    let address = *app.local_addrs().first().ok_or("the gateway has no listener")?;

    let folder = Folder::new(cluster.scratch_dir())?;
    folder.write_ssh(address, &host_key.public_key().to_openssh()?, &user_key.to_openssh(LineEnding::LF)?)?;
    folder.write_kubeconfig(&cluster.kubeconfig())?;
    folder.explain(&mut io::stdout().lock(), &machine, &password)?;
    let orders = app.orders();
    let stop = async {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            orders.signal();
        }
    };
    tokio::select! {
        () = app.run() => {}
        () = stop => {}
    }
    drop(stop_hooks);
    hooks.await?;
    cluster.stop().await;
    log.close().await;
    Ok(())
}

fn fresh_key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&rand::random()))
}

fn fresh_password() -> String {
    let mut rng = rand::rng();
    let letters = (0..16).filter_map(|_| LETTERS.choose(&mut rng));
    letters.map(|&letter| char::from(letter)).collect()
}
