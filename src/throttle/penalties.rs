//! Growing penalties by source, with the causes and the semantics of OpenSSH's srclimit.c: each cause adds its time to the
//! source's penalty, up to a maximum; while the penalty is at least the minimum, new connections are refused.
//!
//! A penalty counts for the source's home (a /56), too, as a part of its time, but no more once the source is refused; and for
//! its site (a /48) as such a part of that, but no more once the home is refused. So one source cannot bring its home to the
//! minimum, and one home, whose neighbors may be other customers of a provider, not its site.

use super::client_network::{ClientNetwork, SITE_SOURCES, SourceAndSite};
use super::expiry_table::ExpiryTable;
use std::time::{Duration, Instant};

/// The time of a place for which a client that does not try to log in pays as for one connection. OpenSSH's server asks the
/// same for all, so that a client that leaves just before `LoginGraceTime` holds its place nearly for nothing.
const HELD: Duration = Duration::from_secs(10);

/// The cause of a penalty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PenaltyCause {
    /// The client brought the connection's code to a panic.
    Crash,
    /// The client left after it had failed to log in.
    AuthFail,
    /// The client left without an attempt to log in; one such penalty for each [`HELD`] that has begun.
    NoAuth,
    /// A webhook refused a client whose credential was good.
    RefuseConnection,
    /// The client did not log in in time.
    GraceExceeded,
    /// The user name is not a valid one.
    InvalidUser,
}

impl PenaltyCause {
    /// Every cause.
    pub(super) const ALL: [Self; 6] =
        [Self::Crash, Self::AuthFail, Self::NoAuth, Self::RefuseConnection, Self::GraceExceeded, Self::InvalidUser];

    /// The word for the metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Crash => "penalty_crash",
            Self::AuthFail => "penalty_authfail",
            Self::NoAuth => "penalty_noauth",
            Self::RefuseConnection => "penalty_refuseconnection",
            Self::GraceExceeded => "penalty_grace_exceeded",
            Self::InvalidUser => "penalty_invaliduser",
        }
    }

    /// The reason that a refused client reads, in OpenSSH's words where it has some.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Crash => "penalty: caused crash",
            Self::AuthFail => "penalty: failed authentication",
            Self::NoAuth => "penalty: connections without attempting authentication",
            Self::RefuseConnection => "penalty: connection prohibited",
            Self::GraceExceeded => "penalty: exceeded LoginGraceTime",
            Self::InvalidUser => "penalty: attempts to log in with an invalid user name",
        }
    }
}

/// The treatment of a source that is one too many for the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The penalty that ends next is forgotten.
    Permissive,
    /// No client is admitted until a penalty has ended.
    DenyAll,
}

/// `perSourcePenalties`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PenaltyRules {
    pub crash: Duration,
    pub authfail: Duration,
    pub noauth: Duration,
    pub refuseconnection: Duration,
    pub grace_exceeded: Duration,
    pub invaliduser: Duration,
    /// Limit of a source's penalty.
    pub max: Duration,
    /// The penalty from which on connections are refused.
    pub min: Duration,
    /// `max-sources4`: limit of the sources of IPv4 with a penalty.
    pub max_sources4: usize,
    /// `max-sources6`: the same for IPv6.
    pub max_sources6: usize,
    pub overflow4: Overflow,
    pub overflow6: Overflow,
}

/// OpenSSH's.
pub(crate) const DEFAULT_PENALTIES: PenaltyRules = PenaltyRules {
    crash: Duration::from_secs(90),
    authfail: Duration::from_secs(5),
    noauth: Duration::from_secs(1),
    refuseconnection: Duration::from_secs(10),
    grace_exceeded: Duration::from_secs(10),
    invaliduser: Duration::from_secs(5),
    max: Duration::from_secs(600),
    min: Duration::from_secs(15),
    max_sources4: 65_536,
    max_sources6: 65_536,
    overflow4: Overflow::Permissive,
    overflow6: Overflow::Permissive,
};

