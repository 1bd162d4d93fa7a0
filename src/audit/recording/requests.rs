//! The state that the messages of a connection refer to: the numbers of its requests, and the credential of the present
//! attempt to log in.

use crate::types::Secret;
use std::collections::{HashMap, VecDeque};

/// The numbers of a connection's requests; those of a channel are kept until it is closed.
#[derive(Debug, Default)]
pub(super) struct Requests {
    count: u64,
    /// The newest one with its channel, which may close while it is decided on.
    newest: Option<(Option<u32>, u64)>,
    last: HashMap<Option<u32>, u64>,
    /// Those whose outcome may be known only when others have come.
    pending: HashMap<Option<u32>, Pending>,
}

/// The requests of a channel that may fail late.
#[derive(Debug, Default)]
struct Pending {
    program: Option<u64>,
    x11: Option<u64>,
    agent: Option<u64>,
    /// Those that wait for the program, in their order.
    signals: VecDeque<u64>,
    /// The one that the program is to get now.
    signal: Option<u64>,
}

/// The request of a channel that may fail late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// A program.
    Program,
    /// The signal that the program is to get now.
    Signal,
    /// An X11 display.
    X11,
    /// An agent's socket.
    Agent,
}

impl Requests {
    /// The number of a new request.
    pub(super) fn next(&mut self, channel: Option<u32>) -> u64 {
        self.count += 1;
        self.newest = Some((channel, self.count));
        self.last.insert(channel, self.count);
        self.count
    }

    /// The number of a new request that may fail late. A channel has one program at a time, and one listener of a kind: that of
    /// the first request.
    pub(super) fn next_late(&mut self, channel: Option<u32>, kind: Late) -> u64 {
        let number = self.next(channel);
        let pending = self.pending.entry(channel).or_default();
        match kind {
            Late::Program => drop(pending.program.get_or_insert(number)),
            Late::X11 => drop(pending.x11.get_or_insert(number)),
            Late::Agent => drop(pending.agent.get_or_insert(number)),
            Late::Signal => pending.signals.push_back(number),
        }
        number
    }

    /// Notes that the next signal goes to the program.
    pub(super) fn signalled(&mut self, channel: Option<u32>) {
        if let Some(pending) = self.pending.get_mut(&channel) {
            pending.signal = pending.signals.pop_front();
        }
    }

    /// Takes the number of the last request, which has failed at once; 0 if there was none.
    pub(super) fn fail_last(&mut self, channel: Option<u32>) -> u64 {
        let last = self.last(channel);
        if let Some(Pending { program, x11, agent, signals, signal: _ }) = self.pending.get_mut(&channel) {
            for kept in [program, x11, agent] {
                *kept = kept.filter(|number| *number != last);
            }
            signals.retain(|number| *number != last);
        }
        last
    }

    /// Takes the number of a request that has failed late; that of the last request if there was none.
    pub(super) fn fail_late(&mut self, channel: Option<u32>, kind: Late) -> u64 {
        let failed = self.pending.get_mut(&channel).and_then(|pending| match kind {
            Late::Program => pending.program.take(),
            Late::Signal => pending.signal.take(),
            Late::X11 => pending.x11.take(),
            Late::Agent => pending.agent.take(),
        });
        failed.unwrap_or_else(|| self.last(channel))
    }

    /// The number of the request for the program that is to be started.
    pub(super) fn program(&self, channel: Option<u32>) -> u64 {
        self.pending.get(&channel).and_then(|pending| pending.program).unwrap_or_else(|| self.last(channel))
    }

    /// The number of the last request; 0 if there was none.
    fn last(&self, channel: Option<u32>) -> u64 {
        let newest = self.newest.filter(|(of, _)| *of == channel).map(|(_, number)| number);
        self.last.get(&channel).copied().or(newest).unwrap_or_default()
    }

    /// Takes a channel, whose number may be that of an earlier one.
    pub(super) fn open(&mut self, channel: Option<u32>) {
        self.close(channel);
        self.newest = self.newest.filter(|(of, _)| *of != channel);
    }

    /// Forgets a channel, except for a request that is still being decided on.
    pub(super) fn close(&mut self, channel: Option<u32>) {
        self.last.remove(&channel);
        self.pending.remove(&channel);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_that_fails_late_keeps_its_number() {
        let (mut requests, channel) = (Requests::default(), Some(3));
        let agent = requests.next_late(channel, Late::Agent);
        let x11 = requests.next_late(channel, Late::X11);
        let program = requests.next_late(channel, Late::Program);
        let second = requests.next_late(channel, Late::Program);
        assert_eq!(requests.fail_last(channel), second);
        let variable = requests.next(channel);
        let elsewhere = requests.next(Some(4));
        assert_eq!(requests.fail_late(channel, Late::X11), x11);
        assert_eq!(requests.fail_late(channel, Late::Agent), agent);
        assert_eq!(requests.fail_late(channel, Late::Program), program);
        assert_eq!(requests.fail_last(channel), variable);
        // The next program is another one.
        let third = requests.next_late(channel, Late::Program);
        requests.next(channel);
        assert_eq!(requests.fail_late(channel, Late::Program), third);
        assert_eq!(requests.fail_last(Some(4)), elsewhere);
        requests.close(channel);
        // A request that crosses the end keeps its number.
        requests.next(Some(4));
        assert_eq!(requests.fail_last(channel), 0);
        let crossing = requests.next(channel);
        requests.close(channel);
        assert_eq!(requests.fail_last(channel), crossing);
        requests.open(channel);
        assert_eq!(requests.fail_last(channel), 0);
    }

    #[test]
    fn signal_that_fails_is_the_one_that_was_sent() {
        let (mut requests, channel) = (Requests::default(), Some(3));
        let [first, denied, second] = [(); 3].map(|()| {
            let number = requests.next_late(channel, Late::Signal);
            if number == 2 {
                assert_eq!(requests.fail_last(channel), 2);
            }
            number
        });
        requests.next(channel);
        requests.signalled(channel);
        assert_eq!(requests.fail_late(channel, Late::Signal), first);
        requests.signalled(channel);
        assert_eq!(requests.fail_late(channel, Late::Signal), second);
        assert_eq!(denied, 2);
    }
}
