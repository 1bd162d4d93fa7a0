//! The benchmark: what the gateway costs, beside its rivals in the same run: OpenSSH's `sshd`, and on a real cluster, which
//! `PODGATE_TEST_KUBECONFIG` names, `kubectl`.
//!
//! `cargo bench --bench bars` builds everything optimized and prints one table. The gateway is a process of its own, so
//! that its processor time and memory are its own; the development cluster and the webhooks are in this process, which
//! shares the machine with it, as the clients do. `sshd` runs as the current user, on loopback too, with the same cipher
//! and the same client, and each of its measurements stands beside the gateway's of the same moment. It has one hop less:
//! no API server stands between it and its programs.
//!
//! Options follow `--`: `--runs N` (medians of so many), `--mib N` (the size of a transfer), `--sessions N` (held at
//! once), `--strict` (fails where a bar is missed).
#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up ends there, with the reason")]

mod bench {
    pub(crate) mod echo;
    pub(crate) mod handshakes;
    pub(crate) mod idle;
    pub(crate) mod kubectl;
    pub(crate) mod measure;
    pub(crate) mod process;
    pub(crate) mod real;
    pub(crate) mod server;
    pub(crate) mod sshd;
    pub(crate) mod table;
}
#[expect(
    dead_code,
    unreachable_pub,
    clippy::panic,
    clippy::print_stderr,
    reason = "the tests' own world, of which a benchmark needs a part"
)]
mod support;

use bench::table::Table;
use bench::{idle, measure, real};
use clap::Parser;
use std::process::ExitCode;
use support::agent;

/// Measures the gateway beside OpenSSH's sshd.
#[derive(Debug, Parser)]
struct Args {
    /// Every figure is the median of so many measurements.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The size of a transfer.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    mib: u32,
    /// Sessions held at once for the memory of one; 500 on the development cluster and 100 on a real one if not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    sessions: Option<u32>,
    /// Fails where a bar is missed.
    #[arg(long)]
    strict: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.bench {
        // `cargo test --all-targets` runs benchmarks too, without this flag and unoptimized.
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let table = runtime.block_on(async {
        let mut table = Table::default();
        let (pod, sessions) = match support::cluster::kubeconfig() {
            Some(kubeconfig) => {
                Box::pin(real::all(kubeconfig, args.runs, args.mib, &mut table)).await;
                (agent::not_in_image(), 100)
            }
            None => {
                Box::pin(measure::all(args.runs, args.mib, &mut table)).await;
                (agent::in_image(), 500)
            }
        };
        Box::pin(idle::all(pod, args.sessions.unwrap_or(sessions), &mut table)).await;
        table
    });
    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(&mut out, table.to_string().as_bytes()).expect("the table is written");
    if args.strict && !table.holds() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
