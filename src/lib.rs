//! Podgate: SSH server that runs every connection in its own Kubernetes pod.
//!
//! The way of the data: `ssh` (a credential) → `auth` (an [`auth::Identity`]) → `settings` → `policy` (a
//! [`policy::Permit`]) → `guest` (a [`guest::Program`]) → `session` (two pumps a channel). `kubernetes` is the backend
//! behind `guest`.

pub mod admin;
pub mod app;
pub mod audit;
pub mod auth;
pub mod config;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod guest;
pub mod kubernetes;
pub mod policy;
pub mod registry;
mod schema;
pub mod session;
pub mod settings;
pub mod shutdown;
mod spare;
pub mod ssh;
pub mod telemetry;
pub mod tls;
pub mod types;
pub mod webhook;
