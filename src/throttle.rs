//! The limits of clients that have not logged in, by source and in all, decided without I/O: the caller brings the clock and
//! the die. The terms and the semantics are those of OpenSSH's `MaxStartups`, `PerSourceMaxStartups` and
//! `PerSourcePenalties` (sshd.c, srclimit.c).
//!
//! Invariants: every table is bounded; a connection that was admitted is counted until [`Throttle::leave`]; a source on the
//! exempt list is bound by `maxStartups` alone.

mod call_queue;
mod client_network;
mod connection_rate;
mod expiry_table;
mod nat64;
mod penalties;
mod recent_logins;
mod startups;

pub(crate) use call_queue::CallQueue;
pub(crate) use client_network::{ClientNetwork, NetBlockSize, SourceAndSite};
pub(crate) use connection_rate::ConnectionRate;
pub(crate) use nat64::Nat64Prefix;
pub(crate) use penalties::{DEFAULT_PENALTIES, Overflow, PenaltyCause, PenaltyRules};
pub(crate) use startups::{MaxStartups, SourceShare};

use connection_rate::RateTable;
use ipnet::IpNet;
use penalties::{PenaltyTable, PenaltyVerdict};
use recent_logins::RecentLogins;
use startups::Startups;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The least share of the connections that log in which a site of IPv6 has, however small that of a source is.
const SITE_SHARE: SourceShare = SourceShare::Percent(25);

/// The limits, as configured.
#[derive(Debug, Clone)]
pub(crate) struct ThrottleConfig {
    /// `maxStartups`.
    pub max_startups: MaxStartups,
    /// `perSourceMaxStartups`; `None` is no limit.
    pub per_source: Option<SourceShare>,
    /// `perSourceNetBlockSize`.
    pub block: NetBlockSize,
    /// `perSourceConnectionRate`; `None` is no limit.
    pub rate: Option<ConnectionRate>,
    /// `perSourcePenalties`; `None` is none.
    pub penalties: Option<PenaltyRules>,
    /// `nat64Prefixes`, beside the well-known one.
    pub nat64: Vec<Nat64Prefix>,
    /// `perSourcePenaltyExemptList`.
    pub exempt: Vec<IpNet>,
}

/// The reason why a new connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ConnectionRefusal {
    /// Its source has a penalty.
    Penalty(PenaltyCause),
    /// As many sources have penalties as can be known (`overflow:deny-all`).
    TooManyPenalties,
    /// Many sources of its /48 have penalties.
    SitePenalty,
    /// Its source or its /48 connects too often.
    Rate,
    /// Its source has too many connections that log in.
    PerSource,
    /// The /48 of its source has too many connections that log in.
    PerSite,
    /// All sources together have too many connections that log in.
    MaxStartups,
}

impl ConnectionRefusal {
    /// Every reason.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let others =
            [Self::TooManyPenalties, Self::SitePenalty, Self::Rate, Self::PerSource, Self::PerSite, Self::MaxStartups];
        PenaltyCause::ALL.into_iter().map(Self::Penalty).chain(others)
    }

    /// The word for the metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Penalty(cause) => cause.word(),
            Self::TooManyPenalties => "penalty_overflow",
            Self::SitePenalty => "penalty_site",
            Self::Rate => "rate",
            Self::PerSource => "per_source",
            Self::PerSite => "per_site",
            Self::MaxStartups => "max_startups",
        }
    }

    /// The reason in one line, as the client and the log have it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Penalty(cause) => cause.text(),
            Self::TooManyPenalties => "penalty: too many penalised addresses",
            Self::SitePenalty => "penalty: too many penalised addresses in your network",
            Self::Rate => "too many new connections from your address (perSourceConnectionRate)",
            Self::PerSource => "too many connections from your address are logging in (perSourceMaxStartups)",
            Self::PerSite => "too many connections from your network are logging in (perSourceMaxStartups)",
            Self::MaxStartups => "too many connections are logging in (maxStartups)",
        }
    }
}

/// The state of all limits.
#[derive(Debug)]
pub(crate) struct Throttle {
    config: ThrottleConfig,
    startups: Startups,
    rates: RateTable,
    penalties: PenaltyTable,
    logins: RecentLogins,
}

impl Throttle {
    /// No connection, no penalty.
    pub(crate) fn new(config: ThrottleConfig) -> Self {
        Self {
            config,
            startups: Startups::default(),
            rates: RateTable::default(),
            penalties: PenaltyTable::default(),
            logins: RecentLogins::default(),
        }
    }

    /// Sets other limits. What was counted stays, and so do the networks by which it is counted.
    pub(crate) fn reconfigure(&mut self, config: ThrottleConfig) {
        let nat64 = std::mem::take(&mut self.config.nat64);
        self.config = ThrottleConfig { block: self.config.block, nat64, ..config };
    }

    /// The source and the site that a client's address belongs to.
    pub(crate) fn source(&self, client: IpAddr) -> SourceAndSite {
        SourceAndSite { network: self.network(client), site: self.site(client) }
    }

