//! Podgate: SSH server that runs every connection in its own Kubernetes pod.
//!
//! Data passes through `ssh` (a credential) → `auth` (an [`auth::Identity`]) → `settings` → `policy` (a
//! [`policy::Permit`]) → `guest` (a [`guest::Program`]) → `session` (two pumps for each channel). `kubernetes` is the
//! backend behind `guest`.

mod admin;
mod app;
mod audit;
mod auth;
mod buffer_pool;
mod collector;
mod config;
mod confinement;
mod descriptors;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod guest;
mod heartbeat;
mod kubernetes;
mod link;
mod listening;
mod locks;
mod memory;
mod policy;
mod program;
mod proxy_protocol;
mod registry;
mod reload;
mod schema;
mod session;
mod settings;
mod shutdown;
mod socket_activation;
mod ssh;
mod telemetry;
mod throttle;
mod tls;
mod types;
mod webhook;

pub use admin::{AdminClientError, answer_text, ask_gateway};
pub use app::doctor::{DoctorOptions, DoctorVerdict, doctor};
pub use app::flags::with_two_dashes;
pub use app::test_login::{LoginStep, LoginVerdict, TestCredential, TestLogin, TestPublicKey, test_login};
pub use app::{App, offline_faults, offline_warnings, unusable_places};
pub use config::{Config, admin_socket, dump_file, health_client};
pub use confinement::Confinement;
pub use policy::ProgramRequest;
pub use reload::ReloadOrders;
pub use schema::{Disk, Errors, Files, Format, Migration};
pub use settings::{FileSections, check_answer, pod_spec};
pub use shutdown::StopOrders;
pub use socket_activation::PassedSockets;
pub use telemetry::{
    Code, Level, Log, LogConfig, LogDestination, LogError, LogFormat, PanicLines, failed_start, follow_libraries,
    log_line, log_panics,
};
pub use tls::install;
pub use types::{CheckResult, Diagnosis, DoctorCheck, Secret, printable};
pub use webhook::{HealthQuestion, probe};
