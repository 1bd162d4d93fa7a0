//! The integration tests, one binary, a module a theme.
#![expect(
    unreachable_pub,
    reason = "the support's items are public among the themes, which are modules of one program"
)]

mod architecture;
mod dependencies;
mod failures;
mod pods;
mod shutdown;
mod smoke;
mod support;
