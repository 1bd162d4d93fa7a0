//! The outcomes of authentication requests, and the count of failures, as in OpenSSH's server (auth2.c,
//! `userauth_finish`): pure.
//!
//! Invariants: a request that is not judged a failure never counts; the first request of a connection is free if its method
//! is `none`, which clients send to learn the methods.

use crate::auth::AuthMethod;
use crate::ssh::transport::MAX_AUTH_FAILURES;

/// The outcome of an authentication request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AuthOutcome {
    Accepted,
    Refused,
    /// The credential was right, and one of these methods must follow.
    More(Vec<AuthMethod>),
    /// The request is refused and the connection ends; a disconnect with the reason is on its way.
    Ended,
    /// The same for a key that was right.
    Barred,
}

/// The method of an authentication request, as far as counting needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthRequest {
    /// The method `none` (RFC 4252 section 5.2).
    None,
    /// A method with a credential.
    Credential,
}

/// The count of one connection's failures.
#[derive(Debug, Default)]
pub(super) struct FailureCount {
    requests: usize,
    failures: usize,
}

impl FailureCount {
    /// Counts a request. True if it was one failure too many and the connection has to end.
    pub(super) fn count(&mut self, request: AuthRequest, outcome: &AuthOutcome) -> bool {
        self.requests = self.requests.saturating_add(1);
        let free = self.requests == 1 && request == AuthRequest::None;
        match outcome {
            AuthOutcome::Refused if !free => self.failures = self.failures.saturating_add(1),
            // A key that may be used is no success yet, and no failure. Our own failure ends the connection by itself.
            AuthOutcome::Refused
            | AuthOutcome::Accepted
            | AuthOutcome::More(_)
            | AuthOutcome::Ended
            | AuthOutcome::Barred => return false,
        }
        self.failures >= MAX_AUTH_FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_as_sshd_counts_them() {
        let none = (AuthRequest::None, AuthOutcome::Refused);
        let refused = (AuthRequest::Credential, AuthOutcome::Refused);
        let offered = (AuthRequest::Credential, AuthOutcome::Accepted);
        let partial = (AuthRequest::Credential, AuthOutcome::More(vec![AuthMethod::Password]));
        let ours = (AuthRequest::Credential, AuthOutcome::Ended);
        let barred = (AuthRequest::Credential, AuthOutcome::Barred);
        let times = |times: usize, request: &(AuthRequest, AuthOutcome)| vec![request.clone(); times];
        // Requests, and the number of the one after which the connection has to end.
        let table = [
            ("five keys, then the right one", [times(1, &none), times(5, &refused), times(1, &offered)].concat(), None),
            ("six failures", [times(1, &none), times(6, &refused)].concat(), Some(7)),
            ("six failures without none", times(6, &refused), Some(6)),
            ("none that is not first", [times(5, &refused), times(1, &none)].concat(), Some(6)),
            ("none again and again", times(7, &none), Some(7)),
            ("keys that may be used", times(40, &offered), None),
            ("such a key each time before a failure", vec![[offered.clone(), refused.clone()]; 6].concat(), Some(12)),
            ("halves of a login", [times(5, &refused), times(3, &partial)].concat(), None),
            ("failures of the server", [times(5, &refused), times(3, &ours)].concat(), None),
            ("keys that are right and lead nowhere", [times(5, &refused), times(3, &barred)].concat(), None),
        ];
        for (what, requests, end) in table {
            let mut failures = FailureCount::default();
            let ended = requests.iter().position(|(request, outcome)| failures.count(*request, outcome));
            assert_eq!(ended.map(|at| at + 1), end, "{what}");
        }
    }

    #[test]
    fn whoever_goes_on_after_the_end_is_told_again() {
        let mut failures = FailureCount::default();
        let ends: Vec<bool> = (0..8).map(|_| failures.count(AuthRequest::Credential, &AuthOutcome::Refused)).collect();
        assert_eq!(ends, [false, false, false, false, false, true, true, true]);
    }
}
