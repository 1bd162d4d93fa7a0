//! The crate from outside: servers on real sockets.

#![expect(clippy::expect_used, reason = "a test ends where its set-up fails")]

mod serving;
mod support;
