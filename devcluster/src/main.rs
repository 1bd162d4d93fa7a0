//! `podgate-devcluster`: a development cluster on a loopback port, until Ctrl-C or SIGTERM.

use clap::Parser;
use podgate_devcluster::{DevCluster, Options};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// A Kubernetes API in one process whose pods are local processes. For trials and tests only: containers run as the local
/// user, without any isolation.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Loopback address and port of the API; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Path of the kubeconfig to write; the file must not exist yet, and is removed at the end.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Another namespace; may be repeated.
    #[arg(long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell if standard error is closed.
            let _closed = writeln!(io::stderr(), "podgate-devcluster: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let options = Options { listen: arguments.listen, namespaces: arguments.namespaces, ..Options::default() };
    let cluster = DevCluster::start(options)?;
    let file = Kubeconfig::write(&arguments.kubeconfig, &cluster.kubeconfig())
        .map_err(|error| format!("could not write {}: {error}", arguments.kubeconfig.display()))?;
    // Whoever has closed standard output does not want to read it.
    let _closed = writeln!(
        io::stdout(),
        "A development cluster listens on https://{}. For trials and tests only: containers run as the local user.\n\
         \n    kubectl --kubeconfig {} get pods --watch\n\nCtrl-C ends it and everything that runs in it.",
        cluster.host(),
        file.0.display()
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    cluster.stop().await;
    Ok(())
}

/// A kubeconfig that is removed with this value.
struct Kubeconfig(PathBuf);

impl Kubeconfig {
    fn write(path: &Path, text: &str) -> io::Result<Self> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        // It may have been removed by hand.
        let _gone = std::fs::remove_file(&self.0);
    }
}