impl PenaltyRules {
    fn of(&self, (cause, held): (PenaltyCause, Duration)) -> Duration {
        match cause {
            PenaltyCause::Crash => self.crash,
            PenaltyCause::AuthFail => self.authfail,
            PenaltyCause::NoAuth => {
                let begun = held.as_secs() / HELD.as_secs() + 1;
                self.noauth.saturating_mul(u32::try_from(begun).unwrap_or(u32::MAX))
            }
            PenaltyCause::RefuseConnection => self.refuseconnection,
            PenaltyCause::GraceExceeded => self.grace_exceeded,
            PenaltyCause::InvalidUser => self.invaliduser,
        }
    }

    fn table(&self, network: ClientNetwork) -> (usize, Overflow) {
        if network.is_ipv4() { (self.max_sources4, self.overflow4) } else { (self.max_sources6, self.overflow6) }
    }
}

/// The decision about a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PenaltyVerdict {
    Free,
    Penalised(PenaltyCause),
    /// Many sources of the home, or many homes of the site, have penalties.
    PenalisedSite,
    Overflow,
}

#[derive(Debug, Clone, Copy)]
struct Penalty {
    cause: PenaltyCause,
    /// Set once the penalty has reached the minimum, until it ends.
    active: bool,
}

/// The penalties of all sources.
#[derive(Debug, Default)]
pub(super) struct PenaltyTable {
    v4: ExpiryTable<Penalty>,
    v6: ExpiryTable<Penalty>,
    homes: ExpiryTable<Penalty>,
    sites: ExpiryTable<Penalty>,
}

impl PenaltyTable {
    fn table(&mut self, network: ClientNetwork) -> &mut ExpiryTable<Penalty> {
        if network.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }

    /// Decides about a connection of a source and its site.
    pub(super) fn verdict(&mut self, source: SourceAndSite, rules: &PenaltyRules, now: Instant) -> PenaltyVerdict {
        let (most, overflow) = rules.table(source.network);
        let table = self.table(source.network);
        table.expire(now);
        if overflow == Overflow::DenyAll && table.len() >= most {
            return PenaltyVerdict::Overflow;
        }
        if let Some((_, Penalty { active: true, cause })) = table.get(source.network) {
            return PenaltyVerdict::Penalised(*cause);
        }
        let is_refused = |table: &mut ExpiryTable<Penalty>, network: Option<ClientNetwork>| {
            table.expire(now);
            network.and_then(|network| table.get(network)).is_some_and(|(_, penalty)| penalty.active)
        };
        match is_refused(&mut self.homes, source.home()) || is_refused(&mut self.sites, source.site) {
            true => PenaltyVerdict::PenalisedSite,
            false => PenaltyVerdict::Free,
        }
    }

    /// Adds a penalty to a source, its home and its site, for a cause and the time of a place. If the source is refused from
    /// now on, returns for how long.
    pub(super) fn add(
        &mut self,
        source: SourceAndSite,
        conduct: (PenaltyCause, Duration),
        rules: &PenaltyRules,
        now: Instant,
    ) -> Option<Duration> {
        let (time, cause) = (rules.of(conduct), conduct.0);
        if time.is_zero() {
            return None;
        }
        let (most, _) = rules.table(source.network);
        let table = self.table(source.network);
        table.expire(now);
        let is_refused = table.get(source.network).is_some_and(|(_, penalty)| penalty.active);
        let refused_for = add(table, (source.network, most), (cause, time), rules, now);
        // Many connections of one source that fail at once are one source's.
        if let (Some(home), Some(site), false) = (source.home(), source.site, is_refused) {
            self.homes.expire(now);
            let is_refused = self.homes.get(home).is_some_and(|(_, penalty)| penalty.active);
            let _ = add(&mut self.homes, (home, rules.max_sources6), (cause, time / SITE_SOURCES), rules, now);
            if !is_refused {
                let time = time / SITE_SOURCES / SITE_SOURCES;
                let _ = add(&mut self.sites, (site, rules.max_sources6), (cause, time), rules, now);
            }
        }
        refused_for
    }

