//! Failed attempts of one connection, counted as OpenSSH's server counts them (auth2.c, `userauth_finish`): pure.
//!
//! Invariants: a request that is not judged a failure never counts; the first request of a connection is free where its
//! method is `none`, which clients send to learn the methods.

use super::Outcome;

/// Failures that end a connection: the default of OpenSSH's `MaxAuthTries`.
pub(in crate::ssh) const MOST: usize = 6;

/// Method of an authentication request, as far as counting needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// `none` (RFC 4252 section 5.2).
    None,
    /// Any other.
    Credential,
}

/// Counter of one connection.
#[derive(Debug, Default)]
pub(super) struct Failures {
    requests: usize,
    failures: usize,
}

impl Failures {
    /// Counts a request. True where it was one failure too many and the connection has to end.
    pub(super) fn count(&mut self, request: Request, outcome: &Outcome) -> bool {
        self.requests = self.requests.saturating_add(1);
        let free = self.requests == 1 && request == Request::None;
        match outcome {
            Outcome::Refused if !free => self.failures = self.failures.saturating_add(1),
            // A key that may be used is no success yet, and no failure. Our own failure ends the connection by itself.
            Outcome::Refused | Outcome::Accepted | Outcome::More(_) | Outcome::Ended | Outcome::Barred => return false,
        }
        self.failures >= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Method;

    #[test]
    fn attempts_are_counted_as_sshd_counts_them() {
        let none = (Request::None, Outcome::Refused);
        let refused = (Request::Credential, Outcome::Refused);
        let asked = (Request::Credential, Outcome::Accepted);
        let partial = (Request::Credential, Outcome::More(vec![Method::Password]));
        let ours = (Request::Credential, Outcome::Ended);
        let barred = (Request::Credential, Outcome::Barred);
        let times = |times: usize, request: &(Request, Outcome)| vec![request.clone(); times];
        // Requests, and the number of the one after which the connection has to end.
        let table = [
            ("five keys, then the right one", [times(1, &none), times(5, &refused), times(1, &asked)].concat(), None),
            ("six failures", [times(1, &none), times(6, &refused)].concat(), Some(7)),
            ("six failures without none", times(6, &refused), Some(6)),
            ("none that is not first", [times(5, &refused), times(1, &none)].concat(), Some(6)),
            ("none again and again", times(7, &none), Some(7)),
            ("keys that may be used", times(40, &asked), None),
            ("such a key each time before a failure", vec![[asked.clone(), refused.clone()]; 6].concat(), Some(12)),
            ("halves of a login", [times(5, &refused), times(3, &partial)].concat(), None),
            ("failures of the server", [times(5, &refused), times(3, &ours)].concat(), None),
            ("keys that are right and lead nowhere", [times(5, &refused), times(3, &barred)].concat(), None),
        ];
        for (what, requests, end) in table {
            let mut failures = Failures::default();
            let ended = requests.iter().position(|(request, outcome)| failures.count(*request, outcome));
            assert_eq!(ended.map(|at| at + 1), end, "{what}");
        }
    }

    #[test]
    fn whoever_goes_on_after_the_end_is_told_again() {
        let mut failures = Failures::default();
        let ends: Vec<bool> = (0..8).map(|_| failures.count(Request::Credential, &Outcome::Refused)).collect();
        assert_eq!(ends, [false, false, false, false, false, true, true, true]);
    }
}
