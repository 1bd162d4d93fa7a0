//! A Kubernetes API in one process whose pods are local processes, **for trials and tests only**: containers run as the
//! local user, without any isolation.
//!
//! [`DevCluster::start`] gives a cluster on a loopback port with TLS, a CA and a token of its own;
//! [`DevCluster::kubeconfig`] is all that a client needs. `kubectl` works against it. [`DevCluster::faults`] makes it
//! misbehave. Any number of clusters can run side by side, in one process too. [`fn@leash`] has the programs that a test
//! starts beside it end with the test.
//!
//! Not there: isolation of any kind, volumes, probes, Secrets and ConfigMaps (a reference to one is the configuration
//! error that it would be), services, SPDY, OpenAPI, protobuf. Of Pod Security there are the rules of the level `restricted`
//! about privileges and users.
//!
//! A request passes `server` (TLS, HTTP), `api` (who, what, may they, is it set to fail) and reaches the `store`; the
//! `kubelet` runs the pods and writes their status; `session` carries exec and attach.

mod access;
mod answer;
mod api;
mod cluster;
mod container;
mod context;
mod defaults;
mod discovery;
mod events;
mod faults;
mod journal;
mod kinds;
mod kubeconfig;
mod kubelet;
mod leash;
mod log;
mod patch;
mod process;
mod pulse;
mod request;
mod security;
mod selector;
mod server;
mod session;
mod socket;
mod status;
mod store;
mod streams;
mod table;
mod time;
mod tls;
mod validate;
mod watchdog;
mod websocket;

pub use access::{Rule, Token};
pub use cluster::{DevCluster, NotInTime, Options, StartError, State};
pub use faults::{Failure, Faults};
pub use journal::RequestRecord;
pub use kubelet::image::ImageFault;
pub use leash::leash;
pub use tls::TlsError;
