//! The conduct of a client before its login, and the penalty that it leads to: pure.
//!
//! Invariants: a login that succeeds, and one that this process ends or a webhook's outage prevents, has no penalty.

use crate::throttle::PenaltyCause;

/// The acts of a client until it logged in or left.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoginConduct {
    /// It logged in.
    pub(super) logged_in: bool,
    /// The gateway or a webhook's outage ended the connection.
    pub(super) ended_here: bool,
    /// It did not log in in time.
    pub(super) late: bool,
    /// A password or key was refused.
    pub(super) failed: bool,
    /// Its user name is not a valid one.
    pub(super) invalid_user: bool,
    /// A webhook refused it although the credential was good.
    pub(super) refused: bool,
    /// It left while a webhook was asked, and is not to blame for the time of that.
    pub(super) left_waiting: bool,
    /// The keys that it offered, could have used, and did not prove to have.
    pub(super) unproved: usize,
}

impl LoginConduct {
    /// The number of unproved keys that is a failure. One key may be that of an agent that did not sign, or of a question which
    /// keys are accepted; OpenSSH's server takes neither for a failure, but a wrong signature, which looks the same here.
    pub(super) const UNPROVED: usize = 2;

    /// The penalty of a connection that is over, of several causes the weightiest.
    pub(super) fn penalty(self) -> Option<PenaltyCause> {
        match self {
            Self { logged_in: true, .. } => None,
            Self { late: true, .. } => Some(PenaltyCause::GraceExceeded),
            Self { refused: true, .. } => Some(PenaltyCause::RefuseConnection),
            Self { invalid_user: true, .. } => Some(PenaltyCause::InvalidUser),
            Self { failed: true, .. } | Self { unproved: Self::UNPROVED.., .. } => Some(PenaltyCause::AuthFail),
            Self { ended_here: true, .. } => None,
            Self { .. } => Some(PenaltyCause::NoAuth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalty_is_that_of_the_weightiest_cause() {
        let nothing = LoginConduct::default();
        let failed = LoginConduct { failed: true, ..nothing };
        for (conduct, penalty) in [
            (nothing, Some(PenaltyCause::NoAuth)),
            (failed, Some(PenaltyCause::AuthFail)),
            (LoginConduct { unproved: 1, ..nothing }, Some(PenaltyCause::NoAuth)),
            (LoginConduct { unproved: 2, ..nothing }, Some(PenaltyCause::AuthFail)),
            (LoginConduct { unproved: 32, ..nothing }, Some(PenaltyCause::AuthFail)),
            (LoginConduct { unproved: 2, logged_in: true, ..nothing }, None),
            (LoginConduct { logged_in: true, ..failed }, None),
            (LoginConduct { ended_here: true, ..nothing }, None),
            (LoginConduct { ended_here: true, ..failed }, Some(PenaltyCause::AuthFail)),
            (LoginConduct { invalid_user: true, ..failed }, Some(PenaltyCause::InvalidUser)),
            (LoginConduct { refused: true, ..failed }, Some(PenaltyCause::RefuseConnection)),
            (LoginConduct { late: true, ..failed }, Some(PenaltyCause::GraceExceeded)),
            (LoginConduct { late: true, logged_in: true, ..failed }, None),
        ] {
            assert_eq!(conduct.penalty(), penalty, "{conduct:?}");
        }
    }
}
