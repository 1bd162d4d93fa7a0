//! The limits that a user's certificate sets: it takes away from what the rules allow, and never adds.

use super::{RuleMode, Rules};

/// The options and extensions of an OpenSSH certificate (PROTOCOL.certkeys) that are about requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateLimits {
    /// `force-command`; never empty.
    pub force_command: Option<String>,
    /// `permit-pty`.
    pub terminal: bool,
    /// `permit-port-forwarding`, for TCP and Unix sockets in both directions.
    pub port_forwarding: bool,
    /// `permit-agent-forwarding`.
    pub agent_forwarding: bool,
    /// `permit-X11-forwarding`.
    pub x11_forwarding: bool,
}

impl Rules {
    /// Takes away what a certificate does not permit. The rules' own `forceCommand` wins over the certificate's, as in
    /// OpenSSH's server.
    pub(crate) fn limited_by(mut self, limits: &CertificateLimits) -> Self {
        let forwarding = &mut self.forwarding;
        let withdraw = |permitted: bool, modes: &mut [&mut RuleMode]| {
            if !permitted {
                modes.iter_mut().for_each(|mode| **mode = RuleMode::Disable);
            }
        };
        withdraw(limits.terminal, &mut [&mut self.tty]);
        withdraw(limits.agent_forwarding, &mut [&mut forwarding.agent]);
        withdraw(limits.x11_forwarding, &mut [&mut forwarding.x11]);
        withdraw(
            limits.port_forwarding,
            &mut [
                &mut forwarding.direct,
                &mut forwarding.reverse,
                &mut forwarding.socket,
                &mut forwarding.socket_listen,
            ],
        );
        if self.force_command.is_none() {
            self.force_command.clone_from(&limits.force_command);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Forwarding;

    const ALL: CertificateLimits = CertificateLimits {
        force_command: None,
        terminal: true,
        port_forwarding: true,
        agent_forwarding: true,
        x11_forwarding: true,
    };

    fn open() -> Rules {
        let on = RuleMode::Enable;
        let forwarding = Forwarding {
            reverse: on,
            direct: on,
            socket: on,
            socket_listen: on,
            x11: on,
            agent: on,
            ..Forwarding::default()
        };
        Rules { tty: on, forwarding, ..Rules::default() }
    }

    #[test]
    fn what_is_not_permitted_is_disabled_and_nothing_else() {
        let off = RuleMode::Disable;
        let with = |change: &dyn Fn(&mut CertificateLimits)| {
            let mut limits = ALL;
            change(&mut limits);
            open().limited_by(&limits)
        };
        let forwarding = |change: &dyn Fn(&mut Forwarding)| {
            let mut rules = open();
            change(&mut rules.forwarding);
            rules
        };
        assert_eq!(with(&|limits| limits.terminal = false), Rules { tty: off, ..open() });
        assert_eq!(with(&|limits| limits.agent_forwarding = false), forwarding(&|rules| rules.agent = off));
        assert_eq!(with(&|limits| limits.x11_forwarding = false), forwarding(&|rules| rules.x11 = off));
        let ports = |rules: &mut Forwarding| {
            (rules.direct, rules.reverse, rules.socket, rules.socket_listen) = (off, off, off, off);
        };
        assert_eq!(with(&|limits| limits.port_forwarding = false), forwarding(&ports));
    }

    #[test]
    fn certificate_that_permits_everything_adds_nothing() {
        for rules in [open(), Rules::default(), Rules { default_mode: RuleMode::Disable, ..Rules::default() }] {
            assert_eq!(rules.clone().limited_by(&ALL), rules);
        }
    }

    #[test]
    fn forced_command_of_the_rules_wins() {
        let limits = CertificateLimits { force_command: Some("theirs".into()), ..ALL };
        let ours = Rules { force_command: Some("ours".into()), ..Rules::default() };
        assert_eq!(ours.clone().limited_by(&limits), ours);
        assert_eq!(Rules::default().limited_by(&limits).force_command.as_deref(), Some("theirs"));
    }
}
