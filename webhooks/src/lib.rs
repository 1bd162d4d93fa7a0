//! The webhook contract of Podgate, and what serves it.
//!
//! [`wire`] is the contract; a gateway takes it alone.

pub mod wire;
