//! The primitives everything else speaks in. A value of one of these types has been parsed: it cannot hold a wrong
//! text, and nothing after the edge checks it again.

mod env;
mod id;
mod name;
mod secret;
mod terminal;
mod text;

pub use env::{EnvName, EnvVar, NamesLeftOut};
pub use id::ConnectionId;
pub use name::{ContainerName, Invalid, MetadataKey, Namespace, PodName, Username};
pub use secret::Secret;
pub use terminal::{Modes, Size};
pub use text::{is_hidden, printable, quoted, time_text};
