//! The state that the messages of a connection refer to: the numbers of its requests, and the credential of the present
//! attempt to log in.

use crate::types::Secret;
use std::collections::HashMap;

/// The numbers of a connection's requests; those of a channel are kept until it is closed.
#[derive(Debug, Default)]
pub(super) struct Requests {
    count: u64,
    last: HashMap<Option<u32>, u64>,
    programs: HashMap<Option<u32>, u64>,
}

impl Requests {
    /// The number of a new request.
    pub(super) fn next(&mut self, channel: Option<u32>) -> u64 {
        self.count += 1;
        self.last.insert(channel, self.count);
        self.count
    }

    /// The number of a new request for a program. A channel has one program: that of the first.
    pub(super) fn next_program(&mut self, channel: Option<u32>) -> u64 {
        let number = self.next(channel);
        self.programs.entry(channel).or_insert(number);
        number
    }

    /// The number of the last request; 0 if there was none.
    pub(super) fn last(&self, channel: Option<u32>) -> u64 {
        self.last.get(&channel).copied().unwrap_or_default()
    }

    /// The number of the request for the channel's program.
    pub(super) fn program(&self, channel: Option<u32>) -> u64 {
        self.programs.get(&channel).copied().unwrap_or_default()
    }

    /// Forgets a channel.
    pub(super) fn close(&mut self, channel: Option<u32>) {
        self.last.remove(&channel);
        self.programs.remove(&channel);
    }
}

/// The credential of the present attempt to log in.
#[derive(Debug, Default)]
pub(super) struct Presented {
    pub(super) username: String,
    /// In the form of `authorized_keys`.
    pub(super) key: String,
    pub(super) password: Option<Secret>,
}
