//! The webhook contract of Podgate, and a toolkit to serve it.
//!
//! [`wire`] is the contract, [`text`] has the rules for input that must be text and for mistyped names, and [`unique`] reads JSON
//! objects without double keys. A gateway takes these alone (feature `server` off). With the feature, `toolkit` turns a page
//! of Rust into a webhook server, `server` puts it on the network, `directory` decides by a YAML file of users, and `journal`
//! writes each decision to a log. `terminal` reads a password from a person (feature `terminal`), and `yaml` a document with the places of its values
//! (feature `yaml`).

#![warn(missing_docs)]

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
#[cfg(feature = "yaml")]
pub mod yaml;
