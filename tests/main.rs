//! The integration tests, one binary, a module a theme.

mod architecture;
mod dependencies;
mod smoke;
mod support;
