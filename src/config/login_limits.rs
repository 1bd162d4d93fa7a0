//! The keys of `ssh` that limit clients before they have logged in, with OpenSSH's names and forms where it has them.

use crate::schema::{Section, duration};
use crate::throttle::{
    ConnectionRate, DEFAULT_PENALTIES, MaxStartups, Nat64Prefix, NetBlockSize, Overflow, PenaltyRules, SourceShare,
    ThrottleConfig,
};
use crate::types::{printable, quoted};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;

/// The limits of clients that have not logged in.
#[derive(Debug, Clone)]
pub struct LoginLimits {
    /// `loginGraceTime`: from the connection to the login, without the time that webhooks take.
    pub(crate) grace: Duration,
    /// `keyExchangeGraceTime`: from the connection to the end of the key exchange.
    pub(crate) key_exchange: Duration,
    /// `maxWebhookCalls`: calls of webhooks at once.
    pub(crate) webhook_calls: usize,
    /// The limits by source and in all.
    pub(crate) throttle: ThrottleConfig,
}

/// Reads the keys; `None` was reported.
pub(super) fn read(section: &Section<'_>) -> Option<LoginLimits> {
    let (grace, key_exchange) = (section.duration("loginGraceTime"), section.duration("keyExchangeGraceTime"));
    let webhook_calls = section.integer("maxWebhookCalls");
    let max_startups = parsed(section, "maxStartups", max_startups);
    let per_source = parsed(section, "perSourceMaxStartups", |text| or_none(text, source_share));
    let block = parsed(section, "perSourceNetBlockSize", net_block);
    let rate = parsed(section, "perSourceConnectionRate", |text| or_none(text, connection_rate));
    let penalties = parsed(section, "perSourcePenalties", penalties);
    let nat64 = list(section, "nat64Prefixes", |text| {
        let wrong = "is not a prefix of IPv6 with 32, 40, 48, 56, 64 or 96 bits, like 2001:db8:64::/96";
        Nat64Prefix::parse(text).ok_or(wrong)
    });
    let exempt = networks(section, "perSourcePenaltyExemptList");
    Some(LoginLimits {
        grace: grace?,
        key_exchange: key_exchange?,
        webhook_calls: usize::try_from(webhook_calls?).ok()?,
        throttle: ThrottleConfig {
            max_startups: max_startups?,
            per_source: per_source?,
            block: block?,
            rate: rate?,
            penalties: penalties?,
            nat64: nat64?,
            exempt: exempt?,
        },
    })
}

/// Reads a text, a number or a truth value by its form.
fn parsed<T>(section: &Section<'_>, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    let value = match section.value(key)? {
        Value::String(text) if text.is_empty() => section.default(key)?,
        value => value,
    };
    let text = match value {
        Value::String(text) => text.clone(),
        // What YAML makes of OpenSSH's `no`.
        Value::Bool(flag) => (if *flag { "yes" } else { "no" }).to_owned(),
        Value::Number(number) => number.to_string(),
        _ => {
            section.error(key, "must be a string");
            return None;
        }
    };
    match parse(&text) {
        Ok(value) => Some(value),
        Err(rule) => {
            section.error(key, format!("{} {rule}", quoted(&printable(&text, 64))));
            None
        }
    }
}

fn or_none<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text == "none" { Ok(None) } else { parse(text).map(Some) }
}

fn source_share(text: &str) -> Result<SourceShare, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|percent| (1..=100).contains(percent)).map(SourceShare::Percent),
        None => text.parse().ok().filter(|count| *count >= 1).map(SourceShare::Connections),
    };
    share.ok_or_else(|| "must be a number of at least 1, a part of maxStartups like 25%, or none".to_owned())
}

fn max_startups(text: &str) -> Result<MaxStartups, String> {
    let wrong =
        || "must be START:RATE:FULL or one number, with 1 to 100 percent for RATE, and FULL not below START".to_owned();
    let parts: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
    let max = match parts.as_deref() {
        Some(&[full]) => MaxStartups { start: full, rate: 100, full },
        Some(&[start, rate, full]) => MaxStartups { start, rate, full },
        _ => return Err(wrong()),
    };
    let valid = max.start >= 1 && (1..=100).contains(&max.rate) && max.full >= max.start;
    valid.then_some(max).ok_or_else(wrong)
}

