//! The cluster from outside: over HTTP and WebSockets by a client of its own, and by a real `kubectl`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed step is a failed test"
)]

mod binary;
mod client;
mod exec;
mod faults;
mod kubectl;
mod leash;
mod lifecycle;
mod objects;
