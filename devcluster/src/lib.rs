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
//! A request passes `api::server` (TLS, HTTP) and `api` (account, request, rights, faults) and reaches the `objects::store`; the
//! `node` runs the pods and writes their status; `api::exec` carries exec and attach.

mod api;
mod cluster;
mod faults;
mod leash;
mod node;
mod objects;
mod process;

pub use api::access::{Rule, Token};
pub use api::journal::RequestRecord;
pub use cluster::certificate::CertificateFailure;
pub use cluster::faults::Faults;
pub use cluster::state::ClusterState;
pub use cluster::{DevCluster, NotInTime, Options, StartError};
pub use faults::{ImageFault, RequestFailure};
pub use leash::leash;
