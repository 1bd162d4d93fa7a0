//! The webhook contract of Podgate, and what serves it.

pub mod wire;
