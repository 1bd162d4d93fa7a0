//! The integration tests, one binary, a module a theme.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test's failed step is its end, and it may speak"
)]
#![expect(
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "one program: its items are public among the themes, and what fails in a support ends its test"
)]

mod architecture;
mod configuration;
mod dependencies;
mod failures;
mod log;
mod logins;
mod papers;
mod pods;
mod policies;
mod programs;
mod shutdown;
mod smoke;
mod support;
mod tools;
mod transfers;
