//! The webhook contract of Podgate, and what serves it.
//!
//! [`wire`] is the contract, [`text`] the rules for bytes that are to be text and for mistyped names, [`unique`] that for keys; a gateway takes these
//! alone (feature `server` off). With the feature: `toolkit` turns a page of
//! Rust into a webhook server, `server` puts it on the network, `directory` is a decider with users from a YAML file,
//! and `journal` tells a log of each decision. `terminal` asks a person for a password (feature `terminal`).

#[cfg(feature = "server")]
pub mod directory;
#[cfg(feature = "server")]
pub mod journal;
#[cfg(test)]
mod openapi;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "terminal")]
pub mod terminal;
pub mod text;
#[cfg(feature = "server")]
pub mod toolkit;
pub mod unique;
pub mod wire;