    fn network(&self, client: IpAddr) -> ClientNetwork {
        ClientNetwork::of(self.address(client), self.config.block)
    }

    fn address(&self, client: IpAddr) -> IpAddr {
        nat64::client_address(client, &self.config.nat64)
    }

    fn site(&self, client: IpAddr) -> Option<ClientNetwork> {
        ClientNetwork::site_of(self.address(client), self.config.block)
    }

    /// Decides about a new connection, and counts it if it may log in. `die` is a random number below 100.
    ///
    /// # Errors
    /// The first limit that it exceeds.
    pub(crate) fn admit(&mut self, client: IpAddr, now: Instant, die: u32) -> Result<(), ConnectionRefusal> {
        self.judge_source(client, now)?;
        self.admit_proxied(die)?;
        self.startups.identify(self.network(client), self.site(client));
        Ok(())
    }

    /// Decides about a new connection of a trusted proxy, whose client is not known yet, and counts it for no source.
    ///
    /// # Errors
    /// `maxStartups` is exceeded.
    pub(crate) fn admit_proxied(&mut self, die: u32) -> Result<(), ConnectionRefusal> {
        if self.config.max_startups.drops(self.startups.all(), die) {
            return Err(ConnectionRefusal::MaxStartups);
        }
        self.startups.add();
        Ok(())
    }

    /// Decides about the client of a proxy's connection that was admitted, and counts it for its source.
    ///
    /// # Errors
    /// The first limit that its source exceeds.
    pub(crate) fn identify(&mut self, client: IpAddr, now: Instant) -> Result<(), ConnectionRefusal> {
        self.judge_source(client, now)?;
        self.startups.identify(self.network(client), self.site(client));
        Ok(())
    }

    fn judge_source(&mut self, client: IpAddr, now: Instant) -> Result<(), ConnectionRefusal> {
        if self.is_exempt(client) {
            return Ok(());
        }
        let source = self.source(client);
        let SourceAndSite { network, site } = source;
        if let Some(rules) = &self.config.penalties {
            match self.penalties.verdict(source, rules, now) {
                PenaltyVerdict::Free => {}
                PenaltyVerdict::PenalisedSite => return Err(ConnectionRefusal::SitePenalty),
                PenaltyVerdict::Penalised(cause) => return Err(ConnectionRefusal::Penalty(cause)),
                PenaltyVerdict::Overflow => return Err(ConnectionRefusal::TooManyPenalties),
            }
        }
        if let Some(share) = self.config.per_source {
            let full = self.config.max_startups.full;
            let limit = share.of(full);
            if self.startups.of_source(network) >= limit {
                return Err(ConnectionRefusal::PerSource);
            }
            if site.is_some_and(|site| self.startups.of_site(site) >= limit.max(SITE_SHARE.of(full))) {
                return Err(ConnectionRefusal::PerSite);
            }
        }
        if self.config.rate.is_some_and(|rate| !self.rates.take(source, rate, now)) {
            return Err(ConnectionRefusal::Rate);
        }
        Ok(())
    }

    /// Counts a connection no longer: it has logged in or ended. `None` is one that counts for no source.
    pub(crate) fn leave(&mut self, client: Option<IpAddr>) {
        let counted = client.is_none_or(|client| self.startups.forget(self.network(client), self.site(client)));
        if counted {
            self.startups.remove();
        }
    }

    /// Adds a penalty to a client's source, unless it is exempt, with the time for which its connection took a place. If the
    /// source is refused from now on, returns for how long.
    pub(crate) fn penalise(
        &mut self,
        client: IpAddr,
        conduct: (PenaltyCause, Duration),
        now: Instant,
    ) -> Option<Duration> {
        let source = self.source(client);
        let rules = self.config.penalties.as_ref().filter(|_| !self.is_exempt(client))?;
        self.penalties.add(source, conduct, rules, now)
    }

    /// Notes a login by an identity's hash. The first one of each identity in a while takes the penalty of one failed login
    /// from its source: where many people share an address, some of them mistype.
    pub(crate) fn logged_in(&mut self, client: IpAddr, identity: u64, now: Instant) {
        let source = self.source(client);
        let Some(rules) = self.config.penalties.as_ref().filter(|_| !self.is_exempt(client)) else { return };
        if self.logins.note(source.network, identity, now) {
            self.penalties.lessen(source, rules.authfail, now);
        }
    }

    /// The number of people who logged in lately from a client's source, if these are many and it is refused now; once in
    /// a while.
    pub(crate) fn report_shared(&mut self, client: IpAddr, now: Instant) -> Option<usize> {
        let source = self.source(client);
        let rules = self.config.penalties.as_ref()?;
        let verdict = self.penalties.verdict(source, rules, now);
        matches!(verdict, PenaltyVerdict::Penalised(_)).then(|| self.logins.report_many(source.network, now))?
    }

    fn is_exempt(&self, client: IpAddr) -> bool {
        let client = self.address(client);
        self.config.exempt.iter().any(|net| net.contains(&client))
    }
}

#[cfg(test)]
mod tests;
