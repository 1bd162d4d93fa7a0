//! The integration tests, one binary, a module a theme.
#![expect(
    unreachable_pub,
    reason = "the support's items are public among the themes, which are modules of one program"
)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test's failed step is its end, and it may speak"
)]

mod admission;
mod architecture;
mod attacks;
mod canaries;
mod clients;
mod configuration;
mod crowd;
mod dependencies;
mod differential;
mod doctor;
mod events;
mod failures;
mod gateways;
mod geoip;
mod guest_agents;
mod images;
mod inside;
mod listeners;
mod log;
mod logins;
mod migration;
mod modes;
mod operator;
mod outages;
mod papers;
mod peers;
mod pods;
mod policies;
mod programs;
mod protocol;
mod recordings;
mod reload;
mod shutdown;
mod smoke;
mod start;
mod support;
mod test_login;
mod tools;
mod traces;
mod transfers;
