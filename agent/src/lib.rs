//! The guest agent of Podgate: the program in a user's container that does what the Kubernetes API cannot.
//!
//! [`run`] is the command line, which is also that of ContainerSSH's agent: either gateway can drive either agent. The
//! protocol between gateway and agent is the crate `podgate-link`.

mod command_line;
mod console;
mod forward_server;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod holder;
mod install;
mod login;
mod own_file;
mod private_directory;
mod random;
mod resolver;
mod scp;
mod sftp;
mod signals;
mod terminal;
mod write_file;
mod x11;

pub use command_line::run;
