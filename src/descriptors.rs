//! The limit of open files of this process (`RLIMIT_NOFILE`), and the shares of it that clients may take together. A share
//! that is used up leaves the others, so that sessions keep no login out.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit where the system has none.
const ENDLESS: u64 = 1 << 30;

/// The limit before and after it was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RaisedLimit {
    pub before: u64,
    pub now: u64,
}

/// Raises the soft limit to the hard one. Where the system refuses that, the limit stays.
pub(crate) fn raise() -> RaisedLimit {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // The limit is read again, whatever came of it.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    RaisedLimit { before: limit.current.unwrap_or(ENDLESS), now: soft_limit() }
}

/// The limit that holds now.
pub(crate) fn soft_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(ENDLESS)
}

/// The most descriptors that each kind of use may take. What is left is for the Kubernetes API, the log and the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DescriptorShares {
    /// Connections that log in.
    pub startups: u32,
    /// Calls of webhooks.
    pub calls: usize,
    /// Connections that have logged in, and their sessions.
    pub served: usize,
}

impl DescriptorShares {
    /// The shares of a limit.
    pub(crate) fn of(limit: u64) -> Self {
        let part = |parts: u64| usize::try_from(limit / parts).unwrap_or(usize::MAX).clamp(1, 1 << 28);
        Self { startups: u32::try_from(part(4)).unwrap_or(u32::MAX), calls: part(8), served: part(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_an_eighth_of_every_limit() {
        for limit in [64, 256, 1024, 1_048_576, ENDLESS] {
            let DescriptorShares { startups, calls, served } = DescriptorShares::of(limit);
            assert!(u64::from(startups) + calls as u64 + served as u64 <= limit - limit / 8, "{limit}");
            assert!(startups >= 1 && calls >= 1 && served >= 1);
        }
    }
}