fn net_block(text: &str) -> Result<NetBlockSize, String> {
    let wrong = || "must be IPV4BITS:IPV6BITS, at most 32:128".to_owned();
    let (v4, v6) = text.split_once(':').unwrap_or((text, "64"));
    let bits = |text: &str, most| text.parse::<u8>().ok().filter(|bits| *bits <= most);
    Ok(NetBlockSize { v4: bits(v4, 32).ok_or_else(wrong)?, v6: bits(v6, 128).ok_or_else(wrong)? })
}

fn connection_rate(text: &str) -> Result<ConnectionRate, String> {
    let wrong = || "must be RATE:BURST (connections a second, and at once), each at least 1, or none".to_owned();
    let (rate, burst) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| (1..=1_000_000).contains(number));
    Ok(ConnectionRate { per_second: number(rate).ok_or_else(wrong)?, burst: number(burst).ok_or_else(wrong)? })
}

/// Reads OpenSSH's `PerSourcePenalties`: `no`, or words like `authfail:5s`; those that are not named keep their defaults.
fn penalties(text: &str) -> Result<Option<PenaltyRules>, String> {
    if matches!(text, "no" | "none") {
        return Ok(None);
    }
    let mut rules = DEFAULT_PENALTIES;
    let mut overflow6 = None;
    for word in text.split_whitespace().filter(|word| *word != "yes") {
        let unknown = || {
            format!(
                "has the word {}, which is none of crash, authfail, noauth, refuseconnection, grace-exceeded, invaliduser, \
                 max, min (with a time: authfail:5s), max-sources4, max-sources6 (with a number), overflow, overflow6 (with \
                 permissive or deny-all)",
                quoted(word)
            )
        };
        let (name, value) = word.split_once(':').ok_or_else(unknown)?;
        let time = || time(value).ok_or_else(unknown);
        let sources =
            || value.parse::<usize>().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or_else(unknown);
        match name {
            "crash" => rules.crash = time()?,
            "authfail" => rules.authfail = time()?,
            "noauth" => rules.noauth = time()?,
            "refuseconnection" => rules.refuseconnection = time()?,
            "grace-exceeded" => rules.grace_exceeded = time()?,
            "invaliduser" => rules.invaliduser = time()?,
            "max" => rules.max = time()?,
            "min" => rules.min = time()?,
            "max-sources4" => rules.max_sources4 = sources()?,
            "max-sources6" => rules.max_sources6 = sources()?,
            "overflow" => rules.overflow4 = overflow(value).ok_or_else(unknown)?,
            "overflow6" => overflow6 = Some(overflow(value).ok_or_else(unknown)?),
            _ => return Err(unknown()),
        }
    }
    rules.overflow6 = overflow6.unwrap_or(rules.overflow4);
    if rules.max < rules.min {
        return Err("has a max below its min, so that nobody would be refused".to_owned());
    }
    Ok(Some(rules))
}

/// A time; a bare number is seconds, as in OpenSSH.
fn time(text: &str) -> Option<Duration> {
    let longest = Duration::from_secs(365 * 24 * 3600);
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| duration::read(&Value::String(text.to_owned())).ok()).filter(|time| *time <= longest)
}

fn overflow(text: &str) -> Option<Overflow> {
    match text {
        "permissive" => Some(Overflow::Permissive),
        "deny-all" => Some(Overflow::DenyAll),
        _ => None,
    }
}

/// Reads a list of texts. `None` if one of them was reported.
fn list<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Option<Vec<T>> {
    let texts = section.texts(key)?;
    let values = texts.iter().enumerate().filter_map(|(index, text)| match parse(text) {
        Ok(value) => Some(value),
        Err(wrong) => {
            section.error(&format!("{key}[{index}]"), format!("{} {wrong}", quoted(&printable(text, 64))));
            None
        }
    });
    let values: Vec<T> = values.collect();
    (values.len() == texts.len()).then_some(values)
}

