//! Settings of one connection: the file's `backend`, `kubernetes`, `security`, `limits`, `log.level` and `audit.onFailure` with the
//! config webhook's answer over them, typed by the parser that also reads the file.

mod answer_check;
mod cluster;
mod config_server;
mod file_sections;
mod gateway_home;
mod kubeconfig;
mod limits;
mod log_level;
mod on_failure;
mod overlay;
mod pod;
mod pod_mode;
mod resolve;
mod security;
mod timeouts;

pub use answer_check::{check_answer, pod_spec};
pub(crate) use cluster::{Cluster, InlineOrFile};
pub(crate) use config_server::{ConfigClient, ConfigServer, ConfigServerError};
pub use file_sections::FileSections;
pub(crate) use gateway_home::GatewayHome;
pub(crate) use kubeconfig::expand as expand_kubeconfig;
pub(crate) use limits::{ConnectionLimits, CountLimits, IdleTraffic};
pub(crate) use log_level::log_level;
pub(crate) use on_failure::on_failure;
pub(crate) use pod::PodSettings;
pub(crate) use pod_mode::{ExposedMetadata, PodMode};
pub(crate) use resolve::{BackendSettings, KubernetesSettings, Settings, check_file};
pub(crate) use timeouts::Timeouts;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
