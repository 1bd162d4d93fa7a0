//! The crate from outside: servers on real sockets, and the program.

mod program;
mod serving;
mod support;