    /// Takes a time from the penalties of a source, its home and its site.
    pub(super) fn lessen(&mut self, source: SourceAndSite, time: Duration, now: Instant) {
        if let Some(site) = source.site {
            lessen(&mut self.sites, site, time / SITE_SOURCES / SITE_SOURCES, now);
        }
        if let Some(home) = source.home() {
            lessen(&mut self.homes, home, time / SITE_SOURCES, now);
        }
        lessen(self.table(source.network), source.network, time, now);
    }
}

/// Adds a penalty to a network in a table of at most so many.
fn add(
    table: &mut ExpiryTable<Penalty>,
    (network, most): (ClientNetwork, usize),
    (cause, time): (PenaltyCause, Duration),
    rules: &PenaltyRules,
    now: Instant,
) -> Option<Duration> {
    table.expire(now);
    let before = table.get(network).copied();
    let end = before.map_or(now, |(end, _)| end) + time;
    // A maximum that was lowered meanwhile pardons nobody.
    let end = end.min(now + rules.max).max(before.map_or(now, |(end, _)| end));
    let was_active = before.is_some_and(|(_, penalty)| penalty.active);
    let active = was_active || end - now >= rules.min;
    table.set(network, end, Penalty { cause, active });
    if table.len() > most.max(1) {
        table.remove_next();
    }
    (active && !was_active).then(|| end - now)
}

