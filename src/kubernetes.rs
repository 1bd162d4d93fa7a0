//! The Kubernetes backend.

pub mod client;
pub mod exec;
mod websocket;
