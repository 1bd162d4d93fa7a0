//! The crate from outside: servers on real sockets, and the program.

#![expect(clippy::expect_used, reason = "a test ends where its set-up fails")]

mod program;
mod serving;
mod support;