/// Takes a time from a network's penalty.
fn lessen(table: &mut ExpiryTable<Penalty>, network: ClientNetwork, time: Duration, now: Instant) {
    table.expire(now);
    if let Some((end, penalty)) = table.get(network).copied() {
        table.set(network, end - time.min(end - now), penalty);
        table.expire(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::NetBlockSize;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    const RULES: PenaltyRules = PenaltyRules {
        invaliduser: Duration::ZERO,
        max_sources4: 3,
        max_sources6: 2,
        overflow6: Overflow::DenyAll,
        ..DEFAULT_PENALTIES
    };

    /// A connection that was soon over.
    const BRIEF: Duration = Duration::ZERO;

    fn source(address: impl Into<IpAddr>) -> SourceAndSite {
        let network = ClientNetwork::of(address.into(), NetBlockSize { v4: 32, v6: 64 });
        SourceAndSite { network, site: None }
    }

    fn v4(number: u32) -> SourceAndSite {
        source(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn penalties_add_up_refuse_from_the_minimum_to_their_end_and_have_a_maximum() {
        let (mut table, start) = (PenaltyTable::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        // The second, the cause of a penalty then (if any), and the decision about a connection right after it.
        for (second, cause, verdict) in [
            (0, Some(PenaltyCause::AuthFail), PenaltyVerdict::Free),
            (0, Some(PenaltyCause::AuthFail), PenaltyVerdict::Free),
            (1, Some(PenaltyCause::NoAuth), PenaltyVerdict::Free),
            (1, Some(PenaltyCause::AuthFail), PenaltyVerdict::Penalised(PenaltyCause::AuthFail)),
            // Below the minimum again, but not over.
            (15, None, PenaltyVerdict::Penalised(PenaltyCause::AuthFail)),
            (16, None, PenaltyVerdict::Free),
            (20, Some(PenaltyCause::Crash), PenaltyVerdict::Penalised(PenaltyCause::Crash)),
            (109, Some(PenaltyCause::GraceExceeded), PenaltyVerdict::Penalised(PenaltyCause::GraceExceeded)),
            (119, None, PenaltyVerdict::Penalised(PenaltyCause::GraceExceeded)),
            (120, None, PenaltyVerdict::Free),
            (130, Some(PenaltyCause::InvalidUser), PenaltyVerdict::Free),
        ] {
            if let Some(cause) = cause {
                table.add(v4(1), (cause, BRIEF), &RULES, at(second));
            }
            assert_eq!(table.verdict(v4(1), &RULES, at(second)), verdict, "at {second} s");
            assert_eq!(table.verdict(v4(2), &RULES, at(second)), PenaltyVerdict::Free, "another source at {second} s");
        }
        for _ in 0..1000 {
            table.add(v4(1), (PenaltyCause::Crash, BRIEF), &RULES, at(200));
        }
        let crashed = PenaltyVerdict::Penalised(PenaltyCause::Crash);
        assert_eq!(table.verdict(v4(1), &RULES, at(799)), crashed);
        assert_eq!(table.verdict(v4(1), &RULES, at(800)), PenaltyVerdict::Free);
    }

    #[test]
    fn place_that_is_held_without_an_attempt_costs_its_time() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        // The seconds of a connection, and the penalty.
        for (held, penalty) in [(0, 1), (9, 1), (10, 2), (59, 6), (3600, 361), (u64::MAX, 600)] {
            let mut table = PenaltyTable::default();
            table.add(v4(1), (PenaltyCause::NoAuth, seconds(held)), &RULES, now);
            assert_eq!(table.v4.get(v4(1).network).map(|(end, _)| *end - now), Some(seconds(penalty)), "{held} s");
        }
        // As many places as a source keeps without being refused: ten, one of them given back each second.
        let places = |count: u64| {
            let mut table = PenaltyTable::default();
            (0..3600).find(|second| {
                let at = now + seconds(*second);
                let left = (*second * count) / 60 - (second.saturating_sub(1) * count) / 60;
                for _ in 0..left {
                    table.add(v4(1), (PenaltyCause::NoAuth, seconds(59)), &RULES, at);
                }
                table.verdict(v4(1), &RULES, at) != PenaltyVerdict::Free
            })
        };
        assert_eq!(places(9), None);
        assert!(places(12).is_some_and(|second| second < 300), "{:?}", places(12));
    }

    #[test]
    fn lessened_penalty_ends_earlier_and_has_no_effect_on_others() {
        let (mut table, now) = (PenaltyTable::default(), Instant::now());
        let seconds = Duration::from_secs;
        table.lessen(v4(1), seconds(5), now);
        for _ in 0..4 {
            table.add(v4(1), (PenaltyCause::AuthFail, BRIEF), &RULES, now);
            table.add(v4(2), (PenaltyCause::AuthFail, BRIEF), &RULES, now);
        }
        table.lessen(v4(1), seconds(5), now);
        let penalised = PenaltyVerdict::Penalised(PenaltyCause::AuthFail);
        assert_eq!(table.verdict(v4(1), &RULES, now + seconds(14)), penalised);
        assert_eq!(table.verdict(v4(1), &RULES, now + seconds(15)), PenaltyVerdict::Free);
        assert_eq!(table.verdict(v4(2), &RULES, now + seconds(19)), penalised);
        table.lessen(v4(2), seconds(100), now + seconds(19));
        assert_eq!(table.verdict(v4(2), &RULES, now + seconds(19)), PenaltyVerdict::Free);
    }

    #[test]
    fn full_table_forgets_the_penalty_that_ends_next_or_admits_nobody() {
        let (mut table, now) = (PenaltyTable::default(), Instant::now());
        let crashed = PenaltyVerdict::Penalised(PenaltyCause::Crash);
        for number in 1..=4 {
            table.add(v4(number), (PenaltyCause::Crash, BRIEF), &RULES, now + Duration::from_secs(u64::from(number)));
        }
        let verdicts = (1..=5).map(|number| table.verdict(v4(number), &RULES, now + Duration::from_secs(5)));
        let verdicts: Vec<PenaltyVerdict> = verdicts.collect();
        assert_eq!(verdicts, [PenaltyVerdict::Free, crashed, crashed, crashed, PenaltyVerdict::Free]);

        let v6 = |number: u128| source(Ipv6Addr::from_bits(number << 64));
        table.add(v6(1), (PenaltyCause::AuthFail, BRIEF), &RULES, now);
        assert_eq!(table.verdict(v6(9), &RULES, now), PenaltyVerdict::Free);
        table.add(v6(2), (PenaltyCause::Crash, BRIEF), &RULES, now);
        assert_eq!(table.verdict(v6(9), &RULES, now), PenaltyVerdict::Overflow);
        assert_eq!(table.verdict(v6(9), &RULES, now + Duration::from_secs(5)), PenaltyVerdict::Free);
    }
}