/// Reads a list of addresses and networks. `None` if one of them was reported.
pub(super) fn networks(section: &Section<'_>, key: &'static str) -> Option<Vec<IpNet>> {
    list(section, key, network)
}

/// Reads an address or a network. One of IPv4 addresses that are written as IPv6 is a network of IPv4, as its clients are.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let net = text.parse::<IpNet>().ok().or_else(|| Some(text.parse::<IpAddr>().ok()?.into()));
    let given = net.ok_or("is not an address or a network like 10.0.0.0/8")?;
    let net = match given {
        IpNet::V6(net) => mapped_net(net)?,
        net @ IpNet::V4(_) => net,
    };
    if given.addr() != given.network() {
        return Err(
            "has bits behind the network's length, like 10.0.0.1/8: write the address alone, or the network 10.0.0.0/8",
        );
    }
    Ok(net)
}

fn mapped_net(net: Ipv6Net) -> Result<IpNet, &'static str> {
    let Some(address) = net.addr().to_ipv4_mapped() else { return Ok(net.into()) };
    let bits = net.prefix_len().checked_sub(96).and_then(|bits| Ipv4Net::new(address, bits).ok());
    bits.map(IpNet::V4).ok_or(
        "has IPv4 addresses in IPv6 form and less than 96 bits, so that it would match none of them; write 0.0.0.0/0 for all \
         of IPv4",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture;
    use serde_json::json;

    fn limits(key: &str, value: Value) -> Result<LoginLimits, String> {
        let loaded = fixture::with(&format!("ssh.{key}"), value);
        loaded.map(|config| config.ssh.login).map_err(|errors| errors.to_string())
    }

    #[test]
    fn unset_keys_mean_what_an_operator_on_the_internet_wants() {
        let limits = fixture::load(&fixture::minimal()).unwrap().ssh.login;
        assert_eq!((limits.grace, limits.key_exchange), (Duration::from_secs(60), Duration::from_secs(10)));
        assert_eq!(limits.throttle.penalties, Some(DEFAULT_PENALTIES));
        assert_eq!(limits.throttle.max_startups, MaxStartups { start: 512, rate: 30, full: 1024 });
        assert_eq!(limits.throttle.block, NetBlockSize { v4: 32, v6: 64 });
        assert_eq!(limits.throttle.per_source, Some(SourceShare::Percent(25)));
        assert_eq!(limits.throttle.rate, Some(ConnectionRate { per_second: 5, burst: 256 }));
        assert!(limits.throttle.exempt.is_empty() && limits.throttle.nat64.is_empty());
    }

    #[test]
    fn values_that_mean_nothing_are_errors() {
        for (key, value, part) in [
            ("loginGraceTime", json!("0s"), "at least 1s"),
            ("keyExchangeGraceTime", json!("0s"), "at least 1s"),
            ("maxStartups", json!("10:30"), "START:RATE:FULL"),
            ("maxStartups", json!("10:0:100"), "START:RATE:FULL"),
            ("maxStartups", json!("10:101:100"), "START:RATE:FULL"),
            ("maxStartups", json!("100:30:10"), "START:RATE:FULL"),
            ("maxStartups", json!(0), "START:RATE:FULL"),
            ("maxStartups", json!([10]), "must be a string"),
            ("perSourceMaxStartups", json!(0), "at least 1, a part of maxStartups like 25%, or none"),
            ("perSourceMaxStartups", json!("few"), "or none"),
            ("perSourceMaxStartups", json!("0%"), "or none"),
            ("perSourceMaxStartups", json!("101%"), "or none"),
            ("perSourceNetBlockSize", json!("33:64"), "at most 32:128"),
            ("perSourceNetBlockSize", json!("32:129"), "at most 32:128"),
            ("perSourceConnectionRate", json!("5"), "RATE:BURST"),
            ("perSourceConnectionRate", json!("0:5"), "RATE:BURST"),
            ("perSourcePenalties", json!("authfail"), "\"authfail\""),
            ("perSourcePenalties", json!("authfail:soon"), "\"authfail:soon\""),
            ("perSourcePenalties", json!("sloth:5s"), "\"sloth:5s\""),
            ("perSourcePenalties", json!("overflow:maybe"), "\"overflow:maybe\""),
            ("perSourcePenalties", json!("max-sources4:0"), "\"max-sources4:0\""),
            ("perSourcePenalties", json!("min:10m max:1m"), "max below its min"),
            ("perSourcePenaltyExemptList", json!(["10.0.0.0/33"]), "not an address or a network"),
            ("perSourcePenaltyExemptList", json!(["10.0.0.1", "localhost"]), "ssh.perSourcePenaltyExemptList[1]"),
            ("perSourcePenaltyExemptList", json!(["::ffff:10.0.0.0/95"]), "would match none of them"),
            ("nat64Prefixes", json!(["64:ff9b::/96", "2001:db8::/33"]), "ssh.nat64Prefixes[1]"),
            ("nat64Prefixes", json!(["192.0.2.0/24"]), "is not a prefix of IPv6"),
            ("nat64Prefixes", json!(["64:ff9b::1/96"]), "is not a prefix of IPv6"),
            ("perSourcePenaltyExemptList", json!(["10.0.0.1/8"]), "bits behind the network's length"),
            ("perSourcePenaltyExemptList", json!(["2001:db8::1/64"]), "bits behind the network's length"),
            ("perSourcePenaltyExemptList", json!(["::ffff:10.0.0.1/104"]), "bits behind the network's length"),
            ("maxWebhookCalls", json!(0), "must be 1 to"),
        ] {
            let errors = limits(key, value.clone()).map(drop).expect_err(key);
            assert!(errors.contains(part), "{key}: {value}: {errors}");
        }
    }

    #[test]
    fn openssh_s_forms_are_understood() {
        let throttle = |key, value| limits(key, value).unwrap().throttle;
        assert_eq!(throttle("maxStartups", json!(50)).max_startups, MaxStartups { start: 50, rate: 100, full: 50 });
        assert_eq!(throttle("perSourceMaxStartups", json!("none")).per_source, None);
        assert_eq!(throttle("perSourceMaxStartups", json!(7)).per_source, Some(SourceShare::Connections(7)));
        assert_eq!(throttle("perSourceMaxStartups", json!("7%")).per_source, Some(SourceShare::Percent(7)));
        assert_eq!(throttle("perSourceConnectionRate", json!("none")).rate, None);
        for off in [json!("no"), json!(false)] {
            assert_eq!(throttle("perSourcePenalties", off).penalties, None);
        }
        let rules = throttle("perSourcePenalties", json!("authfail:1m30s noauth:0 min:20 overflow:deny-all")).penalties;
        let changed = PenaltyRules {
            authfail: Duration::from_secs(90),
            noauth: Duration::ZERO,
            min: Duration::from_secs(20),
            overflow4: Overflow::DenyAll,
            overflow6: Overflow::DenyAll,
            ..DEFAULT_PENALTIES
        };
        assert_eq!(rules, Some(changed));
        let exempt = throttle("perSourcePenaltyExemptList", json!(["10.0.0.0/8", "2001:db8::1"])).exempt;
        assert_eq!(exempt, ["10.0.0.0/8".parse::<IpNet>().unwrap(), "2001:db8::1/128".parse().unwrap()]);
        let mapped = json!(["::ffff:10.0.0.0/104", "::ffff:192.0.2.1", "::ffff:0:0/96", "::/0"]);
        let exempt = throttle("perSourcePenaltyExemptList", mapped).exempt;
        let nets = ["10.0.0.0/8", "192.0.2.1/32", "0.0.0.0/0", "::/0"].map(|net| net.parse::<IpNet>().unwrap());
        assert_eq!(exempt, nets);
    }
}
