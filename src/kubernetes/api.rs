//! The client of the Kubernetes API: connections and credentials, the calls on pods, and programs over `exec` and
//! `attach`. It knows no guest's life.

pub(crate) mod client;
pub(crate) mod exec;
pub(crate) mod pods;
pub(crate) mod retry;
pub(crate) mod websocket;

#[cfg(test)]
pub(crate) mod fake_server;
